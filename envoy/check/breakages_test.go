package check_test

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
	onEnvoy     = "envoy"
	onMain      = "listener main"
	onOpenAI    = "listener main, route openai"
	onBoth      = "listener main, route openai + listener main, route default"
	onInner     = "listener keyturn-inner"
	onAttempts  = "listener keyturn-inner, route all[0]"
	onLoopback  = "listener loopback"
	onLoop      = "listener loopback, route all[0]"
	onProcessor = "cluster keyturn-processor"
	onHop       = "cluster keyturn-inner"
	onProvider  = "cluster openai"
)

// added is a header that a route adds.
func added(name, value, action string) map[string]any {
	return map[string]any{"header": map[string]any{"key": name, "value": value}, "append_action": action}
}

const overwrite = "OVERWRITE_IF_EXISTS_OR_ADD"

// addedAll are the headers that a route to the inner listener adds, but for those that somebody got wrong.
func addedAll(wrong ...map[string]any) (all []any) {
	for _, o := range []map[string]any{
		added("x-keyturn-retries", "18", overwrite), added("x-keyturn-pool", "openai", overwrite),
		added("x-keyturn-id", "%UNIQUE_ID%", overwrite), added("x-keyturn-start", "%START_TIME(%s.%3f)%", overwrite),
	} {
		for _, w := range wrong {
			if w["header"].(map[string]any)["key"] == o["header"].(map[string]any)["key"] {
				o = w
			}
		}
		all = append(all, o)
	}
	return all
}

// removedAll are the headers that a route to the inner listener removes, but for one, and some more.
func removedAll(but string, more ...any) (all []any) {
	for _, n := range []string{
		"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-keyturn-turn", "x-keyturn-model", "x-keyturn-cluster",
	} {
		if n != but {
			all = append(all, n)
		}
	}
	return append(all, more...)
}

// usedRule moves a header of a response to the metadata.
func usedRule(name string, remove bool) map[string]any {
	return map[string]any{"header": name, "remove": remove, "on_header_present": map[string]any{"metadata_namespace": "keyturn", "key": "x"}}
}

// cel is a condition on an answer.
func cel(expression string) map[string]any {
	return map[string]any{"extension_filter": map[string]any{
		"name": "envoy.access_loggers.extension_filters.cel", "typed_config": map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter", "expression": expression,
		},
	}}
}

var (
	perRoute = func(overrides map[string]any) map[string]any {
		return map[string]any{"@type": filterTypes + "ext_proc.v3.ExtProcPerRoute", "overrides": overrides}
	}
	disabledRoute = map[string]any{"@type": filterTypes + "ext_proc.v3.ExtProcPerRoute", "disabled": true}
	textFormat    = map[string]any{"text_format_source": map[string]any{"inline_string": "x"}}
)

