package responses

import (
	"iter"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/openai"
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// failing notes that the turn failed before it showed anything. The error stands in the event itself, in its member error, or in
// that of its response.
func (s *session) failing(b []byte, f *eventFields) {
	if s.turn.failure != nil {
		return
	}
	at := f.object
	switch v, ok := rawjson.Lookup(b, f.response, "error"); {
	case f.err.Found() && b[f.err.Start] == '{':
		at = f.err
	case f.response.Found() && ok:
		at = v
	}
	s.turn.failure = openai.ReadFailure(b, at)
	s.relay.Fail()
}

// Relay hands out what was held back of a turn that failed.
func (s *session) Relay(dst []byte) []byte {
	s.turn.failure = nil
	if s.plain {
		s.body = s.held
		return dst
	}
	return s.relay.HandOver(dst)
}

// Fail ends the stream with the nested error event: all clients' libraries raise it.
func (s *session) Fail(dst []byte, e turn.Error) []byte {
	if s.plain {
		s.body = openai.ErrorBody(e)
		return dst
	}
	s.relay.Interrupt(dst)
	s.turn.failure = nil
	s.endUnrun(&turn.ToolError{Message: "the response failed before the tool's result was known"})
	b := rawjson.AppendString([]byte(`"error":{"type":`), e.Type)
	b = rawjson.AppendString(append(b, `,"code":`...), e.Code)
	b = rawjson.AppendString(append(b, `,"message":`...), e.Message)
	s.emit("error", append(b, `,"param":null}`...))
	return s.relay.Out()
}

// KeepAlive is a comment. Clients' libraries fail on event types that they do not know, but read over comments.
func (s *session) KeepAlive(dst []byte) []byte {
	return s.relay.KeepAlive(dst, ": keyturn\n\n")
}

// Explain tells whether the provider refused the first turn because of what memory has forgotten: the request goes on from a
// response whose later turns, or whose results of calls, only Keyturn knew; or it names a call of Keyturn's.
func (s *session) Explain(status int, body []byte) (turn.Error, bool) {
	state := s.fields.stateful()
	if !state && len(s.unknown) == 0 || status != 400 && status != 404 || !rawjson.Valid(body) {
		return turn.Error{}, false
	}
	e := turn.ReadError(status, body)
	for id := range notFound(e.Message) {
		if slices.Contains(s.unknown, id) {
			return lost("input refers to a tool call that this gateway ran, and neither the gateway nor the provider has it any longer",
				"send the items themselves in place of references to them"), true
		}
	}
	if !state {
		return turn.Error{}, false
	}
	const remedy = "send the whole conversation as input, without previous_response_id or conversation"
	if s.continued != "" {
		if e.Code != "previous_response_not_found" || s.previous == nil {
			return turn.Error{}, false
		}
		return lost("the provider no longer has the last turn of the response that previous_response_id names", remedy), true
	}
	_, call, ok := strings.Cut(e.Message, "No tool output found for function call ")
	call = strings.TrimRight(strings.TrimSpace(call), ".")
	if !ok || call == "" {
		return turn.Error{}, false
	}
	for at := range rawjson.Elements(s.base, s.fields.input) {
		if readItem(s.base, at).callID == call {
			return turn.Error{}, false
		}
	}
	return lost("the provider waits for the result of a tool call that this gateway ran, and the gateway no longer has it", remedy), true
}

// notFound yields what an error says was not found, the first of many.
func notFound(message string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for range 16 {
			before, rest, ok := strings.Cut(message, "' not found")
			if !ok || !yield(before[strings.LastIndexByte(before, '\'')+1:]) {
				return
			}
			message = rest
		}
	}
}

func lost(why, remedy string) turn.Error {
	return turn.Error{
		Type: "invalid_request_error", Code: turn.LostCode,
		Message: why + "; " + remedy + "; the operator can keep more with the setting memory",
	}
}

// Failure implements turn.Failed.
func (s *session) Failure() *turn.Failure { return s.turn.failure }
