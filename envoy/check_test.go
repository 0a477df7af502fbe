package envoy_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/envoy"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// tree is a document without its types, to break one setting of.
type tree map[string]any

func (d tree) clone(t *testing.T) tree {
	t.Helper()
	b, err := json.Marshal(d)
	require.NoError(t, err)
	var c tree
	require.NoError(t, json.Unmarshal(b, &c))
	return c
}

// resource finds a listener or a cluster by its name, in a bootstrap or in a dump: "listener main", "cluster openai".
func (d tree) resource(t *testing.T, what string) map[string]any {
	t.Helper()
	kind, name, _ := strings.Cut(what, " ")
	var all []any
	if static, ok := d["static_resources"].(map[string]any); ok {
		all, _ = static[kind+"s"].([]any)
	}
	configs, _ := d["configs"].([]any)
	for _, part := range configs {
		for _, list := range part.(map[string]any) {
			entries, _ := list.([]any)
			for _, e := range entries {
				entry, _ := e.(map[string]any)
				if state, ok := entry["active_state"].(map[string]any); ok {
					entry = state
				}
				all = append(all, entry[kind])
			}
		}
	}
	for _, r := range all {
		if m, ok := r.(map[string]any); ok && m["name"] == name {
			return m
		}
	}
	require.Fail(t, "no such resource", what)
	return nil
}

// shorthands for the beginnings of paths in a listener or a cluster.
var shorthands = strings.NewReplacer(
	"HCM/", "filter_chains/0/filters/0/typed_config/",
	"HOST/", "filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/",
	"ROUTE/", "filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/openai/",
	"LOOP/", "filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/loopback/",
	"UPLOADS/", "filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/openai uploads/",
	"CHAIN/", "filter_chains/0/filters/0/typed_config/http_filters/",
	"UPSTREAM/", "filter_chains/0/filters/0/typed_config/http_filters/envoy.filters.http.router/typed_config/upstream_http_filters/",
	"PROC/", "filter_chains/0/filters/0/typed_config/http_filters/envoy.filters.http.router/typed_config/upstream_http_filters/keyturn/typed_config/",
	"OPTIONS/", "typed_extension_protocol_options|envoy.extensions.upstreams.http.v3.HttpProtocolOptions|",
)

// put sets a value below a resource; nil removes it. A step is a field, an index, or the name of an element.
func put(t *testing.T, at any, path string, value any) {
	t.Helper()
	steps := strings.FieldsFunc(shorthands.Replace(path), func(r rune) bool { return r == '/' || r == '|' })
	for _, step := range steps[:len(steps)-1] {
		at = below(t, at, step)
		require.NotNil(t, at, "%s: no %s", path, step)
	}
	last := steps[len(steps)-1]
	switch at := at.(type) {
	case map[string]any:
		if value == nil {
			require.Contains(t, at, last, path)
			delete(at, last)
		} else {
			at[last] = value
		}
	case []any:
		i, err := strconv.Atoi(last)
		require.NoError(t, err, path)
		at[i] = value
	default:
		require.Fail(t, "not a place", path)
	}
}

func below(t *testing.T, at any, step string) any {
	t.Helper()
	switch at := at.(type) {
	case map[string]any:
		if at[step] == nil {
			at[step] = map[string]any{}
		}
		return at[step]
	case []any:
		for _, e := range at {
			if m, ok := e.(map[string]any); ok && m["name"] == step {
				return m
			}
		}
		i, err := strconv.Atoi(step)
		require.NoError(t, err, "no element named %s", step)
		return at[i]
	}
	return nil
}

// managerOf is the HTTP connection manager of a listener.
func managerOf(t *testing.T, listener map[string]any) map[string]any {
	t.Helper()
	at := any(listener)
	for _, step := range []string{"filter_chains", "0", "filters", "0", "typed_config"} {
		at = below(t, at, step)
	}
	return at.(map[string]any)
}

// breakage is one setting that somebody got wrong.
type breakage struct {
	name     string
	resource string
	path     string
	value    any // nil: removed
	setting  string
	where    string // of every finding; several are separated by " + "
	found    string // "" = not compared
	fatal    bool
}

