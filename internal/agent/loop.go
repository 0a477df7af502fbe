package agent

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/coder/quartz"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
)

// Keys judges turns that failed within a 200 before they showed anything. Each method marks the key that is to blame, if one is, and
// reports whether the turn may run again.
type Keys interface {
	// FirstFailed is told of the first turn, whose key the caller knows.
	FirstFailed(f *dialect.Failure) (again bool)
	// LaterFailed is told of a later turn and the name of the key that served it.
	LaterFailed(key string, f *dialect.Failure) (again bool)
}

// Sink takes what a client that streams gets.
type Sink interface {
	// Emit sends p and keeps nothing of it. An error ends the response; after ErrNoRoom one more call has the error that the
	// client reads.
	Emit(p []byte) error
}

// loop is a response while its later turns run.
type loop struct {
	*Response
	agent *Agent
	keys  Keys
	sink  Sink
	out   []byte        // what goes to the client next
	idle  *quartz.Timer // fires when the client has heard nothing for keepAlive; nil where it does not stream

	streamed  int64 // bytes of a later turn's stream for which no memory was asked yet
	repeated  int   // turns that were run again
	spent     bool  // the calls are used up
	forbidden bool  // the turn is the last: the model was told to call no tools
}

// Finish goes on with a response from the end of its first turn to its own. It returns when the client that streams has been told
// all there is by sink, or the one that does not gets Response.Body; or instead, if that is not nil, since a later turn failed.
// An error means that the client is gone or ctx has ended. The sink may be nil where the response does not stream.
func (a *Agent) Finish(ctx context.Context, r *Response, keys Keys, sink Sink) (instead *ErrorAnswer, err error) {
	l := &loop{Response: r, agent: a, keys: keys, sink: sink}
	if r.Streams() {
		l.idle = a.clock.NewTimer(keepAlive, "agent", "keepalive")
		defer l.idle.Stop()
	}
	ctx, done := a.watch.response(ctx, r)
	defer done()
	p, err := l.turns(ctx)
	switch {
	case errors.Is(err, ErrNoRoom):
		p = &noRoom
	case err != nil:
		return nil, err
	case p == nil && !r.Streams() && int64(len(r.Body())) > r.limits.MaxBody: // Envoy could not hold it
		p = &answerTooLarge
	}
	if p != nil {
		r.report.Problem = p.name()
	}
	switch {
	case p == nil:
		return nil, nil
	case r.Streams():
		return nil, l.emit(l.session.Fail(l.out[:0], p.Error))
	}
	return p.asAnswer(r.origin.Dialect, r.report.Calls > 0), nil
}

// turns runs the later turns. A problem is still to be told.
func (l *loop) turns(ctx context.Context) (*problem, error) {
	for {
		follows, err := l.conclude(ctx)
		if err != nil || !follows {
			return nil, err
		}
		e, err := l.runTurn(ctx)
		switch {
		case err != nil:
			return nil, err
		case e.problem != nil:
			return e.problem, nil
		}
		l.ended(e.turn)
		if l.turn.Cut && l.Streams() { // a first turn's end is the provider's own, and the client sees it as it is
			return &brokeOff, nil
		}
	}
}

// conclude does what the turn asks for that has ended, and reports whether another follows.
func (l *loop) conclude(ctx context.Context) (follows bool, err error) {
	switch {
	case l.turn.Failure != nil && l.again():
		l.session.Again()
		return true, nil
	case l.turn.Failure != nil:
		return false, l.emit(l.session.Relay(l.out[:0]))
	case len(l.turn.Calls) == 0:
		return false, nil
	}
	if err := l.settle(ctx); err != nil {
		return false, err
	}
	if l.turn.Mixed || !l.prepare() {
		return false, l.emit(l.session.Finish(l.out[:0]))
	}
	return true, nil
}

// again reports whether the turn that has failed is run again. A later turn's key is known by what the answer says that it used:
// where that is missing, nobody is to blame.
func (l *loop) again() (yes bool) {
	switch {
	case l.repeated == maxAgain:
	case l.report.Turns == 1:
		yes = l.keys.FirstFailed(l.turn.Failure)
	case l.report.Key != "":
		yes = l.keys.LaterFailed(l.report.Key, l.turn.Failure)
	}
	if yes {
		l.repeated++
	}
	return yes
}

// prepare makes the next turn's request. It returns false when there is none: the client's tokens are used up, or the model called
// tools in the last turn, in which it may call none.
func (l *loop) prepare() bool {
	if l.forbidden {
		return false
	}
	l.forbidden = l.report.Turns+1 >= l.limits.Turns+l.repeated || l.spent || l.report.Calls >= l.limits.Calls || l.timeLeft() <= 0
	return l.session.Continue(l.forbidden)
}

