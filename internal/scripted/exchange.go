package scripted

import (
	"iter"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// Exchange is what the log hook hears of one exchange, at its end. It holds no credential: it may be printed.
type Exchange struct {
	// N is the request's place among all, from 1.
	N int
	// Time is when the request's headers had arrived, Took how long the exchange lasted.
	Time time.Time
	Took time.Duration
	// Method and Path are the request's own; the path is without its query, which may hold a key.
	Method, Path string
	// Key is the masked key (Config.Mask); "" if the request had none.
	Key string
	// Endpoint, Model, Stream and BodySize are those of Request.
	Endpoint talk.Endpoint
	Model    string
	Stream   bool
	BodySize int64
	// Answer names the answer of the script: "ok", "rate limited", "reset in the body".
	Answer string
	// Status is the status that was sent; 0 if none was. Sent is the number of bytes of the answer's body.
	Status int
	Sent   int64
	// Outcome says how the exchange ended.
	Outcome Outcome
}

// Outcome is how an exchange ended.
type Outcome string

// The outcomes.
const (
	Complete Outcome = "complete"    // the answer was sent to its end
	Cut      Outcome = "cut"         // the script broke it off
	Left     Outcome = "client left" // the client, or the end of the server, broke it off
)

// exchange is one request and its answer. Only the goroutine that serves it uses it.
type exchange struct {
	p     *Provider
	w     http.ResponseWriter
	r     *http.Request
	rc    *http.ResponseController
	epoch int // of the memory that counted it

	serial int // the request's place among all since New

	req    Request
	body   []byte // kept for those who read it as a conversation; nil otherwise
	fields fields
	upload upload
	told   *talk.Told // what the body says; nil until it is asked for

	a       Answer
	status  int
	sent    int64
	outcome Outcome
}

func newExchange(p *Provider, w http.ResponseWriter, r *http.Request) *exchange {
	e := endpointOf(r.URL.Path)
	return &exchange{
		p: p, w: w, r: r, rc: http.NewResponseController(w),
		req: Request{
			Time: time.Now(), Method: r.Method, Host: r.Host, Path: r.RequestURI, Proto: r.Proto, Header: r.Header,
			Key: credential(r.Header, isAnthropic(e, r.Header)), Endpoint: e,
		},
	}
}

func (x *exchange) summary() Exchange {
	s := Exchange{
		N: x.req.N, Time: x.req.Time, Took: time.Since(x.req.Time), Method: x.req.Method, Path: x.r.URL.Path,
		Endpoint: x.req.Endpoint, Model: x.req.Model, Stream: x.req.Stream, BodySize: x.req.BodySize,
		Answer: x.a.name, Status: x.status, Sent: x.sent, Outcome: x.outcome,
	}
	if x.req.Key != "" {
		s.Key = x.p.cfg.Mask(x.req.Key)
	}
	return s
}

// left gives the exchange up because nobody waits for its end.
func (x *exchange) left() {
	x.outcome = Left
	panic(http.ErrAbortHandler)
}

// pause waits, unless the client leaves or the server is closed.
func (x *exchange) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.r.Context().Done():
		x.left()
	}
}

// response is an answer in the form in which it goes out.
type response struct {
	status int
	header http.Header
	length int64            // of the body; below 0: not known, so it is sent in chunks
	body   iter.Seq[[]byte] // a piece is only good until the next one
	middle int              // how many pieces go out before a fault in the middle; 0: half of the first piece
	flush  bool             // each piece goes out at once
	echo   bool             // it is a WebSocket: no body, but an echo
}

// answer sends what the script chose.
func (x *exchange) answer(a Answer) {
	if a.render == nil {
		a = OK("")
	}
	x.a = a
	if a.early {
		_ = x.rc.EnableFullDuplex() // HTTP/2 is so by nature and says that it cannot
		if x.r.ProtoMajor == 1 {
			// net/http panics when it waits for the next request on a connection whose body it has read after the answer.
			x.w.Header().Set("Connection", "close")
		}
	}
	for _, code := range a.interim {
		x.interim(code)
	}
	x.pause(a.wait)
	if a.fault.where == atStart && x.strike() {
		return
	}
	res := a.render(x)
	if res.echo {
		x.echo()
		return
	}
	x.send(a.encoded(res))
	if x.outcome == "" {
		x.outcome = Complete
	}
}

// interim sends an interim answer. A 103 carries what it exists for, a Link (RFC 8297).
func (x *exchange) interim(code int) {
	h := x.w.Header()
	if code == http.StatusEarlyHints {
		h.Set("Link", "</style.css>; rel=preload; as=style")
	}
	x.w.WriteHeader(code)
	h.Del("Link")
}

func (x *exchange) send(res response) {
	chunked := x.a.chunked || res.length < 0 || len(x.a.trailers) > 0
	x.headers(res, chunked)
	x.status = res.status
	x.w.WriteHeader(res.status)
	if x.a.fault.where == afterHeaders {
		x.flush()
		if x.strike() {
			return
		}
	}
	sent := 0
	if x.a.fault.after > 0 && res.middle > 0 {
		res.middle = x.a.fault.after
	}
	for piece := range res.body {
		if x.a.fault.where == midBody && sent >= res.middle {
			if res.middle == 0 {
				x.write(piece[:(len(piece)+1)/2])
			}
			x.flush()
			if x.strike() {
				return
			}
		}
		x.write(piece)
		// The first flush also keeps net/http from counting a short body and sending its length.
		if res.flush || chunked && sent == 0 {
			x.flush()
		}
		sent++
	}
	if sent == 0 && chunked {
		x.flush()
	}
	if x.a.fault.where == midBody && x.strike() { // a body too short to have a middle
		return
	}
	for _, t := range x.a.trailers {
		x.w.Header().Set(t.name, t.value)
	}
}

// headers sets the answer's headers, then those that the script adds.
func (x *exchange) headers(res response, chunked bool) {
	h := x.w.Header()
	maps.Copy(h, res.header)
	if x.anthropic() {
		h.Set("Request-Id", x.RequestID())
	} else {
		h.Set("X-Request-Id", x.RequestID())
	}
	if !chunked {
		h.Set("Content-Length", strconv.FormatInt(res.length, 10))
	}
	set := map[string]bool{}
	for _, f := range x.a.headers {
		name := http.CanonicalHeaderKey(f.name)
		switch {
		case f.value == "":
			h[name] = nil // not even the one that net/http would add
		case set[name]:
			h.Add(name, f.value)
		default:
			h.Set(name, f.value)
		}
		set[name] = true
	}
	for _, t := range x.a.trailers {
		h.Add("Trailer", t.name)
	}
}

func (x *exchange) write(p []byte) {
	n, err := x.w.Write(p)
	x.sent += int64(n)
	if err != nil {
		x.left()
	}
}

func (x *exchange) flush() {
	if err := x.rc.Flush(); err != nil {
		x.left()
	}
}

func (x *exchange) anthropic() bool { return isAnthropic(x.req.Endpoint, x.r.Header) }
