package mcp

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// childAttr puts a child into a process group of its own, so that it ends with what it started (npx starts node), and so that a Ctrl-C is for us:
// calls may still need it. When we die it is killed.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killMarked kills the processes that have the variable in their environment, and so come from a child that had it. It finds those that left the
// child's process group, as browsers and daemons do.
func killMarked(variable string) {
	for range 10 { // one that was starting another is found in the next round
		if killOnce([]byte(variable)) == 0 {
			return
		}
	}
}

// maxEnviron bounds what is read of a process's environment, in bytes.
const maxEnviron = 1 << 20

func killOnce(variable []byte) (found int) {
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil || pid == os.Getpid() {
			continue
		}
		p, err := os.FindProcess(pid) // by a descriptor, so that it is this process and none that has its number later
		if err != nil {
			continue
		}
		if environ, err := readEnviron(folder); err == nil && hasVariable(environ, variable) && p.Kill() == nil {
			found++
		}
		_ = p.Release()
	}
	return found
}

func readEnviron(folder string) ([]byte, error) {
	f, err := os.Open(filepath.Join(folder, "environ"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxEnviron))
}

// hasVariable looks for NAME=value between zero bytes, which end each variable.
func hasVariable(environ, variable []byte) bool {
	for one := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(one, variable) {
			return true
		}
	}
	return false
}
