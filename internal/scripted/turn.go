package scripted

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// turn is what the model says in one answer, before a dialect gives it a shape. Each dialect has two: an object (whole) and a
// list of events (stream).
type turn struct {
	parts []Part
	model func(Conversation) []Part // says the parts once the request has been read; nil: they are set
	flush bool                      // each piece is sent at once
}

// text is the words of the turn.
func (t turn) text() string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.kind == partText {
			b.WriteString(p.all())
		}
	}
	return b.String()
}

// ended divides the parts into what is said and how it ends; without an ending of its own it ends well, as partText.
func (t turn) ended() (said []Part, end Part) {
	for i, p := range t.parts {
		if p.ending() {
			return t.parts[:i], p
		}
	}
	return t.parts, Part{}
}

// forbidden leaves out the calls that a request does not allow.
func (t turn) forbidden(c Conversation) turn {
	var kept []Part
	calls := 0
	for _, p := range t.parts {
		if p.called() {
			if calls++; c.Choice.Mode == "none" || calls > 1 && !c.Parallel {
				continue
			}
		}
		kept = append(kept, p)
	}
	t.parts = kept
	return t
}

// size is about how many events the turn is streamed in, apart from those around it.
func (t turn) size() int {
	const around = 4 // events of an item beside its deltas
	n := 0
	for i, p := range t.parts {
		if n += p.size(); i > 0 {
			n += around
		}
	}
	return n
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
	case Stored:
		return x.req.Method, x.stored
	case Conversations:
		return x.req.Method, x.conversations
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
		if pr := x.refusal(); pr != nil {
			return x.failure(*pr)
		}
		if t.model != nil {
			t.parts = t.model(x.conversation())
		}
		if x.p.cfg.Strict {
			t = t.forbidden(x.conversation())
		}
		if !x.req.Stream {
			_, end := t.ended()
			if end.kind == partBroken || end.kind == partFailed && x.req.Endpoint != Responses {
				return x.failure(end.problem)
			}
			return jsonResponse(http.StatusOK, nil, encode(d.whole(t)))
		}
		return response{
			status: http.StatusOK, length: -1, middle: d.lead + t.size()/2, flush: t.flush,
			header: http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}, "Cache-Control": {"no-cache"}},
			body: func(yield func([]byte) bool) {
				write, end := x.a.framing.write(yield)
				d.stream(t, write)
				end()
			},
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

// tally is the length in bytes of what was said so far, and of that the thoughts.
type tally struct{ said, thought int }

func (n *tally) add(p Part, length int) {
	n.said += length
	if p.thinks() {
		n.thought += length
	}
}

// tokens are a turn's tokens: in holds cached, out holds reasoning.
type tokens struct{ in, cached, out, reasoning int }

// usage counts the tokens of the turn: those that the script sets, or a token for four bytes.
func (x *exchange) usage(n tally) tokens {
	t := tokens{in: x.a.in, cached: x.a.cached, out: x.a.out, reasoning: x.a.reasoning}
	if t.in == 0 {
		t.in = max(1, int(x.req.BodySize/4))
	}
	if t.out == 0 {
		t.out = max(1, n.said/4)
	}
	if t.reasoning == 0 {
		t.reasoning = n.thought / 4
	}
	t.cached, t.reasoning = min(t.cached, t.in), min(t.reasoning, t.out)
	return t
}

func (x *exchange) model() string {
	if x.req.Model == "" {
		return "scripted-1"
	}
	return x.req.Model
}

// id makes the exchange's id of a kind: resp_…, msg_…, chatcmpl-….
func (x *exchange) id(prefix string) string { return x.idOf(prefix, 0) }

// idOf makes the i-th id of a kind in the exchange: fc_…, call_…, toolu_…. No two of a Provider are the same, also after Reset.
func (x *exchange) idOf(prefix string, i int) string {
	return fmt.Sprintf("%s%08x%024x", prefix, i, x.serial)
}

func (x *exchange) requestID() string { return x.id("req_") }

// padding is the obfuscation that OpenAI adds to deltas so that their lengths do not tell the tokens.
func padding(delta string) string {
	const filler = "qwertyuiopasdfgh"
	return filler[:16-len(delta)%16]
}
