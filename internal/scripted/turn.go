package scripted

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strings"
)

// turn is what the model says in one answer, before a dialect gives it a shape. Each dialect has two: an object (whole) and a
// list of events (stream). What else a model can say than text belongs here, beside deltas, and into those two.
type turn struct {
	deltas  iter.Seq[string] // the text, in the pieces in which it is streamed; read once
	count   int              // how many there are
	flush   bool             // each piece is sent at once
	failure *Problem         // the stream ends with this error after the deltas
}

func (t turn) text() string {
	var b strings.Builder
	for d := range t.deltas {
		b.WriteString(d)
	}
	return b.String()
}

// good is the endpoint's good answer.
func (x *exchange) good(t turn) response {
	if x.req.Method == http.MethodGet && x.req.Endpoint == Responses && isUpgrade(x.r) {
		return response{echo: true}
	}
	method, render := x.endpoint()
	if render == nil {
		return x.failure(notFound(x))
	}
	if x.req.Method != method && (x.req.Method != http.MethodHead || method != http.MethodGet) {
		return x.failure(Problem{
			Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Code: "method_not_supported",
			Message: fmt.Sprintf("Not allowed to %s on %s.", x.req.Method, x.r.URL.Path),
		})
	}
	return render(t)
}

// endpoint is the method of the request's endpoint, and what answers it; nil for a path without an endpoint.
func (x *exchange) endpoint() (method string, render func(turn) response) {
	switch x.req.Endpoint {
	case Responses:
		return http.MethodPost, dialect{whole: x.responsesWhole, stream: x.responsesStream, lead: 4}.render(x)
	case Chat:
		return http.MethodPost, dialect{whole: x.chatWhole, stream: x.chatStream, lead: 1}.render(x)
	case Messages:
		return http.MethodPost, dialect{whole: x.messagesWhole, stream: x.messagesStream, lead: 3}.render(x)
	case CountTokens:
		return http.MethodPost, x.countTokens
	case Models:
		return http.MethodGet, x.models
	case Files:
		return http.MethodPost, x.file
	case FileContent:
		return http.MethodGet, x.fileContent
	case Embeddings:
		return http.MethodPost, x.embeddings
	}
	return "", nil
}

func notFound(x *exchange) Problem {
	if x.anthropic() {
		return Problem{Status: http.StatusNotFound, Type: "not_found_error", Message: "Not Found"}
	}
	return Problem{
		Status: http.StatusNotFound, Type: "invalid_request_error", Code: "unknown_url",
		Message: fmt.Sprintf("Unknown request URL: %s %s.", x.req.Method, x.r.URL.Path),
	}
}

// dialect is how one of the three languages says a turn.
type dialect struct {
	whole  func(turn) any
	stream func(turn, func(event []byte) bool)
	lead   int // events before the first delta
}

func (d dialect) render(x *exchange) func(turn) response {
	return func(t turn) response {
		if !x.req.Stream {
			return jsonResponse(http.StatusOK, nil, encode(d.whole(t)))
		}
		return response{
			status: http.StatusOK, length: -1, middle: d.lead + t.count/2, flush: t.flush,
			header: http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}, "Cache-Control": {"no-cache"}},
			body:   func(yield func([]byte) bool) { d.stream(t, yield) },
		}
	}
}

func jsonResponse(status int, h http.Header, body []byte) response {
	if h == nil {
		h = http.Header{}
	}
	h.Set("Content-Type", "application/json")
	return response{status: status, header: h, length: int64(len(body)), body: once(body)}
}

// encode is v as JSON, without the escapes for HTML that no provider uses. Only values of this package come here, and the only
// foreign bytes in them have been found valid, so it cannot fail.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("scripted: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// event is one server-sent event (WHATWG HTML, section 9.2). Chat Completions names none.
func event(name string, data any) []byte {
	var b bytes.Buffer
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	b.WriteString("data: ")
	b.Write(encode(data))
	b.WriteString("\n\n")
	return b.Bytes()
}

// usage counts the tokens of the turn: those that the script sets, or a token for four bytes.
func (x *exchange) usage(text int) (in, out int) {
	in, out = x.a.in, x.a.out
	if in == 0 {
		in = max(1, int(x.req.BodySize/4))
	}
	if out == 0 {
		out = max(1, text/4)
	}
	return in, out
}

func (x *exchange) model() string {
	if x.req.Model == "" {
		return "scripted-1"
	}
	return x.req.Model
}

// id makes the exchange's id of a kind: resp_…, msg_…, chatcmpl-….
func (x *exchange) id(prefix string) string { return fmt.Sprintf("%s%032x", prefix, x.req.N) }

func (x *exchange) requestID() string { return x.id("req_") }

// padding is the obfuscation that OpenAI adds to deltas so that their lengths do not tell the tokens.
func padding(delta string) string {
	const filler = "qwertyuiopasdfgh"
	return filler[:16-len(delta)%16]
}
