package keypool_test

import (
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// newPool returns a pool of keys named as their secrets, which change may alter, and its clock.
func newPool(t *testing.T, change func(*keypool.Config), names ...string) (*keypool.Pool, *quartz.Mock) {
	t.Helper()
	clk := quartz.NewMock(t).WithLogger(quartz.NoOpLogger)
	cfg := configOf(names...)
	if change != nil {
		change(&cfg)
	}
	p, err := keypool.NewPool(cfg, clk)
	require.NoError(t, err)
	return p, clk
}

func configOf(names ...string) keypool.Config {
	cfg := keypool.Defaults()
	cfg.Name = "openai"
	for _, n := range names {
		cfg.Keys = append(cfg.Keys, keypool.KeyConfig{Name: n, Secret: n})
	}
	return cfg
}

func keyOf(t *testing.T, p *keypool.Pool, name string) *keypool.Key {
	t.Helper()
	k, ok := p.Key(name)
	require.True(t, ok, "key %s", name)
	return k
}

func advance(t *testing.T, clk *quartz.Mock, d time.Duration) {
	t.Helper()
	clk.Advance(d).MustWait(t.Context())
}

// next takes the next key of a fresh walker.
func next(t *testing.T, p *keypool.Pool, tried ...string) *keypool.Key {
	t.Helper()
	k, err := p.Walker(tried...).Next()
	require.Nil(t, err)
	return k
}

func TestNew(t *testing.T) {
	for _, tc := range []struct {
		name string
		keys []string
		want error
	}{
		{"nil", nil, keypool.ErrNoKeys},
		{"empty", []string{}, keypool.ErrNoKeys},
		{"one", []string{"a"}, nil},
		{"several", []string{"a", "b", "c"}, nil},
		{"empty string is a key", []string{""}, nil},
		{"not trimmed", []string{"a", "a "}, nil},
		{"duplicate", []string{"a", "b", "a"}, keypool.ErrDuplicateKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := keypool.New(tc.keys, quartz.NewMock(t))
			require.ErrorIs(t, err, tc.want)
			if tc.want != nil {
				require.Nil(t, p)
				return
			}
			want := make([]keypool.State, len(tc.keys)) // Valid
			require.Equal(t, want, states(p))
		})
	}
}

