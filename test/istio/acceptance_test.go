package istio

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/check"
	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/keypool"
)

// What the scripted model says, and the credentials of clients.
const (
	said      = "Good day. This was said with one of the keys & nobody knows which."
	clientKey = "sk-client-0123456789-any"
	ownKey    = "sk-own-0123456789-client"
)

var good = scripted.OK(said)

// speech is one dialect.
type speech struct {
	name, provider, path string
	body                 string // with %t for stream
	end                  string // what the end of a good stream has in it
	fails                string // what an error within a stream has in it
	check                func(stream []byte) error
}

var speeches = []speech{
	{
		"responses", "openai", "/v1/responses", `{"model":"gpt-4o-mini","input":"hi","stream":%t}`,
		"event: response.completed", "event: error", check.Responses,
	},
	{
		"chat", "openai", "/v1/chat/completions", `{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}],"stream":%t}`,
		"data: [DONE]", `data: {"error"`, check.Chat,
	},
	{
		"messages", "anthropic", "/v1/messages", `{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":"hi"}],"stream":%t}`,
		"event: message_stop", "event: error", check.Messages,
	},
}

// credential is how a client of the dialect sends a key.
func (s speech) credential(key string) []string {
	if s.provider == "anthropic" {
		return []string{"X-Api-Key", key, "Anthropic-Version", "2023-06-01"}
	}
	return []string{"Authorization", "Bearer " + key}
}

// keyCase is a case of the acceptance table (docs: what failing keys do): a request, and what has come of it.
type keyCase struct {
	name    string
	pool    string            // the end of its name
	answers []scripted.Script // of the pool's keys, in order; with the pool "own", of the client's own key
	hits    []string          // the keys that the provider saw, in order
	status  int
	wait    int      // Retry-After in seconds; 0: none
	states  []string // of the pool's keys, after the request
	hint    string   // of the key in the access log
	made    string   // x-keyturn-error; "": the provider's own answer
	message string   // a part of the error's
}

// keyCases are the eight cases of one turn.
var keyCases = []keyCase{
	{name: "single_valid_key", pool: "one", answers: []scripted.Script{good}, hits: poolKeys[:1], status: 200, states: []string{"valid"}, hint: "k0...ey"},
	{
		name: "failover_after_429", pool: "two", answers: []scripted.Script{scripted.RateLimited(time.Minute), good},
		hits: poolKeys[:2], status: 200, states: []string{"temporary", "valid"}, hint: "k1...ey",
	},
	{
		name: "failover_after_401", pool: "two", answers: []scripted.Script{scripted.Unauthorized(), good},
		hits: poolKeys[:2], status: 200, states: []string{"permanent", "valid"}, hint: "k1...ey",
	},
	{
		name: "failover_after_403", pool: "two",
		answers: []scripted.Script{scripted.Fail(scripted.Problem{Status: 403, Type: "permission_error", Message: "This key may not be used."}), good},
		hits:    poolKeys[:2], status: 200, states: []string{"permanent", "valid"}, hint: "k1...ey",
	},
	{
		name: "all_keys_rate_limited", pool: "three",
		answers: []scripted.Script{scripted.RateLimited(5 * time.Second), scripted.RateLimited(3 * time.Second), scripted.RateLimited(10 * time.Second)},
		hits:    poolKeys, status: 429, wait: 3, states: []string{"temporary", "temporary", "temporary"}, hint: "k2...ey",
		made: "rate_limited", message: "all configured keys are rate-limited",
	},
	{
		name: "all_keys_unauthorized", pool: "two", answers: []scripted.Script{scripted.Unauthorized(), scripted.Unauthorized()},
		hits: poolKeys[:2], status: 502, states: []string{"permanent", "permanent"}, hint: "k1...ey",
		made: "auth_failed", message: "all configured keys failed authentication",
	},
	{
		name: "server_error_no_failover", pool: "two", answers: []scripted.Script{scripted.ServerError(500), good},
		hits: poolKeys[:1], status: 500, states: []string{"valid", "valid"}, hint: "k0...ey", message: "error",
	},
	{
		name: "byok_no_failover", pool: "own", answers: []scripted.Script{scripted.RateLimited(5 * time.Second)},
		hits: []string{ownKey}, status: 429, wait: 5, states: []string{"valid", "valid", "valid"}, hint: keypool.Mask(ownKey), message: "rate limit",
	},
}

