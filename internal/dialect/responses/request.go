package responses

import (
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// requestFields is where a request's members stand that decide something. A member that is absent or null is not found.
type requestFields struct {
	model, input, tools, toolChoice, stream, background rawjson.Span
	store, previous, conversation, include, reasoning   rawjson.Span
	maxOutputTokens, maxToolCalls, parallel             rawjson.Span
	instructions, user, safetyIdentifier                rawjson.Span
}

// named is where the member of a name is kept, nil for the others ("Create a model response" in OpenAI's API reference).
func (f *requestFields) named(name string) *rawjson.Span {
	switch name {
	case "model":
		return &f.model
	case "input":
		return &f.input
	case "tools":
		return &f.tools
	case "tool_choice":
		return &f.toolChoice
	case "stream":
		return &f.stream
	case "background":
		return &f.background
	case "store":
		return &f.store
	case "previous_response_id":
		return &f.previous
	case "conversation":
		return &f.conversation
	case "include":
		return &f.include
	case "reasoning":
		return &f.reasoning
	case "max_output_tokens":
		return &f.maxOutputTokens
	case "max_tool_calls":
		return &f.maxToolCalls
	case "parallel_tool_calls":
		return &f.parallel
	case "instructions":
		return &f.instructions
	case "user":
		return &f.user
	case "safety_identifier":
		return &f.safetyIdentifier
	}
	return nil
}

// read finds the members. It returns false for a request that is to pass as it is; see rawjson.ReadFields.
func (f *requestFields) read(b []byte) bool { return rawjson.ReadFields(b, f.named) }

// stateful reports whether the request goes on from what the provider has stored: its input is only what is new.
func (f *requestFields) stateful() bool { return f.previous.Found() || f.conversation.Found() }

// choiceOf reads tool_choice.
func choiceOf(b []byte, at rawjson.Span, names *turn.Names) turn.Choice {
	if !at.Found() {
		return turn.ChoiceAuto
	}
	switch rawjson.Unquote(at.Of(b)) {
	case "auto":
		return turn.ChoiceAuto
	case "required":
		return turn.ChoiceRequired
	}
	switch rawjson.Text(b, at, "type") {
	case "function":
		if _, ok := names.Own(rawjson.Text(b, at, "name")); ok && rawjson.Once(b, at, "type", "name") {
			return turn.ChoiceNamed
		}
	case "allowed_tools":
		list, _ := rawjson.Lookup(b, at, "tools")
		if !rawjson.Once(b, at, "type", "tools", "mode") {
			return turn.ChoiceForeign
		}
		for t := range rawjson.Elements(b, list) {
			if _, ok := names.Own(rawjson.Text(b, t, "name")); ok && rawjson.Text(b, t, "type") == "function" {
				return turn.ChoiceAllowed
			}
		}
	}
	return turn.ChoiceForeign
}

// declare notes the names of the tools that the client declares in an array of tools, those within namespaces too. It returns how
// many tools the array has, or false when one of them has a member twice that matters, or there are more than anybody has.
func (s *session) declare(b []byte, list rawjson.Span, depth int) (tools int, ok bool) {
	for t := range rawjson.Elements(b, list) {
		tools++
		if !rawjson.Once(b, t, "type", "name", "tools") || s.names.Declared() > maxDeclared {
			return tools, false
		}
		v := rawjson.Values(b, t, "name", "tools")
		if name := rawjson.Word(v[0].Of(b)); name != "" {
			s.names.Declare(name)
		}
		if !v[1].Found() {
			continue
		}
		if depth == maxNamespaces {
			return tools, false
		}
		if _, ok := s.declare(b, v[1], depth+1); !ok {
			return tools, false
		}
	}
	return tools, true
}

// Bounds of the tools that a client declares. The API takes 128 at the top level, and namespaces in none.
const (
	maxDeclared   = 4096
	maxNamespaces = 4 // within each other
)

// offer decides which of Keyturn's tools go into the request, and returns their definitions, joined by commas; none when the request
// rules them out.
func (s *session) offer(b []byte, f *requestFields, items []inputItem) []byte {
	if f.tools.Found() && b[f.tools.Start] != '[' || string(f.background.Of(b)) == "true" {
		return nil
	}
	has, ok := s.declare(b, f.tools, 0)
	if !ok {
		return nil
	}
	// Items can bring tools too: additional_tools, and what a tool search found.
	for i := range items {
		if _, ok := s.declare(b, items[i].tools, 0); !ok {
			return nil
		}
	}
	s.clients = max(has, s.names.Declared())
	var list []byte
	for _, t := range s.opts.Offered(s.model, s.clients) {
		if s.names.Offer(t.Name, t, has) {
			list = appendFunction(rawjson.Separate(list), t)
		}
	}
	if list == nil || choiceOf(b, f.toolChoice, &s.names) == turn.ChoiceForeign {
		s.names.Withdraw()
		return nil
	}
	return list
}

// appendFunction appends a tool as Responses wants it. It is not strict: strict mode refuses most schemas of MCP servers.
func appendFunction(dst []byte, t turn.Tool) []byte {
	dst = append(dst, `{"type":"function","name":`...)
	dst = rawjson.AppendString(dst, t.Name)
	dst = append(dst, `,"description":`...)
	dst = rawjson.AppendString(dst, t.Description)
	dst = append(dst, `,"parameters":`...)
	if rawjson.IsObject(t.Schema) && rawjson.Valid(t.Schema) {
		dst = append(dst, t.Schema...)
	} else {
		dst = append(dst, `{"type":"object","properties":{}}`...)
	}
	return append(dst, `,"strict":false}`...)
}

const encryptedReasoning = "reasoning.encrypted_content"

// inject notes what the tools change in the request.
func (s *session) inject(e *rawjson.Edits, b []byte, f *requestFields, tools []byte) {
	all := append(append([]byte{'['}, tools...), ']')
	switch {
	case f.tools.Found():
		e.Push(b, f.tools, tools)
	default:
		e.Set(b, rawjson.Whole(b), "tools", all)
	}
	s.instruct(e, b, f)
	// What is not stored can only be sent back encrypted. The API does that by itself now; older deployments want to be asked, and
	// refuse to be where the model does not reason.
	if string(f.store.Of(b)) != "false" || !reasons(b, f) {
		return
	}
	for v := range rawjson.Elements(b, f.include) {
		if rawjson.Unquote(v.Of(b)) == encryptedReasoning {
			return
		}
	}
	switch {
	case !f.include.Found():
		e.Set(b, rawjson.Whole(b), "include", []byte(`["`+encryptedReasoning+`"]`))
	case b[f.include.Start] == '[':
		e.Push(b, f.include, []byte(`"`+encryptedReasoning+`"`))
	}
}

// reasons reports whether the model surely reasons: the request says how, or its name tells (o3, gpt-5-mini, not gpt-5-chat-latest).
func reasons(b []byte, f *requestFields) bool {
	if f.reasoning.Found() {
		return true
	}
	model := rawjson.Unquote(f.model.Of(b))
	model = model[strings.LastIndexByte(model, '/')+1:]
	digit := func(s, from string) bool { return s != "" && s[0] >= from[0] && s[0] <= '9' }
	if version, ok := strings.CutPrefix(model, "gpt-"); ok {
		return digit(version, "5") && !strings.Contains(version, "chat")
	}
	version, ok := strings.CutPrefix(model, "o")
	return ok && digit(version, "1")
}

// instruct puts the instructions of tools' servers after the client's. A response tells the client its own.
func (s *session) instruct(e *rawjson.Edits, b []byte, f *requestFields) {
	text := s.opts.Instructions
	switch {
	case text == "" || f.instructions.Found() && b[f.instructions.Start] != '"':
		return
	case f.instructions.Found():
		s.instructions = slices.Clone(f.instructions.Of(b))
		text = turn.After(rawjson.Unquote(s.instructions), text)
	default:
		s.instructions = rawjson.Null
	}
	e.Set(b, rawjson.Whole(b), "instructions", rawjson.AppendString(nil, text))
}
