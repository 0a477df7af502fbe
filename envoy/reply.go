package envoy

import (
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/keyturn/keyturn/internal/wire"
)

// reply is how one of Envoy's own answers looks to a client. A provider's answers never come here, nor do Keyturn's on a
// front: Envoy rewrites only what this very listener made itself.
type reply struct {
	when    string // CEL over Envoy's attributes
	code    string // error.code, and the header x-keyturn-error
	kind    string // error.type
	message string // what happened and what to do; Envoy's format, so no % of its own
	status  uint32 // in the place of Envoy's; 0: Envoy's
	allow   string // the header allow; "": none
}

// mainReplies are the main listener's, tried in order; the last one takes what is left of errors: probes and preflights get no error.
func (r *renderer) mainReplies() []reply {
	replies := r.guardReplies()
	if r.Attach == Listener { // in routes' own conditions none is about what took no route
		replies = append(replies, r.unknownPath())
	}
	return append(replies, r.clientReplies()...)
}

// unknownPath names the pools to whoever asks for another.
func (r *renderer) unknownPath() reply {
	names := make([]string, 0, len(r.Pools))
	for i := range r.Pools {
		if i == maxNamedPools {
			names = append(names, "…")
			break
		}
		names = append(names, "/"+r.Pools[i].Name+"/")
	}
	return reply{
		when: "response.code_details == 'route_not_found'", code: "unknown_path", kind: "not_found_error",
		message: "Paths begin with a pool (" + strings.Join(names, ", ") + ") or " + defaultPrefix + ".",
	}
}

// maxNamedPools is how many pools an error names.
const maxNamedPools = 20

// clientReplies are those that say who is not let in, and what is the same on every front.
func (r *renderer) clientReplies() []reply {
	var replies []reply
	if r.authenticates() {
		replies = append(replies, unknownClient("This gateway does not know the client's credential. "+
			"Send a valid one as "+wire.ClientKeyHeader+", Authorization: Bearer, x-api-key or api-key, or as a WebSocket's protocol "+wire.ClientKeyHeader+".KEY (only as "+wire.ClientKeyHeader+
			" where clients may bring their own credential for the provider)."))
	}
	if len(r.Clients.APIKeys) > 0 && !r.Clients.ByEnvoy {
		replies = append(replies, reply{
			when: "response.code_details == 'ext_authz_error'", code: "processor_unavailable", kind: "api_error",
			message: "Keyturn does not answer Envoy, so nobody knows who the client is. Try again; the operator finds the reason in Keyturn's log.",
		})
	}
	if r.Clients.JWT != nil {
		replies = append(replies, refusedClient("The client's token is for another audience than this gateway."))
	}
	return append(replies, r.frontReplies()...)
}

// unknownClient is for a client that nobody knows.
func unknownClient(message string) reply {
	return reply{when: "response.code == 401", code: "invalid_client_key", kind: "authentication_error", message: message}
}

// refusedClient is for a client that may not do what it asks for.
func refusedClient(message string) reply {
	return reply{when: "response.code == 403", code: "refused", kind: "permission_error", message: message}
}

// frontReplies are the same on every front.
func (r *renderer) frontReplies() []reply {
	return []reply{
		{
			when: "response.code == 408", code: "timeout", kind: "timeout_error",
			message: "The request did not arrive in time: nothing moved for " + r.idle() + ", or the headers took too long.",
		},
		{
			when: "response.code >= 400 && response.code < 500", code: "bad_request", kind: "invalid_request_error",
			message: "This gateway cannot take the request (%RESPONSE_CODE_DETAILS%).",
		},
		{
			when: "response.code == 504", code: "provider_timeout", kind: "timeout_error",
			message: "The provider did not answer: nothing moved for " + r.idle() + ".",
		},
		{
			when: "response.code >= 500", code: "gateway_error", kind: "api_error",
			message: "This gateway could not pass the request on (%RESPONSE_CODE_DETAILS%). Try again.",
		},
	}
}

// innerReplies are for what Keyturn does not see: its own failures, and a provider that breaks off, or sends more than Envoy may
// hold, while Keyturn reads its error. Keyturn's own answers are what they should be.
var innerReplies = []reply{
	{
		when: "response.code == 504 && response.code_details.startsWith('ext_proc')", code: "processor_timeout", kind: "timeout_error",
		message: "Keyturn did not answer Envoy in time, so the request has no key. Try again; the operator finds the reason in Keyturn's log.",
	},
	{
		when: "response.code_details.startsWith('ext_proc')", code: "processor_unavailable", kind: "api_error",
		message: "Keyturn does not answer Envoy, so the request has no key. Try again; the operator finds the reason in Keyturn's log.",
	},
	{
		when: "response.code_details == 'response_payload_too_large'", code: "response_too_large", kind: "api_error",
		message: "The provider's answer is larger than this gateway reads.",
	},
	{
		when: "!response.code_details.startsWith('" + wire.DetailsPrefix + "')", code: "provider_reset", kind: "api_error",
		message: "The provider broke off, or sent too many headers (%RESPONSE_CODE_DETAILS%).",
	},
}

// idle says for how long nothing may move.
func (r *renderer) idle() string {
	text := r.IdleTimeout.String() + " (idle_timeout)"
	if r.hasTools() {
		return text + ", longer where tools run"
	}
	return text
}

// localReplies shapes Envoy's own answers, so that SDKs find the error where they look for it: one shape that those of OpenAI
// read as theirs, and those of Anthropic. where is a condition for all of them, "" for none.
func (r *renderer) localReplies(replies []reply, where string) *hcmv3.LocalReplyConfig {
	c := &hcmv3.LocalReplyConfig{}
	for _, p := range replies {
		m := &hcmv3.ResponseMapper{
			Filter:       r.cel(all(where, p.when)),
			HeadersToAdd: []*corev3.HeaderValueOption{set(wire.ErrorHeader, p.code)},
			BodyFormatOverride: jsonFormat(map[string]any{
				"type": "error", "error": map[string]any{"type": p.kind, "message": p.message, "param": nil, "code": p.code},
			}),
		}
		if p.status != 0 {
			m.StatusCode = u32(p.status)
		}
		if p.allow != "" {
			m.HeadersToAdd = append(m.HeadersToAdd, set("allow", p.allow))
		}
		c.Mappers = append(c.Mappers, m)
	}
	return c
}

// all joins conditions, without the empty ones.
func all(conditions ...string) string {
	return strings.Join(slices.DeleteFunc(conditions, func(s string) bool { return s == "" }), " && ")
}

// onRoutes is a condition on the access log and on local replies: the request took one of these routes.
func onRoutes(names []string) string {
	return "xds.route_name in ['" + strings.Join(names, "', '") + "']"
}

// cel is a condition on an answer.
func (r *renderer) cel(expression string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name:       "envoy.access_loggers.extension_filters.cel",
			ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: r.pack(&celv3.ExpressionFilter{Expression: expression})},
		},
	}}
}
