// Package spans knows the place of a client's request in a trace: its span is made of its record, when all is over, and others are made beneath
// it before. So its ids come from the request's id.
package spans

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strconv"

	"go.opentelemetry.io/otel/trace"
)

// Turn names the span of a turn of a request: the n-th, from 1. The first is the request's own span.
func Turn(request string, n int) string {
	if n <= 1 {
		return request
	}
	return request + "#" + strconv.Itoa(n)
}

// ids are those of the span with that name, and of a trace that begins with it.
func ids(name string) (trace.TraceID, trace.SpanID) {
	sum := sha256.Sum256([]byte(name))
	return trace.TraceID(sum[:16]), trace.SpanID(sum[16:24])
}

// ID is the id of the span with that name.
func ID(name string) trace.SpanID {
	_, id := ids(name)
	return id
}

type nameKey struct{}

// Start begins the span with that name: whoever begins it, and how often, it is the same one, in the trace that ctx is in or one of its own.
// What never ends is never told, so that children can be made beneath a span that somebody else will tell of.
func Start(ctx context.Context, tracer trace.Tracer, name, title string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	_, span := tracer.Start(context.WithValue(ctx, nameKey{}, name), title, options...)
	return trace.ContextWithSpan(ctx, span), span
}

// Generator makes the ids of spans: those of Start by their names, others by chance. It is an IDGenerator of OpenTelemetry's SDK.
type Generator struct{}

// NewIDs makes the ids of a span that begins a trace.
func (Generator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if name, ok := ctx.Value(nameKey{}).(string); ok {
		return ids(name)
	}
	var t trace.TraceID
	_, _ = rand.Read(t[:]) // it never fails
	return t, chance()
}

// NewSpanID makes the id of a span within a trace.
func (Generator) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if name, ok := ctx.Value(nameKey{}).(string); ok {
		return ID(name)
	}
	return chance()
}

func chance() (id trace.SpanID) {
	_, _ = rand.Read(id[:])
	return id
}
