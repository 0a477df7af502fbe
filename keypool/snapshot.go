package keypool

import "time"

// KeyStatus describes a key for operators and metrics.
type KeyStatus struct {
	Name, Hint, ID, Group string

	State     State
	Reason    Class     // why it is Temporary or Permanent; else None
	Until     time.Time // end of its rest; zero: it does not rest
	ReviveAt  time.Time // from when a Permanent key is tried again; zero: never, or it is not Permanent
	Probation bool      // one request at a time may try it, until one succeeds
	Reserved  bool      // such a request runs
	Parked    []Parked  // models it is left out for
	Left      *float64  // the smallest share of its allowances that is left, from 0 to 1; nil: no answer has told
	LowUntil  time.Time // until when it has less than Config.Headroom; zero: it has enough

	// Since the key came into the pool: how often it was handed out, was given a rest, became Permanent, and came back from that.
	Chosen, Cooldowns, Retirements, Revivals uint64
}

// Parked is a model that a key is left out for.
type Parked struct {
	Model  string
	Reason Class
	Until  time.Time
}

// Snapshot returns the status of every key, in order of priority, at one instant.
func (p *Pool) Snapshot() []KeyStatus {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.roster.Load()
	all := make([]KeyStatus, len(r.entries))
	for i, e := range r.entries {
		all[i] = e.key.slot.statusLocked(now)
	}
	return all
}

func (s *slot) statusLocked(now int64) KeyStatus {
	pl := s.place.Load()
	st := KeyStatus{
		Name: pl.name, Hint: s.hint, ID: pl.id, Group: pl.group,
		State:     s.stateAt(now),
		Reason:    s.reasonLocked(now),
		Probation: s.useAt(now, "") == trial,
		Reserved:  s.reservedLocked(0),
		Chosen:    s.chosen.Load(), Cooldowns: s.cooldowns, Retirements: s.retirements, Revivals: s.revivals,
	}
	if until := s.restsUntil(); now < until {
		st.Until = s.pool.at(until)
	}
	if a := pl.account.left.Load(); a != nil {
		if st.Left = &a.left; now < a.until {
			st.LowUntil = s.pool.at(a.until)
		}
	}
	if s.retired.Load() {
		st.ReviveAt = s.pool.at(s.reviveAt.Load())
	}
	if list := s.parked.Load(); list != nil {
		for _, q := range *list {
			if now < q.until {
				st.Parked = append(st.Parked, Parked{Model: q.model, Reason: q.class, Until: s.pool.at(q.until)})
			}
		}
	}
	return st
}

// reasonLocked is why the key is Permanent or rests, whether or not it is also disabled.
func (s *slot) reasonLocked(now int64) Class {
	switch until := s.place.Load().account.until.Load(); {
	case s.retired.Load():
		return s.failure.class
	case now < until && s.until.Load() <= until:
		return Quota
	case now < s.until.Load():
		return s.restedFor
	}
	return None
}
