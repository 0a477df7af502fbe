package keypool_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

var outOfCredit = keypool.Verdict{Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeGroup}

func noModel(d time.Duration) keypool.Verdict {
	return keypool.Verdict{Class: keypool.ModelGone, Action: keypool.NextKey, Scope: keypool.ScopeKeyModel, Cooldown: d}
}

// A key's fate in TestWalker: what happened to it before.
type fate func(*keypool.Pool, *keypool.Key)

func fine(*keypool.Pool, *keypool.Key)         {}
func retired(_ *keypool.Pool, k *keypool.Key)  { retireKey(k) }
func disabled(_ *keypool.Pool, k *keypool.Key) { k.Disable() }
func broke(p *keypool.Pool, k *keypool.Key)    { p.Mark(k, outOfCredit, "") }
func rested(d time.Duration) fate {
	return func(_ *keypool.Pool, k *keypool.Key) { restKey(k, d) }
}

func mistrusted(d time.Duration) fate {
	return func(p *keypool.Pool, k *keypool.Key) {
		p.Mark(k, keypool.Verdict{Class: keypool.Credential, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: d}, "")
	}
}

func parked(d time.Duration) fate {
	return func(p *keypool.Pool, k *keypool.Key) { p.Mark(k, noModel(d), "m") }
}

func TestWalker(t *testing.T) {
	const (
		limited = "all configured keys are rate-limited"
		failed  = "all configured keys failed authentication"
	)
	for _, tc := range []struct {
		name  string
		keys  []fate
		wait  time.Duration
		model string
		want  string // names of the keys handed out, in order
		err   keypool.Error
		text  string
	}{
		{
			name: "in order, each once", keys: []fate{fine, fine, fine},
			want: "k0 k1 k2", err: keypool.Error{Kind: keypool.RateLimited}, text: limited,
		},
		{
			name: "skips temporary, permanent and disabled", keys: []fate{rested(time.Hour), retired, disabled, fine},
			want: "k3", err: keypool.Error{Kind: keypool.RateLimited}, text: limited,
		},
		{
			name: "expiry restores", keys: []fate{rested(5 * time.Second), fine}, wait: 5 * time.Second,
			want: "k0 k1", err: keypool.Error{Kind: keypool.RateLimited}, text: limited,
		},
		{
			name: "all temporary: the smallest wait", keys: []fate{rested(5 * time.Second), rested(3 * time.Second), rested(10 * time.Second)},
			wait: 500 * time.Millisecond,
			err:  keypool.Error{Kind: keypool.RateLimited, RetryAfter: 2500 * time.Millisecond, Reason: keypool.RateLimit},
			text: limited + " (retry after 3s)",
		},
		{
			name: "all permanent", keys: []fate{retired, retired},
			err: keypool.Error{Kind: keypool.AuthFailed, Reason: keypool.Credential}, text: failed,
		},
		{
			name: "permanent and temporary", keys: []fate{retired, rested(time.Minute)},
			err:  keypool.Error{Kind: keypool.RateLimited, RetryAfter: time.Minute, Reason: keypool.Unknown},
			text: limited + " (retry after 1m0s)",
		},
		{
			name: "permanent and resting for the credential", keys: []fate{retired, mistrusted(time.Minute)},
			err: keypool.Error{Kind: keypool.AuthFailed, Reason: keypool.Credential}, text: failed,
		},
		{
			name: "rate limit and resting for the credential", keys: []fate{rested(time.Hour), mistrusted(time.Minute)},
			err:  keypool.Error{Kind: keypool.RateLimited, RetryAfter: time.Minute, Reason: keypool.Unknown},
			text: limited + " (retry after 1m0s)",
		},
		{
			name: "all disabled", keys: []fate{disabled, disabled},
			err: keypool.Error{Kind: keypool.AllDisabled}, text: "all configured keys are disabled; enable one",
		},
		{
			name: "disabled keys do not count", keys: []fate{disabled, retired},
			err: keypool.Error{Kind: keypool.AuthFailed, Reason: keypool.Credential}, text: failed,
		},
		{
			name: "no credit", keys: []fate{broke, broke},
			err:  keypool.Error{Kind: keypool.RateLimited, RetryAfter: 10 * time.Minute, Reason: keypool.Quota},
			text: limited + ": the provider reports no credit, or a spending limit (retry after 10m0s)",
		},
		{
			name: "a parked key serves other models", keys: []fate{parked(time.Hour), fine}, model: "other",
			want: "k0 k1", err: keypool.Error{Kind: keypool.RateLimited, Model: true}, text: limited,
		},
		{
			name: "a parked key serves requests of no known model", keys: []fate{parked(time.Hour)},
			want: "k0", err: keypool.Error{Kind: keypool.RateLimited}, text: limited,
		},
		{
			name: "parking ends", keys: []fate{parked(time.Minute)}, model: "m", wait: time.Minute,
			want: "k0", err: keypool.Error{Kind: keypool.RateLimited, Model: true}, text: limited,
		},
		{
			name: "all parked", keys: []fate{parked(time.Hour), parked(time.Minute), disabled, retired}, model: "m",
			err:  keypool.Error{Kind: keypool.ModelUnavailable, RetryAfter: time.Minute, Reason: keypool.Unknown, Model: true},
			text: "no configured key may use this model (retry after 1m0s)",
		},
		{
			name: "parked and resting: waiting helps", keys: []fate{parked(time.Hour), rested(2 * time.Hour)}, model: "m",
			err:  keypool.Error{Kind: keypool.RateLimited, RetryAfter: time.Hour, Reason: keypool.Unknown, Model: true},
			text: limited + " (retry after 1h0m0s)",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var names []string
			for i := range tc.keys {
				names = append(names, fmt.Sprintf("k%d", i))
			}
			p, clk := newPool(t, nil, names...)
			for i, happen := range tc.keys {
				happen(p, keyOf(t, p, names[i]))
			}
			advance(t, clk, tc.wait)

			w, got := p.Walker().For(tc.model), ""
			for {
				peeked, perr := w.Peek()
				k, kerr := w.Next()
				require.Equal(t, perr, kerr, "Peek says what Next does")
				if kerr != nil {
					require.Equal(t, tc.err, *kerr)
					require.EqualError(t, kerr, tc.text)
					break
				}
				require.Equal(t, peeked.ID(), k.ID())
				got += " " + k.Name()
			}
			require.Equal(t, tc.want, got[min(1, len(got)):])
		})
	}
}

