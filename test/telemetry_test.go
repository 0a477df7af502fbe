package test

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collecttraces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// collector is an OpenTelemetry Collector: what it was sent.
type collector struct {
	mu    sync.Mutex // protects all below
	spans []*traces.Span
	all   map[string][]byte // by path
}

// startCollector starts one that the processes of t send to.
func startCollector(t *testing.T) *collector {
	c := &collector{all: map[string][]byte{}}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
		if err != nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all[r.URL.Path] = append(c.all[r.URL.Path], b...)
		var got collecttraces.ExportTraceServiceRequest
		if r.URL.Path != "/v1/traces" || proto.Unmarshal(b, &got) != nil {
			return
		}
		for _, r := range got.ResourceSpans {
			for _, s := range r.ScopeSpans {
				c.spans = append(c.spans, s.Spans...)
			}
		}
	}))
	t.Cleanup(s.Close)
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": s.URL, "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BLRP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "500",
	} {
		t.Setenv(name, value)
	}
	return c
}

// of are the spans of a trace by their names; those of one name in the order of their beginning.
func (c *collector) of(trace string) map[string][]*traces.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	named := map[string][]*traces.Span{}
	for _, s := range c.spans {
		if hex.EncodeToString(s.TraceId) == trace {
			i := len(named[s.Name])
			for i > 0 && named[s.Name][i-1].StartTimeUnixNano > s.StartTimeUnixNano {
				i--
			}
			named[s.Name] = append(named[s.Name][:i:i], append([]*traces.Span{s}, named[s.Name][i:]...)...)
		}
	}
	return named
}

