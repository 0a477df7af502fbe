package keypool

import (
	"sync"
	"sync/atomic"
)

// maxStays bounds the conversations that stay with another key than their own: some 4 MiB. The ones that were not heard of for longest go first.
const maxStays = 65536

// stays are the conversations that had to leave their key and were served by another.
type stays struct {
	some atomic.Bool // whether there are any, so that most walkers need no lock

	mu         sync.Mutex
	young, old map[uint64]stay // by conversation; what is used moves to young, and what is old goes when young is half of maxStays
}

type stay struct {
	slot  *slot
	until int64
}

// of is the key that a conversation stays with at an instant; nil for none.
func (s *stays) of(conversation uint64, now int64) *slot {
	if !s.some.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.young[conversation]
	if !ok {
		found = s.old[conversation]
	}
	if now >= found.until {
		return nil
	}
	return found.slot
}

// put has a conversation stay with a key until an instant.
func (s *stays) put(conversation uint64, k *slot, until int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || len(s.young) >= maxStays/2 {
		s.old, s.young = s.young, map[uint64]stay{}
	}
	s.young[conversation] = stay{k, until}
	s.some.Store(true)
}

// forget ends a conversation's stay.
func (s *stays) forget(conversation uint64) {
	if !s.some.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young, conversation)
	delete(s.old, conversation)
	s.some.Store(len(s.young)+len(s.old) > 0)
}
