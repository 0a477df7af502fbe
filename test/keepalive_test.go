package test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// closer is a provider that answers so many requests of a connection, and closes it when the next one comes: what a server looks like
// that closes an unused connection at the moment in which a request is on its way.
type closer struct {
	url     string
	answers func(conn int) int // of the n-th connection, from 0
	hold    time.Duration      // before it closes

	mu   sync.Mutex // protects the fields below
	keys []string   // of each request that it has read
}

func startCloser(t *testing.T, answers func(conn int) int, hold time.Duration) *closer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	c := &closer{url: "http://" + l.Addr().String(), answers: answers, hold: hold}
	go func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.serve(conn, answers(n))
		}
	}()
	return c
}

func (c *closer) serve(conn net.Conn, answers int) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		c.mu.Lock()
		c.keys = append(c.keys, req.Header.Get("Authorization"))
		c.mu.Unlock()
		if answers--; answers < 0 {
			<-time.After(c.hold)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}")
	}
}

// seen are the keys of the requests since the last call.
func (c *closer) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := c.keys
	c.keys = nil
	return keys
}

// TestClosingConnections: a request that meets a connection that is being closed is sent again once, with the same key, and no key is
// blamed. One that a provider may have worked on is not.
func TestClosingConnections(t *testing.T) {
	t.Parallel()
	const a, body = "Bearer k0-long-key", `{"model":"m","input":"hi"}`
	first := func(n int) func(int) int {
		return func(conn int) int {
			if conn == 0 {
				return n
			}
			return 100
		}
	}
	for _, tc := range []struct {
		name    string
		answers func(int) int
		hold    time.Duration
		method  string
		status  int
		seen    int
		tools   bool
	}{
		{"used before", first(1), 0, "POST", 200, 2, false},
		{"used before, tools", first(1), 0, "POST", 200, 2, true},
		{"used before, twice", func(conn int) int { return 1 - min(conn, 1) }, 0, "POST", 503, 2, false},
		{"new", func(int) int { return 0 }, 0, "POST", 503, 1, false},
		{"used before, worked on", first(1), time.Second, "POST", 503, 1, false},
		{"used before, worked on, idempotent", first(1), time.Second, "GET", 200, 2, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			provider := startCloser(t, tc.answers, tc.hold)
			gw := gateway.Start(t, gateway.Config{
				Pools: []gateway.Pool{{Upstream: provider.url, Keys: []string{"k0-long-key", "k1-long-key"}}}, Tools: tc.tools,
				Envoy: map[string]any{"concurrency": 1},
			})
			if tc.answers(0) > 0 {
				require.Equal(t, http.StatusOK, gw.Post(t, "/v1/responses", body).Status)
				require.Len(t, provider.seen(), 1)
			}
			var resp gateway.Response
			if tc.method == http.MethodGet {
				resp = gw.Get(t, "/v1/models")
			} else {
				resp = gw.Post(t, "/v1/responses", body)
			}
			require.Equal(t, tc.status, resp.Status, resp.Body)
			keys := provider.seen()
			require.Len(t, keys, tc.seen)
			for _, k := range keys {
				require.Equal(t, a, k)
			}
			require.Equal(t, []string{"valid", "valid"}, gw.States(t, "openai"))
		})
	}
}

// TestKeepAlive: a connection that was unused for so long is not used again.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Settings: map[string]any{"keep_alive": "100ms"}}, {Name: "long"}}})
	gw.Provider.Default(scripted.OK("hello"))
	for _, pool := range []string{"openai", "long"} {
		require.Equal(t, http.StatusOK, gw.Post(t, "/"+pool+"/v1/responses", `{"model":"m","input":"hi"}`).Status)
	}
	gw.Eventually(t, "the connection is closed", func() bool { return gw.EnvoyStat(t, "cluster.openai.upstream_cx_active") == 0 })
	require.InDelta(t, 1, gw.EnvoyStat(t, "cluster.long.upstream_cx_active"), 0)
	require.InDelta(t, 1, gw.EnvoyStat(t, "cluster.openai.upstream_cx_idle_timeout"), 0)
}
