package envoy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy"
	"github.com/stretchr/testify/require"
)

// TestServeTools shows on a real Envoy what a configuration with tools does otherwise, in both places of the filter.
func TestServeTools(t *testing.T) {
	for _, attach := range []envoy.Attach{envoy.Listener, envoy.Cluster} {
		t.Run(attach.String(), func(t *testing.T) {
			r := startRig(t, func(c *envoy.Config) {
				c.Attach, c.MaxRequestBytes, c.IdleTimeout = attach, 1<<20, time.Second
				c.Pools[0].Tools, c.Pools[0].ToolTime = true, time.Second
				c.Pools = append(c.Pools, envoy.Pool{Name: "dead", Upstream: parse(t, "http://127.0.0.1:1")})
			})
			t.Run("headers that a turn repeats", r.repeated)
			t.Run("headers of a turn", r.manyHeaders)
			t.Run("body of a turn", r.grown)
			t.Run("patience", r.patience)
			t.Run("own errors", r.turnErrors)
		})
	}
}

// repeated: the processor gets what a turn repeats, no cookie, and no key of the attempt before.
func (r *rig) repeated(t *testing.T) {
	_, body := r.do(t, "POST", "/openai/v1/responses", "{}", "anthropic-beta: a,b", "session_id: 1", "User-Agent: sdk/1", "X-Custom: yes",
		"cookie: secret", "proxy-authorization: Basic secret", "authorization: Bearer client")
	require.Equal(t, "Bearer k2 /v1/responses", body)
	attempts := r.attempts()
	require.Len(t, attempts, 3)
	for _, a := range attempts {
		for name, want := range map[string]string{"anthropic-beta": "a,b", "session_id": "1", "user-agent": "sdk/1", "x-custom": "yes", ":method": "POST", "content-length": "2"} {
			require.Equal(t, want, a.headers[name], name)
		}
		for _, name := range []string{"cookie", "proxy-authorization", "authorization"} {
			require.NotContains(t, a.headers, name)
		}
	}
	r.requests()
}

// manyHeaders: a turn has the headers of a request that had as many as Envoy takes, and some more.
func (r *rig) manyHeaders(t *testing.T) {
	var headers []string
	for i := range 100 {
		headers = append(headers, fmt.Sprintf("x-h-%d: %s", i, strings.Repeat("v", 580)))
	}
	res, _ := r.turn(t, "openai", "/v1/responses", "{}", headers...)
	require.Equal(t, http.StatusOK, res.StatusCode)
	attempts := r.attempts()
	require.Len(t, attempts, 3)
	require.Equal(t, strings.Repeat("v", 580), attempts[2].headers["x-h-99"])
	r.requests()
}

// grown: a turn's body may be larger than a client's, and is sent again with the next key all the same.
func (r *rig) grown(t *testing.T) {
	body := strings.Repeat("x", 40<<20)
	res, answer := r.turn(t, "openai", "/v1/responses", body)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "Bearer k2 /v1/responses", answer)
	require.Len(t, r.attempts(), 3)
	require.Equal(t, int64(len(body)), r.provider.bytes)
	r.requests()
}

// patience: where tools may run, nothing needs to move for longer.
func (r *rig) patience(t *testing.T) {
	require.Greater(t, slow, time.Second, "the listener's")
	for path, want := range map[string]string{"/openai/v1/responses": "at last", "/v1/responses": "at last", "/anthropic/v1/responses": "provider_timeout"} {
		t.Run(path, func(t *testing.T) {
			_, body := r.do(t, "POST", path, "{}", "x-test: slow")
			require.Contains(t, body, want)
		})
	}
	r.attempts()
	r.requests()
}

// turnErrors: what Envoy itself answers to a turn goes on to the client, so it is in the dialect.
func (r *rig) turnErrors(t *testing.T) {
	for _, tc := range []struct {
		cluster, path string
		status        int
		code, message string
	}{
		{"dead", "/v1/responses", 503, "provider_unreachable", "The provider could not be reached"},
		{"dead", "/v1/messages", 503, "provider_unreachable", "The provider could not be reached"},
		{"nowhere", "/v1/responses", 503, "provider_unreachable", "cluster_not_found"},
	} {
		t.Run(tc.cluster+tc.path, func(t *testing.T) {
			res, body := r.turn(t, tc.cluster, tc.path, "{}")
			require.Equal(t, tc.status, res.StatusCode)
			require.Equal(t, tc.code, res.Header.Get("x-keyturn-error"))
			require.Equal(t, "application/json", res.Header.Get("content-type"))
			var got struct{ Error struct{ Message string } }
			require.NoError(t, json.Unmarshal([]byte(body), &got), body)
			require.Contains(t, got.Error.Message, tc.message)
		})
	}
	res, body := r.turn(t, "openai", "/v1/responses", "{}", "x-test: all")
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	require.JSONEq(t, `{"by":"keyturn"}`, body, "Keyturn's own answer is not reshaped")
	r.attempts()
	r.requests()
}
