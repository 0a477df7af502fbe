package chat

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// maxCalls bounds the calls of one turn that are kept apart. No provider allows as many.
const maxCalls = 1000

// toolCall is a tool call of a turn, put together from the deltas that its pieces came in.
type toolCall struct {
	indexed bool // the provider numbers it
	index   int64
	id      string
	name    string
	owner   turn.Owner // known when the name of the tool is
	came    int        // number of the chunk that its first piece came in
	seen    int        // and of its last

	// Of a call of the client's.
	begun bool // the client has seen of it
	shown int  // the number that the client knows it by; -1: the provider's own, or none
	argue bool // it has arguments

	// Of a call of Keyturn's, or of one that may be.
	args  turn.Arguments
	extra []field // members that OpenAI does not document, such as extra_content with Gemini's thought_signature
	inner []field // the same, within function
	held  []byte  // pieces, joined by commas, while it is not known whose it is

	gone    bool   // it is a part of another call, or came before
	element []byte // where nothing streams: the call as the provider sent it
}

// claim is what a piece says of the call that it belongs to.
type claim struct {
	id      string // "" if it says none
	index   int64
	indexed bool
	name    string // the tool's, or a part of that; "" if it says none
	chunk   int    // number of the chunk that it came in
}

// named reports whether the piece has the tool's name, or a part of that.
func (p claim) named() bool { return p.name != "" }

func (s *session) claimOf(c *chunk, p *callDelta) claim {
	what := claim{chunk: s.chunks}
	if p.name.Found() {
		what.name = rawjson.Unquote(p.name.Of(c.b))
	}
	if p.index.Val.Found() {
		what.index, what.indexed = rawjson.ParseInt(p.index.Val.Of(c.b))
	}
	if p.id.Found() {
		what.id = rawjson.Unquote(p.id.Of(c.b))
	}
	return what
}

// numbers reports whether a call has the piece's number, or has none like it.
func (p claim) numbers(call *toolCall) bool {
	return call.indexed == p.indexed && call.index == p.index
}

// numberings are the ways in which providers say that a piece goes on with a call; last says that the call was begun last.
var numberings = [...]func(p claim, call *toolCall, last bool) bool{
	// The id comes with every piece, and there is no number, or the same for all (Gemini).
	func(p claim, call *toolCall, _ bool) bool {
		return p.id != "" && call.id == p.id && (!p.indexed || !call.indexed || call.index == p.index)
	},
	// The id comes after the first piece, which had the number alone; but not within one chunk, nor with a second name.
	func(p claim, call *toolCall, _ bool) bool {
		return p.id != "" && call.id == "" && p.numbers(call) && call.seen != p.chunk && !(p.named() && call.name != "")
	},
	// The id comes once, then the number (OpenAI).
	func(p claim, call *toolCall, _ bool) bool { return p.id == "" && p.indexed && p.numbers(call) },
	// The id comes once or not at all, and there is no number: calls come one after the other.
	func(p claim, _ *toolCall, last bool) bool { return p.id == "" && !p.indexed && last },
}

// begun is the call that a piece goes on with, the last of those that it may mean; nil if it begins one.
func (s *session) begun(p claim) *toolCall {
	calls := s.turn.calls
	for i, call := range slices.Backward(calls) {
		for _, goesOn := range numberings {
			if goesOn(p, call, i == len(calls)-1) {
				return call
			}
		}
	}
	if p.id == "" || !p.indexed || p.named() {
		return nil
	}
	// Some providers make an id for every piece, and clients go by the number. Others give all calls one number: see join.
	for _, call := range slices.Backward(calls) {
		if p.numbers(call) {
			return call
		}
	}
	return nil
}

