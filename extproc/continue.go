package extproc

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/keypool"
)

// maxWait is what Envoy is asked for while the turns of an answer that does not stream run: the filter's max_message_timeout.
const maxWait = time.Hour

// finishStream sends what the first turn of a stream said last, and then what comes of the others. It returns once the client has
// all, or ctx has ended.
func (s *Server) finishStream(stream grpc.ServerStream, a *attempt) error {
	if err := sendChunks(stream, &a.out, a.chunk); err != nil {
		return err
	}
	a.chunk = a.chunk[:0]
	client := &sink{stream: stream, x: &a.exchange, room: s.later.begin()}
	defer client.room.end()
	instead, err := s.agent.Finish(stream.Context(), a.tools.response, s.judgeOf(stream, a), client)
	switch {
	case err != nil:
		return err
	case instead != nil: // of a JSON answer that came under another name: its status is gone
		a.chunk = append(a.chunk, instead.Body...)
	case len(a.tools.whole) > 0:
		a.chunk = append(a.chunk, a.tools.response.Body()...)
	}
	if client.room.full {
		s.log.Warn("response ended with an error: its later turns are more than Envoy can hold for clients that do not read",
			slog.String("pool", a.pool.name), slog.Int64("bytes", client.room.sent), slog.Int64("bytes_of_all", s.later.sent.Load()))
	}
	for a.response != ended { // Envoy's own end comes before ours
		d, err := s.receive(stream, a)
		if err == nil && d == dueReply {
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
	a.describeTurns(&a.dyn)
	last := a.chunk[len(a.chunk)-min(len(a.chunk), maxChunk):]
	if a.tools.trailers {
		last = nil
	}
	if err := sendChunks(stream, &a.out, a.chunk[:len(a.chunk)-len(last)]); err != nil {
		return err
	}
	if a.tools.trailers {
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

// finishWhole runs the turns after the first of a response that does not stream, and answers.
func (s *Server) finishWhole(stream grpc.ServerStream, a *attempt) error {
	a.out.wait(maxWait)
	if err := stream.SendMsg(&a.out); err != nil {
		return err
	}
	instead, err := s.agent.Finish(stream.Context(), a.tools.response, s.judgeOf(stream, a), nil)
	switch {
	case err != nil:
		return err
	case instead != nil:
		a.sendInstead(instead)
	default:
		a.sendWhole(a.tools.response.Body(), false)
	}
	return stream.SendMsg(&a.out)
}

// sink is the client of a stream, as far as Envoy has room for it.
type sink struct {
	stream grpc.ServerStream
	x      *exchange
	room   *room
	noted  int // calls that the metadata tells of: a client that leaves ends the stream, and nothing can be told after it
}

// Emit implements agent.Sink.
func (k *sink) Emit(p []byte) error {
	send, more := k.room.take(len(p))
	if send {
		if err := k.send(p); err != nil {
			return err
		}
	}
	if !more {
		return agent.ErrNoRoom
	}
	return nil
}

// send sends p, and with it what the log is to tell of the calls that are over since.
func (k *sink) send(p []byte) error {
	if done := len(k.x.tools.response.Report().Done); done > k.noted && len(p) > 0 {
		k.noted = done
		first := p[:min(len(p), maxChunk)]
		k.x.dyn.reset()
		k.x.describeTurns(&k.x.dyn)
		k.x.out.chunk(first, false, &k.x.dyn)
		k.x.dyn.reset()
		if err := k.stream.SendMsg(&k.x.out); err != nil {
			return err
		}
		p = p[len(first):]
	}
	return sendChunks(k.stream, &k.x.out, p)
}

// judge marks the keys whose turns failed within a 200, and tells of it. It implements agent.Keys.
type judge struct {
	server *Server
	ctx    context.Context
	x      *exchange
}

func (s *Server) judgeOf(stream grpc.ServerStream, a *attempt) *judge {
	return &judge{s, stream.Context(), &a.exchange}
}

// FirstFailed blames this attempt's key.
func (j *judge) FirstFailed(f *dialect.Failure) bool { return j.failed(j.x.key, f) }

// LaterFailed blames the key with that name.
func (j *judge) LaterFailed(name string, f *dialect.Failure) bool {
	return j.failed(j.x.laterKey(name), f)
}

func (j *judge) failed(key *keypool.Key, f *dialect.Failure) bool {
	again, v, t := j.x.judge(key, f, j.server.clock.Now())
	j.server.transition(j.ctx, j.x.pool, key, f.Status, v, t)
	if !again {
		j.server.log.LogAttrs(j.ctx, slog.LevelDebug, "error within a 200 is handed on", slog.String("pool", j.x.pool.name), slog.String("class", v.Class.String()))
	}
	return again
}