func TestNewPoolNamesEveryFault(t *testing.T) {
	cfg := configOf("sk-one-secret", "b", "sk-one-secret")
	cfg.Keys[0].Name, cfg.Keys[2].Name = "b", ""
	cfg.ReviveAfter = -2
	cfg.Cooldown = keypool.Cooldown{Billing: -1, Default: -1}
	cfg.Policy = keypool.Policy{Preset: 9, Rules: []keypool.Rule{
		{Status: 200, Code: "[", Action: 9},
		{Action: keypool.Surface, For: time.Second},
		{Status: 403, Action: keypool.CoolDown, For: -1},
		{Code: "a", Message: "("},
		{Status: 429},
		{Status: 429, Code: "late"},
	}}
	_, err := keypool.NewPool(cfg, quartz.NewMock(t))
	require.EqualError(t, cfg.Validate(), err.Error())
	require.ErrorIs(t, err, keypool.ErrDuplicateKey)
	require.NotContains(t, err.Error(), "sk-one-secret")
	for _, want := range []string{
		`keys[1]: "b": duplicate name of keys[0] "b"; remove one`,
		`keys[2]: "openai-3": duplicate key of keys[0] "b"; remove one`,
		"policy.preset: found 9; write strict or lenient",
		"policy.rules[0].status: found 200; write at least 400",
		`policy.rules[0].code: found "["`,
		"policy.rules[0].action: found 9",
		"policy.rules[1]: would match every answer",
		"policy.rules[1].for: says how long a key rests, and the action is surface",
		"policy.rules[2].for: found -1ns; write at least 1ms",
		"policy.rules[3].message: error parsing regexp",
		"policy.rules[5]: is never reached: rules[4] matches the same answers first",
		"cooldown.default: found -1ns; write at least 1ms",
		"cooldown.billing: found -1ns; write at least 1ms",
		"revive_after: found -2ns; write at least 1ms",
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestTimesThatContradictEachOther(t *testing.T) {
	for want, change := range map[string]func(*keypool.Config){
		"": func(c *keypool.Config) { c.Cooldown, c.ReviveAfter = keypool.Cooldown{Min: -1}, keypool.Never },
		"cooldown.max: min (2h) is longer than max (1h)":                       func(c *keypool.Config) { c.Cooldown.Min = 2 * time.Hour },
		"cooldown.default: min (2m) is longer than default (1m)":               func(c *keypool.Config) { c.Cooldown.Min = 2 * time.Minute },
		"cooldown.max: default (2h) is longer than max (1h)":                   func(c *keypool.Config) { c.Cooldown.Default = 2 * time.Hour },
		"cooldown.billing_max: billing (48h) is longer than billing_max (24h)": func(c *keypool.Config) { c.Cooldown.Billing = 48 * time.Hour },
		"revive_max: found 24h; write at least 48h":                            func(c *keypool.Config) { c.ReviveAfter = 48 * time.Hour },
		"cooldown.max: found 720h0m0.000000001s; write at most 720h":           func(c *keypool.Config) { c.Cooldown.Max = keypool.LongestTime + 1 },
	} {
		cfg := configOf("a")
		change(&cfg)
		if want == "" {
			require.NoError(t, cfg.Validate())
		} else {
			require.ErrorContains(t, cfg.Validate(), want)
		}
	}
}

func TestCooldownDefaultsStayWithinTheBoundsGiven(t *testing.T) {
	for _, tc := range []struct {
		name  string
		given keypool.Cooldown
		hint  time.Duration
		want  time.Duration
	}{
		{"all defaults, no hint", keypool.Cooldown{}, 0, time.Minute},
		{"all defaults, tiny hint", keypool.Cooldown{}, 1, time.Second},
		{"all defaults, huge hint", keypool.Cooldown{}, 24 * time.Hour, time.Hour},
		{"default above max", keypool.Cooldown{Max: 30 * time.Second}, 0, 30 * time.Second},
		{"default below min", keypool.Cooldown{Min: 2 * time.Minute}, 0, 2 * time.Minute},
		{"min above the default max", keypool.Cooldown{Min: 2 * time.Hour}, time.Hour, 2 * time.Hour},
		{"max below the default min", keypool.Cooldown{Max: time.Millisecond}, time.Hour, time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, clk := newPool(t, func(c *keypool.Config) { c.Cooldown = tc.given }, "a")
			start := clk.Now()
			tr := p.Mark(keyOf(t, p, "a"), keypool.Verdict{Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: tc.hint}, "")
			require.Equal(t, tc.want, tr.Until.Sub(start))
		})
	}
}

func TestState(t *testing.T) {
	for _, tc := range []struct {
		name string
		mark func(*keypool.Key)
		wait time.Duration
		want keypool.State
	}{
		{"valid", func(*keypool.Key) {}, 0, keypool.Valid},
		{"in cooldown", func(k *keypool.Key) { restKey(k, 5*time.Second) }, 5*time.Second - 1, keypool.Temporary},
		{"valid at exactly the deadline", func(k *keypool.Key) { restKey(k, 5*time.Second) }, 5 * time.Second, keypool.Valid},
		{"default cooldown still runs", func(k *keypool.Key) { restKey(k, 0) }, 50 * time.Second, keypool.Temporary},
		{"default cooldown over", func(k *keypool.Key) { restKey(k, 0) }, 65 * time.Second, keypool.Valid},
		{"negative means default", func(k *keypool.Key) { restKey(k, -time.Second) }, 59 * time.Second, keypool.Temporary},
		{"permanent", func(k *keypool.Key) { retireKey(k) }, 48 * time.Hour, keypool.Permanent},
		{
			"permanent wins over a cooldown", func(k *keypool.Key) { restKey(k, time.Second); retireKey(k) },
			time.Minute, keypool.Permanent,
		},
		{"disabled wins over permanent", func(k *keypool.Key) { retireKey(k); k.Disable() }, 0, keypool.Disabled},
		{"enable shows what was underneath", func(k *keypool.Key) { k.Disable(); retireKey(k); k.Enable() }, 0, keypool.Permanent},
		{"reset forgets", func(k *keypool.Key) { restKey(k, 0); retireKey(k); k.Reset() }, 0, keypool.Valid},
		{"reset does not enable", func(k *keypool.Key) { k.Disable(); k.Reset() }, 0, keypool.Disabled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, clk := newPool(t, nil, "a")
			k := next(t, p)
			tc.mark(k)
			advance(t, clk, tc.wait)
			require.Equal(t, tc.want, k.State())
			require.Equal(t, []keypool.State{tc.want}, states(p))
			var counts [4]int
			counts[tc.want] = 1
			require.Equal(t, counts, p.Counts())
		})
	}
}

