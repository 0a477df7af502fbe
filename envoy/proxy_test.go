package envoy_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/stretchr/testify/require"
)

// connectProxy is an HTTP proxy that leads every CONNECT to one server, or refuses all.
type connectProxy struct {
	url    string
	to     string // host:port
	status string // of the answer; "200 …" opens the tunnel

	mu    sync.Mutex // protects asked
	asked []string   // the targets of CONNECT
}

func startProxy(t *testing.T, to, status string) *connectProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	p := &connectProxy{url: "http://" + l.Addr().String(), to: to, status: status}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

func (p *connectProxy) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, req.Method+" "+req.RequestURI)
	p.mu.Unlock()
	_, _ = io.WriteString(conn, "HTTP/1.1 "+p.status+"\r\n\r\n")
	if !strings.HasPrefix(p.status, "200") {
		return
	}
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() { _, _ = io.Copy(server, r); _ = server.Close() }()
	_, _ = io.Copy(conn, server)
}

func (p *connectProxy) targets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// TestProxy reaches a provider through a proxy: by its name, which only the proxy resolves, with the TLS between Envoy and the provider, verified
// against certificates of the pool's own. Beside it the proxy of another pool refuses.
func TestProxy(t *testing.T) {
	saw := make(chan *http.Request, 8)
	provider := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { saw <- r }))
	provider.Config.ErrorLog = log.New(io.Discard, "", 0)
	cert, block := certificate(t, "provider.invalid")
	provider.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	provider.StartTLS()
	t.Cleanup(provider.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, block, 0o600))
	_, otherBlock := certificate(t, "provider.invalid")
	otherCA := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(otherCA, otherBlock, 0o600))
	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { saw <- r }))
	t.Cleanup(plain.Close)

	to := strings.TrimPrefix(provider.URL, "https://")
	open := startProxy(t, to, "200 Connection established")
	shut := startProxy(t, to, "407 Proxy Authentication Required")
	toPlain := startProxy(t, strings.TrimPrefix(plain.URL, "http://"), "200 OK")
	for _, inner := range []string{"internal", "unix:inner.sock"} {
		t.Run(inner, func(t *testing.T) {
			r := startRig(t, func(c *envoy.Config) {
				c.Inner, c.CAFile = inner, otherCA
				c.Pools = []envoy.Pool{
					{Name: "open", Upstream: envoytest.URL(t, "https://provider.invalid"), Proxy: envoytest.URL(t, open.url), CAFile: ca, Keys: 3},
					{Name: "shut", Upstream: envoytest.URL(t, "https://provider.invalid:8443"), Proxy: envoytest.URL(t, shut.url), CAFile: ca, Keys: 3},
					{Name: "plain", Upstream: envoytest.URL(t, "http://plain.invalid"), Proxy: envoytest.URL(t, toPlain.url), Keys: 3},
					{Name: "distrusted", Upstream: envoytest.URL(t, "https://provider.invalid"), Proxy: envoytest.URL(t, open.url), Keys: 3},
				}
			})
			for range 2 {
				res, body := r.Do(t, "POST", "/open/v1/responses", "{}")
				require.Equal(t, http.StatusOK, res.StatusCode, body)
				q := <-saw
				require.Equal(t, "provider.invalid", q.Host)
				require.Equal(t, "provider.invalid", q.TLS.ServerName)
			}
			require.Contains(t, open.targets(), "CONNECT provider.invalid:443")
			res, body := r.Do(t, "POST", "/plain/v1/responses", "{}")
			require.Equal(t, http.StatusOK, res.StatusCode, body)
			require.Equal(t, "plain.invalid", (<-saw).Host)
			require.Contains(t, toPlain.targets(), "CONNECT plain.invalid:80")

			res, body = r.Do(t, "POST", "/shut/v1/responses", "{}")
			require.Equal(t, http.StatusBadGateway, res.StatusCode, body)
			require.Equal(t, "provider_unreachable", res.Header.Get("x-keyturn-error"))
			require.Contains(t, shut.targets(), "CONNECT provider.invalid:8443")
			res, body = r.Do(t, "POST", "/distrusted/v1/responses", "{}")
			require.Equal(t, http.StatusBadGateway, res.StatusCode, body)
			require.Empty(t, saw, "the certificate is not of those that the pool trusts")
		})
	}
}
