package dialect

import (
	"bytes"
	"strconv"

	"github.com/keyturn/keyturn/sse"
)

// Fail implements Session. The form is that of an error in the middle of OpenAI's streams, with the end that clients wait for.
func (s *chat) Fail(dst []byte, e Error) []byte {
	if !s.streams {
		s.body = Chat.Body(e)
		return dst
	}
	if s.torn {
		dst = append(dst, "\n\n"...)
	}
	b := appendString([]byte(`{"error":{"message":`), e.Message)
	b = appendString(append(b, `,"type":`...), e.Type)
	b = append(b, `,"param":null,"code":`...)
	if e.Code == "" {
		b = append(b, "null"...)
	} else {
		b = appendString(b, e.Code)
	}
	dst = sse.AppendEvent(dst, "", append(b, `}}`...))
	return sse.AppendEvent(dst, "", []byte("[DONE]"))
}

// errs takes a chunk that is an error: OpenAI's and OpenRouter's have a member error, vLLM's calls itself an object of that kind.
// Before the turn has shown anything, that fails it; later it is the client's to know.
func (s *chat) errs(e *sse.Event, c *chatChunk) bool {
	t := &s.turn
	flat := c.object.val.found() && string(c.object.val.of(c.b)) == `"error"`
	if !flat && !c.says(c.err) {
		return false
	}
	if !t.revealed {
		body := bytes.Clone(c.b)
		if !flat && c.choices.found() {
			body = append(append([]byte(`{"error":`), c.err.val.of(c.b)...), '}')
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
	s.relay(e)
	return true
}

// fail notes that the turn has failed before it showed anything, and holds the event that says so.
func (s *chat) fail(e *sse.Event, body []byte) {
	s.window, s.put = append(s.window, e.Raw...), chatWindow
	s.turn.failure = failureOf(body)
}

// failureOf reads an error that is a body of its own. It is kept as it came: quotas and hints stand in members that vary.
func failureOf(body []byte) *Failure {
	at := whole(body)
	for first := range elements(body, at) { // Gemini's
		at = first
		break
	}
	if v, ok := lookup(body, at, "error"); ok && body[v.start] == '{' {
		at = v
	} else if ok {
		return &Failure{Error: ReadError(0, body), Body: body}
	}
	f := openAIFailure(body, at)
	f.Body = body
	if f.Status == 0 {
		f.Status = chatStatus(f.Code, text(body, at, "status"), text(body, at, "type"))
	}
	return f
}

// chatStatus is the HTTP status that goes with the words by which other providers name their errors: Google's RPC codes, vLLM's
// exceptions; 0 if none is known.
func chatStatus(words ...string) int {
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
		if b = bytes.TrimSpace(after); !isObject(b) || !validJSON(b) {
			return nil
		}
		if _, ok := lookup(b, whole(b), "error"); !ok {
			b = append(append([]byte(`{"error":`), b...), '}')
		}
		return bytes.Clone(b)
	}
	if !isObject(b) || !validJSON(b) {
		return nil
	}
	if v, ok := lookup(b, whole(b), "error"); !ok || isNull(v.of(b)) {
		return nil
	}
	return bytes.Clone(b)
}
