package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// socketMode lets the owner and the group in: a sidecar's Envoy often runs under another user of the same group.
const socketMode = 0o660

// listen opens "unix:PATH" or "host:port", or takes it over from whoever started this process. A socket file that nobody answers is a dead
// process's and is replaced; with takeOver one that somebody answers too: who connects from then on reaches this process.
func listen(ctx context.Context, address string, takeOver bool) (net.Listener, error) {
	if l, err := inherited(address); l != nil || err != nil {
		return l, err
	}
	var lc net.ListenConfig
	path, isSocket := socketPath(address)
	if !isSocket {
		return lc.Listen(ctx, "tcp", address)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	if err := clearSocket(ctx, path, takeOver); err != nil {
		return nil, err
	}
	at := path
	if takeOver { // beside it, and then in its place: there is no moment at which nobody listens
		at = filepath.Join(filepath.Dir(path), ".kt"+strconv.Itoa(os.Getpid()))
	}
	l, err := lc.Listen(ctx, "unix", at)
	if errors.Is(err, syscall.EINVAL) {
		return nil, fmt.Errorf("%w: a socket's path may have 107 bytes, this one has %d; choose a shorter one", err, len(at))
	}
	if err != nil {
		return nil, err
	}
	s := &socket{UnixListener: l.(*net.UnixListener), path: path}
	s.SetUnlinkOnClose(false) // by then it may be another's
	if err := errors.Join(os.Chmod(at, socketMode), s.settle(at)); err != nil {
		return nil, errors.Join(err, s.Close(), os.Remove(at))
	}
	return s, nil
}

// socket is a listener at the path of a file.
type socket struct {
	*net.UnixListener
	path string
	file fs.FileInfo // the file as this process made it
}

// settle moves the socket from where it was opened to its path.
func (s *socket) settle(at string) (err error) {
	if at != s.path {
		if err := os.Rename(at, s.path); err != nil {
			return err
		}
	}
	s.file, err = os.Lstat(s.path)
	return err
}

// replaced reports whether another process listens at the path now.
func (s *socket) replaced() bool {
	now, err := os.Lstat(s.path)
	return err == nil && s.file != nil && !os.SameFile(now, s.file)
}

// Close ends it, and removes the file while it is this process's.
func (s *socket) Close() error {
	if now, err := os.Lstat(s.path); err == nil && s.file != nil && os.SameFile(now, s.file) {
		return errors.Join(s.UnixListener.Close(), os.Remove(s.path))
	}
	return s.UnixListener.Close()
}

// takenOver waits until another process listens in the place of l. It returns false when ctx ends before.
func takenOver(ctx context.Context, l net.Listener) bool {
	s, isSocket := l.(*socket)
	if !isSocket {
		<-ctx.Done()
		return false
	}
	tick := time.NewTicker(takeOverTick)
	defer tick.Stop()
	for !s.replaced() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// takeOverTick is how often a process looks whether another has taken its place.
const takeOverTick = 200 * time.Millisecond

// socketPath is the path in "unix:PATH".
func socketPath(address string) (string, bool) { return strings.CutPrefix(address, "unix:") }

func clearSocket(ctx context.Context, path string, takeOver bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s is there already and is not a socket", path)
	case takeOver:
		return nil
	}
	var d net.Dialer
	if c, err := d.DialContext(ctx, "unix", path); err == nil {
		return errors.Join(fmt.Errorf("%s: another process listens there; end it first, or take its place with --take-over", path), c.Close())
	}
	return os.Remove(path)
}
