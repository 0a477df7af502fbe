package test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// always429 is refused so shortly that the retries never cease.
func always429() scripted.Answer {
	return scripted.RateLimited(0).Header("Retry-After", "").Header("Retry-After-Ms", "1")
}

// loadGateway has three keys of which the first two fail every time, and are tried every time. The third one's answer names the
// marker in the request's body.
func loadGateway(t *testing.T) *gateway.Gateway {
	t.Helper()
	gw := gateway.Start(t, gateway.Config{
		Pools:    []gateway.Pool{{Settings: map[string]any{"cooldown": map[string]any{"min": "1ms"}}}},
		Provider: scripted.Config{KeepRequests: 1},
		Top:      map[string]any{"log": map[string]any{"level": "error"}},
		Envoy:    map[string]any{"access_log": "off"},
	})
	gw.Provider.Key("k0-long-key", always429()).Key("k1-long-key", always429())
	gw.Provider.Key("k2-long-key", scripted.Func(func(r scripted.Request) scripted.Answer {
		return scripted.OK("marker " + marker(string(r.Body)))
	}))
	return gw
}

// marked is a request's body of about size bytes with a marker in it; marker finds it again.
func marked(n, size int) string {
	return fmt.Sprintf(`{"model":"m","input":"<%d>%s"}`, n, strings.Repeat("x", size))
}

func marker(body string) string {
	_, rest, _ := strings.Cut(body, "<")
	found, _, _ := strings.Cut(rest, ">")
	return found
}

// flood sends n requests, so many at once, and hands each answer to check, which runs in the requests' goroutines.
func flood(gw *gateway.Gateway, request func(i int) (*http.Request, error), n, atOnce int, check func(i int, r gateway.Response, err error) error) error {
	var next atomic.Int64
	errs := make(chan error, atOnce)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				req, err := request(i)
				var resp gateway.Response
				if err == nil {
					resp, err = gw.TryDo(req)
				}
				if err := check(i, resp, err); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// markedRequests makes requests with bodies of about size bytes.
func markedRequests(t *testing.T, gw *gateway.Gateway, size int) func(i int) (*http.Request, error) {
	t.Helper()
	ctx := t.Context()
	return func(i int) (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodPost, gw.URL+"/v1/responses", strings.NewReader(marked(i, size)))
	}
}

// ownAnswer is the check that a request was served, and with its own answer.
func ownAnswer(i int, r gateway.Response, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("request %d: %w", i, err)
	case r.Status != http.StatusOK:
		return fmt.Errorf("request %d: %d %s", i, r.Status, r.Body)
	case !strings.Contains(r.Body, fmt.Sprintf("marker %d\"", i)):
		return fmt.Errorf("request %d got another's answer", i)
	}
	return nil
}

// TestLoad holds that every client is served while two of three keys fail every time, that Envoy lives, and that nothing stays.
func TestLoad(t *testing.T) {
	gw := loadGateway(t)
	require.NoError(t, flood(gw, markedRequests(t, gw, 10), 20, 4, ownAnswer)) // warm
	goroutines, memory := gw.Metric(t, "go_goroutines"), gw.EnvoyMemory(t)
	for _, tc := range []struct {
		name            string
		n, atOnce, size int
	}{
		{"2000 small at 200", 2000, 200, 40},
		{"500 of 100 KB at 64", 500, 64, 100 << 10},
		{"500 of 1 MB at 16", 500, 16, 1 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.NoError(t, flood(gw, markedRequests(t, gw, tc.size), tc.n, tc.atOnce, ownAnswer))
			require.True(t, gw.EnvoyAlive())
		})
	}
	require.GreaterOrEqual(t, gw.Metric(t, "keyturn_attempts_total", `outcome="turned"`), 3000.0, "the retries never cease")
	gw.Client.CloseIdleConnections()
	gw.Eventually(t, "streams end", func() bool { return gw.Metric(t, "keyturn_streams") == 0 })
	gw.Eventually(t, "goroutines end", func() bool { return gw.Metric(t, "go_goroutines") < goroutines+32 })
	gw.Eventually(t, "Envoy's memory returns", func() bool { return gw.EnvoyMemory(t) < memory+64<<20 })
}

// TestProcessorRestartUnderLoad holds that requests fail only while no processor is there, and then with 503.
func TestProcessorRestartUnderLoad(t *testing.T) {
	const before, gone, back, over = 0, 1, 2, 3
	gw := loadGateway(t)
	var state, served, failed atomic.Int64 // served counts the answers since the state changed last
	begun := sync.Map{}
	requests := markedRequests(t, gw, 40)
	done := make(chan error, 1)
	go func() {
		done <- flood(gw, func(i int) (*http.Request, error) {
			if state.Load() == over {
				return nil, errOver
			}
			begun.Store(i, state.Load())
			return requests(i)
		}, 1_000_000, 32, func(i int, r gateway.Response, err error) error {
			if errors.Is(err, errOver) {
				return err
			}
			began, _ := begun.LoadAndDelete(i)
			if err == nil && r.Status == http.StatusServiceUnavailable && began != int64(back) && state.Load() != before {
				failed.Add(1)
				return nil
			}
			served.Add(1)
			return ownAnswer(i, r, err)
		})
	}()
	gw.Eventually(t, "requests are served", func() bool { return served.Load() > 200 })
	state.Store(gone)
	gw.KillProcessor(t)
	gw.Eventually(t, "requests fail", func() bool { return failed.Load() > 50 })
	gw.StartProcessor(t)
	state.Store(back)
	served.Store(0)
	gw.Eventually(t, "requests are served again", func() bool { return served.Load() > 500 || len(done) > 0 })
	state.Store(over)
	require.ErrorIs(t, <-done, errOver)
	require.True(t, gw.EnvoyAlive())
}

// errOver ends a flood that has seen enough.
var errOver = errors.New("over")
