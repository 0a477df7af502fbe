package test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/test/gateway"
)

// What the scripted model says, and the credentials of clients.
const (
	said      = "Good day. This was said with <b>one</b> of the keys & „keiner“ knows which 🌍."
	clientKey = "sk-client-0123456789-any"
	ownKey    = "sk-own-0123456789-client"
)

// poolKeys are the keys of every pool of the acceptance gateway, in order of priority.
var poolKeys = []string{"k0-long-key", "k1-long-key", "k2-long-key"}

// acceptance is one case of the table: a request, and what has come of it.
type acceptance struct {
	name    string
	pool    string            // which of the provider's pools is asked
	answers []scripted.Script // of the pool's keys, in order; with the pool "own", of the client's own key
	hits    []string          // the keys that the provider saw, in order
	status  int
	wait    int         // Retry-After in seconds; 0: none
	states  []string    // of the pool's keys, after the request
	hint    string      // of the key in the access log
	fails   wantProblem // zero: a good answer
	again   []string    // the keys that the provider sees when the request is sent once more
}

// wantProblem is the error that a client reads.
type wantProblem struct {
	typ, code string // as OpenAI's API has them
	anthropic string // type of Anthropic's; "": typ
	message   string // a part of it
	made      string // x-keyturn-error; "": the provider's own error
	final     bool   // x-should-retry: false
}

// acceptanceTable is what Keyturn promises of its keys with the preset strict: which failures turn the key, which do not, and what
// a client reads when no key is left. The same table holds for every dialect, streaming or not, and for every client.
var acceptanceTable = []acceptance{
	{
		name: "single_valid_key", pool: "one", answers: []scripted.Script{good},
		hits: poolKeys[:1], status: 200, states: []string{"valid"}, hint: "k0...ey", again: poolKeys[:1],
	},
	{
		name: "failover_after_429", pool: "two", answers: []scripted.Script{scripted.RateLimited(time.Minute), good},
		hits: poolKeys[:2], status: 200, states: []string{"temporary", "valid"}, hint: "k1...ey", again: poolKeys[1:2],
	},
	{
		name: "failover_after_401", pool: "two", answers: []scripted.Script{scripted.Unauthorized(), good},
		hits: poolKeys[:2], status: 200, states: []string{"permanent", "valid"}, hint: "k1...ey", again: poolKeys[1:2],
	},
	{
		name: "failover_after_403", pool: "two", answers: []scripted.Script{forbidden, good},
		hits: poolKeys[:2], status: 200, states: []string{"permanent", "valid"}, hint: "k1...ey", again: poolKeys[1:2],
	},
	{
		name: "all_keys_rate_limited", pool: "three",
		answers: []scripted.Script{scripted.RateLimited(5 * time.Second), scripted.RateLimited(3 * time.Second), scripted.RateLimited(10 * time.Second)},
		hits:    poolKeys, status: 429, wait: 3, states: []string{"temporary", "temporary", "temporary"}, hint: "k2...ey", again: []string{},
		fails: wantProblem{typ: "rate_limit_error", code: "rate_limit_exceeded", message: "all configured keys are rate-limited", made: "rate_limited"},
	},
	{
		name: "all_keys_unauthorized", pool: "two", answers: []scripted.Script{scripted.Unauthorized(), scripted.Unauthorized()},
		hits: poolKeys[:2], status: 502, states: []string{"permanent", "permanent"}, hint: "k1...ey", again: []string{},
		fails: wantProblem{typ: "api_error", code: "server_error", message: "all configured keys failed authentication", made: "auth_failed", final: true},
	},
	{
		name: "server_error_no_failover", pool: "two", answers: []scripted.Script{scripted.ServerError(500), good},
		hits: poolKeys[:1], status: 500, states: []string{"valid", "valid"}, hint: "k0...ey", again: poolKeys[:1],
		fails: wantProblem{typ: "server_error", anthropic: "api_error", message: "error"},
	},
	{
		name: "byok_no_failover", pool: "own", answers: []scripted.Script{scripted.RateLimited(5*time.Second).Header("X-Should-Retry", "false")},
		hits: []string{ownKey}, status: 429, wait: 5, states: []string{"valid", "valid", "valid"}, hint: keypool.Mask(ownKey), again: []string{ownKey},
		fails: wantProblem{typ: "requests", code: "rate_limit_exceeded", anthropic: "rate_limit_error", message: "rate limit", final: true},
	},
}

var (
	good      = scripted.OK(said)
	forbidden = scripted.Fail(scripted.Problem{Status: 403, Type: "permission_error", Message: "This key may not be used."})
)

