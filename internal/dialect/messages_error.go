package dialect

import "strings"

// messagesFailure is an error that came within a 200 as an answer of its own ("Errors" in Anthropic's API reference). Data that is
// no JSON is an api_error.
func messagesFailure(data []byte) *Failure {
	f := &Failure{Error: Error{Type: "api_error"}}
	at := span{}
	if validJSON(data) {
		if v, ok := lookup(data, whole(data), "error"); ok {
			at = v
		}
	}
	if kind := text(data, at, "type"); kind != "" {
		f.Type = kind
	}
	f.Code, f.Message, f.Status = f.Type, text(data, at, "message"), messagesStatus(f.Type)
	if at.found() && text(data, whole(data), "type") == "error" {
		f.Body = append(f.Body, data...)
		return f
	}
	f.Body = Messages.Body(f.Error)
	return f
}

// messagesStatus is the HTTP status that goes with an error's type; 0 if none is known.
func messagesStatus(kind string) int {
	switch kind {
	case "invalid_request_error":
		return 400
	case "authentication_error":
		return 401
	case "billing_error":
		return 402
	case "permission_error":
		return 403
	case "not_found_error":
		return 404
	case "conflict_error":
		return 409
	case "request_too_large":
		return 413
	case "rate_limit_error":
		return 429
	case "api_error":
		return 500
	case "timeout_error":
		return 504
	case "overloaded_error":
		return 529
	}
	return 0
}

// Explain tells whether the provider refused the first turn because of what memory has forgotten. Two refusals can come of it: a
// model that thinks finds its thoughts in another conversation than the one that they came in, since turns that only Keyturn knew
// are missing or its tools are others; and a call without its result, or a result without its call, of which the client knows
// neither. Where all of the client's conversation is still known, the refusal has another cause.
func (s *messages) Explain(status int, body []byte) (Error, bool) {
	if status != 400 || !s.talk.forgot() || !validJSON(body) {
		return Error{}, false
	}
	said := ReadError(status, body).Message
	switch {
	case strings.Contains(said, "bound to a different conversation"):
		return forgotten("the model's thinking is bound to the conversation as it was, with tool calls that this gateway ran or tools that it offered, which it no longer knows"), true
	case strings.Contains(said, "tool_use") && strings.Contains(said, "tool_result") && !s.knows(said):
		return forgotten("the conversation has a tool call that this gateway ran and no longer knows"), true
	}
	return Error{}, false
}

// knows reports whether an id of a call that a text names stands in the request: then it is the client's, or was restored.
func (s *messages) knows(said string) bool {
	for word := range strings.FieldsFuncSeq(said, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		if strings.Contains(word, "toolu_") && strings.Contains(string(s.base), word) {
			return true
		}
	}
	return false
}

func forgotten(why string) Error {
	return Error{
		Type: "invalid_request_error", Code: lostCode,
		Message: why + "; begin a new conversation, or send this one without its thinking blocks; the operator can keep more with the setting memory",
	}
}
