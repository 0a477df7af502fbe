package telemetry_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/keyturn/keyturn/internal/telemetry"
)

func scrape(t *testing.T, h http.Handler, accept string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	tel, err := telemetry.New()
	require.NoError(t, err)
	meter := tel.MeterProvider().Meter("test")
	provider := metric.WithAttributes(attribute.String("provider", "openai"))

	attempts, err := meter.Int64Counter("keyturn.attempts", metric.WithDescription("Attempts."))
	require.NoError(t, err)
	attempts.Add(t.Context(), 3, provider)
	took, err := meter.Float64Histogram("keyturn.attempt_duration", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(.5, 1))
	require.NoError(t, err)
	took.Record(t.Context(), .7, provider)
	state, err := meter.Int64ObservableGauge("keyturn.key_pool_state", metric.WithInt64Callback(
		func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(2, provider)
			return nil
		}))
	require.NoError(t, err)
	require.NotNil(t, state)

	h := tel.Handler()
	text := scrape(t, h, "text/plain")
	for _, line := range []string{
		"# HELP keyturn_attempts_total Attempts.\n",
		`keyturn_attempts_total{provider="openai"} 3` + "\n",
		`keyturn_attempt_duration_seconds_bucket{provider="openai",le="1"} 1` + "\n",
		`keyturn_attempt_duration_seconds_sum{provider="openai"} 0.7` + "\n",
		`keyturn_key_pool_state{provider="openai"} 2` + "\n",
		`keyturn_build_info{go="` + runtime.Version() + `",version="` + telemetry.Version() + `"} 1` + "\n",
		"\ngo_goroutines ",
		"\npromhttp_metric_handler_errors_total{",
	} {
		require.Contains(t, text, line)
	}
	if runtime.GOOS == "linux" {
		require.Contains(t, text, "\nprocess_start_time_seconds ")
	}
	for _, noise := range []string{"otel_scope", "target_info", "{}"} {
		require.NotContains(t, text, noise)
	}
	names := regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(text, -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		require.Regexp(t, `^(keyturn|go|process|promhttp)_[a-z0-9_]+$`, name[1])
	}

	open := scrape(t, h, "application/openmetrics-text; version=1.0.0")
	require.Contains(t, open, "# TYPE keyturn_attempts counter\n")
	require.True(t, strings.HasSuffix(open, "# EOF\n"))

	require.NotPanics(t, func() { tel.Handler() }, "a second handler shares the registry")
	require.NoError(t, tel.Shutdown(t.Context()))
	after := scrape(t, h, "text/plain")
	require.NotContains(t, after, "keyturn_")
	require.Contains(t, after, "\ngo_goroutines ")
}

// Instruments are made and scraped while others record: the race detector watches.
func TestMetricsConcurrently(t *testing.T) {
	tel, err := telemetry.New()
	require.NoError(t, err)
	counter, err := tel.MeterProvider().Meter("test").Int64Counter("keyturn.attempts")
	require.NoError(t, err)
	h := tel.Handler()
	start := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			<-start
			for range 200 {
				counter.Add(context.Background(), 1)
			}
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
		})
	}
	close(start)
	wg.Wait()
	require.Contains(t, scrape(t, h, "text/plain"), "\nkeyturn_attempts_total 1600\n")
}

func TestVersionIsNeverEmpty(t *testing.T) {
	require.NotEmpty(t, telemetry.Version())
	require.NotContains(t, telemetry.Version(), "(")
}
