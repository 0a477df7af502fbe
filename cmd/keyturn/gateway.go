package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
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
	takeOver  bool   // from a process that listens at the same addresses; set before serve

	envoy   http.RoundTripper // to the admin interface of the Envoy that run has started; nil: another's. Set before serve
	checked checked           // what was found of Envoy
	began   time.Time

	applying sync.Mutex // held while a configuration is read and applied, so that none overtakes a later one

	mu       sync.Mutex // protects the fields below; only who holds applying changes them
	cfg      *config.Config
	pools    []*keypool.Pool
	onChange func(*config.Config) []string // told of each configuration that took effect, says what of it did not; set before serve
	blank    func([]string)                // told of the secrets of each that is about to; set before serve
	last     admin.Reload                  // the answer to the last reading
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
	g := &gateway{log: log, telemetry: t, held: largestBody(cfg), cfg: cfg, began: time.Now()}
	g.last = admin.Reload{At: g.began.UTC().Truncate(time.Millisecond), By: "at the start"}
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
	if g.books, err = openBooks(g.cfg, g.telemetry, g.log); err != nil {
		return err
	}
	g.books.blank(g.cfg.Secrets())
	boundHeap(g.cfg)
	g.server, err = extproc.New(extproc.Config{
		Beside: g.books.beside(), Start: g.books.start(), Said: g.books.said(),
		Pools: c.bound, MaxRetry: g.cfg.Envoy.MaxRequestBytes, MaxMemory: bodyMemory(g.cfg), Log: g.log, MeterProvider: g.telemetry.MeterProvider(), TracerProvider: g.telemetry.TracerProvider(),
		Clients: clientsOf(g.cfg), Limits: g.cfg.Clients, TellLimits: g.cfg.Record.Tell, Catalogue: g.catalogue, Loopback: g.cfg.Envoy.Loopback,
	})
	if err != nil {
		return err
	}
	g.pools = c.pools
	if g.books != nil {
		spend := g.server.Spend
		g.books.counts.spend.Store(&spend)
	}
	return g.restore(g.cfg)
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

// serve runs the processor and the admin endpoint until ctx ends or another process takes its place, then lets attempts under way end.
func (g *gateway) serve(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, g.close()) }()
	l, err := listen(ctx, g.cfg.Listen, g.takeOver)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	var adminListener net.Listener
	if !g.takeOver { // else the process whose place is taken has it, until it has noticed
		if adminListener, err = listenAdmin(g.cfg); err != nil {
			return errors.Join(fmt.Errorf("admin.listen: %w", err), l.Close())
		}
	}
	cfg := g.cfg
	work, ctx := errgroup.WithContext(ctx)
	ctx, replaced := context.WithCancelCause(ctx)
	defer replaced(nil)
	work.Go(func() error { return g.server.Serve(l) })
	work.Go(func() error {
		if takenOver(ctx, l) {
			replaced(errTakenOver)
		}
		return nil
	})
	work.Go(func() error { g.endAttempts(ctx); return nil })
	work.Go(func() error { return g.serveAdmin(ctx, adminListener, cfg) })
	work.Go(func() error {
		return config.Watch(ctx, cfg, g.log, func(next *config.Config) {
			later, err := g.apply(next)
			g.noteReload("a file changed", later, err)
			if err != nil {
				g.log.Error("configuration kept as it was", slog.Any("error", err))
			}
		})
	})
	work.Go(func() error { g.reloadOnHangup(ctx); return nil })
	g.log.Info("serving", slog.String("listen", cfg.Listen), slog.String("admin", cfg.Admin.Listen), slog.Int("pools", len(cfg.Pools)))
	return work.Wait()
}

var errTakenOver = errors.New("another process listens in the place of this one")

// takenOverGrace is how long attempts under way may go on where another process serves new ones already.
const takenOverGrace = 15 * time.Minute

// endAttempts waits for the end of ctx, and then for the attempts under way.
func (g *gateway) endAttempts(ctx context.Context) {
	<-ctx.Done()
	most, why := shutdownGrace, "told to end"
	if errors.Is(context.Cause(ctx), errTakenOver) {
		most, why = takenOverGrace, errTakenOver.Error()
	}
	g.log.Info("ending, when the attempts under way have", slog.String("why", why), slog.Int64("attempts", g.server.Open()), slog.Duration("for_at_most", most))
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
	defer cancel()
	if err := g.server.Shutdown(grace); err != nil {
		g.log.Warn("attempts were cut", slog.Duration("grace", most))
	}
}

// listenAdmin opens the admin endpoint.
func listenAdmin(cfg *config.Config) (net.Listener, error) {
	if l, err := inherited(cfg.Admin.Listen); l != nil || err != nil {
		return l, err
	}
	return admin.Listen(cfg.Admin.Listen, cfg.Admin.Token)
}

// takeOverTimeout is how long the process whose place is taken may hold the admin endpoint.
const takeOverTimeout = 30 * time.Second

// serveAdmin serves the admin endpoint on l until ctx ends. Without l it opens it as soon as it can.
func (g *gateway) serveAdmin(ctx context.Context, l net.Listener, cfg *config.Config) (err error) {
	tick := time.NewTicker(takeOverTick)
	defer tick.Stop()
	for deadline := time.Now().Add(takeOverTimeout); l == nil; {
		if l, err = listenAdmin(cfg); err == nil {
			break
		}
		if l = nil; time.Now().After(deadline) {
			return fmt.Errorf("admin.listen: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	h := admin.New(admin.Config{
		Token: cfg.Admin.Token, Pools: g.currentPools, Tools: g.catalogue.Detail, Records: g.books.records(), Clients: g.clients, Viewers: cfg.Admin.Viewers,
		Metrics: g.telemetry.Handler(), Log: g.log, Version: telemetry.Version(),
		Reload: func(context.Context) ([]string, error) { return g.reload("an operator") }, About: g.about, Running: g.running, TraceURL: cfg.Telemetry.TraceURL,
	})
	return admin.Serve(ctx, l, h, g.log)
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
			if _, err := g.reload("SIGHUP"); err != nil {
				g.log.Error("configuration kept as it was", slog.Any("error", err))
			}
		}
	}
}
