package istio

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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/test/xds"
	meshconfigs "istio.io/istio/pkg/config/mesh"

	"github.com/keyturn/keyturn/envoy/process"
	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/internal/toolserver"
)

// Where the programs listen, in a network of their own.
const (
	discoveryAddress = "127.0.0.1:15010" // istiod's, without TLS
	providerAddress  = "127.0.0.1:443"
	plainAddress     = "127.0.0.1:8090"
	keyturnAdmin     = "127.0.0.1:9420"
)

// startTimeout bounds the start of every program, on a machine that is busy.
const startTimeout = time.Minute

// requestTimeout ends a request that hangs.
const requestTimeout = 30 * time.Second

// accessLogFormat is what a mesh says in its MeshConfig to see Keyturn's keys.
const accessLogFormat = `{"status":"%RESPONSE_CODE%","attempts":"%UPSTREAM_REQUEST_ATTEMPT_COUNT%","cluster":"%UPSTREAM_CLUSTER_RAW%",` +
	`"host":"%REQ(:AUTHORITY)%","pool":"%DYNAMIC_METADATA(keyturn:pool)%","key":"%DYNAMIC_METADATA(keyturn:key)%",` +
	`"error":"%RESP(X-KEYTURN-ERROR)%","turns":"%DYNAMIC_METADATA(keyturn:turns)%","details":"%RESPONSE_CODE_DETAILS%"}`

// accessLogFile is the same for all proxies: the control plane's part in this process remembers the first one.
func accessLogFile() string { return filepath.Join(os.Getenv(folderEnv), "access.log") }

// mesh is one proxy of a mesh, its control plane, and what stands around it.
type mesh struct {
	form     form
	dir      string
	config   string // keyturn.yaml
	rendered string // what keyturn printed for it
	provider *scripted.Provider
	tools    *toolserver.Server
	plain    *recorder
	client   *http.Client

	envoy         *process.Process
	envoyLog, log *logBuffer
	keyturn       *exec.Cmd
	keyturnDone   chan struct{}
	keyturnErr    error // set before keyturnDone is closed
	discovery     *xds.FakeDiscoveryServer

	wants []map[string]any // what must stand in the access log, a line for each request of keys
}

// startMesh starts everything with the resources that Keyturn renders for a form of attachment, changed by the edits. What the
// form brings of its own is there too.
func startMesh(t *testing.T, f form, edits ...func(t *testing.T, m *mesh, rendered string) string) *mesh {
	t.Helper()
	if f.captures {
		require.NoError(t, errCapture, "connections cannot be redirected in a network namespace of this machine")
	}
	dir, err := os.MkdirTemp(os.Getenv(folderEnv), "m")
	require.NoError(t, err)
	m := &mesh{form: f, dir: dir, plain: &recorder{}, log: &logBuffer{}, envoyLog: &logBuffer{}}
	require.NoError(t, os.RemoveAll(accessLogFile()))
	m.client = &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			DisableCompression: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", m.form.dial)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(m.client.CloseIdleConnections)

	ca := newAuthority(t)
	m.provider = scripted.New(scripted.Config{TLS: ca.serverTLS(t)})
	server, err := m.provider.Start(providerAddress)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	m.tools, err = toolserver.Start("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.tools.Close()) })
	m.plain.serve(t)
	serveSecrets(t, dir, ca)

	m.config = writeConfig(t, dir, f, m.tools)
	rendered := render(t, m.config, f.args...)
	for _, edit := range edits {
		rendered = edit(t, m, rendered)
	}
	m.rendered = rendered
	m.startKeyturn(t)
	m.startControlPlane(t, rendered)
	m.startEnvoy(t, f)
	return m
}

// render is what keyturn prints.
func render(t *testing.T, config string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), made.keyturn, append([]string{"render", "istio", "-c", config, "-n", namespace}, args...)...)
	cmd.Dir = filepath.Dir(config)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	return string(out)
}

