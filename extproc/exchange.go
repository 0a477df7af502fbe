package extproc

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/keypool"
)

// phase is how far one direction of an attempt has come. Request and response have one each, since they overlap.
type phase uint8

const (
	wantHeaders phase = iota
	inBody
	ended
)

// next is the whole transition table of one direction. It does not know which messages Envoy was asked for: a body that is
// not sent leaves the phase where it is.
func (p phase) next(k kind, end bool) (phase, error) {
	switch k {
	case requestHeaders, responseHeaders:
		switch {
		case p == wantHeaders && end:
			return ended, nil
		case p == wantHeaders:
			return inBody, nil
		}
	case requestBody, responseBody:
		switch {
		case p == inBody && end:
			return ended, nil
		case p == inBody:
			return inBody, nil
		}
	case requestTrailers, responseTrailers:
		if p == inBody {
			return ended, nil
		}
	case unknownMessage:
	}
	return p, fmt.Errorf("%v %v", k, [...]string{"before the headers", "in the body", "after the end"}[p])
}

// outcome is how an attempt ended: the label of keyturn_attempts_total.
type outcome uint8

const (
	noResponse outcome = iota // the client left, the provider was not reached or said nothing
	succeeded                 // a status below 400
	turned                    // a failure of the key, and Envoy was asked for the next attempt
	exhausted                 // a failure, or a start, with no usable key left: Keyturn's own answer
	surfaced                  // an answer of 400 and above, handed to the client as it is
	unwatched                 // the response is not seen: an upgrade, or a streamed upload
	foreign                   // the client's own credential, or a cluster without a pool
	outcomes
)

var outcomeNames = [outcomes]string{"no_response", "ok", "turned", "exhausted", "surfaced", "unwatched", "foreign"}

func (o outcome) String() string { return outcomeNames[o] }

// exchange is one attempt: one request to a provider with one key. It takes messages and gives replies; it does no I/O and
// has no goroutine, lock or logger. What the world should hear of it stands in its fields when it is done.
type exchange struct {
	pools     *poolSet
	promised  string // value of the gRPC metadata keyturn-request: what the route promises about the request's body
	bodyLimit int64  // bytes; larger bodies are never asked for whole

	request, response phase

	pool     *bound // nil for a cluster without a pool
	key      *keypool.Key
	walker   *keypool.Walker
	dialect  dialect.Dialect
	model    string
	stored   bool
	tried    string    // ids before this attempt, joined by commas
	attempt  int       // from 1
	started  time.Time // when the request's first attempt began
	began    time.Time // when this one did
	bodyMode bodyMode  // what Envoy was told about the request's body
	done     bool      // nothing more is wanted of this stream
	dropped  int       // messages after the end of their direction
	answer   *message
	errorWas bool // the answer's body is awaited to judge the key by

	outcome    outcome
	status     int
	verdict    keypool.Verdict
	transition keypool.Transition
	exhaustion *keypool.Error

	mut mutation
	dyn dynamic
	out reply
}

// reset makes x ready for another attempt, keeping its memory.
func (x *exchange) reset(pools *poolSet, promised string, bodyLimit int64) {
	*x = exchange{
		pools: pools, promised: promised, bodyLimit: bodyLimit,
		mut: mutation{wire: x.mut.wire[:0]}, dyn: dynamic{wire: x.dyn.wire[:0]},
	}
}

// finish gives back what the attempt still holds. It may be called more than once.
func (x *exchange) finish() {
	if x.walker != nil {
		x.walker.Release()
	}
	if x.answer != nil {
		x.answer.release()
		messages.Put(x.answer)
		x.answer = nil
	}
}

