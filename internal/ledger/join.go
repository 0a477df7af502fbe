package ledger

import (
	"container/list"
	"slices"
	"time"

	"github.com/coder/quartz"
)

// Bounds of what is held until the rest of it comes.
const (
	maxRequests = 16 << 10
	maxHeld     = 32 << 20 // bytes
	maxAttempts = 128      // of one request, with those of its later turns; what is more is counted
	maxRecent   = 16 << 10 // requests whose records are made, to know what comes too late

	// restTime is how long the rest is waited for once the front has told of a request: Envoy gathers entries for a moment, and each of its
	// threads does by itself.
	restTime = 5 * time.Second
	// lastTime is how long the front is waited for after a last attempt: for a client that reads slowly.
	lastTime = 15 * time.Minute
	// nextTime is how long it is waited for after an attempt that another one follows: an answer may stream for long.
	nextTime = time.Hour

	// sweepTime is how often is looked for what is waited for no longer.
	sweepTime = time.Second
)

// request is what is known until now of a client's request.
type request struct {
	id       string
	front    *part
	attempts []*part
	more     int // attempts beyond maxAttempts
	bytes    int
	until    time.Time
	place    *list.Element
}

// join gathers what belongs to one request. It does no I/O; whoever calls it holds a lock.
type join struct {
	clock  quartz.Clock
	byID   map[string]*request
	order  *list.List // of *request, the one that has waited longest first
	bytes  int
	recent map[string]bool
	ring   []string // of recent, in the order in which they came
	next   int      // place in ring
}

func newJoin(clock quartz.Clock) *join {
	return &join{clock: clock, byID: map[string]*request{}, order: list.New(), recent: map[string]bool{}}
}

// add takes a part. It returns the requests whose records are due: all is known of them, or there is no room for them any more. Late says that
// the part's record has been made already, or that the front has told of it before.
func (j *join) add(p *part) (due []*request, late bool) {
	if j.recent[p.id] {
		return nil, true
	}
	r := j.byID[p.id]
	if r == nil {
		r = &request{id: p.id}
		r.place = j.order.PushBack(r)
		j.byID[p.id] = r
	}
	switch {
	case p.front && r.front != nil:
		return nil, true
	case p.front:
		r.front = p
	case len(r.attempts) == maxAttempts:
		r.more++
		return nil, false
	default:
		r.attempts = append(r.attempts, p)
	}
	r.bytes += p.size()
	j.bytes += p.size()
	r.until = j.clock.Now().Add(r.patience())
	if r.complete() {
		j.take(r)
		due = append(due, r)
	}
	for j.bytes > maxHeld || len(j.byID) > maxRequests {
		oldest := j.order.Front().Value.(*request)
		j.take(oldest)
		due = append(due, oldest)
	}
	return due, false
}

// take takes a request out: its record is made.
func (j *join) take(r *request) {
	delete(j.byID, r.id)
	j.order.Remove(r.place)
	j.bytes -= r.bytes
	if len(j.ring) < maxRecent {
		j.ring = append(j.ring, r.id)
	} else {
		delete(j.recent, j.ring[j.next])
		j.ring[j.next] = r.id
		j.next = (j.next + 1) % maxRecent
	}
	j.recent[r.id] = true
}

// overdue takes out what is waited for no longer; all that there is, where everything is over.
func (j *join) overdue(all bool) (due []*request) {
	now := j.clock.Now()
	for e := j.order.Front(); e != nil; {
		r := e.Value.(*request)
		e = e.Next()
		if all || !r.until.After(now) {
			j.take(r)
			due = append(due, r)
		}
	}
	return due
}

// patience is how long the rest of a request is waited for, from the last that came of it.
func (r *request) patience() time.Duration {
	if r.front != nil {
		return restTime
	}
	for _, a := range r.attempts {
		if a.noted.turn <= 1 && a.final() {
			return lastTime
		}
	}
	return nextTime
}

// final reports whether no attempt follows this one.
func (p *part) final() bool { return p.noted.outcome != outcomeTurned }

const outcomeTurned = "turned" // the outcome of an attempt that another one follows

// complete reports whether all is known of a request: the front's word, the attempts that it made, and those of the later turns.
//
// Where a client leaves in the middle, Keyturn cannot tell how many turns there were, so that nothing says what is all.
func (r *request) complete() bool {
	if r.front == nil || r.abandoned() {
		return false
	}
	first, later, expected, finals, sent := 0, 0, 0, 0, 0
	for _, a := range r.attempts {
		sent = max(sent, a.noted.sent)
		switch {
		case a.noted.turn <= 1:
			first++
		case a.final():
			finals++
			expected += max(a.noted.attempt, 1)
			fallthrough
		default:
			later++
		}
	}
	return first+r.more >= r.front.attempts && finals >= sent && later >= expected
}

// abandoned reports whether the client has left in the middle. Some close the connection as soon as they have read an answer's last event, and
// before its end: then the attempts have all of it.
func (r *request) abandoned() bool {
	return r.front.left() && r.front.attempts > 0 && (len(r.attempts) == 0 || slices.ContainsFunc(r.attempts, (*part).left))
}

// left reports whether the client has left before the response's end.
func (p *part) left() bool { return p.has(flagClientEnded, flagClientReset) || p.status == 0 }
