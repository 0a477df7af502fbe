package check

import "github.com/keyturn/keyturn/internal/wire"

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
		name: "version", want: "1.37 or newer", fatal: true,
		consequence: "A retry after a response that Envoy had to pause corrupts memory.",
	}
	firstFormRouter = setting{
		name: "upstream_http_filters.keyturn", want: toMove, fatal: true, consequence: firstFormCrash,
	}
	firstFormCluster = setting{
		name: "cluster.http_filters.keyturn", want: toMove, fatal: true, consequence: firstFormCrash,
	}
	filterPresent = setting{
		name: "http_filters", want: "the filter keyturn, in the chain of an inner listener: keyturn render envoy prints one", fatal: true,
		consequence: "Nothing passes Keyturn: requests reach the provider without a key.",
	}
	internalExtension = setting{
		name: "bootstrap_extensions", want: "envoy.bootstrap.internal_listener", fatal: true,
		consequence: "Envoy refuses the configuration, because the inner listener is internal: without the extension it can be a Unix socket.",
	}
	loopbackListener = setting{
		name: "listener loopback", want: "a listener on a Unix socket with a route to the inner listener that sets no " + wire.PoolHeader, fatal: true,
		consequence: "Keyturn cannot make requests of its own: a response that calls a tool ends with an error.",
	}
	hopPresent = setting{
		name: "cluster keyturn-inner", want: "a cluster that leads to the inner listener", fatal: true,
		consequence: "No request can reach Keyturn.",
	}
	routesMissed = setting{
		name: "route.cluster", want: "keyturn-inner, on the routes to the pools", fatal: true,
		consequence: "Nothing leads to the inner listener: requests reach the provider past Keyturn, without a key, or with the client's own.",
	}
	routesKnown = setting{
		name: "rds.route_config_name", want: "routes in the document",
		consequence: "Its routes cannot be checked: give the answer of the running Envoy's /config_dump.",
	}
	poolCluster = setting{
		name: "cluster", fatal: true,
		consequence: "Keyturn sends the pool's requests to this cluster: each is answered with 503.",
	}
	poolUnnamed = setting{
		name:        "route.request_headers_to_add." + wire.PoolHeader,
		consequence: "No client's request is for the pool: its keys serve as a fallback, or not at all.",
	}
	processorPresent = setting{
		name: "filter.grpc_service.envoy_grpc.cluster_name", want: "a cluster of the configuration that leads to Keyturn", fatal: true,
		consequence: "Keyturn is not reached: every request is answered with 503.",
	}
)

const (
	toMove = "the filter in the chain of an inner listener, which every attempt is a request to: keyturn render envoy prints it, docs/envoy.md explains it," +
		" and CHANGELOG.md tells how to move"
	firstFormCrash = "A client that reads slowly can crash Envoy, and every request in it ends."
)

