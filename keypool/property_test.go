package keypool_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// TestRandomSteps does the same random things to a pool and to slowPool and compares, after each, all that can be seen from outside.
func TestRandomSteps(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			newSteps(t, rand.New(rand.NewPCG(seed, 1))).run(200)
		})
	}
}

// steps drives the two pools side by side.
type steps struct {
	t        *testing.T
	rnd      *rand.Rand
	clk      *quartz.Mock
	start    time.Time
	cfg      keypool.Config
	fast     *keypool.Pool
	slow     *slowPool
	requests []*request
	trail    []string
}

// request is a walker of each kind and the key it has in hand.
type request struct {
	fast *keypool.Walker
	slow *slowWalker
	key  *keypool.Key
	hand *slowHandle
}

func newSteps(t *testing.T, rnd *rand.Rand) *steps {
	s := &steps{t: t, rnd: rnd, clk: quartz.NewMock(t).WithLogger(quartz.NoOpLogger)}
	s.start = s.clk.Now()
	s.cfg = keypool.Defaults()
	s.cfg.ReviveAfter = []time.Duration{keypool.Never, time.Minute, 15 * time.Minute}[rnd.IntN(3)]
	s.cfg.ReviveMax = 4 * max(s.cfg.ReviveAfter, time.Minute)
	s.cfg.Cooldown.BillingMax = time.Hour
	s.cfg.Keys = s.keys()
	var err error
	s.fast, err = keypool.NewPool(s.cfg, s.clk)
	require.NoError(t, err)
	s.slow = &slowPool{reviveAfter: s.cfg.ReviveAfter, maxRev: s.cfg.ReviveMax, cooldown: s.cfg.Cooldown}
	s.slow.reload(s.cfg)
	return s
}

// keys draws one to five of six keys, in any order and grouping.
func (s *steps) keys() []keypool.KeyConfig {
	var keys []keypool.KeyConfig
	for _, i := range s.rnd.Perm(6)[:1+s.rnd.IntN(5)] {
		name := fmt.Sprintf("k%d", i)
		keys = append(keys, keypool.KeyConfig{Name: name, Secret: name, Group: []string{"", "", "x", "y"}[s.rnd.IntN(4)]})
	}
	return keys
}

func (s *steps) run(n int) {
	for range n {
		switch s.rnd.IntN(12) {
		case 0, 1, 2:
			s.begin()
		case 3:
			s.again()
		case 4, 5, 6:
			s.mark()
		case 7:
			s.succeed()
		case 8:
			s.end()
		case 9, 10:
			s.advance()
		case 11:
			s.administer()
		}
		s.compare()
	}
}

func (s *steps) note(format string, args ...any) {
	s.trail = append(s.trail, fmt.Sprintf(format, args...))
}

func (s *steps) advance() {
	d := []time.Duration{1, time.Second, 59 * time.Second, time.Minute, 10 * time.Minute, 15 * time.Minute, time.Hour}[s.rnd.IntN(7)]
	s.note("advance %v", d)
	advance(s.t, s.clk, d)
	s.slow.now += d
}

// begin starts a request, having tried some keys.
func (s *steps) begin() {
	slow := &slowWalker{
		keys: s.slow.keys, model: []string{"", "", "m", "n"}[s.rnd.IntN(4)], group: s.rnd.IntN(5) == 0,
	}
	var ids []string
	for _, k := range slow.keys {
		slow.accounts = append(slow.accounts, k.account)
		if s.rnd.IntN(5) == 0 {
			slow.tried = append(slow.tried, k.name)
			ids = append(ids, keyOf(s.t, s.fast, k.name).ID())
		}
	}
	r := &request{slow: slow, fast: s.fast.Walker(ids...).For(slow.model)}
	if slow.group {
		r.fast.WithinFirstGroup()
	}
	s.requests = append(s.requests, r)
	s.note("begin %d, tried %v, model %q, group %v", len(s.requests)-1, slow.tried, slow.model, slow.group)
	s.take(r)
}

func (s *steps) take(r *request) {
	peeked, perr := r.fast.Peek()
	key, kerr := r.fast.Next()
	hand, kind, wait := s.slow.next(r.slow)
	r.key, r.hand = key, hand
	if hand == nil {
		s.same(kerr != nil && kerr.Kind == kind && kerr.RetryAfter == wait, "want no key: %v after %v, got %v %+v", kind, wait, key, kerr)
		s.same(perr != nil && *perr == *kerr, "Peek says %+v, Next %+v", perr, kerr)
		return
	}
	s.same(kerr == nil && key.Name() == hand.key.name, "want %s, got %v %v", hand.key.name, key, kerr)
	s.same(perr == nil && peeked.ID() == key.ID(), "Peek says %v %v, Next %v", peeked, perr, key)
}

// some picks a request that has a key in hand.
func (s *steps) some() *request {
	var with []*request
	for _, r := range s.requests {
		if r.hand != nil {
			with = append(with, r)
		}
	}
	if len(with) == 0 {
		return nil
	}
	return with[s.rnd.IntN(len(with))]
}

func (s *steps) again() {
	if r := s.some(); r != nil {
		s.note("next of %d", slices.Index(s.requests, r))
		s.take(r)
	}
}

