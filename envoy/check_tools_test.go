package envoy_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy"
	"github.com/stretchr/testify/require"
)

// exact is a list of patterns, each the whole name of a header.
func exact(names ...string) map[string]any {
	var patterns []any
	for _, n := range names {
		patterns = append(patterns, map[string]any{"exact": n})
	}
	return map[string]any{"patterns": patterns}
}

// toolBreakages are of the settings that tools need, or that they want otherwise.
var toolBreakages = []breakage{
	// what Keyturn is sent
	{"all headers", onMain, "PROC/forward_rules", nil, "filter.forward_rules", onMain, "not set", false},
	{"some headers", onMain, "PROC/forward_rules/allowed_headers", map[string]any{"patterns": []any{map[string]any{"safe_regex": map[string]any{"regex": "(:|x-|anthropic-|content-|re|transfer-|upgrade|con|accept).*"}}}}, "filter.forward_rules", onMain, "without user-agent, openai-beta", false},
	{"few headers", onLoopback, "PROC/forward_rules/allowed_headers", exact(
		":method", ":path", ":authority", ":status", "content-type", "content-length", "content-encoding", "transfer-encoding", "upgrade", "connection",
		"retry-after", "retry-after-ms", "x-should-retry", "x-keyturn-*", "x-envoy-*", "x-forwarded-*", "x-ratelimit-*", "anthropic-ratelimit-*",
	), "filter.forward_rules", onLoopback, "without accept, user-agent, anthropic-version, anthropic-beta, openai-beta, x-stainless-lang, x-others", false},
	{"cookies", onMain, "PROC/forward_rules/disallowed_headers", exact("authorization", "x-api-key", "api-key", "x-goog-api-key", "x-custom-key", "set-cookie"), "filter.forward_rules", onMain, "with cookie, proxy-authorization", false},
	{"keys", onMain, "PROC/forward_rules/disallowed_headers", exact("cookie", "set-cookie", "proxy-authorization", "authorization"), "filter.forward_rules", onMain, "with x-api-key, api-key, x-goog-api-key, x-custom-key", false},
	{"what an attempt reads", onMain, "PROC/forward_rules/disallowed_headers", map[string]any{"patterns": []any{map[string]any{"prefix": "x-"}, map[string]any{"suffix": "cookie"}, map[string]any{"suffix": "authorization"}, map[string]any{"exact": "api-key"}}}, "", onMain, "", true},

	// for how long
	{"max message timeout", onMain, "PROC/max_message_timeout", "3000s", "filter.max_message_timeout", onMain, "50m0s", false},
	{"no max message timeout", onMain, "PROC/max_message_timeout", nil, "filter.max_message_timeout", onMain, "not set", false},
	{"idle timeout of the listener", onMain, "ROUTE/route/idle_timeout", nil, "route.idle_timeout", onOpenAI, "5m0s", false},
	{"idle timeout of the route", onMain, "ROUTE/route/idle_timeout", "1800s", "route.idle_timeout", onOpenAI, "30m0s", false},

	// the loopback listener
	{"plain errors", onLoopback, "HCM/local_reply_config", nil, "local_reply_config", onLoopback, "not set", false},
	{"Keyturn's errors rewritten", onLoopback, "HCM/local_reply_config/body_format", map[string]any{"text_format_source": map[string]any{"inline_string": "x"}}, "local_reply_config.mappers", onLoopback, "", true},
	{"turns like clients' requests", onLoopback, "HCM/access_log/0/typed_config/log_format/json_format/turn", nil, "access_log", onLoopback, "envoy.access_loggers.stdout", false},
	{"turns in Envoy's own format", onLoopback, "HCM/access_log/0/typed_config/log_format", nil, "access_log", onLoopback, "envoy.access_loggers.stdout", false},
	{"the turn's body", onLoopback, "HOST/request_body_buffer_limit", 48 << 20, "", onLoop, "", false}, // and the buffer's limit is above it
	{"no filter", onLoopback, "LOOP/typed_per_filter_config/keyturn", nil, "route.typed_per_filter_config.keyturn", onLoop, "not set", true},
	{"filter that is off", onLoopback, "LOOP/typed_per_filter_config/keyturn", map[string]any{"@type": filterTypes + "ext_proc.v3.ExtProcPerRoute", "disabled": true}, "route.typed_per_filter_config.keyturn", onLoop, "not set", true},
	{"no mode override", onLoopback, "PROC/allow_mode_override", nil, "filter.allow_mode_override", onLoopback, "false", true},
	{"some overrides", onMain, "PROC/allowed_override_modes", []any{map[string]any{"response_body_mode": "BUFFERED"}}, "filter.allowed_override_modes", onMain, "", true},
	{"for everybody", onLoopback, "address/pipe/mode", 0o666, "address.pipe.mode", onLoopback, "438 (0666)", true},
	{"error code removed", onLoopback, "LOOP/response_headers_to_remove", []any{"x-keyturn-retry", "x-keyturn-error"}, "route.response_headers_to_remove", onLoop, "x-keyturn-retry, x-keyturn-error", false},
	{"silence", onLoopback, "HCM/stream_idle_timeout", "20s", "stream_idle_timeout", onLoopback, "20s", false},
}

