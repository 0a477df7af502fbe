package envoy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/envoy"
	"github.com/stretchr/testify/require"
)

// TestServe shows on a real Envoy that a rendered configuration turns keys, in both places of the filter.
func TestServe(t *testing.T) {
	for _, attach := range []envoy.Attach{envoy.Listener, envoy.Cluster} {
		t.Run(attach.String(), func(t *testing.T) {
			r := startRig(t, func(c *envoy.Config) {
				c.Attach, c.MaxRequestBytes = attach, 1<<20
				dead, err := url.Parse("http://127.0.0.1:1")
				require.NoError(t, err)
				c.Pools = append(c.Pools, envoy.Pool{Name: "dead", Upstream: dead})
			})
			t.Run("failover", r.failover)
			t.Run("exhausted", r.exhausted)
			t.Run("routes", r.routes)
			t.Run("uploads", r.uploads)
			t.Run("websocket", r.websocket)
			t.Run("own errors", r.ownErrors)
			t.Run("loopback", r.loopback)
			t.Run("access log", r.accessLog)
		})
	}
}

func (r *rig) failover(t *testing.T) {
	res, body := r.do(t, "POST", "/openai/v1/responses?q=1", "{}", "authorization: Bearer client", "x-api-key: client",
		"x-keyturn-turn: 9", "x-keyturn-cluster: claude", "x-envoy-max-retries: 0", "session_id: kept")
	require.Equal(t, "Bearer k2 /v1/responses", body)
	require.Empty(t, res.Header.Values("x-keyturn-retry"))
	attempts := r.attempts()
	require.Len(t, attempts, 3)
	for i, a := range attempts {
		require.Equal(t, i, a.tried)
		require.Equal(t, "openai", a.cluster)
		require.Equal(t, "buffered", a.word)
		require.Empty(t, a.turn, "a client forged it")
		require.NotEmpty(t, a.requestID)
		require.Equal(t, strings.TrimPrefix(r.provider.URL, "http://"), a.headers[":authority"])
	}
	require.NotContains(t, attempts[0].headers, "authorization", "the route removes it")
	require.NotContains(t, attempts[0].headers, "session_id", "not forwarded")
	requests := r.requests()
	require.Len(t, requests, 3)
	for _, q := range requests {
		require.Equal(t, "kept", q.Header.Get("session_id"))
		require.Empty(t, q.Header.Get("x-api-key"))
		require.Equal(t, "/v1/responses?q=1", q.URL.String())
		for name := range q.Header {
			require.NotRegexp(t, "(?i)^x-(keyturn|envoy|forwarded)-", name)
		}
	}
}

func (r *rig) exhausted(t *testing.T) {
	res, body := r.do(t, "POST", "/v1/messages", "{}", "x-test: all")
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	require.Equal(t, `{"by":"keyturn"}`, body, "Keyturn's own error is not reshaped")
	require.Equal(t, "application/json", res.Header.Get("content-type"))
	require.Equal(t, "exhausted", res.Header.Get("x-keyturn-error"))
	require.Len(t, r.requests(), 3)
	require.Len(t, r.attempts(), 3)
}