const (
	filterTypes = "type.googleapis.com/envoy.extensions.filters.http."
	onMain      = "listener main"
	onOpenAI    = "listener main, route openai"
	onBoth      = "listener main, route openai + listener main, route default"
	onUploads   = "listener main, route openai uploads"
	onLoopback  = "listener loopback"
	onLoop      = "listener loopback, route loopback"
	onProcessor = "cluster keyturn-processor"
	onProvider  = "cluster openai"
)

// breakages are at least one of each setting that Keyturn needs.
var breakages = []breakage{
	// the processor's cluster
	{"processor's buffer limit", onProcessor, "per_connection_buffer_limit_bytes", nil, "cluster.per_connection_buffer_limit_bytes", onProcessor, "not set", true},
	{"processor's buffer limit of 1 MiB", onProcessor, "per_connection_buffer_limit_bytes", 1 << 20, "cluster.per_connection_buffer_limit_bytes", onProcessor, "1048576", true},
	{"stream window", onProcessor, "OPTIONS/explicit_http_config/http2_protocol_options/initial_stream_window_size", nil, "cluster.http2_protocol_options.initial_stream_window_size", onProcessor, "not set", true},
	{"stream window too small", onProcessor, "OPTIONS/explicit_http_config/http2_protocol_options/initial_stream_window_size", 16 << 20, "cluster.http2_protocol_options.initial_stream_window_size", onProcessor, "16777216", true},
	{"connection window", onProcessor, "OPTIONS/explicit_http_config/http2_protocol_options/initial_connection_window_size", nil, "cluster.http2_protocol_options.initial_connection_window_size", onProcessor, "not set", true},
	{"HTTP/2 to the processor", onProcessor, "typed_extension_protocol_options", nil, "cluster.http2_protocol_options", onProcessor, "not set", true},
	{"processor's circuit breakers", onProcessor, "circuit_breakers", nil, "cluster.circuit_breakers", onProcessor, "not set", false},

	// the provider's cluster
	{"provider's circuit breakers", onProvider, "circuit_breakers", nil, "cluster.circuit_breakers", onProvider, "not set", false},
	{"connections", onProvider, "circuit_breakers/thresholds/0/max_connections", nil, "cluster.circuit_breakers.max_connections", onProvider, "not set", false},
	{"pending requests", onProvider, "circuit_breakers/thresholds/0/max_pending_requests", 1024, "cluster.circuit_breakers.max_pending_requests", onProvider, "1024", false},
	{"requests", onProvider, "circuit_breakers/thresholds/0/max_requests", nil, "cluster.circuit_breakers.max_requests", onProvider, "not set", false},
	{"retries at once", onProvider, "circuit_breakers/thresholds/0/max_retries", 3, "cluster.circuit_breakers.max_retries", onProvider, "3", true},
	{"retry budget", onProvider, "circuit_breakers/thresholds/0/retry_budget", map[string]any{}, "cluster.circuit_breakers.max_retries", onProvider, "", true},
	{"provider's buffer limit as the route's", onProvider, "per_connection_buffer_limit_bytes", 32 << 20, "cluster.per_connection_buffer_limit_bytes", onProvider, "33554432", true},
	{"provider's buffer without limit", onProvider, "per_connection_buffer_limit_bytes", 0, "cluster.per_connection_buffer_limit_bytes", onProvider, "0", true},
	{"certificate of any host", onProvider, "transport_socket/typed_config/common_tls_context/validation_context/match_typed_subject_alt_names", nil, "cluster.transport_socket", onProvider, "", true},
	{"certificate of any authority", onProvider, "transport_socket/typed_config/common_tls_context/validation_context/trusted_ca", nil, "cluster.transport_socket", onProvider, "", true},

	// bodies
	{"body limit", onMain, "HOST/request_body_buffer_limit", nil, "route.request_body_buffer_limit", onBoth, "not set", true},
	{"body limit as the cluster's", onMain, "HOST/request_body_buffer_limit", 1 << 20, "", onBoth, "", true}, // and the buffer's limit is above it
	{"body limit too low", onMain, "ROUTE/request_body_buffer_limit", 8 << 20, "", onOpenAI, "", false},
	{"buffer filter", onMain, "ROUTE/typed_per_filter_config|envoy.filters.http.buffer", nil, "route.typed_per_filter_config.envoy.filters.http.buffer", onOpenAI, "not set", true},
	{"buffer filter off", onMain, "ROUTE/typed_per_filter_config|envoy.filters.http.buffer", map[string]any{"@type": filterTypes + "buffer.v3.BufferPerRoute", "disabled": true}, "route.typed_per_filter_config.envoy.filters.http.buffer", onOpenAI, "not set", true},
	{"buffer filter and its word", onMain, "ROUTE/typed_per_filter_config", map[string]any{"keyturn": map[string]any{"@type": filterTypes + "ext_proc.v3.ExtProcPerRoute", "overrides": map[string]any{}}}, "route.typed_per_filter_config.envoy.filters.http.buffer", onOpenAI, "not set", false},
	{"buffered word", onMain, "ROUTE/typed_per_filter_config/keyturn/overrides/grpc_initial_metadata", nil, "route.typed_per_filter_config.keyturn.overrides.grpc_initial_metadata", onOpenAI, "not set", false},
	{"buffer above the body limit", onMain, "ROUTE/typed_per_filter_config|envoy.filters.http.buffer|buffer|max_request_bytes", 64 << 20, "route.typed_per_filter_config.envoy.filters.http.buffer.max_request_bytes", onOpenAI, "67108864", false},
	{"buffer for every route", onMain, "CHAIN/envoy.filters.http.buffer/disabled", nil, "http_filters.envoy.filters.http.buffer.disabled", onMain, "false", false},
	{"upgrades on every route", onMain, "HCM/upgrade_configs", []any{map[string]any{"upgrade_type": "websocket"}}, "upgrade_configs", onMain, "websocket", true},
	{"upgrades beside the buffer", onMain, "ROUTE/route/upgrade_configs", []any{map[string]any{"upgrade_type": "websocket"}}, "route.upgrade_configs", onOpenAI, "websocket", true},
	{"upload that is read", onMain, "UPLOADS/typed_per_filter_config/keyturn/overrides/processing_mode", nil, "route.typed_per_filter_config.keyturn.overrides.processing_mode.response_header_mode", onUploads, "not set", true},
	{"upload that is held", onMain, "UPLOADS/typed_per_filter_config|envoy.filters.http.buffer", map[string]any{"@type": filterTypes + "buffer.v3.BufferPerRoute", "buffer": map[string]any{"max_request_bytes": 1}}, "route.typed_per_filter_config.envoy.filters.http.buffer", onUploads, "set", false},
	{"route that is not read", onMain, "ROUTE/typed_per_filter_config/keyturn/overrides/processing_mode", map[string]any{"response_header_mode": "SKIP"}, "route.typed_per_filter_config.keyturn.overrides.processing_mode.response_header_mode", onOpenAI, "SKIP", true},

	// retries and times
	{"retry policy", onMain, "ROUTE/route/retry_policy", nil, "route.retry_policy", onOpenAI, "not set", true},
	{"retry on other things", onMain, "ROUTE/route/retry_policy/retry_on", "5xx", "route.retry_policy.retry_on", onOpenAI, "5xx", true},
	{"retry header", onMain, "ROUTE/route/retry_policy/retriable_headers", nil, "route.retry_policy.retriable_headers", onOpenAI, "not set", true},
	{"number of retries", onMain, "ROUTE/route/retry_policy/num_retries", nil, "route.retry_policy.num_retries", onOpenAI, "not set", true},
	{"too few retries", onMain, "ROUTE/route/retry_policy/num_retries", 1, "route.retry_policy.num_retries", onOpenAI, "1", true},
	{"back-off", onMain, "ROUTE/route/retry_policy/retry_back_off", nil, "route.retry_policy.retry_back_off", onOpenAI, "not set", false},
	{"long back-off", onMain, "ROUTE/route/retry_policy/retry_back_off/base_interval", "0.025s", "route.retry_policy.retry_back_off", onOpenAI, "25ms", false},
	{"waiting for the provider", onMain, "ROUTE/route/retry_policy/rate_limited_retry_back_off", map[string]any{"reset_headers": []any{map[string]any{"name": "retry-after"}}}, "route.retry_policy.rate_limited_retry_back_off", onOpenAI, "set", true},
	{"timeout", onMain, "ROUTE/route/timeout", nil, "route.timeout", onOpenAI, "not set", false},
	{"timeout of 60 s", onMain, "ROUTE/route/timeout", "60s", "route.timeout", onOpenAI, "1m0s", false},
	{"idle timeout", onMain, "HCM/stream_idle_timeout", "10s", "stream_idle_timeout", onMain, "10s", false},
	{"route's idle timeout", onMain, "ROUTE/route/idle_timeout", "10s", "stream_idle_timeout", onOpenAI, "10s", false},

	// the route's headers
	{"host of the client", onMain, "ROUTE/route/host_rewrite_literal", nil, "route.host_rewrite_literal", onOpenAI, "not set", false},
	{"credentials", onMain, "ROUTE/request_headers_to_remove", nil, "route.request_headers_to_remove", onOpenAI, "not set", true},
	{"some credentials", onMain, "ROUTE/request_headers_to_remove", []any{"authorization", "x-api-key"}, "route.request_headers_to_remove", onOpenAI, "authorization, x-api-key", true},
	{"retry header for clients", onMain, "ROUTE/response_headers_to_remove", nil, "route.response_headers_to_remove", onOpenAI, "not set", false},

	// the filter
	{"filter off on a route", onMain, "ROUTE/typed_per_filter_config/keyturn", nil, "route.typed_per_filter_config.keyturn", onOpenAI, "not set", true},
	{"filter disabled on a route", onMain, "ROUTE/typed_per_filter_config/keyturn", map[string]any{"@type": filterTypes + "ext_proc.v3.ExtProcPerRoute", "disabled": true}, "route.typed_per_filter_config.keyturn", onOpenAI, "not set", true},
	{"filter on everywhere", onMain, "UPSTREAM/keyturn/disabled", nil, "filter.disabled", onMain, "false", false},
	{"processor's cluster", onMain, "PROC/grpc_service/envoy_grpc/cluster_name", "nowhere", "filter.grpc_service.envoy_grpc.cluster_name", onMain, `"nowhere"`, true},
	{"no request headers", onMain, "PROC/processing_mode/request_header_mode", "SKIP", "filter.processing_mode.request_header_mode", onMain, "SKIP", true},
	{"all request bodies", onMain, "PROC/processing_mode/request_body_mode", "BUFFERED", "filter.processing_mode.request_body_mode", onMain, "BUFFERED", false},
	{"no response headers", onMain, "PROC/processing_mode/response_header_mode", "SKIP", "filter.processing_mode.response_header_mode", onMain, "SKIP", true},
	{"all response bodies", onMain, "PROC/processing_mode/response_body_mode", "STREAMED", "filter.processing_mode.response_body_mode", onMain, "STREAMED", false},
	{"mode override", onMain, "PROC/allow_mode_override", nil, "filter.allow_mode_override", onMain, "false", true},
	{"some overrides", onMain, "PROC/allowed_override_modes", []any{map[string]any{"request_header_mode": "SEND"}}, "filter.allowed_override_modes", onMain, "", true},
	{"message timeout", onMain, "PROC/message_timeout", nil, "filter.message_timeout", onMain, "not set", false},
	{"max message timeout", onMain, "PROC/max_message_timeout", nil, "filter.max_message_timeout", onMain, "not set", false},
	{"status on error", onMain, "PROC/status_on_error", nil, "filter.status_on_error", onMain, "not set", false},
	{"open failure", onMain, "PROC/failure_mode_allow", true, "filter.failure_mode_allow", onMain, "true", true},
	{"open failure of a route", onMain, "ROUTE/typed_per_filter_config/keyturn/overrides/failure_mode_allow", true, "route.typed_per_filter_config.keyturn.overrides.failure_mode_allow", onOpenAI, "true", true},
	{"no immediate responses", onMain, "PROC/disable_immediate_response", true, "filter.disable_immediate_response", onMain, "true", true},
	{"observability", onMain, "PROC/observability_mode", true, "filter.observability_mode", onMain, "true", true},
	{"routing mutations", onMain, "PROC/mutation_rules/allow_all_routing", nil, "filter.mutation_rules.allow_all_routing", onMain, "not set", false},
	{"envoy mutations", onMain, "PROC/mutation_rules/allow_envoy", false, "filter.mutation_rules.allow_envoy", onMain, "false", true},
	{"no mutations", onMain, "PROC/mutation_rules/disallow_all", true, "filter.mutation_rules.disallow_all", onMain, "true", true},
	{"metadata to Keyturn", onMain, "PROC/metadata_options/forwarding_namespaces", nil, "filter.metadata_options.forwarding_namespaces.untyped", onMain, "not set", true},
	{"metadata from Keyturn", onMain, "PROC/metadata_options/receiving_namespaces/untyped", []any{"other"}, "filter.metadata_options.receiving_namespaces.untyped", onMain, "other", true},
	{"attributes", onMain, "PROC/request_attributes", nil, "filter.request_attributes", onMain, "not set", true},
	{"one attribute", onMain, "PROC/request_attributes", []any{"upstream.request_attempt_count"}, "filter.request_attributes", onMain, "upstream.request_attempt_count", true},
	{"all headers", onMain, "PROC/forward_rules", nil, "filter.forward_rules", onMain, "not set", false},
	{"too few headers", onMain, "PROC/forward_rules/allowed_headers/patterns", []any{map[string]any{"prefix": ":"}, map[string]any{"safe_regex": map[string]any{"regex": "(content|transfer|x|anthropic)-.*"}}, map[string]any{"exact": "upgrade"}, map[string]any{"exact": "connection"}}, "filter.forward_rules", onMain, "without retry-after, retry-after-ms", true},
	{"headers held back", onMain, "PROC/forward_rules/disallowed_headers", map[string]any{"patterns": []any{map[string]any{"suffix": "Length", "ignore_case": true}}}, "filter.forward_rules", onMain, "without content-length", true},
	{"codec", onMain, "UPSTREAM/1/typed_config/@type", filterTypes + "router.v3.Router", "upstream_http_filters", onMain, "envoy.filters.http.upstream_codec", true},
	{"filter of another type", onMain, "PROC/@type", filterTypes + "router.v3.Router", "filter.typed_config", onMain, filterTypes + "router.v3.Router", true},

	// the listeners
	{"plain errors", onMain, "HCM/local_reply_config", nil, "local_reply_config", onMain, "not set", false},
	{"Keyturn's errors rewritten", onMain, "HCM/local_reply_config/mappers/0/body_format_override", map[string]any{"text_format_source": map[string]any{"inline_string": "x"}}, "local_reply_config.mappers", onMain, "", true},
	{"all errors rewritten", onMain, "HCM/local_reply_config/body_format", map[string]any{"text_format_source": map[string]any{"inline_string": "x"}}, "local_reply_config.mappers", onMain, "", true},
	{"clients unknown", onMain, "CHAIN/envoy.filters.http.api_key_auth/disabled", true, "http_filters", onMain, "not set", true},
	{"turn forged", onMain, "CHAIN/envoy.filters.http.header_to_metadata/typed_config/request_rules/0/header", "x-keyturn-turn", "http_filters.header_to_metadata", onMain, "", true},
	{"turn not told", onLoopback, "CHAIN/envoy.filters.http.header_to_metadata/typed_config/request_rules/0/remove", nil, "http_filters.header_to_metadata", onLoopback, "not set", true},
	{"loopback over TCP", onLoopback, "address", map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": 1}}, "address", onLoopback, "127.0.0.1", true},
	{"loopback for everybody", onLoopback, "address/pipe/mode", 0o666, "address.pipe.mode", onLoopback, "438 (0666)", true},
	{"loopback by the umask", onLoopback, "address/pipe/mode", nil, "address.pipe.mode", onLoopback, "not set", true},
	{"cluster's header goes on", onLoopback, "LOOP/request_headers_to_remove", nil, "route.request_headers_to_remove", onLoop, "not set", false},
	{"loopback's retries", onLoopback, "LOOP/route/retry_policy", nil, "route.retry_policy", onLoop, "not set", true},
	{"loopback's timeout", onLoopback, "LOOP/route/timeout", nil, "route.timeout", onLoop, "not set", false},
	{"loopback without the filter", onLoopback, "LOOP/typed_per_filter_config/keyturn", nil, "route.typed_per_filter_config.keyturn", onLoop, "not set", true},
	{"loopback keeps what Keyturn reads", onLoopback, "LOOP/response_headers_to_remove", []any{"x-keyturn-retry", "X-Keyturn-Used-Id"}, "route.response_headers_to_remove", onLoop, "x-keyturn-retry, X-Keyturn-Used-Id", false},
	{"loopback's buffer", onLoopback, "LOOP/typed_per_filter_config|envoy.filters.http.buffer", nil, "route.typed_per_filter_config.envoy.filters.http.buffer", onLoop, "not set", true},
	{"loopback's circuit breakers are the provider's", onProvider, "circuit_breakers/thresholds/0/priority", "HIGH", "cluster.circuit_breakers", onProvider, "not set", false},
}

func checkedConfig(t *testing.T) envoy.Config {
	return envoy.Config{
		Listen: "0.0.0.0:0", Admin: "127.0.0.1:0", Loopback: "unix:loopback.sock", Processor: "unix:extproc.sock", CAFile: "testdata/ca.pem",
		Clients: envoy.Clients{APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}}},
		Pools:   []envoy.Pool{{Name: "openai", Provider: "openai", Upstream: parse(t, "https://127.0.0.1:1"), Keys: 3}},
	}
}

