package process

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// childAttr has the kernel kill Envoy when the thread that started it ends, however that happens, and keeps Envoy out
// of the terminal's process group: a Ctrl-C is for Keyturn, which then drains Envoy.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// locksHold says that tryLock tells whether another process has the lock.
const locksHold = true

// owner is the id of a file's user.
func owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// tryLock reports whether it has taken the lock of f; closing f gives it back.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}