// breakages are at least one of each setting that Keyturn needs.
var breakages = []breakage{
	// the processor's cluster
	{"processor's buffer without limit", onProcessor, "per_connection_buffer_limit_bytes", 0, "cluster.per_connection_buffer_limit_bytes", onProcessor, "0", false},
	{"stream window", onProcessor, "OPTIONS/explicit_http_config/http2_protocol_options/initial_stream_window_size", nil, "cluster.http2_protocol_options.initial_stream_window_size", onProcessor, "not set", false},
	{"stream window too large", onProcessor, "OPTIONS/explicit_http_config/http2_protocol_options/initial_stream_window_size", 256 << 20, "cluster.http2_protocol_options.initial_stream_window_size", onProcessor, "268435456", false},
	{"HTTP/2 to the processor", onProcessor, "typed_extension_protocol_options", nil, "cluster.http2_protocol_options", onProcessor, "not set", true},
	{"processor's circuit breakers", onProcessor, "circuit_breakers", nil, "cluster.circuit_breakers", onProcessor, "not set", false},
	{"processor elsewhere", onProcessor, "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/pipe/path", "other.sock", "cluster.load_assignment", onProcessor, "unix:other.sock", true},

	{"processor nowhere", onProcessor, "load_assignment", nil, "cluster.load_assignment", onProcessor, "not set", true},

	// the cluster that leads to the inner listener
	{"hop to another listener", onHop, "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/envoy_internal_address/server_listener_name", "main", "cluster.load_assignment", onHop, "the internal listener main", true},
	{"hop nowhere", onHop, "load_assignment/endpoints", nil, "cluster.load_assignment", onHop, "not set", true},
	{"hop over HTTP/2", onHop, "OPTIONS/explicit_http_config", map[string]any{"http2_protocol_options": map[string]any{}}, "cluster.http2_protocol_options", onHop, "set", true},
	{"hop over what the client speaks", onHop, "typed_extension_protocol_options|envoy.extensions.upstreams.http.v3.HttpProtocolOptions", map[string]any{
		"@type":                          "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
		"common_http_protocol_options":   map[string]any{"idle_timeout": "60s", "max_headers_count": 992, "max_response_headers_kb": 144},
		"use_downstream_protocol_config": map[string]any{},
	}, "cluster.http2_protocol_options", onHop, "set", true},
	{"hop's circuit breakers", onHop, "circuit_breakers", nil, "", onHop, "not set", true},
	{"hop's connections", onHop, "circuit_breakers/thresholds/0/max_connections", nil, "cluster.circuit_breakers.max_connections", onHop, "not set", false},
	{"retries at once", onHop, "circuit_breakers/thresholds/0/max_retries", 3, "cluster.circuit_breakers.max_retries", onHop, "3", true},
	{"retry budget", onHop, "circuit_breakers/thresholds/0/retry_budget", map[string]any{}, "cluster.circuit_breakers.max_retries", onHop, "", true},
	{"hop's idle timeout", onHop, "OPTIONS/common_http_protocol_options/idle_timeout", nil, "cluster.common_http_protocol_options.idle_timeout", onHop, "1h0m0s", false},
	{"hop without an idle timeout", onHop, "OPTIONS/common_http_protocol_options/idle_timeout", "0s", "cluster.common_http_protocol_options.idle_timeout", onHop, "0s", false},
	{"hop's number of headers", onHop, "OPTIONS/common_http_protocol_options/max_headers_count", nil, "cluster.common_http_protocol_options.max_headers_count", onHop, "100", false},
	{"hop's size of headers", onHop, "OPTIONS/common_http_protocol_options/max_response_headers_kb", nil, "cluster.common_http_protocol_options.max_response_headers_kb", onHop, "60", false},

	// the provider's cluster
	{"provider's circuit breakers", onProvider, "circuit_breakers", nil, "cluster.circuit_breakers", onProvider, "not set", false},
	{"connections", onProvider, "circuit_breakers/thresholds/0/max_connections", nil, "cluster.circuit_breakers.max_connections", onProvider, "not set", false},
	{"pending requests", onProvider, "circuit_breakers/thresholds/0/max_pending_requests", 1024, "cluster.circuit_breakers.max_pending_requests", onProvider, "1024", false},
	{"requests", onProvider, "circuit_breakers/thresholds/0/max_requests", nil, "cluster.circuit_breakers.max_requests", onProvider, "not set", false},
	{"circuit breakers of another priority", onProvider, "circuit_breakers/thresholds/0/priority", "HIGH", "cluster.circuit_breakers", onProvider, "not set", false},
	{"certificate of any host", onProvider, "transport_socket/typed_config/common_tls_context/validation_context/match_typed_subject_alt_names", nil, "cluster.transport_socket", onProvider, "", true},
	{"certificate of any authority", onProvider, "transport_socket/typed_config/common_tls_context/validation_context/trusted_ca", nil, "cluster.transport_socket", onProvider, "", true},
	{"no TLS", onProvider, "transport_socket", nil, "cluster.transport_socket", onProvider, "not set", true},
	{"no server name", onProvider, "transport_socket/typed_config/sni", nil, "cluster.transport_socket.sni", onProvider, "not set", true},
	{"provider's retries", onProvider, "OPTIONS/retry_policy", map[string]any{"retry_on": "5xx"}, "cluster.retry_policy", onProvider, "set", true},

	// the inner listener
	{"internal listeners", "bootstrap", "bootstrap_extensions", nil, "bootstrap_extensions", onEnvoy, "not set", true},
	{"no filter", onInner, "CHAIN/0", map[string]any{"name": "other", "typed_config": map[string]any{"@type": filterTypes + "header_mutation.v3.HeaderMutation"}}, "http_filters.keyturn", onInner, "not set", true},
	{"filter that is off", onInner, "CHAIN/keyturn/disabled", true, "filter.disabled", onInner, "true", true},
	{"x-forwarded-for", onInner, "HCM/skip_xff_append", nil, "skip_xff_append", onInner, "false", false},
	{"Envoy's headers", onInner, "CHAIN/envoy.filters.http.router/typed_config/suppress_envoy_headers", nil, "router.suppress_envoy_headers", onInner, "false", false},
	{"upgrades of attempts", onInner, "HCM/upgrade_configs", nil, "upgrade_configs", onInner, "not set", false},
	{"inner idle timeout", onInner, "HCM/stream_idle_timeout", nil, "stream_idle_timeout", onInner, "not set", false},
	{"inner idle timeout of a minute", onInner, "HCM/stream_idle_timeout", "60s", "stream_idle_timeout", onInner, "1m0s", false},
	{"inner route's idle timeout", onInner, "ONLY/route/idle_timeout", "60s", "stream_idle_timeout", onAttempts, "1m0s", false},
	{"number of headers", onInner, "HCM/common_http_protocol_options/max_headers_count", nil, "common_http_protocol_options.max_headers_count", onInner, "100", false},
	{"size of headers", onInner, "HCM/max_request_headers_kb", nil, "max_request_headers_kb", onInner, "60", false},
	{"size of headers of the front", onMain, "HCM/max_request_headers_kb", 192, "max_request_headers_kb", onInner, "192", false},
	{"inner connections closed early", onInner, "HCM/common_http_protocol_options/idle_timeout", "30s", "cluster.common_http_protocol_options.idle_timeout", onHop, "1m0s", false},
	{"plain errors without Keyturn", onInner, "HCM/local_reply_config", nil, "local_reply_config", onInner, "not set", false},
	{"no mappers without Keyturn", onInner, "HCM/local_reply_config/mappers", nil, "local_reply_config", onInner, "not set", false},
	{"Keyturn's errors rewritten", onInner, "HCM/local_reply_config/mappers/0/filter", map[string]any{"status_code_filter": map[string]any{"comparison": map[string]any{"op": "GE", "value": map[string]any{"default_value": 400, "runtime_key": "x"}}}}, "local_reply_config.mappers", onInner, "mappers[0] rewrites them", true},
	{"Keyturn's errors by their details", onInner, "HCM/local_reply_config/mappers/3/filter", cel("response.code_details.startsWith('keyturn_')"), "local_reply_config.mappers", onInner, "mappers[3] rewrites them", true},
	{"all but others'", onInner, "HCM/local_reply_config/mappers/1/filter", cel("!response.code_details.startsWith('ext_proc')"), "local_reply_config.mappers", onInner, "mappers[1] rewrites them", true},
	{"either", onInner, "HCM/local_reply_config/mappers/2/filter", cel("response.code == 500 || response.code_details == 'x'"), "local_reply_config.mappers", onInner, "mappers[2] rewrites them", true},
	{"all errors rewritten", onInner, "HCM/local_reply_config/body_format", textFormat, "local_reply_config.mappers", onInner, "body_format rewrites them", true},

	// its route
	{"one cluster for all", onInner, "ONLY/route", map[string]any{"cluster": "openai", "timeout": "0s"}, "route.cluster_header", onAttempts, "the cluster openai", true},
	{"another header for the cluster", onInner, "ONLY/route/cluster_header", "x-cluster", "route.cluster_header", onAttempts, "x-cluster", true},
	{"some paths", onInner, "ONLY/match/prefix", "/v1/", "route.match", onInner, "not set", true},
	{"some methods", onInner, "ONLY/match/headers", []any{map[string]any{"name": ":method", "string_match": map[string]any{"exact": "POST"}}}, "route.match", onInner, "not set", true},
	{"some hosts", onInner, "HOST/domains", []any{"example.com"}, "route.match", onInner, "not set", true},
	{"inner retries", onInner, "ONLY/route/retry_policy", map[string]any{"retry_on": "5xx"}, "route.retry_policy", onAttempts, "set", true},
	{"inner retries of the host", onInner, "HOST/retry_policy", map[string]any{"retry_on": "5xx"}, "route.retry_policy", onAttempts, "set", true},
	{"inner timeout", onInner, "ONLY/route/timeout", nil, "route.timeout", onAttempts, "not set", false},
	{"inner body limit", onInner, "HOST/request_body_buffer_limit", nil, "route.request_body_buffer_limit", onAttempts, "not set", true},
	{"inner body limit below the front's", onInner, "HOST/request_body_buffer_limit", 16 << 20, "route.request_body_buffer_limit", onAttempts, "16777216", true},
	{"front's body limit above the inner's", onMain, "HOST/request_body_buffer_limit", 64 << 20, "route.request_body_buffer_limit", onAttempts, "33554432", true},
	{"inner rewrite of the path", onInner, "ONLY/route/prefix_rewrite", "/v1/", "route", onAttempts, "prefix_rewrite", true},
	{"inner rewrite of the host", onInner, "ONLY/route/host_rewrite_literal", "example.com", "route", onAttempts, "a rewrite of the host", true},
	{"nothing removed from attempts", onInner, "HOST/request_headers_to_remove", nil, "", onAttempts, "", false},
	{"cluster's header goes on", onInner, "HOST/request_headers_to_remove", []any{"x-forwarded-proto"}, "route.request_headers_to_remove", onAttempts, "without x-keyturn-cluster", false},
	{"scheme goes on", onInner, "HOST/request_headers_to_remove", []any{"x-keyturn-cluster"}, "route.request_headers_to_remove", onAttempts, "without x-forwarded-proto", false},
	{"key removed", onInner, "HOST/request_headers_to_remove", []any{"x-keyturn-cluster", "x-forwarded-proto", "Authorization"}, "route.request_headers_to_remove", onAttempts, "with authorization", true},
	{"filter off on the route", onInner, "ONLY/typed_per_filter_config/keyturn", disabledRoute, "route.typed_per_filter_config.keyturn", onAttempts, "disabled", true},
	{"answers not read on the route", onInner, "ONLY/typed_per_filter_config/keyturn", perRoute(map[string]any{"processing_mode": map[string]any{"response_header_mode": "SKIP"}}), "route.typed_per_filter_config.keyturn.overrides", onAttempts, "processing_mode", true},
	{"open failure of a route", onInner, "HOST/typed_per_filter_config/keyturn", perRoute(map[string]any{"failure_mode_allow": true}), "route.typed_per_filter_config.keyturn.overrides", onAttempts, "failure_mode_allow", true},

	// the filter
	{"processor's cluster", onInner, "PROC/grpc_service/envoy_grpc/cluster_name", "nowhere", "filter.grpc_service.envoy_grpc.cluster_name", onInner, `"nowhere"`, true},
	{"no request headers", onInner, "PROC/processing_mode/request_header_mode", "SKIP", "filter.processing_mode.request_header_mode", onInner, "SKIP", true},
	{"all request bodies", onInner, "PROC/processing_mode/request_body_mode", "BUFFERED", "filter.processing_mode.request_body_mode", onInner, "BUFFERED", false},
	{"no response headers", onInner, "PROC/processing_mode/response_header_mode", "SKIP", "filter.processing_mode.response_header_mode", onInner, "SKIP", true},
	{"all response bodies", onInner, "PROC/processing_mode/response_body_mode", "STREAMED", "filter.processing_mode.response_body_mode", onInner, "STREAMED", false},
	{"mode override", onInner, "PROC/allow_mode_override", nil, "filter.allow_mode_override", onInner, "false", true},
	{"some overrides", onInner, "PROC/allowed_override_modes", []any{map[string]any{"request_header_mode": "SEND"}}, "filter.allowed_override_modes", onInner, "", true},
	{"message timeout", onInner, "PROC/message_timeout", nil, "filter.message_timeout", onInner, "not set", false},
	{"max message timeout", onInner, "PROC/max_message_timeout", nil, "filter.max_message_timeout", onInner, "not set", false},
	{"status on error", onInner, "PROC/status_on_error", nil, "filter.status_on_error", onInner, "not set", false},
	{"open failure", onInner, "PROC/failure_mode_allow", true, "filter.failure_mode_allow", onInner, "true", true},
	{"no immediate responses", onInner, "PROC/disable_immediate_response", true, "filter.disable_immediate_response", onInner, "true", true},
	{"observability", onInner, "PROC/observability_mode", true, "filter.observability_mode", onInner, "true", true},
	{"routing mutations", onInner, "PROC/mutation_rules/allow_all_routing", nil, "filter.mutation_rules.allow_all_routing", onInner, "not set", true},
	{"envoy mutations", onInner, "PROC/mutation_rules/allow_envoy", false, "filter.mutation_rules.allow_envoy", onInner, "false", true},
	{"no mutations", onInner, "PROC/mutation_rules/disallow_all", true, "filter.mutation_rules.disallow_all", onInner, "true", true},
	{"no system mutations", onInner, "PROC/mutation_rules/disallow_system", true, "filter.mutation_rules.disallow_system", onInner, "true", true},
	{"some mutations", onInner, "PROC/mutation_rules/disallow_expression", map[string]any{"regex": "auth.*"}, "filter.mutation_rules.disallow_expression", onInner, `"auth.*"`, true},
	{"route kept", onInner, "PROC/route_cache_action", nil, "filter.route_cache_action", onInner, "DEFAULT", true},
	{"metadata from Keyturn", onInner, "PROC/metadata_options/receiving_namespaces/untyped", []any{"other"}, "filter.metadata_options.receiving_namespaces.untyped", onInner, "other", false},
	{"attributes", onInner, "PROC/response_attributes", nil, "filter.response_attributes", onInner, "not set", false},
	{"one attribute", onInner, "PROC/response_attributes", []any{"response.flags"}, "filter.response_attributes", onInner, "response.flags", false},
	{"all headers", onInner, "PROC/forward_rules", nil, "filter.forward_rules", onInner, "not set", false},
	{"too few headers", onInner, "PROC/forward_rules/allowed_headers/patterns", []any{map[string]any{"prefix": ":"}, map[string]any{"safe_regex": map[string]any{"regex": "(content|transfer|x|anthropic)-.*"}}, map[string]any{"exact": "upgrade"}, map[string]any{"exact": "connection"}}, "", onInner, "", true},
	{"headers held back", onInner, "PROC/forward_rules/disallowed_headers", map[string]any{"patterns": []any{map[string]any{"suffix": "Length", "ignore_case": true}}}, "", onInner, "", true}, // and secrets are not
	{"request ids held back", onInner, "PROC/forward_rules/disallowed_headers", exact("x-request-id"), "", onInner, "", true},
	{"filter of another type", onInner, "PROC/@type", filterTypes + "router.v3.Router", "filter.typed_config", onInner, filterTypes + "router.v3.Router", true},

	// a front's retries and times
	{"retry policy", onMain, "ROUTE/route/retry_policy", nil, "route.retry_policy", onOpenAI, "not set", true},
	{"retry on other things", onMain, "ROUTE/route/retry_policy/retry_on", "5xx", "route.retry_policy.retry_on", onOpenAI, "5xx", true},
	{"retry header", onMain, "ROUTE/route/retry_policy/retriable_headers", nil, "route.retry_policy.retriable_headers", onOpenAI, "not set", true},
	{"retry without the header", onMain, "ROUTE/route/retry_policy/retriable_headers/0/present_match", false, "route.retry_policy.retriable_headers", onOpenAI, "others", true},
	{"number of retries", onMain, "ROUTE/route/retry_policy/num_retries", nil, "", onOpenAI, "", true}, // and x-keyturn-retries is another
	{"back-off", onMain, "ROUTE/route/retry_policy/retry_back_off", nil, "route.retry_policy.retry_back_off", onOpenAI, "not set", false},
	{"long back-off", onMain, "ROUTE/route/retry_policy/retry_back_off/base_interval", "0.025s", "route.retry_policy.retry_back_off", onOpenAI, "25ms", false},
	{"waiting for the provider", onMain, "ROUTE/route/retry_policy/rate_limited_retry_back_off", map[string]any{"reset_headers": []any{map[string]any{"name": "retry-after"}}}, "route.retry_policy.rate_limited_retry_back_off", onOpenAI, "set", true},
	{"timeout of an attempt", onMain, "ROUTE/route/retry_policy/per_try_timeout", "60s", "route.retry_policy.per_try_timeout", onOpenAI, "1m0s", false},
	{"timeout", onMain, "ROUTE/route/timeout", nil, "route.timeout", onOpenAI, "not set", false},
	{"timeout of 60 s", onMain, "ROUTE/route/timeout", "60s", "route.timeout", onOpenAI, "1m0s", false},
	{"idle timeout", onMain, "HCM/stream_idle_timeout", "10s", "stream_idle_timeout", onMain, "10s", false},
	{"route's idle timeout", onMain, "ROUTE/route/idle_timeout", "10s", "stream_idle_timeout", onOpenAI, "10s", false},
	{"body limit", onMain, "HOST/request_body_buffer_limit", nil, "route.request_body_buffer_limit", onBoth, "not set", false},
	{"upgrades", onMain, "HCM/upgrade_configs", nil, "upgrade_configs", onBoth, "not set", false},
	{"upgrades off on a route", onMain, "ROUTE/route/upgrade_configs", []any{map[string]any{"upgrade_type": "websocket", "enabled": false}}, "upgrade_configs", onOpenAI, "not set", false},
	{"past Keyturn", onMain, "ROUTE/route/cluster", "openai", "route.cluster", onOpenAI, "openai", true},

	// its headers
	{"attempts not counted", onMain, "HOST/include_request_attempt_count", nil, "virtual_host.include_request_attempt_count", onBoth, "false", false},
	{"id that may be a client's", onMain, "HOST/request_headers_to_add/0/header/value", "%STREAM_ID%", "route.request_headers_to_add.x-keyturn-id", onBoth, "%STREAM_ID%", true},
	{"id beside a client's", onMain, "HOST/request_headers_to_add/0/append_action", nil, "route.request_headers_to_add.x-keyturn-id", onBoth, "%UNIQUE_ID% with APPEND_IF_EXISTS_OR_ADD", true},
	{"start", onMain, "HOST/request_headers_to_add/1/header/key", "x-other", "route.request_headers_to_add.x-keyturn-start", onBoth, "not set", true},
	{"start in words", onMain, "HOST/request_headers_to_add/1/header/value", "%START_TIME%", "route.request_headers_to_add.x-keyturn-start", onBoth, "%START_TIME%", true},
	{"neither id nor start", onMain, "HOST/request_headers_to_add", nil, "", onBoth, "not set", true},
	{"client's start", onMain, "HOST/request_headers_to_add/1/append_action", "ADD_IF_ABSENT", "route.request_headers_to_add.x-keyturn-start", onBoth, "%START_TIME(%s.%3f)% with ADD_IF_ABSENT", true},
	{"pool of a client's", onMain, "ROUTE/request_headers_to_add", addedAll(added("x-keyturn-pool", "openai", "ADD_IF_ABSENT")), "route.request_headers_to_add.x-keyturn-pool", onOpenAI, "openai with ADD_IF_ABSENT", true},
	{"pool where a client names one", onMain, "ROUTE/request_headers_to_add", addedAll(added("x-keyturn-pool", "openai", "OVERWRITE_IF_EXISTS")), "route.request_headers_to_add.x-keyturn-pool", onOpenAI, "not set", true},
	{"pool that a client names", onMain, "ROUTE/request_headers_to_add", addedAll(added("x-keyturn-pool", "%REQ(x-pool)%", overwrite)), "route.request_headers_to_add.x-keyturn-pool", onOpenAI, "%REQ(x-pool)%", true},
	{"pool that nobody knows", onMain, "ROUTE/request_headers_to_add", addedAll(added("x-keyturn-pool", "other", overwrite)), "route.request_headers_to_add.x-keyturn-pool", onOpenAI, "other", true},
	{"other retries than are made", onMain, "ROUTE/request_headers_to_add", addedAll(added("x-keyturn-retries", "20", overwrite)), "route.request_headers_to_add.x-keyturn-retries", onOpenAI, "20", false},
	{"retries beside a client's", onMain, "ROUTE/request_headers_to_add", addedAll(added("x-keyturn-retries", "18", "APPEND_IF_EXISTS_OR_ADD")), "route.request_headers_to_add.x-keyturn-retries", onOpenAI, "18 with APPEND_IF_EXISTS_OR_ADD", false},
	{"some credentials", onMain, "ROUTE/request_headers_to_remove", removedAll("x-goog-api-key"), "route.request_headers_to_remove", onOpenAI, "without x-goog-api-key", true},
	{"nothing removed", onMain, "ROUTE/request_headers_to_remove", nil, "", onOpenAI, "", true},
	{"turn forged", onMain, "ROUTE/request_headers_to_remove", removedAll("x-keyturn-turn"), "route.request_headers_to_remove", onOpenAI, "without x-keyturn-turn", true},
	{"model forged", onMain, "ROUTE/request_headers_to_remove", removedAll("x-keyturn-model"), "route.request_headers_to_remove", onOpenAI, "without x-keyturn-model", true},
	{"cluster forged", onMain, "ROUTE/request_headers_to_remove", removedAll("x-keyturn-cluster"), "route.request_headers_to_remove", onOpenAI, "without x-keyturn-cluster", true},
	{"client's name lost", onMain, "ROUTE/request_headers_to_remove", removedAll("", "x-keyturn-client"), "route.request_headers_to_remove", onOpenAI, "with x-keyturn-client", false},
	{"client's name forged", onMain, "CHAIN/envoy.filters.http.api_key_auth/typed_config/forwarding", nil, "", onMain + " + " + onBoth, "", true}, // and in the log's metadata,
	{"retry header for clients", onMain, "ROUTE/response_headers_to_remove", nil, "route.response_headers_to_remove", onOpenAI, "not set", false},
	{"used keys for clients", onMain, "CHAIN/keyturn-metadata/typed_config/response_rules", []any{usedRule("x-keyturn-used-pool", true), usedRule("x-keyturn-used-name", true), usedRule("x-keyturn-used-key", false)}, "http_filters.header_to_metadata", onBoth, "without x-keyturn-used-key", false},
	{"nothing used for the log", onMain, "CHAIN/keyturn-metadata/disabled", true, "http_filters.header_to_metadata", onBoth, "without x-keyturn-used-pool, x-keyturn-used-name, x-keyturn-used-key", false},

	// its listener
	{"plain errors", onMain, "HCM/local_reply_config", nil, "local_reply_config", onMain, "not set", false},
	{"clients unknown", onMain, "CHAIN/envoy.filters.http.api_key_auth/disabled", true, "", onMain + " + " + onBoth, "", true},
	{"requests held", onMain, "CHAIN/envoy.filters.http.api_key_auth", map[string]any{"name": "hold", "typed_config": map[string]any{"@type": filterTypes + "buffer.v3.Buffer", "max_request_bytes": 1}}, "", onMain + " + " + onBoth, "", true}, // in place of the clients' filter
}

