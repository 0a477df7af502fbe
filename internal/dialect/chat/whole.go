package chat

import (
	"bytes"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// Whole implements turn.Session.
func (s *session) Whole(body []byte) turn.Turn {
	t := &s.turn
	t.answer, t.over = bytes.Clone(body), true
	s.body = t.answer
	if !rawjson.Valid(t.answer) {
		t.broken = true
		return s.result()
	}
	if isError(t.answer) {
		t.failure = failureOf(t.answer)
		return s.result()
	}
	choice, ok := onlyChoice(t.answer)
	message, some := rawjson.Lookup(t.answer, choice, "message")
	if !ok || !some || t.answer[message.Start] != '{' || !rawjson.Once(t.answer, message, "content", "tool_calls") {
		return s.result()
	}
	if list, _ := rawjson.Lookup(t.answer, message, "tool_calls"); more(t.answer, list, maxCalls) {
		return s.result()
	}
	s.readAnswer(choice, message)
	switch ours := t.ours(); {
	case len(ours) == 0:
		s.remember()
		s.body = s.merged("")
	case s.runs():
		t.run, t.mixed = ours, t.hasTheirs()
		s.name(ours)
		t.message = s.echo(message)
		s.withhold()
	default:
		s.remember()
		s.body = s.merged(s.reasonWithout())
	}
	return s.result()
}

// isError reports whether a body is an error, within an array too.
func isError(b []byte) bool {
	at := rawjson.Whole(b)
	for first := range rawjson.Elements(b, at) {
		at = first
		break
	}
	if rawjson.Text(b, at, "object") == "error" {
		return true
	}
	v, ok := rawjson.Lookup(b, at, "error")
	_, answered := rawjson.Lookup(b, at, "choices")
	return ok && !rawjson.IsNull(v.Of(b)) && !answered
}

// onlyChoice is the answer's choice, if there is one alone and no member of it stands twice that matters.
func onlyChoice(b []byte) (choice rawjson.Span, ok bool) {
	list, _ := rawjson.Lookup(b, rawjson.Whole(b), "choices")
	n := 0
	for at := range rawjson.Elements(b, list) {
		choice, n = at, n+1
	}
	return choice, n == 1 && rawjson.Once(b, rawjson.Whole(b), "id", "created", "model", "system_fingerprint", "choices", "usage") &&
		rawjson.Once(b, choice, "message", "finish_reason", "logprobs")
}

// readAnswer keeps what the answer has.
func (s *session) readAnswer(choice, message rawjson.Span) {
	t := &s.turn
	b := t.answer
	t.model, t.reason = rawjson.Text(b, rawjson.Whole(b), "model"), rawjson.Text(b, choice, "finish_reason")
	if v, ok := rawjson.Lookup(b, rawjson.Whole(b), "usage"); ok && b[v.Start] == '{' {
		t.usage = v.Of(b)
	}
	value := func(name string) []byte {
		if v, ok := rawjson.Lookup(b, rawjson.Whole(b), name); ok {
			return v.Of(b)
		}
		return nil
	}
	if s.number == 1 {
		s.known = identity{value("id"), value("created"), value("model"), value("system_fingerprint")}
	}
	if v, ok := rawjson.Lookup(b, choice, "logprobs"); ok {
		for m := range rawjson.Members(b, v) {
			t.logprobs = collect(t.logprobs, m.Name, m.Val.Of(b))
		}
	}
	for m := range rawjson.Members(b, message) {
		switch string(m.Name) {
		case "role", "function_call":
		case "tool_calls":
			for at := range rawjson.Elements(b, m.Val) {
				t.calls = append(t.calls, s.wholeCall(b, at))
			}
		default:
			t.fields = gather(t.fields, m.Name, m.Val.Of(b))
		}
	}
}

// gather adds a member that is in one piece.
func gather(list []field, name, raw []byte) []field {
	if raw[0] != '[' {
		return collect(list, name, raw)
	}
	if len(list) >= maxFields {
		return list
	}
	f := field{name: string(name), kind: '['}
	if inside := bytes.TrimSpace(raw[1 : len(raw)-1]); len(inside) > 0 {
		f.elements = []element{{raw: slices.Clip(inside)}}
	}
	return append(list, f)
}

// more reports whether an array has more than n elements.
func more(b []byte, at rawjson.Span, n int) bool {
	for range rawjson.Elements(b, at) {
		if n--; n < 0 {
			return true
		}
	}
	return false
}

// wholeCall is a call that is in one piece.
func (s *session) wholeCall(b []byte, at rawjson.Span) *toolCall {
	c := &toolCall{owner: turn.Client, id: rawjson.Text(b, at, "id"), element: at.Of(b)}
	name := rawjson.Text(b, at, "function", "name")
	if strings.TrimSpace(name) == "" || s.names.Owner(strings.TrimSpace(name)) != turn.Keyturn {
		return c
	}
	c.owner, c.name, s.called = turn.Keyturn, name, true
	if v, ok := rawjson.Lookup(b, at, "function", "arguments"); ok {
		switch raw := v.Of(b); raw[0] {
		case '"':
			c.args.Add(raw[1 : len(raw)-1])
		case '{':
			c.args.AddObject(raw)
		}
	}
	if c.args.Len() == 0 { // nothing can have been lost on the way
		c.args.Add([]byte("{}"))
	}
	return c
}

// echo is the answer's message as it goes back to the provider: byte for byte, but for what requests refuse and what OpenAI's own
// answers would not lack.
func (s *session) echo(message rawjson.Span) []byte {
	t, b := &s.turn, s.turn.answer
	var e rawjson.Edits
	if !rawjson.Once(b, message, "role") || rawjson.Text(b, message, "role") == "" {
		e.Set(b, message, "role", []byte(`"assistant"`))
	}
	if id := rawjson.Text(b, message, "audio", "id"); id != "" {
		e.Set(b, message, "audio", append(rawjson.AppendString([]byte(`{"id":`), id), '}'))
	}
	list, _ := rawjson.Lookup(b, message, "tool_calls")
	i := 0
	for at := range rawjson.Elements(b, list) {
		c := t.calls[i]
		i++
		if c.owner != turn.Keyturn {
			continue
		}
		raw := c.element
		var own rawjson.Edits
		if rawjson.Text(raw, rawjson.Whole(raw), "id") != c.id {
			own.Set(raw, rawjson.Whole(raw), "id", rawjson.AppendString(nil, c.id))
		}
		function, _ := rawjson.Lookup(raw, rawjson.Whole(raw), "function")
		if name := strings.TrimSpace(c.name); name != c.name {
			own.Set(raw, function, "name", rawjson.AppendString(nil, name))
		}
		args := c.appendArguments(nil)
		if v, ok := rawjson.Lookup(raw, function, "arguments"); !ok || !bytes.Equal(v.Of(raw), args) {
			own.Set(raw, function, "arguments", args)
		}
		c.element = own.Apply(nil, raw)
		e.Replace(at, c.element)
	}
	return e.ApplyTo(nil, b, message)
}

// merged is the client's answer: the last turn's with what those before it said, as a stream of them would have come to. Reason takes
// the place of finish_reason unless it is "".
func (s *session) merged(reason string) []byte {
	t, b := &s.turn, s.turn.answer
	if s.number == 1 && !t.hasOurs() {
		return b
	}
	var e rawjson.Edits
	if s.number > 1 {
		for _, m := range [...]struct {
			name string
			with []byte
		}{{"id", s.known.id}, {"created", s.known.created}, {"model", s.known.model}, {"system_fingerprint", s.known.fingerprint}} {
			if v, ok := rawjson.Lookup(b, rawjson.Whole(b), m.name); ok && m.with != nil {
				e.Replace(v, m.with)
			}
		}
	}
	if s.usage != nil && (s.opts.Counting.Sums(false) || t.usage == nil) {
		e.Set(b, rawjson.Whole(b), "usage", rawjson.AddNumbers(s.usage, t.usage))
	}
	choice, _ := onlyChoice(b)
	message, _ := rawjson.Lookup(b, choice, "message")
	s.mergeSaid(&e, message)
	if len(s.logprobs) > 0 {
		all := appendFields(nil, concat(slices.Clone(s.logprobs), t.logprobs))
		all[0] = '{'
		e.Set(b, choice, "logprobs", append(all, '}'))
	}
	s.withoutCalls(&e, message)
	if reason != "" {
		e.Set(b, choice, "finish_reason", rawjson.AppendString(nil, reason))
	}
	return e.Apply(nil, b)
}

// mergeSaid puts what earlier turns said before what the last one says.
func (s *session) mergeSaid(e *rawjson.Edits, message rawjson.Span) {
	t, b := &s.turn, s.turn.answer
	places := map[string]rawjson.Span{}
	for m := range rawjson.Members(b, message) {
		if fieldOf(s.said, string(m.Name)) != nil {
			places[string(m.Name)] = m.Val
		}
	}
	var members []byte
	offset := spoken(s.said)
	if f := fieldOf(t.fields, annotations); f != nil && offset > 0 && fieldOf(s.said, annotations) == nil {
		if at, ok := rawjson.Lookup(b, message, annotations); ok && b[at.Start] == '[' {
			e.Replace(at, moved(at.Of(b), offset))
		}
	}
	for i := range s.said {
		f := s.said[i]
		if f.kind == '"' && len(f.raw) == 0 || f.kind == '[' && len(f.elements) == 0 {
			continue
		}
		f.raw, f.elements = slices.Clone(f.raw), slices.Clone(f.elements)
		both := []field{f}
		if last := fieldOf(t.fields, f.name); last != nil {
			next := *last
			if f.name == annotations {
				next = next.moved(offset)
			}
			both = concat(both, []field{next})
		}
		if at, ok := places[f.name]; ok {
			e.Replace(at, both[0].appendTo(nil))
			continue
		}
		members = append(rawjson.AppendString(rawjson.Separate(members), f.name), ':')
		members = both[0].appendTo(members)
	}
	e.Push(b, message, members)
}

// withoutCalls takes Keyturn's calls out of the message.
func (s *session) withoutCalls(e *rawjson.Edits, message rawjson.Span) {
	t, b := &s.turn, s.turn.answer
	if !t.hasOurs() {
		return
	}
	for m := range rawjson.Members(b, message) {
		if string(m.Name) != "tool_calls" {
			continue
		}
		if !t.hasTheirs() {
			e.Remove(b, message, m)
			continue
		}
		i := 0
		for at := range rawjson.Elements(b, m.Val) {
			if t.calls[i].owner == turn.Keyturn {
				e.Drop(b, m.Val, at)
			}
			i++
		}
	}
}
