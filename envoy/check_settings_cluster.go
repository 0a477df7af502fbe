package envoy

// About the cluster that leads to Keyturn.
var (
	processorAddress = setting{
		"cluster.load_assignment", "where Keyturn listens", true, processorPresent.consequence,
	}
	processorBuffer = setting{
		"cluster.per_connection_buffer_limit_bytes", "not set (1 MiB)", false, stuckConsequence,
	}
	processorHTTP2 = setting{
		"cluster.http2_protocol_options", "set", true,
		"Keyturn is not reached: gRPC needs HTTP/2.",
	}
	processorWindow = setting{
		"cluster.http2_protocol_options.initial_stream_window_size", "1048576 or less", false, stuckConsequence,
	}
)

const stuckConsequence = "Envoy holds up to 16 MiB more for each client that does not read."

// About the cluster that leads to the inner listener.
var (
	hopAddress = setting{
		"cluster.load_assignment", "the inner listener", true,
		"Requests do not reach Keyturn.",
	}
	hopHTTP2 = setting{
		"cluster.http2_protocol_options", "not set: HTTP/1.1", true,
		"Each retry resets a stream, and after a thousand the inner listener closes the connection with others on it: one retried request in a hundred is a 503.",
	}
	hopIdle = setting{
		"cluster.common_http_protocol_options.idle_timeout", "", false,
		"A request on a connection that the inner listener is just closing is a 503.",
	}
	hopHeadersCount = setting{
		"cluster.common_http_protocol_options.max_headers_count", "", false, hopHeadersConsequence,
	}
	hopHeadersSize = setting{
		"cluster.common_http_protocol_options.max_response_headers_kb", "", false, hopHeadersConsequence,
	}
)

const hopHeadersConsequence = "A response whose headers were just few enough for the pool's cluster is a 502, for it has some of Keyturn's now."

// About the cluster of a pool.
var (
	providerPlain = setting{
		"cluster.transport_socket", "TLS with the provider's name", true,
		"Envoy sends requests in the clear, keys among them, or the provider refuses them.",
	}
	providerTLS = setting{
		"cluster.transport_socket", "a trusted_ca, and match_typed_subject_alt_names or auto_san_validation", true,
		"The provider's certificate is not verified: whoever answers in its place gets the keys.",
	}
	providerSNI = setting{
		"cluster.transport_socket.sni", "", true,
		"The provider does not know which certificate to show: the connection fails, and every request is a 503.",
	}
	providerRetry = setting{
		"cluster.retry_policy", "not set: the fronts' routes retry", true, retryConsequence,
	}
)

// About circuit breakers.
var (
	breakers = setting{
		"cluster.circuit_breakers", "thresholds far above the load", false,
		"Envoy's defaults are 1024 connections and requests, and 3 retries: streams are long, and what is refused is a 503.",
	}
	breakerConnections = breaker("max_connections")
	breakerPending     = breaker("max_pending_requests")
	breakerRequests    = breaker("max_requests")
	breakerRetries     = setting{
		"cluster.circuit_breakers.max_retries", "1000 or more", true,
		"Envoy's default is 3 at once: a retry that it refuses is the provider's 429.",
	}
)

func breaker(name string) setting {
	return setting{"cluster.circuit_breakers." + name, "10000 or more", false, "Envoy's default is 1024, and streams are long: what is above is a 503."}
}
