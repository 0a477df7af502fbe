package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// firstInherited is the first descriptor that a service manager hands over.
// https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
const firstInherited = 3

// maxInherited bounds what LISTEN_FDS can make this process look at.
const maxInherited = 64

// inherited is the listener for an address that the service manager opened for this process: it stays open while the process is replaced, and
// whoever connects meanwhile waits. Nil where there is none.
func inherited(address string) (net.Listener, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > maxInherited {
		return nil, fmt.Errorf("LISTEN_FDS is %q: the number of sockets that are handed over is wanted", os.Getenv("LISTEN_FDS"))
	}
	for fd := firstInherited; fd < firstInherited+n; fd++ {
		l, err := listenerOf(fd)
		if err != nil {
			return nil, fmt.Errorf("descriptor %d of LISTEN_FDS is no listener: %w", fd, err)
		}
		if same(l.Addr(), address) {
			return l, nil
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// listenerOf makes a listener of a descriptor, which stays open: it may be looked at for another address.
func listenerOf(fd int) (net.Listener, error) {
	again, err := syscall.Dup(fd)
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(again)
	file := os.NewFile(uintptr(again), "inherited")
	l, err := net.FileListener(file) // with a descriptor of its own
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return l, nil
}

// same reports whether a listener's address is the one that is written so.
func same(at net.Addr, written string) bool {
	path, isSocket := socketPath(written)
	if !isSocket {
		want, err := net.ResolveTCPAddr("tcp", written)
		return err == nil && at.Network() == "tcp" && at.String() == want.String()
	}
	if at.Network() != "unix" {
		return false
	}
	a, errA := filepath.Abs(path)
	b, errB := filepath.Abs(at.String())
	return errA == nil && errB == nil && a == b
}
