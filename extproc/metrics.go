package extproc

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// metrics are the instruments of pools and attempts. Counting happens in plain atomics, which the instruments read when
// somebody collects: an attempt pays a few nanoseconds for them.
type metrics struct {
	tried    metric.Int64Histogram
	duration metric.Float64Histogram
	open     atomic.Int64 // streams now

	mu    sync.Mutex // protects pools
	pools map[string]*poolMetrics
}

// poolMetrics counts for one pool's name. It outlives a reload.
type poolMetrics struct {
	attempts    [outcomes]atomic.Int64
	transitions [reasons]atomic.Int64
	exhaustions [exhaustionKinds]atomic.Int64
	echoes      [echoes]atomic.Int64
	refusals    [wants]atomic.Int64
	byWant      [wants]metric.ObserveOption
	byPart      [echoes]metric.ObserveOption
	moves       [moves]atomic.Int64
	record      []metric.RecordOption
	byOutcome   [outcomes]metric.ObserveOption
	byReason    [reasons]metric.ObserveOption
	byKind      [exhaustionKinds]metric.ObserveOption
	byMove      [moves]metric.ObserveOption
	fallbacks   [whys]atomic.Int64
	byWhy       [whys]metric.ObserveOption
	alone       metric.ObserveOption
	byState     [len(states)]metric.ObserveOption
}

var states = [...]keypool.State{keypool.Valid, keypool.Temporary, keypool.Permanent, keypool.Disabled}

// reason is why a key changed its state, a closed set: the label of keyturn_key_pool_state_transitions_total.
type reason uint8

const (
	rateLimited reason = iota
	unauthorized
	forbidden
	quotaUsed
	modelParked
	otherReason
	reasons
)

var reasonNames = [reasons]string{"rate_limited", "unauthorized", "forbidden", "quota", "model", "other"}

func reasonOf(status int, v keypool.Verdict) reason {
	switch {
	case v.Scope == keypool.ScopeKeyModel:
		return modelParked
	case v.Class == keypool.Quota:
		return quotaUsed
	case status == 429:
		return rateLimited
	case status == 401, status == 400:
		return unauthorized
	case status == 403:
		return forbidden
	}
	return otherReason
}

const exhaustionKinds = int(keypool.AllDisabled) + 1

// histograms makes what is measured once for each attempt or request.
func (m *metrics) histograms(meter metric.Meter) error {
	var tried, duration error
	m.tried, tried = meter.Int64Histogram("keyturn.key_pool_failover_attempts",
		metric.WithDescription("Keys tried for one request, when its last attempt is over."), metric.WithExplicitBucketBoundaries(1, 2, 3, 4, 5, 10, 25))
	m.duration, duration = meter.Float64Histogram("keyturn.attempt_duration", metric.WithUnit("s"),
		metric.WithDescription("From an attempt's request headers to those of its response: what the provider took to answer. Without those that Envoy answered itself."),
		metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120))
	return errors.Join(tried, duration)
}

