package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// noopEnv makes the test binary the usual ext_proc server on that socket.
const noopEnv = "KEYTURN_TEST_NOOP"

// noop is ext_proc as one writes it first: generated code, default options, empty replies.
type noop struct {
	extprocv3.UnimplementedExternalProcessorServer
}

func (noop) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	duplex := false
	if md, ok := metadata.FromIncomingContext(s.Context()); ok {
		duplex = len(md.Get(duplexWord)) > 0
	}
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
			if duplex {
				resp.ModeOverride = &procv3.ProcessingMode{
					ResponseBodyMode: procv3.ProcessingMode_FULL_DUPLEX_STREAMED, ResponseTrailerMode: procv3.ProcessingMode_SEND,
				}
			}
		case *extprocv3.ProcessingRequest_ResponseBody:
			body := m.GetResponseBody()
			resp.Response = &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{
				BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
					StreamedResponse: &extprocv3.StreamedBodyResponse{Body: body.Body, EndOfStream: body.EndOfStream},
				}},
			}}}
		}
		if err := s.Send(resp); err != nil {
			return err
		}
	}
}

// duplexWord is gRPC metadata with which a route asks noop to have responses sent to it, and to send them back as they are.
const duplexWord = "noop-duplex"

// serveNoop serves until standard input ends. For each line of it, it prints how many allocations the process has made.
func serveNoop(socket string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	g := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(g, noop{})
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Println(m.Mallocs)
		}
		g.Stop()
	}()
	return g.Serve(l)
}

// replaceByNoop stops keyturn and serves its socket by the usual server. It returns that one's process id, and what tells how many
// allocations it has made.
func replaceByNoop(tb testing.TB, gw *gateway.Gateway) (pid int, mallocs func() float64) {
	tb.Helper()
	gw.StopProcessor(tb)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), noopEnv+"="+filepath.Join(gw.Dir, "extproc.sock"))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(tb, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	tb.Cleanup(func() {
		require.NoError(tb, stdin.Close())
		require.NoError(tb, cmd.Wait())
	})
	return cmd.Process.Pid, func() (n float64) {
		_, err := io.WriteString(stdin, "\n")
		require.NoError(tb, err)
		_, err = fmt.Fscan(stdout, &n)
		require.NoError(tb, err)
		return n
	}
}

// withoutFilter takes the filter's enabling out of every route.
func withoutFilter(b []byte) []byte {
	var doc any
	if err := yaml.Unmarshal(b, &doc); err != nil {
		panic(err)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if per, ok := v["typed_per_filter_config"].(map[string]any); ok {
				delete(per, "keyturn")
			}
			for _, below := range v {
				walk(below)
			}
		case []any:
			for _, below := range v {
				walk(below)
			}
		}
	}
	walk(doc)
	out, err := yaml.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return out
}

// contestant is one way through Envoy and what it has cost.
type contestant struct {
	name          string
	gw            *gateway.Gateway
	processor     int // process id; 0: none
	envoyCPU, cpu time.Duration
	took          []time.Duration
	wall          time.Duration
}

// BenchmarkGateway sends the same requests through Envoy without a filter, with the usual ext_proc server that does nothing,
// and with Keyturn, in turns, 16 at a time. CPU is of the processes, not of the client and the provider.
func BenchmarkGateway(b *testing.B) {
	const workers, rounds = 16, 5
	start := func(name string, edit func([]byte) []byte) *contestant {
		gw := gateway.Start(b, gateway.Config{
			Provider: scripted.Config{KeepBytes: -1, KeepRequests: 1}, Edit: edit,
			Top: map[string]any{"log": map[string]any{"level": "info"}}, Envoy: map[string]any{"access_log": "off"},
		})
		gw.Provider.Default(scripted.OK("hello"))
		return &contestant{name: name, gw: gw}
	}
	all := []*contestant{start("direct", withoutFilter), start("noop", nil), start("keyturn", nil)}
	all[1].processor, _ = replaceByNoop(b, all[1].gw)
	all[2].processor = all[2].gw.ProcessorPID()
	for _, c := range all {
		c.gw.Eventually(b, c.name+" serves", func() bool { return c.round(b, 1, 200) })
		c.took = nil
	}
	per := max(b.N/rounds/workers, 1)
	b.ResetTimer()
	for range rounds {
		for _, c := range all {
			envoy, processor := c.usage(b)
			began := time.Now()
			require.True(b, c.round(b, workers, per))
			c.wall += time.Since(began)
			envoyNow, processorNow := c.usage(b)
			c.envoyCPU += envoyNow - envoy
			c.cpu += processorNow - processor
		}
	}
	b.ReportMetric(0, "ns/op")
	n := float64(per * workers * rounds)
	for _, c := range all {
		slices.Sort(c.took)
		us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
		b.ReportMetric(us(c.took[len(c.took)/2]), c.name+"-p50-us")
		b.ReportMetric(us(c.took[len(c.took)*99/100]), c.name+"-p99-us")
		b.ReportMetric(n/c.wall.Seconds(), c.name+"-req/s")
		b.ReportMetric(us(c.envoyCPU)/n, c.name+"-envoy-cpu-us/req")
		if c.processor != 0 {
			b.ReportMetric(us(c.cpu)/n, c.name+"-processor-cpu-us/req")
		}
	}
	b.ReportMetric(float64(all[2].cpu)/float64(all[1].cpu), "processor-cpu-ratio")
	b.ReportMetric(float64(all[2].envoyCPU)/float64(all[1].envoyCPU), "envoy-cpu-ratio")
}

func (c *contestant) usage(tb testing.TB) (envoy, processor time.Duration) {
	tb.Helper()
	if c.processor != 0 {
		processor = gateway.CPU(tb, c.processor)
	}
	return c.gw.EnvoyCPU(tb), processor
}

// round sends n requests by each worker and says whether all were answered with 200.
func (c *contestant) round(tb testing.TB, workers, n int) bool {
	tb.Helper()
	const body = `{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}`
	took := make([][]time.Duration, workers)
	good := make([]bool, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range n {
				began := time.Now()
				req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, c.gw.URL+"/v1/chat/completions", strings.NewReader(body))
				if err != nil {
					return
				}
				resp, err := c.gw.TryDo(req)
				if err != nil || resp.Status != http.StatusOK {
					return
				}
				took[w] = append(took[w], time.Since(began))
			}
			good[w] = true
		})
	}
	wg.Wait()
	for _, t := range took {
		c.took = append(c.took, t...)
	}
	return !slices.Contains(good, false)
}
