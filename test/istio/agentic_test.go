package istio

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

func echo(text string) scripted.Part {
	return scripted.Call("bmcp_demo_echo", fmt.Sprintf(`{"text":%q}`, text))
}

// afterTools calls a tool in every turn until the results of n are there, then says text.
func afterTools(n int, text string) scripted.Script {
	return scripted.Func(func(r scripted.Request) scripted.Answer {
		if got := len(r.Conversation().Results); got < n {
			return scripted.Say(echo(fmt.Sprintf("result %d", got)))
		}
		return scripted.Say(scripted.Text(text))
	})
}

// agentic runs what takes more than one turn, in each dialect, streaming and not: every later turn goes through the proxy's
// loopback listener.
func (m *mesh) agentic(t *testing.T) {
	for _, s := range speeches {
		for _, stream := range []bool{true, false} {
			for _, tc := range []struct {
				name string
				run  func(*testing.T, speech, bool)
			}{
				{"happy_path", m.happyPath},
				{"agentic_failover_to_k1", m.agenticFailover},
				{"agentic_all_keys_fail", m.agenticExhausted},
				{"three_turns", m.threeTurns},
			} {
				t.Run(fmt.Sprintf("%s/stream=%t/%s", s.name, stream, tc.name), func(t *testing.T) {
					m.reset(t)
					tc.run(t, s, stream)
					for _, q := range m.provider.Requests() {
						require.Equal(t, s.path, q.Path)
						require.Equal(t, pool{name: s.provider}.host(), q.Host)
						require.NotContains(t, fmt.Sprint(q.Header), clientKey)
						hidesMesh(t, q.Header)
					}
				})
			}
		}
	}
}

func (m *mesh) ask(t *testing.T, s speech, stream bool) response {
	t.Helper()
	return m.post(t, pool{name: s.provider}.host(), s.path, fmt.Sprintf(s.body, stream), s.credential(clientKey)...)
}

// turns is how many requests have come through the loopback listener.
func (m *mesh) turns(t *testing.T) int {
	t.Helper()
	return m.stat(t, `http\.loopback\.downstream_rq_total`)
}

func (m *mesh) happyPath(t *testing.T, s speech, stream bool) {
	m.provider.Key(poolKeys[0], afterTools(1, "done")).Key(poolKeys[1], scripted.ServerError(500))
	before := m.turns(t)
	got := m.ask(t, s, stream)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.Contains(t, got.body, "done")
	require.Equal(t, []string{poolKeys[0], poolKeys[0]}, m.provider.Keys())
	require.Equal(t, []string{"valid", "valid"}, m.states(t, s.provider))
	require.Equal(t, 1, m.turns(t)-before)
	results := m.provider.Requests()[1].Results()
	require.Len(t, results, 1)
	require.Equal(t, "result 0", results[0].Text)
	m.wellFormed(t, s, stream, got)
}

func (m *mesh) agenticFailover(t *testing.T, s speech, stream bool) {
	m.provider.Key(poolKeys[0], scripted.Seq(scripted.Say(echo("mock")), scripted.RateLimited(5*time.Second))).
		Key(poolKeys[1], afterTools(1, "done"))
	got := m.ask(t, s, stream)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.Contains(t, got.body, "done")
	require.Equal(t, []string{poolKeys[0], poolKeys[0], poolKeys[1]}, m.provider.Keys())
	require.Equal(t, []string{"temporary", "valid"}, m.states(t, s.provider))
	m.wellFormed(t, s, stream, got)
}

func (m *mesh) agenticExhausted(t *testing.T, s speech, stream bool) {
	m.provider.Key(poolKeys[0], scripted.Seq(scripted.Say(echo("mock")), scripted.RateLimited(5*time.Second))).
		Key(poolKeys[1], scripted.RateLimited(3*time.Second))
	got := m.ask(t, s, stream)
	require.Equal(t, []string{poolKeys[0], poolKeys[0], poolKeys[1]}, m.provider.Keys())
	require.Equal(t, []string{"temporary", "temporary"}, m.states(t, s.provider))
	require.Contains(t, got.body, "all configured keys are rate-limited")
	if stream {
		require.Equal(t, http.StatusOK, got.status)
		require.Contains(t, got.body, s.fails)
		return
	}
	require.Equal(t, http.StatusTooManyRequests, got.status)
	require.Equal(t, "3", got.header.Get("Retry-After"))
	require.Equal(t, "rate_limited", got.header.Get("X-Keyturn-Error"))
}

// threeTurns has the first key fail in the middle: what the model said before it stays.
func (m *mesh) threeTurns(t *testing.T, s speech, stream bool) {
	m.provider.Key(poolKeys[0], scripted.Seq(scripted.Say(scripted.Text("look"), echo("result 0")), scripted.RateLimited(time.Minute))).
		Key(poolKeys[1], afterTools(2, "done"))
	before := m.turns(t)
	got := m.ask(t, s, stream)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.Equal(t, []string{poolKeys[0], poolKeys[0], poolKeys[1], poolKeys[1]}, m.provider.Keys())
	require.Equal(t, 2, m.turns(t)-before, "turns through the loopback listener")
	require.Len(t, m.provider.Requests()[3].Conversation().Results, 2)
	require.Contains(t, got.body, "done")
	require.Contains(t, got.body, "look")
	m.wellFormed(t, s, stream, got)
	if stream {
		require.Equal(t, 1, strings.Count(got.body, s.end), "one end")
	}
}

func (m *mesh) wellFormed(t *testing.T, s speech, stream bool, got response) {
	t.Helper()
	if stream {
		require.Contains(t, got.body, s.end)
		require.NoError(t, s.check([]byte(got.body)))
	}
}
