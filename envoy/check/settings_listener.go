package check

import "github.com/keyturn/keyturn/internal/wire"

// About the inner listener.
var (
	innerAddress = setting{
		name: "address", want: "internal_listener, or a Unix socket", severity: Leaks,
		consequence: "Clients can reach the inner listener: they name the pool whose keys they spend, and their keys do not turn.",
		remedy:      "Take the address out and write internal_listener: {}, or give it a Unix socket of mode 0600.",
	}
	innerMode = setting{
		name: "address.pipe.mode", want: "384 (0600)", severity: Leaks, consequence: socketConsequence,
	}
	innerModeMesh = setting{
		name: "address.pipe.mode", want: "384 (0600), or 432 (0660)", severity: Leaks, consequence: socketConsequence,
	}
	innerXFF = setting{
		name: "skip_xff_append", want: "true",
		consequence: "Envoy's own address is in x-forwarded-for too.",
	}
	innerEnvoyHeaders = setting{
		name: "router.suppress_envoy_headers", want: "true",
		consequence: "The provider gets headers that tell of Envoy and of the gateway, such as x-envoy-expected-rq-timeout-ms and x-envoy-original-host.",
	}
	innerIdle = setting{
		name: "stream_idle_timeout", want: "0s, for the front's counts",
		consequence: "The inner listener cuts a stream while the model thinks or tools run, before the front does.",
	}
	headersCount = setting{
		name: "common_http_protocol_options.max_headers_count", consequence: headersConsequence,
	}
	headersKB = setting{
		name: "max_request_headers_kb", consequence: headersConsequence,
	}
	globalLimit = setting{
		name: "ignore_global_conn_limit", want: "true",
		consequence: "When clients hold all the connections that Envoy may have, requests that already run cannot go on.",
	}
	processorReply = setting{
		name: "local_reply_config", want: "a mapper for answers whose details begin with ext_proc",
		consequence: "Without Keyturn clients read an empty 503 or 504, and SDKs show no reason.",
		remedy:      "Copy local_reply_config from what keyturn render envoy prints.",
	}
	localReplyKeyturn = setting{
		name: "local_reply_config.mappers", want: "none for answers whose details begin with " + wire.DetailsPrefix, severity: Crashes,
		consequence: "Keyturn's own answers are rewritten too: the client loses the reason, and the dialect's error.",
		remedy:      "Give the mapper the filter response.code_details.startsWith('ext_proc').",
	}
)

const (
	socketConsequence  = "Other users of the machine may send requests with the keys of any pool."
	headersConsequence = "A request whose headers were just few enough before is refused with 431, for it has some of Keyturn's now."
)

// About a route of the inner listener.
var (
	innerMatch = setting{
		name: "route.match", want: `one route for everything: prefix "/", in a virtual host for "*"`, severity: Crashes,
		consequence: "A request that no route matches is answered with 404.",
		remedy:      "Match prefix \"/\" in a virtual host with domains [\"*\"].",
	}
	innerCluster = setting{
		name: "route.cluster_header", want: wire.ClusterHeader, severity: Leaks,
		consequence: "Attempts do not go to the cluster that Keyturn names: the provider gets another pool's key, or each request is a 503.",
		remedy:      "Write cluster_header: " + wire.ClusterHeader + " in its place.",
	}
	innerRetry = setting{
		name: "route.retry_policy", want: "not set: the fronts' routes retry", severity: Crashes, consequence: retryConsequence, remedy: "Take it out.",
	}
	innerBody = setting{
		name: "route.request_body_buffer_limit", severity: Crashes,
		consequence: "A request that Keyturn reads whole and that outgrows it hangs, without a time limit; a response is a 500, or hangs.",
	}
	innerRewrite = setting{
		name: "route", want: "no rewrite of the path or the host", severity: Crashes,
		consequence: "The provider gets another path or name than Keyturn has set.",
		remedy:      "Rewrite on the route of the front.",
	}
	clusterHeaderRemoved = setting{
		name: "route.request_headers_to_remove", want: wire.ClusterHeader,
		consequence: "The provider gets the name of its cluster.",
		remedy:      "Add the header to request_headers_to_remove.",
	}
	protoRemoved = setting{
		name: "route.request_headers_to_remove", want: wire.ForwardedProtoHeader,
		consequence: "The provider gets " + wire.ForwardedProtoHeader + ", which Keyturn cannot remove: Envoy needs it to find the route.",
		remedy:      "Add the header to request_headers_to_remove.",
	}
	keyLost = setting{
		name: "route.request_headers_to_remove", want: "no credentials", severity: Crashes,
		consequence: "The route takes away the key that Keyturn has set: the provider refuses every request.",
		remedy:      "Remove credentials on the routes of the front.",
	}
)

