package extproc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/quartz"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/keypool"
)

func newPool(t testing.TB, name string, keys ...string) *keypool.Pool {
	t.Helper()
	cfg := keypool.Defaults()
	cfg.Name = name
	for _, k := range keys {
		cfg.Keys = append(cfg.Keys, keypool.KeyConfig{Secret: k})
	}
	p, err := keypool.NewPool(cfg, quartz.NewReal())
	require.NoError(t, err)
	return p
}

func openAI(t testing.TB) extproc.Pool {
	t.Helper()
	return extproc.Pool{Keys: newPool(t, "openai", "k0-long-key", "k1-long-key"), Cluster: "openai", Authority: "api.openai.com", Header: "authorization", Scheme: "Bearer"}
}

// serve starts a server in memory and returns a connection to it. Both end with stop.
func serve(t testing.TB, cfg extproc.Config) (s *extproc.Server, conn *grpc.ClientConn, stop func()) {
	t.Helper()
	s, err := extproc.New(cfg)
	require.NoError(t, err)
	conn, stop = connect(t, s)
	return s, conn, stop
}

// connect lets a server serve in memory.
func connect(t testing.TB, s *extproc.Server) (conn *grpc.ClientConn, stop func()) {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	require.NoError(t, err)
	return conn, func() {
		require.NoError(t, conn.Close())
		require.NoError(t, s.Shutdown(context.Background()))
		require.NoError(t, <-served)
	}
}

func open(ctx context.Context, t testing.TB, conn *grpc.ClientConn) extprocv3.ExternalProcessor_ProcessClient {
	t.Helper()
	stream, err := extprocv3.NewExternalProcessorClient(conn).Process(ctx)
	require.NoError(t, err)
	return stream
}

// exchange sends a message in its wire form and reads the reply.
func exchange(t testing.TB, stream extprocv3.ExternalProcessor_ProcessClient, wire []byte) *extprocv3.ProcessingResponse {
	t.Helper()
	var m extprocv3.ProcessingRequest
	require.NoError(t, proto.Unmarshal(wire, &m))
	require.NoError(t, stream.Send(&m))
	resp, err := stream.Recv()
	require.NoError(t, err)
	return resp
}

// sets are the headers that m sets.
func sets(m *extprocv3.HeaderMutation) map[string]string {
	all := map[string]string{}
	for _, h := range m.GetSetHeaders() {
		all[h.GetHeader().GetKey()] = string(h.GetHeader().GetRawValue())
	}
	return all
}

// TestGeneratedClient holds the server to what a client of generated code understands, and to the end of the stream once
// nothing is left to decide.
func TestGeneratedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := sdkmetric.NewManualReader()
		_, conn, stop := serve(t, extproc.Config{Pools: []extproc.Pool{openAI(t)}, MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
		defer stop()
		request, response := wireMessages(t)
		stream := open(t.Context(), t, conn)
		mutation := exchange(t, stream, request).GetRequestHeaders().GetResponse().GetHeaderMutation()
		require.Equal(t, map[string]string{"authorization": "Bearer k0-long-key", "x-keyturn-cluster": "openai", ":authority": "api.openai.com", "accept-encoding": "identity"}, sets(mutation))
		for _, h := range mutation.GetSetHeaders() {
			require.Equal(t, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, h.GetAppendAction())
		}
		require.Subset(t, mutation.GetRemoveHeaders(), []string{"x-keyturn-id", "x-keyturn-start", "x-keyturn-pool", "x-keyturn-retries", "x-envoy-attempt-count", "x-request-id"})
		exchange(t, stream, response)
		_, err := stream.Recv()
		require.ErrorIs(t, err, io.EOF)
		synctest.Wait()
		require.Equal(t, int64(1), counter(t, reader, "attempts", "ok"))
	})
}

// counter reads one counter of the pool.
func counter(t testing.TB, reader *sdkmetric.ManualReader, name, label string) int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(context.Background(), &all))
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if !ok || m.Name != "keyturn."+name {
				continue
			}
			for _, p := range sum.DataPoints {
				for _, a := range p.Attributes.ToSlice() {
					if a.Value.AsString() == label {
						return p.Value
					}
				}
			}
		}
	}
	require.FailNow(t, "no such metric", "%s %s", name, label)
	return 0
}

// gauge reads a gauge that has one value.
func gauge(t testing.TB, reader *sdkmetric.ManualReader, name string) int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(context.Background(), &all))
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if g, ok := m.Data.(metricdata.Gauge[int64]); ok && m.Name == "keyturn."+name {
				require.Len(t, g.DataPoints, 1)
				return g.DataPoints[0].Value
			}
		}
	}
	require.FailNow(t, "no such gauge", name)
	return 0
}

