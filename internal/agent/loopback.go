package agent

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/keyturn/keyturn/internal/wire"
)

// NewTransport sends requests to the loopback listener at address, "unix:PATH" or "host:port", whatever host they name. It sets
// no timeouts: a model may think for minutes, and the caller's context ends with the client.
func NewTransport(address string) *http.Transport {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		DisableCompression:  true,
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     30 * time.Second, // below Envoy's for connections without a request
	}
}

// notRepeated are the headers of the client's request that are not sent again with the next turn, beside those of the connection and of
// the proxies: Envoy makes its own. Credentials are kept where the client's own are used, and were removed before where not.
var notRepeated = append([]string{
	"", "host", "content-length", "expect", "accept-encoding", "cookie", wire.RequestIDHeader, "content-encoding", "traceparent", "tracestate",
	// They say that another request with the same value is the same, or what the body is: a turn's is another.
	"idempotency-key", "x-idempotency-key", "content-md5", "digest", "content-digest", "repr-digest", "signature", "signature-input",
}, wire.HopByHop...)

func repeated(name string) bool {
	return !slices.Contains(notRepeated, name) && name[0] != ':' &&
		!strings.HasPrefix(name, wire.HeaderPrefix) && !strings.HasPrefix(name, wire.EnvoyPrefix) && !strings.HasPrefix(name, wire.ForwardedPrefix)
}

// Repeat adds a header of the client's request to what later turns repeat, if it is one of those. The name is in lower case.
func (o *Origin) Repeat(name, value string) {
	if !repeated(name) {
		return
	}
	if o.Header == nil {
		o.Header = http.Header{}
	}
	o.Header.Add(name, value)
}

// Trace is the position in a trace that the client's request carried (https://www.w3.org/TR/trace-context/).
func (o *Origin) Trace(name, value string) {
	if o.trace == nil {
		o.trace = propagation.MapCarrier{}
	}
	o.trace[name] = value
}

// request is the next turn's.
func (r *Response) request() *http.Request {
	body := r.session.Request()
	req := r.origin.request(http.MethodPost, r.report.Turns+1)
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil } // for a connection that was closed before it could be written to
	req.ContentLength = int64(len(body))
	req.Body, _ = req.GetBody()
	if model := url.PathEscape(r.session.Model()); model != "" && len(model) <= maxModel {
		req.Header.Set(wire.ModelHeader, model)
	}
	return req
}

// Delete deletes what the provider stores under the path of an origin. It returns the status of the answer.
func (a *Agent) Delete(ctx context.Context, o *Origin) (status int, err error) {
	answer, err := a.send(ctx, o.request(http.MethodDelete, deleting))
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, maxError))
	return answer.StatusCode, err
}

// deleting is the turn that a request tells which is none.
const deleting = 2

// request is one to the path, without a body.
func (o *Origin) request(method string, turn int) *http.Request {
	u := &url.URL{Scheme: "http", Host: "loopback", Opaque: o.Path}
	if strings.HasPrefix(o.Path, "//") { // alone it would be taken for an authority
		u.Opaque = "http://" + o.Authority + o.Path
	}
	req := &http.Request{
		Method: method, URL: u, Host: o.Authority, Header: o.Header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header["User-Agent"] = nil // not Go's
	}
	req.Header.Set(wire.PoolHeader, o.Pool)
	req.Header.Set(wire.TurnHeader, strconv.Itoa(turn))
	if o.ID != "" {
		req.Header.Set(wire.ParentHeader, o.ID)
	}
	if o.Talk != 0 {
		req.Header.Set(wire.TalkHeader, strconv.FormatUint(o.Talk, 10))
	}
	if o.Client != "" {
		req.Header.Set(wire.ClientHeader, o.Client)
	}
	if o.RequestID != "" {
		req.Header.Set(wire.RequestIDHeader, o.RequestID)
	}
	return req
}

// maxModel bounds the header that tells the model, in bytes.
const maxModel = 1 << 10

// ModelOf reads the model out of the header wire.ModelHeader; "" if it tells none.
func ModelOf(header string) string {
	model, err := url.PathUnescape(header)
	if err != nil {
		return ""
	}
	return model
}

// send sends a turn's request.
func (a *Agent) send(ctx context.Context, req *http.Request) (*http.Response, error) {
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header))
	return a.loopback.RoundTrip(req.WithContext(ctx))
}
