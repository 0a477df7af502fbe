package keypool

import (
	"slices"
	"time"
)

// trialWait is what a client is told to wait for when the only usable key is on trial by another request.
const trialWait = time.Second

// Walker hands out the keys of a pool for one attempt, each at most once, in the order that Config.Choose says. It sees the keys as they were configured when it
// began, and their states as they are. It is not safe for concurrent use.
type Walker struct {
	pool   *Pool
	roster *roster
	tried  []string
	model  string
	group  bool
	pos    int
	low    bool   // a key was passed by that has less left than it should
	given  *entry // the last of those that was handed out
	held   *Key   // the last key handed out, when it is on trial

	conversation uint64
	stays        *slot    // the key that the conversation stays with; nil: none, or not asked yet
	asked        bool     // whether stays was asked for
	ranked       []uint32 // the whole ranking of tier rankedTier, once more than the nearest were needed
	rankedTier   int
}

// Walker returns a walker at the first key, which leaves out the keys with these IDs. It keeps the slice. It is small enough to be inlined, so
// that choosing a key allocates nothing.
func (p *Pool) Walker(tried ...string) *Walker {
	return &Walker{pool: p, roster: p.roster.Load(), tried: tried}
}

// For leaves out the keys that are parked for the model, and returns the walker. "" is no model.
func (w *Walker) For(model string) *Walker {
	w.model = model
	return w
}

// Of says which conversation the request belongs to, as a hash, and returns the walker. With Spread the requests of one conversation get one key, as
// long as it is usable. In a pool that spreads, requests that belong to none get one of their own: any number that others do not have.
func (w *Walker) Of(conversation uint64) *Walker {
	w.conversation = conversation
	return w
}

// WithinFirstGroup leaves out the keys outside the group of the pool's first key, and returns the walker. It is for requests about state kept at
// the provider, which another organisation does not see. A first key without a group stands alone.
func (w *Walker) WithinFirstGroup() *Walker {
	w.group = true
	return w
}

// Next returns the next key that is usable now and moves past it. A key on probation is reserved for this walker until a Mark, a MarkSuccess, the
// following Next or Release. The error is over the whole pool, or the part that the walker is held within, not only over what it had left.
func (w *Walker) Next() (*Key, *Error) {
	if w.held != nil {
		w.Release()
	}
	now := w.pool.now()
	for n := w.count(now); w.pos < n; {
		e := w.entry(w.pos)
		w.pos++
		if e == nil || w.skips(e) {
			continue
		}
		if e.account.lowAt(now, w.model) != nil {
			w.low = true
			continue
		}
		if k := w.take(e, now); k != nil {
			return k, nil
		}
	}
	for w.low {
		if w.given != nil { // of those, each once too
			w.tried = append(slices.Clip(w.tried), w.given.id)
		}
		e := w.roomiest(now)
		if e == nil {
			break
		}
		w.given = e
		if k := w.take(e, now); k != nil {
			return k, nil
		}
	}
	return nil, w.exhausted(now)
}

// take hands a key out; nil: it cannot be used.
func (w *Walker) take(e *entry, now int64) *Key {
	k := e.key
	switch k.slot.useAt(now, w.model) {
	case busy:
		return nil
	case trial:
		if k = w.pool.reserve(k.slot, now, w.model); k == nil {
			return nil
		}
		if k.lease != 0 {
			w.held = k
		}
	case free:
	}
	k.slot.chosen.Add(1)
	k.slot.recent.count(now, oneAsked)
	return k
}

// Peek returns what Next would, without moving, reserving or counting: is there another key to try? What this walker holds for a trial does not
// stand in its own way, since Next gives it back: a request that gives up its key for another must Release it first.
func (w *Walker) Peek() (*Key, *Error) {
	now, low := w.pool.now(), w.low
	for i, n := w.pos, w.count(now); i < n; i++ {
		e := w.entry(i)
		if e == nil || w.skips(e) {
			continue
		}
		if e.account.lowAt(now, w.model) != nil {
			low = true
			continue
		}
		switch e.key.slot.useAt(now, w.model) {
		case busy:
			continue
		case trial:
			if w.elsewhere(e.key.slot) {
				continue
			}
		case free:
		}
		return e.key, nil
	}
	if low {
		if e := w.roomiest(now); e != nil && (e.key.slot.useAt(now, w.model) == free || !w.elsewhere(e.key.slot)) {
			return e.key, nil
		}
	}
	return nil, w.exhausted(now)
}

// Release gives back the key that this walker holds for a trial, if nothing ended the trial before. It may be called more than once, and must be
// called when the attempt is over.
func (w *Walker) Release() {
	if w.held != nil {
		w.pool.release(w.held)
		w.held = nil
	}
}

// count is how many entries there are to ask for.
func (w *Walker) count(now int64) int {
	if !w.asked {
		w.asked = true
		if w.roster.cfg.Choose.By == Spread {
			w.stays = w.pool.stays.of(w.conversation, now)
		}
	}
	if w.stays != nil {
		return len(w.roster.entries) + 1
	}
	return len(w.roster.entries)
}

