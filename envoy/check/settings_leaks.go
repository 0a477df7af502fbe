package check

import (
	"slices"

	"github.com/keyturn/keyturn/internal/wire"
)

// containers are the fields that a finding is named after when it is about something within them.
var containers = []string{
	"access_log", "upstream_log", "access_log_policy", "custom_tags", "tracing", "local_reply_config", "direct_response", "rate_limits",
	"request_headers_to_add", "response_headers_to_add", "request_mutations", "response_mutations", "early_header_mutation_extensions",
}

// about names the setting after the field that the place is within.
func (s setting) about(p steps) setting {
	for _, step := range slices.Backward(p) {
		if name := snake(step); slices.Contains(containers, name) {
			s.name = name
			return s
		}
	}
	if s.name == "" {
		s.name = p.field()
	}
	return s
}

// About what gives a credential away, wherever it stands.
var (
	logCredential = setting{
		name: "access_log", want: "no credential", severity: Leaks,
		consequence: "Whoever reads the log has the credential: a pool's key in the log of the inner listener, a client's in that of a front.",
		remedy:      "Take the operator out. The key's name and its masked hint are %DYNAMIC_METADATA(keyturn:key_name)% and %DYNAMIC_METADATA(keyturn:key)%.",
	}
	logQuery = setting{
		name: "access_log", want: "the path without its query: %PATH(NQ)%", severity: Leaks,
		consequence: "Some clients send their credential in the query (?key=, as Gemini's do, or ?access_token=): whoever reads the log has it.",
		remedy:      "Write %PATH(NQ)% in the format.",
	}
	logDefault = setting{
		name: "access_log", want: "the path without its query: %PATH(NQ)%", severity: Costs,
		consequence: "Envoy's default format has the path as clients send it. No pool's key is in it. Some clients send their credential in the query (?key=, as Gemini's do): Keyturn lets no provider have it, but whoever reads the log has.",
		remedy:      "Write %PATH(NQ)% in the format.",
	}
	loggerUnknown = setting{
		name: "access_log", want: "a log of a file, stdout, stderr, gRPC, OpenTelemetry or Fluentd", severity: Leaks,
		consequence: "It is code that sees every header of a request, pools' keys among them, and nobody here knows what it does with them.",
		remedy:      "Take it out, or log with one of Envoy's own.",
	}
	tagCredential = setting{
		name: "custom_tags", want: "no credential", severity: Leaks,
		consequence: "The credential is in every span: whoever reads traces has it.",
		remedy:      "Take the tag out.",
	}
	headerCredential = setting{
		name: "request_headers_to_add", want: "no credential in another header", severity: Leaks,
		consequence: "The credential goes on where nothing removes it: the provider, or whoever the header is for, gets it.",
		remedy:      "Take the operator out.",
	}
	credentialSet = setting{
		name: "request_headers_to_add", want: "no header that holds a credential: Keyturn sets the pool's", severity: Leaks,
		consequence: "The credential stands in Envoy's configuration, which its admin interface shows, and it is in the place of the key that Keyturn chose, or beside it.",
		remedy:      "Take the header out, and write the key into keyturn.yaml by reference.",
	}
	answerCredential = setting{
		name: "response_headers_to_add", want: "no credential", severity: Leaks,
		consequence: "Clients read it: on the inner listener it is a pool's key.",
		remedy:      "Take the operator out.",
	}
	credentialAnswered = setting{
		name: "response_headers_to_add", want: "no header that holds a credential", severity: Leaks,
		consequence: "Clients read it.",
		remedy:      "Take the header out.",
	}
	limitCredential = setting{
		name: "rate_limits", want: "no credential as a descriptor", severity: Leaks,
		consequence: "The service that counts requests is sent the credential.",
		remedy:      "Count by " + wire.ClientHeader + ", which the clients' authentication sets.",
	}
	metadataCredential = setting{
		name: "header_to_metadata", want: "no credential in the dynamic metadata", severity: Leaks,
		consequence: "Logs, gRPC services and other filters read the metadata: whoever does has the credential.",
		remedy:      "Take the rule out, or give it a value of its own.",
	}
	metadataForged = setting{
		name: "header_to_metadata", want: "nothing but Keyturn, and the client's name by its authentication, writes the metadata " + wire.Namespace, severity: Leaks,
		consequence: "A client can take another's name, pool or key in logs and records.",
		remedy:      "Write into another namespace.",
	}
	tapped = setting{
		name: "tap", want: "no tap", severity: Leaks,
		consequence: "A tap writes requests with all that is in them: pools' keys, clients' credentials, prompts.",
		remedy:      "Take the tap out.",
	}
	keysLogged = setting{
		name: "key_log", want: "not set", severity: Leaks,
		consequence: "Envoy writes the secrets of its TLS connections to a file: whoever has it reads recorded traffic, with the keys in it.",
	}
)

