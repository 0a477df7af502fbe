package chat

import (
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/recall"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// session is a turn.Session for OpenAI Chat Completions. The dialect has no form for calls that somebody else has answered, so the client
// sees nothing of Keyturn's: what is left of a turn that only called them is what the model said. The turns so hidden are
// remembered for the client's next request (memory.go).
type session struct {
	opts    turn.Options
	names   turn.Names
	clients int // tools of the client's

	request   []byte // the current turn's
	model     string
	streams   bool
	reads     bool
	unasked   bool          // tokens are counted though the client did not ask
	wantUsage bool          // the client asked for the chunk that counts tokens
	alone     bool          // the client gets what the last turn says alone, see turn.Structured
	chain     recall.Digest // of the client's request

	// The response, over the turns that have ended.
	known     identity
	roleShown bool
	shown     int     // tool calls that the client has seen
	called    bool    // a call of Keyturn's has come: the client's calls are numbered anew from here on
	renumbers bool    // they are, since one may have been Keyturn's
	said      []field // what the messages had, strings and arrays joined
	logprobs  []field
	apart     bool   // what the turn says is to be set apart from what was said before
	usage     []byte // summed; nil if none
	hidden    []byte // messages that the client does not see, joined by commas

	number  int // of the turn, from 1
	last    bool
	turn    currentTurn
	results []turn.Result // of the turn's calls
	body    []byte        // the client's answer where it does not stream

	// What reads the stream.
	relay    relay.Relay
	before   firstChunk
	chunk    chunk
	chunks   int // number of chunks read
	edits    rawjson.Edits
	template template
}

// identity is what all chunks of a response have in common, as JSON; nil where the first had none.
type identity struct{ id, created, model, fingerprint []byte }

// firstChunk is what a turn that is run again begins with.
type firstChunk struct {
	known     identity
	roleShown bool
	shown     int
	called    bool
	renumbers bool
}

// currentTurn is what is known of the current turn.
type currentTurn struct {
	fields   []field // of the message, without role and tool_calls
	logprobs []field
	calls    []*toolCall
	bytes    int // kept of the turn so far
	looked   int // bytes that were looked at again

	finished bool // a finish_reason came
	over     bool // [DONE] came
	broken   bool // a part of it could not be read: its calls cannot be relied on
	failed   bool // an error came, after it had shown something
	failure  *turn.Failure
	tail     []heldEvent

	run     []*toolCall // Keyturn's calls, to be settled
	mixed   bool
	unseen  bool   // the client gets nothing of it
	message []byte // the assistant message with them, for the next turn; made when it is needed
	answer  []byte // a body that is no stream
	reason  string
	model   string
	usage   []byte // as it came last; nil if none
}

// open reads the request. It returns nil, and the request passes, when there is nothing to put in and nothing to put back:
// for legacy functions, for n > 1, whose choices cannot be continued together, and for a tool_choice that rules Keyturn's tools out.
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
	var e rawjson.Edits
	s.recall(&e, body, &f)
	if tools := s.offer(body, &f); tools != nil {
		s.inject(&e, body, &f, tools)
		s.reads, s.alone = true, turn.Structured(body)
	} else if o.Count && s.streams && f.countable(body) {
		s.names.Disown()
		s.count(&e, body, &f)
		s.reads = s.unasked
	}
	if e.None() {
		return nil
	}
	s.request = e.Apply(make([]byte, 0, len(body)+e.Growth()), body)
	s.relay.Init(s)
	s.start()
	return s
}

// start begins a turn.
func (s *session) start() {
	s.turn = currentTurn{}
	s.results = s.results[:0]
	s.before = firstChunk{s.known, s.roleShown, s.shown, s.called, s.renumbers}
	s.template.valid = false
	f := fieldOf(s.said, "content")
	s.apart = f != nil && f.kind == '"' && ends(f.raw)
	s.relay.Begin()
	s.relay.Whole(s.alone && !s.last)
}

// Request implements turn.Session.
func (s *session) Request() []byte { return s.request }

// Model implements turn.Session.
func (s *session) Model() string { return s.model }

// Streams implements turn.Session.
func (s *session) Streams() bool { return s.streams }

// Reads implements turn.Session.
func (s *session) Reads() bool { return s.reads }

// CountsUnasked implements turn.Counter.
func (s *session) CountsUnasked() bool { return s.unasked }

// LeftOut implements turn.Crowded.
func (s *session) LeftOut() int { return s.names.Left() }

// Body implements turn.Session.
func (s *session) Body() []byte { return s.body }

// Again implements turn.Session.
func (s *session) Again() {
	b := s.before
	s.known, s.roleShown, s.shown, s.called, s.renumbers = b.known, b.roleShown, b.shown, b.called, b.renumbers
	s.start()
}

// Relay implements turn.Session.
func (s *session) Relay(dst []byte) []byte {
	s.body = s.turn.answer
	s.turn.failed, s.turn.failure = true, nil
	return s.relay.HandOver(dst)
}

// KeepAlive implements turn.Session: a comment, which is an event to no client.
func (s *session) KeepAlive(dst []byte) []byte {
	return s.relay.KeepAlive(dst, ": keep-alive\n\n")
}

// Explain implements turn.Session. What Keyturn has forgotten is left out of the request, with its results, so no error comes of it.
func (s *session) Explain(int, []byte) (turn.Error, bool) { return turn.Error{}, false }
