package genai

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/keyturn/keyturn/internal/record"
)

// Buckets of the conventions, in seconds and in tokens, and of our own.
var (
	secondBuckets   = []float64{.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
	tokenBuckets    = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
	overheadBuckets = []float64{.0005, .001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1.024}
)

// Metrics counts turns. Its labels are bounded: see MaxValues. It is safe for concurrent use.
type Metrics struct {
	server func(pool string) Server

	duration, firstChunk, overhead metric.Float64Histogram
	usage                          [5]metric.Int64Counter
	inputs, outputs                metric.Int64Histogram
	requests                       metric.Int64Counter
	cost                           metric.Float64Counter
	unpriced                       metric.Int64Counter
	oldDuration                    metric.Float64Histogram // nil: nobody asked for it
	oldTokens                      metric.Int64Histogram   // nil: nobody asked for it

	models, clients, pools, failures *values

	mu   sync.Mutex // protects sets
	sets map[labels]*options
}

// NewMetrics returns Metrics whose instruments p makes. server says where a pool's provider is.
func NewMetrics(p metric.MeterProvider, server func(pool string) Server, compat ...Compat) (*Metrics, error) {
	m := &Metrics{server: server, models: newValues(), clients: newValues(), pools: newValues(), failures: newValues(), sets: map[labels]*options{}}
	i := instruments{meter: p.Meter(scope)}
	m.duration = i.seconds("gen_ai.client.inference.duration", "From a client's request to the end of its answer, over all attempts and turns.", secondBuckets)
	m.firstChunk = i.seconds("gen_ai.client.inference.time_to_first_chunk", "From a client's request to the first byte of a streamed answer.", secondBuckets)
	for n, u := range usages {
		m.usage[n] = i.count("gen_ai.client.inference.usage."+u.name, "{token}", u.is)
	}
	m.inputs = i.tokens("gen_ai.client.inference.operation.input_tokens", "Tokens that the model read for one request.")
	m.outputs = i.tokens("gen_ai.client.inference.operation.output_tokens", "Tokens that the model wrote for one request.")
	m.overhead = i.seconds("keyturn.overhead_duration", "What of the time to the first byte was neither the provider's nor a tool's.", overheadBuckets)
	m.requests = i.count("keyturn.requests", "", "Requests of clients, by client, hundred of the status (0: the client left before) and ending (whole, cancelled, broken, refused).")
	m.cost = i.money("keyturn.cost_dollars", "What requests cost by the prices of records, in US dollars.")
	m.unpriced = i.count("keyturn.unpriced_tokens", "", "Tokens for which no price is known.")
	if slices.Contains(compat, GenAI136) {
		m.oldDuration = i.seconds("gen_ai.client.operation.duration", "As gen_ai.client.inference.duration, by an older name.", secondBuckets)
		m.oldTokens = i.tokens("gen_ai.client.token.usage", "As gen_ai.client.inference.operation.*, by an older name.")
	}
	return m, errors.Join(i.errs...)
}

// usages are the counters of tokens.
var usages = [5]struct {
	name, is string
	of       func(record.Usage) int64
}{
	{"input_tokens", "Tokens that models read, cached ones among them.", func(u record.Usage) int64 { return u.Input }},
	{"output_tokens", "Tokens that models wrote, reasoning among them.", func(u record.Usage) int64 { return u.Output }},
	{"cache_read.input_tokens", "Those of the tokens read that were in the provider's cache.", func(u record.Usage) int64 { return u.CacheRead }},
	{"cache_write.input_tokens", "Those of the tokens read that were put there.", func(u record.Usage) int64 { return u.CacheWrite }},
	{"reasoning.output_tokens", "Those of the tokens written that were reasoning.", func(u record.Usage) int64 { return u.Reasoning }},
}

// instruments makes instruments and gathers what is wrong with them.
type instruments struct {
	meter metric.Meter
	errs  []error
}

func (i *instruments) seconds(name, is string, buckets []float64) metric.Float64Histogram {
	h, err := i.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(is), metric.WithExplicitBucketBoundaries(buckets...))
	i.errs = append(i.errs, err)
	return h
}

func (i *instruments) tokens(name, is string) metric.Int64Histogram {
	h, err := i.meter.Int64Histogram(name, metric.WithUnit("{token}"), metric.WithDescription(is), metric.WithExplicitBucketBoundaries(tokenBuckets...))
	i.errs = append(i.errs, err)
	return h
}

