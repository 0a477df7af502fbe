package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

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
	books     *books // what is recorded; nil: nothing
	held      int64  // bytes of a body that Envoy can hold

	applying sync.Mutex // held while a configuration is read and applied, so that none overtakes a later one

	mu       sync.Mutex // protects the fields below; only who holds applying changes them
	cfg      *config.Config
	pools    []*keypool.Pool
	onChange func(*config.Config) // told of each configuration that took effect; set before serve
	blank    func([]string)       // told of the secrets of each that is about to; set before serve
}

// newGateway makes what serve runs. It leaves nothing open when it fails; else close ends it, unless serve does.
func newGateway(cfg *config.Config, log *slog.Logger) (*gateway, error) {
	if err := hide(); err != nil {
		return nil, err
	}
	t, err := telemetry.New()
	if err != nil {
		return nil, err
	}
	g := &gateway{log: log, telemetry: t, held: largestBody(cfg), cfg: cfg}
	if err := g.open(); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

// open makes the parts of a new gateway.
func (g *gateway) open() error {
	c, err := g.preparePools(g.cfg)
	if err != nil {
		return err
	}
	g.catalogue, err = mcp.New(mcp.Config{
		Servers: g.cfg.ToolServers(), Log: g.log, Version: telemetry.Version(),
		MeterProvider: g.telemetry.MeterProvider(),
	})
	if err != nil {
		return err
	}
	if g.books, err = openBooks(&g.cfg.Record, g.telemetry, g.log); err != nil {
		return err
	}
	g.books.blank(g.cfg.Secrets())
	boundHeap(g.cfg)
	g.server, err = extproc.New(extproc.Config{
		Beside: g.books.beside(),
		Pools:  c.bound, MaxRetry: g.cfg.Envoy.MaxRequestBytes, MaxMemory: bodyMemory(g.cfg), Log: g.log, MeterProvider: g.telemetry.MeterProvider(), TracerProvider: g.telemetry.TracerProvider(),
		Clients: clientsOf(g.cfg), Catalogue: g.catalogue, Loopback: g.cfg.Envoy.Loopback,
	})
	if err != nil {
		return err
	}
	g.pools = c.pools
	return nil
}

// closeTimeout bounds sending the last spans and metrics.
const closeTimeout = 5 * time.Second

// close ends what newGateway began, as far as that came.
func (g *gateway) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	if g.server != nil { // it has goroutines before it serves
		errs = append(errs, g.server.Shutdown(ctx))
	}
	errs = append(errs, g.books.close(ctx)) // after the last attempts
	if g.catalogue != nil {
		errs = append(errs, g.catalogue.Close())
	}
	return errors.Join(append(errs, g.telemetry.Shutdown(ctx))...)
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
			Token: cfg.Admin.Token, Pools: g.currentPools, Tools: g.catalogue.Status, Records: g.books.records(), Viewers: cfg.Admin.Viewers, Metrics: g.telemetry.Handler(), Log: g.log, Version: telemetry.Version(), Reload: g.reload,
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
