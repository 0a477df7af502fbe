package process

import (
	"errors"
	"os"
	"syscall"
)

// childAttr has the kernel kill Envoy when the thread that started it ends, however that happens, and keeps Envoy out
// of the terminal's process group: a Ctrl-C is for Keyturn, which then drains Envoy.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// tryLock reports whether it has taken the lock of f; closing f gives it back.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}
