package envoy

import "github.com/keyturn/keyturn/internal/wire"

// About the inner listener.
var (
	innerAddress = setting{
		"address", "internal_listener, or a Unix socket", true,
		"Clients can reach the inner listener: they name the pool whose keys they spend, and their keys do not turn.",
	}
	innerMode = setting{
		"address.pipe.mode", "384 (0600)", true, socketConsequence,
	}
	innerModeMesh = setting{
		"address.pipe.mode", "384 (0600), or 432 (0660)", true, socketConsequence,
	}
	innerXFF = setting{
		"skip_xff_append", "true", false,
		"Envoy's own address is in x-forwarded-for too.",
	}
	innerEnvoyHeaders = setting{
		"router.suppress_envoy_headers", "true", false,
		"The provider gets headers that tell of Envoy and of the gateway, such as x-envoy-expected-rq-timeout-ms and x-envoy-original-host.",
	}
	innerIdle = setting{
		"stream_idle_timeout", "0s, for the front's counts", false,
		"The inner listener cuts a stream while the model thinks or tools run, before the front does.",
	}
	headersCount = setting{
		"common_http_protocol_options.max_headers_count", "", false, headersConsequence,
	}
	headersKB = setting{
		"max_request_headers_kb", "", false, headersConsequence,
	}
	globalLimit = setting{
		"ignore_global_conn_limit", "true", false,
		"When clients hold all the connections that Envoy may have, requests that already run cannot go on.",
	}
	processorReply = setting{
		"local_reply_config", "a mapper for answers whose details begin with ext_proc", false,
		"Without Keyturn clients read an empty 503 or 504, and SDKs show no reason.",
	}
	localReplyKeyturn = setting{
		"local_reply_config.mappers", "none for answers whose details begin with " + wire.DetailsPrefix, true,
		"Keyturn's own answers are rewritten too: the client loses the reason, and the dialect's error.",
	}
)

const (
	socketConsequence  = "Other users of the machine may send requests with the keys of any pool."
	headersConsequence = "A request whose headers were just few enough before is refused with 431, for it has some of Keyturn's now."
)

// About a route of the inner listener.
var (
	innerMatch = setting{
		"route.match", `one route for everything: prefix "/", in a virtual host for "*"`, true,
		"A request that no route matches is answered with 404.",
	}
	innerCluster = setting{
		"route.cluster_header", wire.ClusterHeader, true,
		"Attempts do not go to the cluster that Keyturn names: the provider gets another pool's key, or each request is a 503.",
	}
	innerRetry = setting{
		"route.retry_policy", "not set: the fronts' routes retry", true, retryConsequence,
	}
	innerBody = setting{
		"route.request_body_buffer_limit", "", true,
		"A request that Keyturn reads whole and that outgrows it hangs, without a time limit; a response is a 500, or hangs.",
	}
	innerRewrite = setting{
		"route", "no rewrite of the path or the host", true,
		"The provider gets another path or name than Keyturn has set.",
	}
	clusterHeaderRemoved = setting{
		"route.request_headers_to_remove", wire.ClusterHeader, false,
		"The provider gets the name of its cluster.",
	}
	protoRemoved = setting{
		"route.request_headers_to_remove", wire.ForwardedProtoHeader, false,
		"The provider gets " + wire.ForwardedProtoHeader + ", which Keyturn cannot remove: Envoy needs it to find the route.",
	}
	keyLost = setting{
		"route.request_headers_to_remove", "no credentials", true,
		"The route takes away the key that Keyturn has set: the provider refuses every request.",
	}
)

const retryConsequence = "Envoy sends a request again with the key that failed, and Keyturn knows nothing of it."

// About a front, and the routes from it to the inner listener.
var (
	routePast = setting{
		"route.cluster", "keyturn-inner", true,
		"Requests reach the provider past Keyturn: without a key, or with the client's own.",
	}
	routeTimeout = setting{
		"route.timeout", "0s", false,
		"Envoy ends long streams in the middle, after 15 s by default.",
	}
	idleTimeout = setting{
		"stream_idle_timeout", "30s or more (5m by default)", false,
		"A stream is cut while the model thinks.",
	}
	idleTools = setting{
		"route.idle_timeout", "", false,
		"A JSON answer (not streamed) is cut while tools run for it: nothing moves, and there is nowhere to put a keep-alive.",
	}
	bodyLimit = setting{
		"route.request_body_buffer_limit", "the largest request that is to be sent again, such as 33554432", false,
		"A request of more than 1 MiB, Envoy's default, is not retried: keys do not turn for it.",
	}
	bufferOn = setting{
		"http_filters.envoy.filters.http.buffer", "off", false,
		"Uploads are held in memory and bounded, and WebSocket upgrades hang. Envoy retries without it.",
	}
	upgrades = setting{
		"upgrade_configs", "{upgrade_type: websocket}, in the front and in the inner listener", false,
		"WebSockets, which OpenAI's Realtime and Responses speak too, are refused with 403.",
	}
	attemptCount = setting{
		"virtual_host.include_request_attempt_count", "true", false,
		"Keyturn counts attempts by " + wire.IDHeader + ": a restart, or another replica, begins again.",
	}
	localReply = setting{
		"local_reply_config", "the dialects' JSON for Envoy's own errors", false,
		"Envoy's own 401, 503 and 504 are empty or plain text, and SDKs show no reason.",
	}
	clientsUnknown = setting{
		"http_filters", "api_key_auth, jwt_authn, ext_authz or the like, or client certificates", true,
		"Whoever reaches the listener spends the pools' keys.",
	}
)

