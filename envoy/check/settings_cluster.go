package check

// About the cluster that leads to Keyturn.
var (
	processorAddress = setting{
		name: "cluster.load_assignment", want: "where Keyturn listens", severity: Crashes, consequence: processorPresent.consequence, remedy: "Name the address that keyturn.yaml has as listen.",
	}
	processorBuffer = setting{
		name: "cluster.per_connection_buffer_limit_bytes", want: "not set (1 MiB)", consequence: stuckConsequence,
	}
	processorHTTP2 = setting{
		name: "cluster.http2_protocol_options", want: "set", severity: Crashes,
		consequence: "Keyturn is not reached: gRPC needs HTTP/2.",
	}
	processorWindow = setting{
		name: "cluster.http2_protocol_options.initial_stream_window_size", want: "1048576 or less", consequence: stuckConsequence,
	}
)

const stuckConsequence = "Envoy holds up to 16 MiB more for each client that does not read."

// About the cluster that leads to the inner listener.
var (
	hopAddress = setting{
		name: "cluster.load_assignment", want: "the inner listener", severity: Crashes,
		consequence: "Requests do not reach Keyturn.",
		remedy:      "Name the inner listener: envoy_internal_address: {server_listener_name: keyturn-inner}, or its socket.",
	}
	hopHTTP2 = setting{
		name: "cluster.http2_protocol_options", want: "not set: HTTP/1.1", severity: Crashes,
		consequence: "Each retry resets a stream, and after a thousand the inner listener closes the connection with others on it: one retried request in a hundred is a 503.",
		remedy:      "Take it out.",
	}
	hopIdle = setting{
		name:        "cluster.common_http_protocol_options.idle_timeout",
		consequence: "A request on a connection that the inner listener is just closing is a 503.",
	}
	hopHeadersCount = setting{
		name: "cluster.common_http_protocol_options.max_headers_count", consequence: hopHeadersConsequence,
	}
	hopHeadersSize = setting{
		name: "cluster.common_http_protocol_options.max_response_headers_kb", consequence: hopHeadersConsequence,
	}
)

const hopHeadersConsequence = "A response whose headers were just few enough for the pool's cluster is a 502, for it has some of Keyturn's now."

// About the cluster of a pool.
var (
	providerPlain = setting{
		name: "cluster.transport_socket", want: "TLS with the provider's name", severity: Leaks,
		consequence: "Envoy sends requests in the clear, keys among them, or the provider refuses them.",
		remedy:      "Add a transport socket with TLS, as keyturn render envoy prints it.",
	}
	providerTLS = setting{
		name: "cluster.transport_socket", want: "a trusted_ca, and match_typed_subject_alt_names or auto_san_validation", severity: Leaks,
		consequence: "The provider's certificate is not verified: whoever answers in its place gets the keys.",
		remedy:      "Add both to the validation context.",
	}
	providerSNI = setting{
		name: "cluster.transport_socket.sni", severity: Crashes,
		consequence: "The provider does not know which certificate to show: the connection fails, and every request is a 503.",
	}
	providerRetry = setting{
		name: "cluster.retry_policy", want: "not set: the fronts' routes retry", severity: Crashes, consequence: retryConsequence, remedy: "Take it out.",
	}
)

// About circuit breakers.
var (
	breakers = setting{
		name: "cluster.circuit_breakers", want: "thresholds far above the load",
		consequence: "Envoy's defaults are 1024 connections and requests, and 3 retries: streams are long, and what is refused is a 503.",
		remedy:      "Set max_connections, max_pending_requests and max_requests to 10000 or more.",
	}
	breakerConnections = breaker("max_connections")
	breakerPending     = breaker("max_pending_requests")
	breakerRequests    = breaker("max_requests")
	breakerRetries     = setting{
		name: "cluster.circuit_breakers.max_retries", want: "1000 or more", severity: Crashes,
		consequence: "Envoy's default is 3 at once: a retry that it refuses is the provider's 429.",
	}
)

func breaker(name string) setting {
	return setting{name: "cluster.circuit_breakers." + name, want: "10000 or more", consequence: "Envoy's default is 1024, and streams are long: what is above is a 503."}
}
