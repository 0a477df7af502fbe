package extproc

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
)

// maxWait is what Envoy is asked for while the turns of an answer that does not stream run: the filter's max_message_timeout.
const maxWait = time.Hour

// relay sends what the first turn of a stream said last, and then what comes of the others. It returns once the client has all, or
// ctx has ended.
func (s *Server) relay(stream grpc.ServerStream, a *attempt) error {
	if err := sendChunks(stream, &a.out, a.chunk); err != nil {
		return err
	}
	a.chunk = a.chunk[:0]
	r := s.continuation(stream.Context(), a)
	room := s.later.begin()
	defer room.end()
	r.Emit = func(p []byte) error {
		send, more := room.take(len(p))
		if send {
			if err := sendChunks(stream, &a.out, p); err != nil {
				return err
			}
		}
		if !more {
			return agent.ErrNoRoom
		}
		return nil
	}
	if err := s.agent.Stream(stream.Context(), r, *a.firstTurn); err != nil {
		return err
	}
	if room.full {
		s.log.Warn("response ended with an error: its later turns are more than Envoy can hold for clients that do not read",
			slog.String("pool", a.pool.name), slog.Int64("bytes", room.sent), slog.Int64("bytes_of_all", s.later.sent.Load()))
	}
	for a.response != ended { // Envoy's own end comes before ours
		d, err := s.receive(stream, a)
		if err == nil && d == answer {
			err = stream.SendMsg(&a.out)
		}
		if err != nil {
			return err
		}
	}
	return s.sendEnd(stream, a)
}

// sendEnd sends a.chunk and the end of the stream: on a body's last piece, or as trailers where the provider sent some.
func (s *Server) sendEnd(stream grpc.ServerStream, a *attempt) error {
	a.done = true
	a.dyn.reset()
	a.describeTurns(&a.dyn)
	last := a.chunk[len(a.chunk)-min(len(a.chunk), maxChunk):]
	if a.trailers {
		last = nil
	}
	if err := sendChunks(stream, &a.out, a.chunk[:len(a.chunk)-len(last)]); err != nil {
		return err
	}
	if a.trailers {
		a.out.pass(responseTrailers, nil, modes{}, &a.dyn)
	} else {
		a.out.chunk(last, true, &a.dyn)
	}
	return stream.SendMsg(&a.out)
}

func sendChunks(stream grpc.ServerStream, out *reply, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), maxChunk)
		out.chunk(p[:n], false, nil)
		if err := stream.SendMsg(out); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// complete runs the turns after the first of a response that does not stream, and answers.
func (s *Server) complete(stream grpc.ServerStream, a *attempt) error {
	a.out.wait(maxWait)
	if err := stream.SendMsg(&a.out); err != nil {
		return err
	}
	instead, err := s.agent.Whole(stream.Context(), s.continuation(stream.Context(), a), *a.firstTurn)
	switch {
	case err != nil:
		return err
	case instead != nil:
		a.answerInstead(instead)
	default:
		a.answerWhole(a.session.Body(), false)
	}
	return stream.SendMsg(&a.out)
}

// continuation is what the agent needs to know of an attempt.
func (s *Server) continuation(ctx context.Context, a *attempt) *agent.Response {
	x := &a.exchange
	x.continuation = &agent.Response{
		Session: x.session, Origin: *x.origin, Began: x.started, Limits: x.pool.limits(),
		Judge: func(name string, f *dialect.Failure) bool {
			again, key, v, t := x.judge(name, f, s.clock.Now())
			if key != nil {
				s.transition(ctx, x.pool, key, f.Status, v, t)
			}
			if !again {
				s.log.LogAttrs(ctx, slog.LevelDebug, "error within a 200 is handed on", slog.String("pool", x.pool.name), slog.String("class", v.Class.String()))
			}
			return again
		},
	}
	return x.continuation
}
