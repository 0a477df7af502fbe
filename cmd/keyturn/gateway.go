package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/coder/quartz"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/telemetry"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// shutdownGrace is how long attempts under way may go on after the signal to stop.
const shutdownGrace = 30 * time.Second

// gateway is the processor with its pools and what the operator sees of them.
type gateway struct {
	log       *slog.Logger
	telemetry *telemetry.Telemetry
	catalogue *mcp.Catalogue
	server    *extproc.Server
	held      int64 // bytes of a body that Envoy can hold

	mu       sync.Mutex // protects the fields below
	cfg      *config.Config
	pools    []*keypool.Pool
	onChange func(*config.Config) // told of each configuration that took effect; set before serve
}

func newGateway(cfg *config.Config, log *slog.Logger) (*gateway, error) {
	t, err := telemetry.New()
	if err != nil {
		return nil, err
	}
	g := &gateway{log: log, telemetry: t, held: largestBody(cfg)}
	pools, bound, err := g.build(cfg)
	if err != nil {
		return nil, err
	}
	if err := g.startTools(cfg); err != nil {
		return nil, err
	}
	g.server, err = extproc.New(extproc.Config{
		Pools: bound, MaxRetry: cfg.Envoy.MaxRequestBytes, MaxMemory: bodyMemory(cfg), Log: log, MeterProvider: t.MeterProvider(), TracerProvider: t.TracerProvider(),
		Catalogue: g.catalogue, Loopback: cfg.Envoy.Loopback,
	})
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	g.cfg, g.pools = cfg, pools
	return g, nil
}

// newLogger is the logger that cfg asks for, with the warnings of the configuration as its first lines.
func newLogger(cfg *config.Config) (*slog.Logger, error) {
	log, err := telemetry.NewLogger(os.Stderr, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return nil, err
	}
	for _, w := range cfg.Warnings {
		log.Warn("configuration", slog.String("warning", w))
	}
	return log, nil
}

// largestBody is what the Envoy that is rendered for cfg can hold of a body, at least, in bytes.
func largestBody(cfg *config.Config) int64 {
	most := cfg.Envoy.MaxRequestBytes
	for _, p := range cfg.Pools {
		most = max(most, p.MaxBody)
	}
	return most
}

// build makes the pools of cfg, with the state of the keys that stay.
func (g *gateway) build(cfg *config.Config) ([]*keypool.Pool, []extproc.Pool, error) {
	had := map[string]*keypool.Pool{}
	for _, p := range g.pools {
		had[p.Name()] = p
	}
	var pools []*keypool.Pool
	var bound []extproc.Pool
	var clientKeys []string // for this gateway, and never a client's own for the provider
	for _, k := range cfg.Envoy.Clients.APIKeys {
		clientKeys = append(clientKeys, k.Secret)
	}
	for _, p := range cfg.Pools {
		kc, err := keypoolConfig(cfg, p)
		if err != nil {
			return nil, nil, err
		}
		pool := had[p.Name]
		if pool == nil {
			pool, err = keypool.NewPool(kc, quartz.NewReal())
		} else {
			err = pool.Reload(kc)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("pool %q: %w", p.Name, err)
		}
		pools = append(pools, pool)
		bound = append(bound, extproc.Pool{
			Keys: pool, Provider: p.Provider, Cluster: p.Clusters[0], Authority: p.Upstream.Host, Header: p.Credential.Header, Scheme: p.Credential.Scheme,
			BYOK: p.BYOK.Allow, Placeholders: slices.Concat(p.BYOK.Placeholders, clientKeys), MaxBody: min(p.MaxBody, g.held), Deadline: p.Deadline, KeepRateLimitHeaders: p.KeepRateLimitHeaders,
			Tools: poolTools(p.Tools),
		})
	}
	return pools, bound, nil
}