func (s *steps) mark() {
	r := s.some()
	if r == nil {
		return
	}
	hint := []time.Duration{0, -1, 1, 3 * time.Second, 5 * time.Minute, 100 * time.Hour}[s.rnd.IntN(6)]
	v := []keypool.Verdict{
		{Class: keypool.RateLimit, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: hint},
		{Class: keypool.Credential, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: hint},
		{Class: keypool.Credential, Action: keypool.Retire, Scope: keypool.ScopeKey},
		{Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeGroup, Cooldown: hint},
		{Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: hint},
		{Class: keypool.ModelGone, Action: keypool.NextKey, Scope: keypool.ScopeKeyModel, Cooldown: hint},
		{Class: keypool.Transient, Action: keypool.NextKey},
		{Class: keypool.CallerFault},
	}[s.rnd.IntN(8)]
	v.Ruled = v.Cooldown > 0 && v.Scope != keypool.ScopeGroup && s.rnd.IntN(3) == 0
	v.Code = []string{"", "", "other"}[s.rnd.IntN(3)]
	model := []string{"", "m"}[s.rnd.IntN(2)]
	before := s.slow.state(r.hand.key)
	s.slow.mark(r.hand, v, model)
	after := s.slow.state(r.hand.key)
	got := s.fast.Mark(r.key, v, model)
	s.note("mark %s of %d: %+v %q", r.hand.key.name, slices.Index(s.requests, r), v, model)
	s.same(got.From == before && got.To == after && got.Changed == (before != after), "want %v to %v, got %+v", before, after, got)
}

func (s *steps) succeed() {
	if r := s.some(); r != nil {
		s.note("success of %s of %d", r.hand.key.name, slices.Index(s.requests, r))
		want := s.slow.success(r.hand)
		s.same(r.key.MarkSuccess() == want, "want success to say %v", want)
	}
}

func (s *steps) end() {
	if len(s.requests) == 0 {
		return
	}
	i := s.rnd.IntN(len(s.requests))
	s.note("release %d", i)
	s.requests[i].fast.Release()
	s.slow.release(s.requests[i].slow.held)
	s.requests[i].slow.held = nil
	if len(s.requests) > 8 {
		s.requests[i].key, s.requests[i].hand = nil, nil
	}
}

func (s *steps) administer() {
	k := s.slow.keys[s.rnd.IntN(len(s.slow.keys))]
	fast := keyOf(s.t, s.fast, k.name)
	switch s.rnd.IntN(5) {
	case 0:
		s.note("disable %s", k.name)
		s.same(fast.Disable() == !k.disabled, "disable")
		k.disabled = true
	case 1, 2:
		s.note("enable %s", k.name)
		s.same(fast.Enable() == k.disabled, "enable")
		k.disabled = false
	case 3:
		s.note("reset %s", k.name)
		fast.Reset()
		s.slow.reset(k)
	case 4:
		s.cfg.Keys = s.keys()
		s.note("reload %v", s.cfg.Keys)
		require.NoError(s.t, s.fast.Reload(s.cfg))
		s.slow.reload(s.cfg)
	}
}

func (s *steps) compare() {
	all, status, counts := states(s.fast), s.fast.Snapshot(), s.fast.Counts()
	s.same(len(status) == len(s.slow.keys), "want %d keys, got %d", len(s.slow.keys), len(status))
	for i, k := range s.slow.keys {
		got, want := status[i], s.slow.state(k)
		s.same(got.Name == k.name && got.State == want && all[i] == want, "want %s %v, got %+v", k.name, want, got)
		counts[want]--

		end := k.restEnd
		if k.account.broke {
			end = max(end, k.account.end)
		}
		s.same(got.Until.Equal(s.at(end)), "%s: want rest until %v, got %v", k.name, s.at(end), got.Until)
		revive := k.reviveAt
		if !k.retired || revive < 0 {
			revive = 0
		}
		s.same(got.ReviveAt.Equal(s.when(revive)), "%s: want revival at %v, got %v", k.name, s.when(revive), got.ReviveAt)
		parked := map[string]time.Time{}
		for _, q := range got.Parked {
			parked[q.Model] = q.Until
		}
		for model, until := range k.parked {
			s.same(parked[model].Equal(s.at(until)), "%s: want parked for %s until %v, got %v", k.name, model, s.at(until), got.Parked)
			delete(parked, model)
		}
		s.same(len(parked) == 0, "%s: parked also for %v", k.name, parked)
		onTrial := k.retired && k.trial != 0 || k.account.broke && k.account.trial != 0
		s.same(got.Reserved == onTrial, "%s: want reserved %v, got %v", k.name, onTrial, got.Reserved)
	}
	s.same(counts == [4]int{}, "counts are off by %v", counts)
}

// at is the time of an instant to come, zero otherwise.
func (s *steps) at(d time.Duration) time.Time {
	if d <= s.slow.now {
		return time.Time{}
	}
	return s.when(d)
}

func (s *steps) when(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return s.start.Add(d)
}

func (s *steps) same(ok bool, format string, args ...any) {
	if ok {
		return
	}
	s.t.Helper()
	for i, line := range s.trail {
		s.t.Logf("%3d %s", i, line)
	}
	require.Failf(s.t, "the pools differ", format, args...)
}
