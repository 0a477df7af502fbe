package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/mcp"
)

// TestSpansAndMetrics holds what is told of a response: a span for it, for each turn and each call, in the client's trace, with
// OpenTelemetry's names and without anything that was said.
func TestSpansAndMetrics(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	reader := sdkmetric.NewManualReader()
	r := newRig(t, answer{body: "the-answer\n", header: map[string]string{"X-Keyturn-Used-Name": "key1"}})
	r.response.Origin.Provider, r.response.Origin.Dialect = "azure", dialect.Responses
	r.response.Origin.Trace("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
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
	require.NoError(t, a.Stream(t.Context(), r.response, r.first("call bad {\"x\":\"the-argument\"}\ncall unknown {}")))

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
	require.Equal(t, strings.Fields(`gen_ai.client.operation.duration gen_ai.client.token.usage gen_ai.execute_tool.duration gen_ai.invoke_agent.duration
		gen_ai.invoke_agent.inference_calls gen_ai.invoke_agent.tool_calls tool_calls turns`), names)
}

func attr(s tracetest.SpanStub, name string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == name {
			return a.Value.String()
		}
	}
	return ""
}
