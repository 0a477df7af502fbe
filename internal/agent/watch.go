package agent

import (
	"context"
	"errors"

	"github.com/coder/quartz"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/spans"
)

// watch makes spans and metrics of responses, turns and calls, by OpenTelemetry's conventions for generative AI
// (https://opentelemetry.io/docs/specs/semconv/gen-ai/). No prompt, argument or result is in them, and no label that a client can
// choose.
type watch struct {
	tracer trace.Tracer
	clock  quartz.Clock

	recorded bool // a span of the client's request is made of its record

	turns     metric.Int64Counter
	calls     metric.Int64Counter
	toolTime  metric.Float64Histogram
	loopTime  metric.Float64Histogram
	loopTurns metric.Int64Histogram
	loopCalls metric.Int64Histogram
}

// Buckets of the conventions.
var (
	secondBuckets = []float64{.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
	countBuckets  = []float64{1, 2, 3, 4, 5, 10, 20, 50, 100}
)

const scope = "github.com/keyturn/keyturn/internal/agent"

func newWatch(tp trace.TracerProvider, mp metric.MeterProvider, clock quartz.Clock, recorded bool) (*watch, error) {
	if tp == nil {
		tp = tracenoop.NewTracerProvider()
	}
	if mp == nil {
		mp = metricnoop.NewMeterProvider()
	}
	w := &watch{tracer: tp.Tracer(scope), clock: clock, recorded: recorded}
	m := mp.Meter(scope)
	var errs [6]error
	w.turns, errs[0] = m.Int64Counter("keyturn.turns", metric.WithDescription("Turns after a response's first, by what they came to."))
	w.calls, errs[1] = m.Int64Counter("keyturn.tool_calls", metric.WithDescription("Calls of Keyturn's tools, by what they came to."))
	w.toolTime, errs[2] = m.Float64Histogram("gen_ai.execute_tool.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of a call of a tool."), metric.WithExplicitBucketBoundaries(secondBuckets...))
	w.loopTime, errs[3] = m.Float64Histogram("gen_ai.invoke_agent.duration", metric.WithUnit("s"),
		metric.WithDescription("From a client's request to the end of a response that took more than one turn."), metric.WithExplicitBucketBoundaries(secondBuckets...))
	w.loopTurns, errs[4] = m.Int64Histogram("gen_ai.invoke_agent.inference_calls", metric.WithUnit("{call}"),
		metric.WithDescription("Turns of a response that took more than one."), metric.WithExplicitBucketBoundaries(countBuckets...))
	w.loopCalls, errs[5] = m.Int64Histogram("gen_ai.invoke_agent.tool_calls", metric.WithUnit("{call}"),
		metric.WithDescription("Calls of Keyturn's tools in such a response."), metric.WithExplicitBucketBoundaries(countBuckets...))
	return w, errors.Join(errs[:]...)
}

// provider is the label that all of Keyturn's metrics have: the pool.
func (o *Origin) provider() attribute.KeyValue { return attribute.String("provider", o.Pool) }

func (o *Origin) genAI(operation string) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", operation), attribute.String("gen_ai.provider.name", o.Provider), o.provider(),
	}
}

// response is the span of a response of more than one turn. It is the child of the span of the client's request, where that is recorded, and
// else of what the request carried.
func (w *watch) response(ctx context.Context, r *Response) (context.Context, func()) {
	if r.origin.trace != nil {
		ctx = propagation.TraceContext{}.Extract(ctx, r.origin.trace)
	}
	if w.recorded && r.origin.ID != "" {
		ctx, _ = spans.Start(ctx, w.tracer, r.origin.ID, "chat "+r.session.Model()) // whoever has the record tells of it
	}
	attrs := r.origin.genAI("invoke_agent")
	ctx, span := w.tracer.Start(ctx, "invoke_agent keyturn", trace.WithTimestamp(r.origin.Began), trace.WithAttributes(attrs...),
		trace.WithAttributes(attribute.String("gen_ai.agent.name", "keyturn"), attribute.String("gen_ai.request.model", r.session.Model()),
			attribute.String("keyturn.dialect", r.origin.Dialect.Name())))
	return ctx, func() {
		set := metric.WithAttributes(attrs...)
		w.loopTime.Record(ctx, w.clock.Since(r.origin.Began).Seconds(), set)
		w.loopTurns.Record(ctx, int64(r.report.Turns), set)
		w.loopCalls.Record(ctx, int64(r.report.Calls), set)
		span.SetAttributes(usageAttrs(r.report.Usage)...)
		span.SetAttributes(attribute.Int("keyturn.turns", r.report.Turns), attribute.Int("keyturn.tool_calls", r.report.Calls))
		span.End()
	}
}