func TestMarkTemporary(t *testing.T) {
	p, clk := newPool(t, nil, "a")
	k := next(t, p)
	require.True(t, restKey(k, 10*time.Second), "valid to temporary")
	require.False(t, restKey(k, 20*time.Second), "extends")
	require.False(t, restKey(k, 5*time.Second), "a shorter one keeps the longer")
	advance(t, clk, 19*time.Second)
	require.Equal(t, keypool.Temporary, k.State())
	advance(t, clk, time.Second)
	require.Equal(t, keypool.Valid, k.State())
	require.True(t, restKey(k, time.Second), "again")
	retireKey(k)
	require.False(t, restKey(k, time.Second), "permanent: nothing happens")
	require.Equal(t, keypool.Permanent, k.State())
}

func TestMarkPermanent(t *testing.T) {
	p, _ := newPool(t, nil, "a", "b")
	a, b := keyOf(t, p, "a"), keyOf(t, p, "b")
	require.True(t, retireKey(a), "from valid")
	require.False(t, retireKey(a), "again")
	restKey(b, 0)
	require.True(t, retireKey(b), "from temporary")
	require.False(t, a.MarkSuccess(), "an older request's success is no news")
	require.Equal(t, []keypool.State{keypool.Permanent, keypool.Permanent}, states(p))
}

func TestMarksReturnWhetherTheyChangedAnything(t *testing.T) {
	p, _ := newPool(t, nil, "a")
	k := keyOf(t, p, "a")
	require.False(t, k.Enable())
	require.True(t, k.Disable())
	require.False(t, k.Disable())
	require.False(t, restKey(k, 0), "the state stays Disabled")
	require.False(t, retireKey(k))
	require.True(t, k.Enable())
	require.Equal(t, keypool.Permanent, k.State(), "what happened meanwhile was kept")
	require.True(t, k.Reset())
	require.False(t, k.Reset())
}

func TestMarkOfAnotherPoolsKeyDoesNothing(t *testing.T) {
	p, _ := newPool(t, nil, "a")
	q, _ := newPool(t, nil, "a")
	k := keyOf(t, q, "a")
	require.Zero(t, p.Mark(k, keypool.Verdict{Action: keypool.Retire}, ""))
	require.Equal(t, keypool.Valid, k.State())
}

func TestNoClockIsTheRealOne(t *testing.T) {
	p, err := keypool.New([]string{"a"}, nil)
	require.NoError(t, err)
	k := next(t, p)
	restKey(k, time.Hour)
	require.Equal(t, keypool.Temporary, k.State())
	require.WithinDuration(t, time.Now().Add(time.Hour), p.Snapshot()[0].Until, time.Minute)
}

func TestReloadKeepsWhatIsKnown(t *testing.T) {
	p, clk := newPool(t, nil, "a", "b", "c", "d")
	a, b := keyOf(t, p, "a"), keyOf(t, p, "b")
	restKey(a, time.Minute)
	retireKey(b)
	keyOf(t, p, "c").Disable()
	w := p.Walker()

	cfg := configOf("e", "c", "b", "a")
	cfg.Keys[3].Name, cfg.Keys[3].Group = "first", "org1"
	require.NoError(t, p.Reload(cfg))

	require.Equal(t, "openai", p.Name())
	require.Equal(t, []keypool.State{keypool.Valid, keypool.Disabled, keypool.Permanent, keypool.Temporary}, states(p))
	require.Same(t, a, keyOf(t, p, "first"))
	require.Equal(t, "first", a.Name())
	require.Equal(t, "org1", p.Snapshot()[3].Group)
	_, ok := p.Key("d")
	require.False(t, ok)

	d, kerr := w.Next()
	require.Nil(t, kerr)
	require.Equal(t, "d", d.Name(), "a walker at work keeps the keys it began with")
	require.True(t, restKey(d, 0), "a key that left may still be marked")
	require.Equal(t, "e", next(t, p).Name())

	require.Error(t, p.Reload(keypool.Config{}))
	require.Len(t, states(p), 4, "a bad configuration changes nothing")
	advance(t, clk, time.Minute)
	require.Equal(t, keypool.Valid, a.State())
}

