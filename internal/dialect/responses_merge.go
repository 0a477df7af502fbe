package dialect

import (
	"bytes"
	"cmp"
	"slices"
)

// echoed are the members of a response object that tell its request's settings, and its id. The client gets those of the first
// turn, whose request had what it sent, in all turns.
var echoed = [...]string{
	"id", "created_at", "previous_response_id", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens", "max_tool_calls",
	"store", "conversation", "include",
}

// settings makes the settings in the first turn's response object b[at] those that the client sent, and keeps them for later turns.
func (s *responses) settings(e *edits, b []byte, at span) {
	first := s.echo[0] == nil
	for m := range members(b, at) {
		n := slices.Index(echoed[:], string(m.name))
		if n < 0 {
			continue
		}
		value := m.val.of(b)
		switch echoed[n] {
		case "tools":
			value = s.withoutOwn(value)
		case "previous_response_id":
			if s.previous != nil {
				value = s.previous
			}
		case "id":
			s.clientID = unquote(value)
		}
		if !bytes.Equal(value, m.val.of(b)) {
			e.replace(m.val, value)
		}
		if first {
			s.echo[n] = slices.Clone(value)
		}
	}
}

// withoutOwn is an array of tools without Keyturn's.
func (s *responses) withoutOwn(list []byte) []byte {
	var e edits
	for t := range elements(list, whole(list)) {
		if _, own := s.own[text(list, t, "name")]; own && text(list, t, "type") == "function" {
			e.drop(list, whole(list), t)
		}
	}
	if e.none() {
		return list
	}
	return e.apply(nil, list)
}

// merge notes what makes the last turn's response object b[at] the one response of all turns.
func (s *responses) merge(e *edits, b []byte, at span) {
	if !at.found() || b[at.start] != '{' {
		return
	}
	if s.number == 1 {
		s.settings(e, b, at)
	} else {
		for n, v := range find(b, at, echoed[:]...) {
			switch {
			case s.echo[n] == nil:
			case v.found() && !bytes.Equal(v.of(b), s.echo[n]):
				e.replace(v, s.echo[n])
			case !v.found() && n == 0:
				e.set(b, at, echoed[n], s.echo[n])
			}
		}
		if sum := addNumbers(s.usage, s.turn.raw); len(sum) > 0 {
			e.set(b, at, "usage", sum)
		}
	}
	if s.number > 1 || s.called {
		e.set(b, at, "output", s.finalOutput())
	}
	if s.spent {
		e.set(b, at, "status", []byte(`"incomplete"`))
		e.set(b, at, "incomplete_details", []byte(`{"reason":"max_output_tokens"}`))
		if _, ok := lookup(b, at, "completed_at"); ok {
			e.set(b, at, "completed_at", null)
		}
	}
	if s.turn.kind != "failed" {
		s.closeTurn()
		s.remember()
	}
}

// finalOutput is all that the client saw, as an array.
func (s *responses) finalOutput() []byte {
	slices.SortStableFunc(s.items, func(x, y *outputItem) int { return cmp.Compare(x.index, y.index) })
	b := []byte{'['}
	for _, i := range s.items {
		if i.final == nil {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, i.final...)
	}
	return append(b, ']')
}

// closeTurn notes what the turn that has ended adds to the conversation.
func (s *responses) closeTurn() {
	for _, i := range s.turn.items {
		switch {
		case i == nil || !s.stays(i):
		case s.hides(i):
			s.said = append(s.said, piece{raw: i.raw})
		default:
			s.said = append(s.said, piece{seen: i})
		}
	}
	if !s.opts.Hidden {
		return
	}
	for _, c := range s.calls {
		s.said = append(s.said, piece{raw: appendOutput(nil, c.callID, c.answer())})
	}
}

// stays reports whether an item of the turn is part of the conversation that goes on: what is not complete is not, nor is a call
// without a result.
func (s *responses) stays(i *outputItem) bool {
	return i.raw != nil && i.status != "incomplete" && (!i.own || slices.Contains(s.calls, i))
}

// answer is what the model is told that a call came to.
func (i *outputItem) answer() []byte {
	if i.output == nil {
		return appendString(nil, notCompleted)
	}
	return i.output
}
