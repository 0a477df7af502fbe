package keypool

import "time"

// failure is how a key, or the account that it spends, came to be left out until a trial succeeds.
type failure struct {
	class Class
	code  string // the provider's
	at    int64  // instant
}

// moments is how far apart the failures of keys may be that have one cause.
const moments = int64(time.Minute)

// alikeLocked reports whether all keys of the pool, apart from disabled ones, have failed for the same reason and within moments. Then the way to the
// provider is at fault, or the provider, rather than the keys: an exit in another country, a proxy that takes credentials out, an outage. One key,
// or the keys of one account that has no credit, show no such thing.
func (p *Pool) alikeLocked() bool {
	var first *failure
	var from, to int64
	several := false
	for _, e := range p.roster.Load().entries {
		if e.key.slot.disabled.Load() {
			continue
		}
		f := e.key.slot.failureLocked()
		switch {
		case f == nil:
			return false
		case first == nil:
			first, from, to = f, f.at, f.at
		case f.class != first.class || f.code != first.code:
			return false
		}
		several = several || f != first
		from, to = min(from, f.at), max(to, f.at)
	}
	return several && to-from <= moments
}

// failureLocked is why the key waits for a trial, nil when it does not.
func (s *slot) failureLocked() *failure {
	if s.retired.Load() {
		return &s.failure
	}
	if a := s.place.Load().account; a.until.Load() != 0 {
		return &a.failure
	}
	return nil
}

// bringBackLocked ends the failures of all keys that are not disabled, and the trials that run.
func (p *Pool) bringBackLocked() {
	for _, e := range p.roster.Load().entries {
		s := e.key.slot
		if s.disabled.Load() {
			continue
		}
		if s.retired.Load() {
			s.recoverLocked()
		}
		s.place.Load().account.recoverLocked()
	}
}

// recoverLocked makes a retired key Valid.
func (s *slot) recoverLocked() {
	s.revivals++
	s.retired.Store(false)
	s.reviveAt.Store(0)
	s.wait, s.lease = 0, 0
}

// recoverLocked says that there is credit.
func (a *account) recoverLocked() {
	a.until.Store(0)
	a.wait, a.lease = 0, 0
}
