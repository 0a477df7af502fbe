package responses

import (
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/recall"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// session is a turn.Session for OpenAI Responses. Turns go on without the provider's state, whatever the client's mode: the input of
// the next is the client's own with all output so far and the calls' results after it, byte for byte. Only a conversation, to
// which the provider adds by itself, gets the results alone.
type session struct {
	opts  turn.Options
	names turn.Names

	base         []byte // the first turn's request
	request      []byte // the current turn's
	fields       requestFields
	model        string
	streams      bool
	reads        bool
	injected     bool
	alone        bool          // the client gets what the last turn says alone, see turn.Structured
	last         bool          // the turn is the last
	clients      int           // tools of the client's
	previous     []byte        // previous_response_id as the client sent it, where Keyturn sends another
	instructions []byte        // as the client sent them, where Keyturn sends more; null for none
	continued    string        // the id of the last turn of the response that previous_response_id names, if memory has it
	unknown      []string      // ids that the input names, of calls of Keyturn's that memory has lost
	chain        recall.Digest // of the client's input
	recalled     map[string]record
	runs         map[string][]byte // likewise, of runKey

	number     int    // of the turn, from 1
	clientID   string // the response's id: the first turn's
	upstreamID string // the current turn's
	turnIDs    []byte // of those before it: JSON strings, joined by commas
	echo       [len(echoed)][]byte
	items      []*outputItem   // of all turns, those that the client sees
	nextIndex  int             // the next output_index
	ids        map[string]bool // of items of earlier turns
	renamed    int             // numbers for items whose ids were taken
	called     bool            // a call of Keyturn's has come
	replay     []byte          // what the next turn's input has after the client's: items, joined by commas
	said       []piece
	settled    int
	usage      []byte // of the turns before this one, summed; nil if none
	output     int64  // output_tokens of all turns that have ended
	hosted     int64  // calls of the provider's own tools in them
	ran        int64  // calls of Keyturn's

	turn  currentTurn
	calls []*outputItem // of the turn that has ended, to be settled
	mixed bool
	spent bool // there are too few tokens for another turn
	plain bool // answers do not stream
	body  []byte
	held  []byte   // the body of a turn that failed
	start counters // at the begin of the turn

	// What reads the stream, and what the current event is.
	relay      relay.Relay
	event      eventFields
	edits      rawjson.Edits
	renumbers  bool // something was put in or left out: the provider's numbers are no longer the client's
	nextNumber int  // the next sequence_number
	marked     int  // the same after what the client gets of the turn in any case
	doneDue    bool // a turn that is not the last had [DONE] after its end
}

// piece is an item of the conversation as the provider has it: one that the client has too, or bytes of what it was not shown, or was
// shown in another form.
type piece struct {
	seen *outputItem
	raw  []byte
}

// currentTurn is what is known of the current turn.
type currentTurn struct {
	items    []*outputItem // by the provider's output_index; nil where none was seen
	over     bool          // the event that ends it came
	errored  bool          // an error event came
	own      int           // calls of Keyturn's that came
	kind     string        // of the event that ended it: "completed", "incomplete" or "failed"
	terminal []byte        // its data, if it is withheld until the calls have run
	response rawjson.Span  // the response object in it
	failure  *turn.Failure
	model    string
	reason   string
	usage    turn.Usage
	raw      []byte // usage as it came
}

// outputItem is one item of a turn's output.
type outputItem struct {
	turn   int
	index  int    // the client's output_index; -1 if it is hidden
	id     string // the provider's
	shown  string // the client's
	kind   string
	callID string
	name   string
	status string
	raw    []byte // as the provider sent it when it was done; nil until then
	final  []byte // as the client sees it at the end

	own       bool // a call of Keyturn's
	tool      turn.Tool
	arguments []byte // JSON string, once all are here; nil until then
	deltas    turn.Arguments
	meant     []byte // those of the tool that is meant, a JSON string, where another is named
	begun     bool   // the client was told that it began
	ended     bool   // and that it has ended
	runs      bool   // it is to be run
	output    []byte // value of function_call_output.output
}

// isCall reports whether the item is a call that the client answers, unless the provider has.
func (i *outputItem) isCall() bool { return !i.own && clientCall(i.kind) }

// clientCall tells of an item's type whether the client answers such items, or may have to.
func clientCall(kind string) bool {
	switch kind {
	case "function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call", "apply_patch_call", "tool_search_call",
		"mcp_approval_request":
		return true
	}
	return false
}

// open reads the request. It returns nil, and the request passes, when there is nothing to put in and nothing to
// translate: also for background: true, whose stream can be taken up again by the provider's numbers, and for a tool_choice that
// rules Keyturn's tools out.
func open(body []byte, o turn.Options) turn.Session {
	var f requestFields
	if !f.read(body) {
		return nil
	}
	s := &session{
		opts: o, number: 1,
		model: rawjson.Word(f.model.Of(body)), streams: string(f.stream.Of(body)) == "true",
		ids: map[string]bool{},
	}
	s.names.Limit(o.MaxTools)
	var e rawjson.Edits
	items, ok := readInput(body, f.input, &o)
	if !ok {
		return nil
	}
	s.restore(&e, body, &f, items)
	if tools := s.offer(body, &f, items); tools != nil {
		s.inject(&e, body, &f, tools)
		s.injected = true
	}
	if e.None() && len(s.unknown) == 0 {
		return nil
	}
	s.reads = s.injected || s.previous != nil
	s.alone = s.injected && turn.Structured(body)
	s.recalled, s.runs = nil, nil
	s.base = e.Apply(make([]byte, 0, len(body)+e.Growth()), body)
	if s.fields = (requestFields{}); !s.fields.read(s.base) {
		return nil // memory has something that is no JSON
	}
	s.request = s.base
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

// read takes what an item says. Raw is the item as the provider sends it.
func (i *outputItem) read(raw []byte) {
	for m := range rawjson.Members(raw, rawjson.Whole(raw)) {
		v := m.Val.Of(raw)
		switch string(m.Name) {
		case "type":
			i.kind = rawjson.Unquote(v)
		case "id":
			i.id = rawjson.Unquote(v)
		case "call_id":
			i.callID = rawjson.Unquote(v)
		case "name":
			i.name = rawjson.Unquote(v)
		case "status":
			i.status = rawjson.Unquote(v)
		case "arguments":
			i.argued(v)
		}
	}
}

// item is the one at a place of the provider's output. It makes one that was not announced.
func (s *session) item(index int) *outputItem {
	t := &s.turn
	for len(t.items) <= index {
		t.items = append(t.items, nil)
	}
	if t.items[index] == nil {
		t.items[index] = &outputItem{turn: s.number, index: -1}
	}
	return t.items[index]
}

// see gives an item its place in the client's output, unless it has one: the provider's own as long as nothing was changed, then
// the next.
func (s *session) see(i *outputItem, index int) {
	if i.index < 0 {
		i.index = index
		s.items = append(s.items, i)
		s.nextIndex = max(s.nextIndex, index+1)
	}
}

// identify finds out whose an item is that has just begun, raw being what is known of it, and what the client calls it.
func (s *session) identify(i *outputItem, raw []byte) {
	i.read(raw)
	was := i.own
	if i.kind == "function_call" {
		i.own = s.injected && rawjson.Text(raw, rawjson.Whole(raw), "namespace") == "" && s.names.Owner(i.name) == turn.Keyturn
	}
	if i.own {
		i.tool, _ = s.names.Own(i.name)
	}
	if i.own {
		s.called = true
		if !was {
			s.turn.own++
		}
		i.shown = mcpID(i.id, i.callID, s.turn.own > 1)
		if !s.opts.Hidden && !s.late(i) {
			s.see(i, s.nextIndex)
		}
	} else {
		i.shown = i.id
	}
	if i.shown == "" || !s.ids[i.shown] {
		return
	}
	again := func(mark string) string { // some providers begin anew in each turn
		if i.own {
			return mcpID(i.id, i.callID+mark, s.turn.own > 1)
		}
		return i.id + mark
	}
	mark := "_" + strconv.Itoa(s.number)
	for i.shown = again(mark); s.ids[i.shown]; i.shown = again(mark + "_" + strconv.Itoa(s.renamed)) {
		s.renamed++
	}
}

// hides reports whether the client sees nothing of an item.
func (s *session) hides(i *outputItem) bool { return i.own && s.opts.Hidden }
