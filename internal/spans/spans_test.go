package spans_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/keyturn/keyturn/internal/spans"
)

// TestOneSpan holds that a span that two sides begin is one, that only the side that ends it tells of it, and that what is made beneath it is
// its child, whichever side made it.
func TestOneSpan(t *testing.T) {
	told := tracetest.NewInMemoryExporter()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSyncer(told), sdktrace.WithIDGenerator(spans.Generator{})).Tracer("test")
	client := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true,
	}))
	for name, ctx := range map[string]struct {
		parent string
		trace  string
	}{"alone": {parent: "0000000000000000"}, "in a client's trace": {parent: "0200000000000000", trace: "01000000000000000000000000000000"}} {
		t.Run(name, func(t *testing.T) {
			told.Reset()
			in := t.Context()
			if ctx.trace != "" {
				in = client
			}
			during, _ := spans.Start(in, tracer, "id", "chat m")
			inner, child := tracer.Start(during, "child")
			_, grandchild := tracer.Start(inner, "grandchild")
			grandchild.End()
			child.End()
			_, turn := spans.Start(inner, tracer, spans.Turn("id", 2), "turn")
			turn.End()
			_, whole := spans.Start(in, tracer, "id", "chat m")
			whole.End()
			got := map[string]tracetest.SpanStub{}
			for _, s := range told.GetSpans() {
				got[s.Name] = s
				require.Equal(t, got["grandchild"].SpanContext.TraceID(), s.SpanContext.TraceID())
			}
			require.Len(t, got, 4)
			require.Equal(t, ctx.parent, got["chat m"].Parent.SpanID().String())
			require.Equal(t, spans.ID("id"), got["chat m"].SpanContext.SpanID())
			require.Equal(t, spans.ID("id"), got["child"].Parent.SpanID())
			require.Equal(t, got["child"].SpanContext.SpanID(), got["grandchild"].Parent.SpanID())
			require.NotEqual(t, spans.ID("id"), got["child"].SpanContext.SpanID())
			require.Equal(t, spans.ID("id#2"), got["turn"].SpanContext.SpanID())
			if ctx.trace != "" {
				require.Equal(t, ctx.trace, got["chat m"].SpanContext.TraceID().String())
			}
		})
	}
	require.Equal(t, "id", spans.Turn("id", 1))
}
