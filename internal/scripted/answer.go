package scripted

import (
	"bytes"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/scripted/talk"
	"github.com/keyturn/keyturn/internal/wire"
)

// Answer is what the provider does with one request. It is a value: the methods return a changed copy. The zero Answer is
// OK("").
type Answer struct {
	name     string
	render   func(*exchange) response
	early    bool // before the body has been read
	wait     time.Duration
	interim  []int
	headers  []header
	trailers []header
	chunked  bool
	coding   string // of the body
	fault    fault
	framing  talk.Framing
	model    bool // the answer depends on the body

	in, out           int // tokens; 0: counted
	cached, reasoning int // of in, of out
}

type header struct{ name, value string }

// String names the answer, as in Exchange.Answer.
func (a Answer) String() string { return a.name }

// OK is the good answer of the endpoint: a model that says text, the list of models, the file that was uploaded. A stream gets
// the text in up to 64 pieces. A WebSocket upgrade is accepted, and each message is sent back. What the provider does not know
// is answered 404.
func OK(text string) Answer {
	return Answer{name: "ok", render: func(x *exchange) response {
		return x.good(talk.Turn{Parts: []talk.Part{talk.Text(text)}})
	}}
}

// Chunks is a model that says n short words, each one delay after the one before, each in a chunk of its own. Without a stream
// the whole comes after all the delays.
func Chunks(n int, delay time.Duration) Answer {
	return Answer{name: fmt.Sprintf("%d chunks", n), render: func(x *exchange) response {
		return x.good(talk.Turn{Flush: true, Parts: []talk.Part{x.words(n, delay)}})
	}}
}

// words are n short words, delay apart.
func (x *exchange) words(n int, delay time.Duration) talk.Part {
	return talk.Part{Kind: talk.PartText, Count: n, Deltas: func(yield func(string) bool) {
		for i := range n {
			if i > 0 {
				x.pause(delay)
			}
			if !yield(fmt.Sprintf("chunk%d ", i)) {
				return
			}
		}
	}}
}

// ErrorAfter is a stream under 200 that breaks off after n words with pr as the dialect's error event. Where no stream was asked
// for, pr is the answer.
func ErrorAfter(n int, pr talk.Problem) Answer {
	return Answer{name: fmt.Sprintf("error after %d chunks", n), render: func(x *exchange) response {
		if !x.req.Stream {
			return x.failure(pr)
		}
		return x.good(talk.Turn{Flush: true, Parts: []talk.Part{x.words(n, 0), talk.Broken(pr)}})
	}}
}

// Status is an answer with this status and body, whatever the request. The content type is JSON if the body looks like it.
func Status(code int, body string) Answer {
	return Answer{name: fmt.Sprint("status ", code), render: func(*exchange) response {
		kind := "text/plain; charset=utf-8"
		if strings.HasPrefix(body, "{") || strings.HasPrefix(body, "[") {
			kind = "application/json"
		}
		return response{status: code, header: http.Header{"Content-Type": {kind}}, length: int64(len(body)), body: once([]byte(body))}
	}}
}

// EmptyStatus is an answer with this status, content-length: 0 and no content type. Azure is known to answer 429 so.
func EmptyStatus(code int) Answer {
	return Answer{name: fmt.Sprint("empty ", code), render: func(*exchange) response {
		return response{status: code, header: http.Header{"Content-Type": nil}, body: once(nil)}
	}}
}

// BigError is an error of this status in the dialect's shape whose body has the given number of bytes. Chunked leaves its length
// out.
func BigError(status int, size int64) Answer {
	return Answer{name: fmt.Sprintf("error %d of %d bytes", status, size), render: func(x *exchange) response {
		const mark = "#"
		res := x.failure(talk.Problem{Status: status, Type: "server_error", Message: mark})
		var whole []byte
		for b := range res.body {
			whole = append(whole, b...)
		}
		before, after, _ := bytes.Cut(whole, []byte(mark))
		fill := max(0, size-int64(len(before)+len(after)))
		res.length = int64(len(before)+len(after)) + fill
		res.body = func(yield func([]byte) bool) {
			if !yield(before) {
				return
			}
			filler := bytes.Repeat([]byte("x"), 32<<10)
			for left := fill; left > 0; left -= int64(len(filler)) {
				if !yield(filler[:min(left, int64(len(filler)))]) {
					return
				}
			}
			yield(after)
		}
		res.middle = 1 + int(fill/(64<<10))
		return res
	}}
}