func TestReloadOfReviveAfter(t *testing.T) {
	never := func(c *keypool.Config) { c.ReviveAfter = keypool.Never }
	p, clk := newPool(t, never, "a")
	retireKey(next(t, p))
	advance(t, clk, 48*time.Hour)
	_, kerr := p.Walker().Next()
	require.Equal(t, keypool.AuthFailed, kerr.Kind)

	require.NoError(t, p.Reload(configOf("a")))
	require.Equal(t, clk.Now().Add(15*time.Minute), p.Snapshot()[0].ReviveAt, "now it is tried again, counted from here")
	advance(t, clk, 15*time.Minute)
	next(t, p)

	cfg := configOf("a")
	never(&cfg)
	require.NoError(t, p.Reload(cfg))
	_, kerr = p.Walker().Next()
	require.Equal(t, keypool.AuthFailed, kerr.Kind)
}

func TestID(t *testing.T) {
	id := func(secret, key string) string {
		p, _ := newPool(t, func(c *keypool.Config) { c.Secret, c.Name = []byte(secret), secret }, key)
		return keyOf(t, p, key).ID()
	}
	require.Len(t, id("", "k0-long-key"), 16)
	require.Equal(t, id("", "k0-long-key"), id("", "k0-long-key"), "equal on every replica")
	require.NotEqual(t, id("", "k0-long-key"), id("", "k1-long-key"))
	require.NotEqual(t, id("", "k0-long-key"), id("s", "k0-long-key"))
}

func TestSnapshot(t *testing.T) {
	p, clk := newPool(t, func(c *keypool.Config) { c.Keys[0].Group = "org" }, "k0-long-key", "b", "c", "d")
	start := clk.Now()
	a, b, c := keyOf(t, p, "k0-long-key"), keyOf(t, p, "b"), keyOf(t, p, "c")
	p.Mark(a, keypool.Verdict{Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeGroup}, "")
	retireKey(b)
	p.Mark(c, keypool.Verdict{Class: keypool.ModelGone, Action: keypool.NextKey, Scope: keypool.ScopeKeyModel, Cooldown: time.Hour}, "m")
	next(t, p)

	require.Equal(t, []keypool.KeyStatus{
		{
			Name: "k0-long-key", Hint: "k0...ey", ID: a.ID(), Group: "org", State: keypool.Temporary, Reason: keypool.Quota,
			Until: start.Add(10 * time.Minute), Cooldowns: 1,
		},
		{
			Name: "b", Hint: "...", ID: b.ID(), State: keypool.Permanent, Reason: keypool.Credential,
			ReviveAt: start.Add(15 * time.Minute), Retirements: 1,
		},
		{
			Name: "c", Hint: "...", ID: c.ID(), Chosen: 1,
			Parked: []keypool.Parked{{Model: "m", Reason: keypool.ModelGone, Until: start.Add(time.Hour)}},
		},
		{Name: "d", Hint: "...", ID: keyOf(t, p, "d").ID()},
	}, p.Snapshot())

	advance(t, clk, time.Hour)
	trial := next(t, p)
	s := p.Snapshot()
	require.Equal(t, "k0-long-key", trial.Name())
	require.True(t, s[0].Probation)
	require.True(t, s[0].Reserved)
	require.Equal(t, keypool.Valid, s[0].State)
	require.Zero(t, s[0].Until)
	require.True(t, s[1].Probation)
	require.False(t, s[1].Reserved)
	require.Empty(t, s[2].Parked)
}

// restKey gives a key a rest, as a rate limit does.
func restKey(k *keypool.Key, d time.Duration) bool {
	return keypool.PoolOf(k).Mark(k, keypool.Verdict{Class: keypool.RateLimit, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: d}, "").Changed
}

// retireKey retires a key, as a 401 does.
func retireKey(k *keypool.Key) bool { return keypool.PoolOf(k).Mark(k, refused(""), "").Changed }

func refused(code string) keypool.Verdict {
	return keypool.Verdict{Class: keypool.Credential, Action: keypool.Retire, Scope: keypool.ScopeKey, Code: code}
}

// states are those of the keys, in order of priority.
func states(p *keypool.Pool) (all []keypool.State) {
	for _, s := range p.Snapshot() {
		all = append(all, s.State)
	}
	return all
}
