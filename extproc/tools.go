package extproc

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/coding"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/redact"
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
	// When says into which requests the tools go: ToolsAlways (the default), ToolsBesideClients where the client has some of its own, or
	// ToolsByHeader where it asks with the header x-keyturn-tools. That header, with off, keeps them out of any.
	When string
	// Models are patterns of the models that get them, ExceptModels of those that do not; * stands for any text. Empty: all, and none.
	Models, ExceptModels []string
	// Instructions lets what the servers say of the use of their tools reach the models. They are as little to be trusted as the servers.
	Instructions bool
	// Usage says what clients read of the tokens of several turns: UsageSum, UsageLast, or "" for the last turn's in Chat and Messages, whose
	// clients take them for the size of the context, and the sum in Responses. Metadata and metrics always have the sum.
	Usage string
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
	// Search offers two tools in the place of all where there are more than 40: one finds tools by words, the other calls one by its name.
	Search bool
	// Memory is how long is remembered what a client's next request needs and the client cannot replay. Zero means 1 h; negative
	// remembers nothing.
	Memory time.Duration
	// MemoryBytes is how much of that is remembered for the pool; the oldest goes first. Zero means 64 MiB.
	MemoryBytes int64
}

// mostUnsearched is how many tools models are told of one by one, where they may be searched for.
const mostUnsearched = 40

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
	return x.home.tools != nil && !x.laterTurn && x.dialect != nil && !m.end &&
		string(m.header(":method")) == "POST" && x.length <= x.pool.maxBody
	// The content type does not matter: curl -d says application/x-www-form-urlencoded, and a body that is no JSON passes as it is.
}

// remember keeps of the request's headers what later turns repeat: a credential only if it is the client's own for the provider.
func (x *exchange) remember(m *message, own []byte) {
	path, _ := splitQuery(string(m.header(":path")), func(string) bool { return own != nil })
	if x.hop > 0 {
		path = x.sent
	}
	x.tools = &withTools{memory: x.memory(own), coded: coded{header: m.joined("content-encoding")}, origin: agent.Origin{
		Pool: x.pool.name, Provider: x.pool.telemetry, Dialect: x.dialect, Began: x.started,
		Path: path, Authority: string(m.header(":authority")), RequestID: string(x.front.requestID), Client: string(x.front.client), ID: string(x.front.id),
	}}
	x.tools.asked = strings.ToLower(strings.TrimSpace(m.joined(wire.ToolsHeader)))
	o := &x.tools.origin
	if o.RequestID == "" { // Envoy makes none
		o.RequestID = uuid.NewString()
	}
	for _, h := range m.headers {
		switch name := string(h.name); name {
		case "traceparent", "tracestate":
			o.Trace(name, string(h.value))
		default:
			if !wire.IsProxied(h.name) && (own != nil || name != x.pool.header && name != x.home.header && !wire.IsCredential(h.name) && !wire.IsPage(h.name) && !slices.Contains(wire.Withheld, name) && !slices.Contains(wire.Accounts, name)) {
				o.Repeat(name, string(h.value))
			}
		}
	}
}

// requestBody takes a request's body: Envoy sends it once, as it was asked to. One that came in chunks, and passes as one whose length
// is known, may turn out to be too large for tools.
func (x *exchange) requestBody(m *message) due {
	if x.body != nil && x.response == wantHeaders {
		if x.full {
			x.busy()
			return dueReply
		}
		if !x.move(m) {
			return dueReply
		}
		if x.tools == nil {
			if x.rekey(); !x.done {
				x.passMoved(m)
			}
			return dueReply
		}
	}
	if x.tools != nil && x.tools.response == nil && x.response == wantHeaders {
		switch {
		case x.full:
			x.busy()
			return dueReply
		case int64(len(m.body)) <= x.pool.maxBody && x.tools.coded.err == nil:
			return dueTools
		}
		x.tools = nil
	}
	x.passMoved(m)
	return dueReply
}

