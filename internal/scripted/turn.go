package scripted

import (
	"fmt"
	"net/http"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// good is the endpoint's good answer.
func (x *exchange) good(t talk.Turn) response {
	if x.req.Method == http.MethodGet && x.req.Endpoint == talk.Responses && isUpgrade(x.r) {
		return response{echo: true}
	}
	method, render := x.endpoint()
	if render == nil {
		return x.failure(notFound(x))
	}
	if x.req.Method != method && (x.req.Method != http.MethodHead || method != http.MethodGet) {
		return x.failure(talk.Problem{
			Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Code: "method_not_supported",
			Message: fmt.Sprintf("Not allowed to %s on %s.", x.req.Method, x.r.URL.Path),
		})
	}
	return render(t)
}

// endpoint is the method of the request's endpoint, and what answers it; nil for a path without an endpoint.
func (x *exchange) endpoint() (method string, render func(talk.Turn) response) {
	if l, ok := languageOf(x.req.Endpoint); ok {
		return http.MethodPost, x.render(l.say(x))
	}
	switch x.req.Endpoint {
	case talk.Stored:
		return x.req.Method, x.stored
	case talk.Conversations:
		return x.req.Method, x.conversations
	case talk.CountTokens:
		return http.MethodPost, x.countTokens
	case talk.Models:
		return http.MethodGet, x.models
	case talk.Files:
		return http.MethodPost, x.file
	case talk.FileContent:
		return http.MethodGet, x.fileContent
	case talk.Embeddings:
		return http.MethodPost, x.embeddings
	default:
		return "", nil
	}
}

func notFound(x *exchange) talk.Problem {
	if x.anthropic() {
		return talk.Problem{Status: http.StatusNotFound, Type: "not_found_error", Message: "Not Found"}
	}
	return talk.Problem{
		Status: http.StatusNotFound, Type: "invalid_request_error", Code: "unknown_url",
		Message: fmt.Sprintf("Unknown request URL: %s %s.", x.req.Method, x.r.URL.Path),
	}
}

// render answers with a turn in a dialect.
func (x *exchange) render(d talk.Dialect) func(talk.Turn) response {
	return func(t talk.Turn) response {
		if pr := x.refusal(); pr != nil {
			return x.failure(*pr)
		}
		if t.Model != nil {
			t.Parts = t.Model(x.conversation())
		}
		if x.p.cfg.Strict {
			t = t.Forbidden(x.conversation())
		}
		if !x.req.Stream {
			_, end := t.Ended()
			if end.Kind == talk.PartBroken || end.Kind == talk.PartFailed && x.req.Endpoint != talk.Responses {
				return x.failure(end.Problem)
			}
			return jsonResponse(http.StatusOK, nil, talk.Encode(d.Whole(t)))
		}
		return response{
			status: http.StatusOK, length: -1, middle: d.Lead + t.Size()/2, flush: t.Flush,
			header: http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}, "Cache-Control": {"no-cache"}},
			body: func(yield func([]byte) bool) {
				write, end := x.a.framing.Write(yield)
				d.Stream(t, write)
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