// emit hands b, which may be l.out with more in it, to a client that streams.
func (l *loop) emit(b []byte) error {
	l.out = b
	if len(b) == 0 || l.idle == nil {
		return nil
	}
	l.idle.Reset(keepAlive, "agent", "keepalive")
	return l.sink.Emit(b)
}

// silence fires when a client that streams has heard nothing for keepAlive.
func (l *loop) silence() <-chan time.Time {
	if l.idle == nil {
		return nil
	}
	return l.idle.C
}

// keepAlive shows the client that all is well.
func (l *loop) keepAlive() error {
	b := l.session.KeepAlive(l.out[:0])
	if len(b) == 0 { // nothing may be said now
		l.idle.Reset(keepAlive, "agent", "keepalive")
	}
	return l.emit(b)
}

// settle runs the calls of a turn and tells the session their results as they come.
func (l *loop) settle(ctx context.Context) error {
	calls, cancel := l.timed(ctx)
	defer cancel()
	results := l.start(calls)
	for left := len(l.turn.Calls); left > 0; {
		select {
		case s := <-results:
			left--
			if err := l.emit(l.tell(l.out[:0], s)); err != nil {
				return err
			}
		case <-l.silence():
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

// ending is what a later turn came to: a turn, or the problem that the response ends with.
type ending struct {
	turn    dialect.Turn
	problem *problem
}

// runTurn sends the turn's request, hands its answer to the session, and to the client what comes of it. It returns an ending or an error,
// which ends the loop, or both.
func (l *loop) runTurn(ctx context.Context) (e *ending, err error) {
	ctx, done := l.agent.watch.turn(ctx, l.Response)
	defer func() { done(e, err) }()
	if int64(len(l.session.Request())) > l.limits.MaxBody {
		return &ending{problem: &tooLarge}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	l.report.Sent++
	f := l.fetch(ctx)
	defer func() {
		cancel()
		<-f.done
	}()
	for e == nil && err == nil {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-l.silence():
			err = l.keepAlive()
		case p := <-f.pieces:
			e, err = l.take(ctx, f, p)
		}
	}
	return e, err
}

// take takes the next of a turn's answer. The ending is nil while the turn goes on.
func (l *loop) take(ctx context.Context, f *fetching, p piece) (e *ending, err error) {
	switch {
	case p.panicked != nil:
		panic(p.panicked)
	case ctx.Err() != nil: // which is why it ended
		return nil, ctx.Err()
	case p.unsent != nil:
		return &ending{problem: l.agent.unreachable(ctx, p.unsent)}, nil
	case p.answer != nil:
		return l.head(p), nil
	case p.err != nil:
		e, err = l.over()
		if err == nil && !errors.Is(p.err, io.EOF) {
			e.problem = &brokeOff
		}
		return e, err
	}
	if l.streamed += int64(len(p.bytes)); l.streamed >= roomStep {
		if !l.limits.room(l.streamed) {
			if e, err = l.over(); err == nil {
				e.problem = &noMemory
			}
			return e, err
		}
		l.streamed = 0
	}
	b, state := l.session.Write(l.out[:0], p.bytes)
	f.free <- p.bytes
	if err := l.emit(b); err != nil {
		return nil, err
	}
	if state == dialect.Failing {
		return l.over()
	}
	return e, nil
}

// over ends the turn's stream.
func (l *loop) over() (*ending, error) {
	b, turn := l.session.End(l.out[:0])
	return &ending{turn: turn}, l.emit(b)
}

// head takes the head of a turn's answer, and its body unless it is the stream that the client waits for.
func (l *loop) head(p piece) *ending {
	l.report.Key = p.answer.Header.Get(wire.UsedNameHeader)
	switch {
	case l.awaits(p.answer) && p.err == nil:
		return nil
	case errors.Is(p.err, errNoMemory):
		return &ending{problem: &noMemory}
	case p.err != nil && (!l.Streams() || isGood(p.answer)):
		return &ending{problem: &brokeOff}
	case l.Streams():
		return &ending{problem: refused(p.answer, p.bytes)}
	case int64(len(p.bytes)) > l.limits.MaxBody:
		return &ending{problem: &answerTooLarge}
	case !isGood(p.answer):
		return &ending{problem: refused(p.answer, p.bytes)}
	}
	if l.session.Streams() && l.origin.Dialect.IsStream(p.answer.Header.Get("Content-Type")) { // a stream where none is awaited any more
		return &ending{problem: &brokeOff}
	}
	return &ending{turn: l.session.Whole(p.bytes)}
}
