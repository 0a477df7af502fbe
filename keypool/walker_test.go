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
func retired(_ *keypool.Pool, k *keypool.Key)  { k.MarkPermanent() }
func disabled(_ *keypool.Pool, k *keypool.Key) { k.Disable() }
func broke(p *keypool.Pool, k *keypool.Key)    { p.Mark(k, outOfCredit, "") }
func rested(d time.Duration) fate {
	return func(_ *keypool.Pool, k *keypool.Key) { k.MarkTemporary(d) }
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
	b.MarkTemporary(7 * time.Second)
	_, kerr := p.Walker(a.ID()).Next()
	require.Equal(t, keypool.Error{Kind: keypool.RateLimited}, *kerr, "a is valid, only tried")
	a.MarkTemporary(3 * time.Second)
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
		k.MarkTemporary(time.Minute)
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

func TestStoryRevival(t *testing.T) {
	p, clk := newPool(t, nil, "a", "b")
	next(t, p).MarkPermanent()
	require.Equal(t, "b", next(t, p).Name())

	advance(t, clk, 15*time.Minute)
	trial := p.Walker()
	a, _ := trial.Next()
	require.Equal(t, "a", a.Name(), "one real request tries it")
	require.Equal(t, keypool.Permanent, a.State(), "until it succeeds")
	require.Equal(t, "b", next(t, p).Name(), "one only")

	require.False(t, a.MarkPermanent(), "it fails again")
	for wait := 30 * time.Minute; wait < 48*time.Hour; wait *= 2 {
		wait := min(wait, 24*time.Hour)
		advance(t, clk, wait-time.Second)
		require.Equal(t, "b", next(t, p).Name(), "not before %v", wait)
		advance(t, clk, time.Second)
		a = next(t, p)
		require.Equal(t, "a", a.Name(), "after %v", wait)
		a.MarkPermanent()
	}

	advance(t, clk, 24*time.Hour)
	require.True(t, next(t, p).MarkSuccess())
	require.Equal(t, keypool.Valid, a.State())
	require.EqualValues(t, 1, p.Snapshot()[0].Revivals)
	require.True(t, next(t, p).MarkPermanent())
	advance(t, clk, 15*time.Minute)
	require.Equal(t, "a", next(t, p).Name(), "the wait begins anew")
}

func TestStoryTrialWithoutAnswer(t *testing.T) {
	p, clk := newPool(t, nil, "a")
	next(t, p).MarkPermanent()
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
	before.MarkPermanent()
	advance(t, clk, 15*time.Minute)
	trial := next(t, p)
	require.False(t, before.MarkSuccess())
	require.False(t, before.MarkPermanent())
	require.False(t, before.MarkTemporary(time.Hour))
	s := p.Snapshot()[0]
	require.True(t, s.Reserved)
	require.Equal(t, clk.Now(), s.ReviveAt, "the wait did not double")
	require.True(t, trial.MarkSuccess())
}

func TestTrialThatIsRateLimited(t *testing.T) {
	p, clk := newPool(t, nil, "a")
	next(t, p).MarkPermanent()
	advance(t, clk, 15*time.Minute)
	require.False(t, next(t, p).MarkTemporary(5*time.Minute))
	require.Equal(t, []keypool.State{keypool.Permanent}, p.PoolState())
	advance(t, clk, 5*time.Minute-1)
	_, kerr := p.Walker().Next()
	require.Equal(t, keypool.AuthFailed, kerr.Kind, "the next trial waits as the provider asked")
	advance(t, clk, 1)
	require.True(t, next(t, p).MarkSuccess())
}

func TestNextGivesBackTheTrialBeforeIt(t *testing.T) {
	p, clk := newPool(t, nil, "a", "b")
	next(t, p).MarkPermanent()
	advance(t, clk, 15*time.Minute)
	w := p.Walker()
	a, _ := w.Next() // the answer was surfaced as nobody's fault, say
	_, kerr := w.Next()
	require.Nil(t, kerr)
	require.False(t, p.Snapshot()[0].Reserved)
	require.Equal(t, a.ID(), next(t, p).ID())
}

func TestReviveNever(t *testing.T) {
	p, clk := newPool(t, func(c *keypool.Config) { c.ReviveAfter = 0 }, "a")
	next(t, p).MarkPermanent()
	advance(t, clk, 365*24*time.Hour)
	_, kerr := p.Walker().Next()
	require.Equal(t, keypool.AuthFailed, kerr.Kind)
	require.Zero(t, p.Snapshot()[0].ReviveAt)
	keyOf(t, p, "a").Reset()
	next(t, p)
}

func TestStoryBilling(t *testing.T) {
	org := func(c *keypool.Config) { c.Keys[0].Group, c.Keys[1].Group = "org1", "org1" }
	p, clk := newPool(t, org, "a", "b", "c")
	one, two := next(t, p), next(t, p) // two requests at once
	require.True(t, p.Mark(one, outOfCredit, "").Changed)
	require.False(t, p.Mark(two, outOfCredit, "").Changed)
	require.Equal(t, []keypool.State{keypool.Temporary, keypool.Temporary, keypool.Valid}, p.PoolState(), "the group rests")
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
	require.Equal(t, []keypool.State{keypool.Temporary, keypool.Valid}, p.PoolState())
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
			require.Equal(t, tc.want, p.PoolState())
		})
	}
}

