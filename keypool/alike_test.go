package keypool_test

import (
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// failAll gives each key of the pool in turn to a request, which is refused.
func failAll(t *testing.T, p *keypool.Pool, v keypool.Verdict) {
	t.Helper()
	var tried []string
	for range p.Snapshot() {
		k, err := p.Walker(tried...).Next()
		require.Nil(t, err)
		p.Mark(k, v, "")
		tried = append(tried, k.ID())
	}
}

var (
	allValid     = []keypool.State{keypool.Valid, keypool.Valid, keypool.Valid}
	allPermanent = []keypool.State{keypool.Permanent, keypool.Permanent, keypool.Permanent}
)

// An outage: every request is refused for an hour, and then the provider is well again.
func TestStoryOutage(t *testing.T) {
	p, clk := newPool(t, nil, "a", "b", "c")
	failAll(t, p, refused("invalid_api_key"))
	require.Equal(t, allPermanent, states(p))
	for range 4 {
		advance(t, clk, 15*time.Minute)
		failAll(t, p, refused("invalid_api_key"))
		for _, s := range p.Snapshot() {
			require.Equal(t, clk.Now().Add(15*time.Minute), s.ReviveAt, "%s: no wait doubles", s.Name)
		}
	}
	advance(t, clk, 15*time.Minute)
	k := next(t, p)
	require.Equal(t, "a", k.Name())
	require.True(t, k.MarkSuccess())
	require.Equal(t, allValid, states(p), "the first success brings all of them back")
	for _, s := range p.Snapshot() {
		require.EqualValues(t, 1, s.Revivals, s.Name)
	}
	require.True(t, p.Mark(keyOf(t, p, "b"), refused("invalid_api_key"), "").Changed, "one that is bad all the same")
	advance(t, clk, 15*time.Minute)
	p.Mark(next(t, p, k.ID()), refused("invalid_api_key"), "")
	require.Equal(t, clk.Now().Add(30*time.Minute), p.Snapshot()[1].ReviveAt, "is alone with it: its wait doubles")
}

func TestStoryOutageOfBilling(t *testing.T) {
	p, clk := newPool(t, nil, "a", "b", "c")
	failAll(t, p, outOfCredit)
	for range 3 {
		advance(t, clk, 10*time.Minute)
		failAll(t, p, outOfCredit)
		for _, s := range p.Snapshot() {
			require.Equal(t, clk.Now().Add(10*time.Minute), s.Until, "%s: no wait doubles", s.Name)
		}
	}
	advance(t, clk, 10*time.Minute)
	require.True(t, next(t, p).MarkSuccess())
	for _, s := range p.Snapshot() {
		require.False(t, s.Probation, s.Name)
	}
}

// The mark that makes it so says it, once.
func TestTransitionTellsThatAllFailAlike(t *testing.T) {
	p, _ := newPool(t, nil, "a", "b")
	require.False(t, p.Mark(keyOf(t, p, "a"), refused("x"), "").Alike)
	require.True(t, p.Mark(keyOf(t, p, "b"), refused("x"), "").Alike)
	require.False(t, p.Mark(keyOf(t, p, "b"), refused("x"), "").Alike)
}

func TestAlike(t *testing.T) {
	type step func(*testing.T, *keypool.Pool, *quartz.Mock)
	mark := func(name string, v keypool.Verdict) step {
		return func(t *testing.T, p *keypool.Pool, _ *quartz.Mock) { p.Mark(keyOf(t, p, name), v, "") }
	}
	wait := func(d time.Duration) step {
		return func(t *testing.T, _ *keypool.Pool, clk *quartz.Mock) { advance(t, clk, d) }
	}
	disable := func(name string) step {
		return func(t *testing.T, p *keypool.Pool, _ *quartz.Mock) { keyOf(t, p, name).Disable() }
	}
	out := func(code string) keypool.Verdict {
		v := outOfCredit
		v.Code = code
		return v
	}
	for _, tc := range []struct {
		name   string
		keys   []string
		groups bool
		steps  []step
		left   int // keys on probation after one success
	}{
		{"all, at once", []string{"a", "b"}, false, []step{mark("a", refused("x")), mark("b", refused("x"))}, 0},
		{"all, within a minute", []string{"a", "b"}, false, []step{mark("a", refused("x")), wait(time.Minute), mark("b", refused("x"))}, 0},
		{"all, over more than a minute", []string{"a", "b"}, false, []step{mark("a", refused("x")), wait(time.Minute + 1), mark("b", refused("x"))}, 1},
		{"for different reasons", []string{"a", "b"}, false, []step{mark("a", refused("x")), mark("b", refused("y"))}, 1},
		{"in different ways", []string{"a", "b"}, false, []step{mark("a", refused("x")), mark("b", out("x"))}, 1},
		{"one is well", []string{"a", "b", "c"}, false, []step{mark("a", refused("x")), mark("b", refused("x"))}, 1},
		{"one is disabled", []string{"a", "b", "c"}, false, []step{mark("a", refused("x")), mark("b", refused("x")), disable("c")}, 0},
		{"one key", []string{"a"}, false, []step{mark("a", refused("x"))}, 0},
		{"two accounts without credit", []string{"a", "b"}, false, []step{mark("a", out("x")), mark("b", out("x"))}, 0},
		{"one account without credit", []string{"a", "b"}, true, []step{mark("a", out("x"))}, 0},
		{"one account that is switched off", []string{"a", "b"}, true, []step{mark("a", refused("x")), mark("b", refused("x"))}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, clk := newPool(t, func(c *keypool.Config) {
				for i := range c.Keys {
					if tc.groups {
						c.Keys[i].Group = "org"
					}
				}
			}, tc.keys...)
			for _, s := range tc.steps {
				s(t, p, clk)
			}
			advance(t, clk, 15*time.Minute)
			require.True(t, next(t, p).MarkSuccess())
			// The walker's key is well either way. That the others are, or had nothing to recover from, tells.
			left := 0
			for _, s := range p.Snapshot() {
				if s.Probation && s.State != keypool.Disabled {
					left++
				}
			}
			require.Equal(t, tc.left, left)
		})
	}
}

