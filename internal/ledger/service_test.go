package ledger

import (
	"context"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keyturn/keyturn/internal/wire"
)

// serve serves d beside nothing else, and returns a client.
func (d *desk) serve() alsv3.AccessLogServiceClient {
	d.t.Helper()
	l, err := net.Listen("unix", filepath.Join(d.t.TempDir(), "s"))
	require.NoError(d.t, err)
	s := grpc.NewServer()
	d.Register(s)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	conn, err := grpc.NewClient("unix:"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(d.t, err)
	d.t.Cleanup(func() {
		require.NoError(d.t, conn.Close())
		s.Stop()
		require.NoError(d.t, <-ended)
	})
	return alsv3.NewAccessLogServiceClient(conn)
}

// end ends a stream, and returns when all of it was taken.
func end(t *testing.T, s alsv3.AccessLogService_StreamAccessLogsClient) {
	t.Helper()
	require.NoError(t, s.CloseSend())
	require.NoError(t, s.RecvMsg(&alsv3.StreamAccessLogsResponse{}))
}

func entries(e ...*accesslogv3.HTTPAccessLogEntry) *alsv3.StreamAccessLogsMessage {
	return &alsv3.StreamAccessLogsMessage{LogEntries: &alsv3.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &alsv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: e},
	}}
}

func named(log string, e ...*accesslogv3.HTTPAccessLogEntry) *alsv3.StreamAccessLogsMessage {
	m := entries(e...)
	m.Identifier = &alsv3.StreamAccessLogsMessage_Identifier{LogName: log}
	return m
}

func TestStreams(t *testing.T) {
	d := newDesk(t)
	client := d.serve()
	fronts, err := client.StreamAccessLogs(t.Context())
	require.NoError(t, err)
	attempts, err := client.StreamAccessLogs(t.Context())
	require.NoError(t, err)
	const other = "22222222-2222-4222-8222-222222222222"
	require.NoError(t, fronts.Send(named(wire.RequestLog, requestEntry(id1, nil))))
	require.NoError(t, fronts.Send(entries(requestEntry(other, nil)))) // only a stream's first message has its name
	require.NoError(t, attempts.Send(named(wire.AttemptLog, attemptEntry(other, nil, nil), attemptEntry(id1, nil, nil))))
	end(t, fronts)
	end(t, attempts)
	require.Len(t, d.made(), 2)

	t.Run("somebody else's log", func(t *testing.T) {
		s, err := client.StreamAccessLogs(t.Context())
		require.NoError(t, err)
		require.NoError(t, s.Send(named("theirs", requestEntry("x", nil))))
		end(t, s)
		require.Empty(t, d.made())
	})
	t.Run("an entry that is too large, and one without a time", func(t *testing.T) {
		s, err := client.StreamAccessLogs(t.Context())
		require.NoError(t, err)
		huge := requestEntry("x", func(e *accesslogv3.HTTPAccessLogEntry) { e.Request.Referer = strings.Repeat("x", maxEntry) })
		require.NoError(t, s.Send(named(wire.RequestLog, huge, &accesslogv3.HTTPAccessLogEntry{}, requestEntry("y", nil))))
		end(t, s)
		require.EqualValues(t, 1, d.waiting())
		require.EqualValues(t, 1, d.metrics.entries[1][tooLarge].Load())
		require.EqualValues(t, 1, d.metrics.entries[1][malformed].Load())
	})
	t.Run("what is no message", func(t *testing.T) {
		name := ""
		require.False(t, d.message([]byte{0x12, 0xff}, &name))
		require.False(t, d.message([]byte("\x12\x02\x0a\x05"), &name))
		require.True(t, d.message(nil, &name))
	})
}

// TestDrain holds that streams, which Envoy never ends, end when nothing comes of them any more, and not before.
func TestDrain(t *testing.T) {
	d := newDesk(t)
	client := d.serve()
	reset := d.clock.Trap().TimerReset("ledger", "quiet")
	defer reset.Close()
	s, err := client.StreamAccessLogs(t.Context())
	require.NoError(t, err)
	d.Drain()
	d.Drain()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	reset.MustWait(ctx).MustRelease(ctx)
	require.NoError(t, s.Send(named(wire.AttemptLog, attemptEntry(id1, nil, nil))))
	reset.MustWait(ctx).MustRelease(ctx) // a message puts the end off
	ended := make(chan error, 1)
	go func() { ended <- s.RecvMsg(&alsv3.StreamAccessLogsResponse{}) }()
	for over := false; !over; {
		d.clock.Advance(min(quietTime, sweepTime)).MustWait(ctx)
		select {
		case err := <-ended:
			require.NoError(t, err)
			over = true
		default:
			require.NoError(t, ctx.Err())
			runtime.Gosched()
		}
	}
	require.EqualValues(t, 1, d.waiting())
}
