package genai_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/keyturn/keyturn/internal/provider"
	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/genai"
	"github.com/keyturn/keyturn/internal/spans"
)

// signal is what the conventions say of an instrument or a span.
type signal struct {
	Name, Type, Instrument, Unit, Kind string
	Required, Other                    []string
}

// conventions are OpenTelemetry's, as data.
var conventions = func() (c struct {
	Operations, Modalities, Providers []string
	Metrics, Spans                    []signal
	Old                               []signal `json:"genai_1_36"`
},
) {
	b, err := os.ReadFile("testdata/conventions.json")
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		panic(err)
	}
	return c
}()

// fits holds that attributes are what the conventions want: all that are required, and beside the known ones only ours.
func (s signal) fits(t *testing.T, attrs []attribute.KeyValue) {
	t.Helper()
	for _, name := range s.Required {
		require.True(t, slices.ContainsFunc(attrs, func(a attribute.KeyValue) bool { return string(a.Key) == name }), "%s%s has no %s", s.Name, s.Type, name)
	}
	for _, a := range attrs {
		name := string(a.Key)
		known := slices.Contains(s.Required, name) || slices.Contains(s.Other, name)
		if strings.HasPrefix(name, "gen_ai.") && name != "gen_ai.response.model" || strings.HasPrefix(name, "server.") || name == "error.type" {
			require.True(t, known, "%s%s has %s", s.Name, s.Type, name)
		}
		switch name {
		case "gen_ai.operation.name":
			require.Contains(t, conventions.Operations, a.Value.AsString())
		case "gen_ai.token.modality":
			require.Contains(t, conventions.Modalities, a.Value.AsString())
		}
	}
}

func served(pool string) genai.Server {
	return genai.Server{Provider: "openai", Address: pool + ".example.com", Port: 8443}
}

var at = time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)

// turn is a request with a failover and a later turn.
func turn() *record.Turn {
	return &record.Turn{
		ID: "the-request", Start: at, End: at.Add(3 * time.Second), Client: "alice", Session: "s", Pool: "main", Provider: "openai", Dialect: "chat", Method: "POST",
		Path: "/v1/chat/completions", Asked: "gpt-5", Answered: "gpt-5-2025", Stream: true, Status: 200, FirstByte: time.Second, Overhead: 2 * time.Millisecond, Key: "k2",
		TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331",
		Attempts: []record.Attempt{
			{Number: 1, Turn: 1, Pool: "main", Key: "k1", Duration: 100 * time.Millisecond, Status: 429, Class: "rate_limit", Outcome: "turned", Wait: time.Minute},
			{Number: 2, Turn: 1, Pool: "spare", Key: "k2", Start: 100 * time.Millisecond, Duration: time.Second, Status: 200, Outcome: "ok", Model: "gpt-5-2025"},
			{Number: 1, Turn: 2, Pool: "main", Key: "k2", Start: 2 * time.Second, Duration: time.Second, Status: 200, Outcome: "ok", Model: "gpt-5-2025"},
		},
		Turns: 2, Usage: record.Usage{Input: 100, CacheRead: 40, CacheWrite: 5, Output: 20, Reasoning: 7, State: record.Complete}, Price: record.Price{Nano: 1_500_000_000, Priced: true, Unpriced: 3},
	}
}

func tell(t *testing.T, turns []*record.Turn, compat ...genai.Compat) map[string]tracetest.SpanStub {
	t.Helper()
	told := tracetest.NewInMemoryExporter()
	s := genai.NewSpans(sdktrace.NewTracerProvider(sdktrace.WithSyncer(told), sdktrace.WithIDGenerator(spans.Generator{})), served, compat...)
	got := map[string]tracetest.SpanStub{}
	for _, one := range turns {
		s.Write(one, []record.Content{{Text: "the-prompt"}})
	}
	for _, span := range told.GetSpans() {
		require.NotContains(t, fmt.Sprint(span), "the-prompt")
		name := span.Name
		for got[name].Name != "" {
			name += "'"
		}
		got[name] = span
	}
	return got
}

func attr(s tracetest.SpanStub, name string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == name {
			return a.Value.String()
		}
	}
	return ""
}

