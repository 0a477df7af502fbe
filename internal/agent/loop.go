package agent

import (
	"context"
	"errors"
	"io"

	"github.com/coder/quartz"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
)

// loop is one response while it runs.
type loop struct {
	*Response
	agent *Agent
	out   []byte        // what goes to the client next
	idle  *quartz.Timer // fires when the client has heard nothing for keepAlive; nil where it does not stream
	spent bool          // the calls are used up

	forbidden bool // this turn is the last: the model was told to call no tools
}

// Stream goes on with a response that streams, from the end of its first turn to its own. It returns nil when the client has
// been told all there is, a failure included; an error when the client is gone or ctx has ended.
func (a *Agent) Stream(ctx context.Context, r *Response, turn dialect.Turn) error {
	l := &loop{Response: r, agent: a, idle: a.clock.NewTimer(keepAlive, "agent", "keepalive")}
	defer l.idle.Stop()
	ctx, done := a.watch.response(ctx, r)
	defer done()
	err := l.turns(ctx, turn)
	if errors.Is(err, ErrNoRoom) {
		return l.emit(l.Session.Fail(l.out[:0], noRoom))
	}
	return err
}

// turns runs the turns of a response that streams.
func (l *loop) turns(ctx context.Context, turn dialect.Turn) error {
	for {
		l.note(turn)
		switch {
		case turn.Failure != nil && !l.retry(turn.Failure):
			return l.emit(l.Session.Relay(l.out[:0]))
		case turn.Failure != nil:
			l.Session.Again()
		case turn.Cut && l.Turns > 1: // a first turn's end is the provider's own, and the client sees it as it is
			return l.emit(l.Session.Fail(l.out[:0], brokeOff))
		case len(turn.Calls) == 0:
			return nil
		default:
			if err := l.settle(ctx, turn); err != nil {
				return err
			}
			if turn.Mixed || !l.next() {
				return l.emit(l.Session.Finish(l.out[:0]))
			}
		}
		next, problem, err := l.stream(ctx)
		switch {
		case err != nil:
			return err
		case problem != nil:
			return l.emit(l.Session.Fail(l.out[:0], *problem))
		}
		turn = next
	}
}

// next makes the next turn's request. It returns false when there is none: the client's tokens are used up, or the model called
// tools in the last turn, in which it may call none.
func (l *loop) next() bool {
	if l.forbidden {
		return false
	}
	l.forbidden = l.Turns+1 >= l.Limits.Turns+l.again || l.spent || l.Calls >= l.Limits.Calls || l.timeLeft() <= 0
	return l.Session.Continue(l.forbidden)
}

// emit hands b, which may be l.out with more in it, to the client.
func (l *loop) emit(b []byte) error {
	l.out = b
	if len(b) == 0 {
		return nil
	}
	l.idle.Reset(keepAlive, "agent", "keepalive")
	return l.Emit(b)
}

// keepAlive shows the client that all is well.
func (l *loop) keepAlive() error {
	b := l.Session.KeepAlive(l.out[:0])
	if len(b) == 0 { // nothing may be said now
		l.idle.Reset(keepAlive, "agent", "keepalive")
	}
	return l.emit(b)
}

// settle runs the calls of a turn and tells the session their results as they come.
func (l *loop) settle(ctx context.Context, turn dialect.Turn) error {
	calls, cancel := l.timed(ctx)
	defer cancel()
	results := l.start(calls, turn)
	for left := len(turn.Calls); left > 0; {
		select {
		case s := <-results:
			left--
			if err := l.emit(l.tell(l.out[:0], s)); err != nil {
				return err
			}
		case <-l.idle.C:
			if err := l.keepAlive(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// timed ends the context of calls when the time for tools is used up.
func (l *loop) timed(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := l.agent.clock.AfterFunc(max(l.timeLeft(), 0), func() { cancel(errTime) }, "agent", "time")
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// stream runs the next turn: it sends its request and relays its answer. problem is what the client must be told when it
// failed; err ends the loop.
func (l *loop) stream(ctx context.Context) (turn dialect.Turn, problem *dialect.Error, err error) {
	ctx, done := l.agent.watch.turn(ctx, l.Response)
	defer func() { done(turn, problem, err) }()
	if int64(len(l.Session.Request())) > l.Limits.MaxBody {
		return turn, &tooLarge, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	f := l.fetch(ctx)
	defer func() {
		cancel()
		<-f.done
	}()
	begun := false
	for {
		select {
		case <-ctx.Done():
			return turn, nil, ctx.Err()
		case <-l.idle.C:
			if err := l.keepAlive(); err != nil {
				return turn, nil, err
			}
		case p := <-f.pieces:
			switch {
			case p.panicked != nil:
				panic(p.panicked)
			case p.response != nil:
				begun = true
				if problem := l.head(p); problem != nil {
					return turn, problem, nil
				}
			case p.err != nil && !begun:
				e := l.agent.unreachable(ctx, p.err)
				return turn, &e, nil
			case p.err != nil:
				turn, err := l.over()
				if err == nil && !errors.Is(p.err, io.EOF) {
					problem = &brokeOff
				}
				return turn, problem, err
			default:
				b, state := l.Session.Write(l.out[:0], p.bytes)
				f.free <- p.bytes
				if err := l.emit(b); err != nil {
					return turn, nil, err
				}
				if state == dialect.Failing {
					turn, err := l.over()
					return turn, nil, err
				}
			}
		}
	}
}

// over ends the turn's stream.
func (l *loop) over() (dialect.Turn, error) {
	b, turn := l.Session.End(l.out[:0])
	return turn, l.emit(b)
}

// head looks at the head of a turn's answer; an answer that is no stream is a problem.
func (l *loop) head(p piece) *dialect.Error {
	l.Used = p.response.Header.Get(wire.UsedNameHeader)
	if l.streams(p.response) {
		return nil
	}
	e := dialect.ReadError(p.response.StatusCode, p.bytes)
	return &e
}
