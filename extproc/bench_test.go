package extproc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/coder/quartz"
	"go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/keypool"
)

// serverEnv makes the test binary a server on a socket: the benchmark measures a process that does nothing else.
const serverEnv, socketEnv = "KEYTURN_BENCH_SERVER", "KEYTURN_BENCH_SOCKET"

func TestMain(m *testing.M) {
	if kind := os.Getenv(serverEnv); kind != "" {
		if err := benchServer(kind, os.Getenv(socketEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// benchServer serves until standard input ends. For each line it reads it prints what the process has used: CPU time in
// nanoseconds and allocations.
func benchServer(kind, socket string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	switch kind {
	case "noop":
		g := grpc.NewServer()
		extprocv3.RegisterExternalProcessorServer(g, noop{})
		go func() { _ = g.Serve(l) }() // ends with the process
	case "keyturn":
		s, err := newBenchServer()
		if err != nil {
			return err
		}
		go func() { _ = s.Serve(l) }()
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var use syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
			return err
		}
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		fmt.Println(use.Utime.Nano()+use.Stime.Nano(), mem.Mallocs)
	}
	return nil
}

// newBenchServer is a server with all that serve has: a pool, and metrics that somebody could scrape.
func newBenchServer() (*extproc.Server, error) {
	exporter, err := prometheus.New()
	if err != nil {
		return nil, err
	}
	cfg := keypool.Defaults()
	cfg.Name = "openai"
	for _, k := range []string{"k0-long-key", "k1-long-key", "k2-long-key"} {
		cfg.Keys = append(cfg.Keys, keypool.KeyConfig{Secret: k})
	}
	pool, err := keypool.NewPool(cfg, quartz.NewReal())
	if err != nil {
		return nil, err
	}
	return extproc.New(extproc.Config{
		Pools:         []extproc.Pool{{Keys: pool, Cluster: "openai", Header: "authorization", Scheme: "Bearer"}},
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter)),
	})
}

// noop is the usual server: generated code, default options, empty replies.
type noop struct {
	extprocv3.UnimplementedExternalProcessorServer
}

func (noop) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return nil
		}
		resp := &extprocv3.ProcessingResponse{}
		switch m.Request.(type) {
		case *extprocv3.ProcessingRequest_RequestHeaders:
			resp.Response = &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}}
		case *extprocv3.ProcessingRequest_ResponseHeaders:
			resp.Response = &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}
		}
		if err := s.Send(resp); err != nil {
			return err
		}
	}
}

// raw is a codec of bytes: the client's part of the work is the same for both servers and small.
type raw struct{}

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*(v.(*int)) = data.Len()
	return nil
}
func (raw) Name() string { return "proto" }

var _ encoding.CodecV2 = raw{}

// wireMessages are what Envoy sends for one attempt: the request's headers with the front's among them, and the response's with
// attributes.
func wireMessages(tb testing.TB) (request, response []byte) {
	tb.Helper()
	headers := func(pairs ...string) *corev3.HeaderMap {
		m := &corev3.HeaderMap{}
		for i := 0; i < len(pairs); i += 2 {
			m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
		}
		return m
	}
	attributes, err := structpb.NewStruct(map[string]any{"response.code_details": "via_upstream", "response.flags": 0})
	require.NoError(tb, err)
	request, err = proto.Marshal(&extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: headers(
			":authority", "api.openai.com", ":path", "/v1/responses", ":method", "POST", ":scheme", "https",
			"content-type", "application/json", "content-length", "1024", "x-forwarded-proto", "http",
			"x-request-id", "6e7a1f3c-0d5b-4f0e-9d4b-0f6a52f5c1aa", "x-envoy-attempt-count", "1",
			"x-keyturn-id", "0c7b1c3e-5a58-4d5f-8a3e-0d8a5a4b8e21", "x-keyturn-start", "1793534400.000", "x-keyturn-pool", "openai", "x-keyturn-retries", "18",
		)}},
		MetadataContext: &corev3.Metadata{},
		ProtocolConfig:  &extprocv3.ProtocolConfiguration{},
	})
	require.NoError(tb, err)
	response, err = proto.Marshal(&extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: headers(
			":status", "200", "content-type", "text/event-stream", "x-ratelimit-remaining-requests", "100", "x-ratelimit-limit-requests", "200",
			"set-cookie", "__cf_bm=abc",
		)}},
		Attributes:      map[string]*structpb.Struct{"envoy.filters.http.ext_proc": attributes},
		MetadataContext: &corev3.Metadata{},
	})
	require.NoError(tb, err)
	return request, response
}

