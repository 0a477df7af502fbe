package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/record/otlp"
	"github.com/keyturn/keyturn/internal/record/recorder"
	"github.com/keyturn/keyturn/internal/telemetry"
)

// books are what is recorded of requests: who makes records, and where they are kept. A nil one keeps nothing.
type books struct {
	kept   *recorder.Recorder
	ledger *ledger.Ledger
}

// openBooks is nil where nothing is recorded.
func openBooks(cfg *config.Record, t *telemetry.Telemetry, log *slog.Logger) (*books, error) {
	if cfg.Off {
		return nil, nil
	}
	kept, err := recorder.Open(context.Background(), recorder.Options{Settings: cfg.Settings, Log: log, Events: otlp.New(t.LoggerProvider())})
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	b := &books{kept: kept}
	b.ledger, err = ledger.New(ledger.Config{Write: kept, MeterProvider: t.MeterProvider()})
	if err == nil {
		err = b.measure(t.MeterProvider())
	}
	if err != nil {
		return nil, errors.Join(err, b.close(context.Background()))
	}
	return b, nil
}

// blank says what no record may show.
func (b *books) blank(secrets []string) {
	if b != nil {
		b.ledger.SetSecrets(secrets)
	}
}

// beside is the service that Envoy tells of requests.
func (b *books) beside() extproc.Beside {
	if b == nil {
		return nil
	}
	return b.ledger
}

// records is where the admin API reads.
func (b *books) records() *admin.Records {
	if b == nil {
		return nil
	}
	return &admin.Records{Reader: b.kept, Follow: b.kept.Follow, Losses: b.kept.Losses}
}

// close records what is still waited for, and writes what waits. The store is given what ctx has left.
func (b *books) close(ctx context.Context) error {
	if b == nil {
		return nil
	}
	if b.ledger != nil {
		b.ledger.Close()
	}
	return b.kept.Close(ctx)
}

// measure counts what the queue has lost, by what and why, and what waits in it.
func (b *books) measure(meters metric.MeterProvider) error {
	if !b.kept.Stored() {
		return nil
	}
	meter := meters.Meter("github.com/keyturn/keyturn/internal/record")
	lost, err1 := meter.Int64ObservableCounter("record_lost", metric.WithDescription("What did not get into the store, by what it is (turn, content) and cause: queue_full, poisoned, outdated, closing."))
	turns, err2 := meter.Int64ObservableGauge("record_queue_turns", metric.WithDescription("Records that wait for the store."))
	bytes, err3 := meter.Int64ObservableGauge("record_queue", metric.WithUnit("By"), metric.WithDescription("Memory that they take."))
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		b.kept.Losses().Each(func(what, cause string, n int64) {
			o.ObserveInt64(lost, n, metric.WithAttributes(attribute.String("what", what), attribute.String("cause", cause)))
		})
		n, size := b.kept.Waiting()
		o.ObserveInt64(turns, int64(n))
		o.ObserveInt64(bytes, int64(size))
		return nil
	}, lost, turns, bytes)
	return err
}