const retryConsequence = "Envoy sends a request again with the key that failed, and Keyturn knows nothing of it."

// About a front, and the routes from it to the inner listener.
var (
	routePast = setting{
		name: "route.cluster", want: "keyturn-inner", severity: Leaks,
		consequence: "Requests reach the provider past Keyturn: without a key, or with the client's own.",
		remedy:      "Lead the route to keyturn-inner: Keyturn names the pool's cluster.",
	}
	routeTimeout = setting{
		name: "route.timeout", want: "0s",
		consequence: "Envoy ends long streams in the middle, after 15 s by default.",
	}
	idleTimeout = setting{
		name: "stream_idle_timeout", want: "30s or more (5m by default)",
		consequence: "A stream is cut while the model thinks.",
	}
	idleTools = setting{
		name:        "route.idle_timeout",
		consequence: "A JSON answer (not streamed) is cut while tools run for it: nothing moves, and there is nowhere to put a keep-alive.",
	}
	bodyLimit = setting{
		name: "route.request_body_buffer_limit", want: "the largest request that is to be sent again, such as 33554432",
		consequence: "A request of more than 1 MiB, Envoy's default, is not retried: keys do not turn for it.",
	}
	bufferOn = setting{
		name: "http_filters.envoy.filters.http.buffer", want: "off",
		consequence: "Uploads are held in memory and bounded, and WebSocket upgrades hang. Envoy retries without it.",
		remedy:      "Take the filter out, or switch it off for the route.",
	}
	upgrades = setting{
		name: "upgrade_configs", want: "{upgrade_type: websocket}, in the front and in the inner listener",
		consequence: "WebSockets, which OpenAI's Realtime and Responses speak too, are refused with 403.",
		remedy:      "Add it to both.",
	}
	attemptCount = setting{
		name: "virtual_host.include_request_attempt_count", want: "true",
		consequence: "Keyturn counts attempts by " + wire.IDHeader + ": a restart, or another replica, begins again.",
	}
	localReply = setting{
		name: "local_reply_config", want: "the dialects' JSON for Envoy's own errors",
		consequence: "Envoy's own 401, 503 and 504 are empty or plain text, and SDKs show no reason.",
		remedy:      "Copy local_reply_config from what keyturn render envoy prints.",
	}
	clientsUnknown = setting{
		name: "http_filters", want: "api_key_auth, jwt_authn, ext_authz or the like, or client certificates", severity: Leaks,
		consequence: "Whoever reaches the listener spends the pools' keys.",
		remedy:      "Add the filter, say open: true in keyturn.yaml if everybody may use the pools, or have it listen on loopback.",
	}
)

// About the retries of a front's route.
var (
	retryPolicy = setting{
		name: "route.retry_policy", want: "retriable-headers on " + wire.RetryHeader, severity: Crashes,
		consequence: "Envoy does not retry when Keyturn asks: the client gets the provider's 429.",
		remedy:      "Copy retry_policy from what keyturn render envoy prints.",
	}
	retryOn = setting{
		name: "route.retry_policy.retry_on", want: "retriable-headers", severity: Crashes, consequence: retryPolicy.consequence, remedy: "Set route.retry_policy.retry_on to retriable-headers.",
	}
	retryHeaders = setting{
		name: "route.retry_policy.retriable_headers", want: wire.RetryHeader + ", present", severity: Crashes, consequence: retryPolicy.consequence,
	}
	retryNumber = setting{
		name: "route.retry_policy.num_retries", severity: Crashes,
		consequence: "Envoy gives up before the last key was tried: the client gets the provider's 429.",
	}
	retryBackOffSet = setting{
		name: "route.retry_policy.retry_back_off", want: "base_interval and max_interval of 0.001s",
		consequence: "Each retry waits 25 ms and more, for another key that could be used at once.",
	}
	retryRateLimited = setting{
		name: "route.retry_policy.rate_limited_retry_back_off", want: "not set", severity: Crashes,
		consequence: "Each retry waits as long as the provider's Retry-After says, for a key that it is not about.",
	}
	retryTimeout = setting{
		name: "route.retry_policy.per_try_timeout", want: "not set",
		consequence: "Envoy ends long streams in the middle.",
	}
)

