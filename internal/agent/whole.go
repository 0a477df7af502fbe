package agent

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
)

// Whole goes on with a response that does not stream, from the end of its first turn to its own. The client's answer is
// Session.Body; or the Answer, when a later turn failed.
func (a *Agent) Whole(ctx context.Context, r *Response, turn dialect.Turn) (answer *Answer, err error) {
	l := &loop{Response: r, agent: a}
	ctx, done := a.watch.response(ctx, r)
	defer done()
	defer func() {
		if answer == nil && err == nil && int64(len(r.Session.Body())) > r.Limits.MaxBody { // Envoy could not hold it
			answer = l.own(http.StatusBadGateway, answerTooLarge)
		}
	}()
	for {
		l.note(turn)
		switch {
		case turn.Failure != nil && !l.retry(turn.Failure):
			l.Session.Relay(nil)
			return nil, nil
		case turn.Failure != nil:
			l.Session.Again()
		case len(turn.Calls) == 0:
			return nil, nil
		default:
			if err := l.settleWhole(ctx, turn); err != nil {
				return nil, err
			}
			if turn.Mixed || !l.next() {
				l.Session.Finish(nil)
				return nil, nil
			}
		}
		next, answer, err := l.whole(ctx)
		if err != nil || answer != nil {
			return answer, err
		}
		turn = next
	}
}

func (l *loop) settleWhole(ctx context.Context, turn dialect.Turn) error {
	calls, cancel := l.timed(ctx)
	defer cancel()
	results := l.start(calls, turn)
	for range turn.Calls {
		select {
		case s := <-results:
			l.tell(nil, s)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// whole runs the next turn. The answer is what the client gets when it failed.
func (l *loop) whole(ctx context.Context) (turn dialect.Turn, answer *Answer, err error) {
	ctx, done := l.agent.watch.turn(ctx, l.Response)
	defer func() {
		var problem *dialect.Error
		if answer != nil {
			e := dialect.ReadError(answer.Status, answer.Body)
			problem = &e
		}
		done(turn, problem, err)
	}()
	if int64(len(l.Session.Request())) > l.Limits.MaxBody {
		return turn, l.own(http.StatusRequestEntityTooLarge, tooLarge), nil
	}
	resp, err := l.agent.send(ctx, l.request())
	switch {
	case err != nil && ctx.Err() != nil:
		return turn, nil, ctx.Err()
	case err != nil:
		return turn, l.own(http.StatusBadGateway, l.agent.unreachable(ctx, err)), nil
	}
	defer resp.Body.Close()
	l.Used = resp.Header.Get(wire.UsedNameHeader)
	body, err := io.ReadAll(io.LimitReader(resp.Body, l.Limits.MaxBody+1))
	switch {
	case ctx.Err() != nil:
		return turn, nil, ctx.Err()
	case err != nil:
		return turn, l.own(http.StatusBadGateway, brokeOff), nil
	case int64(len(body)) > l.Limits.MaxBody:
		return turn, l.own(http.StatusBadGateway, answerTooLarge), nil
	case resp.StatusCode != http.StatusOK:
		return turn, &Answer{Status: resp.StatusCode, Header: handOver(resp.Header), Body: body}, nil
	}
	return l.Session.Whole(body), nil, nil
}

// own is an answer of Keyturn's own.
func (l *loop) own(status int, e dialect.Error) *Answer {
	h := http.Header{"Content-Type": {"application/json"}}
	h.Set(wire.ErrorHeader, e.Code)
	return &Answer{Status: status, Header: h, Body: l.Origin.Dialect.ErrorBody(e)}
}

// handed are the headers of a failed turn that tell the client what to do.
var handed = []string{
	"content-type", wire.RetryAfterHeader, wire.RetryAfterMillisHeader, wire.ShouldRetryHeader, wire.ErrorHeader, wire.RequestIDHeader, "request-id",
}

// handOver keeps those of a failed turn's headers.
func handOver(h http.Header) http.Header {
	out := http.Header{}
	for name, v := range h {
		if slices.Contains(handed, strings.ToLower(name)) {
			out[name] = v
		}
	}
	return out
}
