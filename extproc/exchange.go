package extproc

import (
	"fmt"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/coding"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/redact"
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
	noResponse  outcome = iota // the client left, or the provider said nothing
	succeeded                  // a status below 400
	turned                     // a failure, and the front was asked for the next attempt
	exhausted                  // a failure, or a start, with no usable key left: Keyturn's own answer
	surfaced                   // an answer of 400 and above, handed to the client
	unreachable                // Envoy's own answer in the provider's place: it was not reached, or broke off before it answered
	foreign                    // the client's own credential
	outcomes
)

var outcomeNames = [outcomes]string{"no_response", "ok", "turned", "exhausted", "surfaced", "unreachable", "foreign"}

func (o outcome) String() string { return outcomeNames[o] }

// due is what the caller of handle owes to Envoy.
type due uint8

const (
	dueNothing   due = iota
	dueReply         // what stands in out
	dueTools         // putTools with the pool's tools, and then what stands in out
	dueDeletes       // the other turns of a response that was deleted, and then a reply
	duePiece         // what stands in chunk: the next of a stream that goes on
	dueLastPiece     // what stands in chunk, and the stream's end
	dueTurns         // what stands in chunk, and then what comes of the turns after the first
)

// exchange is one attempt: one request to a provider with one key. It takes messages and says what is due; it does no I/O and
// has no goroutine, lock or logger. What the world should hear of it stands in its fields when it is done.
type exchange struct {
	pools      *poolSet
	retryLimit int64 // bytes; the front cannot send a larger request again

	front  front // valid while the request's headers are handled
	before trail // set before the request's headers are handled

	request, response phase

	home       *bound        // the pool that the front names; nil where it names none
	pool       *bound        // the one that the attempt is for: home, or one that it falls back to
	hop        int           // its number in home's chain; 0: it is home
	goTo       int           // the next attempt's, where that has another pool
	steps      []hopped      // from pool to pool, of this attempt
	movable    bool          // the request may go on with another pool
	wanted     string        // the model that the request's path names, or its turn; "": none
	sent       string        // the request's path for another pool
	came       string        // the request's path for home, without credentials
	body       *coded        // the request's, where it is made one for another pool; nil: it is not
	moved      []byte        // that body
	away       time.Duration // in which providers could not be reached
	key        *keypool.Key  // nil: the client has its own, or none is needed
	walker     *keypool.Walker
	dialect    dialect.Dialect
	path       string // without the query
	asked      []byte // the path as the client has sent it to the front, with the query
	authority  []byte // of the provider, as the attempt says it
	elsewhere  string // host that a redirect was not handed on to
	model      string
	stored     bool
	doubted    bool      // a key of this request was retired for the words of an answer alone
	id         []byte    // of the request, at the front
	attempt    int       // from 1
	counted    bool      // it is the front that says so
	retries    int       // most of this request; -1: not known
	length     int64     // of the request's body, in bytes; -1: not known
	started    time.Time // when the request's first attempt began
	began      time.Time // when this one did
	left       time.Time // when its request could leave for the provider
	bodyMode   bodyMode  // what Envoy was told about the request's body
	idempotent bool      // its method
	reused     bool      // the connection that Envoy has lost had carried an answer before
	laterTurn  bool      // the request is Keyturn's own, for a turn after a response's first
	kept       *withKept // the request is for a response that is one for the client alone
	translates bool      // what clients were shown of calls comes back in the request, and no tools go in
	repeat     bool      // the next attempt may have this one's key once more
	talk       uint64    // the conversation, as a hash
	named      bool      // the request says which that is
	moving     move      // the conversation is with another key than before
	tried      []string  // ids of the keys that failed, this attempt's among them
	without    []string  // ids of the keys whose organisations do not have what the request names, this attempt's among them
	own        []byte    // masked hint of the client's own credential
	presented  []byte    // that credential
	blanked    []byte    // the body of an error in which a key was found, without it
	found      [echoes]bool
	done       bool      // nothing more is wanted of this stream
	dropped    int       // messages after the end of their direction
	awaiting   *message  // the head of an answer whose body is to be judged
	local      *local    // Envoy's own answer; nil: a provider's
	shape      shape     // what of the response's body is read
	partial    bool      // it comes with as much as Envoy can hold, and without a length: no other can take its place
	judged     time.Time // when the response's headers were

	full      bool               // there is no memory for the body at hand
	fullFor   want               // what that body is
	room      func(n int64) bool // takes memory for the body of an error, in bytes; nil: nothing bounds it
	roomLater func(n int64) bool // the same for what later turns answer; another goroutine calls it
	gone      func() bool        // nobody waits for the response any more

	outcome    outcome
	status     int
	verdict    keypool.Verdict
	transition keypool.Transition
	exhaustion *keypool.Error

	prompt    string // what is new in the request, where it is kept
	promptCut bool   // there was more of it

	limited limited    // what the client's limits have to do with it
	tools   *withTools // nil: request and answer pass as they are
	refused *refused   // what the next attempt goes without; nil: nothing more than this one

	mut   mutation
	dyn   dynamic
	out   reply
	chunk []byte // what goes to the client next, of a stream
}

