package mesh

// istioComments say why, by the end of a field's path, where a reader of the mesh's resources would ask.
var istioComments = map[string]string{
	"ports/*/targetPort":                "The provider's own port.",
	"trafficPolicy/connectionPool":      "No maxima: Istio's circuit breakers are unlimited, those of retries too. A model may think for minutes without a byte, and an\nunused connection is closed before the provider's load balancer closes it.",
	"tls/subjectAltNames":               "Without it any certificate of a trusted authority would get the keys.",
	"spec/exportTo":                     "For this namespace: what others of the mesh do with this host is not changed.",
	"servers/*/port":                    "The port that the proxy itself listens on, the targetPort of its Service.",
	"http/*/name":                       "Do not name a match: the route would be called <name>.<match>, and the EnvoyFilter would miss it.",
	"headers/request":                   "If the patches were ever lost, or missed this route, the client's credential must not reach the provider. Keyturn runs later\nand sets the key.",
	"filters/*/requestHeaderModifier":   "If the patches were ever lost, or missed this route, the client's credential must not reach the provider. Keyturn runs later\nand sets the key.",
	"retries/attempts":                  "No policy of Istio's: the EnvoyFilter's stands alone.",
	"spec/priority":                     "After EnvoyFilters that have none.",
	"patch/value/traffic_direction":     "A sidecar that ends drains its inbound listeners only.",
	"listener/portNumber":               "The port that the proxy itself listens on, not its Service's.",
	"rules/*/timeouts":                  "No end to a stream but idleness.",
	"validation/hostname":               "Without it any certificate of a trusted authority would get the keys.",
	"spec/circuitBreaker":               "Far above any load: streams are long, and a refused retry is the provider's 429.",
	"routeConfiguration/vhost":          "Editing what follows does not cut streams in flight; editing what stands above does.",
	"address/pipe/mode=384":             "0600 in decimal: for the proxy's own user alone.",
	"address/pipe/mode=432":             "0660 in decimal: the proxy and Keyturn have different users and a group in common, which the folder belongs to.",
	"value/name=keyturn-loopback":       "Keyturn sends the later turns of a response with tools through this one.",
	"value/route/cluster=keyturn-inner": "In place of the provider's cluster, which Keyturn names for each attempt.",
	"route/idle_timeout":                "Ends a stream on which nothing moves. Istio's listeners have no bound.",

	"applyTo=CLUSTER":        "Keyturn itself, and the way to the inner listener.",
	"applyTo=LISTENER":       "The inner listener: each attempt is a request of its own to it, and there Keyturn stands. No other patch reaches a listener\nthat an EnvoyFilter adds, so all that it needs stands in it.",
	"applyTo=HTTP_FILTER":    "The mesh's own listener for the providers' hosts. Other hosts share it, so everything is off until a route turns it on.",
	"applyTo=NETWORK_FILTER": "What the proxy answers itself, and a log of which key served a request: for the routes to the pools only.",
	"applyTo=HTTP_ROUTE":     "The routes: each leads to the inner listener, and sends a request again when Keyturn asks for it.",
}
