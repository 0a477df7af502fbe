// Package genai tells of turns by OpenTelemetry's conventions for generative AI (semantic-conventions-genai v0.1.0): a span for each and one for
// each of its attempts, and metrics. What the conventions have no name for begins with "keyturn.". No prompt, argument or result is in either.
package genai

import (
	"cmp"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"

	"github.com/keyturn/keyturn/internal/provider"
	"github.com/keyturn/keyturn/internal/record"
)

const scope = "github.com/keyturn/keyturn/internal/record/genai"

// Compat is a version of OpenTelemetry's older conventions, whose names are told beside today's.
type Compat string

// GenAI136 are the names of semantic-conventions v1.36, by which many boards ask.
const GenAI136 Compat = "genai_1_36"

// Server is where a pool's provider is.
type Server struct {
	Provider string // a name of package provider
	Address  string // host
	Port     int
}

// The operations of the conventions that there are, and one of our own for what is none of theirs, such as files.
const (
	chat           = "chat"
	textCompletion = "text_completion"
	embeddings     = "embeddings"
	fetchResponse  = "fetch_response"
	other          = "other"
)

// Operation is what a turn's request asked for: gen_ai.operation.name.
func Operation(t *record.Turn) string {
	switch {
	case t.Method == http.MethodGet && strings.Contains(t.Path, "/responses/"):
		return fetchResponse
	case t.Method != http.MethodPost:
		return other
	case t.Dialect != "":
		return chat
	case strings.HasSuffix(t.Path, "/embeddings"):
		return embeddings
	case strings.HasSuffix(t.Path, "/completions"):
		return textCompletion
	}
	return other
}

// infers says whether a model was asked to write something.
func infers(operation string) bool { return operation == chat || operation == textCompletion }

// Provider is gen_ai.provider.name: OpenTelemetry's for the provider, where it has one. fallback is the provider of the turn's pool, for a request
// that never reached one.
func Provider(t *record.Turn, fallback string) string {
	name := cmp.Or(t.Provider, fallback)
	if p, ok := provider.Named(name); ok {
		return cmp.Or(p.Telemetry, name)
	}
	return cmp.Or(name, "unknown")
}

// List is a list of attributes without those that say nothing.
type List []attribute.KeyValue

// Text adds a text, unless it is empty.
func (l *List) Text(name, value string) {
	if value != "" {
		*l = append(*l, attribute.String(name, value))
	}
}

// Number adds a number, unless it is zero.
func (l *List) Number(name string, n int64) {
	if n != 0 {
		*l = append(*l, attribute.Int64(name, n))
	}
}

// Usage adds what is known of tokens.
func (l *List) Usage(u record.Usage) {
	if u.State == record.Unknown {
		return
	}
	*l = append(*l, attribute.Int64("gen_ai.usage.input_tokens", u.Input), attribute.Int64("gen_ai.usage.output_tokens", u.Output))
	l.Number("gen_ai.usage.cache_read.input_tokens", u.CacheRead)
	l.Number("gen_ai.usage.cache_write.input_tokens", u.CacheWrite)
	l.Number("gen_ai.usage.reasoning.output_tokens", u.Reasoning)
}

// Turn adds what spans and events tell of a turn.
func (l *List) Turn(t *record.Turn, s Server) {
	l.Text("gen_ai.operation.name", Operation(t))
	l.Text("gen_ai.provider.name", Provider(t, s.Provider))
	l.Text("gen_ai.request.model", t.Asked)
	l.Text("gen_ai.response.model", t.Answered)
	l.Text("gen_ai.conversation.id", t.Session)
	l.Server(s)
	*l = append(*l, attribute.Bool("gen_ai.request.stream", t.Stream))
	if Operation(t) != fetchResponse { // which infers nothing
		l.Usage(t.Usage)
	}
	l.Text("error.type", t.ErrorClass)
	l.Number("http.response.status_code", int64(t.Status))
	l.Text("user_agent.original", t.UserAgent)
	l.Text("keyturn.request_id", t.ID)
	l.Text("keyturn.client", t.Client)
	l.Text("keyturn.pool", t.Pool)
	l.Text("keyturn.key", t.Key)
	l.Text("keyturn.dialect", t.Dialect)
	l.Text("keyturn.tier", t.Tier)
	l.Text("keyturn.ending", t.Ending.String())
	l.Text("keyturn.usage", t.Usage.State.String())
	l.Number("keyturn.turns", int64(t.Turns))
	l.Number("keyturn.attempts", int64(len(t.Attempts)))
	l.Number("keyturn.tool_calls", int64(len(t.Calls)))
	l.Number("keyturn.request.bytes", t.BytesIn)
	l.Number("keyturn.response.bytes", t.BytesOut)
	if t.Overhead != 0 {
		*l = append(*l, attribute.Float64("keyturn.overhead", t.Overhead.Seconds()))
	}
	if t.Price.Priced || t.Price.Nano != 0 {
		*l = append(*l, attribute.Float64("keyturn.cost.usd", dollars(t.Price.Nano)))
	}
	l.Number("keyturn.unpriced_tokens", t.Price.Unpriced)
}

// Server adds where the provider is.
func (l *List) Server(s Server) {
	l.Text("server.address", s.Address)
	if s.Address != "" {
		l.Number("server.port", int64(s.Port))
	}
}

func dollars(nano int64) float64 { return float64(nano) / 1e9 }
