package scripted

import (
	"context"
	"fmt"
	"slices"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// memory is what the provider saw since New or Reset. The Provider's lock protects it.
type memory struct {
	epoch   int            // counts Resets; an exchange of an earlier one leaves no trace
	n       int            // requests that arrived
	serial  int            // the same since New
	seen    int            // requests that were remembered, forgotten ones included
	byKey   map[string]int // requests by key, only for keys with a script
	others  int            // requests of all other keys
	open    map[*exchange]struct{}
	kept    []Request
	bodies  int64         // bytes of the bodies in kept
	bodyAt  int           // no request in kept before this one has a body
	changed chan struct{} // closed at the next change; nil when nobody waits
}

func (m *memory) reset() {
	m.epoch++
	m.n, m.seen, m.others, m.bodies, m.bodyAt = 0, 0, 0, 0, 0
	m.byKey, m.kept = map[string]int{}, nil
	if m.open == nil {
		m.open = map[*exchange]struct{}{}
	}
	m.notify()
}

func (m *memory) notify() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// number counts a request that has arrived.
func (m *memory) number(x *exchange, known bool) {
	x.epoch = m.epoch
	m.open[x] = struct{}{}
	m.n++
	x.req.N = m.n
	m.serial++
	x.serial = m.serial
	if known {
		m.byKey[x.req.Key]++
		x.req.KeyN = m.byKey[x.req.Key]
		return
	}
	m.others++
	x.req.KeyN = m.others
}

func (m *memory) close(x *exchange) {
	delete(m.open, x)
	m.notify()
}

// add keeps r, and forgets the oldest requests and bodies that are too many.
func (m *memory) add(r Request, maxRequests int, maxBytes int64) {
	m.seen++
	m.bodies += int64(len(r.Body))
	m.kept = append(m.kept, r)
	for ; m.bodies > maxBytes && m.bodyAt < len(m.kept); m.bodyAt++ {
		m.bodies -= int64(len(m.kept[m.bodyAt].Body))
		m.kept[m.bodyAt].Body = nil
	}
	if over := len(m.kept) - maxRequests; over > 0 {
		for i := range over {
			m.bodies -= int64(len(m.kept[i].Body))
		}
		clear(m.kept[:over]) // the array behind the slice is freed only when append moves it
		m.kept = m.kept[over:]
		m.bodyAt = max(0, m.bodyAt-over)
	}
	m.notify()
}

// remember keeps the request as it now is: read, or about to be answered unread.
func (p *Provider) remember(x *exchange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x.epoch == p.memory.epoch {
		p.memory.add(x.req, p.cfg.KeepRequests, max(0, p.cfg.KeepBytes))
	}
}

// Requests returns the requests that are remembered, in the order in which they arrived. A request is remembered once its body
// has been read, or given up, and before it is answered: whoever has the answer finds its request here.
func (p *Provider) Requests() []Request {
	p.mu.Lock()
	rs := slices.Clone(p.memory.kept)
	p.mu.Unlock()
	slices.SortFunc(rs, func(a, b Request) int { return a.N - b.N })
	return rs
}

// Keys returns the keys of Requests, in the same order; "" for a request without one.
func (p *Provider) Keys() []string {
	rs := p.Requests()
	keys := make([]string, len(rs))
	for i, r := range rs {
		keys[i] = r.Key
	}
	return keys
}

// KeysOf returns the keys of those Requests that went to an endpoint, in order: which keys the turns of a conversation used.
func (p *Provider) KeysOf(e talk.Endpoint) []string {
	keys := []string{}
	for _, r := range p.Requests() {
		if r.Endpoint == e {
			keys = append(keys, r.Key)
		}
	}
	return keys
}

// CountByKey is the number of Requests of each key.
func (p *Provider) CountByKey() map[string]int {
	n := map[string]int{}
	for _, r := range p.Requests() {
		n[r.Key]++
	}
	return n
}

// Count is the number of requests since New or Reset, those that are no longer remembered and those still arriving included.
func (p *Provider) Count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.memory.n
}

// Open is the number of exchanges in progress.
func (p *Provider) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.memory.open)
}

// Reset forgets all requests and starts every count, and so every Seq and Nth, again. The script stays, and so does what a strict
// provider stored. An exchange that is in
// progress goes on, but is not remembered.
func (p *Provider) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.memory.reset()
}

// Wait waits until n requests have been remembered since New or Reset. Its error is the context's, with the number that was
// reached.
func (p *Provider) Wait(ctx context.Context, n int) error {
	seen, err := p.await(ctx, func(m *memory) (int, bool) { return m.seen, m.seen >= n })
	if err != nil {
		return fmt.Errorf("scripted: %d of %d requests: %w", seen, n, err)
	}
	return nil
}

// WaitIdle waits until no exchange is in progress: every client has its answer or has left. Its error is the context's, with the
// number still in progress.
func (p *Provider) WaitIdle(ctx context.Context) error {
	open, err := p.await(ctx, func(m *memory) (int, bool) { return len(m.open), len(m.open) == 0 })
	if err != nil {
		return fmt.Errorf("scripted: %d exchanges in progress: %w", open, err)
	}
	return nil
}

func (p *Provider) await(ctx context.Context, reached func(*memory) (int, bool)) (int, error) {
	for {
		p.mu.Lock()
		n, ok := reached(&p.memory)
		if ok {
			p.mu.Unlock()
			return n, nil
		}
		if p.memory.changed == nil {
			p.memory.changed = make(chan struct{})
		}
		changed := p.memory.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
}
