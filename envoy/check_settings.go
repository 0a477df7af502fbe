package envoy

// setting is one thing that Envoy must be told.
type setting struct {
	name        string // the field
	want        string
	fatal       bool
	consequence string // what happens otherwise
}

// About the whole.
var (
	envoyVersion = setting{
		"version", "1.37 or newer", true,
		"A retry after a response that Envoy had to pause corrupts memory.",
	}
	filterPresent = setting{
		"upstream_http_filters", "the filter keyturn, in the router of a listener or in a cluster's http_filters", true,
		"Nothing passes Keyturn: requests reach the provider without a key.",
	}
	loopbackListener = setting{
		"listener loopback", "a listener on a Unix socket with a route to cluster_header x-keyturn-cluster", true,
		"Keyturn cannot make requests of its own: a response that calls a tool ends with an error.",
	}
	poolCluster = setting{
		"cluster", "one of the pool's clusters", false,
		"No request can use the pool: a cluster's name is what picks it.",
	}
	processorPresent = setting{
		"filter.grpc_service.envoy_grpc.cluster_name", "a cluster of the configuration that leads to Keyturn", true,
		"Keyturn is not reached: every request is answered with 503.",
	}
)

// About the filter.
var (
	filterConfig = setting{
		"filter.typed_config", "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", true,
		"The filter is not Keyturn's, or its configuration is not in the document.",
	}
	filterPlace = setting{
		"http_filters.keyturn", "the filter in upstream_http_filters or a cluster's http_filters", true,
		"In the listener's chain it sees a request once and no attempt: keys do not turn.",
	}
	filterLast = setting{
		"upstream_http_filters", "envoy.filters.http.upstream_codec as the last", true,
		"Envoy refuses the configuration.",
	}
	filterDisabled = setting{
		"filter.disabled", "true, and typed_per_filter_config on the routes to pools", false,
		"Every cluster behind the listener opens a stream to Keyturn for each attempt.",
	}
	filterEnabled = setting{
		"route.typed_per_filter_config.keyturn", "ExtProcPerRoute {overrides: {}}", true,
		"Requests reach the provider past Keyturn: without a key, or with the client's own.",
	}
	modeRequestHeaders = setting{
		"filter.processing_mode.request_header_mode", "SEND", true,
		"Keyturn does not see requests and sets no key.",
	}
	modeRequestBody = setting{
		"filter.processing_mode.request_body_mode", "NONE", false,
		"Every request's body goes through Keyturn, which asks for those it needs.",
	}
	modeResponseHeaders = setting{
		"filter.processing_mode.response_header_mode", "SEND", true,
		"Keyturn does not see the provider's status: keys do not turn.",
	}
	modeResponseBody = setting{
		"filter.processing_mode.response_body_mode", "NONE", false,
		"Every response's body goes through Keyturn, which asks for those it needs.",
	}
	modeOverride = setting{
		"filter.allow_mode_override", "true", true,
		"Error bodies are not read before deciding, and a provider that refuses a WebSocket upgrade crashes Envoy.",
	}
	modesAllowed = setting{
		"filter.allowed_override_modes", "not set", true,
		"Envoy drops the overrides that are not in the list.",
	}
	timeoutMessage = setting{
		"filter.message_timeout", "a few seconds (5s)", false,
		"Envoy waits 200 ms by default: a pause of Keyturn turns into a 504.",
	}
	timeoutMaxMessage = setting{
		"filter.max_message_timeout", "3600s", false,
		"Keyturn cannot ask for more time: a response that takes it longer ends with a 504.",
	}
	timeoutTools = setting{
		"filter.max_message_timeout", "3600s", false,
		"Keyturn asks for an hour while tools run, and Envoy ignores what is more than this: a JSON answer (not streamed) ends with a 504 after message_timeout.",
	}
	statusOnError = setting{
		"filter.status_on_error", "503 (ServiceUnavailable)", false,
		"When Keyturn fails, the client gets a 500, which reads like a fault of the request.",
	}
	failureAllow = setting{
		"filter.failure_mode_allow", "false", true,
		"When Keyturn fails, requests go on to the provider: without a key, or with the client's own.",
	}
	immediateResponse = setting{
		"filter.disable_immediate_response", "false", true,
		"Keyturn cannot answer when its keys are used up: the client gets the provider's answer about the last key, or an error.",
	}
	observability = setting{
		"filter.observability_mode", "false", true,
		"Envoy ignores what Keyturn answers: no key is set.",
	}
	mutationRouting = setting{
		"filter.mutation_rules.allow_all_routing", "true", false,
		"Envoy drops Keyturn's changes of :path, :authority and host without a word.",
	}
	mutationEnvoy = setting{
		"filter.mutation_rules.allow_envoy", "true", true,
		"Envoy drops Keyturn's changes of x-envoy-* without a word: a response marked x-envoy-ratelimited is never retried.",
	}
	mutationNone = setting{
		"filter.mutation_rules.disallow_all", "false", true,
		"Envoy drops all of Keyturn's changes without a word: no key is set.",
	}
	metadataForward = setting{
		"filter.metadata_options.forwarding_namespaces.untyped", "keyturn", true,
		"Attempts do not know of each other: a request's second attempt takes the key of its first.",
	}
	metadataReceive = setting{
		"filter.metadata_options.receiving_namespaces.untyped", "keyturn", true,
		"Attempts do not know of each other, and the access log does not know the key.",
	}
	requestAttributes = setting{
		"filter.request_attributes", "xds.cluster_name and upstream.request_attempt_count", true,
		"Keyturn does not know the cluster, and so finds no pool: requests pass without a key.",
	}
	forwardNone = setting{
		"filter.forward_rules", "allowed_headers with what an attempt reads", false,
		"Every header is sent to Keyturn: right, but about a tenth more CPU on both sides.",
	}
	forwardAll = setting{
		"filter.forward_rules", "disallowed_headers with the credentials and the cookies", false,
		"Every header is sent to Keyturn, clients' credentials and cookies too, which no turn repeats.",
	}
	forwardTurns = setting{
		"filter.forward_rules", "disallowed_headers, and no allowed_headers", false,
		"The later turns of a response that called a tool lose headers of the client's, such as anthropic-version and anthropic-beta: providers refuse them, or answer otherwise.",
	}
	forwardSecrets = setting{
		"filter.forward_rules", "", false,
		"Keyturn is sent secrets of the client's, or the key of the attempt before, which it does not need.",
	}
	forwardRules = setting{
		"filter.forward_rules", "allowed_headers with what an attempt reads", true,
		"Keyturn does not see these headers, and decides without them.",
	}
)

