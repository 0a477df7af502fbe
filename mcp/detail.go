package mcp

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Bounds of what is remembered of calls.
const (
	recentCalls = 128  // of one tool, for its percentiles
	countedMost = 4096 // tools of one server
)

// ServerDetail is all that there is to see of one server.
type ServerDetail struct {
	ServerStatus
	Protocol string // version of the protocol that was agreed on last; "": none yet
	Software string // what the server says it is, with its version; as little to be trusted as the server is
	Offered  []ToolDetail
}

// ToolDetail is a tool that is offered now, and what became of its calls since it was first called.
type ToolDetail struct {
	Tool
	Calls, Failed uint64
	P50, P95, P99 time.Duration // of the last 128 calls; 0: none
	LastError     string        // the kind of the last failure; "": none
	LastErrorAt   time.Time
}

// Detail returns all that there is to see of the servers, as configured. It waits for nothing.
func (c *Catalogue) Detail() []ServerDetail {
	c.mu.Lock()
	order := slices.Clone(c.order)
	c.mu.Unlock()
	details := make([]ServerDetail, 0, len(order))
	for _, v := range c.named(order) {
		d := ServerDetail{ServerStatus: v.status()}
		v.mu.Lock()
		d.Protocol, d.Software = v.protocol, v.software
		v.mu.Unlock()
		tools, _, _ := v.offered()
		for _, t := range tools {
			d.Offered = append(d.Offered, v.counts.of(t))
		}
		details = append(details, d)
	}
	return details
}

// introducedLocked notes what a new session says about the server. It is called in change.
func (v *server) introducedLocked(s *session) {
	v.protocol = limited(s.version(), maxName)
	if info := s.cs.InitializeResult().ServerInfo; info != nil {
		v.software = limited(cmp.Or(info.Title, info.Name)+" "+info.Version, maxName)
	}
}

// counts are what became of the calls of a server's tools.
type counts struct {
	mu   sync.Mutex // protects the fields below
	tool map[string]*toolCount
}

type toolCount struct {
	calls, failed uint64
	took          [recentCalls]time.Duration // of the calls, by number
	failure       string
	failedAt      time.Time
}

// called notes a call that has ended. failure is its error.type, "" for none.
func (c *counts) called(tool, failure string, took time.Duration, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tool[tool]
	if t == nil {
		if len(c.tool) >= countedMost {
			return
		}
		if c.tool == nil {
			c.tool = map[string]*toolCount{}
		}
		t = &toolCount{}
		c.tool[tool] = t
	}
	t.took[t.calls%recentCalls] = took
	t.calls++
	if failure != "" {
		t.failed++
		t.failure, t.failedAt = failure, at
	}
}

// of returns what is known of a tool.
func (c *counts) of(tool Tool) ToolDetail {
	d := ToolDetail{Tool: tool}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tool[tool.Name]
	if t == nil {
		return d
	}
	d.Calls, d.Failed, d.LastError, d.LastErrorAt = t.calls, t.failed, t.failure, t.failedAt
	took := slices.Sorted(slices.Values(t.took[:min(t.calls, recentCalls)]))
	at := func(percent int) time.Duration { return took[(len(took)*percent+99)/100-1] }
	d.P50, d.P95, d.P99 = at(50), at(95), at(99)
	return d
}
