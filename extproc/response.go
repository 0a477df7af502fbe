package extproc

import (
	"bytes"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/keypool"
)

// responseHeaders lets a good answer pass and judges a bad one, by its body where that may matter: then x.awaiting is m until the
// body is here.
func (x *exchange) responseHeaders(m *message, now time.Time) {
	x.status, _ = strconv.Atoi(string(m.header(":status")))
	x.judged = now
	switch {
	case x.pool == nil: // only what a provider forged is taken out
		x.mut.remove(retryHeader)
		x.finalReply(m.kind)
		return
	case !x.concerns():
		x.settle()
		x.answers(m)
		return
	}
	x.awaiting = m
	if !m.end && len(m.header("content-encoding")) == 0 && contentLength(m) <= maxErrorBody {
		x.shape = errorBody
		x.out.pass(m.kind, nil, modes{set: true, request: x.bodyMode, response: bodyBuffered}, nil)
		return
	}
	x.decide(nil, m.kind, now)
	x.awaiting = nil
}

// concerns reports whether an answer with this status is to be judged: it may be the key's fault, or come of what Keyturn has
// forgotten.
func (x *exchange) concerns() bool {
	return x.key != nil && x.pool.keys.Policy().Concerns(x.status) || x.explainable()
}

// explainable reports whether the provider may have refused what Keyturn made of the request.
func (x *exchange) explainable() bool {
	return x.session != nil && (x.status == 400 || x.status == 404)
}

// responseBody takes what comes of a body, and its trailers.
func (x *exchange) responseBody(m *message, now time.Time) due {
	whole := m.kind == responseBody
	switch {
	case x.shape == streaming:
		x.trailers = m.kind == responseTrailers
		return x.streamed(m.body, m.end || x.trailers)
	case x.shape == drained:
		x.trailers = m.kind == responseTrailers
		return nothing
	case x.shape == errorBody && whole:
		x.shape = unread
		x.decide(m.body, m.kind, now)
	case x.shape == wholeBody && whole:
		return x.whole(m)
	default:
		x.out.pass(m.kind, nil, modes{}, nil)
	}
	return answer
}

// settle records an answer that says nothing against the key.
func (x *exchange) settle() {
	if x.key == nil { // the client's own credential
		return
	}
	x.outcome = surfaced
	if x.status < 400 {
		x.outcome = succeeded
		x.key.MarkSuccess()
	}
}

// decide judges an answer that may be the key's fault, and asks for the next attempt, ends the request, or lets it pass.
func (x *exchange) decide(body []byte, k kind, now time.Time) {
	head := x.awaiting
	if x.key == nil { // the client's own credential: it is asked only what Keyturn knows of the refusal
		if !x.lost(body) {
			x.handOver(head, k)
		}
		return
	}
	x.verdict = keypool.Classify(x.pool.keys.Policy(), keypool.Answer{
		Status: x.status, Header: func(name string) string { return string(head.header(name)) }, Body: body, Now: now,
	})
	x.transition = x.pool.keys.Mark(x.key, x.verdict, x.model)
	x.walker.Release() // a trial that blamed nobody is over; the next attempt may come before this stream ends
	if x.verdict.Action == keypool.Surface {
		x.outcome = surfaced
		if !x.lost(body) {
			x.handOver(head, k)
		}
		return
	}
	_, x.exhaustion = x.walk(joinIDs(x.tried, x.key.ID())).Peek()
	switch {
	case x.exhaustion == nil && now.Sub(x.started) < x.pool.deadline:
		x.outcome = turned
		x.mut.set(retryHeader, "", "1")
		x.mut.remove("x-envoy-ratelimited") // Envoy never retries a response that carries it
		x.cleanResponse(head)               // Envoy may refuse: after an interim answer such as 103 it never retries
		x.finalReply(k)
	case x.exhaustion == nil, x.verdict.Action == keypool.NextKey, x.verdict.Scope == keypool.ScopeKeyModel:
		x.surface(k)
	default:
		x.refuse()
	}
}

// surface hands the provider's bad answer to the client as it is.
func (x *exchange) surface(k kind) {
	x.outcome = surfaced
	x.handOver(x.awaiting, k)
}

// handOver lets the provider's answer pass, but for what tells about the pool's account and for a forged retry.
func (x *exchange) handOver(head *message, k kind) {
	x.mut.remove(retryHeader)
	x.cleanResponse(head)
	x.finalReply(k)
}

// cleanResponse takes out of an answer what is Keyturn's own business, and the pool's if it was the pool's key.
func (x *exchange) cleanResponse(m *message) {
	hideLimits := false
	if x.key != nil {
		x.mut.wire = append(x.mut.wire, x.pool.responseRemovals...)
		hideLimits = !x.pool.keepLimits
	}
	for i := range m.headers {
		name := m.headers[i].name
		if (bytes.HasPrefix(name, prefixKeyturn) && string(name) != retryHeader) || (hideLimits && limitHeader(name)) {
			x.mut.removeBytes(name)
		}
	}
	if x.laterTurn && x.key != nil { // for the attempt that this turn belongs to; Envoy removes before it sets
		x.mut.set(usedName, "", x.key.Name())
		x.mut.set(usedID, "", x.key.ID())
		x.mut.set(usedHint, "", x.key.Hint())
	}
}

func (x *exchange) finalReply(k kind) {
	x.done = true
	x.out.pass(k, &x.mut, modes{}, nil)
}
