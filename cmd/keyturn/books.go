package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/ledger"
	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/genai"
	"github.com/keyturn/keyturn/internal/record/otlp"
	"github.com/keyturn/keyturn/internal/record/recorder"
	"github.com/keyturn/keyturn/internal/telemetry"
)

// books are what is recorded of requests: who makes records, and where they are kept. A nil one keeps nothing.
type books struct {
	kept    *recorder.Recorder
	ledger  *ledger.Ledger
	counts  *counting
	servers atomic.Pointer[map[string]genai.Server] // of pools, by their names
}

// openBooks is nil where nothing is recorded.
func openBooks(cfg *config.Config, t *telemetry.Telemetry, log *slog.Logger) (*books, error) {
	if cfg.Record.Off {
		return nil, nil
	}
	b := &books{}
	b.know(cfg)
	b.counts = &counting{}
	told, err := b.told(cfg, t)
	if err != nil {
		return nil, err
	}
	b.kept, err = recorder.Open(context.Background(), recorder.Options{Settings: cfg.Record.Settings, Log: log, Events: told})
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	b.counts.kept = b.kept
	b.ledger, err = ledger.New(ledger.Config{Write: b.kept, MeterProvider: t.MeterProvider()})
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

// told is who is told of each turn beside the store.
func (b *books) told(cfg *config.Config, t *telemetry.Telemetry) (record.Writers, error) {
	var compat []genai.Compat
	for _, c := range cfg.Telemetry.Compat {
		compat = append(compat, genai.Compat(c))
	}
	metrics, err := genai.NewMetrics(t.MeterProvider(), b.server, compat...)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	told := record.Writers{b.counts, metrics, otlp.New(t.LoggerProvider())}
	if t.Traces() {
		told = append(told, genai.NewSpans(t.TracerProvider(), b.server, compat...))
	}
	return told, nil
}

// know takes where the providers of cfg are.
func (b *books) know(cfg *config.Config) {
	if b == nil {
		return
	}
	servers := map[string]genai.Server{}
	for _, p := range cfg.Pools {
		s := genai.Server{Provider: p.Provider}
		if p.Upstream != nil {
			s.Address, s.Port = p.Upstream.Hostname(), 443
			if p.Upstream.Scheme == "http" {
				s.Port = 80
			}
			if port, err := strconv.Atoi(p.Upstream.Port()); err == nil {
				s.Port = port
			}
		}
		servers[p.Name] = s
	}
	b.servers.Store(&servers)
}

// server is where a pool's provider is.
func (b *books) server(pool string) genai.Server { return (*b.servers.Load())[pool] }

// beside is the service that Envoy tells of requests.
func (b *books) beside() extproc.Beside {
	if b == nil {
		return nil
	}
	return b.ledger
}

// start records that a request begins; nil where nobody has to wait for that.
func (b *books) start() func(context.Context, extproc.Start) error {
	if b == nil || !b.kept.Required() {
		return nil
	}
	return func(ctx context.Context, s extproc.Start) error { return b.kept.Commit(ctx, record.Start(s)) }
}

// said is who keeps what is new in requests; nil where nothing is recorded.
func (b *books) said() func(id, prompt string, cut bool) {
	if b == nil {
		return nil
	}
	return func(id, prompt string, cut bool) {
		b.ledger.Say(id, record.Content{Kind: record.Prompt, Turn: 1, Text: prompt, Cut: cut})
	}
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
	lost, err1 := meter.Int64ObservableCounter("keyturn.record_lost", metric.WithDescription("What did not get into the store, by what it is (turn, content) and cause: queue_full, poisoned, outdated, closing."))
	turns, err2 := meter.Int64ObservableGauge("keyturn.record_queue_turns", metric.WithDescription("Records that wait for the store."))
	bytes, err3 := meter.Int64ObservableGauge("keyturn.record_queue", metric.WithUnit("By"), metric.WithDescription("Memory that they take."))
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