// About a listener's HTTP connection manager.
var (
	routesKnown = setting{
		"rds.route_config_name", "routes in the document", false,
		"Its routes cannot be checked: give the answer of the running Envoy's /config_dump.",
	}
	bufferChain = setting{
		"http_filters.envoy.filters.http.buffer.disabled", "true, and typed_per_filter_config on the routes to pools", false,
		"Uploads are held in memory and bounded, and WebSocket upgrades hang.",
	}
	upgradeConfigs = setting{
		"upgrade_configs", "none; on a route of its own without the buffer filter", true,
		"An upgrade on a route with the buffer filter hangs, and one that the provider refuses can crash Envoy.",
	}
	idleTimeout = setting{
		"stream_idle_timeout", "30s or more (5m by default)", false,
		"A stream is cut while the model thinks.",
	}
	idleTools = setting{
		"route.idle_timeout", "", false,
		"A JSON answer (not streamed) is cut while tools run for it: nothing moves, and there is nowhere to put a keep-alive.",
	}
	turnLog = setting{
		"access_log", "%DYNAMIC_METADATA(keyturn:turn)% in its format", false,
		"The log does not tell the turns that Keyturn makes from the requests of clients.",
	}
	localReply = setting{
		"local_reply_config", "the dialects' JSON for Envoy's own errors", false,
		"Envoy's own 503, 504 and 413 are empty or plain text, and SDKs show no reason.",
	}
	localReplyKeyturn = setting{
		"local_reply_config.mappers", "nothing that rewrites replies with x-keyturn-error", true,
		"Keyturn's answers are rewritten too: the client loses the reason, and the dialect's error.",
	}
	clientsUnknown = setting{
		"http_filters", "api_key_auth, jwt_authn, ext_authz or the like, or client certificates", true,
		"Whoever reaches the listener spends the pools' keys.",
	}
	forgedTurn = setting{
		"http_filters.header_to_metadata", "x-keyturn-turn made to metadata by the loopback listener only", true,
		"A client can pose as Keyturn: its requests pass as parts of another.",
	}
	turnMetadata = setting{
		"http_filters.header_to_metadata", "x-keyturn-turn to metadata keyturn: turn, and the header removed", true,
		"Keyturn takes its own requests for a client's.",
	}
	loopbackAddress = setting{
		"address", "a Unix socket", true,
		"Whoever reaches the address sends requests with the keys of any pool.",
	}
	loopbackMode = setting{
		"address.pipe.mode", "384 (0600), or 432 (0660) with a group that only Envoy and Keyturn are in", true,
		"Other users of the machine may send requests with the keys of any pool.",
	}
)

