package genai

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/spans"
)

// Spans makes the spans of turns: one of the client's request, over all of its attempts, and beneath it one of each attempt. Those of Keyturn's own
// turns and calls of tools are made while they run, beneath the same one. It is safe for concurrent use.
type Spans struct {
	tracer trace.Tracer
	server func(pool string) Server
	old    bool
}

// NewSpans returns Spans that tell by p. server says where a pool's provider is.
func NewSpans(p trace.TracerProvider, server func(pool string) Server, compat ...Compat) *Spans {
	return &Spans{tracer: p.Tracer(scope), server: server, old: slices.Contains(compat, GenAI136)}
}

// Write tells of t, and of nothing that was said.
func (s *Spans) Write(t *record.Turn, _ []record.Content) {
	server := s.server(t.Pool)
	title, operation := t.Method, Operation(t)
	if operation != other {
		title = operation
		if t.Asked != "" {
			title += " " + t.Asked
		}
	}
	l := make(List, 0, 40)
	l.Turn(t, server)
	if s.old {
		l.Text("gen_ai.system", Provider(t, server.Provider))
	}
	if t.Stream && t.FirstByte > 0 {
		l = append(l, attribute.Float64("gen_ai.response.time_to_first_chunk", t.FirstByte.Seconds()))
	}
	ctx, span := spans.Start(parent(t), s.tracer, t.ID, title,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(t.Start), trace.WithAttributes(l...))
	if span.IsRecording() {
		for i := range t.Attempts {
			s.attempt(ctx, t, &t.Attempts[i], server)
		}
	}
	if t.ErrorClass != "" {
		span.SetStatus(codes.Error, t.ErrorClass)
	}
	span.End(trace.WithTimestamp(t.End))
}

// parent is the place in a trace that the client's request named.
func parent(t *record.Turn) context.Context {
	id, err := trace.TraceIDFromHex(t.TraceID)
	above, aboveErr := trace.SpanIDFromHex(t.SpanID)
	if err != nil || aboveErr != nil {
		return context.Background()
	}
	return trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id, SpanID: above, TraceFlags: trace.FlagsSampled.WithSampled(!t.Unsampled), Remote: true,
	}))
}

// attempt tells of an attempt, beneath the span of its turn, by OpenTelemetry's conventions for HTTP clients
// (https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client).
func (s *Spans) attempt(ctx context.Context, t *record.Turn, a *record.Attempt, server Server) {
	if a.Pool != t.Pool {
		server = s.server(a.Pool)
	}
	if a.Turn > 1 {
		above := trace.SpanContextFromContext(ctx)
		ctx = trace.ContextWithSpanContext(ctx, above.WithSpanID(spans.ID(spans.Turn(t.ID, a.Turn))))
	}
	l := make(List, 0, 16)
	l.Text("http.request.method", t.Method)
	if a.Turn > 1 {
		l[0] = attribute.String("http.request.method", "POST")
	}
	l.Number("http.request.resend_count", int64(a.Number-1))
	l.Number("http.response.status_code", int64(a.Status))
	l.Server(server)
	l.Text("gen_ai.response.model", a.Model)
	l.Text("keyturn.pool", a.Pool)
	l.Text("keyturn.key", a.Key)
	l.Text("keyturn.outcome", a.Outcome)
	l.Text("keyturn.failure.class", a.Class)
	if a.Wait > 0 {
		l = append(l, attribute.Float64("keyturn.cooldown", a.Wait.Seconds()))
	}
	failed := failure(a)
	l.Text("error.type", failed)
	begin := t.Start.Add(a.Start)
	_, span := s.tracer.Start(ctx, l[0].Value.AsString(), trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(begin), trace.WithAttributes(l...))
	if failed != "" {
		span.SetStatus(codes.Error, failed)
	}
	span.End(trace.WithTimestamp(begin.Add(a.Duration)))
}
