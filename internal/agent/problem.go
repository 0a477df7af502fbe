package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
)

// ErrNoRoom is what Sink.Emit returns when no more may be sent after what it was handed. The response then ends with an error,
// which has room.
var ErrNoRoom = errors.New("no room for more of the response")

// ErrorAnswer is what a client that does not stream gets in place of Response.Body: a later turn failed.
type ErrorAnswer struct {
	Status int
	Header http.Header // a provider's, without those that tell about the account
	Body   []byte
}

// problem is why a response ends before the model has said all. A client that streams reads the error within its stream; any other
// gets an answer with a status of its own.
type problem struct {
	dialect.Error
	status  int          // of the answer that is made of the error
	instead *ErrorAnswer // the provider's own; nil: it is made of the error
}

var plainCode = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

// name is the problem's code, if that is one.
func (p *problem) name() string {
	if plainCode.MatchString(p.Code) {
		return p.Code
	}
	return "provider_error"
}

// Problems that no provider made.
var (
	tooLarge = problem{status: http.StatusRequestEntityTooLarge, Error: dialect.Error{
		Type: "invalid_request_error", Code: "request_too_large",
		Message: "the conversation with the results of the tools outgrew the largest request that this gateway sends; ask for less at a time",
	}}
	brokeOff = problem{status: http.StatusBadGateway, Error: dialect.Error{
		Type: "api_error", Code: "server_error", Message: "the provider's answer broke off; try again",
	}}
	answerTooLarge = problem{status: http.StatusBadGateway, Error: dialect.Error{
		Type: "api_error", Code: "server_error", Message: "the provider's answer is larger than this gateway reads",
	}}
	noMemory = problem{status: http.StatusServiceUnavailable, Error: dialect.Error{
		Type: "overloaded_error", Code: "overloaded", Message: "this gateway has no memory for the provider's answer at the moment; try again later",
	}}
	noRoom = problem{Error: dialect.Error{ // of streams alone
		Type: "api_error", Code: "response_too_large",
		Message: "the later turns of this response are more than this gateway sends on in one response; ask for less at a time",
	}}
)

// unreachable logs why a turn's request could not be sent, or had no answer, and tells the client that it is so.
func (a *Agent) unreachable(ctx context.Context, err error) *problem {
	reason := "the connection broke before the answer's head was complete"
	if op := (*net.OpError)(nil); errors.As(err, &op) { // what others say may repeat bytes of the answer
		reason = op.Error()
	}
	a.log.LogAttrs(ctx, slog.LevelWarn, "Envoy's loopback listener does not answer", slog.String("reason", reason))
	return &problem{status: http.StatusBadGateway, Error: dialect.Error{
		Type: "api_error", Code: "server_error",
		Message: "the next turn could not be sent: Envoy's loopback listener does not answer; the operator finds the reason in Keyturn's log",
	}}
}

// refused is an answer to a later turn that is not what was asked for.
func refused(answer *http.Response, body []byte) *problem {
	h := http.Header{}
	for name, v := range answer.Header {
		if handed(strings.ToLower(name)) {
			h[name] = v
		}
	}
	return &problem{Error: dialect.ReadError(answer.StatusCode, body), instead: &ErrorAnswer{Status: answer.StatusCode, Header: h, Body: body}}
}

// handed reports whether a header of a refusal is for the client: not one that tells about the account, of one connection alone, or about
// bytes that are framed anew; the proxies' own are none of its business.
func handed(name string) bool {
	switch {
	case name == wire.ErrorHeader:
		return true
	case strings.HasPrefix(name, wire.HeaderPrefix), strings.HasPrefix(name, wire.EnvoyPrefix), name == "content-length":
		return false
	}
	return !wire.IsOrigin([]byte(name)) && !slices.Contains(wire.Account, name) && !slices.Contains(wire.Secrets, name) && !slices.Contains(wire.HopByHop, name)
}

// asAnswer is the problem as an answer in the words of the client's dialect. Where calls have run, the client is told not to send its
// request once more: they would run again, and SDKs do so by themselves.
func (p *problem) asAnswer(d dialect.Dialect, ran bool) *ErrorAnswer {
	a := p.instead
	if a == nil {
		h := http.Header{"Content-Type": {"application/json"}}
		h.Set(wire.ErrorHeader, p.Code)
		a = &ErrorAnswer{Status: p.status, Header: h, Body: d.ErrorBody(p.Error)}
	}
	if ran {
		a.Header.Set(wire.ShouldRetryHeader, "false")
	}
	return a
}
