package keypool

import (
	"sync/atomic"
	"time"
)

// Bounds of what is remembered of a key's recent past.
const (
	RecentMinutes  = 60
	RecentFailures = 5
)

// Activity is what a key did of late.
type Activity struct {
	ID       string
	Minutes  [RecentMinutes]Minute // of the pool's clock, the oldest first; the last one has not ended
	Failures []Failure             // at most RecentFailures, the newest first
}

// Minute counts what a key did in one minute.
type Minute struct {
	Requests uint32 // how often it was handed out; at most 2^20-1
	Failures uint32 // answers that blamed the key, its account or the provider; at most 2^20-1
}

// Failure is an answer that blamed a key, its account or the provider.
type Failure struct {
	At    time.Time
	Class Class
	Code  string // the provider's error code, or else its type; "" when it named none
}

// recent is what is remembered of one key's recent past. Counting is one atomic operation and allocates nothing.
type recent struct {
	minutes [RecentMinutes]atomic.Uint64 // the minute's number, then 20 bits of requests, then 20 of failures

	// protected by the pool's mu
	failures [RecentFailures]failure
	next     int // place of the next one
}

const (
	countBits = 20
	mostCount = 1<<countBits - 1
	oneFailed = 1
	oneAsked  = 1 << countBits
)

// minuteOf numbers the minutes since the pool's beginning, from 1, so that 0 is none.
func minuteOf(now int64) uint64 { return uint64(now)/uint64(time.Minute) + 1 }

// count adds one, oneAsked or oneFailed, to the minute of now.
func (r *recent) count(now int64, one uint64) {
	minute := minuteOf(now)
	at := &r.minutes[minute%RecentMinutes]
	for {
		old := at.Load()
		was := old
		if was>>(2*countBits) != minute {
			was = minute << (2 * countBits)
		}
		if (was/one)&mostCount == mostCount || at.CompareAndSwap(old, was+one) {
			return
		}
	}
}

// failedLocked remembers a failure.
func (r *recent) failedLocked(now int64, v Verdict) {
	r.count(now, oneFailed)
	r.failures[r.next%RecentFailures] = failure{v.Class, v.Code, now}
	r.next++
}

// blames says whether the verdict speaks of the key, its account or the provider, and not of the request.
func (v Verdict) blames() bool {
	return v.Class != None && v.Class != CallerFault && v.Class != Elsewhere
}

// Activity returns what every key did of late, in the order of Snapshot.
func (p *Pool) Activity() []Activity {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.roster.Load()
	all := make([]Activity, len(r.entries))
	for i, e := range r.entries {
		all[i].ID = e.id
		e.key.slot.recent.readLocked(p, now, &all[i])
	}
	return all
}

func (r *recent) readLocked(p *Pool, now int64, into *Activity) {
	last := minuteOf(now)
	for i := range r.minutes {
		v := r.minutes[i].Load()
		if minute := v >> (2 * countBits); minute != 0 && minute <= last && last-minute < RecentMinutes {
			into.Minutes[RecentMinutes-1-(last-minute)] = Minute{uint32(v >> countBits & mostCount), uint32(v & mostCount)}
		}
	}
	for i := r.next - 1; i >= max(0, r.next-RecentFailures); i-- {
		f := r.failures[i%RecentFailures]
		into.Failures = append(into.Failures, Failure{p.at(f.at), f.class, f.code})
	}
}
