package admin_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/admin"
)

func TestListenGuardsTCP(t *testing.T) {
	for _, tc := range []struct {
		name, addr, token string
		want              string // a part of the error; "": none
	}{
		{"loopback", "127.0.0.1:0", "", ""},
		{"loopback by name", "localhost:0", "", ""},
		{"everywhere with a token", "0.0.0.0:0", "operator-token", ""},
		{"everywhere", "0.0.0.0:0", "", `other machines can reach "0.0.0.0:0" and there is no token; set admin.token`},
		{"everywhere, unsaid", ":0", "", "no token"},
		{"everywhere, IPv6", "[::]:0", "", "no token"},
		{"a network's address", "192.0.2.1:0", "", "no token"},
		{"no port", "127.0.0.1", "", "write host:port or unix:PATH"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, err := admin.Listen(tc.addr, tc.token)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			require.NoError(t, l.Close())
		})
	}
}

func TestListenOnASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "admin.sock")
	l, err := admin.Listen("unix:"+path, "")
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	folder, err := os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), folder.Mode().Perm())

	_, err = admin.Listen("unix:"+path, "")
	require.EqualError(t, err, "another process listens on "+path+"; stop it or name another path")

	l.(*net.UnixListener).SetUnlinkOnClose(false) // as when the process is killed
	require.NoError(t, l.Close())
	l, err = admin.Listen("unix:"+path, "")
	require.NoError(t, err, "the stale socket is replaced")
	require.NoError(t, l.Close())
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = admin.Listen("unix:"+path, "")
	require.ErrorContains(t, err, "is no socket; remove it")
	require.FileExists(t, path)
}

func TestServeOnASocket(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := admin.Listen("unix:"+path, "")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- admin.Serve(ctx, l, admin.New(f.Config), f.Log) }()

	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://keyturn/api/v1/pools/openai/keys/a/disable", nil)
	require.NoError(t, err)
	resp, err := transport.RoundTrip(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, string(body), `"state": "disabled"`)

	stop()
	require.NoError(t, <-ended)
	require.NoFileExists(t, path)
}

// pipes is a listener whose connections are net.Pipes: a synctest bubble knows when they wait.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { close(p.closed); return nil }

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

func TestServeStops(t *testing.T) {
	for _, tc := range []struct {
		name  string
		takes time.Duration // of the request under way
		stops time.Duration // from the end of the context
		cut   bool
	}{
		{"when the request under way is done", 2 * time.Second, 2 * time.Second, false},
		{"after the grace, whatever is under way", time.Hour, 5 * time.Second, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					select {
					case <-time.NewTimer(tc.takes).C:
						_, _ = io.WriteString(w, "done")
					case <-r.Context().Done():
					}
				})
				l := newPipes()
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- admin.Serve(ctx, l, h, slog.New(slog.NewTextHandler(&log, nil))) }()
				conn := l.dial()
				defer conn.Close()
				_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
				require.NoError(t, err)
				synctest.Wait()

				stop()
				began := time.Now()
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if tc.cut {
					require.Error(t, err)
				} else {
					require.NoError(t, err)
					body, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					require.NoError(t, resp.Body.Close())
					require.Equal(t, "done", string(body))
				}
				require.NoError(t, <-ended)
				require.InDelta(t, tc.stops.Seconds(), time.Since(began).Seconds(), .6, "Shutdown polls twice a second")
				require.Equal(t, tc.cut, bytes.Contains(log.Bytes(), []byte("admin requests were cut")))
			})
		})
	}
}

func TestServeCutsSlowHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- admin.Serve(ctx, l, http.NotFoundHandler(), nil) }()
		conn := l.dial()
		defer conn.Close()
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: ")
		require.NoError(t, err)
		began := time.Now()
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, 5*time.Second, time.Since(began))
		stop()
		require.NoError(t, <-ended)
	})
}

type brokenListener struct{ net.Listener }

var errBroken = errors.New("broken")

func (brokenListener) Accept() (net.Conn, error) { return nil, errBroken }
func (brokenListener) Close() error              { return nil }

func TestServeTellsABrokenListener(t *testing.T) {
	require.ErrorIs(t, admin.Serve(t.Context(), brokenListener{}, http.NotFoundHandler(), nil), errBroken)
}