// TestSpans holds that there is one span of the client's request over all of its attempts, with the record's times, in the client's trace; one of
// each attempt beneath that of its turn; and that all are as the conventions want them.
func TestSpans(t *testing.T) {
	got := tell(t, []*record.Turn{turn()})
	require.Len(t, got, 4)
	whole := got["chat gpt-5"]
	require.Equal(t, trace.SpanKindClient, whole.SpanKind)
	require.Equal(t, []time.Time{at, at.Add(3 * time.Second)}, []time.Time{whole.StartTime.UTC(), whole.EndTime.UTC()})
	require.Equal(t, "b7ad6b7169203331", whole.Parent.SpanID().String())
	require.Equal(t, spans.ID("the-request"), whole.SpanContext.SpanID())
	conventions.Spans[0].fits(t, whole.Attributes)
	for name, want := range map[string]string{
		"gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": "100", "gen_ai.usage.cache_read.input_tokens": "40", "gen_ai.usage.cache_write.input_tokens": "5",
		"gen_ai.usage.reasoning.output_tokens": "7", "gen_ai.response.time_to_first_chunk": "1", "server.address": "main.example.com", "server.port": "8443",
		"gen_ai.conversation.id": "s", "keyturn.client": "alice", "keyturn.cost.usd": "1.5", "error.type": "", "gen_ai.system": "",
	} {
		require.Equal(t, want, attr(whole, name), name)
	}
	for i, name := range []string{"POST", "POST'", "POST''"} {
		a := got[name]
		conventions.Spans[1].fits(t, a.Attributes)
		require.Equal(t, "0af7651916cd43dd8448eb211c80319c", a.SpanContext.TraceID().String())
		require.Equal(t, []string{"k1", "k2", "k2"}[i], attr(a, "keyturn.key"))
		require.Equal(t, []string{"", "1", ""}[i], attr(a, "http.request.resend_count"))
		require.Equal(t, []string{"rate_limit", "", ""}[i], attr(a, "error.type"))
		require.Equal(t, []string{"main.example.com", "spare.example.com", "main.example.com"}[i], attr(a, "server.address"))
		require.Equal(t, spans.ID([]string{"the-request", "the-request", "the-request#2"}[i]), a.Parent.SpanID())
	}
	require.Equal(t, at.Add(2*time.Second), got["POST''"].StartTime.UTC())
	require.Equal(t, "60", attr(got["POST"], "keyturn.cooldown"))

	require.Equal(t, "openai", attr(tell(t, []*record.Turn{turn()}, genai.GenAI136)["chat gpt-5"], "gen_ai.system"))
	kept := turn()
	kept.Unsampled = true
	require.Empty(t, tell(t, []*record.Turn{kept}), "nobody keeps the client's trace")
	alone := turn()
	alone.TraceID, alone.SpanID, alone.ErrorClass = "", "", "provider_reset"
	own := tell(t, []*record.Turn{alone})["chat gpt-5"]
	require.False(t, own.Parent.IsValid())
	require.Equal(t, codes.Error, own.Status.Code)
	require.Equal(t, "provider_reset", attr(own, "error.type"))
}

// TestOperations holds what each kind of request is called.
func TestOperations(t *testing.T) {
	for _, tc := range []struct{ method, path, dialect, want, span string }{
		{"POST", "/v1/messages", "messages", "chat", "chat m"},
		{"POST", "/v1/completions", "", "text_completion", "text_completion m"},
		{"POST", "/v1/embeddings", "", "embeddings", "embeddings m"},
		{"GET", "/v1/responses/resp_1", "", "fetch_response", "fetch_response m"},
		{"DELETE", "/v1/files/file-1", "", "other", "DELETE"},
		{"POST", "/v1/files", "", "other", "POST"},
	} {
		r := &record.Turn{ID: tc.path, Start: at, End: at, Method: tc.method, Path: tc.path, Dialect: tc.dialect, Asked: "m"}
		require.Equal(t, tc.want, genai.Operation(r), tc.path)
		require.Contains(t, tell(t, []*record.Turn{r}), tc.span)
	}
}

// TestProviders holds that what is said as gen_ai.provider.name is OpenTelemetry's, where it has one for a provider.
func TestProviders(t *testing.T) {
	for _, p := range provider.All {
		name := genai.Provider(&record.Turn{Provider: p.Name}, "")
		if p.Telemetry != "" {
			require.Equal(t, p.Telemetry, name)
		}
		if slices.Contains(conventions.Providers, strings.ReplaceAll(p.Name, "-", ".")) {
			require.Contains(t, conventions.Providers, name)
		}
	}
	require.Equal(t, "anthropic", genai.Provider(&record.Turn{}, "anthropic"), "of a request that reached none: the pool's")
}

func measured(t *testing.T, turns []*record.Turn, compat ...genai.Compat) map[string]metricdata.Metrics {
	t.Helper()
	reader := sdkmetric.NewManualReader()
	m, err := genai.NewMetrics(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), served, compat...)
	require.NoError(t, err)
	for _, one := range turns {
		m.Write(one, []record.Content{{Text: "the-prompt"}})
	}
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	require.NotContains(t, fmt.Sprintf("%+v", all), "the-prompt")
	got := map[string]metricdata.Metrics{}
	for _, s := range all.ScopeMetrics {
		for _, one := range s.Metrics {
			got[one.Name] = one
		}
	}
	return got
}

