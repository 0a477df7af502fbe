// Package envoytest runs a real Envoy for the tests of the packages beside it.
package envoytest

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/process"
	"github.com/stretchr/testify/require"
)

// Rig is a real Envoy with a rendered configuration between a processor and a provider.
type Rig struct {
	Processor *Processor
	Provider  *Provider
	Folder    string
	URL       string // of the main listener
	Process   *process.Process
	Log       *Buffer
	Client    *http.Client
	Drain     time.Duration // how long Envoy may take to stop
}

// adminSocket is where the Envoy of a rig has its admin interface.
const adminSocket = "unix:envoy-admin.sock"

// StartRig renders a configuration with two pools, openai and anthropic, both served by the scripted provider, and
// starts everything. change may alter the configuration first.
func StartRig(t *testing.T, change func(*envoy.Config)) *Rig {
	t.Helper()
	r := NewRig(t)
	r.Start(t, change)
	return r
}

// Start does what StartRig does, with a rig that has been made.
func (r *Rig) Start(t *testing.T, change func(*envoy.Config)) {
	t.Helper()
	plain, err := url.Parse(r.Provider.URL)
	require.NoError(t, err)
	base := *plain
	base.Path = "/base"
	cfg := envoy.Config{
		Listen: "127.0.0.1:0", Admin: adminSocket, Processor: "unix:extproc.sock",
		Pools: []envoy.Pool{
			{Name: "openai", Upstream: plain, Keys: 3},
			{Name: "anthropic", Messages: true, Upstream: &base, Clusters: []string{"claude"}, Keys: 3},
		},
	}
	if change != nil {
		change(&cfg)
	}
	for _, pool := range cfg.Pools {
		to := Upstream{pool.Name, pool.Upstream.Host}
		if len(pool.Clusters) > 0 {
			to.Cluster = pool.Clusters[0]
		}
		r.Processor.Pools[pool.Name] = to
	}
	b, err := envoy.Render(cfg)
	require.NoError(t, err)
	doc, err := envoy.Marshal(b)
	require.NoError(t, err)
	r.Boot(t, doc)
	if cfg.Admin == adminSocket { // else the test asks for itself
		r.FindListener(t)
	}
}

// NewRig starts the processor and the provider.
func NewRig(t *testing.T) *Rig {
	t.Helper()
	folder, err := os.MkdirTemp("", "kt") // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	r := &Rig{Processor: &Processor{Pools: map[string]Upstream{}}, Provider: newProvider(t), Folder: folder, Log: &Buffer{}, Drain: -1}
	socket, err := net.Listen("unix", filepath.Join(folder, "extproc.sock"))
	require.NoError(t, err)
	r.Processor.Serve(t, socket)
	return r
}

// Boot starts Envoy.
func (r *Rig) Boot(t *testing.T, bootstrap []byte) {
	t.Helper()
	r.Process = Start(t, Real(t), process.RunConfig{Bootstrap: bootstrap, Dir: r.Folder, Stdout: r.Log, Log: r.Log, Drain: r.Drain})
	require.NoError(t, r.Process.Ready(Bounded(t)), r.Log.String())
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	r.Client = &http.Client{Transport: transport}
}

// FindListener asks Envoy where the main listener, its first, is.
func (r *Rig) FindListener(t *testing.T) {
	t.Helper()
	main, _, _ := strings.Cut(Listener(t, r.Process), "\n")
	r.URL = "http://" + main
}

// Attempts returns what the processor saw since the last call.
func (r *Rig) Attempts() []*Attempt { return r.Processor.Attempts() }

// Attempts returns what the processor saw since the last call.
func (p *Processor) Attempts() []*Attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.attempts
	p.attempts = nil
	return seen
}

// Requests returns what the provider saw since the last call.
func (r *Rig) Requests() []*http.Request {
	r.Provider.mu.Lock()
	defer r.Provider.mu.Unlock()
	seen := r.Provider.requests
	r.Provider.requests = nil
	return seen
}

// Do sends a request and returns its answer and body. headers are "name: value".
func (r *Rig) Do(t *testing.T, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "" {
			continue
		}
		if name == "host" {
			req.Host = value
			continue
		}
		req.Header[name] = append(req.Header[name], value) // in the case given: Envoy must not care
	}
	res, err := r.Client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(b)
}

// Forged are all that a client might say in Keyturn's name, twice each.
func Forged() (headers []string) {
	for _, h := range []string{
		"x-keyturn-id: 1", "x-keyturn-start: 1", "x-keyturn-pool: anthropic", "x-keyturn-client: eve", "x-keyturn-retries: 0",
		"X-Keyturn-Turn: 9", "x-keyturn-model: m", "x-keyturn-cluster: claude", "x-envoy-attempt-count: 9", "x-envoy-max-retries: 0",
	} {
		headers = append(headers, h, h)
	}
	return headers
}

// RequireError holds that an answer is an error of the gateway's own, in the shape that SDKs read.
func RequireError(t *testing.T, res *http.Response, body, code, kind string) {
	t.Helper()
	require.Equal(t, "application/json", res.Header.Get("content-type"))
	require.Equal(t, code, res.Header.Get("x-keyturn-error"))
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &got), body)
	e, _ := got["error"].(map[string]any)
	require.NotEmpty(t, e["message"])
	delete(e, "message")
	require.Equal(t, map[string]any{"type": "error", "error": map[string]any{"type": kind, "code": code, "param": nil}}, got)
}

// LogLines are the access log's, by what they are of.
func LogLines(t *testing.T, log string) map[string][]map[string]any {
	lines := map[string][]map[string]any{}
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		maps.DeleteFunc(fields, func(_ string, v any) bool { return v == nil }) // Envoy 1.37 writes null where 1.40 writes nothing
		of, _ := fields["log"].(string)
		lines[of] = append(lines[of], fields)
	}
	return lines
}

// Turn sends a request of Keyturn's own for a pool. headers are "name: value".
func (r *Rig) Turn(t *testing.T, pool, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	socket := filepath.Join(r.Folder, "loopback.sock")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://provider.example"+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("x-keyturn-pool", pool)
	req.Header.Set("x-keyturn-turn", "7")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(b)
}
