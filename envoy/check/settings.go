package check

import (
	"strings"

	"github.com/keyturn/keyturn/internal/wire"
)

// setting is one thing that Envoy must be told.
type setting struct {
	name        string // the field
	want        string
	severity    Severity
	consequence string // what happens otherwise
	remedy      string // what to do; "" = to set it to what is wanted
}

// toDo is what to do about it.
func (s setting) toDo() string {
	switch {
	case s.remedy != "":
		return s.remedy
	case strings.HasPrefix(s.want, "not set"):
		return "Take " + s.name + " out."
	}
	return "Set " + s.name + " to " + s.want + "."
}

// About the whole.
var (
	envoyVersion = setting{
		name: "version", want: "1.37 or newer", severity: Crashes,
		consequence: "A retry after a response that Envoy had to pause corrupts memory.",
		remedy:      "Run a newer Envoy.",
	}
	firstFormRouter = setting{
		name: "upstream_http_filters.keyturn", want: toMove, severity: Crashes, consequence: firstFormCrash, remedy: "Move the filter as docs/envoy.md tells.",
	}
	firstFormCluster = setting{
		name: "cluster.http_filters.keyturn", want: toMove, severity: Crashes, consequence: firstFormCrash, remedy: "Move the filter as docs/envoy.md tells.",
	}
	filterPresent = setting{
		name: "http_filters", want: "the filter keyturn, in the chain of an inner listener: keyturn render envoy prints one", severity: Crashes,
		consequence: "Nothing passes Keyturn: requests reach the provider without a key.",
		remedy:      "Print an Envoy that has it with keyturn render envoy, or add it to yours as docs/envoy.md tells.",
	}
	internalExtension = setting{
		name: "bootstrap_extensions", want: "envoy.bootstrap.internal_listener", severity: Crashes,
		consequence: "Envoy refuses the configuration, because the inner listener is internal: without the extension it can be a Unix socket.",
		remedy:      "Add the extension, or give the inner listener a Unix socket.",
	}
	loopbackListener = setting{
		name: "listener loopback", want: "a listener on a Unix socket with a route to the inner listener that sets no " + wire.PoolHeader, severity: Crashes,
		consequence: "Keyturn cannot make requests of its own: a response that calls a tool ends with an error.",
		remedy:      "Copy the listener loopback from what keyturn render envoy prints.",
	}
	hopPresent = setting{
		name: "cluster keyturn-inner", want: "a cluster that leads to the inner listener", severity: Crashes,
		consequence: "No request can reach Keyturn.",
		remedy:      "Copy the cluster keyturn-inner from what keyturn render envoy prints.",
	}
	routesMissed = setting{
		name: "route.cluster", want: "keyturn-inner, on the routes to the pools", severity: Leaks,
		consequence: "Nothing leads to the inner listener: requests reach the provider past Keyturn, without a key, or with the client's own.",
		remedy:      "Lead the routes to the pools to the cluster keyturn-inner, as docs/envoy.md tells.",
	}
	routesKnown = setting{
		name: "rds.route_config_name", want: "routes in the document",
		consequence: "Its routes cannot be checked: give the answer of the running Envoy's /config_dump.",
		remedy:      "Run keyturn check with --envoy-admin.",
	}
	poolCluster = setting{
		name: "cluster", severity: Crashes,
		consequence: "Keyturn sends the pool's requests to this cluster: each is answered with 503.",
		remedy:      "Add the cluster, or name in the pool's clusters the one that there is.",
	}
	poolUnnamed = setting{
		name:        "route.request_headers_to_add." + wire.PoolHeader,
		consequence: "No client's request is for the pool: its keys serve as a fallback, or not at all.",
		remedy:      "Add a route that sets the header to the pool's name, or take the pool out of keyturn.yaml.",
	}
	processorPresent = setting{
		name: "filter.grpc_service.envoy_grpc.cluster_name", want: "a cluster of the configuration that leads to Keyturn", severity: Crashes,
		consequence: "Keyturn is not reached: every request is answered with 503.",
		remedy:      "Add the cluster keyturn-processor, as keyturn render envoy prints it, and name it.",
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
		name: "http_filters.keyturn", want: "the filter before the router", severity: Crashes,
		consequence: "Nobody gives attempts a key or a cluster: every request is answered with 503.",
		remedy:      "Add the filter keyturn before the router, as keyturn render envoy prints it.",
	}
	filterPlace = setting{
		name: "http_filters.keyturn", want: "the filter in an inner listener only, which is internal to Envoy or a Unix socket, and which a cluster leads to", severity: Leaks,
		consequence: "It sees a request once and no attempt: keys do not turn. Whoever reaches the listener names the pool whose keys it spends.",
		remedy:      "Move the filter to an inner listener, as docs/envoy.md tells.",
	}
	filterTwice = setting{
		name: "http_filters.keyturn", want: "once", severity: Crashes,
		consequence: "An attempt passes Keyturn twice: every failure counts for two keys.",
		remedy:      "Take one of them out.",
	}
	filterBetween = setting{
		name: "http_filters", want: "the router right after keyturn", severity: Leaks,
		consequence: "What stands between sees the pools' keys, and answers in the provider's name: a refusal of its own sets a good key aside, and what waits for whole requests hangs.",
		remedy:      "Move the filter to the front.",
	}
	filterDisabled = setting{
		name: "filter.disabled", want: "false", severity: Crashes, consequence: filterOff,
	}
	filterEnabled = setting{
		name: "route.typed_per_filter_config.keyturn", want: "not set", severity: Crashes, consequence: filterOff,
	}
	filterOverridden = setting{
		name: "route.typed_per_filter_config.keyturn.overrides", want: "not set", severity: Crashes,
		consequence: "The route takes back what the filter says: keys do not turn, or requests pass without one.",
	}
	filterConfig = setting{
		name: "filter.typed_config", want: "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", severity: Crashes,
		consequence: "The filter is not Keyturn's, or its configuration is not in the document.",
		remedy:      "Give the filter the configuration that keyturn render envoy prints.",
	}
	modeRequestHeaders = setting{
		name: "filter.processing_mode.request_header_mode", want: "SEND", severity: Crashes,
		consequence: "Keyturn does not see requests and sets no key.",
	}
	modeRequestBody = setting{
		name: "filter.processing_mode.request_body_mode", want: "NONE",
		consequence: "Every request's body goes through Keyturn, which asks for those it needs.",
	}
	modeResponseHeaders = setting{
		name: "filter.processing_mode.response_header_mode", want: "SEND", severity: Crashes,
		consequence: "Keyturn does not see the provider's status: keys do not turn.",
	}
	modeResponseBody = setting{
		name: "filter.processing_mode.response_body_mode", want: "NONE",
		consequence: "Every response's body goes through Keyturn, which asks for those it needs.",
	}
	modeOverride = setting{
		name: "filter.allow_mode_override", want: "true", severity: Crashes,
		consequence: "No body is read: not an error's, before deciding whether it is the key's fault, and none for tools.",
	}
	modesAllowed = setting{
		name: "filter.allowed_override_modes", want: "not set", severity: Crashes,
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
		name: "filter.failure_mode_allow", want: "false", severity: Leaks,
		consequence: "When Keyturn fails, requests go on without a key to the cluster that the client named.",
	}
	immediateResponse = setting{
		name: "filter.disable_immediate_response", want: "false", severity: Crashes,
		consequence: "Keyturn cannot answer by itself when no key is left: the client gets an error that tells nothing.",
	}
	observability = setting{
		name: "filter.observability_mode", want: "false", severity: Crashes,
		consequence: "Envoy ignores what Keyturn answers: no key is set.",
	}
	mutationRouting = setting{
		name: "filter.mutation_rules.allow_all_routing", want: "true", severity: Crashes,
		consequence: "Envoy drops Keyturn's changes of :authority and :path without a word: the provider gets the gateway's name.",
	}
	mutationEnvoy = setting{
		name: "filter.mutation_rules.allow_envoy", want: "true", severity: Crashes,
		consequence: "Envoy drops Keyturn's changes of x-envoy-* without a word: a response marked x-envoy-ratelimited is never retried.",
	}
	mutationNone = setting{
		name: "filter.mutation_rules.disallow_all", want: "false", severity: Crashes,
		consequence: "Envoy drops all of Keyturn's changes without a word: no key is set.",
	}
	mutationSystem = setting{
		name: "filter.mutation_rules.disallow_system", want: "false", severity: Crashes, consequence: mutationRouting.consequence,
	}
	mutationSome = setting{
		name: "filter.mutation_rules.disallow_expression", want: "not set", severity: Crashes,
		consequence: "Envoy drops Keyturn's changes of the headers that match, without a word.",
	}
	routeCache = setting{
		name: "filter.route_cache_action", want: "CLEAR", severity: Crashes,
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
	forwardSome = setting{
		name: "filter.forward_rules", want: "disallowed_headers, and no allowed_headers", severity: Leaks,
		consequence: "Keyturn does not see the other headers: an answer that repeats the pool's key in one reaches the client, and what clients and proxies put into theirs reaches the provider.",
		remedy:      "Name the headers as keyturn render envoy prints them.",
	}
	forwardAll = setting{
		name: "filter.forward_rules", want: "disallowed_headers with the credentials and the cookies",
		consequence: "Every header is sent to Keyturn, clients' credentials and cookies too, which no turn repeats.",
		remedy:      "Name the headers as keyturn render envoy prints them.",
	}
	forwardTurns = setting{
		name: "filter.forward_rules", want: "disallowed_headers, and no allowed_headers",
		consequence: "The later turns of a response that called a tool lose headers of the client's, such as anthropic-version and anthropic-beta: providers refuse them, or answer otherwise.",
		remedy:      "Name the headers as keyturn render envoy prints them: the pools have tools now.",
	}
	forwardSecrets = setting{
		name:        "filter.forward_rules",
		consequence: "Keyturn is sent secrets of the client's, which it does not need.",
	}
	forwardRules = setting{
		name: "filter.forward_rules", want: "allowed_headers with what an attempt reads", severity: Crashes,
		consequence: "Keyturn does not see these headers, and decides without them.",
		remedy:      "Name the headers as keyturn render envoy prints them.",
	}
)

const filterOff = "Requests pass the inner listener without Keyturn, which names no cluster: each is answered with 503."