func (m *mesh) startKeyturn(t *testing.T) {
	t.Helper()
	m.keyturn, m.keyturnDone = exec.Command(made.keyturn, "serve", "-c", m.config), make(chan struct{})
	m.keyturn.Stderr = m.log
	require.NoError(t, m.keyturn.Start())
	go func() {
		defer close(m.keyturnDone)
		m.keyturnErr = m.keyturn.Wait()
	}()
	t.Cleanup(func() {
		m.stopKeyturn(t)
		if m.keyturnErr != nil {
			t.Errorf("keyturn: %v\n%s", m.keyturnErr, m.log)
		}
		for _, p := range []string{"panic", "DATA RACE", clientKey, ownKey, poolKeys[0], poolKeys[1], poolKeys[2]} {
			if strings.Contains(m.log.String(), p) {
				t.Errorf("keyturn's log holds %q", p)
			}
		}
		if t.Failed() {
			t.Logf("keyturn's log:\n%s\nEnvoy's log:\n%s", m.log, m.envoyLog)
		}
	})
	m.eventually(t, "keyturn serves", func() bool {
		select {
		case <-m.keyturnDone:
			require.FailNow(t, "keyturn ended", "%v\n%s", m.keyturnErr, m.log)
		default:
		}
		resp, err := http.Get("http://" + keyturnAdmin + "/healthz")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// startControlPlane serves the resources as istiod does.
func (m *mesh) startControlPlane(t *testing.T, resources string) {
	t.Helper()
	mc := meshconfigs.DefaultMeshConfig()
	mc.AccessLogFile = accessLogFile()
	mc.AccessLogEncoding = meshconfig.MeshConfig_JSON
	mc.AccessLogFormat = accessLogFormat
	istio, kubernetes := split(t, resources)
	m.discovery = xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		ConfigString:           join(istio, m.form.around),
		KubernetesObjectString: join(kubernetes, m.form.kubernetes),
		MeshConfig:             mc,
		ListenerBuilder:        func() (net.Listener, error) { return net.Listen("tcp", discoveryAddress) },
	})
}

// startEnvoy starts the proxy that Keyturn is beside, and waits until it has what the control plane has for it.
func (m *mesh) startEnvoy(t *testing.T, f form) {
	t.Helper()
	m.form = f
	m.envoy = m.runEnvoy(t, f, m.dir)
}

// runEnvoy starts a proxy in a folder of its own and waits until it listens.
func (m *mesh) runEnvoy(t *testing.T, f form, dir string) *process.Process {
	t.Helper()
	p, err := made.envoy.Start(context.Background(), process.RunConfig{
		Bootstrap: []byte(f.bootstrap(m.dir)), Folder: dir, Dir: dir, Concurrency: 2, Log: m.envoyLog, Drain: cmp.Or(f.drain, -1),
	})
	require.NoError(t, err)
	t.Cleanup(func() { m.stopEnvoy(t, p) })
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	require.NoError(t, p.Ready(ctx))
	m.eventually(t, "the proxy listens", func() bool {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", f.listens())
		return err == nil && c.Close() == nil
	})
	return p
}

// stopEnvoy ends a proxy, which is no error when it has ended as asked before.
func (m *mesh) stopEnvoy(t *testing.T, p *process.Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Errorf("Envoy: %v\n%s", err, m.envoyLog)
	}
}

// stopKeyturn ends keyturn and waits until it has.
func (m *mesh) stopKeyturn(t *testing.T) {
	t.Helper()
	if err := m.keyturn.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	<-m.keyturnDone
}

// eventually waits until ok is true.
func (m *mesh) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(startTimeout), time.NewTicker(10*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			require.FailNow(t, "waited in vain", "%s\nkeyturn's log:\n%s\nEnvoy's log:\n%s", what, m.log, m.envoyLog)
		}
	}
}

// recorder is the unrelated service: it remembers what it was asked and answers with the status that the request wants.
type recorder struct {
	mu   sync.Mutex // protects seen
	seen []http.Header
}

func (r *recorder) serve(t *testing.T) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", plainAddress)
	require.NoError(t, err)
	s := &http.Server{Handler: r, ReadHeaderTimeout: startTimeout}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, req.Header.Clone())
	if req.URL.Path == "/429" {
		w.WriteHeader(http.StatusTooManyRequests)
	}
	fmt.Fprint(w, "plain")
}

func (r *recorder) take() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
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

// String leaves out what Envoy says of the deprecated fields that Istio's own configuration has, once for each of them.
func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for line := range strings.Lines(l.b.String()) {
		if !strings.Contains(line, "Deprecated field") {
			b.WriteString(line)
		}
	}
	return b.String()
}
