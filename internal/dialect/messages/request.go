package messages

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// requestFields is where a request's members stand that decide something. A member that is absent or null is not found.
type requestFields struct {
	model, messages, tools, toolChoice, stream, maxTokens, thinking, container, system rawjson.Span
}

// named finds a member by its name ("Create a Message" in Anthropic's API reference).
func (f *requestFields) named(name string) *rawjson.Span {
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
	case "system":
		return &f.system
	}
	return nil
}

// read finds the members. It returns false for a request that is to pass as it is, see rawjson.ReadFields, or has no messages.
func (f *requestFields) read(b []byte) bool {
	return rawjson.ReadFields(b, f.named) && f.messages.Found() && b[f.messages.Start] == '[' && (!f.tools.Found() || b[f.tools.Start] == '[') &&
		rawjson.Once(b, f.toolChoice, "type", "name")
}

// maxDeclared bounds the client's tools whose names are known.
const maxDeclared = 4096

// declare notes the names of the client's tools. It returns how many there are, or false when one has a member twice that matters.
func (s *session) declare(b []byte, list rawjson.Span) (tools int, ok bool) {
	for t := range rawjson.Elements(b, list) {
		tools++
		if !rawjson.Once(b, t, "type", "name") {
			return tools, false
		}
		if s.names.Full(tools-1) || tools > maxDeclared {
			continue // there is no room for Keyturn's
		}
		v, _ := rawjson.Lookup(b, t, "name")
		if name := rawjson.Word(v.Of(b)); name != "" {
			s.names.Declare(name)
		}
	}
	return tools, true
}

// offer puts Keyturn's tools before the client's: so they are part of every prefix that the client marks to be cached. A
// conversation that has begun gets the tools that it began with, byte for byte.
func (s *session) offer(e *rawjson.Edits, b []byte, f *requestFields, tools int) {
	list, instructions, begun := s.conversation.tools()
	if begun = begun && s.opts.Wanted(s.model, tools); !begun {
		list, instructions = nil, s.opts.Instructions
		for _, t := range s.opts.Offered(s.model, tools) {
			list = appendTool(rawjson.Separate(list), t)
		}
	}
	list = s.admit(list, tools)
	s.choice, s.clients = s.choiceOf(b, f.toolChoice), tools
	if s.choice == turn.ChoiceForeign && !begun || list == nil {
		s.names.Withdraw()
		list = nil
	}
	s.conversation.offers(list, instructions)
	if list == nil {
		return
	}
	s.instruct(e, b, f, instructions)
	s.reads = s.choice != turn.ChoiceForeign
	switch {
	case tools > 0:
		e.Insert(rawjson.SkipSpace(b, f.tools.Start+1), append(list, ','))
	case f.tools.Found():
		e.Insert(f.tools.Start+1, list)
	default:
		e.Set(b, rawjson.Whole(b), "tools", slices.Concat([]byte{'['}, list, []byte{']'}))
	}
}

// instruct puts the instructions of tools' servers after the client's.
func (s *session) instruct(e *rawjson.Edits, b []byte, f *requestFields, text string) {
	switch {
	case text == "":
	case !f.system.Found():
		e.Set(b, rawjson.Whole(b), "system", rawjson.AppendString(nil, text))
	case b[f.system.Start] == '"':
		e.Replace(f.system, rawjson.AppendString(nil, turn.After(rawjson.Unquote(f.system.Of(b)), text)))
	case b[f.system.Start] == '[':
		e.Push(b, f.system, append(rawjson.AppendString([]byte(`{"type":"text","text":`), text), '}'))
	}
}

// admit notes which of the definitions go in, and returns those: not one whose name the client gave a tool of its own, and no more
// than fit beside the client's. It returns nil when there are none.
func (s *session) admit(list []byte, tools int) []byte {
	list = slices.Concat([]byte{'['}, list, []byte{']'})
	var in []byte
	for at := range rawjson.Elements(list, rawjson.Whole(list)) {
		name, tool := rawjson.Text(list, at, "name"), turn.Tool{}
		if i := slices.IndexFunc(s.opts.Tools, func(t turn.Tool) bool { return t.Name == name }); i >= 0 {
			tool = s.opts.Tools[i]
		}
		if s.names.Offer(name, tool, tools) {
			in = append(rawjson.Separate(in), at.Of(list)...)
		}
	}
	return in
}

// appendTool appends a tool as Messages wants it.
func appendTool(dst []byte, t turn.Tool) []byte {
	dst = rawjson.AppendString(append(dst, `{"name":`...), t.Name)
	if t.Description != "" {
		dst = rawjson.AppendString(append(dst, `,"description":`...), t.Description)
	}
	dst = append(dst, `,"input_schema":`...)
	switch _, typed := rawjson.Lookup(t.Schema, rawjson.Whole(t.Schema), "type"); {
	case !rawjson.IsObject(t.Schema) || !rawjson.Valid(t.Schema):
		dst = append(dst, `{"type":"object"}`...)
	case !typed: // the API refuses the whole request without it
		var e rawjson.Edits
		e.Set(t.Schema, rawjson.Whole(t.Schema), "type", []byte(`"object"`))
		dst = e.Apply(dst, t.Schema)
	default:
		dst = append(dst, t.Schema...)
	}
	return append(dst, '}')
}

