package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

const (
	problemBytes = 64 << 10 // of an error's body that is looked at
	dialTimeout  = 5 * time.Second
	drainGrace   = time.Second // real time; see closeGrace
	idleConns    = 64          // per server
)

// newHTTP returns the connections to one server. They have no time-out of their own: it would end streams; contexts do that.
func newHTTP() *http.Transport {
	protocols := new(http.Protocols)
	// HTTP/1.1 alone: there a request is known to be unsent until the last of it is handed over. HTTP/2 tells only afterwards.
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConns:        idleConns,
		MaxIdleConnsPerHost: idleConns,
		MaxConnsPerHost:     maxConns,

		MaxResponseHeaderBytes: maxHeaders,
		IdleConnTimeout:        30 * time.Second,
		Protocols:              protocols,
	}
}

// carrier carries the HTTP requests of one session.
type carrier struct {
	next    http.RoundTripper
	origin  url.URL // of which only scheme and host count
	headers map[string]string
	life    context.Context // of the session: it ends every request
	tap     *tap            // of the session; nil: HTTP+SSE, where answers come on one stream, and no request tells the version
	event   int64           // limit of one event on a stream that is not one call's, in bytes
	large   func()          // told of one over it
}

// client returns an HTTP client. The redirects that reach it are those that check lets through.
func (c *carrier) client() *http.Client {
	return &http.Client{Transport: c, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return errors.New("the server redirects in a circle")
		}
		return nil
	}}
}

// follows reports whether a redirect is followed: within the origin, since the credential stays there, and with the same method. Many servers
// redirect /mcp to /mcp/ so.
func (c *carrier) follows(resp *http.Response) bool {
	to, err := resp.Location()
	if err != nil || !c.within(to) {
		return false
	}
	return resp.StatusCode == http.StatusTemporaryRedirect || resp.StatusCode == http.StatusPermanentRedirect
}

func (c *carrier) within(u *url.URL) bool {
	return u.Scheme == c.origin.Scheme && u.Host == c.origin.Host
}

var errElsewhere = errors.New("the server named another host")

// RoundTrip implements http.RoundTripper. Every answer that is not MCP is an *answerError.
func (c *carrier) RoundTrip(req *http.Request) (*http.Response, error) {
	if !c.within(req.URL) {
		return nil, errElsewhere // the endpoint event of HTTP+SSE may say anything; the credential stays here
	}
	f := flightOf(req.Context())
	ctx, release := c.bind(req.Context(), f)
	if f != nil && req.Method == http.MethodPost { // a GET resumes the stream of one that was sent
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GetConn: func(string) { f.setSent(false) }, // nothing was written to the connection before this one, or it answered a redirect
			WroteRequest: func(info httptrace.WroteRequestInfo) { // before the last flush
				if info.Err == nil {
					f.setSent(true)
				}
			},
		})
	}
	req = req.Clone(ctx)
	for name, value := range c.headers {
		req.Header.Set(name, value)
	}
	if c.tap != nil && req.Header.Get("Mcp-Protocol-Version") == "" {
		if version := c.tap.version.Load(); version != nil {
			req.Header.Set("Mcp-Protocol-Version", *version)
		}
	}
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		release()
		return nil, err
	}
	resp.Body = &heldBody{ReadCloser: resp.Body, release: release}
	if req.Method != http.MethodDelete {
		err = c.check(req, resp, f)
	}
	if err != nil {
		_ = resp.Body.Close()
		var answer *answerError
		if f != nil && errors.As(err, &answer) {
			if req.Method == http.MethodPost {
				f.refuse(answer)
			} else {
				f.end(err) // the stream of a call broke and cannot be resumed; the SDK would try five times
			}
		}
		return nil, err
	}
	return resp, nil
}