func toolsConfig(t *testing.T) envoy.Config {
	cfg := checkedConfig(t)
	pool := &cfg.Pools[0]
	pool.Tools, pool.ToolTime, pool.CredentialHeader, pool.MaxBodyBytes = true, 30*time.Minute, "X-Custom-Key", 64<<20
	return cfg
}

// TestCheckFindsEachOfTools breaks one setting after the other of a configuration with tools.
func TestCheckFindsEachOfTools(t *testing.T) { findsEach(t, toolsConfig(t), toolBreakages) }

// TestCheckTools is about what pools with tools need beside pools without.
func TestCheckTools(t *testing.T) {
	const forward = "filter.forward_rules @ "
	for _, tc := range []struct {
		name   string
		change func(*envoy.Config) // before it is rendered
		want   func([]envoy.Pool)  // what is wanted of it
		edit   func(*testing.T, tree)
		found  []string
	}{
		{"tools of a pool that had none", nil, func(p []envoy.Pool) { p[0].Tools = true }, nil, []string{
			"filter.forward_rules @ listener main",
			"route.idle_timeout @ listener main, route openai",
			"route.idle_timeout @ listener main, route default",
			"filter.forward_rules @ listener loopback",
		}},
		{"no longer", func(c *envoy.Config) { c.Pools[0].Tools = true }, func(p []envoy.Pool) { p[0].Tools = false }, nil, []string{}},
		{"longer than they were", func(c *envoy.Config) { c.Pools[0].Tools = true }, func(p []envoy.Pool) { p[0].ToolTime = 15 * time.Minute }, nil, []string{
			"route.idle_timeout @ listener main, route openai",
			"route.idle_timeout @ listener main, route default",
		}},
		{"no idleness at all", func(c *envoy.Config) { c.Pools[0].Tools = true }, nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "ROUTE/route/idle_timeout", "0s")
		}, []string{}},
		{"clients' own credentials", func(c *envoy.Config) { c.Pools[0].Tools = true }, func(p []envoy.Pool) { p[0].BYOK = true }, nil, []string{
			forward + onMain, forward + onLoopback,
		}},
		{"clients' own credentials lost", func(c *envoy.Config) { c.Pools[0].Tools, c.Pools[0].BYOK = true, true }, nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onLoopback), "LOOP/request_headers_to_remove", []any{"x-keyturn-cluster", "Authorization"})
		}, []string{"route.request_headers_to_remove @ " + onLoop}},
		{"a log that cannot be read here", func(c *envoy.Config) { c.Pools[0].Tools = true }, nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onLoopback), "HCM/access_log/0/typed_config", map[string]any{"@type": "type.googleapis.com/example.Unknown"})
		}, []string{}},
		{"no log", func(c *envoy.Config) { c.Pools[0].Tools, c.AccessLog = true, "off" }, nil, nil, []string{}},
		{"a filter for each pool", func(c *envoy.Config) {
			c.Attach = envoy.Cluster
			c.Pools = append(c.Pools, envoy.Pool{Name: "with", Upstream: c.Pools[0].Upstream, Keys: 3, Tools: true})
		}, nil, nil, []string{}},
		{"a filter for each pool, the wrong way round", func(c *envoy.Config) {
			c.Attach = envoy.Cluster
			c.Pools = append(c.Pools, envoy.Pool{Name: "with", Upstream: c.Pools[0].Upstream, Keys: 3, Tools: true})
		}, func(p []envoy.Pool) { p[0].Tools, p[1].Tools = true, false }, nil, []string{
			"route.idle_timeout @ listener main, route openai",
			"route.idle_timeout @ listener main, route default",
			"filter.forward_rules @ cluster openai",
		}},
		{"one filter for two pools", func(c *envoy.Config) {
			c.Pools = append(c.Pools, envoy.Pool{Name: "with", Upstream: c.Pools[0].Upstream, Keys: 3, Tools: true})
		}, nil, nil, []string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := checkedConfig(t)
			if tc.change != nil {
				tc.change(&cfg)
			}
			d := bootstrapTree(t, cfg)
			if tc.edit != nil {
				tc.edit(t, d)
			}
			want := wanted(cfg)
			want.Pools = append([]envoy.Pool{}, cfg.Pools...)
			if tc.want != nil {
				tc.want(want.Pools)
			}
			require.Equal(t, tc.found, settings(check(t, d, want)))
		})
	}
}
