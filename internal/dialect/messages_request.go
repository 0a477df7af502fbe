package dialect

import (
	"bytes"
	"slices"
	"strconv"
)

// messagesFields is where a request's members stand that decide something. A member that is absent or null is not found.
type messagesFields struct {
	model, messages, tools, toolChoice, stream, maxTokens, thinking, container span
}

// named finds a member by its name ("Create a Message" in Anthropic's API reference).
func (f *messagesFields) named(name string) *span {
	switch name {
	case "model":
		return &f.model
	case "messages":
		return &f.messages
	case "tools":
		return &f.tools
	case "tool_choice":
		return &f.toolChoice
	case "stream":
		return &f.stream
	case "max_tokens":
		return &f.maxTokens
	case "thinking":
		return &f.thinking
	case "container":
		return &f.container
	}
	return nil
}

// read finds the members. It returns false for what is none of Keyturn's business, or has no messages; see readFields.
func (f *messagesFields) read(b []byte) bool {
	return readFields(b, f.named) && f.messages.found() && b[f.messages.start] == '[' && (!f.tools.found() || b[f.tools.start] == '[') &&
		once(b, f.toolChoice, "type", "name")
}

// declare notes the names of the client's tools. It returns how many there are, or false when one has a member twice that matters.
func (s *messages) declare(b []byte, list span) (tools int, ok bool) {
	for t := range elements(b, list) {
		tools++
		if !once(b, t, "type", "name") {
			return tools, false
		}
		if name := text(b, t, "name"); name != "" {
			s.declared[name] = struct{}{}
		}
	}
	return tools, true
}

// offer puts Keyturn's tools before the client's: so they are part of every prefix that the client marks to be cached. A
// conversation that has begun gets the tools that it began with, byte for byte.
func (s *messages) offer(e *edits, b []byte, f *messagesFields, tools int) {
	list, begun := s.talk.tools()
	if !begun {
		list = nil
		for _, t := range s.opts.Tools {
			list = appendMessagesTool(join(list), t)
		}
	}
	list = s.admit(list, tools)
	s.choice = s.choiceOf(b, f.toolChoice)
	if s.choice == choiceForeign && !begun || list == nil {
		clear(s.own)
		list = nil
	}
	s.talk.offers(list)
	if list == nil {
		return
	}
	s.reads = s.choice != choiceForeign
	switch {
	case tools > 0:
		e.insert(skipSpace(b, f.tools.start+1), append(list, ','))
	case f.tools.found():
		e.insert(f.tools.start+1, list)
	default:
		e.set(b, whole(b), "tools", slices.Concat([]byte{'['}, list, []byte{']'}))
	}
}

// admit notes which of the definitions go in, and returns those: not one whose name the client gave a tool of its own, and no more
// than fit beside the client's. It returns nil when there are none.
func (s *messages) admit(list []byte, tools int) []byte {
	list = slices.Concat([]byte{'['}, list, []byte{']'})
	var in []byte
	for t := range elements(list, whole(list)) {
		name := text(list, t, "name")
		if _, theirs := s.declared[name]; theirs || tools+len(s.own) >= maxTools {
			continue
		}
		s.own[name] = Tool{}
		in = append(join(in), t.of(list)...)
	}
	for _, t := range s.opts.Tools {
		if _, ok := s.own[t.Name]; ok {
			s.own[t.Name] = t
		}
	}
	return in
}

// appendMessagesTool appends a tool as Messages wants it.
func appendMessagesTool(dst []byte, t Tool) []byte {
	dst = appendString(append(dst, `{"name":`...), t.Name)
	if t.Description != "" {
		dst = appendString(append(dst, `,"description":`...), t.Description)
	}
	dst = append(dst, `,"input_schema":`...)
	switch _, typed := lookup(t.Schema, whole(t.Schema), "type"); {
	case !isObject(t.Schema) || !validJSON(t.Schema):
		dst = append(dst, `{"type":"object"}`...)
	case !typed: // the API refuses the whole request without it
		var e edits
		e.set(t.Schema, whole(t.Schema), "type", []byte(`"object"`))
		dst = e.apply(dst, t.Schema)
	default:
		dst = append(dst, t.Schema...)
	}
	return append(dst, '}')
}

