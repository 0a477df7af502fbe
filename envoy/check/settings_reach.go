package check

import (
	"strings"

	"github.com/keyturn/keyturn/internal/wire"
)

var methodWords = strings.Join(wire.Methods, ", ")

// About who reaches what.
var (
	clientsOff = setting{
		name: "route.typed_per_filter_config", want: "the clients' authentication on", severity: Leaks,
		consequence: clientsUnknown.consequence,
		remedy:      "Take out what switches it off for the route.",
	}
	clientsLenient = setting{
		name: "http_filters", want: "clients that must say who they are", severity: Leaks,
		consequence: "A client that says nothing, or says it when the service is down, is let in: whoever reaches the listener spends the pools' keys.",
		remedy:      "Take it out.",
	}
	methodsAllowed = setting{
		name: "http_filters.rbac", want: "a rule that keeps out every method but " + methodWords, severity: Costs,
		consequence: "TRACE, which has a server repeat the request with the key in it, is refused by Keyturn alone: nothing does where a request passes without it.",
		remedy:      "Add the filter keyturn-guard, as keyturn render envoy prints it.",
	}
	remoteAddress = setting{
		name: "use_remote_address", want: "true", severity: Crashes,
		consequence: "A client whose x-forwarded-for says that it is internal says with x-envoy-retry-on and -max-retries how often its requests go out, and are paid for.",
	}
	forgedRetries = setting{
		name: "route.request_headers_to_add." + wire.RetriesHeader, want: "num_retries, with OVERWRITE_IF_EXISTS_OR_ADD, or the header removed", severity: Crashes,
		consequence: "A client says how many retries there are: Keyturn takes bodies off that it should read, or leaves keys untried.",
		remedy:      "Add the header with num_retries, or remove it.",
	}
	adminReachable = setting{
		name: "admin.address", want: "a Unix socket, or loopback", severity: Leaks,
		consequence: "Envoy's admin interface asks nobody who they are: whoever reaches it reads the configuration, stops Envoy, or has it log every header, keys among them.",
		remedy:      "Have it listen on a Unix socket; for other machines allow /ready and /stats alone.",
	}
	adminPaths = setting{
		name: "admin.allow_paths", severity: Leaks,
		consequence: "Every user and every page in a browser on this machine reaches it, and may stop Envoy or have it log every header, keys among them.",
		remedy:      "Have it listen on a Unix socket of mode 0600, or name the paths that are read.",
	}
	adminMode = setting{
		name: "admin.address.pipe.mode", want: "384 (0600)", severity: Leaks,
		consequence: adminPaths.consequence,
	}
	processorPlain = setting{
		name: "cluster.transport_socket", want: "TLS, a Unix socket, or an address of this machine", severity: Leaks,
		consequence: "Keyturn's answers cross the network in the clear, with the key of every attempt in them, and whoever answers in its place says where clients' requests go.",
		remedy:      "Run Keyturn beside Envoy on a Unix socket, or give the cluster a TLS transport socket that verifies it.",
	}
	overload = setting{
		name: "overload_manager", want: "a resource monitor for envoy.resource_monitors.global_downstream_max_connections", severity: Crashes,
		consequence: "Nothing bounds what clients can make Envoy hold: enough connections take its memory and its files, and every request in it ends.",
		remedy:      "Add the monitor, as keyturn render envoy prints it.",
	}
	connectionsUnbounded = setting{
		name: "overload_manager.resource_monitors", want: connectionsMonitor + " with max_active_downstream_connections from 1 to 1000000", severity: Crashes,
		consequence: "Nothing bounds clients' connections: enough of them take Envoy's memory and its files, and every request in it ends.",
		remedy:      "Add the monitor, as keyturn render envoy prints it.",
	}
	runtimeOff = setting{
		name: "layered_runtime", want: "no layer that switches a protection of Envoy's", severity: Crashes,
		consequence: "The key switches off what protects Envoy, or its clients, from hostile requests, or who must say who they are.",
		remedy:      "Take the key out.",
	}
	headerPrefix = setting{
		name: "header_prefix", want: "not set (x-envoy)", severity: Crashes,
		consequence: "Keyturn does not find the number of the attempt, and does not take x-envoy-ratelimited out: keys do not turn.",
	}
)

// About attempts that Keyturn did not ask for.
var (
	retryMore = setting{
		name: "route.retry_policy.retry_on", want: "retriable-headers alone", severity: Crashes,
		consequence: "Envoy sends a request again by itself, with another key, and it may have been served already: it is paid for twice, and its tools run twice.",
		remedy:      "Take the other words out: what may be tried again Keyturn says.",
	}
	retrySome = setting{
		name: "route.retry_policy.retriable_request_headers", want: "not set", severity: Crashes,
		consequence: "Requests without these headers are not retried: their keys do not turn.",
	}
	retryPlugin = setting{
		name: "retry_policy_typed_config", want: "not set", severity: Crashes,
		consequence: retryMore.consequence,
	}
)

// About a pool's cluster.
var (
	endpointOther = setting{
		name: "cluster.load_assignment", severity: Leaks,
		consequence: "The pool's keys go to another host than its upstream.",
		remedy:      "Name the provider's host, or have its certificate verified by its name.",
	}
	endpointProven = setting{
		name: "cluster.load_assignment", severity: Costs,
		consequence: "Requests take another way than the pool's upstream says. Its certificate must still be the provider's.",
		remedy:      "Name the provider's host, or change the pool's upstream.",
	}
	endpointNone = setting{
		name: "cluster.load_assignment", severity: Crashes,
		consequence: "The pool's requests reach nobody: each is a 503.",
		remedy:      "Name the provider's host.",
	}
	endpointChosen = setting{
		name: "cluster.type", want: "STATIC, STRICT_DNS, LOGICAL_DNS, or discovered endpoints", severity: Leaks,
		consequence: "Where requests go is not said here: the address that a client connected to, or a header, says where the pool's keys go.",
		remedy:      "Name the provider's host as an endpoint of a STRICT_DNS or LOGICAL_DNS cluster.",
	}
	providerName = setting{
		name: "cluster.transport_socket.match_typed_subject_alt_names", severity: Leaks,
		consequence: "A certificate of another name is taken for the provider's: whoever has one gets the keys.",
		remedy:      "Name the provider's host, exactly.",
	}
	providerOtherSNI = setting{
		name: "cluster.transport_socket.sni", severity: Crashes,
		consequence: "The server shows the certificate of another name: connections fail, or reach another service than the pool's.",
		remedy:      "Name the provider's host.",
	}
	providerSocket = setting{
		name: "cluster.transport_socket", want: "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", severity: Leaks,
		consequence: "Whether the provider's certificate is verified cannot be said: if it is not, whoever answers in its place gets the keys.",
		remedy:      "Use Envoy's TLS, which verifies the provider's name.",
	}
	providerOldTLS = setting{
		name: "cluster.transport_socket.tls_params", want: "TLSv1_2 or newer", severity: Leaks,
		consequence: "Old versions of TLS can be broken by whoever is between, who then has the keys.",
		remedy:      "Take tls_params out.",
	}
)