func keypoolConfig(cfg *config.Config, p config.Pool) (keypool.Config, error) {
	kc := keypool.Defaults()
	kc.Name = p.Name
	kc.ReviveAfter, kc.ReviveMax = p.ReviveAfter, max(kc.ReviveMax, p.ReviveAfter)
	kc.Cooldown = keypool.Cooldown(p.Cooldown)
	if p.Cooldown.Min == 0 {
		kc.Cooldown.Min = -1 // none: for keypool 0 is its default
	}
	if cfg.Fingerprint != "" {
		kc.Secret = []byte(cfg.Fingerprint)
	}
	for _, k := range p.Keys {
		kc.Keys = append(kc.Keys, keypool.KeyConfig{Name: k.Name, Secret: k.Secret, Group: k.Group})
	}
	var err error
	if kc.Policy.Preset, err = keypool.ParsePreset(p.Policy.Preset); err != nil {
		return kc, fmt.Errorf("pool %q: %w", p.Name, err)
	}
	for _, r := range p.Policy.Rules {
		action, err := keypool.ParseAction(r.Action)
		if err != nil {
			return kc, fmt.Errorf("pool %q: %w", p.Name, err)
		}
		kc.Policy.Rules = append(kc.Policy.Rules, keypool.Rule{Status: r.Status, Code: r.Code, Action: action, For: r.For})
	}
	return kc, nil
}

// apply makes cfg take effect on a gateway that is running.
func (g *gateway) apply(cfg *config.Config) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	pools, bound, err := g.build(cfg)
	if err != nil {
		return err
	}
	if err := g.catalogue.SetServers(toolServers(cfg)); err != nil {
		return err
	}
	if err := g.server.SetPools(bound); err != nil {
		return err
	}
	if cfg.Listen != g.cfg.Listen || cfg.Admin != g.cfg.Admin || cfg.Log != g.cfg.Log || cfg.Envoy.Loopback != g.cfg.Envoy.Loopback {
		g.log.Warn("changes of listen, admin, log and envoy.loopback take effect at the next start")
	}
	if most := largestBody(cfg); most > g.held {
		g.log.Warn("a larger max_body than this takes effect at the next start, for it needs another Envoy configuration", slog.Int64("bytes", g.held))
	}
	g.cfg, g.pools = cfg, pools
	g.log.Info("configuration applied", slog.Int("pools", len(pools)))
	if g.onChange != nil {
		g.onChange(cfg)
	}
	return nil
}

func (g *gateway) reload(context.Context) error {
	g.mu.Lock()
	path := g.cfg.Path
	g.mu.Unlock()
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	return g.apply(cfg)
}

func (g *gateway) currentPools() []*keypool.Pool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pools
}

// serve runs the processor and the admin endpoint until ctx ends, then lets attempts under way end.
func (g *gateway) serve(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, g.close()) }()
	l, err := listen(ctx, g.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	adminListener, err := admin.Listen(g.cfg.Admin.Listen, g.cfg.Admin.Token)
	if err != nil {
		return errors.Join(fmt.Errorf("admin.listen: %w", err), l.Close())
	}
	cfg := g.cfg
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return g.server.Serve(l) })
	work.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if err := g.server.Shutdown(grace); err != nil {
			g.log.Warn("attempts were cut", slog.Duration("grace", shutdownGrace))
		}
		return nil
	})
	work.Go(func() error {
		h := admin.New(admin.Config{
			Token: cfg.Admin.Token, Pools: g.currentPools, Tools: g.catalogue.Status, Metrics: g.telemetry.Handler(), Log: g.log, Version: telemetry.Version(), Reload: g.reload,
		})
		return admin.Serve(ctx, adminListener, h, g.log)
	})
	work.Go(func() error {
		return config.Watch(ctx, cfg, g.log, func(next *config.Config) {
			if err := g.apply(next); err != nil {
				g.log.Error("configuration kept as it was", slog.Any("error", err))
			}
		})
	})
	work.Go(func() error { g.reloadOnHangup(ctx); return nil })
	g.log.Info("serving", slog.String("listen", cfg.Listen), slog.String("admin", cfg.Admin.Listen), slog.Int("pools", len(cfg.Pools)))
	return work.Wait()
}

func (g *gateway) reloadOnHangup(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			if err := g.reload(ctx); err != nil {
				g.log.Error("configuration kept as it was", slog.Any("error", err))
			}
		}
	}
}