func wanted(cfg envoy.Config) envoy.Want {
	return envoy.Want{Processor: cfg.Processor, Pools: cfg.Pools, Loopback: cfg.Loopback != ""}
}

// bootstrapTree is a rendered configuration without its types.
func bootstrapTree(t *testing.T, cfg envoy.Config) tree {
	t.Helper()
	b, err := envoy.Render(cfg)
	require.NoError(t, err)
	doc, err := envoy.Marshal(b)
	require.NoError(t, err)
	var d map[string]any
	require.NoError(t, yaml.Unmarshal(doc, &d))
	// Shaped errors are half of the document, and all alike.
	replies := below(t, managerOf(t, tree(d).resource(t, onMain)), "local_reply_config").(map[string]any)
	replies["mappers"] = replies["mappers"].([]any)[:3]
	return d
}

// dumpTree starts a real Envoy with a configuration and returns its /config_dump.
func dumpTree(t *testing.T, d tree) tree {
	t.Helper()
	doc, err := json.Marshal(d)
	require.NoError(t, err)
	here, err := filepath.Abs("testdata")
	require.NoError(t, err)
	folder, err := os.MkdirTemp("", "kt")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	require.NoError(t, os.Symlink(here, filepath.Join(folder, "testdata")))
	p := start(t, realEnvoy(t), envoy.RunConfig{Bootstrap: doc, Dir: folder, Drain: -1})
	require.NoError(t, p.Ready(bounded(t)))
	var dump tree
	require.NoError(t, json.Unmarshal([]byte(get(t, p.Admin(), "/config_dump")), &dump))
	require.NoError(t, p.Stop(bounded(t)))
	return dump
}

