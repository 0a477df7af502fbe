// Package telemetry is how the process tells about itself: metrics for Prometheus and the log.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/trace"
)

// service is what the process is called, unless OTEL_SERVICE_NAME says otherwise.
const service = "keyturn"

// Telemetry holds the process's metrics and spans. Each has its own registry, so that two in one process (tests) do not meet.
type Telemetry struct {
	provider *sdkmetric.MeterProvider
	registry *prometheus.Registry
	tracer   trace.TracerProvider
	flush    func(context.Context) error // what spans are left
	events   log.LoggerProvider
	drain    func(context.Context) error // what events are left
}

// New makes the meter provider, its Prometheus exporter, the collectors of the Go runtime and of the process, and
// keyturn_build_info. Where the environment's OTEL_ variables ask for it, metrics, spans and log events are exported by them too.
func New() (*Telemetry, error) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(
		otelprometheus.WithRegisterer(registry),
		// Three labels on every series, and a target_info, would say only which Go package made an instrument.
		otelprometheus.WithoutScopeInfo(),
		otelprometheus.WithoutTargetInfo(),
	)
	if err != nil {
		return nil, fmt.Errorf("prometheus exporter: %w", err)
	}
	ctx := context.Background()
	options, err := pushed(ctx)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{registry: registry, provider: sdkmetric.NewMeterProvider(append(options, sdkmetric.WithReader(exporter))...)}
	if err := t.begin(ctx); err != nil {
		ctx, cancel := context.WithTimeout(ctx, time.Second) // there is nothing to send
		defer cancel()
		return nil, errors.Join(err, t.Shutdown(ctx))
	}
	return t, nil
}

// begin adds the spans and what tells about the process itself.
func (t *Telemetry) begin(ctx context.Context) (err error) {
	if t.tracer, t.flush, err = tracing(ctx); err != nil {
		return err
	}
	if t.events, t.drain, err = logging(ctx); err != nil {
		return err
	}
	err = errors.Join(
		t.registry.Register(collectors.NewGoCollector()),
		t.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
	if err != nil {
		return fmt.Errorf("runtime collectors: %w", err)
	}
	info, err := t.provider.Meter("github.com/keyturn/keyturn/internal/telemetry").Int64Gauge("keyturn.build_info",
		metric.WithDescription("Always 1; the labels say what is running."))
	if err != nil {
		return fmt.Errorf("keyturn.build_info: %w", err)
	}
	info.Record(ctx, 1, metric.WithAttributes(
		attribute.String("version", Version()), attribute.String("go", runtime.Version())))
	return nil
}

// MeterProvider makes instruments whose values Handler serves. Their names carry neither unit nor _total: the exporter adds them, and writes
// keyturn.attempts as keyturn_attempts_total.
func (t *Telemetry) MeterProvider() metric.MeterProvider { return t.provider }

// Traces says whether spans go anywhere.
func (t *Telemetry) Traces() bool { return asked("TRACES") }

// TracerProvider makes spans. Unless the environment's OTEL_ variables name where they go, they go nowhere.
func (t *Telemetry) TracerProvider() trace.TracerProvider { return t.tracer }

// LoggerProvider makes log events, which are not the process's log. Unless the environment's OTEL_ variables name where they go, they go nowhere.
func (t *Telemetry) LoggerProvider() log.LoggerProvider { return t.events }

// Handler serves the metrics in the Prometheus text format, or OpenMetrics for a scraper that asks for it. A metric that
// cannot be collected is left out and counted in promhttp_metric_handler_errors_total; the others are served.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		ErrorHandling:     promhttp.ContinueOnError,
		Registry:          t.registry,
		EnableOpenMetrics: true,
	})
}

// Shutdown sends what is left and ends collection: Handler then serves the runtime's metrics only.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	var err error
	if t.flush != nil {
		err = t.flush(ctx)
	}
	if t.drain != nil {
		err = errors.Join(err, t.drain(ctx))
	}
	return errors.Join(err, t.provider.Shutdown(ctx))
}

// Version is the version of the running binary, as the Go toolchain stamped it: a release's tag, a pseudo-version with
// the commit (and +dirty when the tree was), or "devel" when it was built without version control.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
