package envoy

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
		"version", "1.37 or newer", true,
		"A retry after a response that Envoy had to pause corrupts memory.",
	}
	firstFormRouter = setting{
		"upstream_http_filters.keyturn", toMove, true, firstFormCrash,
	}
	firstFormCluster = setting{
		"cluster.http_filters.keyturn", toMove, true, firstFormCrash,
	}
	filterPresent = setting{
		"http_filters", "the filter keyturn, in the chain of an inner listener: keyturn render envoy prints one", true,
		"Nothing passes Keyturn: requests reach the provider without a key.",
	}
	internalExtension = setting{
		"bootstrap_extensions", "envoy.bootstrap.internal_listener", true,
		"Envoy refuses the configuration, because the inner listener is internal: without the extension it can be a Unix socket.",
	}
	loopbackListener = setting{
		"listener loopback", "a listener on a Unix socket with a route to the inner listener that sets no " + wire.PoolHeader, true,
		"Keyturn cannot make requests of its own: a response that calls a tool ends with an error.",
	}
	hopPresent = setting{
		"cluster keyturn-inner", "a cluster that leads to the inner listener", true,
		"No request can reach Keyturn.",
	}
	routesMissed = setting{
		"route.cluster", "keyturn-inner, on the routes to the pools", true,
		"Nothing leads to the inner listener: requests reach the provider past Keyturn, without a key, or with the client's own.",
	}
	routesKnown = setting{
		"rds.route_config_name", "routes in the document", false,
		"Its routes cannot be checked: give the answer of the running Envoy's /config_dump.",
	}
	poolCluster = setting{
		"cluster", "", true,
		"Keyturn sends the pool's requests to this cluster: each is answered with 503.",
	}
	poolUnnamed = setting{
		"route.request_headers_to_add." + wire.PoolHeader, "", false,
		"No client's request is for the pool: its keys serve as a fallback, or not at all.",
	}
	processorPresent = setting{
		"filter.grpc_service.envoy_grpc.cluster_name", "a cluster of the configuration that leads to Keyturn", true,
		"Keyturn is not reached: every request is answered with 503.",
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
		"http_filters.keyturn", "the filter before the router", true,
		"Nobody gives attempts a key or a cluster: every request is answered with 503.",
	}
	filterPlace = setting{
		"http_filters.keyturn", "the filter in an inner listener only, which is internal to Envoy or a Unix socket, and which a cluster leads to", true,
		"It sees a request once and no attempt: keys do not turn. Whoever reaches the listener names the pool whose keys it spends.",
	}
	filterTwice = setting{
		"http_filters.keyturn", "once", true,
		"An attempt passes Keyturn twice: every failure counts for two keys.",
	}
	filterBetween = setting{
		"http_filters", "the router right after keyturn", true,
		"What stands between sees the pools' keys, and answers in the provider's name: a refusal of its own sets a good key aside, and what waits for whole requests hangs.",
	}
	filterDisabled = setting{
		"filter.disabled", "false", true, filterOff,
	}
	filterEnabled = setting{
		"route.typed_per_filter_config.keyturn", "not set", true, filterOff,
	}
	filterOverridden = setting{
		"route.typed_per_filter_config.keyturn.overrides", "not set", true,
		"The route takes back what the filter says: keys do not turn, or requests pass without one.",
	}
	filterConfig = setting{
		"filter.typed_config", "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", true,
		"The filter is not Keyturn's, or its configuration is not in the document.",
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
		"No body is read: not an error's, before deciding whether it is the key's fault, and none for tools.",
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
		"When Keyturn fails, requests go on without a key to the cluster that the client named.",
	}
	immediateResponse = setting{
		"filter.disable_immediate_response", "false", true,
		"Keyturn cannot answer by itself when no key is left: the client gets an error that tells nothing.",
	}
	observability = setting{
		"filter.observability_mode", "false", true,
		"Envoy ignores what Keyturn answers: no key is set.",
	}
	mutationRouting = setting{
		"filter.mutation_rules.allow_all_routing", "true", true,
		"Envoy drops Keyturn's changes of :authority and :path without a word: the provider gets the gateway's name.",
	}
	mutationEnvoy = setting{
		"filter.mutation_rules.allow_envoy", "true", true,
		"Envoy drops Keyturn's changes of x-envoy-* without a word: a response marked x-envoy-ratelimited is never retried.",
	}
	mutationNone = setting{
		"filter.mutation_rules.disallow_all", "false", true,
		"Envoy drops all of Keyturn's changes without a word: no key is set.",
	}
	mutationSystem = setting{
		"filter.mutation_rules.disallow_system", "false", true, mutationRouting.consequence,
	}
	mutationSome = setting{
		"filter.mutation_rules.disallow_expression", "not set", true,
		"Envoy drops Keyturn's changes of the headers that match, without a word.",
	}
	routeCache = setting{
		"filter.route_cache_action", "CLEAR", true,
		"The route stays the one without a cluster, as it was before Keyturn named one: every request is answered with 503.",
	}
	metadataReceive = setting{
		"filter.metadata_options.receiving_namespaces.untyped", wire.Namespace, false,
		"The access log of the inner listener does not know the key, nor the tokens.",
	}
	attributesAsked = setting{
		"filter.response_attributes", "response.code_details and response.flags", false,
		"Keyturn takes Envoy's own 502, 503 and 504 for the provider's: a provider that cannot be reached is not tried again, and the client reads Envoy's words.",
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
		"Keyturn is sent secrets of the client's, which it does not need.",
	}
	forwardRules = setting{
		"filter.forward_rules", "allowed_headers with what an attempt reads", true,
		"Keyturn does not see these headers, and decides without them.",
	}
)

const filterOff = "Requests pass the inner listener without Keyturn, which names no cluster: each is answered with 503."
