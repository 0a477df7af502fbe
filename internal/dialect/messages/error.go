package messages

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// errorBody is e as the body of an answer with Content-Type application/json ("Errors" in Anthropic's API reference).
func errorBody(e turn.Error) []byte {
	var body struct {
		Error struct {
			Message string `json:"message"`
			Type    string `json:"type"`
		} `json:"error"`
		RequestID string `json:"request_id"`
		Type      string `json:"type"`
	}
	body.Error.Message, body.Error.Type, body.Type = e.Message, e.Type, "error"
	b, err := json.Marshal(body)
	if err != nil { // strings always marshal
		return []byte(`{"type":"error","error":{"type":"api_error","message":"error cannot be encoded"}}`)
	}
	return b
}

// readFailure is an error that came within a 200 as an answer of its own ("Errors" in Anthropic's API reference). Data that is
// no JSON is an api_error.
func readFailure(data []byte) *turn.Failure {
	f := &turn.Failure{Error: turn.Error{Type: "api_error"}}
	at := rawjson.Span{}
	if rawjson.Valid(data) {
		if v, ok := rawjson.Lookup(data, rawjson.Whole(data), "error"); ok {
			at = v
		}
	}
	if kind := rawjson.Text(data, at, "type"); kind != "" {
		f.Type = kind
	}
	f.Code, f.Message, f.Status = f.Type, rawjson.Text(data, at, "message"), statusOf(f.Type)
	if at.Found() && rawjson.Text(data, rawjson.Whole(data), "type") == "error" {
		f.Body = append(f.Body, data...)
		return f
	}
	f.Body = errorBody(f.Error)
	return f
}

// statusOf is the HTTP status that goes with an error's type; 0 if none is known.
func statusOf(kind string) int {
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
func (s *session) Explain(status int, body []byte) (turn.Error, bool) {
	if status != 400 || !s.conversation.forgot() || !rawjson.Valid(body) {
		return turn.Error{}, false
	}
	said := turn.ReadError(status, body).Message
	switch {
	case strings.Contains(said, "bound to a different conversation"):
		return forgotten("the model's thinking is bound to the conversation as it was, with tool calls that this gateway ran or tools that it offered, which it no longer knows"), true
	case strings.Contains(said, "tool_use") && strings.Contains(said, "tool_result") && !s.knows(said):
		return forgotten("the conversation has a tool call that this gateway ran and no longer knows"), true
	}
	return turn.Error{}, false
}

// knows reports whether an id of a call that a text names stands in the request: then it is the client's, or was restored.
func (s *session) knows(said string) bool {
	looked := 0
	for word := range strings.FieldsFuncSeq(said, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		if !strings.Contains(word, "toolu_") {
			continue
		}
		if looked++; looked > maxNamed || bytes.Contains(s.base, []byte(word)) {
			return true
		}
	}
	return false
}

// maxNamed bounds the calls in an error that are looked for. Anthropic names those of one message.
const maxNamed = 64

func forgotten(why string) turn.Error {
	return turn.Error{
		Type: "invalid_request_error", Code: turn.LostCode,
		Message: why + "; begin a new conversation, or send this one without its thinking blocks; the operator can keep more with the setting memory",
	}
}

// Failure implements turn.Failed.
func (s *session) Failure() *turn.Failure { return s.turn.failure }