func (r *rig) routes(t *testing.T) {
	for _, tc := range []struct{ method, path, cluster, providerPath, word string }{
		{"POST", "/v1/chat/completions", "openai", "/v1/chat/completions", "buffered"},
		{"GET", "/v1/models/org%2Fmodel", "openai", "/v1/models/org%2Fmodel", "buffered"},
		{"POST", "/v1/messages", "claude", "/base/v1/messages", "buffered"},
		{"POST", "/v1/messages/count_tokens?beta=true", "claude", "/base/v1/messages/count_tokens?beta=true", "buffered"},
		{"POST", "/anthropic/v1/messages", "claude", "/base/v1/messages", "buffered"},
		{"POST", "/anthropic/v1/files", "claude", "/base/v1/files", "streamed"},
		{"POST", "/openai/v1/files?x=1", "openai", "/v1/files?x=1", "streamed"},
		{"GET", "/openai/v1/files", "openai", "/v1/files", "buffered"},
		{"POST", "/v1/files", "openai", "/v1/files", "streamed"},
		{"POST", "/v1/uploads/upload_1/parts", "openai", "/v1/uploads/upload_1/parts", "streamed"},
		{"POST", "/v1/uploads/upload_1/complete", "openai", "/v1/uploads/upload_1/complete", "buffered"},
		{"POST", "/v1/containers/c_1/files", "openai", "/v1/containers/c_1/files", "streamed"},
		{"POST", "/v1/vector_stores/vs_1/files", "openai", "/v1/vector_stores/vs_1/files", "buffered"},
		{"POST", "/openai/deployments/gpt/audio/transcriptions?api-version=1", "openai", "/deployments/gpt/audio/transcriptions?api-version=1", "streamed"},
		{"POST", "/v1/audio/translations", "openai", "/v1/audio/translations", "streamed"},
		{"POST", "/v1/audio/speech", "openai", "/v1/audio/speech", "buffered"},
		{"POST", "/v1/images/edits", "openai", "/v1/images/edits", "streamed"},
		{"POST", "/v1/images/variations", "openai", "/v1/images/variations", "streamed"},
		{"POST", "/v1/images/generations?x=/files", "openai", "/v1/images/generations?x=/files", "buffered"},
		{"DELETE", "/v1/responses/resp_1", "openai", "/v1/responses/resp_1", "buffered"},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			res, _ := r.do(t, tc.method, tc.path, "", "x-test: ok")
			require.Equal(t, http.StatusOK, res.StatusCode)
			attempts, requests := r.attempts(), r.requests()
			require.Len(t, attempts, 1)
			require.Equal(t, tc.cluster, attempts[0].cluster)
			require.Equal(t, tc.word, attempts[0].word)
			require.Len(t, requests, 1)
			require.Equal(t, tc.providerPath, requests[0].URL.String())
			require.Equal(t, "Bearer k0", requests[0].Header.Get("authorization"))
		})
	}
}

func (r *rig) uploads(t *testing.T) {
	res, _ := r.do(t, "POST", "/openai/v1/files", strings.Repeat("x", 40<<20), "x-test: ok")
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, int64(40<<20), r.provider.bytes, "far above what a request may have that is held")
	require.Len(t, r.requests(), 1)
	res, _ = r.do(t, "POST", "/openai/v1/files", "x")
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode, "no failover")
	require.Len(t, r.requests(), 1)
	r.attempts()
}

func (r *rig) websocket(t *testing.T) {
	const ask = "GET %s HTTP/1.1\r\nhost: gw\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\nx-test: %s\r\n\r\nhello\n"
	for _, tc := range []struct{ name, path, test, want string }{
		{"accepted", "/openai/v1/realtime?model=m", "ok", "101"},
		{"accepted without a prefix", "/v1/responses", "ok", "101"},
		{"refused by the provider", "/v1/responses", "refuse", "403"},
		{"another path", "/v1/chat/completions", "ok", "403"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.url, "http://"))
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			_, err = io.WriteString(conn, strings.Replace(strings.Replace(ask, "%s", tc.path, 1), "%s", tc.test, 1))
			require.NoError(t, err)
			reader := bufio.NewReader(conn)
			res, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			defer func() { _ = res.Body.Close() }()
			require.Equal(t, tc.want, res.Status[:3])
			attempts := r.attempts()
			if tc.want == "101" {
				line, err := reader.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, "echo hello\n", line)
				require.Equal(t, "streamed", attempts[0].word)
				require.Equal(t, "Bearer k0", r.requests()[0].Header.Get("authorization"))
			}
		})
	}
	r.requests()
	r.do(t, "GET", "/v1/models", "", "x-test: ok") // Envoy lives
	r.requests()
	r.attempts()
}

