package dialect

import (
	"strings"
)

// maxTools is how many tools a request may have: OpenAI refuses more.
const maxTools = 128

// responsesFields is where a request's members stand that decide something. A member that is absent or null is not found.
type responsesFields struct {
	model, input, tools, toolChoice, stream, background span
	store, previous, conversation, include, reasoning   span
	maxOutputTokens, maxToolCalls, parallel             span
	instructions, user, safetyIdentifier                span
}

// named is where the member of a name is kept, nil for the others ("Create a model response" in OpenAI's API reference).
func (f *responsesFields) named(name string) *span {
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

// read finds the members. It returns false for what is none of Keyturn's business; see readFields.
func (f *responsesFields) read(b []byte) bool { return readFields(b, f.named) }

// stateful reports whether the request goes on from what the provider has stored: its input is only what is new.
func (f *responsesFields) stateful() bool { return f.previous.found() || f.conversation.found() }

// choice is what a request's tool_choice means for Keyturn's tools.
type choice uint8

const (
	choiceAuto     choice = iota // the model may call them
	choiceRequired               // the model must call some tool
	choiceNamed                  // it must call one of Keyturn's
	choiceAllowed                // allowed_tools with one of Keyturn's among them
	choiceForeign                // it cannot call Keyturn's: none, one of the client's or the provider's own tools, or unknown
)

// choiceOf reads tool_choice. Names are those of Keyturn's tools.
func choiceOf(b []byte, at span, own map[string]Tool) choice {
	if !at.found() {
		return choiceAuto
	}
	switch unquote(at.of(b)) {
	case "auto":
		return choiceAuto
	case "required":
		return choiceRequired
	}
	switch text(b, at, "type") {
	case "function":
		if _, ok := own[text(b, at, "name")]; ok && once(b, at, "type", "name") {
			return choiceNamed
		}
	case "allowed_tools":
		list, _ := lookup(b, at, "tools")
		for t := range elements(b, list) {
			if _, ok := own[text(b, t, "name")]; ok && text(b, t, "type") == "function" && once(b, at, "type", "tools", "mode") {
				return choiceAllowed
			}
		}
	}
	return choiceForeign
}

// once reports whether none of the names stands twice in an object.
func once(b []byte, at span, names ...string) bool {
	seen := 0
	for m := range members(b, at) {
		for i, name := range names {
			if string(m.name) != name {
				continue
			}
			if seen&(1<<i) != 0 {
				return false
			}
			seen |= 1 << i
		}
	}
	return true
}

// declare notes the names of the tools that the client declares in an array of tools, those within namespaces too. It returns how
// many tools the array has, or false when one of them has a member twice that matters.
func (s *responses) declare(b []byte, list span) (tools int, ok bool) {
	for t := range elements(b, list) {
		tools++
		if !once(b, t, "type", "name", "tools") {
			return tools, false
		}
		if name := text(b, t, "name"); name != "" {
			s.declared[name] = struct{}{}
		}
		if inner, has := lookup(b, t, "tools"); has {
			if _, ok := s.declare(b, inner); !ok {
				return tools, false
			}
		}
	}
	return tools, true
}

// offer decides which of Keyturn's tools go into the request, and returns their definitions, joined by commas; none when the request
// rules them out.
func (s *responses) offer(b []byte, f *responsesFields, items []inputItem) []byte {
	if f.tools.found() && b[f.tools.start] != '[' || string(f.background.of(b)) == "true" {
		return nil
	}
	has, ok := s.declare(b, f.tools)
	if !ok {
		return nil
	}
	// Items can bring tools too: additional_tools, and what a tool search found.
	for i := range items {
		if _, ok := s.declare(b, items[i].tools); !ok {
			return nil
		}
	}
	var list []byte
	for _, t := range s.opts.Tools {
		if _, theirs := s.declared[t.Name]; theirs || has >= maxTools {
			continue
		}
		has++
		s.own[t.Name] = t
		if list != nil {
			list = append(list, ',')
		}
		list = appendFunction(list, t)
	}
	if list == nil || choiceOf(b, f.toolChoice, s.own) == choiceForeign {
		clear(s.own)
		return nil
	}
	return list
}

// appendFunction appends a tool as Responses wants it. It is not strict: strict mode refuses most schemas of MCP servers.
func appendFunction(dst []byte, t Tool) []byte {
	dst = append(dst, `{"type":"function","name":`...)
	dst = appendString(dst, t.Name)
	dst = append(dst, `,"description":`...)
	dst = appendString(dst, t.Description)
	dst = append(dst, `,"parameters":`...)
	if isObject(t.Schema) && validJSON(t.Schema) {
		dst = append(dst, t.Schema...)
	} else {
		dst = append(dst, `{"type":"object","properties":{}}`...)
	}
	return append(dst, `,"strict":false}`...)
}

const encryptedReasoning = "reasoning.encrypted_content"

// inject notes what the tools change in the request.
func (s *responses) inject(e *edits, b []byte, f *responsesFields, tools []byte) {
	all := append(append([]byte{'['}, tools...), ']')
	switch {
	case f.tools.found():
		e.push(b, f.tools, tools)
	default:
		e.set(b, whole(b), "tools", all)
	}
	// What is not stored can only be sent back encrypted. The API does that by itself now; older deployments want to be asked, and
	// refuse to be where the model does not reason.
	if string(f.store.of(b)) != "false" || !reasons(b, f) {
		return
	}
	for v := range elements(b, f.include) {
		if unquote(v.of(b)) == encryptedReasoning {
			return
		}
	}
	switch {
	case !f.include.found():
		e.set(b, whole(b), "include", []byte(`["`+encryptedReasoning+`"]`))
	case b[f.include.start] == '[':
		e.push(b, f.include, []byte(`"`+encryptedReasoning+`"`))
	}
}

// reasons reports whether the model surely reasons: the request says how, or its name tells (o3, gpt-5-mini, not gpt-5-chat-latest).
func reasons(b []byte, f *responsesFields) bool {
	if f.reasoning.found() {
		return true
	}
	model := unquote(f.model.of(b))
	model = model[strings.LastIndexByte(model, '/')+1:]
	digit := func(s, from string) bool { return s != "" && s[0] >= from[0] && s[0] <= '9' }
	if version, ok := strings.CutPrefix(model, "gpt-"); ok {
		return digit(version, "5") && !strings.Contains(version, "chat")
	}
	version, ok := strings.CutPrefix(model, "o")
	return ok && digit(version, "1")
}