func TestZeroErrorHasAMessage(t *testing.T) {
	require.EqualError(t, &keypool.Error{}, "key pool error")
}

func TestWalkersAreIndependent(t *testing.T) {
	p, _ := newPool(t, nil, "a", "b")
	one, two := p.Walker(), p.Walker()
	k, _ := one.Next()
	require.Equal(t, "a", k.Name())
	k, _ = one.Next()
	require.Equal(t, "b", k.Name())
	k, _ = two.Next()
	require.Equal(t, "a", k.Name())
	require.Equal(t, "b", next(t, p, k.ID()).Name(), "tried keys are left out")
}

func TestTheErrorIsOverThePoolNotOverWhatWasTried(t *testing.T) {
	p, _ := newPool(t, nil, "a", "b")
	a, b := keyOf(t, p, "a"), keyOf(t, p, "b")
	restKey(b, 7*time.Second)
	_, kerr := p.Walker(a.ID()).Next()
	require.Equal(t, keypool.Error{Kind: keypool.RateLimited}, *kerr, "a is valid, only tried")
	restKey(a, 3*time.Second)
	_, kerr = p.Walker(a.ID(), b.ID()).Next()
	require.Equal(t, 3*time.Second, kerr.RetryAfter)
}

func TestWithinFirstGroup(t *testing.T) {
	grouped := func(c *keypool.Config) {
		c.Keys[0].Group, c.Keys[1].Group, c.Keys[2].Group = "org1", "org2", "org1"
	}
	p, _ := newPool(t, grouped, "a", "b", "c", "d")
	w := p.Walker().WithinFirstGroup()
	for _, want := range []string{"a", "c"} {
		k, kerr := w.Next()
		require.Nil(t, kerr)
		require.Equal(t, want, k.Name())
		restKey(k, time.Minute)
	}
	_, kerr := w.Next()
	require.Equal(t, time.Minute, kerr.RetryAfter, "b and d are valid, but are not asked")
	require.ErrorContains(t, kerr, "all configured keys are rate-limited; only the group of the pool's first key was asked")

	p, _ = newPool(t, nil, "a", "b")
	k, _ := p.Walker().WithinFirstGroup().Next()
	_, kerr = p.Walker(k.ID()).WithinFirstGroup().Next()
	require.Equal(t, keypool.RateLimited, kerr.Kind, "keys without a group stand alone")
}

// A failover as the filter does it: an attempt marks its key and asks whether there is another, the next attempt leaves out the first's key.
func TestStoryFailover(t *testing.T) {
	p, clk := newPool(t, nil, "k0", "k1")
	limited := keypool.Classify(p.Policy(), keypool.Answer{Status: 429, Header: header{"retry-after": "60"}.get, Now: clk.Now()})

	first := p.Walker()
	k0, _ := first.Next()
	tr := p.Mark(k0, limited, "")
	require.Equal(t, keypool.Transition{Changed: true, To: keypool.Temporary, Until: clk.Now().Add(time.Minute)}, tr)
	_, kerr := first.Peek()
	require.Nil(t, kerr)
	first.Release()

	k1 := next(t, p, k0.ID())
	require.Equal(t, "k1", k1.Name())
	require.False(t, k1.MarkSuccess())
	require.Equal(t, "k1", next(t, p).Name(), "the second request goes straight to k1")
	advance(t, clk, time.Minute)
	require.Equal(t, "k0", next(t, p).Name())
}
