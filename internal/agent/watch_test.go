package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/spans"
	"github.com/keyturn/keyturn/mcp"
)

// TestSpansAndMetrics holds what is told of a response: a span for it, for each turn and each call, in the client's trace, with
// OpenTelemetry's names and without anything that was said.
func TestSpansAndMetrics(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	reader := sdkmetric.NewManualReader()
	r := newRig(t, answer{body: "the-answer\n", header: map[string]string{"X-Keyturn-Used-Name": "key1"}})
	r.origin.Provider, r.origin.Dialect = "azure.ai.openai", dialect.Responses
	r.origin.Trace("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	var within trace.SpanContext
	a, err := agent.New(agent.Config{
		Call: func(ctx context.Context, _, tool string, _ json.RawMessage) (*mcp.Result, error) {
			within = trace.SpanContextFromContext(ctx)
			return &mcp.Result{IsError: tool == "bad", Content: []mcp.Content{{Text: "the-result"}}}, nil
		},
		Loopback: r.provider, Clock: r.clock, TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	require.NoError(t, err)
	require.NoError(t, r.stream(t.Context(), a, "call bad {\"x\":\"the-argument\"}\ncall unknown {}"))

	got := map[string]tracetest.SpanStub{}
	for _, s := range spans.GetSpans() {
		got[s.Name] = s
		require.Equal(t, "0af7651916cd43dd8448eb211c80319c", s.SpanContext.TraceID().String(), "the client's trace")
		for _, secret := range []string{"the-answer", "the-result", "the-argument"} {
			require.NotContains(t, fmt.Sprint(s), secret)
		}
	}
	require.Len(t, got, 4)
	whole, turn, call := got["invoke_agent keyturn"], got["chat m"], got["execute_tool bad"]
	require.Equal(t, "b7ad6b7169203331", whole.Parent.SpanID().String())
	require.Equal(t, whole.SpanContext.SpanID(), turn.Parent.SpanID())
	require.Equal(t, whole.SpanContext.SpanID(), call.Parent.SpanID())
	require.Equal(t, call.SpanContext.TraceID(), within.TraceID(), "mcp goes on with it")
	require.Contains(t, got, "execute_tool _other", "a name that the model made up is no label")
	require.Equal(t, "azure.ai.openai", attr(turn, "gen_ai.provider.name"))
	require.Equal(t, "key1", attr(turn, "keyturn.key.name"))
	require.Equal(t, "2", attr(turn, "keyturn.turn"))
	require.Equal(t, "tool_error", attr(call, "error.type"))
	require.Equal(t, "20", attr(whole, "gen_ai.usage.input_tokens"))
	require.Regexp(t, "^00-0af7651916cd43dd8448eb211c80319c-"+turn.SpanContext.SpanID().String()+"-01$", r.heads[0].Get("Traceparent"), "the next turn goes on with it")

	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	var names []string
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	require.Equal(t, strings.Fields(`gen_ai.execute_tool.duration gen_ai.invoke_agent.duration
		gen_ai.invoke_agent.inference_calls gen_ai.invoke_agent.tool_calls keyturn.tool_calls keyturn.turns`), names)
}

func attr(s tracetest.SpanStub, name string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == name {
			return a.Value.String()
		}
	}
	return ""
}

// TestSpansBeneathTheRequests holds that what is made while a response runs is beneath the span that its record makes, and names no other.
func TestSpansBeneathTheRequests(t *testing.T) {
	for _, trace := range []string{"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"} {
		told := tracetest.NewInMemoryExporter()
		r := newRig(t, answer{body: "done"})
		r.origin.ID = "the-request"
		if trace != "" {
			r.origin.Trace("traceparent", trace)
		}
		a, err := agent.New(agent.Config{
			Call: r.call, Loopback: r.provider, Clock: r.clock, Recorded: true,
			TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(told), sdktrace.WithIDGenerator(spans.Generator{})),
		})
		require.NoError(t, err)
		require.NoError(t, r.stream(t.Context(), a, "call a {}"))
		if strings.HasSuffix(trace, "-00") {
			require.Empty(t, told.GetSpans(), "nobody keeps this trace")
			continue
		}
		got := map[string]tracetest.SpanStub{}
		for _, s := range told.GetSpans() {
			got[s.Name] = s
		}
		require.Len(t, got, 3, "the request's own is not among them")
		require.Equal(t, spans.ID("the-request"), got["invoke_agent keyturn"].Parent.SpanID())
		require.Equal(t, spans.ID("the-request#2"), got["chat m"].SpanContext.SpanID())
		if trace != "" {
			require.Equal(t, "0af7651916cd43dd8448eb211c80319c", got["chat m"].SpanContext.TraceID().String())
		}
	}
}

// shaped is a session whose turns have more in them than text can say.
type shaped struct {
	*session
	shape func(*dialect.Turn)
}

func (s *shaped) End(dst []byte) ([]byte, dialect.Turn) {
	dst, t := s.session.End(dst)
	s.shape(&t)
	return dst, t
}

// watched runs a response and returns its spans by their names, and what was counted: events by their outcome, durations by their type of
// error, tokens by their kind.
func watched(t *testing.T, r *rig, first string) (told map[string][]tracetest.SpanStub, counts map[string]int64) {
	t.Helper()
	exporter, reader := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	a, err := agent.New(agent.Config{
		Call: r.call, Loopback: r.provider, Clock: r.clock, TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)),
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	require.NoError(t, err)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	emit := r.emit
	r.emit = func(p []byte) error {
		if strings.Contains(string(p), "leave") {
			leave()
		}
		return emit(p)
	}
	if err := r.stream(ctx, a, first); err != nil {
		require.ErrorIs(t, err, context.Canceled)
	}
	told, counts = map[string][]tracetest.SpanStub{}, map[string]int64{}
	for _, s := range exporter.GetSpans() {
		told[s.Name] = append(told[s.Name], s)
	}
	value := func(set attribute.Set, name attribute.Key) string {
		v, _ := set.Value(name)
		return v.AsString()
	}
	for _, m := range collected(t, reader) {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				counts[m.Name+" "+value(p.Attributes, "outcome")] += p.Value
			}
		case metricdata.Histogram[int64]:
			for _, p := range data.DataPoints {
				counts[strings.TrimSpace(m.Name+" "+value(p.Attributes, "gen_ai.token.type"))] += p.Sum
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				counts[strings.TrimSpace(m.Name+" "+value(p.Attributes, "error.type"))] += int64(p.Count)
			}
		}
	}
	return told, counts
}

