package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"

	"github.com/coder/quartz"

	"github.com/keyturn/keyturn/extproc"
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
func (g *gateway) apply(cfg *config.Config) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	return g.applyLocked(cfg)
}

// reload reads the configuration again and applies it. While it does nobody else applies one that was read before.
func (g *gateway) reload(context.Context) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	cfg, err := config.Load(g.cfg.Path)
	if err != nil {
		return err
	}
	return g.applyLocked(cfg)
}

func (g *gateway) applyLocked(cfg *config.Config) error {
	c, err := g.prepare(cfg)
	if err != nil {
		return err
	}
	if g.blank != nil {
		g.blank(cfg.Secrets())
	}
	g.books.blank(cfg.Secrets())
	for _, commit := range c.commits {
		commit()
	}
	if cfg.Listen != g.cfg.Listen || !reflect.DeepEqual(cfg.Admin, g.cfg.Admin) || cfg.Log != g.cfg.Log || cfg.Envoy.Loopback != g.cfg.Envoy.Loopback || !reflect.DeepEqual(cfg.Record, g.cfg.Record) || !reflect.DeepEqual(cfg.Telemetry, g.cfg.Telemetry) {
		g.log.Warn("changes of listen, admin, log, record, telemetry and envoy.loopback take effect at the next start")
	}
	if most := largestBody(cfg); most > g.held {
		g.log.Warn("a larger max_body than this takes effect at the next start, for it needs another Envoy configuration", slog.Int64("bytes", g.held))
	}
	g.mu.Lock()
	g.cfg, g.pools = cfg, c.pools
	g.mu.Unlock()
	g.log.Info("configuration applied", slog.Int("pools", len(c.pools)))
	if g.onChange != nil {
		g.onChange(cfg)
	}
	return nil
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
	c.commits = append(c.commits, tools, attempts, func() { g.server.SetClients(clientsOf(cfg)); g.books.know(cfg) })
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
