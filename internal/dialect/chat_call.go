package dialect

import (
	"bytes"
	"strconv"
	"strings"
)

// chatOwner tells whose a call is. It is known when the name of the tool is.
type chatOwner uint8

const (
	chatUndecided chatOwner = iota
	chatOurs
	chatTheirs
)

// maxChatCalls bounds the calls of one turn that are kept apart. No provider allows as many.
const maxChatCalls = 1000

// chatCall is a tool call of a turn, put together from the deltas that its pieces came in.
type chatCall struct {
	indexed bool // the provider numbers it
	index   int64
	id      string
	name    string
	owner   chatOwner
	seen    int // number of the chunk that its last piece came in

	// Of a call of the client's.
	begun bool // the client has seen of it
	shown int  // the number that the client knows it by; -1: the provider's own, or none
	argue bool // it has arguments

	// Of a call of Keyturn's, or of one that may be.
	args  []byte      // inside of the JSON string
	extra []chatField // members that OpenAI does not document, such as extra_content with Gemini's thought_signature
	inner []chatField // the same, within function
	held  []byte      // pieces, joined by commas, while it is not known whose it is

	element []byte // where nothing streams: the call as the provider sent it
}

// find is the call that a piece belongs to; a new one if it begins there. Providers number calls as OpenAI does, or leave index out
// or the same for all, and tell the id once, with every piece, or not at all.
func (s *chat) find(c *chatChunk, p *chatPiece) *chatCall {
	t := &s.turn
	index, indexed := int64(0), false
	if p.index.val.found() {
		index, indexed = integer(p.index.val.of(c.b))
	}
	same := func(call *chatCall) bool { return call.indexed == indexed && call.index == index }
	id := ""
	if p.id.found() {
		id = unquote(p.id.of(c.b))
	}
	named := p.name.found() && !blank(p.name.of(c.b))
	var found *chatCall
	for i := len(t.calls) - 1; i >= 0 && found == nil; i-- {
		call := t.calls[i]
		switch {
		case id != "" && call.id == id && (!indexed || !call.indexed || call.index == index):
			return call
		case id != "" && call.id == "" && same(call) && call.seen != s.chunks && !(named && call.name != ""),
			id == "" && indexed && same(call):
			found = call
		case id == "" && !indexed && i == len(t.calls)-1:
			found = call
		}
	}
	if found == nil && id == "" && !named && len(t.calls) > 0 {
		return t.calls[len(t.calls)-1] // a piece that says nothing of whose it is belongs to what was begun last
	}
	if found != nil && id == "" && named && found.name != "" && (found.seen == s.chunks || found.complete(p, c)) {
		found = nil
	}
	switch {
	case found != nil:
		return found
	case len(t.calls) >= maxChatCalls:
		t.broken = true
		return t.calls[len(t.calls)-1]
	}
	call := &chatCall{indexed: indexed, index: index, shown: -1}
	t.calls = append(t.calls, call)
	return call
}

// complete reports whether a call has all its arguments, so that a piece with a name but no id begins another.
func (call *chatCall) complete(p *chatPiece, c *chatChunk) bool {
	if call.owner == chatTheirs {
		return call.argue && p.args.found() && bytes.HasPrefix(p.args.of(c.b), []byte(`"{`))
	}
	return len(call.args) > 0 && validJSON([]byte(unquote(quoted(call.args))))
}

// quoted is a JSON string of its inside.
func quoted(inner []byte) []byte { return append(append([]byte{'"'}, inner...), '"') }

// update takes what a piece says of its call, and decides whose it is.
func (s *chat) update(call *chatCall, c *chatChunk, p *chatPiece) {
	call.seen = s.chunks
	if id := p.id; id.found() && call.id == "" {
		call.id = unquote(id.of(c.b))
	}
	argue := p.args.found() && !blank(p.args.of(c.b))
	if call.owner != chatTheirs {
		if p.name.found() && (call.name == "" || !call.argue) {
			if name := unquote(p.name.of(c.b)); name != call.name {
				call.name += name
			}
		}
		s.decide(call, p.custom, argue)
	}
	call.argue = call.argue || argue
	if call.owner == chatTheirs {
		return
	}
	s.turn.bytes += p.at.end - p.at.start
	if s.turn.bytes > maxChatTurn {
		s.turn.broken = true
		return
	}
	call.collect(c, p)
}

