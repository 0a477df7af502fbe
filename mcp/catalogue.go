package mcp

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// firstWait is how long Tools waits for servers that have not been heard of.
const firstWait = time.Second

// Catalogue holds the sessions to the servers, and their tools. Its methods may be called from any goroutine.
type Catalogue struct {
	env  *environment
	work sync.WaitGroup  // every goroutine
	life context.Context // ends with the catalogue, and every call with it
	end  context.CancelCauseFunc

	mu      sync.Mutex // protects the fields below
	closed  bool
	order   []string // names, as configured
	servers map[string]*server
}

// ServerStatus is the state of one server.
type ServerStatus struct {
	Name      string
	Connected bool
	Tools     int       // that are offered now
	LastError string    // the kind of the last error that cost a session or an attempt at one; "": none yet
	Since     time.Time // when Connected last changed
}

// New checks the configuration, whose problems it returns joined, and begins to connect in the background. The Catalogue must be closed.
func New(cfg Config) (*Catalogue, error) {
	env, err := newEnvironment(cfg)
	if err = errors.Join(err, Validate(cfg.Servers)); err != nil {
		return nil, err
	}
	c := &Catalogue{env: env, servers: map[string]*server{}}
	c.life, c.end = context.WithCancelCause(context.Background())
	if err := c.SetServers(cfg.Servers); err != nil {
		return nil, err
	}
	return c, nil
}

// SetServers replaces the servers. One whose address, credential and limits are the same keeps its session; one that is removed or changed finishes
// its running calls on the old session, which then closes. With an error nothing changes.
func (c *Catalogue) SetServers(servers []Server) error {
	commit, err := c.Prepare(servers)
	if err == nil {
		commit()
	}
	return err
}

// Prepare checks the servers and returns what makes them the catalogue's, as SetServers does. Until commit is called nothing changes, and commit
// cannot fail; after Close it does nothing.
func (c *Catalogue) Prepare(servers []Server) (commit func(), err error) {
	if err := Validate(servers); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	return func() { c.setServers(servers) }, nil
}

// setServers is the commit of Prepare.
func (c *Catalogue) setServers(servers []Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	next := make(map[string]*server, len(servers))
	c.order = c.order[:0]
	for _, cfg := range servers {
		cfg = cfg.clone().withDefaults()
		c.order = append(c.order, cfg.Name)
		if v, ok := c.servers[cfg.Name]; ok && v.config().sameSession(cfg) {
			v.configure(cfg)
			next[cfg.Name] = v
			continue
		}
		next[cfg.Name] = startServer(c.env, cfg, &c.work)
	}
	for name, v := range c.servers {
		if next[name] != v {
			v.stop()
		}
	}
	c.servers = next
}

// Close cancels the running calls, ends the sessions and the child processes, and waits until all is over.
func (c *Catalogue) Close() error {
	c.mu.Lock()
	c.closed = true
	c.end(errClosed)
	for _, v := range c.servers {
		v.stop()
	}
	c.mu.Unlock()
	c.work.Wait()
	return nil
}

// Tools returns the tools of these servers, in this order, those of one server by name: the same servers in the same state give the same list. It
// waits up to a second for servers that have not been heard of since they were configured, and for nothing else: lists are refreshed in the
// background, and a server that is down has no tools.
func (c *Catalogue) Tools(ctx context.Context, servers []string) []Tool {
	found := c.named(servers)
	c.await(ctx, found)
	var tools []Tool
	for _, v := range found {
		offered, _, _ := v.offered()
		tools = append(tools, offered...)
	}
	return tools
}

// Instructions are what a server says about the use of its tools, for the model: at most 8 KiB. They are as little to be trusted as the server is.
// https://modelcontextprotocol.io/specification/2025-11-25/schema#initializeresult-instructions
type Instructions struct{ Server, Text string }

// Instructions returns what those of these servers say that offer tools now, in this order. It waits for nothing: ask for the tools first.
func (c *Catalogue) Instructions(servers []string) (found []Instructions) {
	for _, v := range c.named(servers) {
		if text := v.instructions(); text != "" {
			found = append(found, Instructions{v.config().Name, text})
		}
	}
	return found
}

// named returns the servers of these names; names that are not configured are left out.
func (c *Catalogue) named(names []string) (found []*server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, name := range names {
		if v, ok := c.servers[name]; ok && !slices.Contains(names[:i], name) {
			found = append(found, v)
		}
	}
	return found
}

// await waits until all have been heard of, for a bounded time.
func (c *Catalogue) await(ctx context.Context, servers []*server) {
	servers = slices.DeleteFunc(slices.Clone(servers), func(v *server) bool {
		_, heard, _ := v.offered()
		return heard
	})
	if len(servers) == 0 {
		return
	}
	timer := c.env.clock.NewTimer(firstWait, "first")
	defer timer.Stop()
	for _, v := range servers {
		for {
			_, heard, news := v.offered()
			if heard {
				break
			}
			select {
			case <-news:
			case <-timer.C():
				return
			case <-ctx.Done():
				return
			case <-c.life.Done():
				return
			}
		}
	}
}

// Status returns the state of every server, as configured.
func (c *Catalogue) Status() []ServerStatus {
	c.mu.Lock()
	order := slices.Clone(c.order)
	c.mu.Unlock()
	var states []ServerStatus
	for _, v := range c.named(order) {
		states = append(states, v.status())
	}
	return states
}
