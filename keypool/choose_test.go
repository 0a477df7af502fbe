package keypool_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// spread is a pool that spreads conversations over keys with these weights, of tier 0 unless tiers says otherwise.
func spread(tb testing.TB, clk keypool.Clock, weights []int, tiers ...int) *keypool.Pool {
	tb.Helper()
	p, err := keypool.NewPool(spreadConfig(weights, tiers...), clk)
	require.NoError(tb, err)
	return p
}

func quietClock(t *testing.T) *quartz.Mock {
	t.Helper()
	return quartz.NewMock(t).WithLogger(quartz.NoOpLogger)
}

func spreadConfig(weights []int, tiers ...int) keypool.Config {
	cfg := keypool.Defaults()
	cfg.Choose = keypool.Choose{By: keypool.Spread, StayFor: time.Hour}
	for i, w := range weights {
		k := keypool.KeyConfig{Name: fmt.Sprintf("k%d", i), Secret: fmt.Sprintf("k%d-long-key", i), Weight: w}
		if i < len(tiers) {
			k.Tier = tiers[i]
		}
		cfg.Keys = append(cfg.Keys, k)
	}
	return cfg
}

func keyFor(tb testing.TB, p *keypool.Pool, conversation uint64, tried ...string) *keypool.Key {
	tb.Helper()
	k, err := p.Walker(tried...).Of(conversation).Next()
	require.Nil(tb, err)
	return k
}

func ones(n int) []int {
	w := make([]int, n)
	for i := range w {
		w[i] = 1
	}
	return w
}

func TestSpreadByWeight(t *testing.T) {
	const conversations = 40000
	p := spread(t, quietClock(t), []int{1, 2, 5, 2})
	got := map[string]int{}
	for c := range uint64(conversations) {
		got[keyFor(t, p, c).Name()]++
	}
	for i, share := range []float64{0.1, 0.2, 0.5, 0.2} {
		require.InEpsilon(t, share*conversations, got[fmt.Sprintf("k%d", i)], 0.1, "k%d", i)
	}
}

// TestSpreadOrdersAllKeys holds that a walker hands out every key once, tier by tier, however many there are.
func TestSpreadOrdersAllKeys(t *testing.T) {
	for _, n := range []int{1, 2, 7, 8, 9, 100} {
		tiers := make([]int, n)
		for i := range tiers {
			tiers[i] = (i % 3) * 4 // 0, 4, 8
		}
		p := spread(t, quietClock(t), ones(n), tiers...)
		for c := range uint64(50) {
			w, seen, last := p.Walker().Of(c), map[string]bool{}, 0
			for range n {
				ahead, none := w.Peek()
				require.Nil(t, none)
				k, none := w.Next()
				require.Nil(t, none)
				require.Equal(t, ahead.ID(), k.ID(), "Peek says what Next hands out")
				require.False(t, seen[k.ID()], "handed out twice")
				seen[k.ID()] = true
				var i int
				_, err := fmt.Sscanf(k.Name(), "k%d", &i)
				require.NoError(t, err)
				require.GreaterOrEqual(t, tiers[i], last)
				last = tiers[i]
			}
			_, none := w.Next()
			require.NotNil(t, none)
		}
	}
}

// TestSpreadMovesNoOthers holds what rendezvous hashing is for: a key that rests, or goes, hands on its own conversations, and a new one only takes.
func TestSpreadMovesNoOthers(t *testing.T) {
	const conversations = 3000
	p := spread(t, quietClock(t), ones(12))
	before := make([]string, conversations)
	for c := range before {
		before[c] = keyFor(t, p, uint64(c)).Name()
	}
	gone, ok := p.Key("k3")
	require.True(t, ok)
	gone.Disable()
	to := map[string]int{}
	for c, had := range before {
		if now := keyFor(t, p, uint64(c)).Name(); had != "k3" {
			require.Equal(t, had, now)
		} else {
			to[now]++
		}
	}
	require.Len(t, to, 11, "the others share what it had")
	gone.Enable()

	require.NoError(t, p.Reload(spreadConfig(ones(13))))
	for c, had := range before {
		if now := keyFor(t, p, uint64(c)).Name(); now != "k12" {
			require.Equal(t, had, now)
		}
	}
}

// TestSpreadIsTheSameEverywhere holds that replicas agree: a change of these names moves the conversations of everybody who upgrades.
func TestSpreadIsTheSameEverywhere(t *testing.T) {
	p := spread(t, quietClock(t), []int{1, 2, 3, 1, 1})
	var got []string
	for c := range uint64(8) {
		got = append(got, keyFor(t, p, c*0x9e3779b97f4a7c15).Name())
	}
	require.Equal(t, []string{"k4", "k4", "k2", "k2", "k4", "k3", "k1", "k3"}, got)
}