func usageAttrs(u dialect.Usage) (attrs []attribute.KeyValue) {
	for _, n := range []struct {
		name string
		n    int64
	}{
		{"gen_ai.usage.input_tokens", u.Input},
		{"gen_ai.usage.output_tokens", u.Output},
		{"gen_ai.usage.cache_read.input_tokens", u.CacheRead},
		{"gen_ai.usage.cache_write.input_tokens", u.CacheWrite},
		{"gen_ai.usage.reasoning.output_tokens", u.Reasoning},
	} {
		if n.n > 0 {
			attrs = append(attrs, attribute.Int64(n.name, n.n))
		}
	}
	return attrs
}

// turn is the span of a turn after the first. Its attempts are told of by whoever has the record.
func (w *watch) turn(ctx context.Context, r *Response) (context.Context, func(*ending, error)) {
	attrs := r.origin.genAI("chat")
	ctx, span := spans.Start(ctx, w.tracer, spans.Turn(r.name(), r.report.Turns+1), "chat "+r.session.Model(), trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(w.clock.Now()),
		trace.WithAttributes(attrs...), trace.WithAttributes(attribute.String("gen_ai.request.model", r.session.Model()),
			attribute.Bool("gen_ai.request.stream", r.session.Streams()), attribute.Int("keyturn.turn", r.report.Turns+1)))
	return ctx, func(e *ending, err error) {
		if e == nil {
			e = &ending{}
		}
		t, outcome := &e.turn, "ok"
		switch {
		case errors.Is(err, ErrNoRoom):
			outcome = noRoom.Code
		case err != nil:
			outcome = "canceled"
		case e.problem != nil && knownCodes[e.problem.Code]:
			outcome = e.problem.Code
		case e.problem != nil:
			outcome = "provider_error"
		case t.Failure != nil:
			outcome = "failed"
		case t.Cut:
			outcome = "cut"
		}
		if outcome != "ok" {
			span.SetStatus(codes.Error, outcome)
			span.SetAttributes(attribute.String("error.type", outcome))
		}
		span.SetAttributes(usageAttrs(t.Usage)...)
		if t.Model != "" {
			span.SetAttributes(attribute.String("gen_ai.response.model", t.Model))
		}
		if t.Reason != "" {
			span.SetAttributes(attribute.StringSlice("gen_ai.response.finish_reasons", []string{t.Reason}))
		}
		if r.report.Key != "" {
			span.SetAttributes(attribute.String("keyturn.key.name", r.report.Key))
		}
		span.End()
		w.turns.Add(ctx, 1, metric.WithAttributes(r.origin.provider(), attribute.String("dialect", r.origin.Dialect.Name()), attribute.String("outcome", outcome)))
	}
}

// name is what the spans of the response's turns have their ids from: any, where the front names no request.
func (r *Response) name() string {
	if r.origin.ID != "" {
		return r.origin.ID
	}
	return uuid.NewString()
}

// knownCodes bounds the label: other codes are the provider's own.
var knownCodes = map[string]bool{
	"rate_limit_exceeded": true, "rate_limit_error": true, "server_error": true, "api_error": true, "overloaded_error": true, "request_too_large": true,
	"invalid_request_error": true, "authentication_error": true, "not_found_error": true, "model_not_found": true, "insufficient_quota": true,
}

// otherTool stands for the server and the name of a tool that the model made up.
const otherTool = "_other"

// outcomeOf is what a call came to: the label of keyturn_tool_calls_total.
func outcomeOf(r dialect.Result) string {
	switch {
	case r.Error != nil:
		return [...]string{"execution_error", "protocol_error", "http_error"}[r.Error.Kind]
	case r.IsError:
		return "tool_error"
	}
	return "ok"
}

// tool is the span of a call. mcp adds to it what it knows.
func (w *watch) tool(ctx context.Context, o *Origin, c dialect.Call) (context.Context, func(dialect.Result)) {
	began := w.clock.Now()
	name, server := c.Tool.Tool, c.Tool.Server
	if name == "" {
		name, server = otherTool, otherTool
	}
	ctx, span := w.tracer.Start(ctx, "execute_tool "+name, trace.WithTimestamp(began), trace.WithAttributes(
		attribute.String("gen_ai.operation.name", "execute_tool"), attribute.String("gen_ai.tool.name", name), attribute.String("gen_ai.tool.type", "extension"),
		attribute.String("gen_ai.tool.call.id", c.ID), attribute.String("keyturn.mcp.server", server), o.provider()))
	return ctx, func(r dialect.Result) {
		outcome := outcomeOf(r)
		attrs := []attribute.KeyValue{o.provider(), attribute.String("server", server), attribute.String("tool", name)}
		w.calls.Add(ctx, 1, metric.WithAttributes(attrs...), metric.WithAttributes(attribute.String("outcome", outcome)))
		if outcome != "ok" {
			attrs = append(attrs, attribute.String("error.type", outcome))
			span.SetStatus(codes.Error, outcome)
			span.SetAttributes(attribute.String("error.type", outcome))
		}
		span.End()
		w.toolTime.Record(ctx, w.clock.Since(began).Seconds(), metric.WithAttributes(attrs...))
	}
}