// TestShutdown holds that attempts under way end in their own time, new ones are refused, and a grace that is over cuts.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := extproc.New(extproc.Config{Pools: []extproc.Pool{openAI(t)}})
		require.NoError(t, err)
		l := bufconn.Listen(1 << 20)
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		conn, err := grpc.NewClient("passthrough:bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
		require.NoError(t, err)
		defer conn.Close()
		h := healthpb.NewHealthClient(conn)
		resp, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "envoy.service.ext_proc.v3.ExternalProcessor"})
		require.NoError(t, err)
		require.Equal(t, healthpb.HealthCheckResponse_SERVING, resp.Status)

		request, response := wireMessages(t)
		running, hung := open(t.Context(), t, conn), open(t.Context(), t, conn)
		exchange(t, running, request)
		exchange(t, hung, request)
		done := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			done <- s.Shutdown(ctx)
		}()
		synctest.Wait()
		fresh, err := extprocv3.NewExternalProcessorClient(conn).Process(t.Context())
		if err == nil {
			_, err = fresh.Recv()
		}
		require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
		exchange(t, running, response) // the attempt under way goes on
		_, err = running.Recv()
		require.ErrorIs(t, err, io.EOF)
		require.ErrorIs(t, <-done, context.DeadlineExceeded)
		_, err = hung.Recv()
		require.Error(t, err)
		require.NoError(t, <-served)
	})
}

// attemptHeads is what the front sends on for the n-th attempt of a request.
func attemptHeads(id string, n int) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: heads(
		":path", "/v1/responses", ":method", "POST", "content-length", "10", "x-keyturn-pool", "openai", "x-keyturn-id", id, "x-keyturn-retries", "17",
		"x-envoy-attempt-count", strconv.Itoa(n),
	)}}}
}

// answered is the head of an answer, a provider's or Envoy's own by its details.
func answered(t testing.TB, status, details string, flags float64) *extprocv3.ProcessingRequest {
	t.Helper()
	attributes, err := structpb.NewStruct(map[string]any{"response.code_details": details, "response.flags": flags})
	require.NoError(t, err)
	return &extprocv3.ProcessingRequest{
		Request:    &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: heads(":status", status), EndOfStream: true}},
		Attributes: map[string]*structpb.Struct{"envoy.filters.http.ext_proc": attributes},
	}
}

// TestAttempts holds that the next attempt of a request finds what the one before left, also where nobody was blamed; that others do
// not; and what is counted of them.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := keypool.Defaults()
		cfg.Name = "openai"
		cfg.Keys = []keypool.KeyConfig{{Secret: "k0-long-key"}, {Secret: "k1-long-key"}, {Secret: "k2-long-key"}}
		cfg.Policy.Rules = []keypool.Rule{{Status: 529, Action: keypool.NextKey}}
		keys, err := keypool.NewPool(cfg, quartz.NewReal())
		require.NoError(t, err)
		reader := sdkmetric.NewManualReader()
		var log syncBuffer
		_, conn, stop := serve(t, extproc.Config{
			Pools:         []extproc.Pool{{Keys: keys, Cluster: "openai", Header: "authorization", Scheme: "Bearer"}},
			MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		defer stop()
		attempt := func(id string, n int, answer *extprocv3.ProcessingRequest) (key string, got *extprocv3.ProcessingResponse) {
			stream := open(t.Context(), t, conn)
			require.NoError(t, stream.Send(attemptHeads(id, n)))
			resp, err := stream.Recv()
			require.NoError(t, err)
			key = sets(resp.GetRequestHeaders().GetResponse().GetHeaderMutation())["authorization"]
			require.NoError(t, stream.Send(answer))
			got, err = stream.Recv()
			require.NoError(t, err)
			_, err = stream.Recv()
			require.ErrorIs(t, err, io.EOF)
			return key, got
		}
		retried := func(resp *extprocv3.ProcessingResponse) bool {
			return sets(resp.GetResponseHeaders().GetResponse().GetHeaderMutation())["x-keyturn-retry"] == "1"
		}
		key, resp := attempt("one", 1, answered(t, "529", "via_upstream", 0))
		require.Equal(t, "Bearer k0-long-key", key)
		require.True(t, retried(resp))
		key, resp = attempt("two", 1, answered(t, "200", "via_upstream", 0))
		require.Equal(t, "Bearer k0-long-key", key)
		require.False(t, retried(resp))
		key, resp = attempt("one", 2, answered(t, "529", "via_upstream", 0))
		require.Equal(t, "Bearer k1-long-key", key)
		require.True(t, retried(resp))
		key, resp = attempt("one", 3, answered(t, "503", "upstream_reset_before_response_started{remote_connection_failure}", 0x20))
		require.Equal(t, "Bearer k2-long-key", key)
		require.True(t, retried(resp))
		key, resp = attempt("one", 4, answered(t, "503", "upstream_reset_before_response_started{remote_connection_failure}", 0x20))
		require.Equal(t, "Bearer k2-long-key", key, "once more")
		require.Equal(t, "keyturn_provider_unreachable", resp.GetImmediateResponse().GetDetails())

		unknown := open(t.Context(), t, conn)
		none := attemptHeads("three", 1)
		none.GetRequestHeaders().GetHeaders().GetHeaders()[3].RawValue = []byte("no-such-pool")
		require.NoError(t, unknown.Send(none))
		resp, err = unknown.Recv()
		require.NoError(t, err)
		require.Equal(t, "keyturn_pool_unknown", resp.GetImmediateResponse().GetDetails())

		synctest.Wait()
		require.Equal(t, int64(3), counter(t, reader, "attempts", "turned"))
		require.Equal(t, int64(1), counter(t, reader, "attempts", "unreachable"))
		require.Equal(t, int64(1), counter(t, reader, "attempts", "ok"))
		count, sum := histogram[int64](t, reader, "key_pool_failover_attempts")
		require.Equal(t, [2]int64{2, 3 + 1}, [2]int64{count, sum}, "three keys for one request, one for the other")
		count, _ = histogram[float64](t, reader, "attempt_duration")
		require.Equal(t, int64(3), count, "those that the provider answered")
		require.Contains(t, log.String(), "names no pool")
		require.Equal(t, 1, strings.Count(log.String(), "level="), "no key was marked: %s", log.String())
	})
}

