package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/coder/quartz"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/sqlite"
)

// books are what is recorded of requests: who makes records, and where they are kept. A nil one keeps nothing.
type books struct {
	memory *record.Memory
	store  record.Store // nil: the memory alone
	queue  *record.Queue
	ledger *ledger.Ledger
	stop   context.CancelFunc
	done   chan struct{} // closed when the store is no longer maintained
	log    *slog.Logger
}

// openBooks is nil where nothing is recorded.
func openBooks(cfg *config.Record, meters metric.MeterProvider, log *slog.Logger) (b *books, err error) {
	if cfg.Off {
		return nil, nil
	}
	b = &books{memory: record.NewMemory(), log: log, done: make(chan struct{})}
	if b.store, err = openStore(cfg, log); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	if b.store != nil {
		b.queue = record.NewQueue(b.store, cfg.Retain.For, quartz.NewReal(), log)
	}
	prices := record.NewPrices(cfg.Prices)
	b.ledger, err = ledger.New(ledger.Config{
		Write: b, Price: func(t *record.Turn) { t.Price = prices.Of(t) }, Log: log, MeterProvider: meters,
	})
	if err == nil {
		err = b.measure(meters)
	}
	go b.maintain(ctx)
	if err != nil {
		return nil, errors.Join(err, b.close(ctx))
	}
	return b, nil
}

// openStore is nil where records are kept in memory alone.
func openStore(cfg *config.Record, log *slog.Logger) (record.Store, error) {
	if cfg.SQLite == "" {
		return nil, nil
	}
	s, err := sqlite.Open(sqlite.Options{Dir: cfg.SQLite, Retain: cfg.Retain, Content: cfg.Content.Retain, Log: log})
	if err != nil {
		return nil, fmt.Errorf("record.sqlite: %w", err)
	}
	return s, nil
}

// Write implements record.Writer: every record goes into the memory, and into the store where there is one.
func (b *books) Write(t *record.Turn, said []record.Content) {
	t.Bound()
	b.memory.Write(t, said)
	if b.queue != nil {
		b.queue.Write(t, said)
	}
}

// maintainTime is how often the store makes room and makes ready.
const maintainTime = time.Minute

// maintain has the store delete what is no longer kept, until ctx ends.
func (b *books) maintain(ctx context.Context) {
	defer close(b.done)
	if b.store == nil {
		return
	}
	tick := time.NewTicker(maintainTime)
	defer tick.Stop()
	for {
		if err := b.store.Maintain(ctx, time.Now()); err != nil && ctx.Err() == nil {
			b.log.Warn("records that are no longer kept could not be deleted", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// beside is the service that Envoy tells of requests.
func (b *books) beside() extproc.Beside {
	if b == nil {
		return nil
	}
	return b.ledger
}

// records is where the admin API reads. What has just ended is in the memory, and older ones are in the store.
func (b *books) records() *admin.Records {
	if b == nil {
		return nil
	}
	r := &admin.Records{Reader: b.memory, Follow: b.memory.Follow}
	if b.store != nil {
		r.Reader = reader{b.store, b.memory}
	}
	if b.queue != nil {
		r.Losses = b.queue.Losses
	}
	return r
}

// reader reads from the store, and one turn from the memory where that has it: a client asks for its own as soon as it is over.
type reader struct {
	record.Store
	memory *record.Memory
}

func (r reader) Turn(ctx context.Context, id string) (record.Turn, error) {
	if t, err := r.memory.Turn(ctx, id); err == nil {
		return t, nil
	}
	return r.Store.Turn(ctx, id)
}

// close records what is still waited for, and writes what waits. The store is given what ctx has left.
func (b *books) close(ctx context.Context) error {
	if b == nil {
		return nil
	}
	if b.ledger != nil {
		b.ledger.Close()
	}
	if b.queue != nil {
		b.queue.Close(ctx)
	}
	b.stop()
	<-b.done
	if b.store == nil {
		return nil
	}
	return b.store.Close()
}

// measure counts what the queue has lost, by what and why, and what waits in it.
func (b *books) measure(meters metric.MeterProvider) error {
	if b.queue == nil {
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
		b.queue.Losses().Each(func(what, cause string, n int64) {
			o.ObserveInt64(lost, n, metric.WithAttributes(attribute.String("what", what), attribute.String("cause", cause)))
		})
		n, size := b.queue.Waiting()
		o.ObserveInt64(turns, int64(n))
		o.ObserveInt64(bytes, int64(size))
		return nil
	}, lost, turns, bytes)
	return err
}
