package extproc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// attempt is what one stream needs, kept for the next one.
type attempt struct {
	exchange
	message *message
	share   share
}

var (
	attempts = sync.Pool{New: func() any { return &attempt{message: new(message)} }}
	messages = sync.Pool{New: func() any { return new(message) }}
)

// process is one stream: receive, handle, send. It ends as soon as nothing is left to decide: Envoy then goes on by itself,
// however long the response streams.
func (s *Server) process(stream grpc.ServerStream) (err error) {
	s.metrics.open.Add(1)
	defer func() {
		s.metrics.open.Add(-1)
		s.settled()
	}()
	ended, err := s.attempt(stream)
	if ended != nil {
		s.watch(stream, err)
		ended()
	}
	return err
}

// watch waits for the end of a response that passes without Keyturn. Envoy keeps the stream until then, since it was asked for the response's trailers,
// which few have. A stream that ends by this end, when the server shuts down, changes nothing for the response.
func (s *Server) watch(stream grpc.ServerStream, err error) {
	if err != nil {
		return
	}
	over := make(chan struct{})
	go func() { // it ends with the stream, which ends when this function's caller returns
		defer close(over)
		m, out := messages.Get().(*message), reply{}
		defer func() { m.release(); messages.Put(m) }()
		for stream.RecvMsg(m) == nil {
			if m.kind == responseTrailers {
				out.pass(m.kind, nil, modes{}, nil)
				if stream.SendMsg(&out) != nil {
					return
				}
			}
			m.release()
		}
	}()
	select {
	case <-over:
	case <-s.quit:
	}
}

// attempt handles what comes of one stream. It returns what is to be done when the response has come to its end, where anything is.
func (s *Server) attempt(stream grpc.ServerStream) (ended func(), err error) {
	a := attempts.Get().(*attempt)
	a.begin(s.pools.Load(), s.maxRetry)
	a.limited.book = s.book
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("attempt panicked; this is a bug", slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			a.finish()
			a.share.end()
			a.limited.over(noResponse)
			err = status.Error(codes.Internal, "internal error")
			return // a is not used again
		}
		s.record(stream.Context(), &a.exchange)
		a.finish()
		ended = a.limited.over(a.outcome)
		a.share.end()
		a.clear()
		a.message.release()
		attempts.Put(a)
	}()
	for !a.done {
		d, err := s.receive(stream, a)
		if err == nil {
			err = s.send(stream, a, d)
		}
		if err != nil {
			return nil, gone(err)
		}
	}
	return nil, nil
}

// leave keeps what the next attempt has to know of x, if there is to be one.
func (s *Server) leave(x *exchange) {
	s.trails.leave(x)
	if x.outcome == turned && x.limited.id != "" {
		s.book.Next(x.limited.id)
		x.limited.id = ""
	}
}

// receive takes Envoy's next message and says what is due.
func (s *Server) receive(stream grpc.ServerStream, a *attempt) (due, error) {
	if err := stream.RecvMsg(a.message); err != nil {
		return dueNothing, err
	}
	switch {
	case a.message.kind == requestHeaders:
		s.trails.follow(&a.exchange, a.message)
	case a.message.kind == requestBody && (a.tools != nil || a.body != nil || a.limited.read):
		a.full, a.fullFor = !a.takeBody(stream.Context(), a.share.came), wantLarger
		s.tellCoded(a)
		a.gone = func() bool { return stream.Context().Err() != nil }
	case a.message.kind == responseHeaders && string(a.message.details) == viaUpstream:
		s.conns.answered(a.message.address)
	case a.message.kind == responseHeaders && len(a.message.details) > 0:
		a.reused = s.conns.ended(a.message.address)
	case a.message.kind == responseBody && a.shape == wholeBody:
		a.full, a.fullFor = !a.takeBody(stream.Context(), a.share.more), wantAnswer
	}
	if a.message.kind == responseHeaders && a.pool != nil {
		a.room = s.roomFor(stream.Context(), a, wantError)
		a.roomLater = s.roomFor(stream.Context(), a, wantLater)
	}
	isHead := a.message.kind == responseHeaders
	d, err := a.handle(a.message, s.clock.Now())
	if err != nil {
		s.log.Warn("Envoy's message does not fit", slog.Any("error", err))
		return dueNothing, status.Error(codes.InvalidArgument, err.Error())
	}
	if a.awaiting == a.message {
		a.message = messages.Get().(*message)
	}
	s.begun(stream.Context(), a)
	s.account(stream.Context(), a, d)
	s.leave(&a.exchange) // before the front can make the next attempt
	if isHead {
		s.learn(&a.exchange) // before the client can send its next request
	}
	return d, nil
}

// account takes memory for the body that Envoy was asked for, or gives back what of it is not needed any more.
func (s *Server) account(ctx context.Context, a *attempt, d due) {
	switch {
	case a.message.kind == requestHeaders && a.bodyMode == bodyBuffered && !a.done:
		length := a.length
		if length < 0 { // it comes in chunks
			length = a.pool.maxBody
		}
		if !a.share.announced(ctx, s.budget, length) {
			a.busy()
			a.fullFor = wantRequest
		}
	case a.message.kind == requestBody && d != dueTools:
		a.share.end()
	}
	if a.full {
		a.full = false
		s.refused(ctx, a.pool, a.fullFor)
	}
}

// send sends what is due.
func (s *Server) send(stream grpc.ServerStream, a *attempt, d due) error {
	switch d {
	case dueReply:
		return stream.SendMsg(&a.out)
	case dueTools:
		s.put(stream.Context(), a)
		s.leave(&a.exchange)
		return stream.SendMsg(&a.out)
	case duePiece:
		if err := sendChunks(stream, &a.out, a.chunk); err != nil || !a.hasRest() {
			return err
		}
		return s.send(stream, a, a.streamedOn())
	case dueDeletes:
		s.deleteTurns(stream.Context(), a)
		return stream.SendMsg(&a.out)
	case dueLastPiece:
		return s.sendEnd(stream, a)
	case dueTurns:
		if a.shape == drained {
			return s.finishStream(stream, a)
		}
		return s.finishWhole(stream, a)
	case dueNothing:
	}
	return nil
}

// gone is nil for an error that only says that Envoy has ended the stream, since the client left.
func gone(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}
