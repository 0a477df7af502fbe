package keypool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

func TestStoryRevival(t *testing.T) {
	p, clk := newPool(t, nil, "a", "b")
	retireKey(next(t, p))
	require.Equal(t, "b", next(t, p).Name())

	advance(t, clk, 15*time.Minute)
	trial := p.Walker()
	a, _ := trial.Next()
	require.Equal(t, "a", a.Name(), "one real request tries it")
	require.Equal(t, keypool.Permanent, a.State(), "until it succeeds")
	require.Equal(t, "b", next(t, p).Name(), "one only")

	require.False(t, retireKey(a), "it fails again")
	for wait := 30 * time.Minute; wait < 48*time.Hour; wait *= 2 {
		due := min(wait, 24*time.Hour)
		advance(t, clk, due-time.Second)
		require.Equal(t, "b", next(t, p).Name(), "not before %v", due)
		advance(t, clk, time.Second)
		a = next(t, p)
		require.Equal(t, "a", a.Name(), "after %v", due)
		retireKey(a)
	}

	advance(t, clk, 24*time.Hour)
	require.True(t, next(t, p).MarkSuccess())
	require.Equal(t, keypool.Valid, a.State())
	require.EqualValues(t, 1, p.Snapshot()[0].Revivals)
	require.True(t, retireKey(next(t, p)))
	advance(t, clk, 15*time.Minute)
	require.Equal(t, "a", next(t, p).Name(), "the wait begins anew")
}

func TestStoryTrialWithoutAnswer(t *testing.T) {
	p, clk := newPool(t, nil, "a")
	retireKey(next(t, p))
	advance(t, clk, 15*time.Minute)

	old := p.Walker()
	_, kerr := old.Next()
	require.Nil(t, kerr)
	_, kerr = p.Walker().Next()
	require.Equal(t, keypool.Error{Kind: keypool.RateLimited, RetryAfter: time.Second, Reason: keypool.Credential}, *kerr,
		"another request tries it: soon one knows more")
	old.Release() // the client went away
	old.Release()

	young := p.Walker()
	k, kerr := young.Next()
	require.Nil(t, kerr)
	old.Release()
	_, kerr = p.Walker().Next()
	require.NotNil(t, kerr, "a late Release does not free the newer trial")
	require.True(t, k.MarkSuccess())
	young.Release()
	require.Equal(t, keypool.Valid, k.State())
	require.False(t, k.MarkSuccess(), "once")
}

func TestTrialsEndOnlyByTheirOwnRequest(t *testing.T) {
	p, clk := newPool(t, nil, "a")
	before := next(t, p) // a stream that began before the key was retired
	retireKey(before)
	advance(t, clk, 15*time.Minute)
	trial := next(t, p)
	require.False(t, before.MarkSuccess())
	require.False(t, retireKey(before))
	require.False(t, restKey(before, time.Hour))
	s := p.Snapshot()[0]
	require.True(t, s.Reserved)
	require.Equal(t, clk.Now(), s.ReviveAt, "the wait did not double")
	require.True(t, trial.MarkSuccess())
}

func TestTrialThatIsRateLimited(t *testing.T) {
	p, clk := newPool(t, nil, "a")
	retireKey(next(t, p))
	advance(t, clk, 15*time.Minute)
	require.False(t, restKey(next(t, p), 5*time.Minute))
	require.Equal(t, []keypool.State{keypool.Permanent}, states(p))
	advance(t, clk, 5*time.Minute-1)
	_, kerr := p.Walker().Next()
	require.Equal(t, keypool.AuthFailed, kerr.Kind, "the next trial waits as the provider asked")
	advance(t, clk, 1)
	require.True(t, next(t, p).MarkSuccess())
}

// A walker's own trial does not stand in its way to another key of the group: it gives it back first.
func TestPeekFromATrial(t *testing.T) {
	org := func(c *keypool.Config) { c.Keys[0].Group, c.Keys[1].Group = "org", "org" }
	p, clk := newPool(t, org, "a", "b")
	broke(p, keyOf(t, p, "a"))
	advance(t, clk, 10*time.Minute)
	w := p.Walker()
	a, _ := w.Next()
	b, kerr := w.Peek()
	require.Nil(t, kerr)
	require.Equal(t, "b", b.Name())
	_, kerr = p.Walker(a.ID()).Peek()
	require.Equal(t, keypool.Error{Kind: keypool.RateLimited, RetryAfter: time.Second, Reason: keypool.Quota}, *kerr)
	w.Release()
	require.Equal(t, "b", next(t, p, a.ID()).Name())
}

func TestNextGivesBackTheTrialBeforeIt(t *testing.T) {
	p, clk := newPool(t, nil, "a", "b")
	retireKey(next(t, p))
	advance(t, clk, 15*time.Minute)
	w := p.Walker()
	a, _ := w.Next() // the answer was surfaced as nobody's fault, say
	_, kerr := w.Next()
	require.Nil(t, kerr)
	require.False(t, p.Snapshot()[0].Reserved)
	require.Equal(t, a.ID(), next(t, p).ID())
}

func TestReviveNever(t *testing.T) {
	p, clk := newPool(t, func(c *keypool.Config) { c.ReviveAfter = keypool.Never }, "a")
	retireKey(next(t, p))
	advance(t, clk, 365*24*time.Hour)
	_, kerr := p.Walker().Next()
	require.Equal(t, keypool.AuthFailed, kerr.Kind)
	require.Zero(t, p.Snapshot()[0].ReviveAt)
	keyOf(t, p, "a").Reset()
	next(t, p)
}