// ManyHeaders is an answer with this status and n headers more than usual, x-filler-1 and so on. Envoy refuses more than 100.
func ManyHeaders(status, n int) Answer {
	a := Status(status, "{}")
	a.name = fmt.Sprintf("status %d with %d headers", status, n)
	for i := range n {
		a.headers = append(a.headers, header{fmt.Sprintf("X-Filler-%d", i+1), "x"})
	}
	return a
}

// After sets how long the provider thinks before it answers.
func (a Answer) After(d time.Duration) Answer {
	a.wait = d
	return a
}

// Header sets a response header in place of what the answer itself would send; set again, it adds a value. An empty value leaves
// the header out.
func (a Answer) Header(name, value string) Answer {
	a.headers = append(slices.Clip(a.headers), header{name, value})
	return a
}

// HeaderExtra adds what real providers send beside an answer and a gateway has to think about: a cookie, the organisation, the
// rate limits of the key's owner.
func (a Answer) HeaderExtra() Answer {
	for _, h := range []header{
		{"Set-Cookie", "__cf_bm=scripted; path=/; Secure; HttpOnly"},
		{"Set-Cookie", "_cfuvid=scripted; path=/; Secure; HttpOnly"},
		{"Openai-Organization", "org-scripted"},
		{"Openai-Project", "proj_scripted"},
		{"Openai-Version", "2020-10-01"},
		{"Openai-Processing-Ms", "42"},
		{"Anthropic-Organization-Id", "00000000-0000-4000-8000-000000000000"},
		{"X-Ratelimit-Limit-Requests", "10000"},
		{"X-Ratelimit-Remaining-Requests", "9999"},
		{"X-Ratelimit-Reset-Requests", "6ms"},
		{"X-Ratelimit-Limit-Tokens", "200000"},
		{"X-Ratelimit-Remaining-Tokens", "199000"},
		{"X-Ratelimit-Reset-Tokens", "6m0s"},
		{"Anthropic-Ratelimit-Requests-Remaining", "49"},
	} {
		a = a.Header(h.name, h.value)
	}
	return a
}

// Forged adds headers that only a gateway should send: x-envoy-ratelimited, which keeps Envoy from retrying, and
// x-keyturn-retry, which asks it to.
func (a Answer) Forged() Answer {
	return a.Header(wire.RateLimitedHeader, "true").Header(wire.RetryHeader, "1")
}

// Chunked sends the body in chunks, without content-length.
func (a Answer) Chunked() Answer {
	a.chunked = true
	return a
}

// Continue100 sends an interim 100 first, asked for or not.
func (a Answer) Continue100() Answer {
	a.interim = append(slices.Clip(a.interim), http.StatusContinue)
	return a
}

// EarlyHints103 sends an interim 103 with a Link header first (RFC 8297).
func (a Answer) EarlyHints103() Answer {
	a.interim = append(slices.Clip(a.interim), http.StatusEarlyHints)
	return a
}

// Trailer ends the body with a trailer; the body is sent in chunks.
func (a Answer) Trailer(name, value string) Answer {
	a.trailers = append(slices.Clip(a.trailers), header{name, value})
	return a
}

// Usage sets the tokens that the answer reports. Otherwise they are counted: a token is four bytes, as a rule of thumb.
func (a Answer) Usage(in, out int) Answer {
	a.in, a.out = in, out
	return a
}

// UsageDetails sets how many of the tokens that went in came from a cache, and how many of those that came out were thoughts.
// Otherwise none are cached, and thoughts are counted like the rest.
func (a Answer) UsageDetails(cached, reasoning int) Answer {
	a.cached, a.reasoning = cached, reasoning
	return a
}

// once is a body of one piece.
func once(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if len(b) > 0 {
			yield(b)
		}
	}
}