// choiceOf reads tool_choice.
func (s *session) choiceOf(b []byte, at rawjson.Span) turn.Choice {
	if !at.Found() {
		return turn.ChoiceAuto
	}
	switch rawjson.Text(b, at, "type") {
	case "auto":
		return turn.ChoiceAuto
	case "any":
		return turn.ChoiceRequired
	case "tool":
		if _, ok := s.names.Own(rawjson.Text(b, at, "name")); ok {
			return turn.ChoiceNamed
		}
	}
	return turn.ChoiceForeign
}

// budget reads how many tokens the client allows.
func (s *session) budget() {
	b, f := s.base, &s.fields
	s.limit, _ = rawjson.ParseInt(f.maxTokens.Of(b))
	// Where thinking may take more than max_tokens (it is interleaved), the limits are apart.
	if think := rawjson.Int(b, f.thinking, "budget_tokens"); f.thinking.Found() && think < s.limit {
		s.think = think
	}
}

// minThinking is the smallest thinking.budget_tokens that the API takes.
const minThinking = 1024

// Continue makes the next turn's request: the client's with what the model said after it, the results of its calls in one message,
// and what is left of max_tokens, which the API counts for each request. It returns false where nothing is left.
func (s *session) Continue(last bool) bool {
	left := s.left()
	if left < 1 {
		s.spent = true
		return false
	}
	s.output = rawjson.AddInts(s.output, s.result().Usage.Output)
	s.usage = slices.Clone(rawjson.AddNumbers(s.usage, s.used()))
	s.iterations = append(s.iterations, s.iteration()...)
	cameTo := s.close()
	s.said = append(appendAssistant(rawjson.Separate(s.said), cameTo.content), ',')
	s.said = appendUser(s.said, cameTo.results)
	s.request = s.following(left, last)
	s.number++
	s.last = last
	s.seam.open = true
	s.begins()
	return true
}

// allow notes the tokens of a turn. The API wants budget_tokens below max_tokens, and many clients send all but one token of it: the
// budget becomes what is left, or the least that there is. Thinking is not turned off, which other settings may need on; so the
// last tokens of a response may be that least more than the client allows.
func (s *session) allow(e *rawjson.Edits, left int64) {
	if s.limit <= 0 {
		return
	}
	if s.think > 0 && left <= s.think {
		budget := left - 1
		if budget < minThinking {
			budget = min(s.think, minThinking)
			left += budget
		}
		at, _ := rawjson.Lookup(s.base, s.fields.thinking, "budget_tokens")
		e.Replace(at, strconv.AppendInt(nil, budget, 10))
	}
	e.Replace(s.fields.maxTokens, strconv.AppendInt(nil, left, 10))
}

// appendAssistant appends a message of blocks that are joined by commas.
func appendAssistant(dst, content []byte) []byte {
	return append(append(append(dst, `{"role":"assistant","content":[`...), content...), `]}`...)
}

// appendUser appends a message of blocks.
func appendUser(dst []byte, blocks [][]byte) []byte {
	dst = append(dst, `{"role":"user","content":[`...)
	return append(append(dst, bytes.Join(blocks, rawjson.Comma)...), `]}`...)
}

// following is the next turn's request.
func (s *session) following(left int64, last bool) []byte {
	b, f := s.base, &s.fields
	var e rawjson.Edits
	e.Push(b, f.messages, s.said)
	switch s.names.Choose(s.choice, s.clients, last) {
	case turn.AsBefore:
	case turn.None:
		e.Set(b, rawjson.Whole(b), "tool_choice", []byte(`{"type":"none"}`))
	case turn.OnlyClients:
		for t := range rawjson.Elements(b, f.tools) {
			if _, own := s.names.Own(rawjson.Text(b, t, "name")); own {
				e.Drop(b, f.tools, t)
			}
		}
	case turn.Freely:
		for m := range rawjson.Members(b, f.toolChoice) {
			switch string(m.Name) {
			case "type":
				e.Replace(m.Val, []byte(`"auto"`))
			case "name":
				e.Remove(b, f.toolChoice, m)
			}
		}
	}
	s.allow(&e, left)
	if id, ok := rawjson.Lookup(s.container, rawjson.Whole(s.container), "id"); ok {
		if f.container.Found() && b[f.container.Start] == '{' {
			e.Set(b, f.container, "id", id.Of(s.container))
		} else {
			e.Set(b, rawjson.Whole(b), "container", id.Of(s.container))
		}
	}
	return e.Apply(make([]byte, 0, len(b)+len(s.said)+64), b)
}

// close notes what the turn that has ended adds to the conversation. A call without a result was not completed.
func (s *session) close() pastTurn {
	t := &s.turn
	var p pastTurn
	for _, b := range t.blocks {
		if b.own && !b.runs || b.blank() {
			continue
		}
		p.content = append(rawjson.Separate(p.content), b.json()...)
	}
	for i, r := range t.results {
		if r == nil {
			r = toolResult(t.calls[i].id, turn.Result{Error: &turn.ToolError{Message: "the call was not completed"}})
		}
		p.results = append(p.results, r)
	}
	s.past = append(s.past, p)
	return p
}
