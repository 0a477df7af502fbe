package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/telemetry"
)

// about is what there is to say of the pools beside their keys.
func (g *gateway) about() []admin.PoolAbout {
	g.mu.Lock()
	cfg := g.cfg
	g.mu.Unlock()
	var all []admin.PoolAbout
	for i := range cfg.Pools {
		p := &cfg.Pools[i]
		a := admin.PoolAbout{Name: p.Name, Provider: p.Provider, Upstream: p.Upstream.Host, Fallback: p.Fallback.To}
		if p.Tools != nil {
			a.Tools = p.Tools.Servers
		}
		all = append(all, a)
	}
	return all
}

// running is what is in force.
func (g *gateway) running(ctx context.Context) admin.Running {
	g.mu.Lock()
	cfg, last := g.cfg, g.last
	g.mu.Unlock()
	load := g.server.Load()
	r := admin.Running{
		Version: telemetry.Version(), Go: strings.TrimPrefix(runtime.Version(), "go"), Started: g.began.UTC().Truncate(time.Millisecond), File: cfg.Path,
		Settings: []admin.Setting{}, Warnings: append([]string{}, cfg.Warnings...), Reload: last, Envoy: g.checked.answer(ctx, g, cfg),
		Limits:   []admin.Limit{{Name: "memory of bodies in work (limits.memory)", Now: load.Memory, Most: load.MemoryMost, Unit: "bytes"}},
		Recorder: g.books.recorder(&cfg.Record), Shared: "this process alone: nothing is shared between replicas",
	}
	for _, s := range cfg.Settings() {
		r.Settings = append(r.Settings, admin.Setting(s))
	}
	if r.Recorder.Stored {
		r.Limits = append(r.Limits,
			admin.Limit{Name: "records that wait for the store", Now: r.Recorder.WaitingTurns, Most: record.QueueTurns},
			admin.Limit{Name: "memory of those records", Now: r.Recorder.WaitingBytes, Most: record.QueueBytes, Unit: "bytes"})
	}
	return r
}

// recorder is where records go.
func (b *books) recorder(c *config.Record) admin.Recorder {
	switch {
	case b == nil:
		return admin.Recorder{Where: "nowhere: record is off"}
	case c.SQLite != "":
		turns, bytes := b.kept.Waiting()
		return admin.Recorder{Where: "SQLite, in " + c.SQLite, Stored: true, WaitingTurns: int64(turns), WaitingBytes: int64(bytes)}
	case b.kept.Stored():
		turns, bytes := b.kept.Waiting()
		return admin.Recorder{Where: "PostgreSQL", Stored: true, WaitingTurns: int64(turns), WaitingBytes: int64(bytes)}
	}
	return admin.Recorder{Where: "memory alone: the last 10,000 turns, until Keyturn ends"}
}

// checked remembers what was found of Envoy: its configuration may be large, and pages that are open ask all the time.
type checked struct {
	mu   sync.Mutex // held while Envoy is asked
	last *admin.EnvoyAnswer
	of   *config.Config
}

// Bounds of asking Envoy.
const (
	checkFresh   = 30 * time.Second
	checkTimeout = 5 * time.Second
)

// answer is what check says of the Envoy that runs.
func (c *checked) answer(ctx context.Context, g *gateway, cfg *config.Config) *admin.EnvoyAnswer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil && c.of == cfg && time.Since(c.last.At) < checkFresh {
		return c.last
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	a := &admin.EnvoyAnswer{At: time.Now().UTC().Truncate(time.Millisecond), Findings: []admin.Finding{}}
	if err := g.askAboutEnvoy(ctx, cfg, a); err != nil {
		a.Error = err.Error()
	}
	if ctx.Err() == nil || a.Error == "" {
		c.last, c.of = a, cfg
	}
	return a
}

// askAboutEnvoy fills a.
func (g *gateway) askAboutEnvoy(ctx context.Context, cfg *config.Config, a *admin.EnvoyAnswer) error {
	ask := func(path, query string) ([]byte, error) { return askEnvoy(ctx, cfg.Envoy.Admin, path, query) }
	own := cfg.EnvoyConfig()
	if g.envoy != nil {
		own = cfg.OwnEnvoy()
		ask = func(path, query string) ([]byte, error) { return askBy(ctx, g.envoy, path, query) }
	} else if cfg.Envoy.Admin == "" {
		return errors.New("envoy.admin names no admin interface, so Envoy cannot be asked")
	}
	var info struct{ Version string }
	b, err := ask("server_info", "")
	if err != nil {
		return fmt.Errorf("Envoy cannot be asked at envoy.admin: %w", err) //nolint:staticcheck // a name
	}
	if json.Unmarshal(b, &info) == nil {
		if f := strings.Split(info.Version, "/"); len(f) > 1 {
			a.Version = f[1]
		}
	}
	dump, err := ask("config_dump", "include_eds")
	if err != nil {
		return err
	}
	found, err := check.Envoy(dump, wanted(own))
	for _, f := range found {
		a.Findings = append(a.Findings, admin.Finding{
			Severity: f.Severity.String(), Where: f.Where, Setting: f.Setting, Found: f.Found, Want: f.Want, Consequence: f.Consequence, Remedy: f.Remedy,
		})
	}
	return err
}

// askBy asks an admin interface of Envoy that a transport leads to.
func askBy(ctx context.Context, envoy http.RoundTripper, path, query string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://envoy/"+path+"?"+query, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: envoy}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New("it answered " + resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxDump))
}