// withTools is what only attempts need whose request the pool's tools may go into.
type withTools struct {
	origin       agent.Origin    // what later turns repeat
	asked        string          // what the client says of tools: wire.ToolsHeader
	instructions string          // of the tools' servers
	coded        coded           // the body at hand
	offered      []dialect.Tool  // that were to go into the request, until it is answered
	left         int             // of them, for which there was no room
	form         string          // of the request: see dialect.Form
	decoder      *coding.Stream  // of the answer's stream; nil: it has no codings
	memory       dialect.Memory  // of what the client cannot replay; nil: none
	response     *agent.Response // nil until the tools are in the request
	size         int64           // of the request with the tools in it, in bytes
	more         bool            // the first turn is not all of the response
	rest         []byte          // what has come of a stream and was not read yet; it belongs to the message at hand
	last         bool            // nothing comes after rest
	trailers     bool            // the provider's response ended with trailers
	told         bool            // the stream has shown that it is one
	whole        []byte          // of an answer that came as a stream and is JSON: what has come of it
	plain        *redact.Stream  // takes the pool's keys out of a stream
}

// keptBytes bounds each buffer that is kept for another attempt.
const keptBytes = 64 << 10

func kept(b []byte) []byte {
	if cap(b) > keptBytes {
		return nil
	}
	return b[:0]
}

// clear forgets the attempt, and keeps its buffers for another one.
func (x *exchange) clear() {
	x.out.drop()
	*x = exchange{id: x.id[:0], asked: kept(x.asked), authority: kept(x.authority), chunk: kept(x.chunk), mut: mutation{wire: kept(x.mut.wire)}, dyn: dynamic{wire: kept(x.dyn.wire)}}
}

// begin makes x, which is clear, ready for an attempt.
func (x *exchange) begin(pools *poolSet, retryLimit int64) {
	x.pools, x.retryLimit = pools, retryLimit
}

// after is what the attempt leaves to the next one, when it has turned.
func (x *exchange) after() trail {
	t := trail{hop: x.hop, route: x.route(), away: x.away, attempt: x.attempt, started: x.started}
	if x.goTo > 0 {
		t.hop = x.goTo
		return t
	}
	t.tried = x.tried
	if x.repeat {
		t.tried = x.triedBefore()
	}
	t.without, t.doubted, t.refused = x.without, x.doubted, x.refused
	t.repeated = x.repeatedBefore() || x.repeat
	return t
}

// finish gives back what the attempt still holds. It may be called more than once.
func (x *exchange) finish() {
	if x.walker != nil {
		x.walker.Release()
	}
	if x.awaiting != nil {
		x.awaiting.release()
		messages.Put(x.awaiting)
		x.awaiting = nil
	}
	if x.tools != nil && x.tools.decoder != nil {
		x.tools.decoder.Stop()
	}
}

// handle takes Envoy's next message and says what is due. x goes on reading m after it returns if m is x.awaiting then. An error
// is a breach of the protocol; the stream ends with it.
func (x *exchange) handle(m *message, now time.Time) (d due, err error) {
	switch m.kind {
	case requestHeaders, requestBody, requestTrailers:
		if m.kind != requestHeaders && x.request == ended {
			x.dropped++
			return dueNothing, nil
		}
		x.request, err = x.request.next(m.kind, m.end)
	case responseHeaders, responseBody, responseTrailers:
		if m.kind != responseHeaders && x.response == ended {
			x.dropped++
			return dueNothing, nil
		}
		if x.request == wantHeaders {
			return dueNothing, fmt.Errorf("%v before the request's headers", m.kind)
		}
		x.response, err = x.response.next(m.kind, m.end)
	case unknownMessage:
		return dueNothing, nil // a newer Envoy's flow control
	}
	if err != nil {
		return dueNothing, err
	}
	x.mut.reset()
	x.dyn.reset()
	switch m.kind {
	case requestHeaders:
		x.requestHeaders(m, now)
		x.front = front{} // its slices belong to m
	case requestBody:
		return x.requestBody(m), nil
	case responseHeaders:
		x.responseHeaders(m, now)
	case responseBody, responseTrailers:
		return x.responseBody(m, now), nil
	case requestTrailers:
		x.out.pass(m.kind, nil, modes{}, nil)
	case unknownMessage:
	}
	return dueReply, nil
}