func collected(t *testing.T, reader *sdkmetric.ManualReader) (all []metricdata.Metrics) {
	t.Helper()
	var got metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &got))
	for _, s := range got.ScopeMetrics {
		all = append(all, s.Metrics...)
	}
	return all
}

// TestOutcomesOfTurns holds what spans and the counter of turns say of each way in which a later turn ends.
func TestOutcomesOfTurns(t *testing.T) {
	const usedName = "X-Keyturn-Used-Name"
	refused := func(status int, code string) answer {
		return answer{status: status, kind: "application/json", body: fmt.Sprintf(`{"error":{"type":"x","code":%q,"message":"no"}}`, code)}
	}
	for _, tc := range []struct {
		name    string
		answers []answer
		shape   func(*dialect.Turn)
		limits  func(*agent.Limits)
		want    []string // of the later turns
	}{
		{"ok", []answer{{body: "done"}}, nil, nil, []string{"ok"}},
		{"failed, and run again", []answer{{body: "fail overloaded", header: map[string]string{usedName: "k1"}}, {body: "done"}}, nil, nil, []string{"failed", "ok"}},
		{"cut", []answer{{body: "do"}}, func(t *dialect.Turn) { t.Cut = len(t.Calls) == 0 }, nil, []string{"cut"}},
		{"broke off", []answer{{pieces: []string{"do"}, breaks: true}}, nil, nil, []string{"server_error"}},
		{"refused", []answer{refused(429, "rate_limit_exceeded")}, nil, nil, []string{"rate_limit_exceeded"}},
		{"refused in words of the provider's own", []answer{refused(400, "a-code-that-a-client-chose")}, nil, nil, []string{"provider_error"}},
		{"too large", []answer{{}}, nil, func(l *agent.Limits) { l.MaxBody = 2 }, []string{"request_too_large"}},
		{"the client leaves", []answer{{body: "leave", hangs: true}}, nil, nil, []string{"canceled"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.answers...)
			r.again = true
			if tc.shape != nil {
				r.session = &shaped{&session{}, tc.shape}
			}
			if tc.limits != nil {
				tc.limits(&r.limits)
			}
			spans, counts := watched(t, r, "call a {}")
			want := map[string]int64{}
			for i, outcome := range tc.want {
				want["keyturn.turns "+outcome]++
				if outcome == "ok" {
					outcome = ""
				}
				require.Equal(t, outcome, attr(spans["chat m"][i], "error.type"))
				require.Equal(t, outcome, spans["chat m"][i].Status.Description)
			}
			require.Len(t, spans["chat m"], len(tc.want))
			for name := range counts {
				if !strings.HasPrefix(name, "keyturn.turns ") {
					delete(counts, name)
				}
			}
			require.Equal(t, want, counts)
		})
	}
}

