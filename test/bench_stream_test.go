package test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// streamDeltas is how many deltas the measured streams have. They come a millisecond apart, as from a fast model: sent at once, Envoy
// would put a hundred of them into one message, and the number of chunks would say nothing.
const (
	streamDeltas = 1000
	streamPace   = time.Millisecond
)

// streaming is a way through Envoy for a stream, and what it has cost.
type streaming struct {
	contestant
	mallocs  func() float64
	made     float64 // allocations
	first    []time.Duration
	complete []time.Duration
}

// BenchmarkStream sends the same stream of 1,000 deltas through Envoy without a filter, with the usual ext_proc server that has
// every chunk sent to it and sends it back (FULL_DUPLEX_STREAMED), and with Keyturn, which reads the stream for calls of its tools,
// in turns, 16 at a time. The ratios are of Keyturn to the usual server. Numbers per chunk count the deltas.
func BenchmarkStream(b *testing.B) {
	const workers, rounds = 16, 3
	start := func(name string, tools bool, edit func([]byte) []byte) *streaming {
		gw := gateway.Start(b, gateway.Config{
			Provider: scripted.Config{KeepBytes: -1, KeepRequests: 1}, Edit: edit, Tools: tools,
			Top: map[string]any{"log": map[string]any{"level": "info"}}, Envoy: map[string]any{"access_log": "off"},
		})
		gw.Provider.Default(scripted.Chunks(streamDeltas, streamPace))
		return &streaming{contestant: contestant{name: name, gw: gw}}
	}
	askDuplex := func(b []byte) []byte {
		return []byte(strings.ReplaceAll(string(b), "keyturn-request", duplexWord))
	}
	all := []*streaming{start("direct", false, withoutFilter), start("noop", false, askDuplex), start("keyturn", true, nil)}
	all[1].processor, all[1].mallocs = replaceByNoop(b, all[1].gw)
	all[2].processor = all[2].gw.ProcessorPID()
	all[2].mallocs = func() float64 { return all[2].gw.Metric(b, "go_memstats_mallocs_total") }
	for _, c := range all {
		c.gw.Eventually(b, c.name+" serves", func() bool { return c.streams(b, 1, 3) })
		c.first, c.complete = nil, nil
	}
	per := max(b.N/rounds/workers, 1)
	b.ResetTimer()
	for range rounds {
		for _, c := range all {
			envoy, processor := c.usage(b)
			before := 0.0
			if c.mallocs != nil {
				before = c.mallocs()
			}
			require.True(b, c.streams(b, workers, per))
			if c.mallocs != nil {
				c.made += c.mallocs() - before
			}
			envoyNow, processorNow := c.usage(b)
			c.envoyCPU += envoyNow - envoy
			c.cpu += processorNow - processor
		}
	}
	b.ReportMetric(0, "ns/op")
	chunks := float64(per * workers * rounds * streamDeltas)
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	for _, c := range all {
		slices.Sort(c.first)
		slices.Sort(c.complete)
		b.ReportMetric(us(c.first[len(c.first)/2]), c.name+"-ttfb-p50-us")
		b.ReportMetric(us(c.complete[len(c.complete)/2])/streamDeltas, c.name+"-us/chunk")
		b.ReportMetric(us(c.envoyCPU)/chunks, c.name+"-envoy-cpu-us/chunk")
		if c.processor != 0 {
			b.ReportMetric(us(c.cpu)/chunks, c.name+"-processor-cpu-us/chunk")
			b.ReportMetric(c.made/chunks, c.name+"-allocs/chunk")
		}
	}
	b.ReportMetric(float64(all[2].cpu)/float64(all[1].cpu), "processor-cpu-ratio")
	b.ReportMetric(float64(all[2].envoyCPU)/float64(all[1].envoyCPU), "envoy-cpu-ratio")
	b.ReportMetric(all[2].made/all[1].made, "allocs-ratio")
	b.ReportMetric(us(all[2].first[len(all[2].first)/2])/us(all[1].first[len(all[1].first)/2]), "ttfb-ratio")
}

// streams reads n streams by each worker and says whether all were whole.
func (c *streaming) streams(tb testing.TB, workers, n int) bool {
	tb.Helper()
	const body = `{"model":"gpt-4o-mini","input":"hi","stream":true}`
	var mu sync.Mutex // protects good, first and complete
	good := true
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range n {
				began := time.Now()
				first, whole, err := c.read(tb, body)
				mu.Lock()
				good = good && err == nil && strings.Contains(whole, "response.completed")
				c.first = append(c.first, first.Sub(began))
				c.complete = append(c.complete, time.Since(began))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return good
}

func (c *streaming) read(tb testing.TB, body string) (first time.Time, whole string, err error) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, c.gw.URL+"/v1/responses", strings.NewReader(body))
	if err != nil {
		return first, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.gw.Client.Do(req)
	if err != nil {
		return first, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return first, "", fmt.Errorf("status %d", resp.StatusCode)
	}
	var one [1]byte
	if _, err := io.ReadFull(resp.Body, one[:]); err != nil {
		return first, "", err
	}
	first = time.Now()
	rest, err := io.ReadAll(resp.Body)
	return first, string(one[:]) + string(rest), err
}
