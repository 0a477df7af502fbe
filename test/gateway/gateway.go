// Package gateway starts a whole gateway for a test: the built keyturn, a real Envoy with the configuration that keyturn
// renders, and a scripted provider behind them. A case is a few lines:
//
//	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Keys: []string{"k0-long-key", "k1-long-key"}}}})
//	gw.Provider.Key("k0-long-key", scripted.RateLimited(5*time.Second)).Key("k1-long-key", scripted.OK("hello"))
//	resp := gw.Post(t, "/v1/responses", `{"model":"m","input":"hi"}`)
//	require.Equal(t, []string{"temporary", "valid"}, gw.States(t, "openai"))
//
// When the test ends, Envoy must still be alive, keyturn must have ended as asked, without a data race or a panic, and no key
// may stand in a log.
package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/envoy/process"
	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/internal/toolserver"
)

// Config is what Start makes a gateway of. The zero value has one pool "openai" with the keys k0-long-key, k1-long-key and
// k2-long-key.
type Config struct {
	// Pools are the pools; each gets its own cluster with the provider behind it.
	Pools []Pool
	// Envoy is merged into the section envoy of keyturn.yaml, Top into the file.
	Envoy, Top map[string]any
	// Binary is the Envoy to run. The zero value is the one of all tests.
	Binary process.Binary
	// Keyturn is the path of the keyturn to run. Empty: the one that is built for all tests.
	Keyturn string
	// Provider configures the scripted provider.
	Provider scripted.Config
	// Tools starts an MCP server, which keyturn.yaml calls demo, and gives its tools to every pool without tools of its own.
	Tools bool
	// Files are written beside keyturn.yaml, by name.
	Files map[string]string
	// Secrets are what no log, metric or admin answer may hold, beside the pools' keys: the clients' credentials.
	Secrets []string
	// Edit changes Envoy's rendered configuration before Envoy starts.
	Edit func([]byte) []byte
	// Drain is how long Envoy lets open requests end when it is stopped. Zero: they are cut.
	Drain time.Duration
	// EnvoyMayDie leaves out the check that Envoy lives at the end.
	EnvoyMayDie bool
}

// Pool is one pool.
type Pool struct {
	Name     string         // default: the provider's
	Provider string         // default: openai
	Keys     []string       // default: k0-long-key, k1-long-key, k2-long-key
	Groups   []string       // by position; default: none
	Settings map[string]any // merged into the pool's section of keyturn.yaml
	Upstream string         // default: the scripted provider
	Base     string         // path of the upstream, after its host
}

// Gateway is a running gateway.
type Gateway struct {
	// URL is where clients reach it, without a slash at the end.
	URL string
	// Provider is the scripted provider behind every pool without an Upstream of its own.
	Provider *scripted.Provider
	// ProviderURL is where the scripted provider listens.
	ProviderURL string
	// Tools is the MCP server demo; nil without Config.Tools.
	Tools *toolserver.Server
	// AdminURL is the admin endpoint of Keyturn.
	AdminURL string
	// EnvoyAdminSocket is the path of the socket of Envoy's admin interface.
	EnvoyAdminSocket string
	// Dir holds keyturn.yaml, the files of keys, the sockets and the access log.
	Dir string
	// Client is the client that Get, Post and Do use. It neither keeps cookies nor follows redirects.
	Client *http.Client

	made      tools
	secrets   []string
	envoy     *process.Process
	envoyLog  *logBuffer
	log       *logBuffer // keyturn's
	mu        sync.Mutex // protects processor
	processor *processor
	mayDie    bool
}

// processor is one run of keyturn serve.
type processor struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // set before done is closed
}

// startTimeout bounds the start of every program, on a machine that is busy with other tests too.
const startTimeout = time.Minute

