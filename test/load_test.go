package test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// loadKeys are a pool whose first two keys fail every time and may be tried again a millisecond later, so that retries never
// cease.
var loadKeys = []string{"k0-long-key", "k1-long-key", "k2-long-key"}

// load is a gateway under load. Its provider answers with the name and the hash of the request that it got.
type load struct {
	gw     *gateway.Gateway
	filler []byte
	n      atomic.Int64 // names requests
	failed atomic.Int64 // attempts that the provider refused
	served atomic.Int64
	wrong  atomic.Int64 // requests with a key of nobody's
}

func newLoad(t *testing.T) *load {
	t.Helper()
	l := &load{filler: bytes.Repeat([]byte("x"), megabyte)}
	l.gw = gateway.Start(t, gateway.Config{
		Pools:    []gateway.Pool{{Keys: loadKeys, Settings: map[string]any{"cooldown": map[string]any{"min": "1ms"}}}},
		Provider: scripted.Config{KeepBytes: -1, KeepRequests: 1},
		Top:      map[string]any{"log": map[string]any{"level": "error"}},
	})
	l.gw.Provider.Default(scripted.Func(func(r scripted.Request) scripted.Answer {
		switch r.Key {
		case loadKeys[0], loadKeys[1]:
			l.failed.Add(1)
			return scripted.RateLimited(time.Millisecond)
		case loadKeys[2]:
			l.served.Add(1)
		default:
			l.wrong.Add(1)
		}
		return scripted.Status(http.StatusOK, `{"model":"`+r.Model+`","sha256":"`+r.SHA256+`"}`)
	}))
	return l
}

// ask sends a request of about size bytes that no other is equal to. An error is an answer that is not this request's, or none.
func (l *load) ask(ctx context.Context, size int) (gateway.Response, error) {
	name := fmt.Sprintf("model-%d-end", l.n.Add(1))
	head := []byte(`{"model":"` + name + `","input":"`)
	filler, tail := l.filler[:size], []byte(`"}`)
	sum := sha256.New()
	for _, b := range [][]byte{head, filler, tail} {
		sum.Write(b)
	}
	body := io.MultiReader(bytes.NewReader(head), bytes.NewReader(filler), bytes.NewReader(tail))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.gw.URL+"/v1/responses", body)
	if err != nil {
		return gateway.Response{}, err
	}
	req.ContentLength = int64(len(head) + size + len(tail))
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.gw.TryDo(req)
	if err != nil {
		return resp, err
	}
	own := `{"model":"` + name + `","sha256":"` + hex.EncodeToString(sum.Sum(nil)) + `"}`
	if resp.Status == http.StatusOK && resp.Body != own {
		return resp, fmt.Errorf("%s got %s", name, resp.Body)
	}
	return resp, nil
}

// run sends requests from as many clients at once as workers; each must be served.
func (l *load) run(t *testing.T, requests, workers, size int) {
	t.Helper()
	start, failed := time.Now(), l.failed.Load()
	work, ctx := errgroup.WithContext(t.Context())
	var left atomic.Int64
	left.Store(int64(requests))
	for range workers {
		work.Go(func() error {
			for left.Add(-1) >= 0 {
				resp, err := l.ask(ctx, size)
				if err != nil {
					return err
				}
				if resp.Status != http.StatusOK {
					return fmt.Errorf("status %d: %s", resp.Status, resp.Body)
				}
			}
			return nil
		})
	}
	err := work.Wait()
	require.True(t, l.gw.EnvoyAlive())
	require.NoError(t, err)
	require.Zero(t, l.wrong.Load())
	refused := l.failed.Load() - failed
	require.Greater(t, refused, int64(requests)/10, "retries have ceased")
	t.Logf("%d requests of %d bytes by %d clients: %v, %d attempts failed", requests, size, workers, time.Since(start).Round(time.Millisecond), refused)
}

// logStreams are the streams on which Envoy tells what became of requests, which last: of two listeners, in two threads.
const logStreams = 4

// footprint is what the two programs hold on to.
type footprint struct{ goroutines, heap, envoy float64 }

func (l *load) footprint(t *testing.T) footprint {
	t.Helper()
	return footprint{
		goroutines: l.gw.Metric(t, "go_goroutines"), heap: l.gw.Metric(t, "go_memstats_heap_inuse_bytes"), envoy: l.gw.EnvoyMemory(t),
	}
}