// usage is what a server process has used.
type usage struct{ cpu, mallocs int64 }

// child is a server in a process of its own.
type child struct {
	stdin  io.WriteCloser
	stdout *bufio.Reader
	cmd    *exec.Cmd
}

func (c *child) usage(tb testing.TB) (u usage) {
	tb.Helper()
	_, err := fmt.Fprintln(c.stdin)
	require.NoError(tb, err)
	_, err = fmt.Fscan(c.stdout, &u.cpu, &u.mallocs)
	require.NoError(tb, err)
	return u
}

func startChild(tb testing.TB, kind string) (*child, *grpc.ClientConn) {
	tb.Helper()
	dir, err := os.MkdirTemp("", "kt")
	require.NoError(tb, err)
	tb.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), serverEnv+"="+kind, socketEnv+"="+socket)
	c.cmd.Stderr = os.Stderr
	c.stdin, err = c.cmd.StdinPipe()
	require.NoError(tb, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(tb, err)
	c.stdout = bufio.NewReader(out)
	require.NoError(tb, c.cmd.Start())
	tb.Cleanup(func() {
		c.stdin.Close()
		require.NoError(tb, c.cmd.Wait())
	})
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{}), grpc.WaitForReady(true)))
	require.NoError(tb, err)
	tb.Cleanup(func() { conn.Close() })
	return c, conn
}

// attemptOnce is Envoy's part of one attempt.
func attemptOnce(ctx context.Context, conn *grpc.ClientConn, request, response []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/envoy.service.ext_proc.v3.ExternalProcessor/Process")
	if err != nil {
		return err
	}
	n := 0
	for _, m := range [][]byte{request, response} {
		if err := s.SendMsg(m); err != nil {
			return err
		}
		if err := s.RecvMsg(&n); err != nil {
			return err
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if err := s.RecvMsg(&n); !errors.Is(err, io.EOF) {
		return fmt.Errorf("end of stream: %w", err)
	}
	return nil
}

// BenchmarkAttempt is one attempt through gRPC over a Unix socket, 16 at a time: Keyturn with all its logic beside the usual
// server that does nothing. Each round runs both, in turn, so that the ratios are of one run; ns/op is wall time and means little.
func BenchmarkAttempt(b *testing.B) {
	const workers, rounds = 16, 8
	request, response := wireMessages(b)
	kinds := []string{"noop", "keyturn"}
	var used [2]usage
	var children [2]*child
	var conns [2]*grpc.ClientConn
	for i, kind := range kinds {
		children[i], conns[i] = startChild(b, kind)
		require.NoError(b, attemptOnce(b.Context(), conns[i], request, response))
	}
	per := max(b.N/rounds/workers, 1)
	b.ResetTimer()
	for range rounds {
		for i := range kinds {
			before := children[i].usage(b)
			errs := make(chan error, workers)
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for range per {
						if err := attemptOnce(b.Context(), conns[i], request, response); err != nil {
							errs <- err
							return
						}
					}
				})
			}
			wg.Wait()
			close(errs)
			require.NoError(b, <-errs)
			after := children[i].usage(b)
			used[i].cpu += after.cpu - before.cpu
			used[i].mallocs += after.mallocs - before.mallocs
		}
	}
	n := float64(per * workers * rounds)
	for i, kind := range kinds {
		b.ReportMetric(float64(used[i].cpu)/n/1e3, kind+"-cpu-us/attempt")
		b.ReportMetric(float64(used[i].mallocs)/n, kind+"-allocs/attempt")
	}
	b.ReportMetric(float64(used[1].cpu)/float64(used[0].cpu), "cpu-ratio")
	b.ReportMetric(float64(used[1].mallocs)/float64(used[0].mallocs), "allocs-ratio")
	b.ReportMetric(0, "ns/op")
}
