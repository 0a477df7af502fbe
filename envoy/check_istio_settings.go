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
	secondFilter = setting{
		"update", "one EnvoyFilter alone that adds upstream_http_filters to a listener", true,
		"The proxy refuses the listener, because two EnvoyFilters add filters to its router: it goes on with what it had before, or does not listen at all.",
	}
	filterTwice = setting{
		"upstream_http_filters.keyturn", "once", true,
		"Two EnvoyFilters add Keyturn: each attempt passes it twice, and every failure counts for two keys.",
	}
	filterOthers = setting{
		"upstream_http_filters", "keyturn and envoy.filters.http.upstream_codec alone", false,
		"Another EnvoyFilter adds upstream filters to the same listener: each attempt runs them too, and with one more upstream_codec the proxy refuses the listener.",
	}
	routesMissed = setting{
		"route.typed_per_filter_config.keyturn", "on the routes to the pools", true,
		"The EnvoyFilter finds no route: it looks for a name, and a VirtualService or HTTPRoute that is renamed or missing makes another. Requests reach the provider past Keyturn.",
	}
	clusterUnknown = setting{
		"route.cluster", "", true,
		"No pool of keyturn.yaml names the cluster in its clusters: requests reach the provider without a key.",
	}
	providerPlain = setting{
		"cluster.transport_socket", "TLS with the provider's name: a DestinationRule with tls.mode SIMPLE and subjectAltNames", true,
		"The proxy sends requests in the clear, keys among them, or the provider refuses them.",
	}
	processorReached = setting{
		"endpoint", "reached", true,
		"The proxy does not reach Keyturn: every request is answered with 503. Is it running, is the socket's folder in both containers, and may the proxy's user (its group) write to the socket?",
	}
	meshUpgrades = setting{
		"upgrade_configs", "on each route with the buffer filter {upgrade_type: websocket, enabled: false}, since Istio allows upgrades on every listener", true,
		upgradeConfigs.consequence,
	}
	meshClients = setting{
		"http_filters", "an AuthorizationPolicy or RequestAuthentication for the gateway, mutual TLS, or envoy.clients of keyturn.yaml", true,
		clientsUnknown.consequence,
	}
)
