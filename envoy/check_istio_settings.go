package envoy

// About the proxy of a mesh.
var (
	envoyBodies = setting{
		"version", "1.38 or newer (Istio 1.30)", false,
		"A request whose body is more than half of request_body_buffer_limit is not retried: its key does not turn.",
	}
	updateRefused = setting{
		"update", "taken", true,
		"The proxy goes on with what it had before, or without it: changes of the mesh's resources have no effect.",
	}
	secondListener = setting{
		"update", "one EnvoyFilter alone that adds the listener", true,
		"Two EnvoyFilters add a listener of the same name or address, as when Keyturn is rendered twice for one proxy: it takes the first and refuses the second.",
	}
	meshRoutesMissed = setting{
		"route.cluster", "keyturn-inner, on the routes to the pools", true,
		"The EnvoyFilter finds no route: it looks for a name, and a VirtualService or HTTPRoute that is renamed or missing makes another. Requests reach the provider past Keyturn.",
	}
	meshPlain = setting{
		"cluster.transport_socket", "TLS with the provider's name: a DestinationRule with tls.mode SIMPLE and subjectAltNames", true,
		providerPlain.consequence,
	}
	processorReached = setting{
		"endpoint", "reached", true,
		"The proxy does not reach Keyturn: every request is answered with 503. Is it running, is the socket's folder in both containers, and may the proxy's user (its group) write to the socket?",
	}
	meshClients = setting{
		"http_filters", "an AuthorizationPolicy or RequestAuthentication for the gateway, mutual TLS, or envoy.clients of keyturn.yaml", true,
		clientsUnknown.consequence,
	}
)
