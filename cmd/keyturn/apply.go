package main

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/coder/quartz"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/keypool"
)

// change is a configuration made ready: all of it was checked, and nothing of it has taken effect.
type change struct {
	pools   []*keypool.Pool // with the keys that they had before, unless they are new
	bound   []extproc.Pool
	commits []func() // none of them can fail
}

// apply makes cfg take effect on a gateway that is running: all of it, or with an error nothing.
func (g *gateway) apply(cfg *config.Config) (later []string, err error) {
	g.applying.Lock()
	defer g.applying.Unlock()
	return g.applyLocked(cfg)
}

// noteReload remembers the answer to reading the configuration, for who asks what is running.
func (g *gateway) noteReload(by string, later []string, err error) {
	last := admin.Reload{At: time.Now().UTC().Truncate(time.Millisecond), By: by, Later: later}
	if err != nil {
		last.Error = err.Error()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = last
}

// reload reads the configuration again and applies it. by is what made Keyturn do it, in words. While it does nobody else applies one that was read before.
func (g *gateway) reload(by string) (later []string, err error) {
	g.applying.Lock()
	defer g.applying.Unlock()
	defer func() { g.noteReload(by, later, err) }()
	cfg, err := config.Load(g.cfg.Path)
	if err != nil {
		return nil, err
	}
	return g.applyLocked(cfg)
}

// applyLocked returns what takes effect at the next start only, which is logged too.
func (g *gateway) applyLocked(cfg *config.Config) (later []string, err error) {
	c, err := g.prepare(cfg)
	if err != nil {
		return nil, err
	}
	if g.blank != nil {
		g.blank(cfg.Secrets())
	}
	g.books.blank(cfg.Secrets())
	for _, commit := range c.commits {
		commit()
	}
	later = g.unchanged(cfg)
	g.mu.Lock()
	g.cfg, g.pools = cfg, c.pools
	g.mu.Unlock()
	g.log.Info("configuration applied", slog.Int("pools", len(c.pools)))
	if g.onChange != nil {
		later = append(later, g.onChange(cfg)...)
	}
	for _, what := range later {
		g.log.Warn("this change takes effect at the next start", slog.String("setting", what))
	}
	return later, nil
}

// unchanged names the settings of cfg that differ from those in force, and that a running process does not change.
func (g *gateway) unchanged(cfg *config.Config) (later []string) {
	for _, s := range []struct {
		name    string
		changed bool
	}{
		{"listen", cfg.Listen != g.cfg.Listen},
		{"admin", !reflect.DeepEqual(cfg.Admin, g.cfg.Admin)},
		{"log", cfg.Log != g.cfg.Log},
		{"record", !reflect.DeepEqual(cfg.Record, g.cfg.Record)},
		{"telemetry", !reflect.DeepEqual(cfg.Telemetry, g.cfg.Telemetry)},
		{"envoy.loopback", cfg.Envoy.Loopback != g.cfg.Envoy.Loopback},
		{"max_body above " + strconv.FormatInt(g.held, 10) + " bytes", largestBody(cfg) > g.held},
	} {
		if s.changed {
			later = append(later, s.name)
		}
	}
	return later
}

func (g *gateway) currentPools() []*keypool.Pool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pools
}

// prepare makes the change to cfg ready. The error joins what each part has against it.
func (g *gateway) prepare(cfg *config.Config) (*change, error) {
	c, err := g.preparePools(cfg)
	tools, toolsErr := g.catalogue.Prepare(cfg.ToolServers())
	if err != nil {
		return nil, errors.Join(err, toolsErr)
	}
	attempts, err := g.server.Prepare(c.bound)
	if err := errors.Join(toolsErr, err); err != nil {
		return nil, err
	}
	if err := g.restore(cfg); err != nil { // a limit may be new
		return nil, err
	}
	c.commits = append(c.commits, tools, attempts, func() {
		g.server.SetClients(clientsOf(cfg))
		g.server.SetLimits(cfg.Clients)
		g.books.know(cfg)
	})
	return c, nil
}

// clientsOf are those that Keyturn lets in where Envoy asks it.
func clientsOf(cfg *config.Config) (clients []extproc.Client) {
	for _, k := range cfg.Envoy.Clients.APIKeys {
		clients = append(clients, extproc.Client{Name: k.Name, Key: k.Secret})
	}
	return clients
}

// preparePools makes the pools of cfg: those whose name stays keep the state of the keys that stay.
func (g *gateway) preparePools(cfg *config.Config) (*change, error) {
	had := map[string]*keypool.Pool{}
	for _, p := range g.pools {
		had[p.Name()] = p
	}
	var clientKeys []string // for this gateway, and never a client's own for the provider
	for _, k := range cfg.Envoy.Clients.APIKeys {
		clientKeys = append(clientKeys, k.Secret)
	}
	c := &change{}
	var errs []error
	for _, p := range cfg.Pools {
		var pool *keypool.Pool // nil: the provider needs no key
		if len(p.Keys) > 0 {
			var commit func()
			var err error
			if pool, commit, err = preparePool(had[p.Name], cfg, p); err != nil {
				errs = append(errs, fmt.Errorf("pool %q: %w", p.Name, err))
				continue
			}
			c.commits = append(c.commits, commit)
			c.pools = append(c.pools, pool)
		}
		e := p.Processor(pool)
		e.MaxBody = min(p.MaxBody, g.held)
		e.CountUsage = !cfg.Record.Off && cfg.Record.Usage == config.UsageComplete
		e.Prompts = !cfg.Record.Off && cfg.Record.Content.Prompts && p.Content
		e.Placeholders = slices.Concat(e.Placeholders, clientKeys)
		c.bound = append(c.bound, e)
	}
	return c, errors.Join(errs...)
}

// preparePool returns had, or a new pool when it is nil, and what gives it the keys and the policy of p.
func preparePool(had *keypool.Pool, cfg *config.Config, p config.Pool) (pool *keypool.Pool, commit func(), err error) {
	kc := cfg.KeyPool(&p)
	if had == nil {
		pool, err = keypool.NewPool(kc, quartz.NewReal())
		return pool, func() {}, err
	}
	commit, err = had.Prepare(kc)
	return had, commit, err
}