// ownErrors are answers that Envoy makes itself: in the dialect of the path. The provider's are left alone.
func (r *rig) ownErrors(t *testing.T) {
	large := strings.Repeat("x", 1<<20+1)
	for _, tc := range []struct {
		name, path, body string
		header           string
		status           int
		code             string
		anthropic        string // error.type; "" = OpenAI's shape
	}{
		{"too large", "/v1/responses", large, "", 413, "request_too_large", ""},
		{"too large", "/v1/messages?beta=true", large, "", 413, "request_too_large", "request_too_large"},
		{"processor gone", "/v1/responses", "", "x-keyturn-test: die", 503, "processor_unavailable", ""},
		{"processor gone", "/anthropic/v1/messages/count_tokens", "", "x-keyturn-test: die", 503, "processor_unavailable", "api_error"},
		{"provider gone", "/dead/v1/responses", "", "", 503, "provider_unreachable", ""},
		{"provider gone", "/dead/v1/messages", "", "", 503, "provider_unreachable", "api_error"},
	} {
		t.Run(tc.name+" "+tc.path, func(t *testing.T) {
			res, body := r.do(t, "POST", tc.path, tc.body, tc.header)
			require.Equal(t, tc.status, res.StatusCode)
			require.Equal(t, "application/json", res.Header.Get("content-type"))
			require.Equal(t, tc.code, res.Header.Get("x-keyturn-error"))
			var got struct {
				Type  string
				Error struct{ Type, Code, Message string }
			}
			require.NoError(t, json.Unmarshal([]byte(body), &got), body)
			require.NotEmpty(t, got.Error.Message)
			if tc.anthropic != "" {
				require.Equal(t, "error", got.Type)
				require.Equal(t, tc.anthropic, got.Error.Type)
			} else {
				require.Equal(t, tc.code, got.Error.Code)
			}
		})
	}
	res, body := r.do(t, "POST", "/v1/responses", "", "x-test: 503")
	require.Equal(t, 503, res.StatusCode)
	require.Equal(t, "the provider's own", body)
	require.Empty(t, res.Header.Get("x-keyturn-error"))
	r.attempts()
	r.requests()
}

// turn sends a request of Keyturn's own to a cluster. headers are "name: value".
func (r *rig) turn(t *testing.T, cluster, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	socket := filepath.Join(r.folder, "loopback.sock")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://provider.example"+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("x-keyturn-cluster", cluster)
	req.Header.Set("x-keyturn-turn", "7")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(b)
}

// loopback is a request of Keyturn's own: it names its cluster, and its attempts know the turn.
func (r *rig) loopback(t *testing.T) {
	res, body := r.turn(t, "claude", "/base/v1/messages", "{}")
	require.Equal(t, "Bearer k2 /base/v1/messages", body)
	require.Equal(t, "k2", res.Header.Get("x-keyturn-used-name"), "what attempts say to Keyturn")
	require.NotContains(t, res.Header, "X-Keyturn-Retry")
	attempts := r.attempts()
	require.Len(t, attempts, 3)
	for _, a := range attempts {
		require.Equal(t, "7", a.turn)
		require.Equal(t, "claude", a.cluster)
		require.Equal(t, "buffered", a.word)
		require.NotContains(t, a.headers, "x-keyturn-turn")
		require.NotContains(t, a.headers, "x-keyturn-cluster")
	}
	require.Equal(t, "provider.example", r.requests()[0].Host)
}

func (r *rig) accessLog(t *testing.T) {
	require.NoError(t, r.proc.Stop(bounded(t)), "Envoy keeps some lines until it ends")
	lines := map[string]map[string]any{}
	for line := range strings.Lines(r.log.String()) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		route, _ := fields["route"].(string)
		if lines[route] == nil {
			lines[route] = fields // the first of each route
		}
	}
	first := lines["openai"]
	maps.DeleteFunc(first, func(_ string, v any) bool { return v == nil }) // Envoy 1.37 writes null where 1.40 writes nothing
	require.Equal(t, map[string]any{
		"method": "POST", "path": "/v1/responses", "status": 200.0, "flags": "-", "details": "via_upstream", "attempts": 3.0,
		"pool": "openai", "key": "k2", "cluster": "openai", "route": "openai", "bytes_received": 2.0, "bytes_sent": 23.0,
		"time": first["time"], "duration_ms": first["duration_ms"], "request_id": first["request_id"],
	}, first)
	require.Equal(t, "exhausted", lines["default messages"]["error"])
	require.Equal(t, "7", lines["loopback"]["turn"])
	require.NotContains(t, r.log.String(), "q=1", "a query may hold a credential")
}
