package envoy_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/stretchr/testify/require"
)

// rig has the checks of a front beside the Envoy that they are for.
type rig struct{ *envoytest.Rig }

func newRig(t *testing.T) *rig { return &rig{envoytest.NewRig(t)} }

func startRig(t *testing.T, change func(*envoy.Config)) *rig {
	t.Helper()
	return &rig{envoytest.StartRig(t, change)}
}

// TestServe shows on a real Envoy that a rendered configuration turns keys, whatever it is attached to.
func TestServe(t *testing.T) {
	for _, attach := range []envoy.Attach{envoy.Listener, envoy.Route} {
		for _, inner := range []string{"internal", "unix:inner.sock"} {
			t.Run(attach.String()+" "+inner, func(t *testing.T) {
				r := startRig(t, func(c *envoy.Config) {
					c.Attach, c.Inner, c.MaxRequestBytes = attach, inner, 1<<20
					c.Pools = append(c.Pools, envoy.Pool{Name: "dead", Upstream: envoytest.URL(t, "http://127.0.0.1:1")})
				})
				t.Run("failover", r.failover)
				t.Run("exhausted", r.exhausted)
				t.Run("routes", r.routes)
				if attach == envoy.Listener {
					t.Run("unknown paths", r.unknownPaths)
				}
				t.Run("uploads", r.uploads)
				t.Run("websocket", r.websocket)
				t.Run("http 1.0", r.http10)
				t.Run("own errors", r.ownErrors)
				t.Run("connections", r.connections)
				t.Run("access log", r.accessLog)
			})
		}
	}
}

func (r *rig) failover(t *testing.T) {
	ids := map[string]bool{}
	for range 2 {
		before := time.Now()
		res, body := r.Do(t, "POST", "/openai/v1/responses?q=1", "{}", append(envoytest.Forged(), "authorization: Bearer client", "x-api-key: client", "session_id: kept")...)
		require.Equal(t, "Bearer k2 /v1/responses", body)
		for name, values := range res.Header {
			require.NotContains(t, name, "X-Keyturn-")
			require.Len(t, values, 1, "what both listeners say: %s", name)
		}
		attempts := r.Attempts()
		require.Len(t, attempts, 3)
		id := attempts[0].Headers["x-keyturn-id"]
		require.Regexp(t, `^[0-9a-f-]{36}$`, id)
		require.False(t, ids[id])
		ids[id] = true
		for i, a := range attempts {
			require.Equal(t, i+1, a.Number)
			require.Equal(t, id, a.Headers["x-keyturn-id"], "the same at each attempt")
			require.Equal(t, "openai", a.Headers["x-keyturn-pool"])
			require.Equal(t, "18", a.Headers["x-keyturn-retries"])
			start, err := strconv.ParseFloat(a.Headers["x-keyturn-start"], 64)
			require.NoError(t, err)
			require.InDelta(t, float64(before.UnixMilli()), start*1000, 5000)
			require.NotEmpty(t, a.Headers["x-request-id"])
			require.Equal(t, attempts[0].Headers["x-request-id"], a.Headers["x-request-id"])
			require.Equal(t, "/v1/responses?q=1", a.Headers[":path"])
			require.Equal(t, "via_upstream 0", a.Details+" "+a.Flags)
			for _, name := range []string{"x-keyturn-client", "x-keyturn-turn", "x-keyturn-model", "x-keyturn-cluster", "authorization", "x-api-key"} {
				require.NotContains(t, a.Headers, name)
			}
		}
		requests := r.Requests()
		require.Len(t, requests, 3)
		for _, q := range requests {
			require.Equal(t, strings.TrimPrefix(r.Provider.URL, "http://"), q.Host)
			require.Equal(t, "kept", q.Header.Get("session_id"))
			require.Empty(t, q.Header.Get("x-api-key"))
			require.Equal(t, "/v1/responses?q=1", q.URL.String())
			for name := range q.Header {
				require.NotRegexp(t, "(?i)^x-(keyturn|envoy|forwarded)-", name)
			}
		}
	}
}

func (r *rig) exhausted(t *testing.T) {
	res, body := r.Do(t, "POST", "/v1/messages", "{}", "x-test: all")
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	require.Equal(t, `{"by":"keyturn"}`, body, "Keyturn's own error is not reshaped")
	require.Equal(t, "application/json", res.Header.Get("content-type"))
	require.Equal(t, "exhausted", res.Header.Get("x-keyturn-error"))
	require.Len(t, r.Requests(), 3)
	require.Len(t, r.Attempts(), 3)
}