// keys runs the eight cases in each dialect, streaming and not.
func (m *mesh) keys(t *testing.T) {
	for _, s := range speeches {
		for _, stream := range []bool{false, true} {
			for _, tc := range keyCases {
				t.Run(fmt.Sprintf("%s/stream=%t/%s", s.name, stream, tc.name), func(t *testing.T) { m.keyCase(t, s, stream, tc) })
			}
		}
	}
}

func (m *mesh) keyCase(t *testing.T, s speech, stream bool, tc keyCase) {
	m.reset(t)
	credential, keys := clientKey, poolKeys
	if tc.pool == "own" {
		credential, keys = ownKey, []string{ownKey}
	}
	for i, a := range tc.answers {
		m.provider.Key(keys[i], a)
	}
	p := pool{name: s.provider + "-" + tc.pool}
	before := m.streams(t)

	got := m.post(t, p.host(), s.path, fmt.Sprintf(s.body, stream), s.credential(credential)...)

	require.Equal(t, tc.status, got.status, got.body)
	require.Equal(t, tc.hits, m.provider.Keys())
	require.Equal(t, tc.states, m.states(t, p.name))
	require.Equal(t, len(tc.hits), m.streams(t)-before, "a stream for each attempt")
	for _, q := range m.provider.Requests() {
		require.Equal(t, s.path, q.Path)
		require.Equal(t, p.host(), q.Host)
		hidesMesh(t, q.Header)
		if tc.pool != "own" {
			require.NotContains(t, fmt.Sprint(q.Header), credential)
		}
	}
	m.wants = append(m.wants, map[string]any{
		"status": float64(tc.status), "attempts": float64(len(tc.hits)), "cluster": innerCluster, "host": p.host(),
		"pool": p.name, "key": tc.hint, "error": orNull(tc.made),
	})
	require.Empty(t, got.header.Values("X-Keyturn-Retry"))
	require.Equal(t, tc.made, got.header.Get("X-Keyturn-Error"))
	if tc.wait > 0 {
		require.Equal(t, strconv.Itoa(tc.wait), got.header.Get("Retry-After"))
	}
	switch {
	case tc.status != http.StatusOK:
		require.True(t, json.Valid([]byte(got.body)), got.body)
		require.Regexp(t, "(?i)"+regexp.QuoteMeta(tc.message), got.body)
	case stream:
		require.Contains(t, got.body, s.end)
		require.NoError(t, s.check([]byte(got.body)))
	default:
		require.Contains(t, strings.ReplaceAll(got.body, `\u0026`, "&"), said)
	}
}

// orNull is how the access log writes a text that may be missing.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// ofTheMesh are headers that a mesh adds to requests, and that no provider must see.
var ofTheMesh = regexp.MustCompile(`(?i)^(x-keyturn|x-envoy|x-istio|x-forwarded|x-b3|x-request-id|traceparent|tracestate|baggage)`)

func hidesMesh(t *testing.T, h http.Header) {
	t.Helper()
	for name := range h {
		require.NotRegexp(t, ofTheMesh, name)
	}
}

// checkLog compares the mesh's access log with the requests of keys.
func (m *mesh) checkLog(t *testing.T) {
	lines := m.accessLog(t, len(m.wants))
	for i, want := range m.wants {
		got := map[string]any{}
		for name := range want {
			got[name] = lines[i][name]
		}
		require.Equal(t, want, got, "request %d: %v", i, lines[i])
	}
}