// About what sends a request elsewhere, or more than once.
var (
	mirrored = setting{
		name: "request_mirror_policies", want: "not set", severity: Leaks,
		consequence: "Every request goes to another cluster too, with what is in it: on the inner listener with a pool's key, on a front with the client's prompt, and to be paid for twice where it leads to Keyturn.",
	}
	redirected = setting{
		name: "internal_redirect_policy", want: "not set", severity: Leaks,
		consequence: "Envoy follows a provider's redirect by itself: the provider says where the request, and on the inner listener a pool's key, goes.",
	}
	hedged = setting{
		name: "hedge_policy", want: "not set", severity: Crashes,
		consequence: "Envoy sends a request again while the first still runs: it is paid for twice, and its tools run twice.",
	}
	clusterFromClient = setting{
		name: "route.cluster_header", want: "not set: a route names its cluster", severity: Leaks,
		consequence: "A client names the cluster that its request goes to: past Keyturn, or to the inner listener with the pool of its choice.",
		remedy:      "Write cluster: and its name in its place.",
	}
	clusterByPlugin = setting{
		name: "route.cluster_specifier_plugin", want: "not set: a route names its cluster", severity: Leaks,
		consequence: "Code that nobody here knows chooses the cluster: requests may go past Keyturn, or with a pool's key to somebody else.",
		remedy:      "Write cluster: and its name in its place.",
	}
	connectAllowed = setting{
		name: "upgrade_configs", want: "websocket alone, and no connect_matcher", severity: Leaks,
		consequence: "CONNECT opens a tunnel to the provider with a pool's key at its head: what is in it passes Keyturn unseen.",
		remedy:      "Take it out.",
	}
	weightedPast = setting{
		name: "route.weighted_clusters", want: "keyturn-inner alone", severity: Leaks,
		consequence: "Some of the requests go to a cluster without a pool: past Keyturn, without a key, with all that the client sent.",
		remedy:      "Take the cluster out.",
	}
	tcpToFront = setting{
		name: "tcp_proxy.cluster", want: "no cluster that leads to a listener of Keyturn's", severity: Leaks,
		consequence: "Whoever reaches this listener reaches that one, past what keeps strangers out: who may use it, or which pool's keys are spent.",
		remedy:      "Take the listener out, or have it listen on loopback.",
	}
	tcpToProvider = setting{
		name: "tcp_proxy.cluster", want: "no cluster of a pool", severity: Leaks,
		consequence: "Requests reach the provider past Keyturn, with what clients send.",
		remedy:      "Take the listener out.",
	}
)

// About filters and other code that sees what Keyturn has set.
var (
	filterBefore = setting{
		name: "http_filters", want: "filters that are known not to look back at a request", severity: Leaks,
		consequence: "When a request ends its filters may look at it once more, with the pool's key in it: code, taps and services of others do, and nobody here knows what with.",
		remedy:      "Move the filter to the front.",
	}
	filterUpstream = setting{
		name: "upstream_http_filters", want: "the codec alone", severity: Leaks,
		consequence: "What stands there sees the pools' keys, after Keyturn has set them.",
		remedy:      "Take the filter out, or move it to the front.",
	}
	networkUpstream = setting{
		name: "cluster.filters", want: "not set", severity: Leaks,
		consequence: "What stands there sees each byte to the provider before TLS hides it, pools' keys among them.",
	}
	mutationAfter = setting{
		name: "http_filters", want: "no change of a credential, of the authority or of the path after keyturn", severity: Leaks,
		consequence: "The provider gets another key, name or path than Keyturn has set, or a key goes to another provider.",
		remedy:      "Take the mutation out.",
	}
)