// A trial that runs while the others are brought back is over: what comes of it is news again.
func TestBringingBackEndsTrials(t *testing.T) {
	p, clk := newPool(t, nil, "a", "b")
	failAll(t, p, refused("x"))
	advance(t, clk, 15*time.Minute)
	a, b := next(t, p), p.Walker(keyOf(t, p, "a").ID())
	k, err := b.Next()
	require.Nil(t, err)
	require.True(t, a.MarkSuccess())
	require.False(t, p.Snapshot()[1].Reserved)
	require.False(t, k.MarkSuccess(), "nothing is left to end")
	require.True(t, p.Mark(k, refused("x"), "").Changed, "but it may fail")
	require.Equal(t, clk.Now().Add(15*time.Minute), p.Snapshot()[1].ReviveAt)
}

// A disabled key is left as it is.
func TestBringingBackLeavesDisabledKeys(t *testing.T) {
	p, clk := newPool(t, nil, "a", "b", "c")
	failAll(t, p, refused("x"))
	keyOf(t, p, "c").Disable()
	advance(t, clk, 15*time.Minute)
	require.True(t, next(t, p).MarkSuccess())
	keyOf(t, p, "c").Enable()
	require.Equal(t, []keypool.State{keypool.Valid, keypool.Valid, keypool.Permanent}, states(p))
}

// One key, or one account, shows nothing about the way to the provider: its waits double.
func TestOneAloneIsNotAlike(t *testing.T) {
	p, clk := newPool(t, nil, "a")
	next(t, p).MarkSuccess()
	p.Mark(next(t, p), refused("x"), "")
	advance(t, clk, 15*time.Minute)
	p.Mark(next(t, p), refused("x"), "")
	require.Equal(t, clk.Now().Add(30*time.Minute), p.Snapshot()[0].ReviveAt)

	p, clk = newPool(t, func(c *keypool.Config) { c.Keys[0].Group, c.Keys[1].Group = "org", "org" }, "a", "b")
	p.Mark(next(t, p), outOfCredit, "")
	advance(t, clk, 10*time.Minute)
	p.Mark(next(t, p), outOfCredit, "")
	require.Equal(t, clk.Now().Add(20*time.Minute), p.Snapshot()[1].Until)
}