func newMetrics(provider metric.MeterProvider, pools func() *poolSet) (*metrics, error) {
	m := &metrics{pools: map[string]*poolMetrics{}}
	meter := provider.Meter("github.com/keyturn/keyturn/extproc")
	var errs []error
	fail := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	counter := func(name, description string) metric.Int64Observable {
		c, err := meter.Int64ObservableCounter(name, metric.WithDescription(description))
		fail(err)
		return c
	}
	gauge := func(name, description string) metric.Int64Observable {
		g, err := meter.Int64ObservableGauge(name, metric.WithDescription(description))
		fail(err)
		return g
	}
	fail(m.histograms(meter))
	attempts := counter("keyturn.attempts", "Attempts by the way they ended: ok, turned (the next one follows), exhausted (no key left), surfaced (an error for the client), unreachable (the provider was not), no_response, foreign (the client's own key).")
	transitions := counter("keyturn.key_pool_state_transitions", "Keys that left their state, by the reason.")
	exhaustions := counter("keyturn.key_pool_exhaustions", "Requests that no key of the pool could serve, by what the client was told.")
	refusals := counter("keyturn.memory_refusals", "Bodies that limits.memory left no memory for, by what they were: request, larger (than announced, or late), answer, later (of a later turn), error (judged by its status alone; the others were answered with 503).")
	echoed := counter("keyturn.key_pool_echoes", "Answers of the provider that held a key of the pool, which was taken out, by the part: header or body.")
	moved := counter("keyturn.key_pool_moves", "Conversations that went on with another key than before, in pools that spread, by the reason: rested (their key could not be used) or failed (it failed for the request).")
	fellBack := counter("keyturn.fallbacks", "Requests that a pool passed on to another, by the reason: exhausted, overloaded or unreachable.")
	state := gauge("keyturn.key_pool_state", "Keys by state, as they are at this moment.")
	low := gauge("keyturn.key_pool_low", "Keys that have less left than the pool's headroom, as they are at this moment.")
	open := gauge("keyturn.streams", "ext_proc streams open now: attempts whose answer is awaited or read.")
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(open, m.open.Load())
		set := pools()
		if set == nil {
			return nil
		}
		for _, b := range set.all {
			pm := b.metrics
			if b.keys != nil {
				for i, n := range b.keys.Counts() {
					o.ObserveInt64(state, int64(n), pm.byState[i])
				}
				o.ObserveInt64(low, int64(b.keys.Low()), pm.alone)
			}
			observe(o, attempts, pm.attempts[:], pm.byOutcome[:])
			observe(o, transitions, pm.transitions[:], pm.byReason[:])
			observe(o, refusals, pm.refusals[:], pm.byWant[:])
			observe(o, echoed, pm.echoes[:], pm.byPart[:])
			observe(o, moved, pm.moves[stayed+1:], pm.byMove[stayed+1:])
			observe(o, fellBack, pm.fallbacks[:], pm.byWhy[:])
			observe(o, exhaustions, pm.exhaustions[:], pm.byKind[:])
		}
		return nil
	}, attempts, transitions, exhaustions, refusals, echoed, moved, fellBack, state, low, open)
	return m, err
}

// observe tells the counts of one instrument, each with its attributes.
func observe(o metric.Observer, of metric.Int64Observable, counts []atomic.Int64, by []metric.ObserveOption) {
	for i := range counts {
		o.ObserveInt64(of, counts[i].Load(), by[i])
	}
}

// forPool gives the counters of a pool's name, the same after each reload.
func (m *metrics) forPool(name string) *poolMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	if pm := m.pools[name]; pm != nil {
		return pm
	}
	provider := attribute.String("provider", name)
	with := func(key, value string) metric.ObserveOption {
		return metric.WithAttributeSet(attribute.NewSet(provider, attribute.String(key, value)))
	}
	pm := &poolMetrics{record: []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(provider))}}
	for i := range pm.byOutcome {
		pm.byOutcome[i] = with("outcome", outcome(i).String())
	}
	for i := range pm.byWant {
		pm.byWant[i] = with("body", wantNames[i])
	}
	for i := range pm.byReason {
		pm.byReason[i] = with("reason", reasonNames[i])
	}
	for i := range pm.byPart {
		pm.byPart[i] = with("part", echoNames[i])
	}
	for i := range pm.byKind {
		pm.byKind[i] = with("outcome", keypool.Kind(i).String())
	}
	for i := range pm.byMove {
		pm.byMove[i] = with("reason", moveNames[i])
	}
	pm.alone = metric.WithAttributeSet(attribute.NewSet(provider))
	for i := range pm.byWhy {
		pm.byWhy[i] = with("reason", Fallbacks[i])
	}
	for i, s := range states {
		pm.byState[i] = with("state", s.String())
	}
	m.pools[name] = pm
	return pm
}

