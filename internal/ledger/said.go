package ledger

import (
	"container/list"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/record"
)

// Bounds of what is held of what was said until the record is made.
const (
	maxSaid  = 16 << 20 // bytes; the oldest goes first
	saidTime = nextTime
)

// spoken holds what was said in requests that are under way.
type spoken struct {
	mu    sync.Mutex // protects the fields below
	byID  map[string]*list.Element
	order *list.List // of *saying, the oldest first
	bytes int
}

type saying struct {
	id    string
	said  []record.Content
	bytes int
	until time.Time
}

func newSpoken() *spoken { return &spoken{byID: map[string]*list.Element{}, order: list.New()} }

// put adds c to what was said in the request of that id.
func (s *spoken) put(id string, c record.Content, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[id]
	if e == nil {
		e = s.order.PushBack(&saying{id: id, until: now.Add(saidTime)})
		s.byID[id] = e
	}
	one := e.Value.(*saying)
	size := 256 + len(id) + len(c.Text)
	one.said = append(one.said, c)
	one.bytes += size
	s.bytes += size
	for s.bytes > maxSaid {
		s.dropLocked(s.order.Front())
	}
	s.expireLocked(now)
}

// take is what was said in the request of that id; nobody else gets it.
func (s *spoken) take(id string) []record.Content {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[id]
	if e == nil {
		return nil
	}
	return s.dropLocked(e).said
}

// expire forgets what no record was made of.
func (s *spoken) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked(now)
}

func (s *spoken) expireLocked(now time.Time) {
	for e := s.order.Front(); e != nil && !e.Value.(*saying).until.After(now); e = s.order.Front() {
		s.dropLocked(e)
	}
}

func (s *spoken) dropLocked(e *list.Element) *saying {
	one := e.Value.(*saying)
	s.order.Remove(e)
	delete(s.byID, one.id)
	s.bytes -= one.bytes
	return one
}

// Say keeps c until the record of the request of that id is made, and goes with it to whoever writes that. What the configuration's secrets are is
// blanked in it.
func (l *Ledger) Say(id string, c record.Content) {
	if id == "" || c.Text == "" {
		return
	}
	b := []byte(c.Text)
	l.secrets.Load().Blank(b)
	c.Text, c.At = string(b), l.clock.Now()
	l.spoken.put(id, c, c.At)
}