// About a route.
var (
	bodyLimit = setting{
		"route.request_body_buffer_limit", "", true,
		"A response that Keyturn reads whole and that outgrows it crashes Envoy, unless it is above the cluster's own limit; a request above it is not retried.",
	}
	bodyLimitLow = setting{
		"route.request_body_buffer_limit", "", false,
		"A response that Keyturn reads whole and that outgrows it is a 500; a request above it is not retried.",
	}
	bufferRoute = setting{
		"route.typed_per_filter_config.envoy.filters.http.buffer", "BufferPerRoute, the filter in the listener's chain", true,
		"The route says keyturn-request: buffered and holds nothing: a provider that answers before the request has ended crashes Envoy.",
	}
	bufferStreamed = setting{
		"route.typed_per_filter_config.envoy.filters.http.buffer", "not set", false,
		"The route says keyturn-request: streamed and holds the request: uploads are bounded, and WebSocket upgrades hang.",
	}
	bufferBytes = setting{
		"route.typed_per_filter_config.envoy.filters.http.buffer.max_request_bytes", "", false,
		"A request between the two limits is taken, but not retried: keys do not turn for it.",
	}
	bufferedWord = setting{
		"route.typed_per_filter_config.keyturn.overrides.grpc_initial_metadata", "keyturn-request: buffered", false,
		"Keyturn cannot know that the request is whole and has every body sent to it.",
	}
	bufferedNeither = setting{
		"route.typed_per_filter_config.envoy.filters.http.buffer", "BufferPerRoute, and keyturn-request: buffered", false,
		"Keyturn has every request's body sent to it, so that it is whole first.",
	}
	streamedMode = setting{
		"route.typed_per_filter_config.keyturn.overrides.processing_mode.response_header_mode", "SKIP", true,
		"The route says keyturn-request: streamed: a provider that answers before the request has ended crashes Envoy.",
	}
	routeMode = setting{
		"route.typed_per_filter_config.keyturn.overrides.processing_mode.response_header_mode", "SEND", true,
		"Keyturn does not see the provider's status: keys do not turn.",
	}
	routeUpgrade = setting{
		"route.upgrade_configs", "none beside the buffer filter", true,
		"An upgrade hangs in the buffer filter.",
	}
	routeFailureAllow = setting{
		"route.typed_per_filter_config.keyturn.overrides.failure_mode_allow", "false", true, failureAllow.consequence,
	}
	retryPolicy = setting{
		"route.retry_policy", "retriable-headers on x-keyturn-retry", true,
		"Envoy does not retry when Keyturn asks: the client gets the provider's 429.",
	}
	retryOn = setting{
		"route.retry_policy.retry_on", "retriable-headers", true, retryPolicy.consequence,
	}
	retryHeaders = setting{
		"route.retry_policy.retriable_headers", "x-keyturn-retry, present", true, retryPolicy.consequence,
	}
	retryNumber = setting{
		"route.retry_policy.num_retries", "", true,
		"Envoy gives up before the last key was tried: the client gets the provider's 429.",
	}
	retryBackOffSet = setting{
		"route.retry_policy.retry_back_off", "base_interval and max_interval of 0.001s", false,
		"Each retry waits 25 ms and more, for another key that could be used at once.",
	}
	retryRateLimited = setting{
		"route.retry_policy.rate_limited_retry_back_off", "not set", true,
		"Each retry waits as long as the provider's Retry-After says, for a key that it is not about.",
	}
	routeTimeout = setting{
		"route.timeout", "0s", false,
		"Envoy ends long streams in the middle, after 15 s by default.",
	}
	hostAuto = setting{
		"route.auto_host_rewrite", "host_rewrite_literal instead", true,
		"An attempt sees the client's authority on a new connection and the provider's on a pooled one: what Keyturn sends of its own goes to the wrong one.",
	}
	hostLiteral = setting{
		"route.host_rewrite_literal", "the provider's host", false,
		"The provider gets the host that the client asked for, which is the gateway's.",
	}
	credentialsRemoved = setting{
		"route.request_headers_to_remove", "", true,
		"If the route ever loses the filter, the provider gets the client's own credential.",
	}
	clusterHeaderRemoved = setting{
		"route.request_headers_to_remove", "x-keyturn-cluster", false,
		"The name of the cluster goes on with the request.",
	}
	credentialsLost = setting{
		"route.request_headers_to_remove", "x-keyturn-cluster, and no credentials", false,
		"A client's own credential is not on the later turns: the pool pays for them.",
	}
	usedRemoved = setting{
		"route.response_headers_to_remove", "of x-keyturn-* only x-keyturn-retry", false,
		"Keyturn does not learn which key served a turn, nor why it failed.",
	}
	retryRemoved = setting{
		"route.response_headers_to_remove", "x-keyturn-retry", false,
		"When Envoy refuses a retry, the client sees the header.",
	}
)