func (r *rig) routes(t *testing.T) {
	for _, tc := range []struct{ method, path, pool, providerPath string }{
		{"POST", "/v1/chat/completions", "openai", "/v1/chat/completions"},
		{"GET", "/v1/models/org%2Fmodel", "openai", "/v1/models/org%2Fmodel"},
		{"POST", "/v1/messages", "anthropic", "/base/v1/messages"},
		{"POST", "/v1/messages/count_tokens?beta=true", "anthropic", "/base/v1/messages/count_tokens?beta=true"},
		{"POST", "/anthropic/v1/messages", "anthropic", "/base/v1/messages"},
		{"POST", "/anthropic/v1/files", "anthropic", "/base/v1/files"},
		{"POST", "/openai/v1/files?x=1", "openai", "/v1/files?x=1"},
		{"GET", "/openai/v1/files", "openai", "/v1/files"},
		{"POST", "/v1/audio/translations", "openai", "/v1/audio/translations"},
		{"DELETE", "/v1/responses/resp_1", "openai", "/v1/responses/resp_1"},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			res, _ := r.Do(t, tc.method, tc.path, "", "x-test: ok")
			require.Equal(t, http.StatusOK, res.StatusCode)
			attempts, requests := r.Attempts(), r.Requests()
			require.Len(t, attempts, 1)
			require.Equal(t, tc.pool, attempts[0].Headers["x-keyturn-pool"])
			require.Len(t, requests, 1)
			require.Equal(t, tc.providerPath, requests[0].URL.String())
			require.Equal(t, "Bearer k0", requests[0].Header.Get("authorization"))
		})
	}
}

// unknownPaths holds that a name that is no pool's spends no pool's keys, and that whoever mistyped it reads what there is.
func (r *rig) unknownPaths(t *testing.T) {
	for _, path := range []string{"/antropic/v1/messages", "/favicon.ico", "/v2/chat/completions", "/openai", "/V1/responses", "/openai%2fv1/models"} {
		res, body := r.Do(t, "POST", path, "{}", "x-test: ok")
		require.Equal(t, http.StatusNotFound, res.StatusCode, path)
		envoytest.RequireError(t, res, body, "unknown_path", "not_found_error")
		require.Contains(t, body, "(/openai/, /anthropic/, /dead/) or /v1/.")
		require.Empty(t, r.Attempts(), path)
		require.Empty(t, r.Requests(), path)
	}
}

// uploads fail over like all else, up to max_request_bytes; larger ones pass.
func (r *rig) uploads(t *testing.T) {
	for _, tc := range []struct {
		name     string
		bytes    int
		test     string
		attempts int
		status   int
	}{
		{"as large as can be sent again", 1 << 20, "", 3, http.StatusOK},
		{"larger", 40 << 20, "ok", 1, http.StatusOK},
		{"larger, refused", 40 << 20, "", 1, http.StatusTooManyRequests},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, _ := r.Do(t, "POST", "/openai/v1/files", strings.Repeat("x", tc.bytes), "x-test: "+tc.test)
			require.Equal(t, tc.status, res.StatusCode)
			require.Empty(t, res.Header.Values("x-keyturn-retry"), "it was asked for in vain")
			require.Equal(t, int64(tc.bytes), r.Provider.Bytes)
			require.Len(t, r.Attempts(), tc.attempts)
			require.Len(t, r.Requests(), tc.attempts)
		})
	}
}

func (r *rig) websocket(t *testing.T) {
	const ask = "GET PATH HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\nx-test: TEST\r\n\r\nhello\n"
	for _, tc := range []struct {
		name, path, test, want string
		key                    string // that the provider accepted
	}{
		{"accepted", "/openai/v1/realtime?model=m", "ok", "101", "Bearer k0"},
		{"accepted without a prefix", "/v1/responses", "ok", "101", "Bearer k0"},
		{"two keys refused", "/v1/responses", "", "101", "Bearer k2"},
		{"refused by the provider", "/v1/responses", "refuse", "403", ""},
		{"refused with all keys", "/v1/responses", "all", "429", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, reader := r.dial(t)
			_, err := io.WriteString(conn, strings.NewReplacer("PATH", tc.path, "TEST", tc.test).Replace(ask))
			require.NoError(t, err)
			res, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			defer func() { _ = res.Body.Close() }()
			require.Equal(t, tc.want, res.Status[:3])
			requests := r.Requests()
			if tc.key == "" {
				return
			}
			line, err := reader.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "echo hello\n", line)
			require.Equal(t, tc.key, requests[len(requests)-1].Header.Get("authorization"))
		})
	}
	r.Attempts()
}