// handle takes Envoy's next message and returns the reply to it, nil when none is due. keep says that x goes on reading m
// after it returns. An error is a breach of the protocol; the stream ends with it.
func (x *exchange) handle(m *message, now time.Time) (out *reply, keep bool, err error) {
	switch m.kind {
	case requestHeaders, requestBody, requestTrailers:
		if m.kind != requestHeaders && x.request == ended {
			x.dropped++
			return nil, false, nil
		}
		x.request, err = x.request.next(m.kind, m.end)
	case responseHeaders, responseBody, responseTrailers:
		if m.kind != responseHeaders && x.response == ended {
			x.dropped++
			return nil, false, nil
		}
		if x.request == wantHeaders {
			return nil, false, fmt.Errorf("%v before the request's headers", m.kind)
		}
		x.response, err = x.response.next(m.kind, m.end)
	case unknownMessage:
		return nil, false, nil // a newer Envoy's flow control: nothing to answer
	}
	if err != nil {
		return nil, false, err
	}
	x.mut.reset()
	x.dyn.reset()
	switch m.kind {
	case requestHeaders:
		x.requestHeaders(m, now)
	case responseHeaders:
		keep = x.responseHeaders(m, now)
	case responseBody:
		if x.errorWas {
			x.errorWas = false
			x.decide(m.body, m.kind, now)
		} else {
			x.out.pass(m.kind, nil, modes{}, nil)
		}
	case requestBody, requestTrailers, responseTrailers:
		x.out.pass(m.kind, nil, modes{}, nil)
	case unknownMessage:
	}
	return &x.out, keep, nil
}

// requestHeaders chooses the key and puts it in the client's credential's place.
func (x *exchange) requestHeaders(m *message, now time.Time) {
	x.pool = x.pools.byCluster[string(m.cluster)]
	mode := x.requestModes(m)
	x.bodyMode = mode.request
	if x.pool == nil {
		x.outcome = foreign
		x.out.pass(m.kind, nil, mode, nil)
		return
	}
	path := string(m.header(":path"))
	x.dialect = dialect.Of(path)
	x.model, x.stored = model(path), stored(path)
	x.tried, x.attempt, x.started = string(m.metadata.tried), int(m.metadata.attempt)+1, now
	x.began = now
	if x.attempt > 1 {
		x.started = time.UnixMilli(int64(m.metadata.started))
	}
	for i := range m.headers {
		if internalHeader(m.headers[i].name) {
			x.mut.removeBytes(m.headers[i].name)
		}
	}
	if own := x.pool.ownCredential(m); own != nil {
		x.outcome = foreign
		x.mut.remove("x-request-id")
		for _, name := range credentials { // beside the client's own
			if x.pool.placeholders[string(m.credential(name))] {
				x.mut.remove(name)
			}
		}
		x.dyn.text("pool", x.pool.name)
		x.dyn.text("kind", "byok")
		x.dyn.text("key", keypool.Mask(string(own)))
		x.out.pass(m.kind, &x.mut, mode, &x.dyn)
		return
	}
	x.walker = x.walk(x.tried)
	x.key, x.exhaustion = x.walker.Next()
	if x.exhaustion != nil {
		x.refuse()
		return
	}
	if mode.skipResponseHeaders {
		x.outcome = unwatched
	}
	x.setCredential(path)
	x.describe()
	x.out.pass(m.kind, &x.mut, mode, &x.dyn)
}

// requestModes is what Envoy must send, or leave out, for this request not to end it. Envoy 1.40 crashes when the provider
// answers before it has the whole request while the response's headers are sent here; so the request is whole first, by the
// route's buffer filter or by ext_proc, or else the response's headers stay in Envoy.
func (x *exchange) requestModes(m *message) modes {
	if len(m.header("upgrade")) > 0 { // a request that never ends
		return modes{set: true, skipResponseHeaders: true}
	}
	if m.end || x.promised == promiseBuffered {
		return modes{}
	}
	if x.promised == promiseStreamed || contentLength(m) > x.bodyLimit {
		return modes{set: true, skipResponseHeaders: true}
	}
	return modes{set: true, request: bodyBuffered}
}

