package record

import (
	"context"
	"errors"
	"sync"
	"time"
)

// The bounds of a Gate.
const (
	gateWaiting = 8192
	gateLot     = 1000 // starts that are committed at once
	gateTimeout = 5 * time.Second
)

// ErrGate is the error of Gate.Commit where too many wait already, or the gate is closed.
var ErrGate = errors.New("the start of the request cannot be recorded")

// Gate commits starts of requests before they leave, all those together that come while it is busy with others. It is safe for concurrent use.
type Gate struct {
	put     func(context.Context, []Start) error
	ctx     context.Context // ends with the gate
	stop    context.CancelFunc
	mu      sync.Mutex // protects all below
	waiting []waiter
	busy    bool
	closed  bool
	done    sync.WaitGroup
}

type waiter struct {
	start Start
	done  chan error
}

// NewGate returns a Gate that commits by put.
func NewGate(put func(context.Context, []Start) error) *Gate {
	ctx, stop := context.WithCancel(context.Background())
	return &Gate{put: put, ctx: ctx, stop: stop}
}

// Commit returns when s is committed, or why it is not. A start may be committed though ctx ended.
func (g *Gate) Commit(ctx context.Context, s Start) error {
	s.Bound()
	w := waiter{s, make(chan error, 1)}
	g.mu.Lock()
	if g.closed || len(g.waiting) >= gateWaiting {
		g.mu.Unlock()
		return ErrGate
	}
	g.waiting = append(g.waiting, w)
	if !g.busy {
		g.busy = true
		g.done.Go(g.run)
	}
	g.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run commits until nobody waits.
func (g *Gate) run() {
	for {
		g.mu.Lock()
		n := min(len(g.waiting), gateLot)
		now := g.waiting[:n:n]
		g.waiting = g.waiting[n:]
		if n == 0 {
			g.waiting, g.busy = nil, false
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		starts := make([]Start, n)
		for i, w := range now {
			starts[i] = w.start
		}
		ctx, cancel := context.WithTimeout(g.ctx, gateTimeout)
		err := g.put(ctx, starts)
		cancel()
		for _, w := range now {
			w.done <- err
		}
	}
}

// Close ends it.
func (g *Gate) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.stop()
	g.done.Wait()
}
