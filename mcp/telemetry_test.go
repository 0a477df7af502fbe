package mcp_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/mcp"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// TestSpans has each call describe itself on the span that stands for it. The server gets the trace.
func TestSpans(t *testing.T) {
	t.Parallel()
	ts := serve(t, toolserver.Options{})
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	c := open(t, mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: ts.URL}}})
	up(t, c)

	call := func(tool, args string) (sdktrace.ReadOnlySpan, error) {
		ctx, span := provider.Tracer("test").Start(t.Context(), "execute_tool "+tool)
		_, err := c.Call(ctx, "demo", tool, json.RawMessage(args))
		span.End()
		ended := spans.Ended()
		return ended[len(ended)-1], err
	}
	first, err := call("count", "")
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"mcp.method.name": "tools/call", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "count",
		"keyturn.mcp.server": "demo", "network.transport": "tcp", "server.address": "127.0.0.1", "mcp.protocol.version": "2025-11-25",
	}, values(first.Attributes()))
	require.Equal(t, "00-"+first.SpanContext().TraceID().String()+"-"+first.SpanContext().SpanID().String()+"-01", ts.Calls("count")[0].Meta["traceparent"])
	second, err := call("fail", `{"message":"private"}`)
	require.NoError(t, err)
	require.Equal(t, "tool_error", values(second.Attributes())["error.type"])
	require.Equal(t, codes.Error, second.Status().Code)
	ts.Next(1, toolserver.Fault{Method: "tools/call", Status: 503})
	third, err := call("count", "")
	require.Error(t, err)
	require.Equal(t, "http", values(third.Attributes())["error.type"])
	require.Len(t, spans.Ended(), 3)
	for _, s := range spans.Ended() {
		for _, v := range values(s.Attributes()) {
			require.NotContains(t, v, "private")
		}
	}

	// Without a span there is nothing to tell.
	_, err = text(t.Context(), c, "count", "")
	require.NoError(t, err)
	require.NotContains(t, ts.Calls("count")[1].Meta, "traceparent")
}

func values(attrs []attribute.KeyValue) map[string]string {
	found := map[string]string{}
	for _, a := range attrs {
		found[string(a.Key)] = a.Value.String()
	}
	return found
}

// TestDuration counts the operations by method and outcome.
func TestDuration(t *testing.T) {
	t.Parallel()
	ts := serve(t, toolserver.Options{})
	reader := sdkmetric.NewManualReader()
	c := open(t, mcp.Config{
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
		Servers:       []mcp.Server{{Name: "demo", URL: ts.URL}},
	})
	up(t, c)
	echo(t, c)
	echo(t, c)
	_, err := text(t.Context(), c, "fail", "{}")
	require.Error(t, err)
	ts.Next(1, toolserver.Fault{Method: "tools/call", Status: 503})
	_, err = text(t.Context(), c, "echo", "")
	require.Error(t, err)

	var got metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &got))
	require.Len(t, got.ScopeMetrics, 1)
	require.Len(t, got.ScopeMetrics[0].Metrics, 1)
	m := got.ScopeMetrics[0].Metrics[0]
	require.Equal(t, "mcp.client.operation.duration", m.Name)
	require.Equal(t, "s", m.Unit)
	counts := map[string]uint64{}
	for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
		labels := values(p.Attributes.ToSlice())
		require.Equal(t, "demo", labels["keyturn.mcp.server"])
		counts[strings.TrimSpace(labels["mcp.method.name"]+" "+labels["error.type"])] = p.Count
	}
	require.Equal(t, map[string]uint64{
		"initialize": 1, "tools/list": 1, "tools/call": 2, "tools/call tool_error": 1, "tools/call http": 1,
	}, counts)
}

// TestLog looks for what must not be in it.
func TestLog(t *testing.T) {
	var log safeBuffer
	ts := serve(t, toolserver.Options{})
	ts.Next(3, toolserver.Fault{Status: 401})
	c := open(t, mcp.Config{
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Servers: []mcp.Server{
			{Name: "demo", URL: ts.URL + "?token=secret-query", Headers: map[string]string{"Authorization": "secret-header"}},
			{Name: "child", Command: []string{"/nonexistent", "secret-argument"}, Env: []string{"A=secret-variable"}},
		},
	})
	require.Eventually(t, func() bool { return c.Status()[0].Connected }, patience, interval)
	_, err := text(t.Context(), c, "echo", `{"text":"secret-text"}`)
	require.NoError(t, err)
	ts.Next(2, toolserver.Fault{Status: 500})
	_, err = text(t.Context(), c, "echo", `{"text":"secret-text"}`)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
	require.NoError(t, c.Close())
	said := log.String()
	require.Contains(t, said, `msg="MCP server cannot be used; its tools are not offered" server=demo`)
	require.Contains(t, said, `msg="MCP server connected" server=demo version=2025-11-25 tools=10`)
	require.Contains(t, said, `server=child`)
	require.NotContains(t, said, "secret")
	require.NotContains(t, said, "sign in")
}

// safeBuffer is a buffer that goroutines share.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
