package extproc

import (
	"sync"
	"time"
)

// seldomEvery is how often at most a warning is logged whose number others decide.
const seldomEvery = time.Second

// seldom lets through one of many warnings of a kind. The zero value is ready.
type seldom struct {
	mu   sync.Mutex // protects the fields below
	next time.Time
	held int64 // since the last one
}

// due reports whether one is to be logged now, and for how many it stands.
func (s *seldom) due(now time.Time) (n int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held++
	if now.Before(s.next) {
		return 0, false
	}
	n, s.held, s.next = s.held, 0, now.Add(seldomEvery)
	return n, true
}
