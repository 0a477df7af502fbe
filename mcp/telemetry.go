package mcp

import (
	"context"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// scope names this package to OpenTelemetry.
const scope = "github.com/keyturn/keyturn/mcp"

// The methods that are measured.
const (
	methodInitialize = "initialize"
	methodList       = "tools/list"
	methodCall       = "tools/call"
)

// environment is what all parts of a Catalogue are given.
type environment struct {
	clock    clock
	log      *slog.Logger
	limits   *limits
	version  string
	duration metric.Float64Histogram
}

func newEnvironment(cfg Config) (*environment, error) {
	env := &environment{clock: cfg.clock, log: cfg.Log, version: cfg.Version}
	if env.clock == nil {
		env.clock = realClock{}
	}
	if env.log == nil {
		env.log = slog.New(slog.DiscardHandler)
	}
	env.limits = &limits{clock: env.clock, log: env.log, told: map[[2]string]time.Time{}}
	if env.version == "" {
		env.version = "unknown"
	}
	var metrics metric.MeterProvider = metricnoop.NewMeterProvider()
	if cfg.MeterProvider != nil {
		metrics = cfg.MeterProvider
	}
	var err error
	// Name and buckets: https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/
	env.duration, err = metrics.Meter(scope).Float64Histogram("mcp.client.operation.duration",
		metric.WithUnit("s"),
		metric.WithDescription("Time from a request to an MCP server until its answer."),
		metric.WithExplicitBucketBoundaries(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300))
	return env, err
}

// measure records one operation. failure is its error.type, "": none.
func (env *environment) measure(ctx context.Context, server, method, failure string, seconds float64) {
	attrs := []attribute.KeyValue{attribute.String("mcp.method.name", method), attribute.String("keyturn.mcp.server", server)}
	if failure != "" {
		attrs = append(attrs, attribute.String("error.type", failure))
	}
	env.duration.Record(ctx, seconds, metric.WithAttributes(attrs...))
}

// describeCall puts what a call is on the span of its context.
func describeCall(span trace.Span, cfg Server, tool string) {
	attrs := []attribute.KeyValue{
		attribute.String("mcp.method.name", methodCall),
		attribute.String("gen_ai.operation.name", "execute_tool"),
		attribute.String("gen_ai.tool.name", tool),
		attribute.String("keyturn.mcp.server", cfg.Name),
	}
	if len(cfg.Command) > 0 {
		attrs = append(attrs, attribute.String("network.transport", "pipe"))
	} else if u, err := url.Parse(cfg.URL); err == nil {
		attrs = append(attrs, attribute.String("network.transport", "tcp"), attribute.String("server.address", u.Hostname()))
	}
	span.SetAttributes(attrs...)
}

// describe puts the outcome of a call on its span, and returns its error.type, "" for none.
func describe(span trace.Span, r *Result, e *Error) string {
	switch {
	case e != nil:
		span.SetAttributes(attribute.String("error.type", e.Kind.String()))
		if e.Code != 0 {
			span.SetAttributes(attribute.Int("rpc.response.status_code", e.Code))
		}
		span.SetStatus(codes.Error, e.Kind.String())
		return e.Kind.String()
	case r.IsError:
		span.SetAttributes(attribute.String("error.type", "tool_error"))
		span.SetStatus(codes.Error, "tool_error")
		return "tool_error"
	}
	return ""
}

// requestMeta is the _meta of a call: the trace that it belongs to, where there is one (SEP-414).
func requestMeta(ctx context.Context) sdk.Meta {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	if len(carrier) == 0 {
		return nil
	}
	meta := sdk.Meta{}
	for key, value := range carrier {
		meta[key] = value
	}
	return meta
}
