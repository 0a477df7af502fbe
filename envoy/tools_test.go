package envoy_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/stretchr/testify/require"
)

// TestServeTools shows on a real Envoy what a configuration with tools does otherwise.
func TestServeTools(t *testing.T) {
	for attach, inner := range map[envoy.Attach]string{envoy.Listener: "internal", envoy.Route: "unix:inner.sock"} {
		t.Run(attach.String()+" "+inner, func(t *testing.T) {
			r := startRig(t, func(c *envoy.Config) {
				c.Attach, c.Inner, c.Loopback = attach, inner, "unix:loopback.sock"
				c.MaxRequestBytes, c.IdleTimeout = 1<<20, time.Second
				c.Pools[0].Tools, c.Pools[0].ToolTime = true, time.Second
				c.Pools = append(c.Pools, envoy.Pool{Name: "dead", Upstream: envoytest.URL(t, "http://127.0.0.1:1")})
			})
			st, err := os.Stat(filepath.Join(r.Folder, "loopback.sock"))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
			t.Run("turn", r.aTurn)
			t.Run("headers that a turn repeats", r.repeated)
			t.Run("headers of a turn", r.manyHeaders)
			t.Run("long path", r.longPath)
			t.Run("body of a turn", r.grown)
			t.Run("patience", r.patience)
			t.Run("slow request", r.slowRequest)
			t.Run("own errors", r.turnErrors)
			t.Run("access log", r.turnLog)
		})
	}
}

// aTurn is a request of Keyturn's own: it names its pool and its turn, and has attempts like any other.
func (r *rig) aTurn(t *testing.T) {
	res, body := r.Turn(t, "anthropic", "/base/v1/messages", "{}", "x-keyturn-client: alice", "x-keyturn-model: m", "x-keyturn-id: mine")
	require.Equal(t, "Bearer k2 /base/v1/messages", body)
	require.Equal(t, "k2", res.Header.Get("x-keyturn-used-name"), "what attempts say to Keyturn")
	require.Equal(t, "anthropic", res.Header.Get("x-keyturn-used-pool"))
	require.NotContains(t, res.Header, "X-Keyturn-Retry")
	attempts := r.Attempts()
	require.Len(t, attempts, 3)
	for i, a := range attempts {
		require.Equal(t, i+1, a.Number)
		for name, want := range map[string]string{
			"x-keyturn-pool": "anthropic", "x-keyturn-turn": "7", "x-keyturn-client": "alice", "x-keyturn-model": "m",
			"x-keyturn-retries": "18", "x-keyturn-id": attempts[0].Headers["x-keyturn-id"], ":authority": "provider.example",
		} {
			require.Equal(t, want, a.Headers[name], name)
		}
		require.NotEqual(t, "mine", a.Headers["x-keyturn-id"])
		require.NotEmpty(t, a.Headers["x-keyturn-start"])
	}
	for _, q := range r.Requests() {
		for name := range q.Header {
			require.NotContains(t, name, "X-Keyturn-")
		}
	}
}

// repeated: the processor gets what a turn repeats, no cookie, and no key of the attempt before.
func (r *rig) repeated(t *testing.T) {
	_, body := r.Do(t, "POST", "/openai/v1/responses", "{}", "anthropic-beta: a,b", "session_id: 1", "User-Agent: sdk/1", "X-Custom: yes",
		"cookie: secret", "proxy-authorization: Basic secret", "authorization: Bearer client")
	require.Equal(t, "Bearer k2 /v1/responses", body)
	attempts := r.Attempts()
	require.Len(t, attempts, 3)
	for _, a := range attempts {
		for name, want := range map[string]string{"anthropic-beta": "a,b", "session_id": "1", "user-agent": "sdk/1", "x-custom": "yes", ":method": "POST", "content-length": "2"} {
			require.Equal(t, want, a.Headers[name], name)
		}
		for _, name := range []string{"cookie", "proxy-authorization", "authorization"} {
			require.NotContains(t, a.Headers, name)
		}
	}
	r.Requests()
}

// manyHeaders: a turn has the headers of a request that had as many as Envoy takes, and some more.
func (r *rig) manyHeaders(t *testing.T) {
	var headers []string
	for i := range 100 {
		headers = append(headers, fmt.Sprintf("x-h-%d: %s", i, strings.Repeat("v", 580)))
	}
	res, _ := r.Turn(t, "openai", "/v1/responses", "{}", headers...)
	require.Equal(t, http.StatusOK, res.StatusCode)
	attempts := r.Attempts()
	require.Len(t, attempts, 3)
	require.Equal(t, strings.Repeat("v", 580), attempts[2].Headers["x-h-99"])
	r.Requests()
}