// decide finds out whose a call is, by what is known of its name so far. A name that may still grow into one of Keyturn's is left
// open until the arguments begin.
func (s *chat) decide(call *chatCall, custom, argues bool) {
	name := strings.TrimSpace(call.name)
	switch {
	case custom:
		call.owner = chatTheirs
	case name != "":
		call.owner = s.owner(name)
	}
	if call.owner == chatUndecided && name != "" && argues {
		call.owner = chatTheirs
	}
	switch call.owner {
	case chatOurs:
		call.held, s.called = nil, true
	case chatTheirs:
		if !call.begun && call.held == nil {
			s.show(call)
		}
	case chatUndecided:
	}
}

// show gives a call of the client's its number. As long as the client sees all that the provider sends, the provider's is right.
func (s *chat) show(call *chatCall) {
	hides := s.called || s.renumbers || call.held != nil
	for _, o := range s.turn.calls {
		hides = hides || o.owner == chatUndecided || o.owner == chatTheirs && !o.begun && o != call
	}
	call.begun = true
	switch {
	case hides:
		s.renumbers = true
		call.shown = s.shown
		s.shown++
	case call.indexed && call.index >= 0 && call.index < maxChatCalls:
		s.shown = max(s.shown, int(call.index)+1)
	default:
		s.shown++
	}
}

// collect keeps what a piece has of a call of Keyturn's.
func (call *chatCall) collect(c *chatChunk, p *chatPiece) {
	if p.args.found() {
		switch raw := p.args.of(c.b); raw[0] {
		case '"':
			call.args = append(call.args, raw[1:len(raw)-1]...)
		case '{': // as an object, not as its text
			text := appendString(nil, raw)
			call.args = append(call.args, text[1:len(text)-1]...)
		}
	}
	if !p.more {
		return
	}
	for m := range members(c.b, p.at) {
		switch string(m.name) {
		case "index", "id", "type":
		case "function":
			for m := range members(c.b, m.val) {
				if n := string(m.name); n != "name" && n != "arguments" {
					call.inner = collect(call.inner, m.name, m.val.of(c.b))
				}
			}
		default:
			call.extra = collect(call.extra, m.name, m.val.of(c.b))
		}
	}
}

// settleOwners decides of the calls whose names were not long enough to tell, now that the turn ends: they are the client's. It
// returns them.
func (s *chat) settleOwners() (late []*chatCall) {
	for _, call := range s.turn.calls {
		if call.owner == chatUndecided {
			call.owner = chatTheirs
			s.show(call)
			late = append(late, call)
		}
	}
	return late
}

// ours are the turn's calls of Keyturn's.
func (t *chatTurn) ours() (list []*chatCall) {
	for _, call := range t.calls {
		if call.owner == chatOurs {
			list = append(list, call)
		}
	}
	return list
}

// hasOurs reports whether there are any.
func (t *chatTurn) hasOurs() bool {
	for _, call := range t.calls {
		if call.owner == chatOurs {
			return true
		}
	}
	return false
}

// hasTheirs reports whether the client has calls to answer.
func (t *chatTurn) hasTheirs() bool {
	for _, call := range t.calls {
		if call.owner == chatTheirs {
			return true
		}
	}
	return false
}

// name gives every call of Keyturn's an id of its own, so that its result can name it. A provider that knows none leaves it out.
func (s *chat) name(calls []*chatCall) {
	taken := map[string]bool{}
	for _, call := range s.turn.calls {
		if call.owner == chatTheirs {
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
func (s *chat) call(c *chatCall) Call {
	name := strings.TrimSpace(c.name)
	args := []byte(unquote(quoted(c.args)))
	if len(bytes.TrimSpace(args)) == 0 {
		args = []byte("{}")
	}
	return Call{ID: c.id, Name: name, Tool: s.own[name], Arguments: args}
}

// appendTo appends the call as it goes back to the provider.
func (call *chatCall) appendTo(dst []byte) []byte {
	if call.element != nil {
		return append(dst, call.element...)
	}
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, call.id)
	dst = append(dst, `,"type":"function","function":{"name":`...)
	dst = appendString(dst, strings.TrimSpace(call.name))
	dst = append(dst, `,"arguments":"`...)
	if len(call.args) == 0 {
		dst = append(dst, "{}"...)
	}
	dst = append(append(dst, call.args...), '"')
	dst = append(appendFields(dst, call.inner), '}')
	return append(appendFields(dst, call.extra), '}')
}

// appendFields appends members, each after a comma.
func appendFields(dst []byte, list []chatField) []byte {
	for i := range list {
		dst = append(dst, ',')
		dst = append(appendString(dst, list[i].name), ':')
		dst = list[i].appendTo(dst)
	}
	return dst
}
