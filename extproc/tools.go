package extproc

import (
	"bytes"
	"strings"
	"time"

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
	keptBody        // what the provider says of a response that is one for the client alone
	drained         // the rest of a stream whose turn is over
)

// requestBody takes a request's body: Envoy sends it once, as it was asked to. One that came in chunks, and passes as one whose length
// is known, may turn out to be too large for tools.
func (x *exchange) requestBody(m *message) due {
	if x.limited.read && x.response == wantHeaders && !x.allowed(m) {
		return dueReply
	}
	if x.body != nil && x.response == wantHeaders && x.moveBody(m) {
		return dueReply
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
	of := x.home.tools
	if of == nil { // the answer is read for its tokens alone
		of = &Tools{}
	}
	if of.Search && len(tools) > mostUnsearched {
		tools, catalogue = dialect.SearchTools(), tools
	}
	body := x.tools.coded.of(m.body)
	x.hear(body)
	x.expect(body)
	if !x.reads() {
		x.unchanged(m, body)
		return
	}
	tools = without.From(tools)
	session := x.dialect.Open(dialect.Request{Path: x.tools.origin.Path, Body: body}, dialect.Options{
		Tools: tools, Catalogue: without.From(catalogue), MaxTools: x.pool.maxTools, NoUsage: without.Usage, Offers: x.offers, Instructions: x.tools.instructions,
		Hidden: of.Hidden, Counting: countings[of.Usage], Count: x.home.countUsage, ModelName: mcp.ModelName, Memory: x.tools.memory, Gone: x.gone,
	})
	if session != nil && int64(len(session.Request())) > x.pool.maxBody { // Envoy could not hold it
		session = nil
	}
	if session != nil && x.model == "" { // a path that names the model decides
		x.model = session.Model()
		x.describeModel()
	}
	x.joins(body)
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
	x.mut.length(len(body))
	x.out.body(m.kind, &x.mut, body, &x.dyn)
	if !session.Reads() {
		x.tools = nil
		return
	}
	x.tools.size = int64(len(body))
	x.tools.response = agent.Begin(session, &x.tools.origin, x.limits())
	if x.home.tools == nil {
		x.tools.response.Once()
	}
}

// merged is the response that the answer becomes a part of; nil: the answer passes as it is.
func (x *exchange) merged() *agent.Response {
	if x.tools == nil {
		return nil
	}
	return x.tools.response
}

// rekey chooses again, now that the model or the conversation is known: the key may be parked for it, or not the conversation's.
func (x *exchange) rekey() {
	if x.walker == nil || x.model == "" && !x.named {
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
	if x.readsKept(m) {
		return
	}
	r := x.merged()
	if r == nil || x.status/100 != 2 || m.end {
		x.finalReply(m.kind)
		return
	}
	x.readAnswer(m, r)
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
		x.cannotRead(unreadable)
		return dueReply
	}
	r, body := x.tools.response, x.tools.coded.of(m.body)
	blanked := x.withoutKeys(body)
	if x.showsOwn(body) {
		x.cannotRead(untold)
		return dueReply
	}
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
		x.mut.length(len(body))
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
