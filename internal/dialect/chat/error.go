package chat

import (
	"bytes"
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/openai"
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

// Fail implements turn.Session. The form is that of an error in the middle of OpenAI's streams, with the end that clients wait for.
func (s *session) Fail(dst []byte, e turn.Error) []byte {
	if !s.streams {
		s.body = openai.ErrorBody(e)
		return dst
	}
	s.relay.Interrupt(dst)
	b := rawjson.AppendString([]byte(`{"error":{"message":`), e.Message)
	b = rawjson.AppendString(append(b, `,"type":`...), e.Type)
	b = append(b, `,"param":null,"code":`...)
	if e.Code == "" {
		b = append(b, "null"...)
	} else {
		b = rawjson.AppendString(b, e.Code)
	}
	to := s.relay.Own()
	*to = sse.AppendEvent(*to, "", append(b, `}}`...))
	*to = sse.AppendEvent(*to, "", []byte("[DONE]"))
	return s.relay.Out()
}

// errs takes a chunk that is an error: OpenAI's and OpenRouter's have a member error, vLLM's calls itself an object of that kind.
// Before the turn has shown anything, that fails it; later it is the client's to know.
func (s *session) errs(e *sse.Event, c *chunk) bool {
	t := &s.turn
	flat := c.object.Val.Found() && string(c.object.Val.Of(c.b)) == `"error"`
	if !flat && !c.says(c.err) {
		return false
	}
	if s.relay.Holding() {
		body := bytes.Clone(c.b)
		if !flat && c.choices.Found() {
			body = append(append([]byte(`{"error":`), c.err.Val.Of(c.b)...), '}')
		}
		s.fail(e, body)
		return true
	}
	t.failed = true
	if c.count > 0 {
		return false
	}
	if t.hasOurs() {
		t.tail = nil
	}
	s.release()
	s.relay.Put(e)
	return true
}

// fail notes that the turn has failed before it showed anything, and holds the event that says so.
func (s *session) fail(e *sse.Event, body []byte) {
	s.turn.failure = failureOf(body)
	s.relay.Put(e)
	s.relay.Fail()
}

// failureOf reads an error that is a body of its own. It is kept as it came: quotas and hints stand in members that vary.
func failureOf(body []byte) *turn.Failure {
	at := rawjson.Whole(body)
	for first := range rawjson.Elements(body, at) { // Gemini's
		at = first
		break
	}
	if v, ok := rawjson.Lookup(body, at, "error"); ok && body[v.Start] == '{' {
		at = v
	} else if ok {
		return &turn.Failure{Error: turn.ReadError(0, body), Body: body}
	}
	f := openai.ReadFailure(body, at)
	f.Body = body
	if f.Status == 0 {
		f.Status = statusOf(f.Code, rawjson.Text(body, at, "status"), rawjson.Text(body, at, "type"))
	}
	return f
}

// statusOf is the HTTP status that goes with the words by which other providers name their errors: Google's RPC codes, vLLM's
// exceptions; 0 if none is known.
func statusOf(words ...string) int {
	for _, word := range words {
		if n, err := strconv.Atoi(word); err == nil && n >= 400 && n < 600 {
			return n
		}
		switch word {
		case "RESOURCE_EXHAUSTED":
			return 429
		case "UNAUTHENTICATED":
			return 401
		case "PERMISSION_DENIED":
			return 403
		case "NOT_FOUND", "NotFoundError", "model_not_found", "not_found_error":
			return 404
		case "UNAVAILABLE":
			return 503
		case "INTERNAL", "InternalServerError", "api_error":
			return 500
		case "INVALID_ARGUMENT", "BadRequestError", "invalid_request_error", "context_length_exceeded":
			return 400
		}
	}
	return 0
}

// bareError is the error in a block that is no event: a JSON object on a line of its own, or a field called error (older llama.cpp).
// Nil if there is none.
func bareError(block []byte) []byte {
	b := bytes.TrimSpace(block)
	if after, ok := bytes.CutPrefix(b, []byte("error:")); ok {
		if b = bytes.TrimSpace(after); !rawjson.IsObject(b) || !rawjson.Valid(b) {
			return nil
		}
		if _, ok := rawjson.Lookup(b, rawjson.Whole(b), "error"); !ok {
			b = append(append([]byte(`{"error":`), b...), '}')
		}
		return bytes.Clone(b)
	}
	if !rawjson.IsObject(b) || !rawjson.Valid(b) {
		return nil
	}
	if v, ok := rawjson.Lookup(b, rawjson.Whole(b), "error"); !ok || rawjson.IsNull(v.Of(b)) {
		return nil
	}
	return bytes.Clone(b)
}

// Failure implements turn.Failed.
func (s *session) Failure() *turn.Failure { return s.turn.failure }
