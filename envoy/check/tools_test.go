package check_test

import (
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
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
	{"all headers", onInner, "PROC/forward_rules", nil, "filter.forward_rules", onInner, "not set", false},
	{"some headers", onInner, "PROC/forward_rules/allowed_headers", map[string]any{"patterns": []any{map[string]any{"safe_regex": map[string]any{"regex": "(:|x-|anthropic-|content-|re|transfer-|upgrade|con|accept|location).*"}}}}, "filter.forward_rules", onInner, "without user-agent, openai-beta", false},
	{"few headers", onInner, "PROC/forward_rules/allowed_headers", exact(
		":method", ":path", ":authority", ":status", "content-type", "content-length", "content-encoding", "transfer-encoding", "upgrade", "connection",
		"x-request-id", "location", "retry-after", "retry-after-ms", "x-should-retry", "x-keyturn-*", "x-envoy-*", "x-forwarded-*", "x-ratelimit-*", "anthropic-ratelimit-*", "x-tokenlimit-*",
	), "filter.forward_rules", onInner, "without accept, user-agent, anthropic-version, anthropic-beta, openai-beta, x-stainless-lang, x-others", false},
	{"cookies", onInner, "PROC/forward_rules/disallowed_headers", exact("authorization", "x-api-key", "api-key", "x-goog-api-key", "x-custom-key", "set-cookie"), "filter.forward_rules", onInner, "with cookie, proxy-authorization", false},
	{"keys", onInner, "PROC/forward_rules/disallowed_headers", exact("cookie", "set-cookie", "proxy-authorization", "authorization"), "filter.forward_rules", onInner, "with x-api-key, api-key, x-goog-api-key, x-custom-key", false},
	{"what an attempt reads", onInner, "PROC/forward_rules/disallowed_headers", map[string]any{"patterns": []any{map[string]any{"prefix": "x-"}, map[string]any{"suffix": "cookie"}, map[string]any{"suffix": "authorization"}, map[string]any{"exact": "api-key"}}}, "", onInner, "", true},

	// for how long
	{"max message timeout", onInner, "PROC/max_message_timeout", "3000s", "filter.max_message_timeout", onInner, "50m0s", false},
	{"no max message timeout", onInner, "PROC/max_message_timeout", nil, "filter.max_message_timeout", onInner, "not set", false},
	{"idle timeout of the listener", onMain, "ROUTE/route/idle_timeout", nil, "route.idle_timeout", onOpenAI, "20m0s", false},
	{"idle timeout of the route", onMain, "ROUTE/route/idle_timeout", "1800s", "route.idle_timeout", onOpenAI, "30m0s", false},

	// the loopback listener
	{"over TCP", onLoopback, "address", map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": 1}}, "address", onLoopback, "127.0.0.1:1", true},
	{"for everybody", onLoopback, "address/pipe/mode", 0o666, "address.pipe.mode", onLoopback, "438 (0666)", true},
	{"by the umask", onLoopback, "address/pipe/mode", nil, "address.pipe.mode", onLoopback, "not set", true},
	{"full house", onLoopback, "ignore_global_conn_limit", nil, "ignore_global_conn_limit", onLoopback, "false", false},
	{"number of headers", onLoopback, "HCM/common_http_protocol_options", nil, "common_http_protocol_options.max_headers_count", onLoopback, "100", false},
	{"size of headers", onLoopback, "HCM/max_request_headers_kb", nil, "max_request_headers_kb", onLoopback, "60", false},
	{"more headers than the inner listener takes", onLoopback, "HCM/max_request_headers_kb", 256, "max_request_headers_kb", onInner, "192", false},
	{"plain errors", onLoopback, "HCM/local_reply_config", nil, "local_reply_config", onLoopback, "not set", false},
	{"turns like clients' requests", onLoopback, "HCM/access_log/0/typed_config/log_format/json_format/turn", nil, "access_log", onLoopback, "envoy.access_loggers.stdout", false},
	{"turns in Envoy's own format", onLoopback, "HCM/access_log/0/typed_config/log_format", nil, "", onLoopback, "", false},
	{"silence", onLoopback, "HCM/stream_idle_timeout", "20s", "stream_idle_timeout", onLoopback, "20s", false},

	// its route
	{"retries", onLoopback, "ONLY/route/retry_policy", nil, "route.retry_policy", onLoop, "not set", true},
	{"timeout", onLoopback, "ONLY/route/timeout", nil, "route.timeout", onLoop, "not set", false},
	{"body limit", onLoopback, "HOST/request_body_buffer_limit", nil, "route.request_body_buffer_limit", onLoop, "not set", false},
	{"bodies above the inner's limit", onInner, "HOST/request_body_buffer_limit", 16 << 20, "route.request_body_buffer_limit", onAttempts, "16777216", true},
	{"attempts not counted", onLoopback, "HOST/include_request_attempt_count", nil, "virtual_host.include_request_attempt_count", onLoop, "false", false},
	{"id", onLoopback, "HOST/request_headers_to_add/0/append_action", nil, "route.request_headers_to_add.x-keyturn-id", onLoop, "%UNIQUE_ID% with APPEND_IF_EXISTS_OR_ADD", true},
	{"other retries than are made", onLoopback, "ONLY/route/retry_policy/num_retries", 7, "route.request_headers_to_add.x-keyturn-retries", onLoop, "18", false},
	{"a pool for all turns", onLoopback, "ONLY/request_headers_to_add/0", added("x-keyturn-pool", "openai", overwrite), "route.request_headers_to_remove", onLoop, "with x-keyturn-pool", true},
	{"turns without their words", onLoopback, "HOST/request_headers_to_remove", []any{"x-keyturn-turn", "x-keyturn-model", "x-keyturn-client"}, "route.request_headers_to_remove", onLoop, "with x-keyturn-turn, x-keyturn-model, x-keyturn-client", true},
	{"retry header", onLoopback, "ONLY/response_headers_to_remove", nil, "route.response_headers_to_remove", onLoop, "not set", false},
	{"key not told", onLoopback, "ONLY/response_headers_to_remove", []any{"x-keyturn-retry", "X-Keyturn-Used-Key"}, "route.response_headers_to_remove", onLoop, "with x-keyturn-used-key", false},
	{"error not told", onLoopback, "ONLY/response_headers_to_remove", []any{"x-keyturn-retry", "x-keyturn-error"}, "route.response_headers_to_remove", onLoop, "with x-keyturn-error", false},
	{"past Keyturn", onLoopback, "ONLY/route/cluster", "openai", "", onEnvoy + " + " + onLoop, "", true},
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
	tools := func(c *envoy.Config) { c.Pools[0].Tools = true }
	second := func(c *envoy.Config) {
		c.Pools = append(c.Pools, envoy.Pool{Name: "with", Upstream: c.Pools[0].Upstream, Keys: 30, Tools: true})
	}
	for _, tc := range []struct {
		name   string
		change func(*envoy.Config) // before it is rendered
		want   func([]envoy.Pool)  // what is wanted of it
		edit   func(*testing.T, tree)
		found  []string
	}{
		{"tools of a pool that had none", func(*envoy.Config) {}, func(p []envoy.Pool) { p[0].Tools = true }, nil, []string{}},
		{"no longer", tools, func(p []envoy.Pool) { p[0].Tools = false }, nil, []string{}},
		{"longer than they were", tools, func(p []envoy.Pool) { p[0].ToolTime = 45 * time.Minute }, nil, []string{
			"route.idle_timeout @ listener main, route openai",
			"route.idle_timeout @ listener main, route default",
		}},
		{"no idleness at all", tools, nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "ROUTE/route/idle_timeout", "0s")
		}, []string{}},
		{"clients' own credentials", tools, func(p []envoy.Pool) { p[0].BYOK = true }, nil, []string{"filter.forward_rules @ " + onInner}},
		{"clients' own credentials lost", func(c *envoy.Config) { c.Pools[0].Tools, c.Pools[0].BYOK = true, true }, nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onLoopback), "ONLY/request_headers_to_remove", []any{"Authorization"})
		}, []string{"route.request_headers_to_remove @ " + onLoop}},
		{"a log that cannot be read here", tools, nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onLoopback), "HCM/access_log/0/typed_config", map[string]any{"@type": "type.googleapis.com/example.Unknown"})
		}, []string{"access_log @ " + onLoopback}},
		{"no log", func(c *envoy.Config) { c.Pools[0].Tools, c.AccessLog = true, "off" }, nil, nil, []string{}},
		{"a loopback listener of another name", tools, nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onLoopback), "name", "turns")
			put(t, d.resource(t, "listener turns"), "address/pipe/mode", 0o644)
		}, []string{"address.pipe.mode @ listener turns"}},
		{"a pool beside it", second, nil, nil, []string{}},
		{"few retries for turns", second, nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onLoopback), "ONLY/route/retry_policy/num_retries", 28)
			put(t, d.resource(t, onLoopback), "ONLY/request_headers_to_add/0/header/value", "28")
		}, []string{"route.retry_policy.num_retries @ " + onLoop}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := checkedConfig(t)
			tc.change(&cfg)
			d := bootstrapTree(t, cfg)
			if tc.edit != nil {
				tc.edit(t, d)
			}
			want := envoytest.Wanted(cfg)
			want.Pools = append([]envoy.Pool{}, cfg.Pools...)
			if tc.want != nil {
				tc.want(want.Pools)
			}
			require.ElementsMatch(t, tc.found, settings(findingsOf(t, d, want)))
		})
	}
}
