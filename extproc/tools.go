package extproc

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// Tools says which tools the models of a pool may call, and how far they may go in one response.
type Tools struct {
	// Servers are the MCP servers, in the order in which their tools are offered. At least one.
	Servers []string
	// Hidden leaves the calls out of what clients see, also where the dialect has a form for them (mcp_call in Responses).
	Hidden bool
	// Turns bounds the turns of one response, the client's own request included; in the last one the model may call no tools.
	// Zero means 10; the least is 2.
	Turns int
	// Calls bounds the calls of one response. Zero means 50.
	Calls int
	// Time bounds the time in which calls run, from the client's request on. Zero means 10 min.
	Time time.Duration
	// ResultBytes is how much of one result the model gets. Zero means 1 MiB.
	ResultBytes int64
	// DefinitionBytes is how much the definitions of the tools may add to a request. Zero means 256 KiB.
	DefinitionBytes int64
	// Memory is how long is remembered what a client's next request needs and the client cannot replay, MemoryBytes how much
	// of it. Zero means 1 h and 64 MiB; negative remembers nothing.
	Memory      time.Duration
	MemoryBytes int64
}

func (t Tools) withDefaults() (Tools, error) {
	orElse(&t.Turns, 10)
	orElse(&t.Calls, 50)
	orElse(&t.Time, 10*time.Minute)
	orElse(&t.ResultBytes, 1<<20)
	orElse(&t.DefinitionBytes, 256<<10)
	orElse(&t.Memory, time.Hour)
	orElse(&t.MemoryBytes, 64<<20)
	switch {
	case len(t.Servers) == 0:
		return t, errors.New("tools: no server; name at least one")
	case t.Turns < 2, t.Calls < 1, t.Time < 0, t.ResultBytes < 0, t.DefinitionBytes < 0:
		return t, errors.New("tools: turns must be at least 2, calls at least 1, time, result_bytes and definition_bytes not negative")
	}
	return t, nil
}