// putTools puts the pool's tools into the request, unless it is to pass as it is. m is its body.
func (x *exchange) putTools(m *message, tools []dialect.Tool, without dialect.Without) {
	var catalogue []dialect.Tool
	if x.home.tools.Search && len(tools) > mostUnsearched {
		tools, catalogue = dialect.SearchTools(), tools
	}
	body := x.tools.coded.of(m.body)
	tools = without.From(tools)
	session := x.dialect.Open(dialect.Request{Path: x.tools.origin.Path, Body: body}, dialect.Options{
		Tools: tools, Catalogue: without.From(catalogue), MaxTools: x.pool.maxTools, NoUsage: without.Usage, Offers: x.offers, Instructions: x.tools.instructions,
		Hidden: x.home.tools.Hidden, Counting: countings[x.home.tools.Usage], ModelName: mcp.ModelName, Memory: x.tools.memory, Gone: x.gone,
	})
	if session != nil && int64(len(session.Request())) > x.pool.maxBody { // Envoy could not hold it
		session = nil
	}
	if session != nil && x.model == "" { // a path that names the model decides
		x.model = session.Model()
		x.describeModel()
	}
	if x.rekey(); x.done { // no key may use the model
		return
	}
	if session == nil {
		x.tools = nil
		x.passMoved(m)
		return
	}
	if c, ok := session.(dialect.Crowded); ok {
		x.tools.left = c.LeftOut()
	}
	x.tools.offered, x.tools.form = tools, dialect.Form(body)
	body = session.Request()
	if x.tools.coded.codes() {
		x.mut.remove("content-encoding")
	}
	x.tools.coded = coded{}
	x.mut.number("content-length", len(body))
	x.out.body(m.kind, &x.mut, body, &x.dyn)
	if !session.Reads() {
		x.tools = nil
		return
	}
	x.tools.size = int64(len(body))
	x.tools.response = agent.Begin(session, &x.tools.origin, x.limits())
}

// merged is the response that the answer becomes a part of; nil: the answer passes as it is.
func (x *exchange) merged() *agent.Response {
	if x.tools == nil {
		return nil
	}
	return x.tools.response
}

// rekey chooses again, now that the model is known: the key may be parked for it.
func (x *exchange) rekey() {
	if x.walker == nil || x.model == "" {
		return
	}
	before, walker := x.key.ID(), x.walk(x.triedBefore())
	if next, err := walker.Peek(); err == nil && next.ID() == before {
		return
	}
	x.walker.Release()
	x.walker = walker
	if x.key, x.exhaustion = x.walker.Next(); x.exhaustion != nil {
		if !x.fallBackAtBody() {
			x.refuse()
		}
		return
	}
	if x.key.ID() != before {
		x.mut.set(x.pool.header, x.pool.prefix, x.key.Secret())
		x.describeKey()
	}
}

// goodAnswer asks for what must be read of an answer that is not the key's fault, or lets it pass.
func (x *exchange) goodAnswer(m *message) {
	x.mut.remove(wire.RetryHeader)
	if !x.cleanResponse(m) {
		return
	}
	r := x.merged()
	if r == nil || x.status != 200 || m.end {
		x.finalReply(m.kind)
		return
	}
	x.tools.coded = coded{header: m.joined("content-encoding")}
	if _, known := coding.Names(x.tools.coded.header); !known {
		x.cannotRead()
		return
	}
	mode := modes{set: true, request: x.bodyMode}
	kind := bytes.ToLower(m.header("content-type"))
	switch {
	case r.Streams() && x.dialect.IsStream(string(kind)):
		x.shape, mode.response = streaming, bodyDuplex
		x.tools.plain = redact.NewStream(x.pool.secrets)
		x.mut.remove("content-length")
		if x.tools.coded.codes() {
			x.tools.decoder = coding.NewStream(x.tools.coded.header)
			x.mut.remove("content-encoding")
		}
	case !r.Streams() && bytes.Contains(kind, []byte("json")) && contentLength(m) <= x.pool.maxBody:
		x.shape, mode.response = wholeBody, x.readable(m)
	default:
		x.finalReply(m.kind)
		return
	}
	x.out.pass(m.kind, &x.mut, mode, nil)
}

// streamed takes what has come of a stream, a piece at a time: what goes to the client next is in x.chunk, and while more is unread
// x.streamedOn is to be called once that is sent. So a client that does not read holds one piece, not all that has come.
func (x *exchange) streamed(body []byte, end bool) due {
	t := x.tools
	if t.last = end; t.decoder != nil {
		t.decoder.Feed(body, end)
		return x.streamedOn()
	}
	pass, found := t.plain.Next(body)
	if end {
		rest, more := t.plain.End()
		pass, found = append(pass[:len(pass):len(pass)], rest...), found || more
	}
	x.found[echoBody] = x.found[echoBody] || found
	t.rest = pass
	return x.streamedOn()
}

// hasRest reports whether what has come of a stream is not all read yet.
func (x *exchange) hasRest() bool {
	t := x.tools
	return len(t.rest) > 0 || t.decoder != nil && t.decoder.More()
}