// longPath: Envoy repeats the path in x-envoy-original-path, and the inner listener takes both.
func (r *rig) longPath(t *testing.T) {
	headers := []string{}
	for i := range 80 {
		headers = append(headers, fmt.Sprintf("x-h-%d: v", i))
	}
	path := "/v1/responses?q=" + strings.Repeat("x", 56<<10)
	res, _ := r.Do(t, "POST", "/openai"+path, "{}", headers...)
	require.Equal(t, http.StatusOK, res.StatusCode)
	requests := r.Requests()
	require.Len(t, requests, 3)
	require.Equal(t, path, requests[2].URL.String())
	r.Attempts()
}

// grown: a turn's body may be larger than a client's, and is sent again with the next key all the same.
func (r *rig) grown(t *testing.T) {
	body := strings.Repeat("x", 30<<20)
	res, answer := r.Turn(t, "openai", "/v1/responses", body)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "Bearer k2 /v1/responses", answer)
	require.Len(t, r.Attempts(), 3)
	require.Equal(t, int64(len(body)), r.Provider.Bytes)
	r.Requests()
}

// patience: where tools may run, nothing needs to move for longer.
func (r *rig) patience(t *testing.T) {
	require.Greater(t, envoytest.Slow, time.Second, "the listener's")
	for path, want := range map[string]string{"/openai/v1/responses": "at last", "/v1/responses": "at last", "/anthropic/v1/responses": ""} {
		t.Run(path, func(t *testing.T) {
			res, body := r.Do(t, "POST", path, "{}", "x-test: slow")
			if want == "" {
				require.Equal(t, http.StatusGatewayTimeout, res.StatusCode)
				envoytest.RequireError(t, res, body, "provider_timeout", "timeout_error")
				return
			}
			require.Equal(t, want, body)
		})
	}
	r.Attempts()
	r.Requests()
}

// slowRequest: a body that does not go on.
func (r *rig) slowRequest(t *testing.T) {
	conn, reader := r.dial(t)
	_, err := io.WriteString(conn, "POST /anthropic/v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{")
	require.NoError(t, err)
	res, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusRequestTimeout, res.StatusCode)
	envoytest.RequireError(t, res, string(body), "timeout", "timeout_error")
	r.Attempts()
	r.Requests()
}

// turnErrors: what Keyturn or Envoy itself answers to a turn goes on to the client.
func (r *rig) turnErrors(t *testing.T) {
	for _, tc := range []struct {
		pool, test string
		status     int
		code       string
	}{
		{"dead", "", http.StatusBadGateway, "provider_unreachable"},
		{"openai", "all", http.StatusTooManyRequests, "exhausted"},
	} {
		t.Run(tc.code, func(t *testing.T) {
			res, body := r.Turn(t, tc.pool, "/v1/responses", "{}", "x-test: "+tc.test)
			require.Equal(t, tc.status, res.StatusCode)
			require.Equal(t, tc.code, res.Header.Get("x-keyturn-error"))
			require.JSONEq(t, `{"by":"keyturn"}`, body, "Keyturn's own answer is not reshaped")
		})
	}
	t.Run("slow", func(t *testing.T) {
		res, body := r.Turn(t, "openai", "/v1/responses", "{}", "x-test: slow")
		require.Equal(t, http.StatusGatewayTimeout, res.StatusCode)
		envoytest.RequireError(t, res, body, "provider_timeout", "timeout_error")
	})
	t.Run("too many headers", func(t *testing.T) {
		res, body := r.Turn(t, "openai", "/v1/responses", "{}", many(200)...)
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, res.StatusCode)
		envoytest.RequireError(t, res, body, "bad_request", "invalid_request_error")
	})
	r.Attempts()
	r.Requests()
}

func (r *rig) turnLog(t *testing.T) {
	require.NoError(t, r.Process.Stop(envoytest.Bounded(t)), "Envoy keeps some lines until it ends")
	lines := envoytest.LogLines(t, r.Log.String())
	turn := lines["turn"][0]
	id := turn["request_id"]
	for _, name := range []string{"time", "duration_ms", "request_id"} {
		require.Contains(t, turn, name)
		delete(turn, name)
	}
	require.Equal(t, map[string]any{
		"log": "turn", "turn": "7", "method": "POST", "path": "/base/v1/messages", "status": 200.0, "flags": "-", "details": "via_upstream", "attempts": 3.0,
		"pool": "anthropic", "key": "…k2", "key_name": "k2", "client": "alice", "bytes_received": 2.0, "bytes_sent": 27.0,
	}, turn)
	attempt := lines["attempt"][2]
	require.Equal(t, id, attempt["request_id"])
	require.Equal(t, []any{"7", "alice", "claude"}, []any{attempt["turn"], attempt["client"], attempt["cluster"]})
}
