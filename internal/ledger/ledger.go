package ledger

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/quartz"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/redact"
)

// Config is what a Ledger needs.
type Config struct {
	// Write takes the records. Required.
	Write record.Writer
	// MeterProvider makes the instruments. Nil makes none.
	MeterProvider metric.MeterProvider
	// Clock tells the time. Nil means the real one.
	Clock quartz.Clock
}

// Ledger makes records of what Envoy tells. It is safe for concurrent use.
type Ledger struct {
	write   record.Writer
	clock   quartz.Clock
	metrics *metrics
	spoken  *spoken
	sweep   *quartz.Ticker

	secrets  atomic.Pointer[redact.Set] // what no record may show
	sweeping sync.Mutex                 // held from finding what is overdue until it is recorded
	quit     chan struct{}              // closed when all is over
	drain    chan struct{}              // closed when streams are to end
	over     chan struct{}              // closed when the sweeper has ended

	mu       sync.Mutex // protects the fields below
	join     *join
	refused  allowance
	closed   bool
	draining bool
}

// New makes a Ledger. Close ends it.
func New(cfg Config) (*Ledger, error) {
	l := &Ledger{write: cfg.Write, clock: cfg.Clock, spoken: newSpoken(), quit: make(chan struct{}), drain: make(chan struct{}), over: make(chan struct{})}
	if l.clock == nil {
		l.clock = quartz.NewReal()
	}
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = noop.NewMeterProvider()
	}
	l.join = newJoin(l.clock)
	var err error
	if l.metrics, err = newMetrics(cfg.MeterProvider, l.waiting); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	l.sweep = l.clock.NewTicker(sweepTime, "ledger", "sweep")
	go l.sweeper()
	return l, nil
}

// waiting is how many requests wait for the rest of what is to be told of them.
func (l *Ledger) waiting() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.join.byID))
}

// sweeper records what is waited for no longer.
func (l *Ledger) sweeper() {
	defer close(l.over)
	for {
		select {
		case <-l.quit:
			return
		case <-l.sweep.C:
			l.sweepNow()
		}
	}
}

func (l *Ledger) sweepNow() {
	l.sweeping.Lock()
	defer l.sweeping.Unlock()
	l.spoken.expire(l.clock.Now())
	l.mu.Lock()
	due := l.join.overdue(false)
	l.mu.Unlock()
	l.record(due)
}

// Close records what is still waited for as it is. Streams end, and nothing is taken any more.
func (l *Ledger) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	due := l.join.overdue(true)
	l.mu.Unlock()
	close(l.quit)
	l.sweep.Stop()
	<-l.over
	l.record(due)
}

// refusedPerMinute bounds the records of requests that never got past the front, such as those of clients that nobody knows: whoever reaches the
// listener can send as many as he likes.
const refusedPerMinute = 60

// allowance is what may happen in a minute.
type allowance struct {
	since time.Time
	used  int
}

func (a *allowance) take(now time.Time, most int) bool {
	if now.Sub(a.since) >= time.Minute || now.Before(a.since) {
		a.since, a.used = now, 0
	}
	a.used++
	return a.used <= most
}

// probed is what Envoy says of a response that its configuration has: health probes get one, and are no requests to record.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/response_code_details
const probed = "direct_response"

// take takes a part of a request.
func (l *Ledger) take(p *part) {
	if p.front && p.details == probed {
		return
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	if p.front && p.attempts == 0 { // its router has not run: the id that the request names is the client's own word
		p.id = uuid.NewString()
		if !l.refused.take(l.clock.Now(), refusedPerMinute) {
			l.mu.Unlock()
			l.metrics.count(p.front, refused)
			return
		}
	}
	if p.id == "" {
		p.id = uuid.NewString()
	}
	due, isLate := l.join.add(p)
	l.mu.Unlock()
	if isLate {
		l.metrics.count(p.front, late)
	} else {
		l.metrics.count(p.front, taken)
	}
	l.record(due)
}

// record makes the records of requests.
func (l *Ledger) record(due []*request) {
	for _, r := range due {
		t, said := r.turn(), l.spoken.take(r.id)
		l.blank(t)
		l.metrics.halves(t.Halves)
		l.write.Write(t, said)
	}
}
