package dialect

// chatFields is where a request's members stand that decide something. A member that is absent or null is not found.
type chatFields struct {
	model, messages, tools, toolChoice, stream, streamOptions, n span
	functions, functionCall, maxTokens, maxCompletionTokens      span
	user, safetyIdentifier                                       span
}

// named finds a member by its name ("Create chat completion" in OpenAI's API reference).
func (f *chatFields) named(name string) *span {
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

// read finds the members. It returns false for what is none of Keyturn's business, or has no messages; see readFields.
func (f *chatFields) read(b []byte) bool {
	if !readFields(b, f.named) {
		return false
	}
	stream := string(f.stream.of(b))
	return f.messages.found() && b[f.messages.start] == '[' && (stream == "" || stream == "true" || stream == "false")
}

// offer decides which of Keyturn's tools go into the request, and returns their definitions, joined by commas; none when the
// request rules them out.
func (s *chat) offer(b []byte, f *chatFields) []byte {
	switch {
	case f.functions.found() || f.functionCall.found(),
		f.n.found() && string(f.n.of(b)) != "1",
		f.tools.found() && b[f.tools.start] != '[',
		f.streamOptions.found() && (b[f.streamOptions.start] != '{' || !once(b, f.streamOptions, "include_usage")):
		return nil
	}
	has := 0
	for t := range elements(b, f.tools) {
		has++
		kind := text(b, t, "type")
		if !once(b, t, "type", "function", "custom") {
			return nil
		}
		if at, ok := lookup(b, t, kind); ok {
			if !once(b, at, "name") {
				return nil
			}
			s.declared[text(b, at, "name")] = struct{}{}
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
		list = appendChatFunction(list, t)
	}
	if list == nil || s.choice(b, f.toolChoice) == choiceForeign {
		clear(s.own)
		return nil
	}
	return list
}

// appendChatFunction appends a tool as Chat Completions wants it. It is not strict: strict mode refuses most schemas of MCP servers.
func appendChatFunction(dst []byte, t Tool) []byte {
	dst = append(dst, `{"type":"function","function":{"name":`...)
	dst = appendString(dst, t.Name)
	if t.Description != "" {
		dst = append(dst, `,"description":`...)
		dst = appendString(dst, t.Description)
	}
	dst = append(dst, `,"parameters":`...)
	if isObject(t.Schema) && validJSON(t.Schema) {
		dst = append(dst, t.Schema...)
	} else {
		dst = append(dst, `{"type":"object","properties":{}}`...)
	}
	return append(dst, `}}`...)
}

// choice reads tool_choice. Mistral's word for required is any.
func (s *chat) choice(b []byte, at span) choice {
	if !at.found() {
		return choiceAuto
	}
	switch unquote(at.of(b)) {
	case "auto":
		return choiceAuto
	case "required", "any":
		return choiceRequired
	}
	switch text(b, at, "type") {
	case "function":
		if _, ok := s.own[text(b, at, "function", "name")]; ok && once(b, at, "type", "function") {
			return choiceNamed
		}
	case "allowed_tools":
		list, _ := lookup(b, at, "allowed_tools", "tools")
		for t := range elements(b, list) {
			if _, ok := s.own[text(b, t, "function", "name")]; ok && once(b, at, "type", "allowed_tools") {
				return choiceAllowed
			}
		}
	}
	return choiceForeign
}

// inject notes what the tools change in the request. Tokens are counted for the operator whether the client wants to know or not.
func (s *chat) inject(e *edits, b []byte, f *chatFields, tools []byte) {
	if f.tools.found() {
		e.push(b, f.tools, tools)
	} else {
		e.set(b, whole(b), "tools", append(append([]byte{'['}, tools...), ']'))
	}
	if !s.streams {
		return
	}
	if v, ok := lookup(b, f.streamOptions, "include_usage"); ok && string(v.of(b)) == "true" {
		s.wantUsage = true
		return
	}
	if f.streamOptions.found() {
		e.set(b, f.streamOptions, "include_usage", []byte("true"))
		return
	}
	e.set(b, whole(b), "stream_options", []byte(`{"include_usage":true}`))
}