func orElse[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// shape is what of a response is read.
type shape uint8

const (
	unread    shape = iota
	errorBody       // the body of an error, to judge the key by it
	wholeBody       // a JSON answer of a request with tools
	streaming       // a stream of a request with tools
	drained         // the rest of a stream whose turn is over
)

// wantsTools reports whether the pool's tools may go into this request.
func (x *exchange) wantsTools(m *message) bool {
	return x.pool.tools != nil && !x.laterTurn && x.dialect != nil && !m.end &&
		string(m.header(":method")) == "POST" && len(m.header("content-encoding")) == 0 && x.length <= x.pool.maxBody
	// The content type does not matter: curl -d says application/x-www-form-urlencoded, and a body that is no JSON passes as it is.
}

// remember keeps of the request's headers what later turns repeat: a credential only if it is the client's own for the provider.
func (x *exchange) remember(m *message, own bool) {
	path := string(m.header(":path"))
	if !own && x.pool.queryKey {
		path = withoutKey(path)
	}
	o := &agent.Origin{
		Pool: x.pool.name, Provider: x.pool.provider, Dialect: x.dialect,
		Path: path, Authority: string(m.header(":authority")), RequestID: string(x.front.requestID), Client: string(x.front.client),
	}
	if o.RequestID == "" { // Envoy makes none
		o.RequestID = uuid.NewString()
	}
	for _, h := range m.headers {
		switch name := string(h.name); name {
		case "traceparent", "tracestate":
			o.Trace(name, string(h.value))
		default:
			if own || name != x.pool.header && !slices.Contains(wire.Credentials, name) {
				o.Repeat(name, string(h.value))
			}
		}
	}
	x.origin = o
}

// requestBody puts the tools into a request. Envoy sends the body once, as it was asked to.
func (x *exchange) requestBody(m *message) {
	if x.origin == nil || x.session != nil || x.response != wantHeaders {
		x.out.pass(m.kind, nil, modes{}, nil)
		return
	}
	if int64(len(m.body)) <= x.pool.maxBody { // it came in chunks, and passes as one whose length is known
		x.open(m.body)
	}
	if x.rekey(); x.done { // no key may use the model
		return
	}
	if x.session == nil {
		x.out.pass(m.kind, &x.mut, modes{}, &x.dyn)
	} else {
		body := x.session.Request()
		x.mut.set("content-length", "", strconv.Itoa(len(body)))
		x.out.body(m.kind, &x.mut, body, &x.dyn)
	}
	if x.session == nil || !x.session.Reads() {
		x.session, x.origin = nil, nil
	}
}

// open makes the session of a request, unless the request is to pass as it is.
func (x *exchange) open(body []byte) {
	x.session = x.dialect.Open(dialect.Request{Path: x.origin.Path, Body: body}, dialect.Options{
		Tools: x.offered, Hidden: x.pool.tools.Hidden, ModelName: mcp.ModelName, Memory: x.memory(),
	})
	x.offered = nil
	if x.session != nil && int64(len(x.session.Request())) > x.pool.maxBody { // Envoy could not hold it
		x.session = nil
	}
	if x.session != nil && x.model == "" { // a path that names the model decides
		x.model = x.session.Model()
	}
}

// rekey chooses again, now that the model is known: the key may be parked for it.
func (x *exchange) rekey() {
	if x.walker == nil || x.model == "" {
		return
	}
	before, walker := x.key.ID(), x.walk(x.before.tried)
	if next, err := walker.Peek(); err == nil && next.ID() == before {
		return
	}
	x.walker.Release()
	x.walker = walker
	if x.key, x.exhaustion = x.walker.Next(); x.exhaustion != nil {
		x.refuse()
		return
	}
	if x.key.ID() != before {
		x.mut.set(x.pool.header, x.pool.prefix, x.key.Secret())
		x.describeKey()
	}
}

// memory is what is remembered of this client.
func (x *exchange) memory() dialect.Memory {
	if x.pool.memory == nil {
		return nil
	}
	return x.pool.memory.For(x.client)
}

// ownClient names a client by the credential that it brings, without keeping it.
func ownClient(credential []byte) string {
	sum := sha256.Sum256(credential)
	return "byok:" + hex.EncodeToString(sum[:16])
}

// continued is a path to a stored response that Keyturn has continued, with the id by which the provider knows its last turn: a
// client knows the first one's. It returns the path itself for any other.
func (x *exchange) continued(path string) string {
	if !x.stored || x.pool.tools == nil {
		return path
	}
	return dialect.UpstreamPath(path, x.memory())
}

// answers asks for what must be read of an answer that is not the key's fault, or lets it pass.
func (x *exchange) answers(m *message) {
	x.mut.remove(wire.RetryHeader)
	x.cleanResponse(m)
	if x.session == nil || x.status != 200 || m.end || len(m.header("content-encoding")) > 0 {
		x.finalReply(m.kind)
		return
	}
	mode := modes{set: true, request: x.bodyMode}
	kind := bytes.ToLower(m.header("content-type"))
	switch {
	case x.session.Streams() && x.dialect.IsStream(string(kind)):
		x.shape, mode.response = streaming, bodyDuplex
		x.mut.remove("content-length")
	case !x.session.Streams() && bytes.Contains(kind, []byte("json")) && contentLength(m) <= x.pool.maxBody:
		x.shape, mode.response = wholeBody, x.readable(m)
	default:
		x.finalReply(m.kind)
		return
	}
	x.out.pass(m.kind, &x.mut, mode, nil)
}

// streamed takes what has come of a stream, a piece at a time: what goes to the client next is in x.chunk, and while x.rest is not
// empty x.streamedOn is to be called once that is sent. So a client that does not read holds one piece, not all that has come.
func (x *exchange) streamed(body []byte, end bool) due {
	x.rest, x.last = body, end
	return x.streamedOn()
}

// streamedOn takes the next piece of x.rest.
func (x *exchange) streamedOn() due {
	p := x.rest[:min(len(x.rest), maxChunk)]
	x.rest = x.rest[len(p):]
	var state dialect.State
	x.chunk, state = x.session.Write(x.chunk[:0], p)
	if state != dialect.Failing && (len(x.rest) > 0 || !x.last) {
		return piece
	}
	x.rest = nil // of a stream that fails nothing more is wanted
	var turn dialect.Turn
	x.chunk, turn = x.session.End(x.chunk)
	x.shape = drained
	if x.goesOn(turn) {
		return turns
	}
	return lastPiece
}

// goesOn notes what the first turn came to, and reports whether another is to follow.
func (x *exchange) goesOn(turn dialect.Turn) bool {
	if len(turn.Calls) > 0 || turn.Failure != nil {
		x.firstTurn = &turn
		return true
	}
	x.usage = turn.Usage
	return false
}

// whole takes a JSON answer. One that turns out to be too large passes as it is, as if it had said how large it is: it may be cut.
func (x *exchange) whole(m *message) due {
	if int64(len(m.body)) > x.pool.maxBody {
		x.finalReply(m.kind)
		return answer
	}
	if x.goesOn(x.session.Whole(m.body)) {
		return turns
	}
	x.answerWhole(x.session.Body(), bytes.Equal(x.session.Body(), m.body))
	return answer
}

// answerWhole hands the client its JSON answer, which may be the provider's as it was.
func (x *exchange) answerWhole(body []byte, same bool) {
	x.done = true
	x.mut.reset()
	x.dyn.reset()
	x.describeTurns(&x.dyn)
	if same {
		x.out.pass(responseBody, nil, modes{}, &x.dyn)
		return
	}
	if !x.partial {
		x.mut.set("content-length", "", strconv.Itoa(len(body)))
	}
	x.out.body(responseBody, &x.mut, body, &x.dyn)
}

// answerInstead hands the client a later turn's error in the place of its JSON answer.
func (x *exchange) answerInstead(a *agent.Answer) {
	x.done = true
	x.mut.reset()
	x.dyn.reset()
	for name, values := range a.Header {
		x.mut.set(strings.ToLower(name), "", values[0])
	}
	x.tellUsed()
	x.describeTurns(&x.dyn)
	x.out.immediate(a.Status, &x.mut, a.Body, wire.DetailsPrefix+"turn_failed", &x.dyn)
}

// describeTurns leaves in Envoy's dynamic metadata what the access log tells about a response with tools.
func (x *exchange) describeTurns(d *dynamic) {
	u, turns := x.usage, 1
	if r := x.continuation; r != nil {
		u, turns = r.Usage, r.Turns
		d.number(wire.ToolCallsField, float64(r.Calls))
		if key, known := x.pool.keys.Key(r.Used); known {
			d.text(wire.KeyField, key.Hint())
			d.text(wire.KeyNameField, key.Name())
			d.text(wire.KeyIDField, key.ID())
		}
	}
	d.number(wire.TurnsField, float64(turns))
	if total := u.Input + u.Output; total > 0 {
		d.number(wire.InputTokensField, float64(u.Input))
		d.number(wire.OutputTokensField, float64(u.Output))
		d.number(wire.TotalTokensField, float64(total))
	}
}

// judge blames a key for a failure that came within a 200: the one called name, or this attempt's for "". It returns whether the
// turn may be run again: the failure is a key's, and another may do better. The key is nil where there is none to blame.
func (x *exchange) judge(name string, f *dialect.Failure, now time.Time) (again bool, key *keypool.Key, v keypool.Verdict, t keypool.Transition) {
	if x.key == nil { // the client's own credential
		return false, nil, v, t
	}
	key = x.key
	if name != "" {
		var known bool
		if key, known = x.pool.keys.Key(name); !known { // it was taken out meanwhile
			return false, nil, v, t
		}
	}
	v = x.classify(keypool.Answer{Status: f.Status, Body: f.Body, Now: now})
	t = x.pool.keys.Mark(key, v, x.model)
	return v.Action != keypool.Surface, key, v, t
}

// lost answers a provider's refusal that comes of what Keyturn has forgotten. It reports whether it was one.
func (x *exchange) lost(body []byte) bool {
	if !x.explainable() {
		return false
	}
	e, ok := x.session.Explain(x.status, body)
	if !ok {
		return false
	}
	x.mut.reset()
	x.dyn.reset()
	x.mut.set(wire.ShouldRetryHeader, "", "false")
	x.instead(x.status, e.Code, e)
	return true
}