// record counts and logs what an attempt came to.
func (s *Server) record(ctx context.Context, x *exchange) {
	if x.pool == nil {
		if x.outcome == surfaced {
			s.log.LogAttrs(ctx, slog.LevelWarn, "Envoy's route names no pool of the configuration", slog.String("header", wire.PoolHeader))
		}
		return
	}
	s.recordEchoes(ctx, x.pool, x.key, x.found)
	if x.elsewhere != "" {
		if n, ok := s.withheld.due(s.clock.Now()); ok {
			s.log.LogAttrs(ctx, slog.LevelWarn, "a redirect was not handed on, since it leads past the gateway: mend the pool's upstream if it is meant",
				slog.String("pool", x.pool.name), slog.String("to", x.pool.shown(x.elsewhere)), slog.Int64("redirects", n))
		}
	}
	s.recordSteps(ctx, x)
	m := x.pool.metrics
	m.attempts[x.outcome].Add(1)
	if x.exhaustion != nil && x.outcome == exhausted {
		m.exhaustions[x.exhaustion.Kind].Add(1)
	}
	m.moves[x.moving].Add(1)
	if x.own == nil && x.status != 0 && x.local == nil {
		s.metrics.duration.Record(ctx, x.judged.Sub(x.began).Seconds(), m.record...)
	}
	if tried := x.triedKeys(); tried > 0 && x.outcome != turned {
		s.metrics.tried.Record(ctx, int64(tried), m.record...)
	}
	s.transition(ctx, x.pool, x.key, x.status, x.verdict, x.transition)
	if s.log.Enabled(ctx, slog.LevelDebug) {
		s.log.LogAttrs(ctx, slog.LevelDebug, "attempt", append(x.keyAttrs(),
			slog.String("outcome", x.outcome.String()), slog.Int("attempt", x.attempt), slog.Int("status", x.status),
			slog.String("dialect", dialect.Name(x.dialect)), slog.Int("dropped", x.dropped), slog.Duration("took", s.clock.Since(x.began).Round(time.Microsecond)))...)
	}
}

// recordSteps counts, and says in the log now and then, that a pool's requests go on with another.
func (s *Server) recordSteps(ctx context.Context, x *exchange) {
	for _, step := range x.steps {
		step.from.metrics.fallbacks[step.why].Add(1)
		if n, ok := s.fellBack.due(s.clock.Now()); ok {
			s.log.LogAttrs(ctx, slog.LevelWarn, "requests go on with another pool",
				slog.String("pool", step.from.name), slog.String("to", step.to.name), slog.String("reason", Fallbacks[step.why]), slog.Int64("requests", n))
		}
	}
}

// transition counts and logs a key's change of state.
func (s *Server) transition(ctx context.Context, pool *bound, key *keypool.Key, status int, v keypool.Verdict, t keypool.Transition) {
	if !t.Changed {
		return
	}
	pool.metrics.transitions[reasonOf(status, v)].Add(1)
	attrs := []slog.Attr{
		slog.String("pool", pool.name), slog.String("key", key.Name()), slog.String("hint", key.Hint()),
		slog.Int("status", status), slog.String("class", v.Class.String()), slog.String("code", v.Code), slog.Time("until", t.Until),
	}
	if t.To == keypool.Permanent {
		s.log.LogAttrs(ctx, slog.LevelWarn, "key marked permanent", attrs...)
	} else {
		s.log.LogAttrs(ctx, slog.LevelWarn, "key marked temporary", attrs...)
	}
	if t.Alike {
		s.log.LogAttrs(ctx, slog.LevelWarn, "all keys failed alike within a minute: the way to the provider may be at fault",
			slog.String("pool", pool.name), slog.Int("status", status), slog.String("class", v.Class.String()), slog.String("code", v.Code))
	}
}

// triedKeys is how many keys the request has used, this attempt's included. The client's own credential counts for none, and neither does none.
func (x *exchange) triedKeys() int {
	if x.key == nil {
		return len(x.triedBefore())
	}
	return len(x.triedBefore()) + 1
}

func (x *exchange) keyAttrs() []slog.Attr {
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs, slog.String("pool", x.pool.name))
	if x.key != nil {
		attrs = append(attrs, slog.String("key", x.key.Name()), slog.String("hint", x.key.Hint()))
	}
	return attrs
}

// Open is the number of attempts under way.
func (s *Server) Open() int64 { return s.metrics.open.Load() }
