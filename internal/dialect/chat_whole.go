package dialect

import (
	"bytes"
	"slices"
	"strings"
)

// Whole implements Session.
func (s *chat) Whole(body []byte) Turn {
	t := &s.turn
	t.answer, t.over, t.revealed = bytes.Clone(body), true, true
	s.body = t.answer
	if !validJSON(t.answer) {
		t.broken = true
		return s.result()
	}
	if isChatError(t.answer) {
		t.failure = failureOf(t.answer)
		return s.result()
	}
	choice, ok := onlyChoice(t.answer)
	message, some := lookup(t.answer, choice, "message")
	if !ok || !some || t.answer[message.start] != '{' || !once(t.answer, message, "content", "tool_calls") {
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
	default:
		s.remember()
		s.body = s.merged(s.reasonWithout())
	}
	return s.result()
}

// isChatError reports whether a body is an error, within an array too.
func isChatError(b []byte) bool {
	at := whole(b)
	for first := range elements(b, at) {
		at = first
		break
	}
	if text(b, at, "object") == "error" {
		return true
	}
	v, ok := lookup(b, at, "error")
	_, answered := lookup(b, at, "choices")
	return ok && !isNull(v.of(b)) && !answered
}

// onlyChoice is the answer's choice, if there is one alone and no member of it stands twice that matters.
func onlyChoice(b []byte) (choice span, ok bool) {
	list, _ := lookup(b, whole(b), "choices")
	n := 0
	for at := range elements(b, list) {
		choice, n = at, n+1
	}
	return choice, n == 1 && once(b, whole(b), "id", "created", "model", "system_fingerprint", "choices", "usage") &&
		once(b, choice, "message", "finish_reason", "logprobs")
}

// readAnswer keeps what the answer has.
func (s *chat) readAnswer(choice, message span) {
	t := &s.turn
	b := t.answer
	t.model, t.reason = text(b, whole(b), "model"), text(b, choice, "finish_reason")
	if v, ok := lookup(b, whole(b), "usage"); ok && b[v.start] == '{' {
		t.usage = v.of(b)
	}
	value := func(name string) []byte {
		if v, ok := lookup(b, whole(b), name); ok {
			return v.of(b)
		}
		return nil
	}
	if s.number == 1 {
		s.known = chatIdentity{value("id"), value("created"), value("model"), value("system_fingerprint")}
	}
	if v, ok := lookup(b, choice, "logprobs"); ok {
		for m := range members(b, v) {
			t.logprobs = collect(t.logprobs, m.name, m.val.of(b))
		}
	}
	for m := range members(b, message) {
		switch string(m.name) {
		case "role", "function_call":
		case "tool_calls":
			for at := range elements(b, m.val) {
				t.calls = append(t.calls, s.wholeCall(b, at))
			}
		default:
			t.fields = gather(t.fields, m.name, m.val.of(b))
		}
	}
}

// gather adds a member that is in one piece.
func gather(list []chatField, name, raw []byte) []chatField {
	if raw[0] != '[' {
		return collect(list, name, raw)
	}
	f := chatField{name: string(name), kind: '['}
	for at := range elements(raw, whole(raw)) {
		f.elements = append(f.elements, chatElement{raw: at.of(raw)})
	}
	return append(list, f)
}

// wholeCall is a call that is in one piece.
func (s *chat) wholeCall(b []byte, at span) *chatCall {
	c := &chatCall{owner: chatTheirs, id: text(b, at, "id"), element: at.of(b)}
	name := text(b, at, "function", "name")
	if strings.TrimSpace(name) == "" || s.owner(strings.TrimSpace(name)) != chatOurs {
		return c
	}
	c.owner, c.name, s.called = chatOurs, name, true
	if v, ok := lookup(b, at, "function", "arguments"); ok {
		switch raw := v.of(b); raw[0] {
		case '"':
			c.args = raw[1 : len(raw)-1]
		case '{': // as an object, not as its text
			text := appendString(nil, raw)
			c.args = text[1 : len(text)-1]
		}
	}
	return c
}

