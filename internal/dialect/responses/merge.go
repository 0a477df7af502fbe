package responses

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// echoed are the members of a response object that tell its request's settings, and its id. The client gets those of the first
// turn, whose request had what it sent, in all turns.
var echoed = [...]string{
	"id", "created_at", "previous_response_id", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens", "max_tool_calls",
	"store", "conversation", "include", "instructions", "model",
}

// settings makes the settings in the first turn's response object b[at] those that the client sent, and keeps them for later turns.
func (s *session) settings(e *rawjson.Edits, b []byte, at rawjson.Span) {
	first := s.echo[0] == nil
	for m := range rawjson.Members(b, at) {
		n := slices.Index(echoed[:], string(m.Name))
		if n < 0 {
			continue
		}
		value := m.Val.Of(b)
		switch echoed[n] {
		case "tools":
			value = s.withoutOwn(value)
		case "previous_response_id":
			if s.previous != nil {
				value = s.previous
			}
		case "instructions":
			if s.instructions != nil {
				value = s.instructions
			}
		case "id":
			s.clientID = rawjson.Unquote(value)
		}
		if !bytes.Equal(value, m.Val.Of(b)) {
			e.Replace(m.Val, value)
		}
		if first {
			s.echo[n] = slices.Clone(value)
		}
	}
}

// withoutOwn is an array of tools without Keyturn's.
func (s *session) withoutOwn(list []byte) []byte {
	var e rawjson.Edits
	for t := range rawjson.Elements(list, rawjson.Whole(list)) {
		if _, own := s.names.Own(rawjson.Text(list, t, "name")); own && rawjson.Text(list, t, "type") == "function" {
			e.Drop(list, rawjson.Whole(list), t)
		}
	}
	if e.None() {
		return list
	}
	return e.Apply(nil, list)
}

// merge notes what makes the last turn's response object b[at] the one response of all turns.
func (s *session) merge(e *rawjson.Edits, b []byte, at rawjson.Span) {
	if !at.Found() || b[at.Start] != '{' {
		return
	}
	if s.number == 1 {
		s.settings(e, b, at)
	} else {
		for n, v := range rawjson.Values(b, at, echoed[:]...) {
			switch {
			case s.echo[n] == nil:
			case v.Found() && !bytes.Equal(v.Of(b), s.echo[n]):
				e.Replace(v, s.echo[n])
			case !v.Found() && n == 0:
				e.Set(b, at, echoed[n], s.echo[n])
			}
		}
		if sum := rawjson.AddNumbers(s.usage, s.turn.raw); len(sum) > 0 && (s.opts.Counting.Sums(true) || s.turn.raw == nil) {
			e.Set(b, at, "usage", sum)
		}
	}
	if s.number > 1 || s.called {
		e.Set(b, at, "output", s.finalOutput())
	}
	if s.spent {
		e.Set(b, at, "status", []byte(`"incomplete"`))
		e.Set(b, at, "incomplete_details", []byte(`{"reason":"max_output_tokens"}`))
		if _, ok := rawjson.Lookup(b, at, "completed_at"); ok {
			e.Set(b, at, "completed_at", rawjson.Null)
		}
	}
	if s.turn.kind != "failed" {
		s.closeTurn()
		s.remember()
		s.rememberWhole(e, b, at)
	}
}

// finalOutput is all that the client saw, as an array.
func (s *session) finalOutput() []byte {
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
func (s *session) closeTurn() {
	for _, i := range s.turn.items {
		switch {
		case i == nil || !s.stays(i):
		case i.own || i.index < 0:
			s.said = append(s.said, piece{raw: i.raw})
		default:
			s.said = append(s.said, piece{seen: i})
		}
	}
	for _, c := range s.calls {
		s.said = append(s.said, piece{raw: appendOutput(nil, c.callID, c.outputForModel())})
	}
}

// stays reports whether an item of the turn is part of the conversation that goes on: what is not complete is not, nor is a call
// without a result.
func (s *session) stays(i *outputItem) bool {
	return i.raw != nil && i.status != "incomplete" && (!i.own || i.runs)
}

// outputForModel is what the model is told that a call came to.
func (i *outputItem) outputForModel() []byte {
	if i.output == nil {
		return rawjson.AppendString(nil, notCompleted)
	}
	return i.output
}
