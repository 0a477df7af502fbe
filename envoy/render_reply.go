package envoy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// reply is how one of Envoy's own answers looks to a client. A provider's answers never come here: Envoy rewrites only
// what it made itself.
type reply struct {
	when      string // CEL over Envoy's attributes
	code      string // error.code of OpenAI's shape, and the header x-keyturn-error
	openAI    string // error.type
	anthropic string // error.type
	message   string // what happened and what to do; Envoy's format, so no % of its own
}

// replies are tried in order; the last one takes what is left.
func (r *renderer) replies(loopback bool) []reply {
	if loopback {
		return append([]reply{{
			"response.code == 413", "request_too_large", "invalid_request_error", "request_too_large",
			"With the results of its tools the request's body is larger than the " + strconv.Itoa(maxBodyBytes) + " bytes that this gateway can send on.",
		}}, r.otherReplies()...)
	}
	return append([]reply{
		{
			"response.code == 401", "invalid_client_key", "invalid_request_error", "authentication_error",
			"This gateway does not know the client's credential. Send a valid one as " + clientKeyHeader + ", Authorization: Bearer, x-api-key or api-key" +
				" (only as " + clientKeyHeader + " where clients may bring their own credential for the provider).",
		},
		{
			"response.code == 403", "refused", "invalid_request_error", "permission_error",
			"This gateway refuses the request: a WebSocket elsewhere than on /responses and /realtime, or a token for another audience.",
		},
		{
			"response.code == 413", "request_too_large", "invalid_request_error", "request_too_large",
			"The request's body is larger than the " + strconv.FormatInt(r.MaxRequestBytes, 10) + " bytes that this gateway takes (max_request_bytes).",
		},
		{
			"response.code == 408", "timeout", "invalid_request_error", "timeout_error",
			"The request did not arrive in time: nothing moved for " + r.idle() + ", or the headers took too long.",
		},
	}, r.otherReplies()...)
}

// otherReplies are the same on every listener.
func (r *renderer) otherReplies() []reply {
	return []reply{
		{
			"response.code < 500", "bad_request", "invalid_request_error", "invalid_request_error",
			"This gateway cannot take the request (%RESPONSE_CODE_DETAILS%).",
		},
		{
			"response.code == 504 && response.code_details.startsWith('ext_proc')", "processor_timeout", "server_error", "timeout_error",
			"Keyturn did not answer Envoy in time, so the request has no key. Try again; the operator finds the reason in Keyturn's log.",
		},
		{
			"response.code_details.startsWith('ext_proc')", "processor_unavailable", "server_error", "api_error",
			"Keyturn does not answer Envoy, so the request has no key. Try again; the operator finds the reason in Keyturn's log.",
		},
		{
			"response.code == 504", "provider_timeout", "server_error", "timeout_error",
			"The provider did not answer: nothing moved for " + r.idle() + ".",
		},
		{
			"response.code == 500", "response_too_large", "server_error", "api_error",
			"This gateway could not handle the provider's answer (%RESPONSE_CODE_DETAILS%).",
		},
		{
			"", "provider_unreachable", "server_error", "api_error",
			"The provider could not be reached or broke off before it answered (%RESPONSE_CODE_DETAILS%).",
		},
	}
}

// idle says for how long nothing may move.
func (r *renderer) idle() string {
	text := r.IdleTimeout.String() + " (idle_timeout)"
	for _, pool := range r.Pools {
		if pool.Tools {
			return text + ", longer where tools run"
		}
	}
	return text
}

// localReplies shapes Envoy's own answers like the provider's, so that SDKs find the error where they look for it. where
// is a condition for all of them, "" for none.
func (r *renderer) localReplies(replies []reply, where string) *hcmv3.LocalReplyConfig {
	// Keyturn's own answers pass here too, and are what they should be.
	c := &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{{Filter: r.cel("'" + errorHeader + "' in response.headers")}}}
	for _, p := range replies {
		headers := []*corev3.HeaderValueOption{set(errorHeader, p.code)}
		messages := all(where, "request.url_path.matches('/v1/messages(/|$)')", p.when)
		c.Mappers = append(c.Mappers, &hcmv3.ResponseMapper{
			Filter: r.cel(messages), HeadersToAdd: headers,
			BodyFormatOverride: jsonFormat(map[string]any{
				"type": "error", "error": map[string]any{"type": p.anthropic, "message": p.message},
			}),
		})
		c.Mappers = append(c.Mappers, &hcmv3.ResponseMapper{
			Filter: r.cel(cmp.Or(all(where, p.when), "true")), HeadersToAdd: headers,
			BodyFormatOverride: jsonFormat(map[string]any{
				"error": map[string]any{"message": p.message, "type": p.openAI, "param": nil, "code": p.code},
			}),
		})
	}
	return c
}

// all joins conditions, without the empty ones.
func all(conditions ...string) string {
	return strings.Join(slices.DeleteFunc(conditions, func(s string) bool { return s == "" }), " && ")
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