func TestMarkByScope(t *testing.T) {
	for _, tc := range []struct {
		name  string
		v     keypool.Verdict
		model string
		want  keypool.State
		rest  time.Duration // of the key, or of the key for the model
		parks bool
	}{
		{"surface", keypool.Verdict{Class: keypool.CallerFault}, "m", keypool.Valid, 0, false},
		{"next key without blame", keypool.Verdict{Class: keypool.Transient, Action: keypool.NextKey}, "m", keypool.Valid, 0, false},
		{"next key, parked", noModel(0), "m", keypool.Valid, time.Minute, true},
		{"next key, parked as long as told", noModel(2 * time.Minute), "m", keypool.Valid, 2 * time.Minute, true},
		{"next key, model not known", noModel(0), "", keypool.Valid, 0, false},
		{
			"cooldown for a model that is gone, not known which", keypool.Verdict{
				Class: keypool.ModelGone, Action: keypool.CoolDown, Scope: keypool.ScopeKeyModel,
			}, "", keypool.Valid, 0, false,
		},
		{
			"a model's quota", keypool.Verdict{Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeKeyModel}, "m",
			keypool.Valid, 10 * time.Minute, true,
		},
		{
			"a model's quota, not known which", keypool.Verdict{
				Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeKeyModel,
			}, "", keypool.Temporary, 10 * time.Minute, false,
		},
		{
			"the key's own quota", keypool.Verdict{Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeKey}, "",
			keypool.Temporary, 10 * time.Minute, false,
		},
		{
			"the key's own quota, told how long", keypool.Verdict{
				Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: 2 * time.Second,
			}, "", keypool.Temporary, 2 * time.Second, false,
		},
		{"retire", keypool.Verdict{Class: keypool.Credential, Action: keypool.Retire, Scope: keypool.ScopeKey}, "m", keypool.Permanent, 15 * time.Minute, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, clk := newPool(t, nil, "a")
			var until time.Time
			if tc.rest > 0 {
				until = clk.Now().Add(tc.rest)
			}
			tr := p.Mark(next(t, p), tc.v, tc.model)
			require.Equal(t, keypool.Transition{Changed: tc.want != keypool.Valid, To: tc.want, Until: until}, tr)
			require.Equal(t, tc.parks, len(p.Snapshot()[0].Parked) == 1)
		})
	}
}

func TestParkingIsBounded(t *testing.T) {
	p, clk := newPool(t, nil, "a")
	k := next(t, p)
	for i := range 100 {
		p.Mark(k, noModel(time.Duration(i+1)*time.Second), fmt.Sprintf("m%d", i))
	}
	parked := p.Snapshot()[0].Parked
	require.Len(t, parked, 64)
	require.Equal(t, "m36", parked[0].Model, "those that end first went")
	p.Mark(k, noModel(time.Second), "m99")
	require.Equal(t, clk.Now().Add(100*time.Second), p.Snapshot()[0].Parked[63].Until, "the longer deadline stays")
	advance(t, clk, 99*time.Second)
	p.Mark(k, noModel(time.Second), "new")
	require.Len(t, p.Snapshot()[0].Parked, 2)
	p.Mark(k, noModel(time.Second), string(make([]byte, 300)))
	require.Len(t, p.Snapshot()[0].Parked, 2, "no client fills memory with the name of a model")
}