// histogram reads how many values a histogram has, and their sum as a whole number.
func histogram[N int64 | float64](t testing.TB, reader *sdkmetric.ManualReader, name string) (count, sum int64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(context.Background(), &all))
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if h, ok := m.Data.(metricdata.Histogram[N]); ok && m.Name == "keyturn."+name {
				require.Len(t, h.DataPoints, 1)
				return int64(h.DataPoints[0].Count), int64(h.DataPoints[0].Sum)
			}
		}
	}
	require.FailNow(t, "no such histogram", name)
	return 0, 0
}

// TestClientGone holds that a stream that Envoy cancels ends quietly and gives back a key on trial.
func TestClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		_, conn, stop := serve(t, extproc.Config{Pools: []extproc.Pool{openAI(t)}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer stop()
		request, _ := wireMessages(t)
		ctx, cancel := context.WithCancel(t.Context())
		exchange(t, open(ctx, t, conn), request)
		cancel()
		synctest.Wait()
		require.Empty(t, log.String())
	})
}

// TestErrorBody holds that the head of a bad answer is still known when its body comes: in it stands how long to wait.
func TestErrorBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := extproc.Pool{Keys: newPool(t, "openai", "k0-long-key"), Cluster: "openai", Header: "authorization", Scheme: "Bearer"}
		_, conn, stop := serve(t, extproc.Config{Pools: []extproc.Pool{pool}})
		defer stop()
		request, _ := wireMessages(t)
		stream := open(t.Context(), t, conn)
		exchange(t, stream, request)
		head, err := proto.Marshal(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{
			Headers: heads(":status", "429", "retry-after", "7"),
		}}})
		require.NoError(t, err)
		require.NotNil(t, exchange(t, stream, head).GetModeOverride())
		body, err := proto.Marshal(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{
			Body: []byte(`{"error":{"code":"rate_limit_exceeded","message":"` + strings.Repeat("x", 100) + `"}}`), EndOfStream: true,
		}}})
		require.NoError(t, err)
		got := exchange(t, stream, body).GetImmediateResponse()
		require.Equal(t, int32(429), int32(got.GetStatus().GetCode()))
		require.Equal(t, "7", sets(got.GetHeaders())["retry-after"])
	})
}

// TestLargeBody holds that whatever Envoy can hold is one message that Keyturn takes, however small its own limits: of an error in
// chunks the size is not known before.
func TestLargeBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := extproc.Pool{Keys: newPool(t, "openai", "k0-long-key"), Cluster: "openai", Header: "authorization", Scheme: "Bearer", MaxBody: 1 << 20}
		_, conn, stop := serve(t, extproc.Config{Pools: []extproc.Pool{pool}, MaxRetry: 1 << 20})
		defer stop()
		request, _ := wireMessages(t)
		stream := open(t.Context(), t, conn)
		exchange(t, stream, request)
		head, err := proto.Marshal(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{
			Headers: heads(":status", "429", "retry-after", "7"),
		}}})
		require.NoError(t, err)
		require.NotNil(t, exchange(t, stream, head).GetModeOverride())
		body, err := proto.Marshal(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{
			Body: make([]byte, 128<<20),
		}}})
		require.NoError(t, err)
		require.Equal(t, int32(429), int32(exchange(t, stream, body).GetImmediateResponse().GetStatus().GetCode()))
	})
}

