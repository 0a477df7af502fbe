package ledger

import (
	"context"
	"errors"
	"io"
	"time"

	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/keyturn/keyturn/internal/wire"
)

// Register makes l a service of s: envoy.service.accesslog.v3.AccessLogService.
func (l *Ledger) Register(s grpc.ServiceRegistrar) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: alsv3.AccessLogService_ServiceDesc.ServiceName,
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: "StreamAccessLogs", ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return l.stream(stream) },
		}},
		Metadata: alsv3.AccessLogService_ServiceDesc.Metadata,
	}, l)
}

// quietTime is how long a stream must have said nothing to be ended once nothing new can come of it: Envoy gathers entries for a moment.
const quietTime = time.Second

// drainTime is how long a stream may go on then that is never quiet: where another process serves attempts, Envoy tells this one of them until
// its stream ends, and the other one after that.
const drainTime = 3 * time.Second

// Drain ends the streams, each when nothing has come for a moment. They would never end by themselves.
func (l *Ledger) Drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.draining {
		l.draining = true
		close(l.drain)
	}
}

// stream is one of Envoy's: each of its threads has one for each log.
func (l *Ledger) stream(stream grpc.ServerStream) error {
	messages := make(chan error)
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go l.receive(ctx, stream, messages)
	drain, quiet := l.drain, l.clock.NewTimer(time.Hour, "ledger", "quiet")
	quiet.Stop()
	defer quiet.Stop()
	most := l.clock.NewTimer(time.Hour, "ledger", "drain")
	most.Stop()
	defer most.Stop()
	for {
		select {
		case err := <-messages:
			switch {
			case errors.Is(err, io.EOF):
				return answered(stream)
			case status.Code(err) == codes.Canceled:
				return nil
			case err != nil:
				return err
			}
			if drain == nil {
				quiet.Reset(quietTime, "ledger", "quiet")
			}
		case <-drain:
			drain = nil
			quiet.Reset(quietTime, "ledger", "quiet")
			most.Reset(drainTime, "ledger", "drain")
		case <-quiet.C:
			return answered(stream)
		case <-most.C:
			return answered(stream)
		case <-l.quit:
			return answered(stream)
		}
	}
}

// answered ends a stream well: the protocol has one message at its end.
func answered(stream grpc.ServerStream) error {
	return stream.SendMsg(&alsv3.StreamAccessLogsResponse{})
}

// receive takes the stream's messages and says so of each; an error is the last.
func (l *Ledger) receive(ctx context.Context, stream grpc.ServerStream, messages chan<- error) {
	name := ""
	for {
		m := &emptypb.Empty{} // which keeps the bytes as they came
		err := stream.RecvMsg(m)
		if err == nil && !l.message(m.ProtoReflect().GetUnknown(), &name) {
			err = status.Error(codes.InvalidArgument, "not a StreamAccessLogsMessage: broken protobuf")
		}
		select {
		case messages <- err:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// message takes a StreamAccessLogsMessage: identifier 1 {log_name 2}, which only a stream's first has, and http_logs 2 {log_entry 1}. It
// reports whether it is whole.
func (l *Ledger) message(b []byte, name *string) bool {
	whole := true
	ok := each(b, func(f field) {
		switch f.num {
		case 1:
			*name = text(one(f.bytes, 2).bytes, maxShort)
		case 2:
			whole = each(f.bytes, func(f field) {
				if f.num == 1 {
					l.entry(f.bytes, *name)
				}
			}) && whole
		}
	})
	return ok && whole
}

// entry takes one entry of the log with this name. What is no log of Keyturn's is left out.
func (l *Ledger) entry(b []byte, name string) {
	front := name == wire.RequestLog
	if !front && name != wire.AttemptLog {
		return
	}
	if len(b) > maxEntry {
		l.metrics.count(front, tooLarge)
		return
	}
	p := readEntry(b, front)
	if p == nil {
		l.metrics.count(front, malformed)
		return
	}
	l.take(p)
}