// bind returns the context of an HTTP request, and what releases it. It ends with the session, and with the caller's; but when the caller has the
// answer, the rest of the stream is read for a moment, so that the connection can serve again.
func (c *carrier) bind(caller context.Context, f *flight) (context.Context, func()) {
	ctx, end := context.WithCancelCause(context.WithoutCancel(caller))
	stopLife := context.AfterFunc(c.life, func() { end(context.Cause(c.life)) })
	stopCaller := context.AfterFunc(caller, func() {
		if f == nil || !f.over() {
			end(context.Cause(caller))
			return
		}
		timer := time.AfterFunc(drainGrace, func() { end(errAborted) })
		context.AfterFunc(ctx, func() { timer.Stop() })
	})
	return ctx, func() {
		stopLife()
		stopCaller()
		end(nil)
	}
}

// check makes of an answer what the SDK can take: a valid message, a stream of valid messages, an error, or nothing.
func (c *carrier) check(req *http.Request, resp *http.Response, f *flight) error {
	if c.follows(resp) {
		return nil
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return problem(resp)
	}
	call, isCall := callOf(req.Context())
	if req.Method == http.MethodPost && (c.tap == nil || !isCall) {
		// It is accepted. What came with it, nobody awaits, and it need not end.
		err := resp.Body.Close()
		resp.Body = http.NoBody
		return err
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case media == "text/event-stream":
		large, limit := c.large, c.event
		if f != nil {
			large, limit = f.tooLarge, f.limit
			resp.Body = &cappedBody{ReadCloser: resp.Body, left: limit, flight: f}
		}
		resp.Body = &eventBody{src: resp.Body, scan: newEventReader(resp.Body, limit), large: large}
		return nil
	case media == "application/json" && req.Method == http.MethodPost:
		return whole(resp, f, call)
	}
	return &answerError{status: resp.StatusCode}
}

// whole reads the body of a single message, so that what is wrong with it concerns this request alone. call is the request's id.
func whole(resp *http.Response, f *flight, call jsonrpc.ID) error {
	limit := int64(helloBytes)
	if f != nil {
		limit = f.limit
	}
	body, err := io.ReadAll(&cappedBody{ReadCloser: resp.Body, left: limit, flight: f})
	switch {
	case errors.Is(err, errTooLarge):
		return &answerError{status: resp.StatusCode, large: true}
	case err != nil:
		return fmt.Errorf("reading the answer: %w", err)
	}
	msg, err := jsonrpc.DecodeMessage(body)
	if answer, ok := msg.(*jsonrpc.Response); err != nil || !ok || answer.ID != call { // the SDK would wait on
		return &answerError{status: resp.StatusCode, rpc: errorOf(body)}
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// errorOf returns the JSON-RPC error in a body, nil if there is none. It may have the id null, of a request that the server could not read.
// https://www.jsonrpc.org/specification#response_object
func errorOf(body []byte) *jsonrpc.Error {
	var answer struct {
		Version string         `json:"jsonrpc"`
		Error   *jsonrpc.Error `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Version != "2.0" {
		return nil
	}
	return answer.Error
}

// problem reads an answer with an error status.
func problem(resp *http.Response) *answerError {
	e := &answerError{status: resp.StatusCode}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.retryAfter = time.Duration(min(seconds, 24*60*60)) * time.Second
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, problemBytes))
	e.rpc = errorOf(body)
	return e
}

// heldBody releases what belongs to a request when its body is closed.
type heldBody struct {
	io.ReadCloser
	release func()
}

func (b *heldBody) Close() error {
	err := b.ReadCloser.Close()
	b.release()
	return err
}

// cappedBody fails after so many bytes, and when the server's answers need more room than there is.
type cappedBody struct {
	io.ReadCloser
	left   int64
	flight *flight // told of it; nil: nobody
}

func (b *cappedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.over()
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 || b.flight != nil && !b.flight.hold(n) {
		b.left = -1
		return 0, b.over()
	}
	return n, err
}

func (b *cappedBody) over() error {
	if b.flight != nil {
		b.flight.tooLarge()
	}
	return errTooLarge
}