// find is the call that a piece belongs to; a new one if it begins there.
func (s *session) find(c *chunk, p *callDelta) *toolCall {
	t := &s.turn
	what, last := s.claimOf(c, p), (*toolCall)(nil)
	if len(t.calls) > 0 {
		last = t.calls[len(t.calls)-1]
	}
	call := s.begun(what)
	switch {
	case what.id != "":
	case call == nil && !what.named():
		call = last // it says nothing of whose it is
	case call != nil && what.named() && call.name != "" && (call.seen == what.chunk || s.follows(call, what, p, c)):
		call = nil // a second name: another call, by a provider that numbers none
	}
	if call == nil && len(t.calls) >= maxCalls {
		t.broken = true
		call = last
	}
	if call == nil {
		call = &toolCall{indexed: what.indexed, index: what.index, shown: -1, came: s.chunks}
		t.calls = append(t.calls, call)
	}
	return call
}

// follows reports whether a call has all its arguments, so that a piece with a name but no id begins another.
func (s *session) follows(call *toolCall, what claim, p *callDelta, c *chunk) bool {
	switch {
	case call.owner == turn.Client:
		return call.argue && p.args.Found() && bytes.HasPrefix(p.args.Of(c.b), []byte(`"{`))
	case what.name == call.name && call.args.Blank(): // {} comes before the arguments, in some bridges
		return false
	}
	return s.complete(call)
}

// complete reports whether a call, which is not the client's, has all its arguments.
func (s *session) complete(call *toolCall) bool {
	t := &s.turn
	if t.looked > maxLooked+4*t.bytes {
		return false
	}
	t.looked += call.args.Len()
	return call.args.Complete()
}

// maxLooked bounds, beside four times what has come, the bytes of arguments that are looked at to find out whether they are complete:
// otherwise each piece of one call could cost all pieces before it.
const maxLooked = 64 << 10

// update takes what a piece says of its call, and decides whose it is.
func (s *session) update(call *toolCall, c *chunk, p *callDelta) {
	call.seen = s.chunks
	if id := p.id; id.Found() && call.id == "" {
		call.id = rawjson.Unquote(id.Of(c.b))
	}
	argue := p.args.Found() && !blank(p.args.Of(c.b))
	if call.owner != turn.Client {
		if p.name.Found() && (call.name == "" || !call.argue) {
			if name := rawjson.Unquote(p.name.Of(c.b)); strings.HasPrefix(name, call.name) { // all of it so far
				call.name = name
			} else {
				call.name += name
			}
		}
		s.decide(call, p.custom, argue)
	}
	call.argue = call.argue || argue
	if call.owner == turn.Client {
		return
	}
	s.turn.bytes += p.at.End - p.at.Start
	if s.turn.bytes > maxTurn {
		s.turn.broken = true
		return
	}
	call.collect(c, p)
}

// decide finds out whose a call is, by what is known of its name so far. A name that may still grow into one of Keyturn's is left
// open until the arguments begin.
func (s *session) decide(call *toolCall, custom, argues bool) {
	name := strings.TrimSpace(call.name)
	switch {
	case custom:
		call.owner = turn.Client
	case name != "":
		call.owner = s.names.OwnerSoFar(name)
	}
	if call.owner == turn.Undecided && name != "" && argues {
		call.owner = turn.Client
	}
	switch call.owner {
	case turn.Keyturn:
		call.held, s.called = nil, true
	case turn.Client:
		if !call.begun && call.held == nil {
			s.show(call)
		}
	case turn.Undecided:
	}
}

// show gives a call of the client's its number. As long as the client sees all that the provider sends, the provider's is right.
func (s *session) show(call *toolCall) {
	hides := s.called || s.renumbers || call.held != nil
	for _, o := range s.turn.calls {
		hides = hides || o.owner == turn.Undecided || o.owner == turn.Client && !o.begun && o != call
	}
	call.begun = true
	switch {
	case hides:
		s.renumbers = true
		call.shown = s.shown
		s.shown++
	case call.indexed && call.index >= 0 && call.index < maxCalls:
		s.shown = max(s.shown, int(call.index)+1)
	default:
		s.shown++
	}
}

