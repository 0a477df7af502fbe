package main

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/config"
)

const before = `
pools:
- {name: stays, provider: openai, keys: [{name: a, env: GATEWAY_KEY}, {name: b, env: GATEWAY_KEY_B}], tools: {servers: [docs]}}
- {name: goes, provider: openai, keys: [{name: a, env: GATEWAY_KEY_C}]}
tools: {servers: [{name: docs, url: "http://127.0.0.1:1"}]}
`

const after = `
pools:
- {name: stays, provider: openai, keys: [{name: b, env: GATEWAY_KEY_B}, {name: new, env: GATEWAY_KEY_C}], tools: {servers: [other]}, policy: {preset: lenient}}
- {name: comes, provider: openai, keys: [{name: a, env: GATEWAY_KEY}]}
tools: {servers: [{name: other, url: "http://127.0.0.1:1"}]}
`

// seen is what the operator sees of a gateway: the pools with their keys, the servers, and what attempts choose from.
func seen(t *testing.T, g *gateway) (lines []string) {
	t.Helper()
	for _, p := range g.currentPools() {
		for _, k := range p.Snapshot() {
			lines = append(lines, "pool "+p.Name()+" "+k.Name+" "+p.Policy().Preset.String())
		}
	}
	for _, s := range g.catalogue.Status() {
		lines = append(lines, "server "+s.Name)
	}
	w := httptest.NewRecorder()
	g.telemetry.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "keyturn_key_pool_state{") && strings.Contains(line, `state="valid"`) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// TestAReloadIsWholeOrNothing: whatever of a configuration cannot be, nothing of it takes effect, and the error says all that is wrong.
func TestAReloadIsWholeOrNothing(t *testing.T) {
	t.Setenv("GATEWAY_KEY_B", "b-key-for-gateways")
	t.Setenv("GATEWAY_KEY_C", "c-key-for-gateways")
	g := started(t, before)
	applied := 0
	g.onChange = func(*config.Config) []string { applied++; return nil }
	was := seen(t, g)
	require.Contains(t, was, "server docs")
	require.Contains(t, was, `keyturn_key_pool_state{provider="goes",state="valid"} 1`)
	broken := map[string]func(*config.Config){
		"cooldown":  func(c *config.Config) { c.Pools[1].Cooldown.Max = -1 },
		"duplicate": func(c *config.Config) { c.Pools[1].Keys = append(c.Pools[1].Keys, c.Pools[1].Keys[0]) },
		"preset":    func(c *config.Config) { c.Pools[1].Policy.Preset = 9 },
		"transport": func(c *config.Config) { c.Tools.Servers[0].Transport = "smoke" },
		"header":    func(c *config.Config) { c.Pools[1].Credential.Header = "Not-Lower" },
		"max_body":  func(c *config.Config) { c.Pools[1].MaxBody = -1 },
		"turns":     func(c *config.Config) { c.Pools[0].Tools.Turns = 1 },
	}
	for name, breaks := range broken {
		next := loaded(t, after)
		breaks(next)
		_, err := g.apply(next)
		require.ErrorContains(t, err, name)
		require.Equal(t, was, seen(t, g), name)
		require.Equal(t, "stays", g.cfg.Pools[0].Name)
		require.Len(t, g.cfg.Pools[0].Keys, 2, name)
	}
	next := loaded(t, after)
	broken["cooldown"](next)
	broken["transport"](next)
	_, err := g.apply(next)
	require.ErrorContains(t, err, "cooldown")
	require.ErrorContains(t, err, "transport")
	require.Zero(t, applied)

	_, err = g.apply(loaded(t, after))
	require.NoError(t, err)
	require.Equal(t, 1, applied)
	is := seen(t, g)
	require.Equal(t, []string{"pool stays b lenient", "pool stays new lenient", "pool comes a strict", "server other"}, is[:4])
	require.True(t, slices.Contains(is, `keyturn_key_pool_state{provider="comes",state="valid"} 1`), "%v", is)
	require.False(t, slices.ContainsFunc(is, func(s string) bool { return strings.Contains(s, "goes") }), "%v", is)
}

// TestAReloadAfterTheEnd: what is closed takes no configuration, and opens nothing.
func TestAReloadAfterTheEnd(t *testing.T) {
	t.Setenv("GATEWAY_KEY_B", "b-key-for-gateways")
	t.Setenv("GATEWAY_KEY_C", "c-key-for-gateways")
	g := started(t, before)
	require.NoError(t, g.catalogue.Close())
	_, err := g.apply(loaded(t, after))
	require.Error(t, err)
	require.Equal(t, "goes", g.currentPools()[1].Name())
	require.Len(t, g.currentPools()[0].Snapshot(), 2)
	require.Equal(t, "a", g.currentPools()[0].Snapshot()[0].Name)
}
