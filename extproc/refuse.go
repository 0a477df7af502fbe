package extproc

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// refuse answers the client in the provider's place: no key is left that could be tried.
func (x *exchange) refuse() {
	x.outcome = exhausted
	x.exhaustion = x.exhaustionOfAll()
	status, e := exhaustionError(x.exhaustion)
	x.mut.reset()
	if status == 429 {
		x.retryAfter(x.exhaustion.RetryAfter)
	} else {
		x.mut.set(wire.ShouldRetryHeader, "", "false") // the SDKs would try twice more
	}
	x.dyn.text(wire.ExhaustedField, x.exhaustion.Kind.String())
	x.instead(status, x.exhaustion.Kind.String(), e)
}

// retryAfter says when the request may be sent again.
func (x *exchange) retryAfter(wait time.Duration) {
	if wait > 0 {
		x.mut.set(wire.RetryAfterHeader, "", seconds(wait.Seconds()))
		x.mut.set(wire.RetryAfterMillisHeader, "", strconv.FormatInt(int64((wait+time.Millisecond-1)/time.Millisecond), 10))
	}
}

// cannotRetry answers the client in the provider's place: another key would do, and the front cannot make another attempt. The
// client's own next one has that key.
func (x *exchange) cannotRetry() {
	x.outcome = surfaced
	why := "the request is larger than the " + strconv.FormatInt(x.retryLimit, 10) + " bytes that Envoy can send again (envoy.max_request_bytes)"
	if x.length <= x.retryLimit {
		why = "the route allows no more retries (num_retries: " + strconv.Itoa(x.retries) + ")"
	}
	x.mut.reset()
	x.dyn.reset()
	x.instead(503, "retry_impossible", dialect.Error{
		Type: "api_error", Code: "server_error", Message: "A key failed, and " + why + ": send the request once more, it will have another key.",
	})
}

// busy answers the client in the provider's place: the bodies in work take all the memory that there is for them.
func (x *exchange) busy() {
	x.outcome, x.full = surfaced, true
	x.mut.reset()
	x.mut.set(wire.RetryAfterHeader, "", "1")
	x.instead(503, "memory_full", dialect.Error{
		Type: "api_error", Code: "server_error", Message: "The gateway has no memory for the request at this moment: send it once more in a second.",
	})
}

// unknownPool answers a request that the front leads to no pool of the configuration.
func (x *exchange) unknownPool() {
	x.outcome = surfaced
	x.describeRequest()
	x.instead(503, "pool_unknown", dialect.Error{
		Type: "api_error", Code: "server_error",
		Message: "Envoy's route names no pool of Keyturn's configuration in " + wire.PoolHeader + ": the operator has to mend one of the two.",
	})
}

// admits reports whether the pool serves such a request; else it answers the client in the provider's place.
func (x *exchange) admits(m *message) bool {
	path, ok := segments(string(m.header(":path")))
	switch {
	case !slices.Contains(wire.Methods, string(m.header(":method"))):
		methods := strings.Join(wire.Methods, ", ")
		x.mut.set("allow", "", methods)
		x.reject(405, "method_not_allowed", "invalid_request_error", "This gateway passes "+methods+" on, and no other method.")
	case !ok:
		x.reject(400, "path_refused", "invalid_request_error", "The path has dots as segments, control characters, or bytes that are not UTF-8, once it is decoded: send it without.")
	case !x.pool.endpoints.serve(path):
		x.reject(403, "endpoint_refused", "permission_error", "The pool "+x.pool.name+" does not serve this endpoint: its paths name those that it does.")
	default:
		return true
	}
	return false
}

// reject answers what no attempt is made of, however often it is sent. x.mut may hold more of the answer.
func (x *exchange) reject(status int, code, typ, message string) {
	x.outcome = surfaced
	x.describe()
	x.mut.set(wire.ShouldRetryHeader, "", "false")
	x.instead(status, code, dialect.Error{Type: typ, Code: code, Message: message})
}

// noWebSocket sends a client of Responses back to HTTP: on a WebSocket an answer that is a key's fault is a message among others, and
// so neither keys nor tools work. Codex, which tries a WebSocket first, goes on with HTTP at this status.
func (x *exchange) noWebSocket() {
	x.outcome = surfaced
	x.mut.set(wire.ShouldRetryHeader, "", "false")
	x.instead(426, "websocket_off", dialect.Error{
		Type: "invalid_request_error", Code: "websocket_off",
		Message: "This gateway does not pass WebSockets of the Responses API on: send the request by HTTP, or ask the operator to set websocket: true for the pool.",
	})
}

// instead is an answer of Keyturn's own. x.mut and x.dyn may hold more of it.
func (x *exchange) instead(status int, code string, e dialect.Error) {
	x.done = true
	x.mut.set("content-type", "", "application/json")
	x.mut.set(wire.ErrorHeader, "", code)
	if x.pool != nil {
		x.tellUsed()
	}
	if x.status != 0 && x.local == nil {
		x.dyn.number(wire.StatusField, float64(x.status))
	}
	x.out.immediate(status, &x.mut, dialect.ErrorBody(x.errors(), e), wire.DetailsPrefix+code, x.ended())
}

// errors is the dialect of the errors that the client reads; nil if neither the path nor the pool has one.
func (x *exchange) errors() dialect.Dialect {
	if x.dialect == nil && x.pool != nil {
		return x.pool.dialect
	}
	return x.dialect
}

// exhaustionError is what a client reads when the whole pool fails it: 429 while waiting helps, 404 when it is about the model,
// else 502.
func exhaustionError(e *keypool.Error) (status int, body dialect.Error) {
	switch e.Kind {
	case keypool.RateLimited:
		return 429, dialect.Error{Type: "rate_limit_error", Code: "rate_limit_exceeded", Message: e.Error()}
	case keypool.ModelUnavailable:
		return 404, dialect.Error{Type: "not_found_error", Code: "model_not_found", Message: e.Error()}
	case keypool.AuthFailed, keypool.AllDisabled, keypool.KindUnknown:
	}
	return 502, dialect.Error{Type: "api_error", Code: "server_error", Message: e.Error()}
}
