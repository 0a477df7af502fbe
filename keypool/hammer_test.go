package keypool_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// together runs work in several goroutines that start at once, and returns when all are done.
func together(goroutines int, work func(g int)) {
	var done sync.WaitGroup
	start := make(chan struct{})
	for g := range goroutines {
		done.Go(func() {
			<-start
			work(g)
		})
	}
	close(start)
	done.Wait()
}

// TestHammer does everything at once. What it checks is that nothing races, that no walker hands out a key twice, and that the pool is in order
// afterwards.
func TestHammer(t *testing.T) {
	clk := quartz.NewMock(t).WithLogger(quartz.NoOpLogger)
	cfg := configOf("a", "b", "c", "d")
	cfg.Keys[0].Group, cfg.Keys[1].Group = "org", "org"
	p, err := keypool.NewPool(cfg, clk)
	require.NoError(t, err)
	faults := make(chan string, 8)

	together(8, func(g int) {
		for i := range 1000 {
			switch {
			case g == 0 && i%20 == 0:
				_ = p.Reload(cfg)
			case g == 1 && i%10 == 0:
				clk.Advance(7 * time.Minute)
			case g == 2 && i%10 == 0:
				k, _ := p.Key("c")
				k.Disable()
				k.Enable()
				k.Reset()
			case g == 3 && i%5 == 0:
				_, _, _ = p.Snapshot(), p.Counts(), states(p)
			}
			w, seen := p.Walker().For("m"), map[string]bool{}
			for {
				_, _ = w.Peek()
				k, kerr := w.Next()
				if kerr != nil {
					_ = kerr.Error()
					break
				}
				if seen[k.ID()] {
					select {
					case faults <- fmt.Sprintf("%v handed out twice", k):
					default:
					}
				}
				seen[k.ID()] = true
				switch (g + i + len(seen)) % 7 {
				case 0:
					restKey(k, time.Minute)
				case 1:
					retireKey(k)
				case 2:
					p.Mark(k, outOfCredit, "")
				case 3:
					p.Mark(k, noModel(time.Minute), "m")
				case 4:
					_ = k.State()
				default:
					k.MarkSuccess()
				}
			}
			w.Release()
		}
	})

	close(faults)
	for f := range faults {
		t.Error(f)
	}
	for _, s := range p.Snapshot() {
		require.False(t, s.Reserved, "%s: every walker gave back what it held", s.Name)
	}
}

// A key on trial goes to one request, however many ask at once; and after that one gave it back, to one again.
func TestHammerOneTrialAtATime(t *testing.T) {
	for _, tc := range []struct {
		name string
		fail func(*keypool.Pool, *keypool.Key)
	}{
		{"permanent", retired},
		{"group without credit", broke},
	} {
		t.Run(tc.name, func(t *testing.T) {
			group := func(c *keypool.Config) { c.Keys[0].Group, c.Keys[1].Group = "org", "org" }
			p, clk := newPool(t, group, "a", "b")
			tc.fail(p, keyOf(t, p, "a"))
			tc.fail(p, keyOf(t, p, "b"))
			want := int32(1)
			if tc.name == "permanent" {
				want = 2 // each key for itself
			}
			advance(t, clk, 15*time.Minute)
			for range 100 {
				var got atomic.Int32
				walkers := make([]*keypool.Walker, 8)
				together(len(walkers), func(g int) {
					walkers[g] = p.Walker()
					if _, kerr := walkers[g].Next(); kerr == nil {
						got.Add(1)
					}
				})
				require.Equal(t, want, got.Load())
				for _, w := range walkers {
					w.Release()
				}
			}
		})
	}
}