// routeBreakages are of what routes say where they say all of it.
var routeBreakages = []breakage{
	{"id", onMain, "ROUTE/request_headers_to_add", addedAll(added("x-keyturn-id", "%UNIQUE_ID%", "APPEND_IF_EXISTS_OR_ADD")), "route.request_headers_to_add.x-keyturn-id", onOpenAI, "%UNIQUE_ID% with APPEND_IF_EXISTS_OR_ADD", true},
	{"pool", onMain, "ROUTE/request_headers_to_add", addedAll(added("x-keyturn-pool", "openai", "APPEND_IF_EXISTS_OR_ADD")), "route.request_headers_to_add.x-keyturn-pool", onOpenAI, "openai with APPEND_IF_EXISTS_OR_ADD", true},
	{"body limit", onMain, "ROUTE/request_body_buffer_limit", nil, "route.request_body_buffer_limit", onOpenAI, "not set", false},
	{"used keys for clients", onMain, "ROUTE/typed_per_filter_config/keyturn-metadata", nil, "http_filters.header_to_metadata", onOpenAI, "without x-keyturn-used-pool, x-keyturn-used-name, x-keyturn-used-key", false},
	{"rules off", onMain, "ROUTE/typed_per_filter_config/keyturn-metadata/disabled", true, "http_filters.header_to_metadata", onOpenAI, "without x-keyturn-used-pool, x-keyturn-used-name, x-keyturn-used-key", false},
	{"other rules", onMain, "ROUTE/typed_per_filter_config/keyturn-metadata", map[string]any{"@type": filterTypes + "header_to_metadata.v3.Config", "response_rules": []any{usedRule("x-other", true)}}, "", onOpenAI, "", true},
	{"attempts not counted", onMain, "HOST/include_request_attempt_count", nil, "virtual_host.include_request_attempt_count", onBoth, "false", false},
	{"clients unknown on one route", onMain, "ROUTE/typed_per_filter_config|envoy.filters.http.api_key_auth", nil, "", onMain + " + " + onOpenAI, "", true},
}

// socketBreakages are of an inner listener that is a Unix socket.
var socketBreakages = []breakage{
	{"inner listener over TCP", onInner, "address", map[string]any{"socket_address": map[string]any{"address": "0.0.0.0", "port_value": 1}}, "", onInner + " + " + onHop, "", true},
	{"for the group", onInner, "address/pipe/mode", 0o660, "address.pipe.mode", onInner, "432 (0660)", true},
	{"for everybody", onInner, "address/pipe/mode", 0o666, "address.pipe.mode", onInner, "438 (0666)", true},
	{"by the umask", onInner, "address/pipe/mode", nil, "address.pipe.mode", onInner, "not set", true},
	{"without a mode", onInner, "address/pipe/path", "@inner", "", onInner + " + " + onHop, "", true},
	{"another address beside it", onInner, "additional_addresses", []any{map[string]any{"address": map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": 1}}}}, "address", onInner, "127.0.0.1:1", true},
	{"full house", onInner, "ignore_global_conn_limit", nil, "ignore_global_conn_limit", onInner, "false", false},
	{"hop to another socket", onHop, "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/pipe/path", "other.sock", "cluster.load_assignment", onHop, "unix:other.sock", true},
}
