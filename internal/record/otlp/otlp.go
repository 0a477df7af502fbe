// Package otlp tells of each turn as a log event of OpenTelemetry's, for a Collector and what stands behind it.
package otlp

import (
	"context"
	"os"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/genai"
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

func attributes(t *record.Turn) []attribute.KeyValue {
	l := make(genai.List, 0, 40)
	l.Turn(t, genai.Server{})
	if d := t.End.Sub(t.Start); d != 0 {
		l = append(l, attribute.Float64("keyturn.duration", d.Seconds()))
	}
	if t.FirstByte != 0 {
		l = append(l, attribute.Float64("keyturn.first_byte", t.FirstByte.Seconds()))
	}
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