// entry is the i-th of them: the key that the conversation stays with before all others, and those by their ranking. nil: it was before.
func (w *Walker) entry(i int) *entry {
	if w.stays == nil {
		return &w.roster.entries[w.roster.ranking.at(w, i)]
	}
	if i == 0 {
		if at := slices.IndexFunc(w.roster.entries, func(e entry) bool { return e.key.slot == w.stays }); at >= 0 {
			return &w.roster.entries[at]
		}
		return nil
	}
	if e := &w.roster.entries[w.roster.ranking.at(w, i-1)]; e.key.slot != w.stays {
		return e
	}
	return nil
}

// Served says that the provider accepted a key for the walker's conversation. With Spread a conversation that another key served than its own stays
// with that one for Choose.StayFor, and moved is true when that one is not the one that it had.
func (w *Walker) Served(k *Key) (moved bool) {
	cfg := &w.roster.cfg.Choose
	if cfg.By != Spread || cfg.StayFor == Never {
		return false
	}
	had := w.stays
	own := w.roster.entries[w.roster.ranking.at(w, 0)].key.slot
	if k.slot == own {
		if had != nil {
			w.pool.stays.forget(w.conversation)
		}
		return had != nil
	}
	w.pool.stays.put(w.conversation, k.slot, w.pool.now()+int64(cfg.StayFor))
	return k.slot != had
}

func (w *Walker) skips(e *entry) bool {
	return w.outside(e) || len(w.tried) > 0 && slices.Contains(w.tried, e.id)
}

func (w *Walker) outside(e *entry) bool {
	return w.group && e.account != w.roster.entries[0].account
}

// elsewhere reports whether another request has the key on trial.
func (w *Walker) elsewhere(s *slot) bool {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	return s.reservedLocked(w.lease())
}

// lease is the number of the reservation that this walker holds, 0 for none.
func (w *Walker) lease() uint64 {
	if w.held == nil {
		return 0
	}
	return w.held.lease
}

// exhausted says why no key could be chosen at an instant.
func (w *Walker) exhausted(now int64) *Error { return w.why(now, w.outside) }

// Untried says what stands in the way of the keys that the walker was not told of as tried: of RateLimited ones RetryAfter is when the first
// may be usable. AllDisabled where there are none.
func (w *Walker) Untried() *Error { return w.why(w.pool.now(), w.skips) }

// why says what stands in the way of the keys that are not left out.
func (w *Walker) why(now int64, leftOut func(*entry) bool) *Error {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	found := tally{own: w.lease(), wait: -1}
	for i := range w.roster.entries {
		if e := &w.roster.entries[i]; !leftOut(e) {
			found.addLocked(e.key.slot, now, w.model)
		}
	}
	e := &Error{Group: w.group, Model: w.model != "", Reason: found.reason}
	switch {
	case found.usable > 0:
		e.Kind, e.Reason = RateLimited, None
	case found.limited > 0:
		e.Kind, e.RetryAfter = RateLimited, time.Duration(found.wait)
	case found.parked > 0:
		e.Kind, e.RetryAfter = ModelUnavailable, time.Duration(found.wait)
	case found.refused > 0:
		e.Kind = AuthFailed
	default:
		e.Kind = AllDisabled
	}
	return e
}

// tally counts the keys by what stands in their way.
type tally struct {
	own uint64 // the reservation of the walker that asks

	usable  int // nothing does: it came back meanwhile, or was tried already
	limited int // a limit, or the trial of another request
	parked  int // the model
	refused int // the credential

	wait   int64 // the smallest; -1: none
	reason Class // what those that rest have in common; None before the first
}

func (t *tally) addLocked(s *slot, now int64, model string) {
	if s.disabled.Load() {
		return
	}
	if s.retired.Load() {
		switch {
		case s.useAt(now, "") != trial:
			t.refused++
			t.note(s.failure.class)
			return
		case s.reservedLocked(t.own):
			t.limit(int64(trialWait), s.failure.class)
			return
		}
	}
	wait := s.restsUntil() - now
	q, parked := s.parkedFor(model, now)
	switch {
	case wait > 0 && s.reasonLocked(now) == Credential:
		t.refused++
		t.note(Credential)
		t.least(wait)
	case wait > 0:
		t.limit(wait, s.reasonLocked(now))
	case parked && (q.class == ModelAccess || q.class == ModelGone):
		t.parked++
		t.note(q.class)
		t.least(q.until - now)
	case parked:
		t.limit(q.until-now, q.class)
	case s.reservedLocked(t.own):
		t.limit(int64(trialWait), Quota)
	default:
		t.usable++
	}
}

func (t *tally) limit(wait int64, reason Class) {
	t.limited++
	t.note(reason)
	t.least(wait)
}

func (t *tally) least(wait int64) {
	if t.wait < 0 || wait < t.wait {
		t.wait = wait
	}
}

func (t *tally) note(reason Class) {
	switch t.reason {
	case None, reason:
		t.reason = reason
	default:
		t.reason = Unknown
	}
}