// streamedOn takes the next piece of what has come.
func (x *exchange) streamedOn() due {
	t := x.tools
	var failed bool
	x.chunk, failed = t.response.Write(x.chunk[:0], x.nextPiece())
	switch {
	case failed:
	case x.hasRest():
		return duePiece
	case t.decoder != nil && t.decoder.Err() != nil:
		x.shape = drained
		x.chunk = t.response.Fail(x.chunk, unreadable)
		return dueLastPiece
	case !t.last:
		return duePiece
	case t.decoder != nil:
		rest, found := t.plain.End()
		x.found[echoBody] = x.found[echoBody] || found
		x.chunk, _ = t.response.Write(x.chunk, rest)
	}
	t.rest = nil // of a stream that fails nothing more is wanted
	x.shape = drained
	if x.chunk, t.more = t.response.End(x.chunk); t.more {
		return dueTurns
	}
	return dueLastPiece
}

// nextPiece is the next of what has come, without its codings and without keys.
func (x *exchange) nextPiece() []byte {
	t := x.tools
	if t.decoder == nil {
		p := t.rest[:min(len(t.rest), maxChunk)]
		t.rest = t.rest[len(p):]
		return p
	}
	p, found := t.plain.Next(t.decoder.Piece())
	x.found[echoBody] = x.found[echoBody] || found
	return p
}

// wholeAnswer takes a JSON answer. One that turns out to be too large passes as it is, as if it had said how large it is: it may be cut.
func (x *exchange) wholeAnswer(m *message) due {
	if int64(len(m.body)) > x.pool.maxBody {
		if x.withoutKeys(m.body) {
			x.blanked = m.body
		}
		x.finalReply(m.kind)
		return dueReply
	}
	switch {
	case x.full:
		x.busy()
		return dueReply
	case x.tools.coded.err != nil:
		x.cannotRead()
		return dueReply
	}
	r, body := x.tools.response, x.tools.coded.of(m.body)
	blanked := x.withoutKeys(body)
	if x.tools.more = r.Whole(body); x.tools.more {
		return dueTurns
	}
	x.sendWhole(r.Body(), !blanked && bytes.Equal(r.Body(), body))
	return dueReply
}

// sendWhole hands the client its JSON answer, which may be the provider's as it was.
func (x *exchange) sendWhole(body []byte, same bool) {
	x.done = true
	x.describeTurns(&x.dyn)
	if same {
		x.out.pass(responseBody, nil, modes{}, &x.dyn)
		return
	}
	if x.tools.coded.codes() {
		x.mut.remove("content-encoding")
	}
	if !x.partial {
		x.mut.number("content-length", len(body))
	}
	x.out.body(responseBody, &x.mut, body, &x.dyn)
}

// sendInstead hands the client a later turn's error in the place of its JSON answer.
func (x *exchange) sendInstead(a *agent.ErrorAnswer) {
	x.done = true
	for name, values := range a.Header {
		x.mut.set(strings.ToLower(name), "", strings.Join(values, ", "))
	}
	x.tellUsed()
	x.describeTurns(&x.dyn)
	x.out.immediate(a.Status, &x.mut, a.Body, wire.DetailsPrefix+"turn_failed", &x.dyn)
}

// laterKey is the pool's key of that name, which served a later turn; nil if the credential was the client's own, there is none, or the
// key was taken out meanwhile.
func (x *exchange) laterKey(name string) *keypool.Key {
	if x.key == nil {
		return nil
	}
	key, _ := x.pool.keys.Key(name)
	return key
}

// judge blames a key for a failure that came within a 200; nil: nobody. It returns whether the turn may be run again: the failure
// is a key's, and another may do better.
func (x *exchange) judge(key *keypool.Key, f *dialect.Failure, now time.Time) (again bool, v keypool.Verdict, t keypool.Transition) {
	if key == nil {
		return false, v, t
	}
	v = x.classify(keypool.Answer{Status: f.Status, Body: f.Body, Now: now})
	t = x.pool.keys.Mark(key, v, x.model)
	return v.Action != keypool.Surface, v, t
}

// lost answers a provider's refusal that comes of what Keyturn has forgotten. It reports whether it was one.
func (x *exchange) lost(body []byte) bool {
	if !x.explainable() {
		return false
	}
	if x.status != 400 && x.status != 404 {
		return false
	}
	e, ok := x.tools.response.Explain(x.status, body)
	if !ok {
		return false
	}
	x.mut.reset()
	x.dyn.reset()
	x.mut.set(wire.ShouldRetryHeader, "", "false")
	x.instead(x.status, e.Code, e)
	return true
}
