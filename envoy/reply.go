package envoy

import (
	"cmp"
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
}

// mainReplies are the main listener's, tried in order; the last one takes what is left.
func (r *renderer) mainReplies() []reply {
	var replies []reply
	if r.authenticates() {
		replies = append(replies, unknownClient("This gateway does not know the client's credential. "+
			"Send a valid one as "+wire.ClientKeyHeader+", Authorization: Bearer, x-api-key or api-key (only as "+wire.ClientKeyHeader+
			" where clients may bring their own credential for the provider)."))
	}
	if len(r.Clients.APIKeys) > 0 && !r.Clients.ByEnvoy {
		replies = append(replies, reply{
			"response.code_details == 'ext_authz_error'", "processor_unavailable", "api_error",
			"Keyturn does not answer Envoy, so nobody knows who the client is. Try again; the operator finds the reason in Keyturn's log.",
		})
	}
	if r.Clients.JWT != nil {
		replies = append(replies, refusedClient("The client's token is for another audience than this gateway."))
	}
	return append(replies, r.frontReplies()...)
}

// unknownClient is for a client that nobody knows.
func unknownClient(message string) reply {
	return reply{"response.code == 401", "invalid_client_key", "authentication_error", message}
}

// refusedClient is for a client that may not do what it asks for.
func refusedClient(message string) reply {
	return reply{"response.code == 403", "refused", "permission_error", message}
}

// frontReplies are the same on every front.
func (r *renderer) frontReplies() []reply {
	return []reply{
		{
			"response.code == 408", "timeout", "timeout_error",
			"The request did not arrive in time: nothing moved for " + r.idle() + ", or the headers took too long.",
		},
		{
			"response.code < 500", "bad_request", "invalid_request_error",
			"This gateway cannot take the request (%RESPONSE_CODE_DETAILS%).",
		},
		{
			"response.code == 504", "provider_timeout", "timeout_error",
			"The provider did not answer: nothing moved for " + r.idle() + ".",
		},
		{
			"", "gateway_error", "api_error",
			"This gateway could not pass the request on (%RESPONSE_CODE_DETAILS%). Try again.",
		},
	}
}

// innerReplies are for what Keyturn does not see: its own failures, and a provider that breaks off, or sends more than Envoy may
// hold, while Keyturn reads its error. Keyturn's own answers are what they should be.
var innerReplies = []reply{
	{
		"response.code == 504 && response.code_details.startsWith('ext_proc')", "processor_timeout", "timeout_error",
		"Keyturn did not answer Envoy in time, so the request has no key. Try again; the operator finds the reason in Keyturn's log.",
	},
	{
		"response.code_details.startsWith('ext_proc')", "processor_unavailable", "api_error",
		"Keyturn does not answer Envoy, so the request has no key. Try again; the operator finds the reason in Keyturn's log.",
	},
	{
		"response.code_details == 'response_payload_too_large'", "response_too_large", "api_error",
		"The provider's answer is larger than this gateway reads.",
	},
	{
		"!response.code_details.startsWith('" + wire.DetailsPrefix + "')", "provider_reset", "api_error",
		"The provider broke off before it answered (%RESPONSE_CODE_DETAILS%).",
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
		c.Mappers = append(c.Mappers, &hcmv3.ResponseMapper{
			Filter:       r.cel(cmp.Or(all(where, p.when), "true")),
			HeadersToAdd: []*corev3.HeaderValueOption{set(wire.ErrorHeader, p.code)},
			BodyFormatOverride: jsonFormat(map[string]any{
				"type": "error", "error": map[string]any{"type": p.kind, "message": p.message, "param": nil, "code": p.code},
			}),
		})
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
