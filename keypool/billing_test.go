package keypool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

func TestStoryBilling(t *testing.T) {
	org := func(c *keypool.Config) { c.Keys[0].Group, c.Keys[1].Group = "org1", "org1" }
	p, clk := newPool(t, org, "a", "b", "c")
	one, two := next(t, p), next(t, p) // two requests at once
	require.True(t, p.Mark(one, outOfCredit, "").Changed)
	require.False(t, p.Mark(two, outOfCredit, "").Changed)
	require.Equal(t, []keypool.State{keypool.Temporary, keypool.Temporary, keypool.Valid}, states(p), "the group rests")
	require.Equal(t, clk.Now().Add(10*time.Minute), p.Snapshot()[1].Until, "one episode, not doubled")

	for wait := 10 * time.Minute; wait < 30*time.Hour; wait *= 2 {
		advance(t, clk, min(wait, 24*time.Hour)-1)
		require.Equal(t, "c", next(t, p).Name(), "not before %v", wait)
		advance(t, clk, 1)
		trial := next(t, p)
		require.Equal(t, "a", trial.Name(), "after %v", wait)
		require.Equal(t, keypool.Valid, trial.State())
		require.Equal(t, "c", next(t, p).Name(), "one trial for the whole group")
		p.Mark(trial, outOfCredit, "")
		require.Equal(t, min(2*wait, 24*time.Hour), p.Snapshot()[0].Until.Sub(clk.Now()))
	}

	advance(t, clk, 24*time.Hour)
	w := p.Walker()
	trial, _ := w.Next()
	w.Release()
	require.Equal(t, "a", next(t, p).Name(), "still one at a time")
	require.False(t, trial.MarkSuccess(), "it gave its trial back")
	require.Equal(t, "c", next(t, p).Name())
	keyOf(t, p, "a").Reset()
	require.Equal(t, "a", next(t, p).Name())

	p.Mark(keyOf(t, p, "b"), outOfCredit, "")
	advance(t, clk, 10*time.Minute)
	require.True(t, next(t, p).MarkSuccess(), "a's success is b's")
	require.Equal(t, "a", next(t, p).Name())
	require.Equal(t, "b", next(t, p, trial.ID()).Name())
	p.Mark(trial, outOfCredit, "")
	require.Equal(t, clk.Now().Add(10*time.Minute), p.Snapshot()[0].Until, "the wait begins anew")
}

func TestBillingOfAKeyWithoutGroup(t *testing.T) {
	p, _ := newPool(t, nil, "a", "b")
	p.Mark(next(t, p), outOfCredit, "")
	require.Equal(t, []keypool.State{keypool.Temporary, keypool.Valid}, states(p))
}

func TestBillingHintIsHeardUpToItsMaximum(t *testing.T) {
	p, clk := newPool(t, nil, "a")
	v := outOfCredit
	v.Cooldown = 5 * time.Hour
	require.Equal(t, clk.Now().Add(5*time.Hour), p.Mark(next(t, p), v, "").Until)
	v.Cooldown = 50 * time.Hour
	require.Equal(t, clk.Now().Add(24*time.Hour), p.Mark(keyOf(t, p, "a"), v, "").Until)
}

func TestBillingFollowsTheGroupOverAReload(t *testing.T) {
	for _, tc := range []struct {
		name          string
		before, after [2]string // groups of a and b; a is out of credit
		want          []keypool.State
	}{
		{"unchanged", [2]string{"x", "x"}, [2]string{"x", "x"}, []keypool.State{keypool.Temporary, keypool.Temporary}},
		{"no groups", [2]string{"", ""}, [2]string{"", ""}, []keypool.State{keypool.Temporary, keypool.Valid}},
		{"renamed", [2]string{"x", "x"}, [2]string{"y", "y"}, []keypool.State{keypool.Temporary, keypool.Temporary}},
		{"put together", [2]string{"", ""}, [2]string{"y", "y"}, []keypool.State{keypool.Temporary, keypool.Temporary}},
		{"taken apart", [2]string{"x", "x"}, [2]string{"", ""}, []keypool.State{keypool.Temporary, keypool.Temporary}},
		{"moved to a group that has credit", [2]string{"x", "y"}, [2]string{"y", "y"}, []keypool.State{keypool.Valid, keypool.Valid}},
		{"another joins", [2]string{"x", "y"}, [2]string{"x", "x"}, []keypool.State{keypool.Temporary, keypool.Temporary}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			group := func(g [2]string) func(*keypool.Config) {
				return func(c *keypool.Config) { c.Keys[0].Group, c.Keys[1].Group = g[0], g[1] }
			}
			p, _ := newPool(t, group(tc.before), "a", "b")
			p.Mark(next(t, p), outOfCredit, "")
			cfg := configOf("a", "b")
			group(tc.after)(&cfg)
			require.NoError(t, p.Reload(cfg))
			require.Equal(t, tc.want, states(p))
		})
	}
}