// choiceOf reads tool_choice.
func (s *messages) choiceOf(b []byte, at span) choice {
	if !at.found() {
		return choiceAuto
	}
	switch text(b, at, "type") {
	case "auto":
		return choiceAuto
	case "any":
		return choiceRequired
	case "tool":
		if _, ok := s.own[text(b, at, "name")]; ok {
			return choiceNamed
		}
	}
	return choiceForeign
}

// budget reads how many tokens the client allows.
func (s *messages) budget() {
	b, f := s.base, &s.fields
	s.limit, _ = integer(f.maxTokens.of(b))
	// Where thinking may take more than max_tokens (it is interleaved), the limits are apart.
	if think := count(b, f.thinking, "budget_tokens"); f.thinking.found() && think < s.limit {
		s.think = think
	}
}

// Continue makes the next turn's request: the client's with what the model said after it, the results of its calls in one message,
// and what is left of max_tokens, which the API counts for each request. Is there nothing left, or so little that
// thinking.budget_tokens is not below it, as the API demands, then the response is over: thinking is not cut down unasked.
func (s *messages) Continue(last bool) bool {
	s.output = plus(s.output, s.result().Usage.Output)
	left := s.limit - s.output
	if s.limit > 0 && (left < 1 || left <= s.think) {
		s.spent = true
		return false
	}
	s.usage = slices.Clone(addNumbers(s.usage, fillNumbers(s.turn.end, s.turn.begin)))
	turn := s.close()
	s.said = append(appendAssistant(join(s.said), turn.content), ',')
	s.said = appendUser(s.said, turn.results)
	s.request = s.following(left, last)
	s.number++
	s.begins()
	return true
}

// appendAssistant appends a message of blocks that are joined by commas.
func appendAssistant(dst, content []byte) []byte {
	return append(append(append(dst, `{"role":"assistant","content":[`...), content...), `]}`...)
}

// appendUser appends a message of blocks.
func appendUser(dst []byte, blocks [][]byte) []byte {
	dst = append(dst, `{"role":"user","content":[`...)
	return append(append(dst, bytes.Join(blocks, comma)...), `]}`...)
}

// following is the next turn's request.
func (s *messages) following(left int64, last bool) []byte {
	b, f := s.base, &s.fields
	var e edits
	e.push(b, f.messages, s.said)
	switch {
	case last:
		e.set(b, whole(b), "tool_choice", []byte(`{"type":"none"}`)) // the tools stay, and with them the provider's cache
	case s.choice == choiceRequired, s.choice == choiceNamed: // or the model would never answer
		for m := range members(b, f.toolChoice) {
			switch string(m.name) {
			case "type":
				e.replace(m.val, []byte(`"auto"`))
			case "name":
				e.remove(b, f.toolChoice, m)
			}
		}
	}
	if s.limit > 0 {
		e.replace(f.maxTokens, strconv.AppendInt(nil, left, 10))
	}
	if id, ok := lookup(s.container, whole(s.container), "id"); ok {
		if f.container.found() && b[f.container.start] == '{' {
			e.set(b, f.container, "id", id.of(s.container))
		} else {
			e.set(b, whole(b), "container", id.of(s.container))
		}
	}
	return e.apply(make([]byte, 0, len(b)+len(s.said)+64), b)
}

// close notes what the turn that has ended adds to the conversation. A call without a result was not completed.
func (s *messages) close() messagesPast {
	t := &s.turn
	var p messagesPast
	for _, b := range t.blocks {
		if b.own && !slices.Contains(t.calls, b) || b.blank() {
			continue
		}
		p.content = append(join(p.content), b.json()...)
	}
	for i, r := range t.results {
		if r == nil {
			r = toolResult(t.calls[i].id, Result{Error: &ToolError{Message: "the call was not completed"}})
		}
		p.results = append(p.results, r)
	}
	s.past = append(s.past, p)
	return p
}