// About the filter.
var (
	filterMissing = setting{
		name: "http_filters.keyturn", want: "the filter before the router", fatal: true,
		consequence: "Nobody gives attempts a key or a cluster: every request is answered with 503.",
	}
	filterPlace = setting{
		name: "http_filters.keyturn", want: "the filter in an inner listener only, which is internal to Envoy or a Unix socket, and which a cluster leads to", fatal: true,
		consequence: "It sees a request once and no attempt: keys do not turn. Whoever reaches the listener names the pool whose keys it spends.",
	}
	filterTwice = setting{
		name: "http_filters.keyturn", want: "once", fatal: true,
		consequence: "An attempt passes Keyturn twice: every failure counts for two keys.",
	}
	filterBetween = setting{
		name: "http_filters", want: "the router right after keyturn", fatal: true,
		consequence: "What stands between sees the pools' keys, and answers in the provider's name: a refusal of its own sets a good key aside, and what waits for whole requests hangs.",
	}
	filterDisabled = setting{
		name: "filter.disabled", want: "false", fatal: true, consequence: filterOff,
	}
	filterEnabled = setting{
		name: "route.typed_per_filter_config.keyturn", want: "not set", fatal: true, consequence: filterOff,
	}
	filterOverridden = setting{
		name: "route.typed_per_filter_config.keyturn.overrides", want: "not set", fatal: true,
		consequence: "The route takes back what the filter says: keys do not turn, or requests pass without one.",
	}
	filterConfig = setting{
		name: "filter.typed_config", want: "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", fatal: true,
		consequence: "The filter is not Keyturn's, or its configuration is not in the document.",
	}
	modeRequestHeaders = setting{
		name: "filter.processing_mode.request_header_mode", want: "SEND", fatal: true,
		consequence: "Keyturn does not see requests and sets no key.",
	}
	modeRequestBody = setting{
		name: "filter.processing_mode.request_body_mode", want: "NONE",
		consequence: "Every request's body goes through Keyturn, which asks for those it needs.",
	}
	modeResponseHeaders = setting{
		name: "filter.processing_mode.response_header_mode", want: "SEND", fatal: true,
		consequence: "Keyturn does not see the provider's status: keys do not turn.",
	}
	modeResponseBody = setting{
		name: "filter.processing_mode.response_body_mode", want: "NONE",
		consequence: "Every response's body goes through Keyturn, which asks for those it needs.",
	}
	modeOverride = setting{
		name: "filter.allow_mode_override", want: "true", fatal: true,
		consequence: "No body is read: not an error's, before deciding whether it is the key's fault, and none for tools.",
	}
	modesAllowed = setting{
		name: "filter.allowed_override_modes", want: "not set", fatal: true,
		consequence: "Envoy drops the overrides that are not in the list.",
	}
	timeoutMessage = setting{
		name: "filter.message_timeout", want: "a few seconds (5s)",
		consequence: "Envoy waits 200 ms by default: a pause of Keyturn turns into a 504.",
	}
	timeoutMaxMessage = setting{
		name: "filter.max_message_timeout", want: "3600s",
		consequence: "Keyturn cannot ask for more time: a response that takes it longer ends with a 504.",
	}
	timeoutTools = setting{
		name: "filter.max_message_timeout", want: "3600s",
		consequence: "Keyturn asks for an hour while tools run, and Envoy ignores what is more than this: a JSON answer (not streamed) ends with a 504 after message_timeout.",
	}
	statusOnError = setting{
		name: "filter.status_on_error", want: "503 (ServiceUnavailable)",
		consequence: "When Keyturn fails, the client gets a 500, which reads like a fault of the request.",
	}
	failureAllow = setting{
		name: "filter.failure_mode_allow", want: "false", fatal: true,
		consequence: "When Keyturn fails, requests go on without a key to the cluster that the client named.",
	}
	immediateResponse = setting{
		name: "filter.disable_immediate_response", want: "false", fatal: true,
		consequence: "Keyturn cannot answer by itself when no key is left: the client gets an error that tells nothing.",
	}
	observability = setting{
		name: "filter.observability_mode", want: "false", fatal: true,
		consequence: "Envoy ignores what Keyturn answers: no key is set.",
	}
	mutationRouting = setting{
		name: "filter.mutation_rules.allow_all_routing", want: "true", fatal: true,
		consequence: "Envoy drops Keyturn's changes of :authority and :path without a word: the provider gets the gateway's name.",
	}
	mutationEnvoy = setting{
		name: "filter.mutation_rules.allow_envoy", want: "true", fatal: true,
		consequence: "Envoy drops Keyturn's changes of x-envoy-* without a word: a response marked x-envoy-ratelimited is never retried.",
	}
	mutationNone = setting{
		name: "filter.mutation_rules.disallow_all", want: "false", fatal: true,
		consequence: "Envoy drops all of Keyturn's changes without a word: no key is set.",
	}
	mutationSystem = setting{
		name: "filter.mutation_rules.disallow_system", want: "false", fatal: true, consequence: mutationRouting.consequence,
	}
	mutationSome = setting{
		name: "filter.mutation_rules.disallow_expression", want: "not set", fatal: true,
		consequence: "Envoy drops Keyturn's changes of the headers that match, without a word.",
	}
	routeCache = setting{
		name: "filter.route_cache_action", want: "CLEAR", fatal: true,
		consequence: "The route stays the one without a cluster, as it was before Keyturn named one: every request is answered with 503.",
	}
	metadataReceive = setting{
		name: "filter.metadata_options.receiving_namespaces.untyped", want: wire.Namespace,
		consequence: "The access log of the inner listener does not know the key, nor the tokens.",
	}
	attributesAsked = setting{
		name: "filter.response_attributes", want: "response.code_details, response.flags and upstream.local_address",
		consequence: "Keyturn takes Envoy's own 502, 503 and 504 for the provider's: a provider that cannot be reached is not tried again, nor is a request that met a closing connection, and the client reads Envoy's words.",
	}
	forwardNone = setting{
		name: "filter.forward_rules", want: "allowed_headers with what an attempt reads",
		consequence: "Every header is sent to Keyturn: right, but about a tenth more CPU on both sides.",
	}
	forwardAll = setting{
		name: "filter.forward_rules", want: "disallowed_headers with the credentials and the cookies",
		consequence: "Every header is sent to Keyturn, clients' credentials and cookies too, which no turn repeats.",
	}
	forwardTurns = setting{
		name: "filter.forward_rules", want: "disallowed_headers, and no allowed_headers",
		consequence: "The later turns of a response that called a tool lose headers of the client's, such as anthropic-version and anthropic-beta: providers refuse them, or answer otherwise.",
	}
	forwardSecrets = setting{
		name:        "filter.forward_rules",
		consequence: "Keyturn is sent secrets of the client's, which it does not need.",
	}
	forwardRules = setting{
		name: "filter.forward_rules", want: "allowed_headers with what an attempt reads", fatal: true,
		consequence: "Keyturn does not see these headers, and decides without them.",
	}
)

const filterOff = "Requests pass the inner listener without Keyturn, which names no cluster: each is answered with 503."