// echo is the answer's message as it goes back to the provider: byte for byte, but for what requests refuse and what OpenAI's own
// answers would not lack.
func (s *chat) echo(message span) []byte {
	t, b := &s.turn, s.turn.answer
	var e edits
	if !once(b, message, "role") || text(b, message, "role") == "" {
		e.set(b, message, "role", []byte(`"assistant"`))
	}
	if id := text(b, message, "audio", "id"); id != "" {
		e.set(b, message, "audio", append(appendString([]byte(`{"id":`), id), '}'))
	}
	list, _ := lookup(b, message, "tool_calls")
	i := 0
	for at := range elements(b, list) {
		c := t.calls[i]
		i++
		if c.owner != chatOurs {
			continue
		}
		raw := c.element
		var own edits
		if text(raw, whole(raw), "id") != c.id {
			own.set(raw, whole(raw), "id", appendString(nil, c.id))
		}
		function, _ := lookup(raw, whole(raw), "function")
		if name := strings.TrimSpace(c.name); name != c.name {
			own.set(raw, function, "name", appendString(nil, name))
		}
		if v, ok := lookup(raw, function, "arguments"); !ok || raw[v.start] != '"' || len(c.args) == 0 {
			args := quoted(c.args)
			if len(c.args) == 0 {
				args = []byte(`"{}"`)
			}
			own.set(raw, function, "arguments", args)
		}
		c.element = own.apply(nil, raw)
		e.replace(at, c.element)
	}
	return e.applyTo(nil, b, message)
}

// merged is the client's answer: the last turn's with what those before it said, as a stream of them would have come to. Reason takes
// the place of finish_reason unless it is "".
func (s *chat) merged(reason string) []byte {
	t, b := &s.turn, s.turn.answer
	if s.number == 1 && !t.hasOurs() {
		return b
	}
	var e edits
	if s.number > 1 {
		for _, m := range [...]struct {
			name string
			with []byte
		}{{"id", s.known.id}, {"created", s.known.created}, {"model", s.known.model}, {"system_fingerprint", s.known.fingerprint}} {
			if v, ok := lookup(b, whole(b), m.name); ok && m.with != nil {
				e.replace(v, m.with)
			}
		}
	}
	if s.usage != nil {
		e.set(b, whole(b), "usage", addNumbers(s.usage, t.usage))
	}
	choice, _ := onlyChoice(b)
	message, _ := lookup(b, choice, "message")
	for i := range s.said {
		f := s.said[i]
		if f.kind == '"' && len(f.raw) == 0 || f.kind == '[' && len(f.elements) == 0 {
			continue
		}
		f.raw, f.elements = slices.Clone(f.raw), slices.Clone(f.elements)
		both := []chatField{f}
		if last := fieldOf(t.fields, f.name); last != nil {
			both = concat(both, []chatField{*last})
		}
		e.set(b, message, f.name, both[0].appendTo(nil))
	}
	if len(s.logprobs) > 0 {
		all := appendFields(nil, concat(slices.Clone(s.logprobs), t.logprobs))
		all[0] = '{'
		e.set(b, choice, "logprobs", append(all, '}'))
	}
	s.withoutCalls(&e, message)
	if reason != "" {
		e.set(b, choice, "finish_reason", appendString(nil, reason))
	}
	return e.apply(nil, b)
}

// withoutCalls takes Keyturn's calls out of the message.
func (s *chat) withoutCalls(e *edits, message span) {
	t, b := &s.turn, s.turn.answer
	if !t.hasOurs() {
		return
	}
	for m := range members(b, message) {
		if string(m.name) != "tool_calls" {
			continue
		}
		if !t.hasTheirs() {
			e.remove(b, message, m)
			continue
		}
		i := 0
		for at := range elements(b, m.val) {
			if t.calls[i].owner == chatOurs {
				e.drop(b, m.val, at)
			}
			i++
		}
	}
}
