package record

import (
	"context"
	"sync"
)

// The most that a Memory keeps.
const (
	MemoryTurns = 10_000
	MemoryBytes = 64 << 20
)

// Memory keeps the newest turns in memory, at most MemoryTurns of them and MemoryBytes with what they said. It is safe for concurrent use.
type Memory struct {
	mu    sync.RWMutex // protects all below
	ring  [MemoryTurns]kept
	first int // the oldest
	n     int
	bytes int

	followers map[*Following]struct{}
}

// kept is a turn in memory. Nobody changes it.
type kept struct {
	turn *Turn
	said []Content
	size int
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory { return &Memory{followers: map[*Following]struct{}{}} }

// Write keeps t and what it said, and forgets the oldest for it.
func (m *Memory) Write(t *Turn, said []Content) {
	k := kept{t, said, t.size() + sizeOf(said)}
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.n > 0 && (m.n == len(m.ring) || m.bytes+k.size > MemoryBytes) {
		m.bytes -= m.ring[m.first].size
		m.ring[m.first] = kept{}
		m.first = (m.first + 1) % len(m.ring)
		m.n--
	}
	if k.size > MemoryBytes {
		k.said, k.size = nil, t.size()
	}
	m.ring[(m.first+m.n)%len(m.ring)] = k
	m.n++
	m.bytes += k.size
	for f := range m.followers {
		f.tell(t)
	}
}

// each calls f for what is kept, newest first by the time that it came, until f returns false. Callers hold mu.
func (m *Memory) each(f func(k *kept) bool) {
	for i := m.n - 1; i >= 0; i-- {
		if !f(&m.ring[(m.first+i)%len(m.ring)]) {
			return
		}
	}
}

// Turns returns a page of those that q selects.
func (m *Memory) Turns(_ context.Context, q Query) (Page, error) {
	q, after, err := q.Complete()
	if err != nil {
		return Page{}, err
	}
	var found []*Turn
	m.mu.RLock()
	m.each(func(k *kept) bool {
		if (q.After == "" || k.turn.Place().Compare(after) < 0) && q.Selects(k.turn) {
			found = append(found, k.turn)
		}
		return true
	})
	m.mu.RUnlock()
	return NewPage(found, q.Limit), nil
}

// find returns what is kept of the newest turn of that id.
func (m *Memory) find(id string) (found kept, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	m.each(func(k *kept) bool {
		if k.turn.ID == id && (!ok || k.turn.Start.After(found.turn.Start)) {
			found, ok = *k, true
		}
		return true
	})
	return found, ok
}

// Turn returns the turn of that id.
func (m *Memory) Turn(_ context.Context, id string) (Turn, error) {
	k, ok := m.find(id)
	if !ok {
		return Turn{}, ErrNotFound
	}
	return *k.turn, nil
}

// Content returns what was said in a turn.
func (m *Memory) Content(_ context.Context, id string) ([]Content, error) {
	k, _ := m.find(id)
	return k.said, nil
}

// Spend sums up.
func (m *Memory) Spend(_ context.Context, q SpendQuery) (rows []SpendRow, err error) {
	q, err = q.Complete()
	if err != nil {
		return nil, err
	}
	sums, within := NewSpending(q), Query{From: q.From, Until: q.Until}
	m.mu.RLock()
	m.each(func(k *kept) bool {
		if within.Selects(k.turn) {
			err = sums.Add(k.turn.Start, GroupOf(k.turn), SumOf(k.turn))
		}
		return err == nil
	})
	m.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	return sums.Rows(), nil
}

// followed bounds the turns that wait for whoever follows.
const followed = 256

// Following is told of turns as they come.
type Following struct {
	// Turns are those that the query selects, from the moment in which one follows. It is never closed.
	Turns <-chan *Turn

	q     Query
	turns chan *Turn
	of    *Memory
	lost  int64 // protected by of.mu
}

// Follow tells of those of the turns to come that q selects, until Close. What the reader does not take in time is lost to it, and counted.
func (m *Memory) Follow(q Query) *Following {
	f := &Following{q: q, turns: make(chan *Turn, followed), of: m}
	f.Turns = f.turns
	m.mu.Lock()
	defer m.mu.Unlock()
	m.followers[f] = struct{}{}
	return f
}

// tell hands t on. Callers hold of.mu.
func (f *Following) tell(t *Turn) {
	if !f.q.Selects(t) {
		return
	}
	select {
	case f.turns <- t:
	default:
		f.lost++
	}
}

// Lost returns how many turns the reader was too slow for.
func (f *Following) Lost() int64 {
	f.of.mu.RLock()
	defer f.of.mu.RUnlock()
	return f.lost
}

// Close ends it.
func (f *Following) Close() {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	delete(f.of.followers, f)
}