// contentLength is in bytes; 0 when it is unknown.
func contentLength(m *message) int64 {
	n, err := strconv.ParseInt(string(m.header("content-length")), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// walk begins at the pool's first key, leaving out the ids in tried.
func (x *exchange) walk(tried string) *keypool.Walker {
	w := x.pool.keys.Walker(splitIDs(tried)...).For(x.model)
	if x.stored {
		w = w.WithinFirstGroup()
	}
	return w
}

func (x *exchange) setCredential(path string) {
	x.mut.wire = append(x.mut.wire, x.pool.requestRemovals...)
	if x.dialect != dialect.None {
		x.mut.remove("accept-encoding") // error bodies are read, and streams will be
	}
	x.mut.set(x.pool.header, x.pool.prefix, x.key.Secret())
	if x.pool.queryKey {
		if clean := withoutKey(path); clean != path {
			x.mut.set(":path", "", clean)
		}
	}
}

// describe leaves in Envoy's dynamic metadata what the next attempt and the access log need.
func (x *exchange) describe() {
	if x.tried == "" {
		x.dyn.text("tried", x.key.ID())
	} else {
		x.dyn.text("tried", x.tried, ",", x.key.ID())
	}
	x.dyn.number("attempt", float64(x.attempt))
	x.dyn.number("started", float64(x.started.UnixMilli()))
	x.dyn.text("pool", x.pool.name)
	x.dyn.text("kind", "centralized")
	x.dyn.text("key", x.key.Hint())
	x.dyn.text("key_name", x.key.Name())
	x.dyn.text("key_id", x.key.ID())
}

// responseHeaders lets a good answer pass and judges a bad one, by its body where that may matter. It reports whether m is
// needed until the body is here.
func (x *exchange) responseHeaders(m *message, now time.Time) (keep bool) {
	x.status, _ = strconv.Atoi(string(m.header(":status")))
	if x.key == nil { // the client's own credential, or no pool: only what a provider forged is taken out
		x.mut.remove(retryHeader)
		if x.pool != nil {
			x.cleanResponse(m)
		}
		x.finalReply(m.kind)
		return false
	}
	if !x.pool.keys.Policy().Concerns(x.status) {
		x.settle()
		x.handOver(m, m.kind)
		return false
	}
	x.answer = m
	if !m.end && len(m.header("content-encoding")) == 0 && contentLength(m) <= maxErrorBody {
		x.errorWas = true
		x.out.pass(m.kind, nil, modes{set: true, request: x.bodyMode, response: bodyBuffered}, nil)
		return true
	}
	x.decide(nil, m.kind, now)
	x.answer = nil
	return false
}

// settle records an answer that says nothing against the key.
func (x *exchange) settle() {
	x.outcome = surfaced
	if x.status < 400 {
		x.outcome = succeeded
		x.key.MarkSuccess()
	}
}

// decide judges an answer that may be the key's fault, and asks for the next attempt, ends the request, or lets it pass.
func (x *exchange) decide(body []byte, k kind, now time.Time) {
	answer := x.answer
	x.verdict = keypool.Classify(x.pool.keys.Policy(), keypool.Answer{
		Status: x.status, Header: func(name string) string { return string(answer.header(name)) }, Body: body, Now: now,
	})
	x.transition = x.pool.keys.Mark(x.key, x.verdict, x.model)
	x.walker.Release() // a trial that blamed nobody is over; the next attempt may come before this stream ends
	if x.verdict.Action == keypool.Surface {
		x.surface(k)
		return
	}
	_, x.exhaustion = x.walk(joinIDs(x.tried, x.key.ID())).Peek()
	switch {
	case x.exhaustion == nil && now.Sub(x.started) < x.pool.deadline:
		x.outcome = turned
		x.mut.set(retryHeader, "", "1")
		x.mut.remove("x-envoy-ratelimited") // Envoy never retries a response that carries it
		x.cleanResponse(answer)             // Envoy may refuse: after an interim answer such as 103 it never retries
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
	x.handOver(x.answer, k)
}

// handOver lets the provider's answer pass, but for what tells about the pool's account and for a forged retry.
func (x *exchange) handOver(answer *message, k kind) {
	x.mut.remove(retryHeader)
	x.cleanResponse(answer)
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
}

func (x *exchange) finalReply(k kind) {
	x.done = true
	x.out.pass(k, &x.mut, modes{}, nil)
}
