package messages

import (
	"math"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

// session is a turn.Session for Anthropic Messages. Keyturn's calls are hidden: the API has no form for them that clients' libraries
// know without a beta. What a client so cannot send back is remembered, and put where it was when the client goes on with the
// conversation; so are the tools, whose bytes stay the same for as long as the conversation lasts. Models that think refuse a
// conversation in which either has changed ("Preserving thinking blocks", "Extended thinking" in Anthropic's documentation).
type session struct {
	opts  turn.Options
	names turn.Names

	base         []byte // the first turn's request
	request      []byte // the current turn's
	fields       requestFields
	choice       turn.Choice
	clients      int // tools of the client's
	model        string
	streams      bool
	reads        bool
	alone        bool  // the client gets what the last turn says alone, see turn.Structured
	last         bool  // the turn is the last
	limit        int64 // max_tokens; 0 if the request has none that can be read
	think        int64 // thinking.budget_tokens, if it counts against max_tokens; else 0
	conversation *conversation

	number     int      // of the turn, from 1
	seen       []*block // that the client sees, of all turns; the place of each is its index
	seam       seams
	past       []pastTurn
	said       []byte // what the current turn's request has after the client's messages, joined by commas
	usage      []byte // of the turns before this one, summed; nil if none
	iterations []byte // of each of those turns, with a comma behind each
	output     int64  // output tokens of all turns that have ended
	id         []byte // the response's id and model as JSON strings: the first turn's; nil if there was none
	named      []byte
	spent      bool // there are too few tokens for another turn
	// container is where the provider's tools ran last, an object; nil if they did not. Later turns go on in it.
	container []byte

	turn currentTurn
	// What reads the stream, and what the current event is.
	relay relay.Relay
	event eventFields
	edits rawjson.Edits
	plain bool // the current answer did not stream
	body  []byte
}

// currentTurn is what is known of the current turn.
type currentTurn struct {
	blocks  []*block // in the order in which they began
	byIndex map[int]*block
	begun   bool     // message_start came
	decided bool     // message_delta or message_stop came, and calls says what is to be run
	over    bool     // message_stop came, or the whole answer
	errored bool     // an error event came
	broken  bool     // something came that cannot be understood: nothing of the turn is acted on
	calls   []*block // Keyturn's, to be settled
	results [][]byte // the tool_result block of each
	mixed   bool
	final   []byte // data of message_delta, or the whole answer, if it is withheld
	stop    []byte // data of message_stop, likewise
	failure *turn.Failure

	model, reason string
	begin, end    []byte // usage of message_start and message_delta; a whole answer's is end
}

// pastTurn is a turn as the conversation has it.
type pastTurn struct {
	content []byte   // the assistant's blocks, joined by commas
	results [][]byte // tool_result blocks of Keyturn's calls
}

// open reads the request. It returns nil, and the request passes, when there is nothing to put in and nothing to restore;
// also for a tool_choice that rules Keyturn's tools out, unless the conversation has begun with them: then they stay, since a
// change of tools would cost the provider's cache and invalidate thinking, but there will be no calls to look for.
func open(body []byte, o turn.Options) turn.Session {
	var f requestFields
	if !f.read(body) {
		return nil
	}
	s := &session{
		opts: o, number: 1,
		model: rawjson.Word(f.model.Of(body)), streams: string(f.stream.Of(body)) == "true",
	}
	s.names.Limit(o.MaxTools)
	tools, ok := s.declare(body, f.tools)
	if !ok {
		return nil
	}
	var e rawjson.Edits
	if rawjson.Count(body, f.messages) < 0 {
		return nil
	}
	if o.Memory != nil {
		s.conversation = readConversation(&o, body, f.messages)
	}
	s.offer(&e, body, &f, tools)
	if s.conversation != nil && (s.names.Offered() || tools > 0) { // a conversation with calls in it needs tools
		s.conversation.restore(&e, body)
	}
	if e.None() {
		return nil
	}
	s.conversation.opened()
	s.base = e.Apply(make([]byte, 0, len(body)+e.Growth()), body)
	if s.fields = (requestFields{}); !s.fields.read(s.base) {
		return nil // memory has something that is no JSON
	}
	s.request = s.base
	s.budget()
	s.alone = s.reads && turn.Structured(body)
	s.relay.Init(s)
	s.begins()
	return s
}

// Request implements turn.Session.
func (s *session) Request() []byte { return s.request }

// Model implements turn.Session.
func (s *session) Model() string { return s.model }

// Streams implements turn.Session.
func (s *session) Streams() bool { return s.streams }

// Reads implements turn.Session.
func (s *session) Reads() bool { return s.reads }

// LeftOut implements turn.Crowded.
func (s *session) LeftOut() int { return s.names.Left() }

// Body implements turn.Session.
func (s *session) Body() []byte { return s.body }

// begins makes ready for a turn's answer.
func (s *session) begins() {
	s.turn = currentTurn{}
	s.relay.Begin()
	s.relay.Whole(s.alone && !s.last)
}

// Again forgets the turn's answer. It had shown nothing, so nothing else has changed.
func (s *session) Again() { s.begins() }

// decide finds out which calls are to be run, now that the turn has said why it stopped. Calls of a turn that ended otherwise than
// by calling are not complete, whatever they look like: the model ran out of tokens, or was stopped.
func (s *session) decide() {
	t := &s.turn
	t.decided = true
	switch t.reason {
	case "tool_use", "end_turn", "":
	default:
		return
	}
	if t.broken || t.errored {
		return
	}
	var calls []*block
	known := map[string]*block{}
	for _, b := range t.blocks {
		switch first := known[b.id]; {
		case b.own && (b.open || b.unknown):
			return
		case b.own && first != nil && b.id != "":
			if first.name != b.name || string(first.arguments()) != string(b.arguments()) {
				return // their results could not be told apart
			}
		case b.own:
			known[b.id] = b
			calls = append(calls, b)
		case b.kind == "tool_use":
			t.mixed = true
		}
	}
	// Where no tokens are left for another turn, the calls are not run: their results would reach nobody, and a client that goes on
	// would have them run again.
	if len(calls) > 0 && !t.mixed && s.left() < 1 {
		s.spent = true
		return
	}
	for _, b := range calls {
		b.runs = true
	}
	t.calls, t.results = calls, make([][]byte, len(calls))
}

// left is how many tokens the client allows after the turn that ends.
func (s *session) left() int64 {
	if s.limit <= 0 {
		return math.MaxInt64
	}
	u := s.used()
	return s.limit - rawjson.AddInts(s.output, rawjson.Int(u, rawjson.Whole(u), "output_tokens"))
}

// result is what the turn came to, for the loop.
func (s *session) result() turn.Turn {
	t := &s.turn
	u := s.used()
	at := rawjson.Whole(u)
	cameTo := turn.Turn{
		Failure: t.failure, Cut: !t.over && !t.errored && t.failure == nil, Model: t.model, Reason: t.reason,
		// Anthropic counts what comes of the cache and what goes there beside input_tokens, the OpenAI dialects within.
		Usage: turn.Usage{
			Output:    rawjson.Int(u, at, "output_tokens"),
			CacheRead: rawjson.Int(u, at, "cache_read_input_tokens"), CacheWrite: rawjson.Int(u, at, "cache_creation_input_tokens"),
			Reasoning: rawjson.Int(u, at, "output_tokens_details", "thinking_tokens"),
		},
	}
	cameTo.Usage.Input = rawjson.AddInts(rawjson.AddInts(rawjson.Int(u, at, "input_tokens"), cameTo.Usage.CacheRead), cameTo.Usage.CacheWrite)
	if !t.over || t.broken {
		return cameTo
	}
	for _, c := range t.calls {
		cameTo.Calls = append(cameTo.Calls, s.opts.Meant(turn.Call{ID: c.id, Name: c.name, Tool: c.tool, Arguments: c.arguments()}))
	}
	cameTo.Mixed = t.mixed && len(cameTo.Calls) > 0
	return cameTo
}

// Settle gives the result of a call. The client sees nothing of it.
func (s *session) Settle(dst []byte, i int, r turn.Result) []byte {
	s.turn.results[i] = toolResult(s.turn.calls[i].id, r)
	return dst
}

// Finish ends the response with the events that were withheld.
func (s *session) Finish(dst []byte) []byte {
	t := &s.turn
	data := t.final
	s.close()
	s.conversation.remember(s)
	if s.plain {
		s.body = s.merged(data)
		return dst
	}
	if data == nil {
		data = []byte(`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":`)
		data = append(append(data, fillNumbers(t.begin, []byte(`{"output_tokens":0}`))...), '}')
	}
	if t.stop == nil {
		t.stop = []byte(`{"type":"message_stop"}`)
	}
	s.relay.To(dst)
	s.letStop()
	to := s.relay.Own()
	*to = sse.AppendEvent(*to, "message_delta", s.finalDelta(data))
	*to = sse.AppendEvent(*to, "message_stop", t.stop)
	return s.relay.Out()
}

// KeepAlive is a ping event, which clients of this API expect at any time.
func (s *session) KeepAlive(dst []byte) []byte {
	return s.relay.KeepAlive(dst, "event: ping\ndata: {\"type\": \"ping\"}\n\n")
}

// Fail ends the stream with an error event, at which every client's library raises an error at once: blocks that are open stay so.
func (s *session) Fail(dst []byte, e turn.Error) []byte {
	if s.plain {
		s.body = errorBody(e)
		return dst
	}
	s.relay.Interrupt(dst)
	s.letStop()
	s.turn.failure = nil
	b := rawjson.AppendString([]byte(`{"type":"error","error":{"type":`), e.Type)
	b = append(rawjson.AppendString(append(b, `,"message":`...), e.Message), `}}`...)
	to := s.relay.Own()
	*to = sse.AppendEvent(*to, "error", b)
	return s.relay.Out()
}

// Relay hands out what was held back of a turn that failed.
func (s *session) Relay(dst []byte) []byte {
	s.turn.failure = nil
	if s.plain {
		s.body = s.turn.final
		return dst
	}
	if h := s.seam.stop; h != nil { // of a turn before
		s.seam.stop = nil
		dst = append(dst, h.raw...)
		if h.cut {
			dst = append(dst, "\n\n"...)
		}
	}
	return s.relay.HandOver(dst)
}
