package slowclients

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// How late a late processor answers.
const (
	lateHeaders = 20 * time.Millisecond
	lateChunk   = 2 * time.Millisecond
)

// late stands between Envoy and Keyturn and hands Keyturn's messages on late, each stream by itself.
type late struct {
	extproc.UnimplementedExternalProcessorServer
	keyturn extproc.ExternalProcessorClient
}

// StartLate starts a late processor on a socket, with Keyturn on another one, and ends it with the test.
func StartLate(t testing.TB, socket, keyturn string) {
	t.Helper()
	const message = 256 << 20 // more than either side takes
	conn, err := grpc.NewClient("unix:"+keyturn, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(16<<20), // Envoy's
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(message), grpc.MaxCallSendMsgSize(message)))
	require.NoError(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	require.NoError(t, err)
	s := grpc.NewServer(grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(16<<20), grpc.MaxRecvMsgSize(message), grpc.MaxSendMsgSize(message)) // Keyturn's
	extproc.RegisterExternalProcessorServer(s, &late{keyturn: extproc.NewExternalProcessorClient(conn)})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		require.NoError(t, <-served)
		require.NoError(t, conn.Close())
	})
}

// Process is one stream. Each side's end is the other's.
func (l *late) Process(envoy extproc.ExternalProcessor_ProcessServer) error {
	ctx, cancel := context.WithCancel(envoy.Context())
	defer cancel()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	keyturn, err := l.keyturn.Process(ctx)
	if err != nil {
		return err
	}
	go func() {
		for {
			m, err := envoy.Recv()
			if err != nil {
				_ = keyturn.CloseSend() // it never fails
				return
			}
			if keyturn.Send(m) != nil {
				return // Recv below tells why
			}
		}
	}()
	for {
		m, err := keyturn.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !wait(ctx, lateness(m)) {
			return ctx.Err()
		}
		if err := envoy.Send(m); err != nil {
			return err
		}
	}
}

func lateness(m *extproc.ProcessingResponse) time.Duration {
	switch m.Response.(type) {
	case *extproc.ProcessingResponse_RequestBody, *extproc.ProcessingResponse_ResponseBody:
		return lateChunk
	}
	return lateHeaders
}

// Sockets are a path for Keyturn's socket and one for the late processor's.
func Sockets(t testing.TB) (keyturn, late string) {
	t.Helper()
	dir := t.TempDir()
	return filepath.Join(dir, "k.sock"), filepath.Join(dir, "l.sock")
}
