package envoytest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/envoy/process"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Buffer is a buffer that Envoy's log may be written to while a test reads it.
type Buffer struct {
	mu  sync.Mutex // protects buf
	buf bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Bounded is the context of one step: a test that hangs says where.
func Bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Start starts Envoy, sees to its end and checks that no goroutine is left then.
func Start(t *testing.T, b process.Binary, cfg process.RunConfig) *process.Process {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	cfg.Concurrency = 1
	p, err := b.Start(context.WithoutCancel(t.Context()), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = p.Stop(Bounded(t))
		goleak.VerifyNone(t, ignore)
	})
	return p
}

// Get asks for a path over HTTP at "host:port" or "unix:path" and returns the body.
func Get(t *testing.T, address, path string) string {
	t.Helper()
	network := "tcp"
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", socket
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}
	req, err := http.NewRequestWithContext(Bounded(t), http.MethodGet, "http://envoy"+path, nil)
	require.NoError(t, err)
	res, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(body)
}

// Listener returns the address of the listener main, for one with port 0.
func Listener(t *testing.T, p *process.Process) string {
	t.Helper()
	_, address, ok := strings.Cut(Get(t, p.Admin(), "/listeners"), "main::")
	require.True(t, ok)
	return strings.TrimSpace(address)
}

// Real returns the Envoy to test with: ENVOY_BIN, the one in PATH, or the installed one.
func Real(t *testing.T) process.Binary {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	b, err := process.Find(ctx, process.Search{Cache: filepath.Join(root(t), ".cache"), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	require.NoError(t, err)
	return b
}

// root is the repository's folder.
func root(t *testing.T) string {
	t.Helper()
	folder, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
		require.NotEqual(t, folder, filepath.Dir(folder), "no go.mod above the test")
		folder = filepath.Dir(folder)
	}
}

// CAFile is the path of a bundle of certificates.
func CAFile(t *testing.T) string {
	t.Helper()
	return filepath.Join(root(t), "envoy", "testdata", "ca.pem")
}

// URL parses one.
func URL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

// Wanted is what a configuration is checked for.
func Wanted(cfg envoy.Config) check.Want {
	return check.Want{
		Processor: cfg.Processor, Pools: cfg.Pools,
		Loopback: slices.ContainsFunc(cfg.Pools, func(p envoy.Pool) bool { return p.Tools }),
	}
}