// points are the attributes and the values of an instrument's, whatever its kind, and that kind.
func points(t *testing.T, m metricdata.Metrics) (kind string, sets []attribute.Set, sums []float64) {
	t.Helper()
	switch d := m.Data.(type) {
	case metricdata.Sum[int64]:
		kind = "counter"
		for _, p := range d.DataPoints {
			sets, sums = append(sets, p.Attributes), append(sums, float64(p.Value))
		}
	case metricdata.Sum[float64]:
		kind = "counter"
		for _, p := range d.DataPoints {
			sets, sums = append(sets, p.Attributes), append(sums, p.Value)
		}
	case metricdata.Histogram[int64]:
		kind = "histogram"
		for _, p := range d.DataPoints {
			sets, sums = append(sets, p.Attributes), append(sums, float64(p.Sum))
		}
	case metricdata.Histogram[float64]:
		kind = "histogram"
		for _, p := range d.DataPoints {
			sets, sums = append(sets, p.Attributes), append(sums, p.Sum)
		}
	default:
		require.Failf(t, "kind", "%T", d)
	}
	return kind, sets, sums
}

// TestMetrics holds that each instrument is the conventions' by name, kind, unit and attributes, or begins with "keyturn.", and what it counts.
func TestMetrics(t *testing.T) {
	known := append(slices.Clone(conventions.Metrics), conventions.Old...)
	sum := map[string]float64{}
	for name, m := range measured(t, []*record.Turn{turn()}, genai.GenAI136) {
		kind, sets, sums := points(t, m)
		for _, s := range sums {
			sum[name] += s
		}
		if strings.HasPrefix(name, "keyturn.") {
			continue
		}
		i := slices.IndexFunc(known, func(s signal) bool { return s.Name == name })
		require.GreaterOrEqual(t, i, 0, name)
		require.Equal(t, known[i].Instrument, kind, name)
		require.Equal(t, known[i].Unit, m.Unit, name)
		for _, set := range sets {
			known[i].fits(t, set.ToSlice())
		}
	}
	require.Equal(t, map[string]float64{
		"gen_ai.client.inference.duration": 3, "gen_ai.client.inference.time_to_first_chunk": 1,
		"gen_ai.client.inference.usage.input_tokens": 100, "gen_ai.client.inference.usage.output_tokens": 20, "gen_ai.client.inference.usage.cache_read.input_tokens": 40,
		"gen_ai.client.inference.usage.cache_write.input_tokens": 5, "gen_ai.client.inference.usage.reasoning.output_tokens": 7,
		"gen_ai.client.inference.operation.input_tokens": 100, "gen_ai.client.inference.operation.output_tokens": 20,
		"gen_ai.client.operation.duration": 3, "gen_ai.client.token.usage": 120,
		"keyturn.requests": 1, "keyturn.overhead_duration": .002, "keyturn.cost_dollars": 1.5, "keyturn.unpriced_tokens": 3,
	}, sum)
	require.NotContains(t, measured(t, []*record.Turn{turn()}), "gen_ai.client.token.usage", "nobody asked for it")
	files := turn()
	files.Path, files.Dialect = "/v1/files", ""
	require.NotContains(t, measured(t, []*record.Turn{files}), "gen_ai.client.inference.duration", "no model was asked")
	failed := turn()
	failed.ErrorClass, failed.Usage = "provider_reset", record.Usage{}
	_, sets, sums := points(t, measured(t, []*record.Turn{failed})["gen_ai.client.inference.usage.input_tokens"])
	require.Len(t, sets, 1, "failed ones are counted too")
	require.Zero(t, sums[0])
}

// TestLabelsAreBounded holds that models, clients, pools and errors without end make no labels without end.
func TestLabelsAreBounded(t *testing.T) {
	var turns []*record.Turn
	for i := range 5 * genai.MaxValues {
		one := turn()
		one.Asked, one.Answered, one.Client = "asked"+strconv.Itoa(i), "answered"+strconv.Itoa(i), "client"+strconv.Itoa(i)
		one.Pool, one.ErrorClass = "pool"+strconv.Itoa(i), "error"+strconv.Itoa(i)
		turns = append(turns, one)
	}
	values := map[string]map[string]bool{}
	for _, m := range measured(t, turns, genai.GenAI136) {
		_, sets, _ := points(t, m)
		for _, set := range sets {
			for _, a := range set.ToSlice() {
				if strings.HasPrefix(string(a.Key), "server.") { // pools' own, from the configuration
					continue
				}
				if values[string(a.Key)] == nil {
					values[string(a.Key)] = map[string]bool{}
				}
				values[string(a.Key)][a.Value.String()] = true
			}
		}
	}
	for name, of := range values {
		require.LessOrEqual(t, len(of), genai.MaxValues+1, name)
	}
	for _, name := range []string{"client", "model", "gen_ai.request.model", "gen_ai.response.model", "error.type", "provider"} {
		require.True(t, values[name][genai.Other], name)
	}
}

func BenchmarkMetrics(b *testing.B) {
	m, err := genai.NewMetrics(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())), served)
	require.NoError(b, err)
	one := turn()
	b.ReportAllocs()
	for b.Loop() {
		m.Write(one, nil)
	}
}