// settle waits until nothing is under way any more and both programs hold on to about as much as before.
func (l *load) settle(t *testing.T, before footprint) {
	t.Helper()
	l.gw.Client.CloseIdleConnections()
	var now footprint
	l.gw.Eventually(t, "an end of all streams", func() bool {
		now = l.footprint(t)
		return l.gw.Metric(t, "keyturn_streams") == 0 &&
			l.gw.EnvoyStat(t, "cluster.keyturn-processor.upstream_rq_active") <= logStreams &&
			l.gw.EnvoyStat(t, "cluster.openai.upstream_rq_active") == 0 &&
			l.gw.EnvoyStat(t, "http.main.downstream_rq_active") == 0 &&
			now.goroutines <= before.goroutines+20 && now.heap <= before.heap+64*megabyte && now.envoy <= before.envoy+64*megabyte
	})
	t.Logf("before %+v, after %+v", before, now)
}

// TestLoad: however many requests there are and however large they are, and though most attempts fail, every client is served
// with its own answer.
func TestLoad(t *testing.T) {
	l := newLoad(t)
	l.run(t, 200, 20, 100) // connections are made, and memory is taken that stays
	before := l.footprint(t)
	t.Run("2000 requests", func(t *testing.T) { l.run(t, 2000, 200, 100) })
	t.Run("500 requests of 100 KB", func(t *testing.T) { l.run(t, 500, 64, 100<<10) })
	t.Run("500 requests of 1 MB", func(t *testing.T) { l.run(t, 500, 16, megabyte) })
	l.settle(t, before)
}

// TestProcessorDiesUnderLoad kills keyturn, and asks it to end, while requests are sent without a pause. They fail with 503 as
// long as it is gone, and only then.
func TestProcessorDiesUnderLoad(t *testing.T) {
	l := newLoad(t)
	var calls calls
	ctx, stop := context.WithCancel(t.Context())
	work, ctx := errgroup.WithContext(ctx)
	for i := range 32 {
		work.Go(func() error {
			for ctx.Err() == nil {
				c := call{began: time.Now()}
				resp, err := l.ask(context.WithoutCancel(ctx), i%2*50<<10)
				if err != nil {
					return err
				}
				c.ended, c.resp = time.Now(), resp
				calls.add(c)
			}
			return nil
		})
	}
	enough := func(what string, status int) {
		t.Helper()
		n := calls.count(status) + 200
		l.gw.Eventually(t, what, func() bool { return calls.count(status) >= n || ctx.Err() != nil })
	}
	for _, end := range []func(testing.TB){l.gw.KillProcessor, l.gw.StopProcessor, l.gw.KillProcessor} {
		enough("requests before the end of keyturn", http.StatusOK)
		killed := time.Now()
		end(t)
		enough("requests without keyturn", http.StatusServiceUnavailable)
		l.gw.StartProcessor(t)
		back := time.Now()
		enough("requests with a new keyturn", http.StatusOK)
		calls.gaps = append(calls.gaps, gap{killed, back})
	}
	stop()
	require.NoError(t, work.Wait())
	require.True(t, l.gw.EnvoyAlive())
	require.Zero(t, l.wrong.Load())
	for _, c := range calls.all {
		require.NoError(t, c.check(calls.gaps), "%d %s", c.resp.Status, c.resp.Body)
	}
	t.Logf("%d requests served, %d refused", calls.count(http.StatusOK), calls.count(http.StatusServiceUnavailable))
}

// call is one request under load, gap a time without keyturn.
type (
	call struct {
		began, ended time.Time
		resp         gateway.Response
	}
	gap struct{ killed, back time.Time }
)

// check says what is wrong with an answer: it is 200, or 503 for one that was under way in a gap.
func (c call) check(gaps []gap) error {
	if c.resp.Status == http.StatusOK {
		return nil
	}
	if c.resp.Status != http.StatusServiceUnavailable {
		return errors.New("neither 200 nor 503")
	}
	for _, g := range gaps {
		if c.began.Before(g.back) && c.ended.After(g.killed) {
			return gatewayError("/v1/responses", c.resp, "processor_unavailable")
		}
	}
	return errors.New("refused while keyturn was there")
}

type calls struct {
	mu   sync.Mutex // protects all
	all  []call
	gaps []gap // of the test's own goroutine
}

func (c *calls) add(one call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, one)
}

func (c *calls) count(status int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, one := range c.all {
		if one.resp.Status == status {
			n++
		}
	}
	return n
}
