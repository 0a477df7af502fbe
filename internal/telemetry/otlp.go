package telemetry

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	lognoop "go.opentelemetry.io/otel/log/noop"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/keyturn/keyturn/internal/spans"
)

// asked reports whether the environment asks for a signal to be exported
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Without any of these variables nothing is.
func asked(signal string) bool {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return false
	}
	for _, name := range []string{"OTEL_" + signal + "_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// described is what exported telemetry says about this process: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
func described(ctx context.Context) (*resource.Resource, error) {
	r, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", Version())),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return r, nil
}

// tracing makes the provider of spans that the environment asks for.
func tracing(ctx context.Context) (trace.TracerProvider, func(context.Context) error, error) {
	if !asked("TRACES") {
		return tracenoop.NewTracerProvider(), func(context.Context) error { return nil }, nil
	}
	res, err := described(ctx)
	if err != nil {
		return nil, nil, err
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("traces by the OTEL_ variables: %w", err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res), sdktrace.WithIDGenerator(spans.Generator{}))
	return p, p.Shutdown, nil
}

// logging makes the provider of log events that the environment asks for.
func logging(ctx context.Context) (log.LoggerProvider, func(context.Context) error, error) {
	if !asked("LOGS") {
		return lognoop.NewLoggerProvider(), func(context.Context) error { return nil }, nil
	}
	res, err := described(ctx)
	if err != nil {
		return nil, nil, err
	}
	exporter, err := autoexport.NewLogExporter(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("log events by the OTEL_ variables: %w", err)
	}
	p := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)), sdklog.WithResource(res))
	return p, p.Shutdown, nil
}

// pushed are the options by which metrics go out beside being scraped, when the environment asks for that.
func pushed(ctx context.Context) ([]sdkmetric.Option, error) {
	if !asked("METRICS") || os.Getenv("OTEL_METRICS_EXPORTER") == "prometheus" { // that is there always
		return []sdkmetric.Option{sdkmetric.WithResource(resource.Empty())}, nil
	}
	res, err := described(ctx) // first: a reader has a goroutine
	if err != nil {
		return nil, err
	}
	reader, err := autoexport.NewMetricReader(ctx)
	if err != nil {
		return nil, fmt.Errorf("metrics by the OTEL_ variables: %w", err)
	}
	return []sdkmetric.Option{sdkmetric.WithReader(reader), sdkmetric.WithResource(res)}, nil
}