// TestWhatATurnTells holds what a turn's span has of its answer, and that a single token counts.
func TestWhatATurnTells(t *testing.T) {
	r := newRig(t, answer{body: "done"})
	r.session = &shaped{&session{}, func(turn *dialect.Turn) {
		turn.Usage = dialect.Usage{Input: 1}
		if len(turn.Calls) == 0 {
			turn.Model, turn.Reason = "m-2026", "stop"
			turn.Usage = dialect.Usage{Output: 1, CacheRead: 1, CacheWrite: 1, Reasoning: 1}
		}
	}}
	spans, counts := watched(t, r, "call a {}")
	whole, turn := spans["invoke_agent keyturn"][0], spans["chat m"][0]
	require.Equal(t, "m-2026", attr(turn, "gen_ai.response.model"))
	require.Equal(t, `["stop"]`, attr(turn, "gen_ai.response.finish_reasons"))
	require.Empty(t, attr(turn, "gen_ai.usage.input_tokens"))
	for _, name := range []string{"output_tokens", "cache_read.input_tokens", "cache_write.input_tokens", "reasoning.output_tokens"} {
		require.Equal(t, "1", attr(turn, "gen_ai.usage."+name))
		require.Equal(t, "1", attr(whole, "gen_ai.usage."+name))
	}
	require.Equal(t, "1", attr(whole, "gen_ai.usage.input_tokens"))
	require.Equal(t, "2", attr(whole, "keyturn.turns"))
	require.Equal(t, "1", attr(whole, "keyturn.tool_calls"))
	require.Equal(t, map[string]int64{
		"keyturn.turns ok": 1, "keyturn.tool_calls ok": 1, "gen_ai.execute_tool.duration": 1, "gen_ai.invoke_agent.duration": 1,
		"gen_ai.invoke_agent.inference_calls": 2, "gen_ai.invoke_agent.tool_calls": 1,
	}, counts)

	spans, counts = watched(t, newRig(t), "call a {}\ncall unknown {}\nown b") // a session that says neither model nor reason
	require.Equal(t, map[string]int64{
		"keyturn.tool_calls ok": 1, "keyturn.tool_calls execution_error": 1, "gen_ai.execute_tool.duration": 1, "gen_ai.execute_tool.duration execution_error": 1,
		"gen_ai.invoke_agent.duration": 1, "gen_ai.invoke_agent.inference_calls": 1, "gen_ai.invoke_agent.tool_calls": 2,
	}, counts)
	require.Empty(t, spans["chat m"])
	spans, _ = watched(t, newRig(t, answer{body: "done"}), "call a {}")
	for _, a := range spans["chat m"][0].Attributes {
		require.NotContains(t, a.Key, "gen_ai.response.")
		require.NotEqual(t, "keyturn.key.name", string(a.Key))
	}
}