// Start starts a gateway and ends it with the test.
func Start(t testing.TB, cfg Config) *Gateway {
	t.Helper()
	made, err := prepare()
	require.NoError(t, err)
	made.keyturn = cmp.Or(cfg.Keyturn, made.keyturn)
	dir, err := os.MkdirTemp("", "kt") // short, for the sockets' sake
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })

	gw := &Gateway{
		made: made, secrets: slices.Clone(cfg.Secrets), Dir: dir, Provider: scripted.New(cfg.Provider), log: &logBuffer{}, envoyLog: &logBuffer{}, mayDie: cfg.EnvoyMayDie,
		Client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	server, err := gw.Provider.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })

	gw.ProviderURL = server.URL
	if cfg.Tools {
		gw.Tools, err = toolserver.Start("127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, gw.Tools.Close()) })
	}
	ports := FreePorts(t, 2)
	gw.URL, gw.AdminURL, gw.EnvoyAdminSocket = "http://"+ports[0], "http://"+ports[1], filepath.Join(dir, "envoy-admin.sock")
	gw.writeConfig(t, cfg, server.URL, ports)
	gw.StartProcessor(t)
	t.Cleanup(func() { gw.end(t) })

	rendered, err := exec.CommandContext(t.Context(), made.keyturn, "render", "envoy", "-c", gw.ConfigFile()).Output()
	require.NoError(t, err, "%s", stderrOf(err))
	if cfg.Edit != nil {
		rendered = cfg.Edit(rendered)
	}
	made.envoy = cmp.Or(cfg.Binary, made.envoy)
	gw.envoy, err = made.envoy.Start(context.Background(), process.RunConfig{
		Bootstrap: rendered, Folder: dir, Dir: dir, Concurrency: 2, Log: gw.envoyLog, Drain: cmp.Or(cfg.Drain, -1),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	require.NoError(t, gw.envoy.Ready(ctx))
	return gw
}

// ConfigFile is the path of keyturn.yaml.
func (gw *Gateway) ConfigFile() string { return filepath.Join(gw.Dir, "keyturn.yaml") }

func (gw *Gateway) writeConfig(t testing.TB, cfg Config, provider string, ports []string) {
	t.Helper()
	for name, content := range cfg.Files {
		require.NoError(t, os.WriteFile(filepath.Join(gw.Dir, name), []byte(content), 0o600))
	}
	if len(cfg.Pools) == 0 {
		cfg.Pools = []Pool{{}}
	}
	var pools []map[string]any
	for _, p := range cfg.Pools {
		if p.Provider == "" {
			p.Provider = "openai"
		}
		if p.Name == "" {
			p.Name = p.Provider
		}
		if p.Keys == nil {
			p.Keys = []string{"k0-long-key", "k1-long-key", "k2-long-key"}
		}
		if p.Upstream == "" {
			p.Upstream = provider
		}
		var keys []map[string]any
		for i, k := range p.Keys {
			entry := map[string]any{"name": fmt.Sprintf("key%d", i), "file": filepath.Base(gw.WriteKey(t, p.Name, i, k))}
			if i < len(p.Groups) && p.Groups[i] != "" {
				entry["group"] = p.Groups[i]
			}
			keys = append(keys, entry)
		}
		pool := map[string]any{"name": p.Name, "provider": p.Provider, "upstream": p.Upstream + p.Base, "keys": keys}
		if gw.Tools != nil {
			pool["tools"] = map[string]any{"servers": []string{"demo"}}
		}
		mergeInto(pool, p.Settings)
		pools = append(pools, pool)
	}
	envoySection := map[string]any{
		"listen": ports[0], "admin": "unix:envoy-admin.sock", "loopback": "unix:loopback.sock", "access_log": "access.log",
	}
	if cfg.Binary.Version != "" {
		envoySection["version"] = cfg.Binary.Version
	}
	mergeInto(envoySection, cfg.Envoy)
	top := map[string]any{
		"listen": "unix:extproc.sock", "admin": map[string]any{"listen": ports[1]}, "log": map[string]any{"level": "debug", "format": "json"},
		"pools": pools, "envoy": envoySection,
	}
	if gw.Tools != nil {
		top["tools"] = map[string]any{"servers": []map[string]any{{"name": "demo", "url": gw.Tools.URL}}}
	}
	mergeInto(top, cfg.Top)
	b, err := yaml.Marshal(top)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(gw.ConfigFile(), b, 0o600))
}

// WriteKey writes the file of a pool's i-th key, under another name first: a key is there whole or not at all. It returns the
// path. The running keyturn sees the change by itself.
func (gw *Gateway) WriteKey(t testing.TB, pool string, i int, key string) string {
	t.Helper()
	path := filepath.Join(gw.Dir, fmt.Sprintf("%s-%d.key", pool, i))
	require.NoError(t, os.WriteFile(path+".new", []byte(key+"\n"), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
	gw.secrets = append(gw.secrets, key)
	return path
}

// mergeInto lays over onto base; a map meets a map, nil takes out, anything else is replaced.
func mergeInto(base, over map[string]any) {
	for k, v := range over {
		if v == nil {
			delete(base, k)
			continue
		}
		below, ok := base[k].(map[string]any)
		above, isMap := v.(map[string]any)
		if ok && isMap {
			mergeInto(below, above)
			continue
		}
		base[k] = v
	}
}

// end stops both programs and looks at what they left behind.
func (gw *Gateway) end(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if gw.envoy != nil {
		if err := gw.envoy.Stop(ctx); err != nil && !gw.mayDie {
			t.Errorf("Envoy: %v\n%s", err, gw.envoyLog.String())
		}
	}
	if gw.processor != nil {
		if err := gw.processor.stop(); err != nil {
			t.Errorf("keyturn: %v\n%s", err, gw.log.String())
		}
	}
	for _, text := range []string{"DATA RACE", "panic"} {
		if strings.Contains(gw.log.String(), text) {
			t.Errorf("keyturn's log has a %s:\n%s", text, gw.log.String())
		}
	}
	access, _ := os.ReadFile(filepath.Join(gw.Dir, "access.log"))
	for name, text := range map[string]string{"keyturn's log": gw.log.String(), "Envoy's log": gw.envoyLog.String(), "the access log": string(access)} {
		for _, s := range gw.secrets {
			if strings.Contains(text, s) {
				t.Errorf("%s holds a key", name)
			}
		}
	}
	if t.Failed() && testing.Verbose() {
		t.Logf("keyturn's log:\n%s\nEnvoy's log:\n%s", gw.log.String(), gw.envoyLog.String())
	}
}

// StopEnvoy asks Envoy to end, and returns at once. What comes from the channel says how it ended.
func (gw *Gateway) StopEnvoy(t testing.TB) <-chan error {
	t.Helper()
	stopped := make(chan error, 1)
	go func() { stopped <- gw.envoy.Stop(context.WithoutCancel(t.Context())) }()
	return stopped
}

// EnvoyAlive says whether Envoy runs.
func (gw *Gateway) EnvoyAlive() bool {
	select {
	case <-gw.envoy.Done():
		return false
	default:
		return true
	}
}

// EnvoyDies reports whether Envoy ends by itself within d: one that crashes cuts its connections before it is gone.
func (gw *Gateway) EnvoyDies(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-gw.envoy.Done():
		return true
	case <-timer.C:
		return false
	}
}

// Log is what keyturn has logged so far.
func (gw *Gateway) Log() string { return gw.log.String() }

// Eventually waits until ok is true, for at most startTimeout.
func (gw *Gateway) Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			require.FailNow(t, "waited in vain", "%s\nkeyturn's log:\n%s", what, gw.log.String())
		}
	}
}

// FreePorts finds n loopback addresses that are free now.
func FreePorts(t testing.TB, n int) []string {
	t.Helper()
	var addresses []string
	for range n {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close() // all are held until all are found
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

func stderrOf(err error) []byte {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.Stderr
	}
	return nil
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
