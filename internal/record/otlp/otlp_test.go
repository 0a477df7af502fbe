package otlp_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/log/noop"
	collectlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/otlp"
	"github.com/keyturn/keyturn/internal/record/recordtest"
	"github.com/keyturn/keyturn/internal/telemetry"
)

// collector runs f with the provider that the environment of an operator with a Collector makes, and returns what the Collector got.
func collector(t *testing.T, f func(log.LoggerProvider)) (records []*logs.LogRecord) {
	t.Helper()
	c := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/logs" {
			return
		}
		var got collectlogs.ExportLogsServiceRequest
		if err := proto.Unmarshal(b, &got); err != nil {
			t.Error(err)
		}
		for _, r := range got.ResourceLogs {
			for _, s := range r.ScopeLogs {
				records = append(records, s.LogRecords...)
			}
		}
	}))
	defer c.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", c.URL+"/v1/logs")
	tel, err := telemetry.New()
	require.NoError(t, err)
	f(tel.LoggerProvider())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, tel.Shutdown(ctx))
	return records
}

func named(attributes []*common.KeyValue) map[string]*common.AnyValue {
	all := map[string]*common.AnyValue{}
	for _, a := range attributes {
		all[a.Key] = a.Value
	}
	return all
}

func secret(t *record.Turn) []record.Content {
	return []record.Content{
		{ID: t.ID, Kind: record.Prompt, Text: "SECRET question"},
		{ID: t.ID, Kind: record.Thought, Text: "SECRET thought"},
		{ID: t.ID, Kind: record.ToolCall, Call: "call_1", Text: "SECRET result"},
		{ID: t.ID, Kind: record.Answer, Text: "SECRET answer"},
	}
}

func TestEventsReachACollector(t *testing.T) {
	turns := recordtest.Turns(50, 1)
	got := collector(t, func(p log.LoggerProvider) {
		sink := otlp.New(p)
		for _, turn := range turns {
			sink.Write(turn, secret(turn))
		}
	})
	require.Len(t, got, len(turns))
	for i, r := range got {
		turn, a := turns[i], named(r.Attributes)
		require.Equal(t, "gen_ai.client.inference.operation.details", r.EventName)
		require.Equal(t, uint64(turn.End.UnixNano()), r.TimeUnixNano)
		require.Equal(t, "\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab\xab", string(r.TraceId))
		require.Equal(t, "\xcd\xcd\xcd\xcd\xcd\xcd\xcd\xcd", string(r.SpanId))
		require.Equal(t, turn.ID, a["keyturn.request_id"].GetStringValue())
		require.Equal(t, "chat", a["gen_ai.operation.name"].GetStringValue())
		require.Equal(t, "openai", a["gen_ai.provider.name"].GetStringValue())
		require.Equal(t, turn.Asked, a["gen_ai.request.model"].GetStringValue())
		require.Equal(t, turn.Answered, a["gen_ai.response.model"].GetStringValue())
		require.Equal(t, turn.ErrorClass, a["error.type"].GetStringValue())
		require.Equal(t, turn.Session, a["gen_ai.conversation.id"].GetStringValue())
		if turn.Usage.State == record.Unknown {
			require.NotContains(t, a, "gen_ai.usage.input_tokens", "what nobody knows is not 0")
		} else {
			require.Equal(t, turn.Usage.Input, a["gen_ai.usage.input_tokens"].GetIntValue())
			require.Equal(t, turn.Usage.Reasoning, a["gen_ai.usage.reasoning.output_tokens"].GetIntValue())
		}
		require.InDelta(t, float64(turn.Price.Nano)/1e9, a["keyturn.cost.usd"].GetDoubleValue(), 1e-9)
		require.NotContains(t, r.String(), "SECRET")
	}
}

// What was said is told only where OpenTelemetry's own variable asks for it.
func TestContentIsOptIn(t *testing.T) {
	turn := recordtest.Turns(1, 1)[0]
	write := func(p log.LoggerProvider) { otlp.New(p).Write(turn, secret(turn)) }
	for _, off := range []string{"", "false", "span_only", "no_content"} {
		t.Setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", off)
		require.NotContains(t, collector(t, write)[0].String(), "SECRET", off)
	}
	t.Setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
	a := named(collector(t, write)[0].Attributes)
	in, out := a["gen_ai.input.messages"].GetArrayValue().Values, a["gen_ai.output.messages"].GetArrayValue().Values
	require.Len(t, in, 1)
	require.Len(t, out, 3)
	message := named(in[0].GetKvlistValue().Values)
	require.Equal(t, "user", message["role"].GetStringValue())
	part := named(message["parts"].GetArrayValue().Values[0].GetKvlistValue().Values)
	require.Equal(t, "SECRET question", part["content"].GetStringValue())
}

func TestNothingWithoutACollector(t *testing.T) {
	turn := recordtest.Turns(1, 1)[0]
	sink := otlp.New(noop.NewLoggerProvider())
	require.Zero(t, testing.AllocsPerRun(100, func() { sink.Write(&record.Turn{}, nil) }))
	sink.Write(turn, nil)
}
