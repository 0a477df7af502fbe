package extproc

import (
	"slices"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/coding"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// responseHeaders lets a good answer pass and judges a bad one, by its body where that may matter: then x.awaiting is m until the
// body is here.
func (x *exchange) responseHeaders(m *message, now time.Time) {
	x.status, _ = strconv.Atoi(string(m.header(":status")))
	x.judged = now
	if x.status >= 400 {
		x.local = localOf(m)
	}
	if x.local == nil && !x.concerns() {
		x.settle()
		x.goodAnswer(m)
		return
	}
	x.awaiting = m
	if _, known := coding.Names(m.joined("content-encoding")); !m.end && known && contentLength(m) <= maxErrorBody && x.hasRoom(m) {
		x.shape = errorBody
		x.out.pass(m.kind, nil, modes{set: true, request: x.bodyMode, response: x.readable(m)}, nil)
		return
	}
	x.decide(m, now)
	x.awaiting = nil
}

// hasRoom reports whether there is memory for the body of an error. Without a length it may be as large as one that is read.
func (x *exchange) hasRoom(m *message) bool {
	if x.room == nil {
		return true
	}
	n := contentLength(m)
	if n < 0 {
		n = maxErrorBody
	}
	return x.room(n)
}

// readable is the mode in which the body of an answer is read: without a length it may be more than Envoy can hold.
func (x *exchange) readable(m *message) bodyMode {
	if x.partial = contentLength(m) < 0; x.partial {
		return bodyPartial
	}
	return bodyBuffered
}

// concerns reports whether an answer with this status is to be judged: it may be the key's fault, or come of what Keyturn has
// forgotten.
func (x *exchange) concerns() bool {
	return x.key != nil && x.pool.keys.Policy().Concerns(x.status) || x.explainable() || x.status >= 500 && x.next(whyOverloaded) > 0
}

// explainable reports whether the provider may have refused what Keyturn made of the request.
func (x *exchange) explainable() bool {
	return x.merged() != nil && mayRefuse(x.status)
}

// responseBody takes what comes of a body, and its trailers.
func (x *exchange) responseBody(m *message, now time.Time) due {
	isBody := m.kind == responseBody
	switch {
	case x.shape == streaming:
		x.tools.trailers = m.kind == responseTrailers
		return x.streamed(m.body, m.end || x.tools.trailers)
	case x.shape == drained:
		x.tools.trailers = m.kind == responseTrailers
		return dueNothing
	case x.shape == errorBody && isBody:
		x.shape = unread
		x.decide(m, now)
	case x.shape == wholeBody && isBody:
		return x.wholeAnswer(m)
	default:
		x.out.pass(m.kind, nil, modes{}, nil)
	}
	return dueReply
}

// settle records an answer that says nothing against the key.
func (x *exchange) settle() {
	if x.own != nil {
		return
	}
	x.outcome = surfaced
	if x.status < 400 {
		x.outcome = succeeded
		if x.key != nil {
			x.key.MarkSuccess()
			x.served()
		}
	}
}

// decide judges an answer that may be the key's fault, or Envoy's own, and asks for the next attempt, ends the request, or lets
// it pass. m is its body, or its headers where none is read.
func (x *exchange) decide(m *message, now time.Time) {
	k := m.kind
	if x.local != nil {
		x.decideLocal(k, now)
		return
	}
	head := x.awaiting
	var body []byte
	if k == responseBody && len(m.body) <= maxErrorBody { // a larger one may be cut
		body, _ = coding.Decode(m.body, head.joined("content-encoding"), maxErrorBody) // what cannot be read says nothing
	}
	x.blankError(m, body)
	if x.key == nil { // it is asked only what Keyturn knows of the refusal
		if x.own == nil {
			x.outcome = surfaced
		}
		if x.status >= 500 && x.fallBack(whyOverloaded, k, now) {
			return
		}
		x.notBlamed(body, k, now)
		return
	}
	x.verdict = x.classify(keypool.Answer{Status: x.status, Header: head.joined, Body: body, Now: now})
	x.transition = x.pool.keys.Mark(x.key, x.verdict, x.model)
	x.walker.Release() // a trial that blamed nobody is over; the next attempt may come before this stream ends
	if x.verdict.Action == keypool.Surface {
		x.outcome = surfaced
		if x.verdict.Class == keypool.Transient && x.fallBack(whyOverloaded, k, now) {
			return
		}
		x.notBlamed(body, k, now)
		return
	}
	blamed := x.verdict.Action != keypool.NextKey && (x.verdict.Scope != keypool.ScopeKeyModel || x.model != "")
	if x.verdict.Class == keypool.Elsewhere {
		x.seek(body, k, now)
		return
	}
	switch x.exhaustion = x.others(); {
	case x.exhaustion == nil && x.inTime(now) && x.retriable() && (blamed || x.followed()): // or the next attempt would have this key again
		x.nextAttempt(k)
	case x.verdict.Class == keypool.Transient && x.fallBack(whyOverloaded, k, now):
	case x.exhaustion != nil && x.fallBack(whyExhausted, k, now):
	case !blamed:
		x.surface(k)
	case x.exhaustion == nil && x.inTime(now):
		x.cannotRetry()
	case x.exhaustion == nil:
		x.surface(k)
	default:
		x.refuse()
	}
}

// notBlamed does what an answer asks for that is no key's fault: it may be about what Keyturn put into the request, or come of what it has
// forgotten.
func (x *exchange) notBlamed(body []byte, k kind, now time.Time) {
	switch {
	case x.lost(body):
	case x.leaner(body, now):
		x.nextAttempt(k)
	default:
		x.handOver(x.awaiting, k)
	}
}

// classify judges an answer to this request. Words alone retire one key of a request, and a second one only of another.
func (x *exchange) classify(a keypool.Answer) keypool.Verdict {
	a.Path, a.Model, a.Provider = x.path, x.model, x.pool.provider
	v := keypool.Classify(x.pool.keys.Policy(), a)
	if x.doubted {
		v = v.Spare()
	}
	x.doubted = x.doubted || v.Weak
	return v
}

// others notes this attempt's key as tried. It is nil while the pool has a usable one beside those that were.
func (x *exchange) others() *keypool.Error {
	x.tried = append(slices.Clip(x.triedBefore()), x.key.ID())
	_, none := x.walk(x.tried).Peek()
	return none
}

// inTime reports whether the request may still have another attempt.
func (x *exchange) inTime(now time.Time) bool { return now.Sub(x.started) < x.home.deadline+x.away }

// retriable reports whether the front can make another attempt, as far as that is known.
func (x *exchange) retriable() bool {
	return (x.retries < 0 || x.attempt <= x.retries) && x.length <= x.retryLimit
}

// nextAttempt asks the front for the next attempt. Where it is sure to make one, the answer's body is left out: the front then sees the
// end with the headers, and keeps the connection. It may refuse all the same (max_retries, or an interim answer such as 103), and the
// answer is then the client's.
func (x *exchange) nextAttempt(k kind) {
	x.outcome, x.done = turned, true
	x.mut.set(wire.RetryHeader, "", "1")
	sure := x.counted && x.retries >= 0 && x.length >= 0
	if x.local != nil && !sure {
		x.replace(k)
		return
	}
	x.mut.remove(wire.RateLimitedHeader) // Envoy never retries a response that carries it
	x.cleanResponse(x.awaiting)
	if k == responseBody && sure && !x.partial {
		x.mut.set("content-length", "", "0")
		x.out.cleared(k, &x.mut, x.ended())
		return
	}
	x.passBody(k)
}

// surface hands the provider's bad answer to the client as it is.
func (x *exchange) surface(k kind) {
	x.outcome = surfaced
	x.handOver(x.awaiting, k)
}

// handOver lets the provider's answer pass, but for what tells about the pool's account and for a forged retry.
func (x *exchange) handOver(head *message, k kind) {
	x.mut.remove(wire.RetryHeader)
	x.cleanResponse(head)
	x.finalReply(k)
}

// cleanResponse takes out of an answer what is Keyturn's own business, and the pool's unless the credential was the client's own, and says what
// was used. It returns false when it has answered in the provider's place: only a redirect is.
func (x *exchange) cleanResponse(m *message) bool {
	if !x.relocate(m) {
		return false
	}
	hideLimits := false
	if x.own == nil {
		x.mut.wire = append(x.mut.wire, x.pool.responseRemovals...)
		hideLimits = !x.pool.keepLimits
	}
	for i := range m.headers {
		name := m.headers[i].name
		if ownHeader(name) || wire.IsOrigin(name) || (hideLimits && wire.IsLimit(name)) {
			x.mut.removeBytes(name)
		}
	}
	x.withoutEchoes(m)
	x.tellUsed()
	return true
}

// tellUsed says to the front what served the request. Envoy removes before it sets.
func (x *exchange) tellUsed() {
	x.mut.set(wire.UsedPoolHeader, "", x.pool.name)
	switch {
	case x.key != nil:
		x.mut.set(wire.UsedNameHeader, "", x.key.Name())
		x.mut.set(wire.UsedKeyHeader, "", x.key.Hint())
	case x.own != nil:
		x.mut.set(wire.UsedKeyHeader, "", string(x.own))
	}
}

func (x *exchange) finalReply(k kind) {
	x.done = true
	x.passBody(k)
}
