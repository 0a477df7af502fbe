package extproc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/quartz"
	"golang.org/x/sync/semaphore"
)

const (
	// whileRead is how many bytes of memory a body takes for each of its own while it is worked on. What stays of it afterwards is
	// a fifth more than its bytes.
	whileRead = 4
	// fullWait is how long a request waits for memory that others have. Envoy waits for 5 s.
	fullWait = 2 * time.Second
	// uploadTime is how long memory is kept for a body that was announced. One that comes later has to ask again, so that clients that
	// announce much and send nothing take it from nobody for long.
	uploadTime = 10 * time.Second
)

// budget bounds the memory that all bodies in work take. A quarter of it is for small ones alone: they do not wait for large ones.
type budget struct {
	small, large part
	clock        quartz.Clock
}

// part is a part of the budget.
type part struct {
	limit int64 // bytes; 0: none
	free  *semaphore.Weighted
	taken atomic.Int64 // bytes, for who looks
}

// smallest is the part of the budget, as a divisor, up to which what a body takes is small.
const smallest = 64

func newBudget(limit int64, clock quartz.Clock) *budget {
	b := &budget{clock: clock}
	b.small.limit = limit / 4
	b.large.limit = limit - b.small.limit
	b.small.free, b.large.free = semaphore.NewWeighted(b.small.limit), semaphore.NewWeighted(b.large.limit)
	return b
}

// partOf is the part that a body of n bytes belongs to.
func (b *budget) partOf(n int64) *part {
	if n*whileRead <= (b.small.limit+b.large.limit)/smallest {
		return &b.small
	}
	return &b.large
}

// take waits for n bytes. It returns false if there are none in time, or ctx has ended.
func (p *part) take(ctx context.Context, clock quartz.Clock, n int64) bool {
	if n <= 0 {
		return true
	}
	if p.free.TryAcquire(n) {
		p.taken.Add(n)
		return true
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := clock.AfterFunc(fullWait, cancel, "budget")
	defer late.Stop()
	if p.free.Acquire(ctx, n) != nil {
		return false
	}
	p.taken.Add(n)
	return true
}

// give gives n bytes back.
func (p *part) give(n int64) {
	p.taken.Add(-n)
	p.free.Release(n)
}

// share is what one attempt has of the budget. The zero share has nothing.
type share struct {
	of   *budget
	part *part
	late *quartz.Timer // gives back what was taken for a body that has not come

	mu    sync.Mutex // protects the fields below
	held  int64
	waits int // counts the bodies that were waited for: a timer that comes too late is about another
}

// announced takes what a body of n bytes is going to need.
func (s *share) announced(ctx context.Context, b *budget, n int64) bool {
	s.of, s.part = b, b.partOf(n)
	if !s.atLeast(ctx, n*whileRead) {
		return false
	}
	s.mu.Lock()
	this := s.waits
	s.mu.Unlock()
	s.late = b.clock.AfterFunc(uploadTime, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waits == this {
			s.releaseLocked(s.held)
		}
	}, "announced")
	return true
}

// came says that the body is here, and how large it is.
func (s *share) came(ctx context.Context, n int64) bool {
	if s.of == nil {
		return true
	}
	s.waited()
	s.atMost(n * whileRead)
	return s.atLeast(ctx, n*whileRead)
}

// more takes what another body of n bytes needs, beside what is held.
func (s *share) more(ctx context.Context, n int64) bool {
	if s.of == nil {
		return true
	}
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	return s.atLeast(ctx, held+n*whileRead)
}

// keep gives back all but what is needed for a request of n bytes while its response lasts.
func (s *share) keep(n int64) { s.atMost(n + n/5) }

// end gives back everything.
func (s *share) end() {
	if s.of == nil {
		return
	}
	s.waited()
	s.atMost(0)
	s.of, s.part = nil, nil
}

// waited says that the body is no longer waited for.
func (s *share) waited() {
	s.mu.Lock()
	s.waits++
	s.mu.Unlock()
	if s.late != nil {
		s.late.Stop()
		s.late = nil
	}
}

// atLeast waits until the share is n bytes: all there are where n is more, so that one body alone is always read.
func (s *share) atLeast(ctx context.Context, n int64) bool {
	if s.part.limit == 0 {
		return true
	}
	s.mu.Lock()
	n = min(n, s.part.limit) - s.held
	s.mu.Unlock()
	if !s.part.take(ctx, s.of.clock, n) {
		return false
	}
	s.mu.Lock()
	s.held += max(n, 0)
	s.mu.Unlock()
	return true
}

// atMost gives back what is more than n bytes.
func (s *share) atMost(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked(s.held - n)
}

func (s *share) releaseLocked(n int64) {
	if n > 0 {
		s.part.give(n)
		s.held -= n
	}
}