// About the retries of a front's route.
var (
	retryPolicy = setting{
		"route.retry_policy", "retriable-headers on " + wire.RetryHeader, true,
		"Envoy does not retry when Keyturn asks: the client gets the provider's 429.",
	}
	retryOn = setting{
		"route.retry_policy.retry_on", "retriable-headers", true, retryPolicy.consequence,
	}
	retryHeaders = setting{
		"route.retry_policy.retriable_headers", wire.RetryHeader + ", present", true, retryPolicy.consequence,
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
	retryTimeout = setting{
		"route.retry_policy.per_try_timeout", "not set", false,
		"Envoy ends long streams in the middle.",
	}
)

// About the headers of a front's route.
var (
	headerID = setting{
		"route.request_headers_to_add." + wire.IDHeader, "%UNIQUE_ID%, with OVERWRITE_IF_EXISTS_OR_ADD", true,
		"Keyturn does not know which attempts are one request's, or a client says it: keys that were tried are tried again. %STREAM_ID% is x-request-id, which may be a client's.",
	}
	headerStart = setting{
		"route.request_headers_to_add." + wire.StartHeader, "%START_TIME(%s.%3f)%, with OVERWRITE_IF_EXISTS_OR_ADD", true,
		"Keyturn does not know when a request began, or a client says it: keys turn beyond the pool's deadline, or not at all.",
	}
	headerPool = setting{
		"route.request_headers_to_add." + wire.PoolHeader, "a pool's name, with OVERWRITE_IF_EXISTS_OR_ADD", true,
		"Keyturn does not know the pool and answers with 503, or a client says whose keys it spends.",
	}
	headerRetries = setting{
		"route.request_headers_to_add." + wire.RetriesHeader, "", false,
		"Keyturn takes an attempt for the last that is not, or the other way round: the client gets an error without its body.",
	}
	credentialsRemoved = setting{
		"route.request_headers_to_remove", "", true,
		"If the inner listener ever loses the filter, the provider gets the client's own credential.",
	}
	forgedTurn = setting{
		"route.request_headers_to_remove", "", true,
		"A client can pose as Keyturn: its requests pass as parts of another.",
	}
	forgedCluster = setting{
		"route.request_headers_to_remove", "", false,
		"If the inner listener ever lets a request pass without Keyturn, the client names the cluster that it goes to.",
	}
	forgedClient = setting{
		"route.request_headers_to_remove", wire.ClientHeader + ", where the clients' authentication does not set it", false,
		"A client can take another's name in logs and metrics.",
	}
	lostClient = setting{
		"route.request_headers_to_remove", "no " + wire.ClientHeader + ", which the clients' authentication sets", false,
		"Logs and metrics do not know the client.",
	}
	retryRemoved = setting{
		"route.response_headers_to_remove", wire.RetryHeader, false,
		"When Envoy refuses a retry, the client sees the header.",
	}
	usedRemoved = setting{
		"http_filters.header_to_metadata", "response_rules that remove " + wire.UsedPoolHeader + ", -name and -key, or response_headers_to_remove with them", false,
		"Clients read which key served them, by its name and its masked hint.",
	}
)

// About the loopback listener.
var (
	loopbackAddress = setting{
		"address", "a Unix socket", true,
		"Whoever reaches the address sends requests with the keys of any pool.",
	}
	loopbackMode = setting{
		"address.pipe.mode", "384 (0600), or 432 (0660) with a group that only Envoy and Keyturn are in", true, socketConsequence,
	}
	turnsLost = setting{
		"route.request_headers_to_remove", "none of " + wire.PoolHeader + ", " + wire.TurnHeader + ", " + wire.ModelHeader + " and " + wire.ClientHeader + ", and nothing that overwrites them", true,
		"Keyturn takes its own requests for a client's, or does not know their pool.",
	}
	credentialsLost = setting{
		"route.request_headers_to_remove", "no credentials", false,
		"A client's own credential is not on the later turns: the pool pays for them.",
	}
	usedLost = setting{
		"route.response_headers_to_remove", "of " + wire.HeaderPrefix + "* only " + wire.RetryHeader, false,
		"Keyturn does not learn which key served a turn, nor why it failed.",
	}
	turnLog = setting{
		"access_log", "%REQ(" + wire.TurnHeader + ")% in its format", false,
		"The log does not tell the turns that Keyturn makes from the requests of clients.",
	}
)