func check(t *testing.T, d tree, want envoy.Want) []envoy.Finding {
	t.Helper()
	doc, err := json.Marshal(d)
	require.NoError(t, err)
	findings, err := envoy.Check(doc, want)
	require.NoError(t, err)
	return findings
}

// TestCheckFindsEach breaks one setting after the other, in a bootstrap and in the dump of a real Envoy.
func TestCheckFindsEach(t *testing.T) { findsEach(t, checkedConfig(t), breakages) }

// findsEach holds that nothing is found in the rendered configuration, and each of the breakages in itself.
func findsEach(t *testing.T, cfg envoy.Config, breakages []breakage) {
	t.Helper()
	rendered := bootstrapTree(t, cfg)
	for form, d := range map[string]tree{"bootstrap": rendered, "dump": dumpTree(t, rendered)} {
		t.Run(form, func(t *testing.T) {
			require.Empty(t, check(t, d, wanted(cfg)))
			for _, b := range breakages {
				t.Run(b.name, func(t *testing.T) {
					broken := d.clone(t)
					put(t, broken.resource(t, b.resource), b.path, b.value)
					findings := check(t, broken, wanted(cfg))
					require.NotEmpty(t, findings)
					places := map[string]bool{}
					for _, f := range findings {
						places[f.Where] = true
						require.Equal(t, b.fatal, findings[0].Fatal, f)
						require.NotEmpty(t, f.Want, f)
						require.Regexp(t, `^[A-Z].*\.$`, f.Consequence)
						if b.setting != "" {
							require.Equal(t, b.setting, f.Setting, f)
						}
						if b.found != "" {
							require.Equal(t, b.found, f.Found, f)
						}
					}
					require.ElementsMatch(t, strings.Split(b.where, " + "), slices.Collect(maps.Keys(places)), findings)
					if b.setting != "" {
						require.Len(t, findings, len(places))
					}
				})
			}
		})
	}
}
