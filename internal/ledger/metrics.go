package ledger

import (
	"context"
	"errors"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/wire"
)

// result is what became of a log entry.
type result uint8

const (
	taken     result = iota
	late             // its record was made already
	refused          // there were too many requests that never got past the front
	malformed        // it cannot be read
	tooLarge
	results
)

var resultNames = [results]string{"taken", "late", "refused", "malformed", "too_large"}

// metrics are the ledger's instruments.
type metrics struct {
	entries   [2][results]atomic.Int64 // of attempts, and of requests
	noFront   atomic.Int64
	noAttempt atomic.Int64
}

func newMetrics(provider metric.MeterProvider, waiting func() int64) (*metrics, error) {
	m := &metrics{}
	meter := provider.Meter("github.com/keyturn/keyturn/internal/ledger")
	entries, err1 := meter.Int64ObservableCounter("keyturn.record_entries",
		metric.WithDescription("Entries of Envoy's log by log (request, attempt) and result: taken, late (the record was made already), refused (too many requests that never got past the front), malformed, too_large."))
	halves, err2 := meter.Int64ObservableCounter("keyturn.record_halves", metric.WithDescription("Records of which a part never came, by what is missing: request, attempt."))
	waits, err3 := meter.Int64ObservableGauge("keyturn.record_waiting", metric.WithDescription("Requests of which Envoy has told a part."))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	label := func(name, value string) attribute.KeyValue { return attribute.String(name, value) }
	logs := [2]string{wire.AttemptLog, wire.RequestLog}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for i := range m.entries {
			for r := range m.entries[i] {
				o.ObserveInt64(entries, m.entries[i][r].Load(), metric.WithAttributes(label("log", logs[i]), label("result", resultNames[r])))
			}
		}
		o.ObserveInt64(halves, m.noFront.Load(), metric.WithAttributes(label("missing", wire.RequestLog)))
		o.ObserveInt64(halves, m.noAttempt.Load(), metric.WithAttributes(label("missing", wire.AttemptLog)))
		o.ObserveInt64(waits, waiting())
		return nil
	}, entries, halves, waits)
	return m, err
}

func (m *metrics) count(front bool, r result) {
	i := 0
	if front {
		i = 1
	}
	m.entries[i][r].Add(1)
}

func (m *metrics) halves(h record.Halves) {
	if h&record.NoFront != 0 {
		m.noFront.Add(1)
	}
	if h&record.NoAttempt != 0 {
		m.noAttempt.Add(1)
	}
}
