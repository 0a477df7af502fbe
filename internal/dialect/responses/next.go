package responses

import (
	"slices"
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// minOutputTokens is the smallest max_output_tokens that the API takes.
const minOutputTokens = 16

// Continue makes the next turn's request: the client's with all output so far, in order and byte for byte, and after each turn's
// output the results of its calls. Reasoning items must stand before the calls that they led to, so none is left out.
func (s *session) Continue(last bool) bool {
	if s.turn.terminal == nil {
		return false // there are no calls to go on from
	}
	if !s.affords() {
		s.spent = true
		return false
	}
	s.closeTurn()
	s.rememberEnd()
	talk := s.fields.conversation.Found()
	if talk {
		s.replay = nil // the conversation has the rest
	}
	for _, i := range s.turn.items {
		if i == nil {
			continue
		}
		s.ids[i.shown] = true
		if s.stays(i) && !talk {
			s.replay = append(rawjson.Separate(s.replay), i.raw...)
		}
	}
	for _, c := range s.calls {
		s.replay = appendOutput(rawjson.Separate(s.replay), c.callID, c.outputForModel())
	}
	s.ran += int64(len(s.calls))
	if s.upstreamID != "" {
		s.turnIDs = rawjson.AppendString(rawjson.Separate(s.turnIDs), s.upstreamID)
	}
	s.usage = slices.Clone(rawjson.AddNumbers(s.usage, s.turn.raw))
	s.request = s.nextRequest(last)
	s.number++
	s.last = last
	s.begins()
	return true
}

// begins makes ready for a turn's answer.
func (s *session) begins() {
	s.turn, s.calls, s.mixed = currentTurn{}, nil, false
	s.renumbers = s.renumbers || s.number > 1
	s.relay.Begin()
	s.relay.Whole(s.alone && !s.last)
	s.marked = s.nextNumber
	s.start = counters{
		items: len(s.items), nextIndex: s.nextIndex, number: s.nextNumber, output: s.output, hosted: s.hosted,
		called: s.called, renumbers: s.renumbers,
	}
}

// counters are what an answer changes; Again goes back to them.
type counters struct {
	items, nextIndex, number int
	output, hosted           int64
	called, renumbers        bool
}

// Again forgets the turn's answer.
func (s *session) Again() {
	c := s.start
	s.items, s.nextIndex, s.output, s.hosted, s.called = s.items[:c.items], c.nextIndex, c.output, c.hosted, c.called
	s.nextNumber, s.renumbers = c.number, c.renumbers
	if s.number == 1 {
		s.echo, s.clientID = [len(echoed)][]byte{}, ""
	}
	s.begins()
}

// nextRequest is the next turn's request.
func (s *session) nextRequest(last bool) []byte {
	b, f := s.base, &s.fields
	var e rawjson.Edits
	s.extend(&e, f.input)
	s.chooseNext(&e, last || s.exhausted())
	if limit := rawjson.Int(b, rawjson.Whole(b), "max_output_tokens"); limit > 0 {
		e.Replace(f.maxOutputTokens, strconv.AppendInt(nil, limit-s.output, 10))
	}
	if f.maxToolCalls.Found() {
		if most := rawjson.Int(b, rawjson.Whole(b), "max_tool_calls"); most > 0 {
			e.Replace(f.maxToolCalls, strconv.AppendInt(nil, max(1, most-s.hosted-s.ran), 10)) // the API takes no less than 1
		}
	}
	return e.Apply(make([]byte, 0, len(b)+len(s.replay)+64), b)
}

// chooseNext notes the next turn's tool_choice.
func (s *session) chooseNext(e *rawjson.Edits, last bool) {
	b, f := s.base, &s.fields
	kind, clients := choiceOf(b, f.toolChoice, &s.names), s.clients
	if kind == turn.ChoiceAllowed && rawjson.Text(b, f.toolChoice, "mode") == "required" {
		kind, clients = turn.ChoiceRequired, s.allowsClients()
	} else if kind == turn.ChoiceAllowed {
		kind = turn.ChoiceAuto
	}
	switch s.names.Choose(kind, clients, last) {
	case turn.AsBefore:
	case turn.None:
		e.Set(b, rawjson.Whole(b), "tool_choice", []byte(`"none"`))
	case turn.Freely:
		if b[f.toolChoice.Start] == '{' && rawjson.Text(b, f.toolChoice, "type") == "allowed_tools" {
			e.Set(b, f.toolChoice, "mode", []byte(`"auto"`))
			return
		}
		e.Replace(f.toolChoice, []byte(`"auto"`))
	case turn.OnlyClients:
		for _, list := range rawjson.Values(b, rawjson.Whole(b), "tools") {
			s.dropOwn(e, list)
		}
		if list, ok := rawjson.Lookup(b, f.toolChoice, "tools"); ok {
			s.dropOwn(e, list)
		}
	}
}

// allowsClients is how many tools beside Keyturn's the model may call, where tool_choice says which it may.
func (s *session) allowsClients() (n int) {
	list, _ := rawjson.Lookup(s.base, s.fields.toolChoice, "tools")
	for t := range rawjson.Elements(s.base, list) {
		if _, own := s.names.Own(rawjson.Text(s.base, t, "name")); !own {
			n++
		}
	}
	return n
}

// dropOwn takes Keyturn's tools out of a list in the request.
func (s *session) dropOwn(e *rawjson.Edits, list rawjson.Span) {
	for t := range rawjson.Elements(s.base, list) {
		if _, own := s.names.Own(rawjson.Text(s.base, t, "name")); own && rawjson.Text(s.base, t, "type") == "function" {
			e.Drop(s.base, list, t)
		}
	}
}

// exhausted reports whether the client allows no more calls of tools, and has none of its own that the limit does not count.
func (s *session) exhausted() bool {
	most := rawjson.Int(s.base, rawjson.Whole(s.base), "max_tool_calls")
	return most > 0 && s.hosted+s.ran >= most && s.names.Declared() == 0
}

// extend notes the next turn's input.
func (s *session) extend(e *rawjson.Edits, input rawjson.Span) {
	b := s.base
	switch {
	case s.fields.conversation.Found():
		e.Set(b, rawjson.Whole(b), "input", slices.Concat([]byte{'['}, s.replay, []byte{']'}))
	case input.Found() && b[input.Start] == '[':
		e.Push(b, input, s.replay)
	case input.Found() && b[input.Start] == '"':
		e.Replace(input, slices.Concat([]byte{'['}, userMessage(input.Of(b)), rawjson.Comma, s.replay, []byte{']'}))
	default:
		e.Set(b, rawjson.Whole(b), "input", slices.Concat([]byte{'['}, s.replay, []byte{']'}))
	}
}

// Finish ends the response with the event that was withheld.
func (s *session) Finish(dst []byte) []byte {
	t := &s.turn
	if t.terminal == nil {
		return dst
	}
	data, kind := t.terminal, t.kind
	t.terminal = nil
	s.edits.Reset()
	if s.plain {
		s.merge(&s.edits, data, t.response)
		s.body = s.edits.Apply(nil, data)
		return dst
	}
	s.event.read(data)
	s.relay.To(dst)
	s.conclude(data, kind)
	if s.doneDue {
		s.relay.Event("", []byte("[DONE]"))
	}
	return s.relay.Out()
}

// conclude puts out the event that ends the response, which is the current one. Where tokens ran out, the response is incomplete,
// whatever the turn was.
func (s *session) conclude(data []byte, kind string) {
	f := &s.event
	s.merge(&s.edits, data, f.response)
	if s.spent {
		kind = "incomplete"
		s.edits.Replace(f.kind, []byte("response."+kind))
	}
	if f.seq.Found() {
		s.edits.ReplaceInt(f.seq, s.nextNumber)
	}
	s.nextNumber++
	s.relay.Event("response."+kind, s.edits.Apply(nil, data))
}