// collect keeps what a piece has of a call of Keyturn's.
func (call *toolCall) collect(c *chunk, p *callDelta) {
	if p.args.Found() {
		switch raw := p.args.Of(c.b); raw[0] {
		case '"':
			call.args.Add(raw[1 : len(raw)-1])
		case '{':
			call.args.AddObject(raw)
		}
	}
	if !p.more {
		return
	}
	for m := range rawjson.Members(c.b, p.at) {
		switch string(m.Name) {
		case "index", "id", "type":
		case "function":
			for m := range rawjson.Members(c.b, m.Val) {
				if n := string(m.Name); n != "name" && n != "arguments" {
					call.inner = collect(call.inner, m.Name, m.Val.Of(c.b))
				}
			}
		default:
			call.extra = collect(call.extra, m.Name, m.Val.Of(c.b))
		}
	}
}

// settleOwners decides of the calls whose names were not long enough to tell, now that the turn ends: they are the client's. It
// returns them.
func (s *session) settleOwners() (late []*toolCall) {
	for _, call := range s.turn.calls {
		if call.owner == turn.Undecided {
			call.owner = turn.Client
			s.show(call)
			late = append(late, call)
		}
	}
	return late
}

// ours are the turn's calls of Keyturn's.
func (t *currentTurn) ours() (list []*toolCall) {
	for _, call := range t.calls {
		if call.owner == turn.Keyturn {
			list = append(list, call)
		}
	}
	return list
}

// hasOurs reports whether there are any.
func (t *currentTurn) hasOurs() bool {
	for _, call := range t.calls {
		if call.owner == turn.Keyturn {
			return true
		}
	}
	return false
}

// hasTheirs reports whether the client has calls to answer.
func (t *currentTurn) hasTheirs() bool {
	for _, call := range t.calls {
		if call.owner == turn.Client {
			return true
		}
	}
	return false
}

// name gives every call of Keyturn's an id of its own, so that its result can name it. A provider that knows none leaves it out.
func (s *session) name(calls []*toolCall) {
	taken := map[string]bool{}
	for _, call := range s.turn.calls {
		if call.owner == turn.Client {
			taken[call.id] = true
		}
	}
	for i, call := range calls {
		if call.id == "" || taken[call.id] {
			call.id = "call_keyturn_" + strconv.Itoa(s.number) + "_" + strconv.Itoa(i)
		}
		taken[call.id] = true
	}
}

// call is what the loop is told of a call.
func (s *session) call(c *toolCall) turn.Call {
	name := strings.TrimSpace(c.name)
	tool, _ := s.names.Own(name)
	return s.opts.Meant(turn.Call{ID: c.id, Name: name, Tool: tool, Arguments: c.args.Text()})
}

// appendTo appends the call as it goes back to the provider.
func (call *toolCall) appendTo(dst []byte) []byte {
	if call.element != nil {
		return append(dst, call.element...)
	}
	dst = append(dst, `{"id":`...)
	dst = rawjson.AppendString(dst, call.id)
	dst = append(dst, `,"type":"function","function":{"name":`...)
	dst = rawjson.AppendString(dst, strings.TrimSpace(call.name))
	dst = append(dst, `,"arguments":`...)
	dst = call.appendArguments(dst)
	dst = append(appendFields(dst, call.inner), '}')
	return append(appendFields(dst, call.extra), '}')
}

// appendArguments appends the arguments as they go back to the provider: byte for byte where they are an object.
func (call *toolCall) appendArguments(dst []byte) []byte {
	text := call.args.Text()
	if raw := append(append([]byte{'"'}, call.args.Raw()...), '"'); turn.IsObject(text) && rawjson.Unquote(raw) == string(text) {
		return append(dst, raw...)
	}
	return rawjson.AppendString(dst, turn.Object(text))
}

// appendFields appends members, each after a comma.
func appendFields(dst []byte, list []field) []byte {
	for i := range list {
		dst = append(dst, ',')
		dst = append(rawjson.AppendString(dst, list[i].name), ':')
		dst = list[i].appendTo(dst)
	}
	return dst
}