func told(s *traces.Span, name string) string {
	for _, a := range s.Attributes {
		if a.Key == name {
			if n := a.Value.GetIntValue(); n != 0 {
				return time.Duration(n).String()
			}
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// TestTelemetryOfRequests holds that a Collector is told of a request with failover and tools in the client's trace: one span of the request, with its
// attempts, turns and calls beneath it; and that neither spans, metrics nor log events have a key or what was said.
func TestTelemetryOfRequests(t *testing.T) {
	c := startCollector(t)
	gw := gateway.Start(t, gateway.Config{Tools: true, Pools: []gateway.Pool{{Keys: poolKeys[:2]}}, Top: map[string]any{"telemetry": map[string]any{"compat": []string{"genai_1_36"}}}})
	gw.Provider.Key(poolKeys[0], scripted.RateLimited(time.Minute)).
		Key(poolKeys[1], scripted.Seq(scripted.Say(scripted.Call("bmcp_demo_echo", `{"text":"the-argument"}`)).Usage(100, 10), scripted.Say(scripted.Text("the-answer")).Usage(200, 20)))
	const trace, client = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	got := gw.Post(t, "/v1/responses", speeches[0].body(true, "the-prompt"), "traceparent", "00-"+trace+"-"+client+"-01")
	require.Contains(t, got.Body, "the-answer")
	var spans map[string][]*traces.Span
	gw.Eventually(t, "all spans of the request", func() bool {
		spans = c.of(trace)
		return len(spans["POST"]) == 3 && len(spans["invoke_agent keyturn"]) == 1 && len(spans["execute_tool echo"]) == 1
	})
	var whole, later *traces.Span
	for name, of := range spans {
		if !strings.HasPrefix(name, "chat ") {
			continue
		}
		require.Len(t, of, 2, "the request and its second turn")
		whole, later = of[0], of[1]
	}
	require.NotNil(t, whole)
	agent := spans["invoke_agent keyturn"][0]
	require.Equal(t, client, hex.EncodeToString(whole.ParentSpanId))
	require.Equal(t, traces.Span_SPAN_KIND_CLIENT, whole.Kind)
	require.Equal(t, whole.SpanId, agent.ParentSpanId)
	require.Equal(t, agent.SpanId, later.ParentSpanId)
	require.Equal(t, agent.SpanId, spans["execute_tool echo"][0].ParentSpanId)
	for i, a := range spans["POST"] {
		require.Equal(t, [][]byte{whole.SpanId, whole.SpanId, later.SpanId}[i], a.ParentSpanId)
		require.Equal(t, []string{"key0", "key1", "key1"}[i], told(a, "keyturn.key"))
		require.Equal(t, "127.0.0.1", told(a, "server.address"))
	}
	require.Equal(t, "rate_limit", told(spans["POST"][0], "error.type"))
	require.Equal(t, "openai", told(whole, "gen_ai.provider.name"))
	require.LessOrEqual(t, whole.StartTimeUnixNano, spans["POST"][0].StartTimeUnixNano)
	require.GreaterOrEqual(t, whole.EndTimeUnixNano, later.EndTimeUnixNano)

	gw.Provider.Default(good)
	gw.Post(t, "/v1/files", "{}", "traceparent", "00-"+trace+"-"+client+"-00")
	gw.Post(t, "/v1/files", "{}", "traceparent", "00-1af7651916cd43dd8448eb211c80319c-"+client+"-01")
	gw.Eventually(t, "a span of what is no inference", func() bool { return len(c.of("1af7651916cd43dd8448eb211c80319c")) > 0 })
	require.Empty(t, c.of(trace)["POST"][3:], "nobody keeps what is not sampled")

	gw.Eventually(t, "all signals", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.all["/v1/metrics"]) > 0 && strings.Contains(string(c.all["/v1/metrics"]), "gen_ai.client.token.usage") &&
			strings.Contains(string(c.all["/v1/logs"]), "gen_ai.client.inference.operation.details")
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Len(t, c.all, 3)
	for path, b := range c.all {
		for _, secret := range []string{"the-prompt", "the-argument", "the-answer", poolKeys[0], poolKeys[1]} {
			require.NotContains(t, string(b), secret, path)
		}
	}
}

// TestBoardAsksWhatThereIs holds that each metric that the board of docs/grafana asks for is one that a gateway with tools and a store exports,
// with the labels by which it is grouped. That Prometheus understands the queries is held by test/grafana.
func TestBoardAsksWhatThereIs(t *testing.T) {
	b, err := os.ReadFile("../docs/grafana/keyturn.json")
	require.NoError(t, err)
	gw := gateway.Start(t, gateway.Config{
		Tools: true, Pools: []gateway.Pool{{Keys: poolKeys[:2]}}, Top: map[string]any{"record": map[string]any{
			"sqlite": filepath.Join(t.TempDir(), "records"), "prices": []any{map[string]any{"model": "priced", "input": "1", "output": "1"}},
		}},
	})
	gw.Provider.Key(poolKeys[0], scripted.RateLimited(time.Minute)).
		Key(poolKeys[1], scripted.Seq(scripted.Say(scripted.Call("bmcp_demo_echo", `{"text":"a"}`)).Usage(100, 10), scripted.Say(scripted.Text("done")).Usage(200, 20)))
	gw.Post(t, "/v1/responses", `{"model":"priced","input":"hi","stream":true}`)
	gw.Provider.Key(poolKeys[1], scripted.OK("ok").Usage(1, 1))
	gw.Post(t, "/v1/responses", `{"model":"no-such-model","input":"hi"}`)
	gw.Provider.Key(poolKeys[1], scripted.RateLimited(time.Minute))
	gw.Post(t, "/v1/responses", `{"model":"priced","input":"hi"}`)
	names := map[string]bool{}
	for _, name := range regexp.MustCompile(`\b(?:keyturn|gen_ai|mcp)_[a-z0-9_]+[{\[]|sum\(keyturn_[a-z_]+\)`).FindAllString(string(b), -1) {
		names[strings.Trim(strings.TrimPrefix(name, "sum"), "([{)")] = true
	}
	require.Greater(t, len(names), 20)
	for name := range names {
		gw.Eventually(t, name, func() bool {
			return regexp.MustCompile(`(?m)^` + name + `[{ ]`).MatchString(gw.Metrics(t))
		})
	}
	metrics := gw.Metrics(t)
	for labels, of := range regexp.MustCompile(`by \(([a-z_, ]+)\) \((?:rate|increase)\(([a-z_]+)`).FindAllStringSubmatch(string(b), -1) {
		require.NotEmpty(t, of, labels)
		for _, label := range strings.Split(of[1], ", ") {
			require.Regexp(t, `(?m)^`+of[2]+`\{[^}]*\b`+label+`=`, metrics)
		}
	}
}
