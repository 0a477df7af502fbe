package chat

import (
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// requestFields is where a request's members stand that decide something. A member that is absent or null is not found.
type requestFields struct {
	model, messages, tools, toolChoice, stream, streamOptions, n rawjson.Span
	functions, functionCall, maxTokens, maxCompletionTokens      rawjson.Span
	user, safetyIdentifier                                       rawjson.Span
}

// named finds a member by its name ("Create chat completion" in OpenAI's API reference).
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
	case "stream_options":
		return &f.streamOptions
	case "n":
		return &f.n
	case "functions":
		return &f.functions
	case "function_call":
		return &f.functionCall
	case "max_tokens":
		return &f.maxTokens
	case "max_completion_tokens":
		return &f.maxCompletionTokens
	case "user":
		return &f.user
	case "safety_identifier":
		return &f.safetyIdentifier
	}
	return nil
}

// read finds the members. It returns false for a request that is to pass as it is, see rawjson.ReadFields, or has no messages.
func (f *requestFields) read(b []byte) bool {
	if !rawjson.ReadFields(b, f.named) {
		return false
	}
	stream := string(f.stream.Of(b))
	return f.messages.Found() && b[f.messages.Start] == '[' && (stream == "" || stream == "true" || stream == "false")
}

// offer decides which of Keyturn's tools go into the request, and returns their definitions, joined by commas; none when the
// request rules them out.
func (s *session) offer(b []byte, f *requestFields) []byte {
	switch {
	case f.functions.Found() || f.functionCall.Found(), f.tools.Found() && b[f.tools.Start] != '[', !f.countable(b):
		return nil
	}
	has := 0
	for t := range rawjson.Elements(b, f.tools) {
		has++
		kind := rawjson.Text(b, t, "type")
		if !rawjson.Once(b, t, "type", "function", "custom") || s.names.Full(has) {
			return nil
		}
		if at, ok := rawjson.Lookup(b, t, kind); ok {
			if !rawjson.Once(b, at, "name") {
				return nil
			}
			name, _ := rawjson.Lookup(b, at, "name")
			s.names.Declare(rawjson.Word(name.Of(b)))
		}
	}
	s.clients = has
	var list []byte
	for _, t := range s.opts.Offered(s.model, has) {
		if s.names.Offer(t.Name, t, has) {
			list = appendFunction(rawjson.Separate(list), t)
		}
	}
	if list == nil || s.choice(b, f.toolChoice) == turn.ChoiceForeign {
		s.names.Withdraw()
		return nil
	}
	return list
}

// countable reports whether the answer is one whose tokens can be counted: of several choices the stream is not read.
func (f *requestFields) countable(b []byte) bool {
	return (!f.n.Found() || string(f.n.Of(b)) == "1") &&
		(!f.streamOptions.Found() || b[f.streamOptions.Start] == '{' && rawjson.Once(b, f.streamOptions, "include_usage"))
}

// appendFunction appends a tool as Chat Completions wants it. It is not strict: strict mode refuses most schemas of MCP servers.
func appendFunction(dst []byte, t turn.Tool) []byte {
	dst = append(dst, `{"type":"function","function":{"name":`...)
	dst = rawjson.AppendString(dst, t.Name)
	if t.Description != "" {
		dst = append(dst, `,"description":`...)
		dst = rawjson.AppendString(dst, t.Description)
	}
	dst = append(dst, `,"parameters":`...)
	if rawjson.IsObject(t.Schema) && rawjson.Valid(t.Schema) {
		dst = append(dst, t.Schema...)
	} else {
		dst = append(dst, `{"type":"object","properties":{}}`...)
	}
	return append(dst, `}}`...)
}

// choice reads tool_choice. Mistral's word for required is any.
func (s *session) choice(b []byte, at rawjson.Span) turn.Choice {
	if !at.Found() {
		return turn.ChoiceAuto
	}
	switch rawjson.Unquote(at.Of(b)) {
	case "auto":
		return turn.ChoiceAuto
	case "required", "any":
		return turn.ChoiceRequired
	}
	switch rawjson.Text(b, at, "type") {
	case "function":
		if _, ok := s.names.Own(rawjson.Text(b, at, "function", "name")); ok && rawjson.Once(b, at, "type", "function") {
			return turn.ChoiceNamed
		}
	case "allowed_tools":
		list, _ := rawjson.Lookup(b, at, "allowed_tools", "tools")
		if !rawjson.Once(b, at, "type", "allowed_tools") {
			return turn.ChoiceForeign
		}
		for t := range rawjson.Elements(b, list) {
			if _, ok := s.names.Own(rawjson.Text(b, t, "function", "name")); ok {
				return turn.ChoiceAllowed
			}
		}
	}
	return turn.ChoiceForeign
}

// inject notes what the tools change in the request.
func (s *session) inject(e *rawjson.Edits, b []byte, f *requestFields, tools []byte) {
	if f.tools.Found() {
		e.Push(b, f.tools, tools)
	} else {
		e.Set(b, rawjson.Whole(b), "tools", append(append([]byte{'['}, tools...), ']'))
	}
	s.instruct(e, b, f)
	s.count(e, b, f)
}

// count asks for the tokens of a stream. They are counted for the operator whether the client wants to know or not.
func (s *session) count(e *rawjson.Edits, b []byte, f *requestFields) {
	if !s.streams || s.opts.NoUsage && !f.streamOptions.Found() {
		return
	}
	if v, ok := rawjson.Lookup(b, f.streamOptions, "include_usage"); ok && string(v.Of(b)) == "true" {
		s.wantUsage = true
		return
	}
	s.unasked = true
	if f.streamOptions.Found() {
		e.Set(b, f.streamOptions, "include_usage", []byte("true"))
		return
	}
	e.Set(b, rawjson.Whole(b), "stream_options", []byte(`{"include_usage":true}`))
}

// instruct puts the instructions of tools' servers after the client's. They go into its first message where that is the system's: some
// models take one such message, and only there.
func (s *session) instruct(e *rawjson.Edits, b []byte, f *requestFields) {
	text := s.opts.Instructions
	if text == "" {
		return
	}
	for at := range rawjson.Elements(b, f.messages) {
		m := readMessage(b, at)
		role, once := rawjson.Unquote(m.role.Of(b)), rawjson.Once(b, at, "role", "content")
		switch {
		case role != "system" && role != "developer" || !m.content.Found() || !once:
		case b[m.content.Start] == '"':
			e.Replace(m.content, rawjson.AppendString(nil, turn.After(rawjson.Unquote(m.content.Of(b)), text)))
			return
		case b[m.content.Start] == '[':
			e.Push(b, m.content, append(rawjson.AppendString([]byte(`{"type":"text","text":`), text), '}'))
			return
		}
		break
	}
	message := append(rawjson.AppendString([]byte(`{"role":"system","content":`), text), '}')
	if rawjson.Count(b, f.messages) != 0 {
		message = append(message, ',')
	}
	e.Insert(rawjson.SkipSpace(b, f.messages.Start+1), message)
}
