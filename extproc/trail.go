package extproc

import (
	"container/list"
	"sync"
	"time"

	"github.com/coder/quartz"
)

// trail is what an attempt leaves to the next one of its request.
type trail struct {
	tried    []string      // ids of the keys that failed
	without  []string      // ids of the keys of the organisations that do not have what the request names
	hop      int           // number of the pool in the chain of the front's; 0: that one
	route    string        // how the request came there
	away     time.Duration // in which providers could not be reached
	attempt  int           // number of the attempt that left it
	started  time.Time     // when the request's first attempt began
	repeated bool          // a key was tried once more, since nothing had reached the provider
	doubted  bool          // a key was retired for the words of an answer alone
	refused  *refused      // what the next attempt goes without; nil: nothing
}

// Bounds of what is kept. The next attempt comes a millisecond later, or never.
const (
	maxTrails     = 1 << 16
	maxTrailBytes = 16 << 20
	trailTime     = time.Minute
)

// trails keeps what attempts leave, by the front's id of the request: from the moment in which a retry is asked for until the
// next attempt takes it. What is lost costs little: a key that was marked is left out all the same.
type trails struct {
	clock quartz.Clock

	mu    sync.Mutex // protects the fields below
	byID  map[string]*list.Element
	order *list.List // of *keptTrail, the oldest first
	bytes int
}

type keptTrail struct {
	trail
	id    string
	until time.Time
}

// size is about what the entry costs, in bytes.
func (k *keptTrail) size() int {
	n := 256 + len(k.id) + len(k.route) + 16*(len(k.tried)+len(k.without))
	if r := k.refused; r != nil {
		n += 128 + len(r.of.model) + 64*len(r.without.Named)
	}
	return n
}

func newTrails(clock quartz.Clock) *trails {
	return &trails{clock: clock, byID: map[string]*list.Element{}, order: list.New()}
}

// follow tells x, whose request's headers are m, what the front says of the request and what the attempt before left.
func (s *trails) follow(x *exchange, m *message) {
	if x.front = readFront(m); x.front.attempt != 1 {
		x.before = s.take(x.front.id)
	}
}

// leave keeps what the next attempt has to know of x, if there is to be one.
func (s *trails) leave(x *exchange) {
	if x.outcome == turned {
		s.put(string(x.id), x.after())
	}
}

// put keeps t for the next attempt. Without an id there is nothing to find it by.
func (s *trails) put(id string, t trail) {
	if id == "" {
		return
	}
	now := s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[id]; e != nil {
		s.drop(e)
	}
	k := &keptTrail{trail: t, id: id, until: now.Add(trailTime)}
	s.byID[id] = s.order.PushBack(k)
	s.bytes += k.size()
	for e := s.order.Front(); e != nil; e = s.order.Front() {
		if e.Value.(*keptTrail).until.After(now) && len(s.byID) <= maxTrails && s.bytes <= maxTrailBytes {
			return
		}
		s.drop(e)
	}
}

// take is what was left for this attempt, zero where nothing was.
func (s *trails) take(id []byte) trail {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[string(id)]
	if e == nil {
		return trail{}
	}
	s.drop(e)
	k := e.Value.(*keptTrail)
	if !k.until.After(s.clock.Now()) {
		return trail{}
	}
	return k.trail
}

func (s *trails) drop(e *list.Element) {
	k := e.Value.(*keptTrail)
	s.order.Remove(e)
	delete(s.byID, k.id)
	s.bytes -= k.size()
}
