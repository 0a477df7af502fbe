// Package otlp tells of each turn as a log event of OpenTelemetry's, for a Collector and what stands behind it.
package otlp

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"

	"github.com/keyturn/keyturn/internal/provider"
	"github.com/keyturn/keyturn/internal/record"
)

// Event is the name of the event, by OpenTelemetry's conventions for generative AI (semantic-conventions-genai v0.1.0,
// docs/gen-ai/gen-ai-events.md). What the conventions have no name for begins with "keyturn.".
const Event = "gen_ai.client.inference.operation.details"

// captureEnv is OpenTelemetry's own variable by which an operator asks for what was said.
const captureEnv = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

const scope = "github.com/keyturn/keyturn/internal/record/otlp"

// Sink emits events. It is safe for concurrent use.
type Sink struct {
	logger  log.Logger
	content bool
}

// New returns a sink that emits by p.
func New(p log.LoggerProvider) *Sink {
	asked := strings.ToLower(os.Getenv(captureEnv))
	return &Sink{logger: p.Logger(scope), content: slices.Contains([]string{"true", "event_only", "span_and_event"}, asked)}
}

// Write emits the event of t, with what it said only where OpenTelemetry's variable asks for that.
func (s *Sink) Write(t *record.Turn, said []record.Content) {
	ctx := within(t)
	if !s.logger.Enabled(ctx, log.EnabledParameters{Severity: log.SeverityInfo, EventName: Event}) {
		return
	}
	var r log.Record
	r.SetEventName(Event)
	r.SetTimestamp(t.End)
	r.SetSeverity(log.SeverityInfo)
	if t.ErrorClass != "" {
		r.SetSeverity(log.SeverityWarn)
	}
	r.AddAttributes(attributes(t)...)
	if s.content {
		r.AddAttributes(messages(said)...)
	}
	s.logger.Emit(ctx, r)
}

// within returns a context of the client's span, so that the event is seen beside it.
func within(t *record.Turn) context.Context {
	ctx := context.Background()
	id, err := trace.TraceIDFromHex(t.TraceID)
	span, spanErr := trace.SpanIDFromHex(t.SpanID)
	if err != nil || spanErr != nil {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, Remote: true}))
}

// list is a list of attributes without those that say nothing.
type list []attribute.KeyValue

func (l *list) text(name, value string) {
	if value != "" {
		*l = append(*l, attribute.String(name, value))
	}
}

func (l *list) number(name string, n int64) {
	if n != 0 {
		*l = append(*l, attribute.Int64(name, n))
	}
}

func (l *list) seconds(name string, d time.Duration) {
	if d != 0 {
		*l = append(*l, attribute.Float64(name, d.Seconds()))
	}
}

func attributes(t *record.Turn) []attribute.KeyValue {
	l := make(list, 0, 40)
	operation := "chat"
	if t.Method == "GET" && t.Dialect == "responses" {
		operation = "fetch_response"
	}
	l.text("gen_ai.operation.name", operation)
	name := t.Provider
	if p, ok := provider.Named(t.Provider); ok {
		name = cmp.Or(p.Telemetry, name)
	}
	l.text("gen_ai.provider.name", name)
	l.text("gen_ai.request.model", t.Asked)
	l.text("gen_ai.response.model", t.Answered)
	l.text("gen_ai.conversation.id", t.Session)
	l = append(l, attribute.Bool("gen_ai.request.stream", t.Stream))
	if t.Usage.State != record.Unknown {
		l = append(l, attribute.Int64("gen_ai.usage.input_tokens", t.Usage.Input), attribute.Int64("gen_ai.usage.output_tokens", t.Usage.Output))
		l.number("gen_ai.usage.cache_read.input_tokens", t.Usage.CacheRead)
		l.number("gen_ai.usage.cache_write.input_tokens", t.Usage.CacheWrite)
		l.number("gen_ai.usage.reasoning.output_tokens", t.Usage.Reasoning)
	}
	l.text("error.type", t.ErrorClass)
	l.number("http.response.status_code", int64(t.Status))
	l.text("user_agent.original", t.UserAgent)
	l.text("keyturn.request_id", t.ID)
	l.text("keyturn.client", t.Client)
	l.text("keyturn.pool", t.Pool)
	l.text("keyturn.key", t.Key)
	l.text("keyturn.dialect", t.Dialect)
	l.text("keyturn.tier", t.Tier)
	l.text("keyturn.ending", t.Ending.String())
	l.text("keyturn.usage", t.Usage.State.String())
	l.number("keyturn.turns", int64(t.Turns))
	l.number("keyturn.attempts", int64(len(t.Attempts)))
	l.number("keyturn.tool_calls", int64(len(t.Calls)))
	l.number("keyturn.request.bytes", t.BytesIn)
	l.number("keyturn.response.bytes", t.BytesOut)
	l.seconds("keyturn.duration", t.End.Sub(t.Start))
	l.seconds("keyturn.first_byte", t.FirstByte)
	l.seconds("keyturn.overhead", t.Overhead)
	if t.Price.Priced || t.Price.Nano != 0 {
		l = append(l, attribute.Float64("keyturn.cost.usd", float64(t.Price.Nano)/1e9))
	}
	l.number("keyturn.unpriced_tokens", t.Price.Unpriced)
	return l
}

// messages are what was said, in the conventions' form: a list of messages, each with parts.
func messages(said []record.Content) []attribute.KeyValue {
	var in, out []attribute.Value
	part := func(kind, text string) attribute.Value {
		return attribute.MapValue(attribute.String("type", kind), attribute.String("content", text))
	}
	message := func(role string, parts ...attribute.Value) attribute.Value {
		return attribute.MapValue(attribute.String("role", role), attribute.Slice("parts", parts...))
	}
	for _, c := range said {
		switch c.Kind {
		case record.Prompt:
			in = append(in, message("user", part("text", c.Text)))
		case record.Answer:
			out = append(out, message("assistant", part("text", c.Text)))
		case record.Thought:
			out = append(out, message("assistant", part("reasoning", c.Text)))
		case record.ToolCall:
			out = append(out, message("tool", attribute.MapValue(attribute.String("type", "tool_call_response"), attribute.String("id", c.Call), attribute.String("response", c.Text))))
		}
	}
	var l []attribute.KeyValue
	if len(in) > 0 {
		l = append(l, attribute.Slice("gen_ai.input.messages", in...))
	}
	if len(out) > 0 {
		l = append(l, attribute.Slice("gen_ai.output.messages", out...))
	}
	return l
}
