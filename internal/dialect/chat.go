package dialect

import (
	"github.com/keyturn/keyturn/sse"
)

// chat is a Session for OpenAI Chat Completions. The dialect has no form for calls that somebody else has answered, so the client
// sees nothing of Keyturn's: what is left of a turn that only called them is what the model said. The turns so hidden are
// remembered for the client's next request (chat_memory.go).
type chat struct {
	opts     Options
	own      map[string]Tool     // the tools that were put in, by name
	declared map[string]struct{} // names of the client's tools

	request   []byte // the current turn's
	model     string
	streams   bool
	reads     bool
	wantUsage bool       // the client asked for the chunk that counts tokens
	chain     chatDigest // of the client's request

	// The response, over the turns that have ended.
	known     chatIdentity
	roleShown bool
	shown     int         // tool calls that the client has seen
	called    bool        // a call of Keyturn's has come: the client's calls are numbered anew from here on
	renumbers bool        // they are, since one may have been Keyturn's
	said      []chatField // what the messages had, strings and arrays joined
	logprobs  []chatField
	usage     []byte // summed; nil if none
	hidden    []byte // messages that the client does not see, joined by commas

	number  int // of the turn, from 1
	last    bool
	turn    chatTurn
	results []Result // of the turn's calls
	body    []byte   // the client's answer where it does not stream

	// What reads the stream.
	decoder  *sse.Decoder
	raw      bool // the stream is relayed as it comes: an event was too long
	dst      []byte
	window   []byte // what came before the turn showed anything
	windowed int    // number of events in it
	before   chatStart
	put      chatPlace // where the last event went
	afterCR  bool      // and whether it ended with a CR, whose LF may follow by itself
	torn     bool      // the last bytes that the client got may not have ended an event
	chunk    chatChunk
	chunks   int // number of chunks read
	edits    edits
	template chatTemplate
}

// chatIdentity is what all chunks of a response have in common, as JSON; nil where the first had none.
type chatIdentity struct{ id, created, model, fingerprint []byte }

// chatStart is what a turn that is run again begins with.
type chatStart struct {
	known     chatIdentity
	roleShown bool
	shown     int
	called    bool
	renumbers bool
}

// chatTurn is what is known of the current turn.
type chatTurn struct {
	fields   []chatField // of the message, without role and tool_calls
	logprobs []chatField
	calls    []*chatCall
	bytes    int // kept of the turn so far

	revealed bool // it has shown something, and the window is empty
	finished bool // a finish_reason came
	over     bool // [DONE] came
	broken   bool // a part of it could not be read: its calls cannot be relied on
	failed   bool // an error came, after it had shown something
	failure  *Failure
	tail     []chatHeld

	run     []*chatCall // Keyturn's calls, to be settled
	mixed   bool
	message []byte // the assistant message with them, for the next turn; made when it is needed
	answer  []byte // a body that is no stream
	reason  string
	model   string
	usage   []byte // as it came last; nil if none
}

// openChat reads the request. It returns nil, and the request passes, when there is nothing to put in and nothing to put back:
// for legacy functions, for n > 1, whose choices cannot be continued together, and for a tool_choice that rules Keyturn's tools out.
func openChat(body []byte, o Options) Session {
	var f chatFields
	if !f.read(body) {
		return nil
	}
	s := &chat{
		opts: o, own: map[string]Tool{}, declared: map[string]struct{}{}, number: 1,
		model: unquote(f.model.of(body)), streams: string(f.stream.of(body)) == "true",
	}
	var e edits
	s.recall(&e, body, &f)
	if tools := s.offer(body, &f); tools != nil {
		s.inject(&e, body, &f, tools)
		s.reads = true
	}
	if e.none() {
		return nil
	}
	s.request = e.apply(make([]byte, 0, len(body)+1024), body)
	s.decoder = sse.NewDecoder(sse.Limits{}, s.event)
	s.start()
	return s
}

// start begins a turn.
func (s *chat) start() {
	s.turn = chatTurn{}
	s.results = s.results[:0]
	s.before = chatStart{s.known, s.roleShown, s.shown, s.called, s.renumbers}
	s.window, s.windowed = s.window[:0], 0
	s.put, s.afterCR, s.raw = chatNowhere, false, false
	s.template.valid = false
	s.decoder.Reset()
}

func (s *chat) Request() []byte { return s.request }
func (s *chat) Model() string   { return s.model }
func (s *chat) Streams() bool   { return s.streams }
func (s *chat) Reads() bool     { return s.reads }
func (s *chat) Body() []byte    { return s.body }

// Again implements Session.
func (s *chat) Again() {
	b := s.before
	s.known, s.roleShown, s.shown, s.called, s.renumbers = b.known, b.roleShown, b.shown, b.called, b.renumbers
	s.start()
}

// Relay implements Session.
func (s *chat) Relay(dst []byte) []byte {
	dst = append(dst, s.window...)
	s.window = s.window[:0]
	s.body = s.turn.answer
	return dst
}

// KeepAlive implements Session: a comment, which is an event to no client.
func (s *chat) KeepAlive(dst []byte) []byte {
	if s.torn {
		return dst
	}
	return sse.AppendComment(dst, "keep-alive")
}

// Explain implements Session. What Keyturn has forgotten is left out of the request, with its results, so no error comes of it.
func (s *chat) Explain(int, []byte) (Error, bool) { return Error{}, false }

// owner tells whose a tool is.
func (s *chat) owner(name string) chatOwner {
	if _, ok := s.declared[name]; ok {
		return chatTheirs
	}
	if _, ok := s.own[name]; ok || len(name) > len(ownPrefix) && name[:len(ownPrefix)] == ownPrefix {
		return chatOurs
	}
	for own := range s.own {
		if begins(own, name) {
			return chatUndecided
		}
	}
	if begins(ownPrefix, name) {
		return chatUndecided
	}
	return chatTheirs
}

// begins reports whether name may be the first piece of whole.
func begins(whole, name string) bool { return len(name) <= len(whole) && whole[:len(name)] == name }