// TestAcceptance runs the table with every client, for each dialect, streaming and not, with what Keyturn needs in the listener
// and in the routes, and with both kinds of inner listener.
func TestAcceptance(t *testing.T) {
	for attach, inner := range map[string]string{"listener": "internal", "route": "unix:inner.sock"} {
		t.Run(attach, func(t *testing.T) {
			t.Parallel()
			r := newAcceptanceRig(t, map[string]any{"attach": attach, "inner": inner})
			for _, c := range clients {
				for _, stream := range []bool{false, true} {
					for _, tc := range acceptanceTable {
						t.Run(fmt.Sprintf("%s/stream=%t/%s", c.name, stream, tc.name), func(t *testing.T) { r.run(t, c, stream, tc) })
					}
				}
			}
			r.checkLog(t)
		})
	}
}

// acceptanceRig is a gateway that has, for each of two providers, pools of one, two and three keys and one that lets clients
// bring their own.
type acceptanceRig struct {
	*gateway.Gateway
	log []map[string]any // what must stand in the access log, a line for each request
}

func newAcceptanceRig(t *testing.T, envoy map[string]any) *acceptanceRig {
	cfg := gateway.Config{Envoy: envoy, Secrets: []string{clientKey, ownKey}}
	for _, provider := range []string{"openai", "anthropic"} {
		for keys, size := range []string{"one", "two", "three"} {
			cfg.Pools = append(cfg.Pools, gateway.Pool{Name: provider + "-" + size, Provider: provider, Keys: poolKeys[:keys+1]})
		}
		cfg.Pools = append(cfg.Pools, gateway.Pool{
			Name: provider + "-own", Provider: provider, Keys: poolKeys,
			Settings: map[string]any{"byok": map[string]any{"allow": map[string]any{"placeholders": []string{"dummy"}}}},
		})
	}
	return &acceptanceRig{Gateway: gateway.Start(t, cfg)}
}

func (r *acceptanceRig) run(t *testing.T, c client, stream bool, tc acceptance) {
	r.Reset(t)
	credential, keys := clientKey, poolKeys
	if tc.pool == "own" {
		credential, keys = ownKey, []string{ownKey}
	}
	for i, answer := range tc.answers {
		r.Provider.Key(keys[i], answer)
	}
	pool := c.provider + "-" + tc.pool
	ask := func() reply {
		line := map[string]any{
			"pool": pool, "key": tc.hint, "status": float64(tc.status), "attempts": float64(max(1, len(tc.hits))),
		}
		if tc.fails.made != "" {
			line["error"] = tc.fails.made
		}
		r.log = append(r.log, line)
		return c.ask(t, r.Gateway, pool, credential, stream)
	}

	tc.check(t, c, ask())
	require.Equal(t, tc.hits, r.Provider.Keys())
	for _, q := range r.Provider.Requests() {
		require.Equal(t, c.path, q.Path)
		require.Equal(t, stream, q.Stream)
	}
	require.Equal(t, tc.states, r.States(t, pool))

	r.Provider.Reset()
	tc.check(t, c, ask())
	require.Equal(t, tc.again, r.Provider.Keys(), "the next request")
	line := r.log[len(r.log)-1]
	line["attempts"] = float64(1)
	if len(tc.again) == 0 {
		delete(line, "key") // none was chosen
	}
}

// check looks at what the client got.
func (tc acceptance) check(t *testing.T, c client, got reply) {
	t.Helper()
	require.Equal(t, tc.status, got.status, got.message)
	if tc.status == http.StatusOK {
		require.Equal(t, said, got.text)
		return
	}
	want := tc.fails
	typ, code := want.typ, want.code
	if c.provider == "anthropic" {
		code = "" // its errors have none
		if want.anthropic != "" {
			typ = want.anthropic
		}
	}
	require.Equal(t, typ, got.typ)
	require.Equal(t, code, got.code)
	require.Regexp(t, "(?i)"+want.message, got.message)
	require.Equal(t, want.made, got.header.Get("X-Keyturn-Error"))
	require.Equal(t, map[bool]string{true: "false"}[want.final], got.header.Get("X-Should-Retry"))
	if tc.wait == 0 {
		require.Empty(t, got.header.Values("Retry-After"))
		require.Empty(t, got.header.Values("Retry-After-Ms"))
		return
	}
	require.Equal(t, []string{strconv.Itoa(tc.wait)}, got.header.Values("Retry-After"))
	if want.made != "" { // Anthropic itself sends no milliseconds
		ms, err := strconv.Atoi(got.header.Get("Retry-After-Ms"))
		require.NoError(t, err)
		require.Equal(t, tc.wait, (ms+999)/1000)
	}
}

// checkLog compares the access log with the requests. It is done once, since Envoy writes the log every half second.
func (r *acceptanceRig) checkLog(t *testing.T) {
	lines := r.AccessLog(t, len(r.log))
	require.Len(t, lines, len(r.log))
	for i, want := range r.log {
		got := map[string]any{}
		for name := range want {
			got[name] = lines[i][name]
		}
		require.Equal(t, want, got, "request %d: %v", i, lines[i])
		if want["key"] == nil {
			require.NotContains(t, lines[i], "key")
		}
		if want["error"] == nil {
			require.NotContains(t, lines[i], "error")
		}
	}
}
