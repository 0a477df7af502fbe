package test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// besideEnv names another build of keyturn, which BenchmarkBeside compares this one with.
const besideEnv = "KEYTURN_BESIDE"

// BenchmarkBeside sends the same requests through a gateway of this build and through one of the build that KEYTURN_BESIDE names (make bench
// BESIDE=file), in turns. Each renders its own Envoy. Without another build it is this one twice: what the ratios then are apart from 1 is the
// machine's noise. attempts-3: two keys fail at every request. record-off: this build keeps and is told nothing of requests, as builds before records.
func BenchmarkBeside(b *testing.B) {
	for _, attempts := range []int{1, 3} {
		for _, workers := range []int{1, 8} {
			for _, record := range []string{"off", "on"} {
				b.Run(fmt.Sprintf("attempts-%d/clients-%d/record-%s", attempts, workers, record), func(b *testing.B) {
					benchmarkBeside(b, attempts, workers, record == "off")
				})
			}
		}
	}
}

func benchmarkBeside(b *testing.B, attempts, workers int, off bool) {
	b.Helper()
	const rounds = 8
	start := func(binary string) *contestant {
		top := map[string]any{"log": map[string]any{"level": "error"}}
		if off && binary == "" {
			top["record"] = "off"
		}
		gw := gateway.Start(b, gateway.Config{
			Keyturn: binary, Provider: scripted.Config{KeepBytes: -1, KeepRequests: 1},
			Pools: []gateway.Pool{{Keys: loadKeys, Settings: map[string]any{"cooldown": map[string]any{"min": "1ms"}}}},
			Top:   top, Envoy: map[string]any{"access_log": "off"},
		})
		gw.Provider.Default(scripted.OK("hello"))
		if attempts > 1 {
			for _, k := range loadKeys[:attempts-1] {
				gw.Provider.Key(k, scripted.RateLimited(time.Millisecond))
			}
		}
		return &contestant{gw: gw, processor: gw.ProcessorPID()}
	}
	here, beside := start(""), start(os.Getenv(besideEnv))
	both := []*contestant{here, beside}
	for _, c := range both {
		c.gw.Eventually(b, "the gateway serves", func() bool { return c.round(b, workers, 100) })
		c.took = nil
	}
	per := max(b.N/rounds/workers, 1)
	b.ResetTimer()
	for i := range 2 * rounds {
		c := both[(i+i/2)%2] // here beside, beside here, …
		envoy, processor := c.usage(b)
		require.True(b, c.round(b, workers, per))
		envoyNow, processorNow := c.usage(b)
		c.envoyCPU += envoyNow - envoy
		c.cpu += processorNow - processor
	}
	b.ReportMetric(0, "ns/op")
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	for _, c := range both {
		slices.Sort(c.took)
	}
	n := float64(per * workers * rounds)
	b.ReportMetric(us(here.envoyCPU)/n, "envoy-cpu-us/req")
	b.ReportMetric(us(here.cpu)/n, "processor-cpu-us/req")
	b.ReportMetric(float64(here.envoyCPU)/float64(beside.envoyCPU), "envoy-cpu-ratio")
	b.ReportMetric(float64(here.cpu)/float64(beside.cpu), "processor-cpu-ratio")
	b.ReportMetric(us(here.took[len(here.took)/2]-beside.took[len(beside.took)/2]), "p50-more-us")
}

// BenchmarkBesideStream measures the first byte of a stream, one request at a time, beside the same other build.
func BenchmarkBesideStream(b *testing.B) {
	const rounds = 8
	start := func(binary string) *streaming {
		gw := gateway.Start(b, gateway.Config{
			Keyturn: binary, Provider: scripted.Config{KeepBytes: -1, KeepRequests: 1},
			Top: map[string]any{"log": map[string]any{"level": "error"}}, Envoy: map[string]any{"access_log": "off"},
		})
		gw.Provider.Default(scripted.Chunks(3, streamPace))
		return &streaming{contestant: contestant{gw: gw}}
	}
	both := []*streaming{start(""), start(os.Getenv(besideEnv))}
	for _, c := range both {
		c.gw.Eventually(b, "the gateway serves", func() bool { return c.streams(b, 1, 50) })
		c.first = nil
	}
	per := max(b.N/rounds, 1)
	b.ResetTimer()
	for i := range 2 * rounds {
		require.True(b, both[(i+i/2)%2].streams(b, 1, per))
	}
	b.ReportMetric(0, "ns/op")
	for _, c := range both {
		slices.Sort(c.first)
	}
	here, beside := both[0].first, both[1].first
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	b.ReportMetric(us(here[len(here)/2]), "ttfb-p50-us")
	b.ReportMetric(us(here[len(here)/2]-beside[len(beside)/2]), "ttfb-p50-more-us")
}