// TestNonsense holds that what is no ProcessingRequest, or comes in no order that Envoy has, is an error of that stream alone.
func TestNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, conn, stop := serve(t, extproc.Config{Pools: []extproc.Pool{openAI(t)}})
		defer stop()
		_, response := wireMessages(t)
		stream := open(t.Context(), t, conn)
		var m extprocv3.ProcessingRequest
		require.NoError(t, proto.Unmarshal(response, &m))
		require.NoError(t, stream.Send(&m))
		_, err := stream.Recv()
		require.Equal(t, codes.InvalidArgument, status.Code(err))
		require.ErrorContains(t, err, "response headers before the request's headers")

		garbled, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
			"/envoy.service.ext_proc.v3.ExternalProcessor/Process", grpc.ForceCodecV2(raw{}))
		require.NoError(t, err)
		require.NoError(t, garbled.SendMsg([]byte{0x12, 0xff}))
		n := 0
		require.ErrorContains(t, garbled.RecvMsg(&n), "broken protobuf")

		request, _ := wireMessages(t)
		exchange(t, open(t.Context(), t, conn), request) // others go on
	})
}

func TestConfigErrors(t *testing.T) {
	good := openAI(t)
	for _, tc := range []struct {
		name  string
		pools []extproc.Pool
		want  string
	}{
		{"no keys", []extproc.Pool{{Cluster: "c", Header: "x-api-key"}}, "pools[0]: no keys, and no name"},
		{"no cluster", []extproc.Pool{{Keys: good.Keys, Header: "x-api-key"}}, `pools[0]: "openai": clusters: found no name`},
		{"upper-case header", []extproc.Pool{{Keys: good.Keys, Cluster: "c", Header: "Authorization"}}, `pools[0]: "openai": credential.header: the name is not in lower case`},
		{"same name", []extproc.Pool{good, {Keys: newPool(t, "openai", "z"), Cluster: "c", Header: "x-api-key"}}, `pools[1]: name "openai"`},
		{"taken header", []extproc.Pool{{Keys: good.Keys, Cluster: "c", Header: "x-envoy-a"}}, `credential.header: found "x-envoy-a", which has another use`},
		{"large body", []extproc.Pool{{Keys: good.Keys, Cluster: "c", Header: "x-api-key", MaxBody: extproc.MaxBody + 1}}, "max_body: found 134217729B; write at most 128MiB"},
		{"short deadline", []extproc.Pool{{Keys: good.Keys, Cluster: "c", Header: "x-api-key", Deadline: 1}}, "deadline: found 1ns; write at least 1ms"},
		{"tools", []extproc.Pool{{Keys: good.Keys, Cluster: "c", Header: "x-api-key", Tools: &extproc.Tools{Turns: 1, Calls: -1, Memory: -1}}}, `pools[0]: "openai": tools.servers: found no server; write at least 1, such as [docs]
tools.turns: found 1; write at least 2
tools.calls: found -1; write at least 1`},
		{"server twice", []extproc.Pool{{Keys: good.Keys, Cluster: "c", Header: "x-api-key", Tools: &extproc.Tools{Servers: []string{"a", "a"}}}}, "tools.servers[1]: a is named twice, first by servers[0]"},
		{"no name", []extproc.Pool{{Keys: newPool(t, "", "z"), Cluster: "c", Header: "x-api-key"}}, `pools[0]: no name`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := extproc.New(extproc.Config{Pools: tc.pools})
			require.ErrorContains(t, err, tc.want)
		})
	}
	s, err := extproc.New(extproc.Config{Pools: []extproc.Pool{good}})
	require.NoError(t, err)
	require.Error(t, s.SetPools([]extproc.Pool{{}}))
	require.NoError(t, s.SetPools([]extproc.Pool{good}))
}

// TestManyStreams is for the race detector: streams in parallel while pools are replaced.
func TestManyStreams(t *testing.T) {
	pool := openAI(t)
	s, conn, stop := serve(t, extproc.Config{Pools: []extproc.Pool{pool}})
	defer stop()
	request, response := wireMessages(t)
	errs := make(chan error, 8)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				stream, err := conn.NewStream(context.Background(),
					&grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/envoy.service.ext_proc.v3.ExternalProcessor/Process", grpc.ForceCodecV2(raw{}))
				n := 0
				for _, m := range [][]byte{request, response} {
					err = errors.Join(err, stream.SendMsg(m), stream.RecvMsg(&n))
				}
				if end := stream.RecvMsg(&n); !errors.Is(end, io.EOF) || err != nil {
					errs <- errors.Join(err, end)
					return
				}
			}
		})
	}
	for range 50 {
		require.NoError(t, s.SetPools([]extproc.Pool{pool}))
	}
	wg.Wait()
	close(errs)
	require.NoError(t, <-errs)
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex // protects b
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
