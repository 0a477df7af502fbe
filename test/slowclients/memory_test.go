//go:build slow

package slowclients_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/test/gateway"
	"github.com/keyturn/keyturn/test/slowclients"
)

// What 100 clients that never read may cost.
const (
	neverRead    = 100
	envoyLimit   = 700 << 20
	keyturnLimit = 300 << 20 // GOMEMLIMIT; what is not Go's own comes on top
	heldFor      = 10 * time.Second
	honest       = 20
	between      = 100 * time.Millisecond // an honest client's requests
	patience     = 10 * time.Second       // of an honest client, on a busy machine
)

// TestMemory holds that clients that never read their large answers cost a bounded amount of memory, in Envoy and in Keyturn, and
// that others are served meanwhile.
func TestMemory(t *testing.T) {
	for _, tc := range []struct {
		name  string
		tools bool
		http2 bool // to the client
	}{
		{name: "keys"},
		{name: "keys HTTP2", http2: true},
		{name: "streamed", tools: true},
		{name: "streamed HTTP2", tools: true, http2: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("GOMEMLIMIT", fmt.Sprint(keyturnLimit))
			provider := slowclients.StartProvider(t)
			gw := gateway.Start(t, gateway.Config{
				Pools: []gateway.Pool{{Upstream: provider.URL}}, Tools: tc.tools, Top: map[string]any{"log": map[string]any{"level": "error"}},
			})
			address := strings.TrimPrefix(gw.URL, "http://")
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			var never errgroup.Group
			for range neverRead {
				never.Go(func() error {
					return slowclients.Client{HTTP2: tc.http2, Pause: slowclients.Never}.Run(ctx, address, slowclients.Ask{Stream: true, Bytes: 64 << 20})
				})
			}
			gw.Eventually(t, "answers that nobody reads", func() bool { return provider.Active() == neverRead || !gw.EnvoyAlive() })
			served, slowest := serve(t, address)
			require.True(t, gw.EnvoyAlive(), "Envoy has died")
			envoy, keyturn := gateway.PeakMemory(t, gw.EnvoyPID()), gateway.PeakMemory(t, gw.ProcessorPID())
			t.Logf("at most %d MiB in Envoy, %d MiB in Keyturn; %d honest requests, the slowest took %v", envoy>>20, keyturn>>20, served, slowest)
			require.Equal(t, neverRead, provider.Active(), "an answer has ended that nobody reads")
			leave()
			require.NoError(t, never.Wait())
			require.Less(t, envoy, envoyLimit)
			require.Less(t, keyturn, keyturnLimit*13/10)
			settle(t, gw, provider)
			gw.Eventually(t, "an end of all connections", func() bool { return gw.EnvoyStat(t, "http.main.downstream_cx_active") <= 1 }) // our own question's
			require.NoError(t, slowclients.Client{}.Run(t.Context(), address, slowclients.Ask{Bytes: small}))
		})
	}
}

// serve has honest clients ask as long as the others are held.
func serve(t *testing.T, address string) (served int64, slowest time.Duration) {
	t.Helper()
	var n, longest atomic.Int64
	end := time.Now().Add(heldFor)
	work, ctx := errgroup.WithContext(t.Context())
	for i := range honest {
		work.Go(func() error {
			pace := time.NewTicker(between)
			defer pace.Stop()
			for began := range pace.C {
				if began.After(end) {
					break
				}
				began = time.Now()
				ctx, cancel := context.WithTimeout(ctx, patience)
				err := slowclients.Client{HTTP2: i%2 == 0}.Run(ctx, address, slowclients.Ask{Stream: i%3 == 0, Bytes: []int{small, 100 << 10, 1 << 20}[i%3]})
				cancel()
				if err != nil {
					return fmt.Errorf("honest request after %v: %w", time.Since(began), err)
				}
				n.Add(1)
				for took := int64(time.Since(began)); ; {
					if l := longest.Load(); took <= l || longest.CompareAndSwap(l, took) {
						break
					}
				}
			}
			return nil
		})
	}
	require.NoError(t, work.Wait())
	return n.Load(), time.Duration(longest.Load())
}
