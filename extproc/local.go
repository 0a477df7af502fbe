package extproc

import (
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// local is an answer that Envoy made itself in the provider's place.
type local struct {
	code    string // of the error that the client reads, and for the pool's policy
	typ     string // of that error
	message string
	status  int  // in the place of Envoy's; 0: Envoy's
	away    bool // the provider was not reached, or broke off
	unsent  bool // nothing of the request had reached a provider, and another connection may do better
	closed  bool // the provider has closed the connection
}

// viaUpstream is the code detail of every answer that comes from a provider.
const viaUpstream = "via_upstream"

// maxDetails bounds how much of Envoy's code details an error repeats, in bytes.
const maxDetails = 200

// upstreamConnectionFailure is the flag UF of the attribute response.flags.
const upstreamConnectionFailure = 0x20

// localOf tells Envoy's own answer from a provider's by the attributes response.code_details and response.flags; nil for a
// provider's, and where Envoy does not send the attributes.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/response_code_details
func localOf(m *message) *local {
	if len(m.details) == 0 || string(m.details) == viaUpstream {
		return nil
	}
	details := string(m.details)
	reason, reset := strings.CutPrefix(details, "upstream_reset_before_response_started{")
	reason, _, _ = strings.Cut(strings.TrimSuffix(reason, "}"), "|")
	unsent := m.flags&upstreamConnectionFailure != 0 || strings.HasSuffix(reason, "connection_failure") || reason == "remote_refused_stream_reset"
	switch {
	case reset && reason == "protocol_error":
		return &local{
			code: "provider_reset", typ: "api_error", away: true,
			message: "The provider's answer is not HTTP, or has too many headers" + said(details) + ".",
		}
	case reset && !unsent && reason != "overflow":
		return &local{
			code: "provider_reset", typ: "api_error", message: "The provider broke off before it answered" + said(details) + ".", away: true,
			closed: reason == "connection_termination",
		}
	case reset, details == "no_healthy_upstream":
		return &local{
			code: "provider_unreachable", typ: "api_error", message: "The provider could not be reached" + said(details) + ".",
			away: true, unsent: unsent,
		}
	case strings.HasSuffix(details, "timeout"):
		return &local{code: "provider_timeout", typ: "timeout_error", message: "The provider did not answer in time" + said(details) + ".", away: true}
	case details == "cluster_not_found":
		return &local{code: "cluster_unknown", typ: "api_error", message: "Envoy does not know the cluster that the pool names first in its clusters: render its configuration anew, or mend clusters."}
	case details == "request_payload_too_large":
		return &local{code: "request_too_large", typ: "invalid_request_error", message: "The request's body is larger than what Envoy can hold for Keyturn (request_body_buffer_limit of the inner listener)."}
	case details == "response_payload_too_large":
		return &local{
			code: "response_too_large", typ: "api_error", status: 502,
			message: "The provider's answer is larger than what Envoy can hold for Keyturn (request_body_buffer_limit of the inner listener).",
		}
	}
	return &local{code: "gateway_error", typ: "api_error", message: "Envoy could not handle the request" + said(details) + "."}
}

// said is what an error repeats of Envoy's details: without addresses, which are nobody's business outside.
func said(details string) string {
	details, _, cut := strings.Cut(details, "|remote_address:")
	if cut && strings.Contains(details, "{") {
		details += "}"
	}
	if len(details) > maxDetails {
		details = details[:maxDetails]
	}
	return " (" + strings.ToValidUTF8(details, "?") + ")"
}

// decideLocal has a request that reached no provider, or met a connection that was being closed, tried once more with the same key. What else Envoy answers itself is the
// policy's to judge, and blames no key.
func (x *exchange) decideLocal(k kind, now time.Time) {
	if x.walker != nil {
		x.walker.Release()
	}
	again := x.inTime(now) && x.retriable() && x.followed()
	switch {
	case again && (x.local.unsent || x.crossed(now)) && x.mayRepeat():
		x.repeat = true
		x.nextAttempt(k)
	case again && x.key != nil && x.local.away && x.nextKey() && x.others() == nil:
		x.nextAttempt(k)
	case x.local.away && x.fallBack(whyUnreachable, k, now):
	default:
		x.outcome = surfaced
		if x.local.away {
			x.outcome = unreachable
		}
		x.replace(k)
	}
}

// mayRepeat reports whether no attempt before this one was repeated.
func (x *exchange) mayRepeat() bool { return !x.repeatedBefore() }

// repeatedBefore reports whether an attempt before this one was repeated, with the same pool.
func (x *exchange) repeatedBefore() bool { return x.hop == x.before.hop && x.before.repeated }

// followed reports whether attempts know what the one before them tried. Two replicas behind one Envoy do not: each would have
// the same key again, for as many attempts as the front allows.
func (x *exchange) followed() bool {
	return len(x.id) > 0 && (x.attempt == 1 || x.before.attempt == x.attempt-1)
}

// nextKey reports whether the pool's policy goes on to the next key after such an answer of Envoy's.
func (x *exchange) nextKey() bool {
	v := x.classify(keypool.Answer{Status: x.status, Code: x.local.code})
	return v.Action != keypool.Surface
}

// replace puts an error of the dialect in the place of what Envoy answered.
func (x *exchange) replace(k kind) {
	e := dialect.Error{Type: x.local.typ, Code: x.local.code, Message: x.local.message}
	if x.local.status != 0 {
		x.status = x.local.status
	}
	if k != responseBody || x.partial { // there is no body that another could replace
		x.instead(x.status, x.local.code, e)
		return
	}
	x.done = true
	body := dialect.ErrorBody(x.errors(), e)
	x.tellUsed()
	x.mut.set(wire.ErrorHeader, "", x.local.code)
	if x.local.status != 0 {
		x.mut.set(":status", "", strconv.Itoa(x.local.status))
	}
	x.mut.set("content-type", "", "application/json")
	x.mut.set("content-length", "", strconv.Itoa(len(body)))
	x.out.body(k, &x.mut, body, x.ended())
}
