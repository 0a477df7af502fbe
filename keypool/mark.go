package keypool

import "time"

// Bounds of the models a key is parked for: the model's name comes from the client.
const (
	maxParked     = 64
	maxModelBytes = 256
)

// parking leaves a key out for one model.
type parking struct {
	model string
	until int64
	class Class
}

// Transition is what a Mark did to its key.
type Transition struct {
	Changed  bool // From and To differ
	From, To State
	Alike    bool      // with this key all of the pool have failed, for the same reason and within a minute: look at the way to the provider
	Until    time.Time // when the key, or the key for the model, may be tried again; zero: at once, or never
}

// Mark applies the verdict over an answer to the key that was used, and with it ends the trial that k holds:
//
//   - Retire: the key is Permanent. When k holds the trial of a Permanent key, the wait until the next trial doubles, unless all keys of the pool
//     had failed for the same reason and within a minute.
//   - CoolDown: the key rests for the verdict's cooldown, clamped to the pool's bounds unless a rule named it, or the default; with
//     ScopeKeyModel only for the model; with ScopeGroup the key's whole group rests for the billing cooldown, which doubles when it fails again
//     after a rest.
//   - NextKey and Surface with ScopeKeyModel: like CoolDown. Otherwise nobody is blamed and a trial goes on.
//
// When the model is not known (""), a verdict about a model that this key may not use, or that is gone, is held against nobody: it says nothing
// about the other models. One about a limit of the model rests the key.
func (p *Pool) Mark(k *Key, v Verdict, model string) Transition {
	if k.slot.pool != p {
		return Transition{}
	}
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := k.slot
	if v.blames() {
		s.recent.failedLocked(now, v)
	}
	t := Transition{From: s.stateAt(now)}
	parks := v.Scope == ScopeKeyModel && model != "" && len(model) <= maxModelBytes
	switch {
	case v.Action == Retire:
		p.retireLocked(k, v, now)
	case parks:
		until := now + int64(p.restFor(v))
		s.parkLocked(parking{model, until, v.Class}, now)
		k.resolveLocked()
		t.Until = p.at(until)
	case v.Action != CoolDown, v.Class == ModelAccess, v.Class == ModelGone:
	case v.Scope == ScopeGroup:
		p.chargeLocked(k, v, now)
	default:
		p.restLocked(k, v, now)
	}
	t.To = s.stateAt(now)
	t.Changed = t.From != t.To
	if t.Changed {
		s.countLocked(t.To)
		t.Alike = p.alikeLocked()
	}
	if t.Until.IsZero() {
		t.Until = p.at(s.backAtLocked(now))
	}
	return t
}

func (s *slot) countLocked(to State) {
	switch to {
	case Temporary:
		s.cooldowns++
	case Permanent:
		s.retirements++
	case Valid, Disabled:
	}
}

// backAtLocked is the instant from which the key may be tried, 0 when that is now or never.
func (s *slot) backAtLocked(now int64) int64 {
	at := s.restsUntil()
	if s.retired.Load() {
		if s.reviveAt.Load() == 0 {
			return 0
		}
		at = max(at, s.reviveAt.Load())
	}
	if at <= now {
		return 0
	}
	return at
}

// restFor is how long the verdict's key rests. A key that itself has no credit, or lost a model for the day, rests as long as a group would.
func (p *Pool) restFor(v Verdict) time.Duration {
	c := p.roster.Load().cfg.Cooldown
	switch {
	case v.Ruled && v.Cooldown > 0:
		return min(v.Cooldown, longest)
	case v.Cooldown <= 0 && v.Class == Quota:
		return c.clamp(c.Billing)
	}
	return c.clamp(v.Cooldown)
}

// restLocked rests one key.
func (p *Pool) restLocked(k *Key, v Verdict, now int64) {
	s, until := k.slot, now+int64(p.restFor(v))
	switch {
	case !s.retired.Load():
		if until > s.until.Load() {
			s.until.Store(until)
			s.restedFor = v.Class
		}
	case s.lease == k.lease && k.lease != 0:
		s.reviveAt.Store(max(s.reviveAt.Load(), until))
	}
	k.resolveLocked()
}

