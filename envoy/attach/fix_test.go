package attach_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/attach"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
)

// breaks are what is broken in docs/envoy.yaml, and mended again.
var breaks = []struct{ old, now, mended string }{
	{"          skip_xff_append: true #+\n", "", "skip_xff_append: true\n"},
	{"skip_xff_append: true", "skip_xff_append: false", "skip_xff_append: true #+\n"},
	{"stream_idle_timeout: 0s #+", "stream_idle_timeout: '20s' # soon", "stream_idle_timeout: 0s # soon\n"},
	{", suppress_envoy_headers: true", "", "{suppress_envoy_headers: true, "},
	{"              include_request_attempt_count: true #+\n", "", "include_request_attempt_count: true\n"},
	{"          use_remote_address: true\n", "", "use_remote_address: true\n"},
	{"                  timeout: 0s\n", "                  timeout: 15s\n", "timeout: 0s\n"},
	{"                  timeout: 0s\n", "", "timeout: 0s\n"},
	{"retry_on: retriable-headers", "retry_on: '5xx,retriable-headers'", "retry_on: retriable-headers"},
	{"base_interval: 0.001s, max_interval: 0.001s", "base_interval: 1s", `retry_back_off: {"base_interval": "0.001s", "max_interval": "0.001s"}`},
	{"                request_body_buffer_limit: 33554432 #+\n", "", "request_body_buffer_limit: 33554432\n"},
	{"\n              request_body_buffer_limit: 33554432 #+\n", "\n", "{request_body_buffer_limit: 33554432, match"},
	{", x-goog-api-key, x-keyturn-client, x-keyturn-turn", ", x-keyturn-turn", "x-goog-api-key"},
	{"                request_headers_to_remove: [authorization, x-api-key, api-key, x-goog-api-key, x-keyturn-client, x-keyturn-turn, x-keyturn-model, x-keyturn-cluster] #+\n", "", "request_headers_to_remove:"},
	{"[x-keyturn-retry, x-keyturn-used-pool, x-keyturn-used-name, x-keyturn-used-key]", "[x-of-ours]", "x-keyturn-used-key"},
	{"                - {header: {key: x-keyturn-id, value: \"%UNIQUE_ID%\"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD} #+\n", "", `- {header: {key: x-keyturn-id, value: "%UNIQUE_ID%"}, append_action`},
	{"              message_timeout: 5s #+\n", "", "message_timeout: 5s\n"},
	{"              max_message_timeout: 3600s #+\n", "              max_message_timeout: 1s\n", `max_message_timeout: "3600s"`},
	{"              mutation_rules: {allow_all_routing: true, allow_envoy: true} #+\n", "", "mutation_rules: {"},
	{"mutation_rules: {allow_all_routing: true, allow_envoy: true} #+\n", "mutation_rules: {disallow_all: true}\n", "disallow_all: false"},
	{"              route_cache_action: CLEAR #+\n", "", "route_cache_action: CLEAR\n"},
	{"              allow_mode_override: true #+\n", "              failure_mode_allow: true\n", "failure_mode_allow: false\n"},
	{"[response.code_details, response.flags, upstream.local_address]", "[request.path]", "request.path"},
	{"              metadata_options: {receiving_namespaces: {untyped: [keyturn]}} #+\n", "", "untyped: [keyturn]"},
	{"          max_request_headers_kb: 96 #+\n", "", "max_request_headers_kb: 92\n"},
	{"max_headers_count: 160, idle_timeout: 7200s", "idle_timeout: 7200s", "max_headers_count: 132"},
	{", allow_paths: [{exact: /ready}, {prefix: /stats}, {prefix: /config_dump}]}", "}", `{allow_paths: [{"exact": "/ready"}, {"prefix": "/stats"}]`},
	{"          upgrade_configs: [{upgrade_type: websocket}] #+\n", "", "upgrade_configs: [{upgrade_type: websocket}]\n"},
	{"    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000, max_retries: 100000}]} #+\n", "", "circuit_breakers:"},
	{"bootstrap_extensions: #+\n- {name: envoy.bootstrap.internal_listener, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}} #+\n", "", "bootstrap_extensions:"},
	{"initial_stream_window_size: 262144", "initial_stream_window_size: 268435456", "initial_stream_window_size: 262144"},
}

// TestFix breaks one setting after the other and has it mended: check finds nothing then, and every other line is what it was.
func TestFix(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/envoy.yaml")
	require.NoError(t, err)
	want := check.Want{
		Processor: "unix:run/extproc.sock",
		Pools:     []envoy.Pool{{Name: "openai", Keys: 3, Upstream: envoytest.URL(t, "https://api.openai.com")}},
	}
	found, err := check.Envoy(b, want)
	require.NoError(t, err)
	require.Empty(t, found)
	f, err := attach.Fix(b, want, true)
	require.NoError(t, err)
	require.Equal(t, string(b), string(f.Doc))
	for _, tc := range breaks {
		require.Contains(t, string(b), tc.old)
		broken := strings.Replace(string(b), tc.old, tc.now, 1)
		found, err := check.Envoy([]byte(broken), want)
		require.NoError(t, err)
		require.NotEmpty(t, found, tc.old)
		f, err := attach.Fix([]byte(broken), want, true)
		require.NoError(t, err, tc.old)
		require.Empty(t, f.Left, tc.old)
		require.NotEmpty(t, f.Mended, tc.old)
		found, err = check.Envoy(f.Doc, want)
		require.NoError(t, err)
		require.Empty(t, found, tc.old)
		require.Contains(t, string(f.Doc), tc.mended)
		kept := 0
		for line := range strings.Lines(string(b)) {
			if strings.Contains(string(f.Doc), line) {
				kept++
			}
		}
		require.GreaterOrEqual(t, kept, strings.Count(string(b), "\n")-strings.Count(tc.old, "\n")-2, tc.old)
	}
}

// TestFixAsks leaves out what others notice, and leaves alone what attach wrote.
func TestFixAsks(t *testing.T) {
	t.Parallel()
	want := check.Want{Pools: []envoy.Pool{{Name: "openai", Keys: 3, Upstream: envoytest.URL(t, "https://api.openai.com")}}}
	r, err := attach.Attach(readForeign(t, "front-proxy.yaml"), options(attach.Options{}))
	require.NoError(t, err)
	f, err := attach.Fix(r.Doc, want, false)
	require.NoError(t, err)
	require.Len(t, f.LeftOut, 4, "the host's attempts, the client's address, the bound of connections, the admin interface's paths")
	broken := strings.Replace(string(r.Doc), "skip_xff_append: true", "skip_xff_append: false", 1)
	f, err = attach.Fix([]byte(broken), want, true)
	require.NoError(t, err)
	require.Contains(t, string(f.Doc), "skip_xff_append: false")
	require.NotEmpty(t, f.Left)
	require.Contains(t, string(f.Doc), "use_remote_address: true")
	back, err := attach.Detach(f.Doc)
	require.NoError(t, err)
	require.Contains(t, string(back), "use_remote_address: true")
	require.NotContains(t, string(back), "keyturn-inner")

	r, err = attach.Attach(readForeign(t, "small.json"), options(attach.Options{}))
	require.NoError(t, err)
	_, err = attach.Fix(r.Doc, want, false)
	require.ErrorContains(t, err, "run keyturn detach")
}
