package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Limits of a connection. The requests are small and the answers quick: who takes longer holds a connection for nothing.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	answerTimeout  = 30 * time.Second
	idleTimeout    = time.Minute
	gracePeriod    = 5 * time.Second // for requests under way when the process stops
	maxHeaderBytes = 16 << 10
)

// Listen opens the endpoint's listener at addr, "host:port" or "unix:PATH". Without a token it refuses every address that
// other machines can reach, looking at what the name resolves to. A socket's folder is made when missing (mode 0700), a
// socket that nobody listens on is replaced, and only the process's user may connect (mode 0600).
func Listen(addr, token string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		l, err := listenUnix(path)
		if err != nil {
			return nil, err
		}
		return l, nil
	}
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w; write host:port or unix:PATH", err)
	}
	if token == "" && !at.IP.IsLoopback() {
		return nil, fmt.Errorf("other machines can reach %q and there is no token; set admin.token, or listen on 127.0.0.1 or unix:PATH", addr)
	}
	l, err := net.ListenTCP("tcp", at)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func listenUnix(path string) (net.Listener, error) {
	abstract := strings.HasPrefix(path, "@") // Linux: a name without a file
	if !abstract {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := removeStale(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil || abstract {
		return l, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes the socket that a killed process left.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket; remove it or name another path", path)
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		_ = conn.Close() // it was opened only to see who answers
		return fmt.Errorf("another process listens on %s; stop it or name another path", path)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("cannot tell who listens on %s: %w; remove it or name another path", path, err)
	}
	return os.Remove(path)
}

// ending is where a request that lasts finds out that the process stops.
type ending struct{}

// Serve serves h on l until ctx ends, then lets the requests under way finish, for at most five seconds, and returns nil. It
// returns earlier, with the error, when l fails. l is closed either way. log gets what goes wrong on connections.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	server.BaseContext = func(net.Listener) context.Context {
		return context.WithValue(context.WithoutCancel(ctx), ending{}, ctx.Done())
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return errors.Join(fmt.Errorf("admin: %w", err), server.Close())
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), gracePeriod)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		log.LogAttrs(grace, slog.LevelWarn, "admin requests were cut", slog.String("error", errors.Join(err, server.Close()).Error()))
	}
	<-ended
	return nil
}