// retireLocked makes a key Permanent, or doubles its wait when k holds its trial, unless all keys fail alike.
func (p *Pool) retireLocked(k *Key, v Verdict, now int64) {
	s, cfg := k.slot, p.roster.Load().cfg
	switch {
	case !s.retired.Load():
		s.wait = cfg.ReviveAfter
		s.failure = failure{v.Class, v.Code, now}
	case s.lease == k.lease && k.lease != 0:
		s.failure.class, s.failure.code = v.Class, v.Code
		if !p.alikeLocked() {
			s.wait = min(2*s.wait, cfg.ReviveMax)
		}
	default:
		k.resolveLocked() // the account's
		return
	}
	if cfg.ReviveAfter == Never {
		s.reviveAt.Store(0)
	} else {
		s.reviveAt.Store(now + int64(s.wait))
	}
	s.retired.Store(true)
	k.resolveLocked()
}

// chargeLocked rests the key's account for want of credit. Failures that arrive while it rests belong to the same episode; one after it doubles the
// wait, unless all keys fail alike.
func (p *Pool) chargeLocked(k *Key, v Verdict, now int64) {
	a, c := k.slot.place.Load().account, p.roster.Load().cfg.Cooldown
	switch until := a.until.Load(); {
	case until == 0:
		a.wait = c.Billing
		a.failure = failure{v.Class, v.Code, now}
	case now >= until:
		a.failure.class, a.failure.code = v.Class, v.Code
		if !p.alikeLocked() {
			a.wait = min(max(c.Billing, 2*a.wait), c.BillingMax)
		}
	}
	rest := max(a.wait, min(v.Cooldown, c.BillingMax))
	a.until.Store(max(a.until.Load(), now+int64(rest)))
	k.resolveLocked()
}

// resolveLocked ends the trial that k holds, if it still does.
func (k *Key) resolveLocked() {
	if k.lease == 0 {
		return
	}
	if k.slot.lease == k.lease {
		k.slot.lease = 0
	}
	if k.account.lease == k.lease {
		k.account.lease = 0
	}
}

// succeed ends the trial that k holds with success. Where all keys had failed alike, it brings all of them back.
func (p *Pool) succeed(k *Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, a := k.slot, k.account
	key, credit := s.lease == k.lease, a.lease == k.lease
	if (key || credit) && p.alikeLocked() {
		p.bringBackLocked()
	}
	if key && s.retired.Load() {
		s.recoverLocked()
	}
	if credit {
		a.recoverLocked()
	}
	k.resolveLocked()
	return key || credit
}

// release gives back the reservation that k holds, if it still does.
func (p *Pool) release(k *Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k.resolveLocked()
}

// reserve hands out a key on probation, nil when another request tries it.
func (p *Pool) reserve(s *slot, now int64, model string) *Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch s.useAt(now, model) { // again, under the lock
	case free:
		return s.key
	case busy:
		return nil
	case trial:
	}
	if s.reservedLocked(0) {
		return nil
	}
	p.leases++
	k := &Key{slot: s, lease: p.leases, account: s.place.Load().account}
	if s.retired.Load() {
		s.lease = k.lease
	}
	if k.account.until.Load() != 0 {
		k.account.lease = k.lease
	}
	return k
}

// reset forgets the failures of a key and of its account.
func (p *Pool) reset(s *slot) bool {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	from := s.stateAt(now)
	s.retired.Store(false)
	s.reviveAt.Store(0)
	s.until.Store(0)
	s.parked.Store(nil)
	s.lease, s.wait = 0, 0
	a := s.place.Load().account
	a.until.Store(0)
	a.lease, a.wait = 0, 0
	return from != s.stateAt(now)
}

// parkLocked leaves the key out for a model. Of an equal model the later deadline wins; of too many, the one that ends first goes.
func (s *slot) parkLocked(add parking, now int64) {
	var list []parking
	if old := s.parked.Load(); old != nil {
		for _, q := range *old {
			switch {
			case q.until <= now:
			case q.model == add.model:
				if q.until > add.until {
					add = q
				}
			default:
				list = append(list, q)
			}
		}
	}
	if len(list) >= maxParked {
		first := 0
		for i := range list {
			if list[i].until < list[first].until {
				first = i
			}
		}
		list = append(list[:first], list[first+1:]...)
	}
	list = append(list, add)
	s.parked.Store(&list)
}

// parkedFor returns the parking that leaves the key out for a model now.
func (s *slot) parkedFor(model string, now int64) (parking, bool) {
	list := s.parked.Load()
	if list == nil || model == "" {
		return parking{}, false
	}
	for _, q := range *list {
		if q.model == model && now < q.until {
			return q, true
		}
	}
	return parking{}, false
}