// About the headers of a front's route.
var (
	headerID = setting{
		name: "route.request_headers_to_add." + wire.IDHeader, want: "%UNIQUE_ID%, with OVERWRITE_IF_EXISTS_OR_ADD", severity: Crashes,
		consequence: "Keyturn does not know which attempts are one request's, or a client says it: keys that were tried are tried again. %STREAM_ID% is x-request-id, which may be a client's.",
	}
	headerStart = setting{
		name: "route.request_headers_to_add." + wire.StartHeader, want: "%START_TIME(%s.%3f)%, with OVERWRITE_IF_EXISTS_OR_ADD", severity: Crashes,
		consequence: "Keyturn does not know when a request began, or a client says it: keys turn beyond the pool's deadline, or not at all.",
	}
	headerPool = setting{
		name: "route.request_headers_to_add." + wire.PoolHeader, want: "a pool's name, with OVERWRITE_IF_EXISTS_OR_ADD", severity: Leaks,
		consequence: "Keyturn does not know the pool and answers with 503, or a client says whose keys it spends.",
	}
	headerRetries = setting{
		name:        "route.request_headers_to_add." + wire.RetriesHeader,
		consequence: "Keyturn takes an attempt for the last that is not, or the other way round: the client gets an error without its body.",
	}
	credentialsRemoved = setting{
		name: "route.request_headers_to_remove", severity: Leaks,
		consequence: "If the inner listener ever loses the filter, the provider gets the client's own credential.",
		remedy:      "Add the headers to request_headers_to_remove.",
	}
	forgedTurn = setting{
		name: "route.request_headers_to_remove", severity: Leaks,
		consequence: "A client can pose as Keyturn: its requests pass as parts of another.",
		remedy:      "Add the headers to request_headers_to_remove, and add none of them.",
	}
	forgedCluster = setting{
		name: "route.request_headers_to_remove", severity: Leaks,
		consequence: "If the inner listener ever lets a request pass without Keyturn, the client names the cluster that it goes to.",
		remedy:      "Add the header to request_headers_to_remove.",
	}
	forgedClient = setting{
		name: "route.request_headers_to_remove", severity: Leaks, want: wire.ClientHeader + ", where the clients' authentication does not set it",
		consequence: "A client can take another's name in logs and metrics.",
		remedy:      "Add the header to request_headers_to_remove.",
	}
	lostClient = setting{
		name: "route.request_headers_to_remove", want: "no " + wire.ClientHeader + ", which the clients' authentication sets",
		consequence: "Logs and metrics do not know the client.",
		remedy:      "Take the header out of request_headers_to_remove.",
	}
	retryRemoved = setting{
		name: "route.response_headers_to_remove", want: wire.RetryHeader,
		consequence: "When Envoy refuses a retry, the client sees the header.",
		remedy:      "Add the header to response_headers_to_remove.",
	}
	usedRemoved = setting{
		name: "http_filters.header_to_metadata", want: "response_rules that remove " + wire.UsedPoolHeader + ", -name and -key, or response_headers_to_remove with them",
		consequence: "Clients read which key served them, by its name and its masked hint.",
		remedy:      "Add the rules, or the headers to response_headers_to_remove.",
	}
)

// About the loopback listener.
var (
	loopbackAddress = setting{
		name: "address", want: "a Unix socket", severity: Leaks,
		consequence: "Whoever reaches the address sends requests with the keys of any pool.",
	}
	loopbackMode = setting{
		name: "address.pipe.mode", want: "384 (0600), or 432 (0660) with a group that only Envoy and Keyturn are in", severity: Leaks, consequence: socketConsequence,
	}
	turnsLost = setting{
		name: "route.request_headers_to_remove", want: "none of " + wire.PoolHeader + ", " + wire.TurnHeader + ", " + wire.ModelHeader + " and " + wire.ClientHeader + ", and nothing that overwrites them", severity: Crashes,
		consequence: "Keyturn takes its own requests for a client's, or does not know their pool.",
		remedy:      "Take the headers out of what the route removes and adds.",
	}
	credentialsLost = setting{
		name: "route.request_headers_to_remove", want: "no credentials",
		consequence: "A client's own credential is not on the later turns: the pool pays for them.",
		remedy:      "Take the headers out of request_headers_to_remove.",
	}
	usedLost = setting{
		name: "route.response_headers_to_remove", want: "of " + wire.HeaderPrefix + "* only " + wire.RetryHeader,
		consequence: "Keyturn does not learn which key served a turn, nor why it failed.",
		remedy:      "Take the headers out of response_headers_to_remove.",
	}
	turnLog = setting{
		name: "access_log", want: "%REQ(" + wire.TurnHeader + ")% in its format",
		consequence: "The log does not tell the turns that Keyturn makes from the requests of clients.",
		remedy:      "Add it to the format.",
	}
)
