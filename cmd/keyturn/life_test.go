package main

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keyturn/keyturn/internal/config"
)

// stage is a start that fails at one of its steps.
type stage struct {
	name  string
	want  string            // in the error
	env   map[string]string // of this process
	edit  func(_ *testing.T, dir string, c *config.Config)
	flags func(dir string) runFlags
	envoy string // what the Envoy does; "": it ends
	serve bool   // the filter alone
}

// An Envoy that can be started, and then does what it is told.
const fakeEnvoy = `#!/bin/sh
if [ "$1" = --version ]; then echo "envoy  version: 0123/1.40.0/Clean/RELEASE/BoringSSL"; exit; fi
`

var stages = []stage{
	{name: "telemetry", serve: true, want: "traces by the OTEL_ variables", env: map[string]string{
		"OTEL_METRICS_EXPORTER": "console", "OTEL_TRACES_EXPORTER": "none of these",
	}},
	{name: "telemetry's description", serve: true, want: "OTEL_RESOURCE_ATTRIBUTES", env: map[string]string{
		"OTEL_METRICS_EXPORTER": "console", "OTEL_TRACES_EXPORTER": "console", "OTEL_RESOURCE_ATTRIBUTES": "nonsense",
	}},
	{name: "keys", serve: true, want: "cooldown", edit: func(_ *testing.T, _ string, c *config.Config) { c.Pools[0].Cooldown.Max = -1 }},
	{name: "tools", serve: true, want: "transport", edit: func(_ *testing.T, _ string, c *config.Config) { c.Tools.Servers[0].Transport = "smoke" }},
	{name: "attempts", serve: true, want: "header", edit: func(_ *testing.T, _ string, c *config.Config) { c.Pools[0].Credential.Header = "Upper" }},
	{name: "listen", serve: true, want: "not a socket", edit: func(_ *testing.T, dir string, c *config.Config) {
		c.Listen = "unix:" + filepath.Join(dir, "keyturn.yaml")
	}},
	{name: "admin", serve: true, want: "admin.listen", edit: func(_ *testing.T, dir string, c *config.Config) {
		c.Admin.Listen = "unix:" + filepath.Join(dir, "keyturn.yaml")
	}},
	{name: "no Envoy", want: "the configured Envoy binary", edit: func(_ *testing.T, dir string, c *config.Config) { c.Envoy.BinaryPath = filepath.Join(dir, "none") }},
	{name: "Envoy's folder", want: "run folder", flags: func(dir string) runFlags { return runFlags{dir: filepath.Join(dir, "keyturn.yaml", "run")} }},
	{name: "Envoy ends", want: "envoy ended"},
	{name: "listen beside Envoy", want: "not a socket", envoy: "exec sleep 1000", edit: func(_ *testing.T, dir string, c *config.Config) {
		c.Listen = "unix:" + filepath.Join(dir, "keyturn.yaml")
	}},
}

// child is a command that says which process it is.
const child = `echo $$ >child; exec sleep 1000`

// TestAStartThatFailsLeavesNothing: no goroutine, child process or file, wherever it fails.
func TestAStartThatFailsLeavesNothing(t *testing.T) {
	for _, s := range stages {
		t.Run(s.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "kt") // short, for the sockets' sake
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
			t.Chdir(dir)
			t.Setenv("TMPDIR", dir)
			t.Setenv("GATEWAY_KEY", "a-key-for-gateways")
			for name, value := range s.env {
				t.Setenv(name, value)
			}
			require.NoError(t, os.WriteFile("envoy", []byte(fakeEnvoy+s.envoy), 0o700))
			require.NoError(t, os.WriteFile("keyturn.yaml", []byte(`
listen: unix:extproc.sock
admin: {listen: "unix:admin.sock"}
pools: [{provider: openai, keys: [{env: GATEWAY_KEY}], tools: {servers: [docs]}}]
tools: {servers: [{name: docs, command: [sh, -c, "`+child+`"]}]}
envoy: {listen: "127.0.0.1:0", admin: unix:envoy-admin.sock, loopback: unix:loopback.sock, binary: envoy}
`), 0o600))
			cfg, err := config.Load(filepath.Join(dir, "keyturn.yaml"))
			require.NoError(t, err)
			if s.edit != nil {
				s.edit(t, dir, cfg)
			}
			ignore := goleak.IgnoreCurrent()
			was := list(t, dir)
			err = s.start(t, cfg, dir)
			require.ErrorContains(t, err, s.want)
			goleak.VerifyNone(t, ignore)
			is := list(t, dir)
			if pid, ok := is["child"]; ok {
				require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "the MCP server's process runs on")
				delete(is, "child")
			}
			require.Equal(t, was, is)
		})
	}
}

// start runs until it fails.
func (s stage) start(t *testing.T, cfg *config.Config, dir string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if !s.serve {
		var flags runFlags
		if s.flags != nil {
			flags = s.flags(dir)
		}
		return runGateway(ctx, cfg, flags, func() { t.Error("it is ready") })
	}
	g, err := newGateway(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	require.Eventually(t, func() bool { return list(t, dir)["child"] > 0 }, 10*time.Second, 5*time.Millisecond)
	return g.serve(ctx)
}

// list is every file below dir, with the number that is in it, if any.
func list(t *testing.T, dir string) map[string]int {
	t.Helper()
	found := map[string]int{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		found[name] = 0
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found[name], _ = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		return nil
	}))
	return found
}
