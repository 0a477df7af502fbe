package check

// About the proxy of a mesh.
var (
	updateRefused = setting{
		name: "update", want: "taken", severity: Crashes,
		consequence: "The proxy goes on with what it had before, or without it: changes of the mesh's resources have no effect.",
		remedy:      "Read why in the details, and mend that resource.",
	}
	secondListener = setting{
		name: "update", want: "one EnvoyFilter alone that adds the listener", severity: Crashes,
		consequence: "Two EnvoyFilters add a listener of the same name or address, as when Keyturn is rendered twice for one proxy: it takes the first and refuses the second.",
		remedy:      "Delete one of the EnvoyFilters.",
	}
	meshRoutesMissed = setting{
		name: "route.cluster", want: "keyturn-inner, on the routes to the pools", severity: Leaks,
		consequence: "The EnvoyFilter finds no route: it looks for a name, and a VirtualService or HTTPRoute that is renamed or missing makes another. Requests reach the provider past Keyturn.",
		remedy:      "Render for this mesh again with keyturn render istio, and apply all of it.",
	}
	meshPlain = setting{
		name: "cluster.transport_socket", want: "TLS with the provider's name: a DestinationRule with tls.mode SIMPLE and subjectAltNames", severity: Leaks,
		consequence: providerPlain.consequence,
		remedy:      "Apply the DestinationRules that keyturn render istio prints.",
	}
	processorReached = setting{
		name: "endpoint", want: "reached", severity: Crashes,
		consequence: "The proxy does not reach Keyturn: every request is answered with 503. Is it running, is the socket's folder in both containers, and may the proxy's user (its group) write to the socket?",
		remedy:      "Start Keyturn, share the folder of the socket, and let the proxy's group write to it.",
	}
	meshClients = setting{
		name: "http_filters", want: "an AuthorizationPolicy or RequestAuthentication for the gateway, mutual TLS, or envoy.clients of keyturn.yaml", severity: Leaks,
		consequence: clientsUnknown.consequence,
		remedy:      "Add one of them, or say open: true in keyturn.yaml if everybody who reaches the gateway may use the pools.",
	}
)