// dial opens a connection to the main listener.
func (r *rig) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.URL, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return conn, bufio.NewReader(conn)
}

// http10: a client of HTTP/1.0 is served, without a host too.
func (r *rig) http10(t *testing.T) {
	for _, host := range []string{"host: localhost\r\n", ""} {
		conn, reader := r.dial(t)
		_, err := io.WriteString(conn, "POST /openai/v1/responses HTTP/1.0\r\n"+host+"content-length: 2\r\n\r\n{}")
		require.NoError(t, err)
		answer, err := io.ReadAll(reader) // to the end of the connection
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(answer, []byte("HTTP/1.0 200 OK\r\n")), string(answer))
		require.True(t, bytes.HasSuffix(answer, []byte("\r\n\r\nBearer k2 /v1/responses")), string(answer))
		require.Equal(t, strings.TrimPrefix(r.Provider.URL, "http://"), r.Requests()[2].Host)
	}
	r.Attempts()
}

// ownErrors are answers that Envoy makes itself: in a shape that SDKs read. The provider's and Keyturn's are left alone.
func (r *rig) ownErrors(t *testing.T) {
	for _, tc := range []struct {
		name    string
		headers []string
		status  int
		code    string
		kind    string // error.type
	}{
		{"processor gone", []string{"x-keyturn-test: die"}, 503, "processor_unavailable", "api_error"},
		{"processor gone with the response", []string{"x-keyturn-test: die late"}, 503, "processor_unavailable", "api_error"},
		{"another upgrade", []string{"connection: upgrade", "upgrade: other"}, 403, "bad_request", "invalid_request_error"},
		{"too many headers", many(101), 431, "", ""}, // before a route is known
	} {
		for _, path := range []string{"/v1/responses", "/anthropic/v1/messages?beta=true"} {
			t.Run(tc.name+" "+path, func(t *testing.T) {
				res, body := r.Do(t, "POST", path, "{}", tc.headers...)
				require.Equal(t, tc.status, res.StatusCode)
				if tc.code != "" {
					envoytest.RequireError(t, res, body, tc.code, tc.kind)
				}
			})
		}
	}
	for _, tc := range []struct {
		path, test string
		status     int
		details    string // that the processor saw
		body       string
		code       string
	}{
		{"/v1/responses", "503", 503, `^via_upstream 0$`, "the provider's own", ""},
		{"/dead/v1/responses", "", 502, `^upstream_reset_before_response_started\{.*\} [1-9]`, `{"by":"keyturn"}`, "provider_unreachable"},
	} {
		t.Run("not its own "+tc.path, func(t *testing.T) {
			r.Attempts()
			res, body := r.Do(t, "POST", tc.path, "", "x-test: "+tc.test)
			require.Equal(t, tc.status, res.StatusCode)
			require.Equal(t, tc.body, body)
			require.Equal(t, tc.code, res.Header.Get("x-keyturn-error"))
			a := r.Attempts()[0]
			require.Regexp(t, tc.details, a.Details+" "+a.Flags)
		})
	}
	r.Requests()
}

// many are so many headers.
func many(n int) (headers []string) {
	for i := range n {
		headers = append(headers, "x-h-"+strconv.Itoa(i)+": v")
	}
	return headers
}

// connections: the hop reuses them.
func (r *rig) connections(t *testing.T) {
	stat := func() string {
		return envoytest.Get(t, r.Process.Admin(), "/stats?filter=cluster.keyturn-inner.upstream_cx_total")
	}
	r.Do(t, "POST", "/v1/responses", "{}", "x-test: ok")
	before := stat()
	for range 10 {
		r.Do(t, "POST", "/v1/responses", "{}", "x-test: ok")
	}
	require.Equal(t, before, stat())
	r.Attempts()
	r.Requests()
}