func TestConversationsStay(t *testing.T) {
	clk := quietClock(t)
	p := spread(t, clk, ones(5))
	const c = 7
	own := keyFor(t, p, c)
	w := p.Walker().Of(c)
	k, _ := w.Next()
	require.False(t, w.Served(k), "it is the conversation's own")

	restKey(own, time.Minute)
	w = p.Walker().Of(c)
	other, none := w.Next()
	require.Nil(t, none)
	require.NotEqual(t, own.ID(), other.ID())
	require.True(t, w.Served(other))

	clk.Advance(50 * time.Minute) // its own key is back
	require.Equal(t, other.ID(), keyFor(t, p, c).ID())
	w = p.Walker().Of(c)
	k, _ = w.Next()
	require.False(t, w.Served(k), "it was there before")
	clk.Advance(59 * time.Minute)
	require.Equal(t, other.ID(), keyFor(t, p, c).ID(), "each success lets it stay for an hour more")
	clk.Advance(time.Minute)
	require.Equal(t, own.ID(), keyFor(t, p, c).ID())
}

func TestConversationsLeaveAStay(t *testing.T) {
	clk := quietClock(t)
	p := spread(t, clk, ones(5))
	const c = 7
	own := keyFor(t, p, c)
	w := p.Walker(own.ID()).Of(c)
	other, _ := w.Next()
	require.True(t, w.Served(other))
	require.Equal(t, other.ID(), keyFor(t, p, c).ID())

	other.Disable() // its own serves, and that is the end of it
	w = p.Walker().Of(c)
	k, _ := w.Next()
	require.Equal(t, own.ID(), k.ID())
	require.True(t, w.Served(k))
	other.Enable()
	require.Equal(t, own.ID(), keyFor(t, p, c).ID())

	w = p.Walker(own.ID()).Of(c)
	k, _ = w.Next()
	require.True(t, w.Served(k))
	cfg := spreadConfig(ones(5))
	var kept []keypool.KeyConfig
	for _, kc := range cfg.Keys {
		if kc.Name != k.Name() {
			kept = append(kept, kc)
		}
	}
	cfg.Keys = kept
	require.NoError(t, p.Reload(cfg))
	require.Equal(t, own.ID(), keyFor(t, p, c).ID(), "the key that it stayed with is gone")

	cfg.Choose.StayFor = keypool.Never
	require.NoError(t, p.Reload(cfg))
	w = p.Walker(own.ID()).Of(c)
	k, _ = w.Next()
	require.False(t, w.Served(k))
	require.Equal(t, own.ID(), keyFor(t, p, c).ID())
}

func TestStaysAreBounded(t *testing.T) {
	p := spread(t, quietClock(t), ones(2))
	cfg := spreadConfig(ones(2))
	cfg.Choose.StayFor = keypool.Never
	flighty, err := keypool.NewPool(cfg, quietClock(t))
	require.NoError(t, err)
	const more = 200000
	for c := range uint64(more) {
		w := p.Walker(keyFor(t, flighty, c).ID()).Of(c)
		k, none := w.Next()
		require.Nil(t, none)
		require.True(t, w.Served(k))
	}
	stayed := 0
	for c := range uint64(more) {
		if keyFor(t, p, c).ID() != keyFor(t, flighty, c).ID() {
			stayed++
		}
	}
	require.LessOrEqual(t, stayed, 65536)
	require.Greater(t, stayed, 32767)
}

func TestSpreadAllocatesNothing(t *testing.T) {
	p := spread(t, quartz.NewReal(), ones(100))
	tried := []string{keyFor(t, p, 1).ID()}
	w := p.Walker(tried...).Of(1)
	k, _ := w.Next()
	w.Served(k)
	for name, choose := range map[string]func(){
		"own":    func() { chosen, _ = p.Walker().Of(2).Next() },
		"stays":  func() { chosen, _ = p.Walker().Of(1).Next() },
		"second": func() { chosen, _ = p.Walker(tried...).Of(1).Next() },
	} {
		require.Zero(t, testing.AllocsPerRun(100, choose), name)
	}
}

func TestChooseIsJudged(t *testing.T) {
	cfg := spreadConfig([]int{1, 1001, -1, 1}, 0, 10, -1)
	cfg.Choose = keypool.Choose{By: 7, StayFor: time.Millisecond}
	err := cfg.Validate()
	for _, want := range []string{"choose.by", "choose.stay_for", "keys[1].weight", "keys[1].tier", "keys[2].weight", "keys[2].tier"} {
		require.ErrorContains(t, err, want)
	}
}

func BenchmarkSpread(b *testing.B) {
	p := spread(b, quartz.NewReal(), ones(100))
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		for c := uint64(0); b.Loop(); c++ {
			chosen, _ = p.Walker().Of(c).Next()
		}
	})
	b.Run("one of a thousand stays", func(b *testing.B) {
		for range 1000 {
			c := rand.Uint64()
			w := p.Walker(keyFor(b, p, c).ID()).Of(c)
			k, _ := w.Next()
			w.Served(k)
		}
		b.ReportAllocs()
		for c := uint64(0); b.Loop(); c++ {
			chosen, _ = p.Walker().Of(c).Next()
		}
	})
	b.Run("reload of a hundred", func(b *testing.B) {
		cfg := spreadConfig(ones(100))
		for b.Loop() {
			require.NoError(b, p.Reload(cfg))
		}
	})
}