// About a cluster.
var (
	processorBuffer = setting{
		"cluster.per_connection_buffer_limit_bytes", "0 (no limit)", true,
		"Envoy crashes: at its default of 1 MiB, 32 requests of 100 KB at once are enough.",
	}
	processorHTTP2 = setting{
		"cluster.http2_protocol_options", "set", true,
		"Keyturn is not reached: gRPC needs HTTP/2.",
	}
	processorStreamWindow = setting{
		"cluster.http2_protocol_options.initial_stream_window_size", "268435456", true,
		"Envoy crashes: the window bounds the stream's buffer too, and one body of 20 MB is more than the default of 16 MiB.",
	}
	processorConnWindow = setting{
		"cluster.http2_protocol_options.initial_connection_window_size", "268435456", true, processorStreamWindow.consequence,
	}
	providerBuffer = setting{
		"cluster.per_connection_buffer_limit_bytes", "not set (1 MiB)", true,
		"Envoy crashes or hangs when a response that Keyturn reads whole outgrows the route's request_body_buffer_limit, unless this one is lower.",
	}
	providerTLS = setting{
		"cluster.transport_socket", "a trusted_ca and match_typed_subject_alt_names for the provider's host", true,
		"The provider's certificate is not verified: whoever answers in its place gets the keys.",
	}
	breakers = setting{
		"cluster.circuit_breakers", "thresholds far above the load", false,
		"Envoy's defaults are 3 retries and 1024 of the rest: streams are long, what is refused is a 503, and a refused retry is the provider's 429.",
	}
	breakerConnections = breaker("max_connections", minOpen)
	breakerPending     = breaker("max_pending_requests", minOpen)
	breakerRequests    = breaker("max_requests", minOpen)
	breakerRetries     = setting{
		"cluster.circuit_breakers.max_retries", "1000 or more", true,
		"Envoy's default is 3 at once: a retry that it refuses is the provider's 429.",
	}
)

func breaker(name, want string) setting {
	return setting{"cluster.circuit_breakers." + name, want, false, "Envoy's default is 1024, and streams are long: what is above is a 503."}
}

const minOpen = "10000 or more"