func (r *rig) accessLog(t *testing.T) {
	require.NoError(t, r.Process.Stop(envoytest.Bounded(t)), "Envoy keeps some lines until it ends")
	lines := envoytest.LogLines(t, r.Log.String())
	first := lines["request"][0]
	id := first["request_id"]
	require.Regexp(t, `^[0-9a-f-]{36}$`, id)
	for _, name := range []string{"time", "duration_ms", "request_id"} {
		require.Contains(t, first, name)
		delete(first, name)
	}
	require.Equal(t, map[string]any{
		"log": "request", "method": "POST", "path": "/openai/v1/responses", "status": 200.0, "flags": "-", "details": "via_upstream", "attempts": 3.0,
		"pool": "openai", "key": "…k2", "key_name": "k2", "route": "openai", "bytes_received": 2.0, "bytes_sent": 23.0,
	}, first)
	for i, a := range lines["attempt"][:3] {
		n := strconv.Itoa(i)
		require.Equal(t, id, a["request_id"], "it joins the lines")
		status := 429.0
		if i == 2 {
			status = 200
		}
		for _, name := range []string{"time", "duration_ms", "request_id", "bytes_sent"} {
			require.Contains(t, a, name)
			delete(a, name)
		}
		require.Equal(t, map[string]any{
			"log": "attempt", "attempt": float64(i + 1), "status": status, "flags": "-", "details": "via_upstream", "cluster": "openai",
			"pool": "openai", "key": "…k" + n, "key_name": "k" + n, "bytes_received": 2.0,
		}, a)
	}
	require.Regexp(t, `"error":"exhausted".*"log":"attempt"`, r.Log.String())
	require.Regexp(t, `"error":"exhausted".*"log":"request"`, r.Log.String())
	require.NotContains(t, r.Log.String(), "q=1", "a query may hold a credential")
	for _, of := range lines {
		for _, line := range of {
			require.NotContains(t, line, "client", "nobody was asked who they are")
		}
	}
}

// TestInnerGone shows what a client reads when the inner listener cannot be reached.
func TestInnerGone(t *testing.T) {
	for _, attach := range []envoy.Attach{envoy.Listener, envoy.Route} {
		t.Run(attach.String(), func(t *testing.T) {
			r := startRig(t, func(c *envoy.Config) { c.Attach, c.Inner = attach, "unix:inner.sock" })
			socket := filepath.Join(r.Folder, "inner.sock")
			st, err := os.Stat(socket)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), st.Mode().Perm(), "whoever reaches it spends the pools' keys")
			require.NoError(t, os.Remove(socket))
			res, body := r.Do(t, "POST", "/v1/responses", "{}")
			require.Equal(t, 503, res.StatusCode)
			envoytest.RequireError(t, res, body, "gateway_error", "api_error")
		})
	}
}

// TestStopDrainsTheFront holds that an open request may begin another attempt while Envoy drains.
func TestStopDrainsTheFront(t *testing.T) {
	for _, inner := range []string{"internal", "unix:inner.sock"} {
		t.Run(inner, func(t *testing.T) {
			r := newRig(t)
			r.Drain = time.Minute
			r.Start(t, func(c *envoy.Config) { c.Inner = inner })
			conn, reader := r.dial(t)
			_, err := io.WriteString(conn, "POST /v1/responses HTTP/1.1\r\nhost: localhost\r\nx-test: hold\r\ncontent-length: 2\r\n\r\n{}")
			require.NoError(t, err)
			<-r.Provider.Arrived
			stopped := make(chan error, 1)
			go func() { stopped <- r.Process.Stop(envoytest.Bounded(t)) }()
			for draining := false; !draining; { // clients are told to open another connection
				res, _ := r.Do(t, "POST", "/v1/responses", "{}", "x-test: ok")
				draining = res.Close
			}
			r.Provider.Release <- struct{}{}
			for range 2 { // the next attempts
				<-r.Provider.Arrived
				r.Provider.Release <- struct{}{}
			}
			stats := envoytest.Get(t, r.Process.Admin(), "/stats?filter=downstream_cx_drain_close")
			res, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, "Bearer k2 /v1/responses", string(body))
			require.True(t, res.Close, "the client is told to open another connection")
			require.Contains(t, stats, "http.inner.downstream_cx_drain_close: 0", "the inner listener's stay")
			require.NoError(t, <-stopped)
		})
	}
}
