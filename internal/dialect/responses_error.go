package dialect

import (
	"slices"
	"strings"
)

// failing notes that the turn failed before it showed anything. The error stands in the event itself, in its member error, or in
// that of its response.
func (s *responses) failing(b []byte, f *eventFields) {
	if s.turn.failure != nil {
		return
	}
	at := f.object
	switch v, ok := lookup(b, f.response, "error"); {
	case f.err.found() && b[f.err.start] == '{':
		at = f.err
	case f.response.found() && ok:
		at = v
	}
	s.turn.failure = openAIFailure(b, at)
}

// openAIFailure is the error object b[at] as an answer of its own. The two OpenAI dialects use it.
func openAIFailure(b []byte, at span) *Failure {
	f := &Failure{Error: Error{Code: text(b, at, "code"), Message: text(b, at, "message")}}
	f.Type = text(b, at, "type")
	if f.Type == "error" { // the event's own
		f.Type = ""
	}
	if v, ok := lookup(b, at, "code"); ok && f.Code == "" {
		if n, isInt := integer(v.of(b)); isInt {
			f.Code = string(v.of(b))
			if n >= 400 && n < 600 {
				f.Status = int(n)
			}
		}
	}
	if f.Status == 0 {
		if f.Status = openAIStatus(f.Code); f.Status == 0 {
			f.Status = openAIStatus(f.Type)
		}
	}
	if f.Type == "" {
		f.Type = "api_error"
		switch {
		case f.Status == 429:
			f.Type = "rate_limit_error"
		case f.Status == 401:
			f.Type = "authentication_error"
		case f.Status == 403:
			f.Type = "permission_error"
		}
	}
	f.Body = []byte(`{"error":{`)
	f.Body = appendString(append(f.Body, `"type":`...), f.Type)
	for _, name := range []string{"code", "message", "param"} {
		v, ok := lookup(b, at, name)
		value := null
		if ok {
			value = v.of(b)
		}
		f.Body = append(append(append(appendString(append(f.Body, ','), name), ':'), value...), ""...)
	}
	f.Body = append(f.Body, `}}`...)
	return f
}

// openAIStatus is the HTTP status that goes with an error's code or type ("Error codes" in OpenAI's documentation); 0 if none is known.
func openAIStatus(word string) int {
	switch word {
	case "rate_limit_exceeded", "rate_limit_error", "slow_down", "requests", "tokens", "RateLimitReached", "too_many_requests",
		"insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded", "project_spend_limit_exceeded",
		"organization_usage_limit_exceeded", "billing_hard_limit_reached":
		return 429
	case "invalid_api_key", "authentication_error", "invalid_authentication", "incorrect_api_key", "unauthorized":
		return 401
	case "permission_error", "permission_denied", "insufficient_permissions", "unsupported_country_region_territory", "forbidden":
		return 403
	case "server_is_overloaded", "overloaded", "overloaded_error", "service_unavailable_error", "service_unavailable":
		return 503
	case "server_error", "internal_error", "internal_server_error":
		return 500
	}
	return 0
}

// Relay hands out what was held back of a turn that failed.
func (s *responses) Relay(dst []byte) []byte {
	s.turn.failure = nil
	if s.plain {
		s.body = s.held
		return dst
	}
	s.stream.dst = dst
	s.stream.release()
	return s.stream.dst
}

// Fail ends the stream with the nested error event: all clients' libraries raise it.
func (s *responses) Fail(dst []byte, e Error) []byte {
	if s.plain {
		s.body = Responses.Body(e)
		return dst
	}
	m := &s.stream
	m.dst = dst
	if m.unended || m.broken {
		m.dst = m.style.eol(m.style.eol(m.dst))
		m.unended = false
	}
	if s.turn.failure != nil {
		m.held = m.held[:0]
		s.turn.failure = nil
	}
	m.release()
	s.endUnrun(&ToolError{Message: "the response failed before the tool's result was known"})
	b := appendString([]byte(`"error":{"type":`), e.Type)
	b = appendString(append(b, `,"code":`...), e.Code)
	b = appendString(append(b, `,"message":`...), e.Message)
	m.emit("error", append(b, `,"param":null}`...))
	return m.dst
}

// KeepAlive is a comment. Clients' libraries fail on event types that they do not know, but read over comments.
func (s *responses) KeepAlive(dst []byte) []byte {
	if s.stream.broken || s.stream.unended {
		return dst // the last bytes may be half a line
	}
	return append(dst, ": keyturn\n\n"...)
}

const lostCode = "conversation_state_lost"

// Explain tells whether the provider refused the first turn because of what memory has forgotten: the request goes on from a
// response whose later turns, or whose results of calls, only Keyturn knew; or it names a call of Keyturn's.
func (s *responses) Explain(status int, body []byte) (Error, bool) {
	state := s.fields.stateful()
	if !state && len(s.unknown) == 0 || status != 400 && status != 404 || !validJSON(body) {
		return Error{}, false
	}
	e := ReadError(status, body)
	for _, id := range s.unknown {
		if strings.Contains(e.Message, "'"+id+"' not found") {
			return lost("input refers to a tool call that this gateway ran, and neither the gateway nor the provider has it any longer",
				"send the items themselves in place of references to them"), true
		}
	}
	if !state {
		return Error{}, false
	}
	const remedy = "send the whole conversation as input, without previous_response_id or conversation"
	if s.continued != "" {
		if e.Code != "previous_response_not_found" || s.previous == nil {
			return Error{}, false
		}
		return lost("the provider no longer has the last turn of the response that previous_response_id names", remedy), true
	}
	_, call, ok := strings.Cut(e.Message, "No tool output found for function call ")
	call = strings.TrimRight(strings.TrimSpace(call), ".")
	if !ok || call == "" || slices.ContainsFunc(readInput(s.base, s.fields.input), func(i inputItem) bool { return i.callID == call }) {
		return Error{}, false
	}
	return lost("the provider waits for the result of a tool call that this gateway ran, and the gateway no longer has it", remedy), true
}

func lost(why, remedy string) Error {
	return Error{
		Type: "invalid_request_error", Code: lostCode,
		Message: why + "; " + remedy + "; the operator can keep more with the setting memory",
	}
}