func (i *instruments) count(name, unit, is string) metric.Int64Counter {
	c, err := i.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(is))
	i.errs = append(i.errs, err)
	return c
}

func (i *instruments) money(name, is string) metric.Float64Counter {
	c, err := i.meter.Float64Counter(name, metric.WithDescription(is))
	i.errs = append(i.errs, err)
	return c
}

// labels are what a turn is counted under, bounded.
type labels struct {
	operation, provider, pool, asked, answered, failure, client string
	status                                                      int
	ending                                                      record.Ending
	server                                                      Server
}

// options are sets of attributes, made once for the same labels.
type options struct{ duration, firstChunk, usage, operation, own, requests, spent, old, input, output metric.MeasurementOption }

// maxSets bounds how many are kept.
const maxSets = 4096

func (m *Metrics) options(l labels) *options {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.sets[l]; o != nil {
		return o
	}
	if len(m.sets) >= maxSets {
		clear(m.sets)
	}
	o := l.options()
	m.sets[l] = o
	return o
}

func (l labels) options() *options {
	set := func(l ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(l...))
	}
	var own, common, usual, failed, old List
	own.Text("provider", l.pool) // as in all of Keyturn's metrics
	common = append(common, own...)
	common.Text("gen_ai.operation.name", l.operation)
	common.Text("gen_ai.request.model", l.asked)
	common.Text("gen_ai.response.model", l.answered)
	common.Server(l.server)
	usual = append(slices.Clone(common), attribute.String("gen_ai.provider.name", l.provider))
	failed = slices.Clone(usual)
	failed.Text("error.type", l.failure)
	old = append(slices.Clone(common), attribute.String("gen_ai.system", l.provider))
	oldFailed := slices.Clone(old)
	oldFailed.Text("error.type", l.failure)
	by := append(slices.Clone(own), attribute.String("client", l.client))
	kind := func(k string) metric.MeasurementOption {
		return set(append(slices.Clone(old), attribute.String("gen_ai.token.type", k))...)
	}
	return &options{
		duration: set(failed...), firstChunk: set(usual...), operation: set(failed...), own: set(own...),
		usage:    set(append(slices.Clone(usual), attribute.String("gen_ai.token.modality", "unknown"))...), // Envoy tells no modality
		requests: set(append(slices.Clone(by), attribute.String("status", strconv.Itoa(l.status)), attribute.String("ending", l.ending.String()))...),
		spent:    set(append(slices.Clone(by), attribute.String("model", l.answered))...),
		old:      set(oldFailed...), input: kind("input"), output: kind("output"),
	}
}

// Write counts t.
func (m *Metrics) Write(t *record.Turn, _ []record.Content) {
	server, operation := m.server(t.Pool), Operation(t)
	o := m.options(labels{
		operation: operation, provider: Provider(t, server.Provider), pool: m.pools.bound(t.Pool), asked: m.models.bound(t.Asked), answered: m.models.bound(t.Answered),
		failure: m.failures.bound(t.ErrorClass), client: m.clients.bound(t.Client), status: t.Status / 100, ending: t.Ending, server: server,
	})
	ctx := context.Background()
	m.requests.Add(ctx, 1, o.requests)
	if t.Overhead > 0 {
		m.overhead.Record(ctx, t.Overhead.Seconds(), o.own)
	}
	if t.Price.Nano > 0 {
		m.cost.Add(ctx, dollars(t.Price.Nano), o.spent)
	}
	if t.Price.Unpriced > 0 {
		m.unpriced.Add(ctx, t.Price.Unpriced, o.spent)
	}
	if !infers(operation) {
		return
	}
	took := t.End.Sub(t.Start).Seconds()
	m.duration.Record(ctx, took, o.duration)
	if t.Stream && t.FirstByte > 0 {
		m.firstChunk.Record(ctx, t.FirstByte.Seconds(), o.firstChunk)
	}
	for i, u := range usages { // 0 too: so say the conventions
		m.usage[i].Add(ctx, u.of(t.Usage), o.usage)
	}
	m.inputs.Record(ctx, t.Usage.Input, o.operation)
	m.outputs.Record(ctx, t.Usage.Output, o.operation)
	if m.oldDuration != nil {
		m.oldDuration.Record(ctx, took, o.old)
	}
	if m.oldTokens != nil && t.Usage.State != record.Unknown {
		m.oldTokens.Record(ctx, t.Usage.Input, o.input)
		m.oldTokens.Record(ctx, t.Usage.Output, o.output)
	}
}
