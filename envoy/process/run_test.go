package process_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/keyturn/keyturn/envoy/process"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// minimal is a configuration with an admin interface and a listener whose route answers "hi".
func minimal(admin, listen string) []byte {
	return fmt.Appendf(nil, `
admin: {address: %s}
static_resources:
  listeners:
  - name: main
    address: %s
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          access_log:
          - name: stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format: {text_format_source: {inline_string: "%%REQ(:PATH)%% %%RESPONSE_CODE%%\n"}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hi}}}]
          http_filters:
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
`, admin, listen)
}

// tcp and pipe are addresses in Envoy's configuration.
func tcp(port int) string {
	return fmt.Sprintf("{socket_address: {address: 127.0.0.1, port_value: %d}}", port)
}

func pipe(path string) string { return fmt.Sprintf("{pipe: {path: %q}}", path) }

func TestStartReadyStop(t *testing.T) {
	b := envoytest.Real(t)
	for _, tc := range []struct {
		name, admin, listen, wantAdmin string
	}{
		{"ports", tcp(0), tcp(0), `^127\.0\.0\.1:[1-9]\d*$`},
		{"sockets, relative to the working folder", pipe("admin.sock"), pipe("main.sock"), `^unix:/.*/admin\.sock$`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, folder := t.TempDir(), filepath.Join(t.TempDir(), "run")
			var stdout, log envoytest.Buffer
			p := envoytest.Start(t, b, process.RunConfig{
				Bootstrap: minimal(tc.admin, tc.listen), Folder: folder, Dir: dir,
				LogLevel: "info", LogPath: filepath.Join(folder, "..", "envoy.log"), Log: &log, Stdout: &stdout,
			})
			require.NoError(t, p.Ready(envoytest.Bounded(t)))
			require.Regexp(t, tc.wantAdmin, p.Admin())
			info, err := os.Stat(filepath.Join(folder, "envoy.yaml"))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode(), "the configuration may hold keys")
			require.NoError(t, syscall.Kill(p.PID(), 0))

			address := "unix:" + filepath.Join(dir, "main.sock")
			if tc.listen == tcp(0) {
				address = envoytest.Listener(t, p)
			}
			require.Equal(t, "hi", envoytest.Get(t, address, "/x"))
			require.Contains(t, envoytest.Get(t, p.Admin(), "/server_info"), `"concurrency": 1`)

			require.NoError(t, p.Stop(envoytest.Bounded(t)))
			require.NoError(t, p.Stop(envoytest.Bounded(t)), "a second time")
			require.NoError(t, p.Wait())
			require.Contains(t, log.String(), "caught ENVOY_SIGTERM")
			require.Equal(t, "/x 200\n", stdout.String(), "the access log")
			logged, err := os.ReadFile(filepath.Join(folder, "..", "envoy.log"))
			require.NoError(t, err)
			require.Equal(t, log.String(), string(logged))
			require.NoFileExists(t, filepath.Join(folder, "envoy.yaml"))
			require.ErrorIs(t, syscall.Kill(p.PID(), 0), syscall.ESRCH)
		})
	}
}

func TestStopDrains(t *testing.T) {
	// A request that Envoy waits for: the provider answers when the test says so.
	arrived, answer := make(chan struct{}), make(chan struct{})
	provider := http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-answer
		_, _ = io.WriteString(w, "late")
	})}
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = provider.Serve(upstream) }()
	t.Cleanup(func() { _ = provider.Close() })
	doc := bytes.Replace(minimal(tcp(0), tcp(0)), []byte("direct_response: {status: 200, body: {inline_string: hi}}"), []byte("route: {cluster: p, timeout: 0s}"), 1)
	doc = fmt.Appendf(doc, `
  clusters:
  - {name: p, connect_timeout: 5s, load_assignment: {cluster_name: p, endpoints: [{lb_endpoints: [{endpoint: {address: %s}}]}]}}
`, tcp(upstream.Addr().(*net.TCPAddr).Port))

	p := envoytest.Start(t, envoytest.Real(t), process.RunConfig{Bootstrap: doc, Drain: time.Minute})
	require.NoError(t, p.Ready(envoytest.Bounded(t)))
	conn, err := net.Dial("tcp", envoytest.Listener(t, p))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
	require.NoError(t, err)
	<-arrived

	stopped := make(chan error, 1)
	go func() { stopped <- p.Stop(context.Background()) }()
	close(answer)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, "late", string(body), "the open request was cut")
	require.NoError(t, <-stopped)
}

// silent holds one request open for ever: TCP that accepts and says nothing.
func silent(t *testing.T) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func TestStopIsBounded(t *testing.T) {
	b := envoytest.Real(t)
	for _, tc := range []struct {
		name  string
		drain time.Duration
		kill  bool // Stop's context ends before the drain
	}{
		{"by Drain", time.Second, false},
		{"by a negative Drain, at once", -1, false},
		{"by Stop's context", time.Hour, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			doc := bytes.Replace(minimal(tcp(0), tcp(0)), []byte("direct_response: {status: 200, body: {inline_string: hi}}"), []byte("route: {cluster: p, timeout: 0s}"), 1)
			doc = fmt.Appendf(doc, `
  clusters:
  - {name: p, connect_timeout: 5s, load_assignment: {cluster_name: p, endpoints: [{lb_endpoints: [{endpoint: {address: %s}}]}]}}
`, tcp(silent(t)))
			p := envoytest.Start(t, b, process.RunConfig{Bootstrap: doc, Drain: tc.drain})
			require.NoError(t, p.Ready(envoytest.Bounded(t)))
			conn, err := net.Dial("tcp", envoytest.Listener(t, p))
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
			require.NoError(t, err)
			for envoytest.Get(t, p.Admin(), "/stats?filter=main.downstream_rq_active") != "http.main.downstream_rq_active: 1\n" {
				require.NoError(t, envoytest.Bounded(t).Err())
			}
			ctx := envoytest.Bounded(t)
			if tc.kill {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
			}
			err = p.Stop(ctx)
			if tc.kill {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			} else {
				require.NoError(t, err)
			}
		})
	}
}

func TestStartContextEnds(t *testing.T) {
	b := envoytest.Real(t)
	ctx, cancel := context.WithCancel(t.Context())
	p, err := b.Start(ctx, process.RunConfig{Bootstrap: minimal(tcp(0), tcp(0))})
	require.NoError(t, err)
	require.NoError(t, p.Ready(envoytest.Bounded(t)))
	cancel()
	require.NoError(t, p.Wait())
	_, err = b.Start(ctx, process.RunConfig{Bootstrap: minimal(tcp(0), tcp(0))})
	require.ErrorIs(t, err, context.Canceled)
}

func TestStopBeforeReady(t *testing.T) {
	p := envoytest.Start(t, envoytest.Real(t), process.RunConfig{Bootstrap: minimal(tcp(0), tcp(0))})
	require.NoError(t, p.Stop(envoytest.Bounded(t)))
	require.Error(t, p.Ready(envoytest.Bounded(t)))
	require.Empty(t, p.Admin())
}

func TestReadyEndsWithEnvoy(t *testing.T) {
	b := envoytest.Real(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	port := taken.Addr().(*net.TCPAddr).Port
	secret := strings.Replace(string(minimal(tcp(0), tcp(0))), "http_filters:", `http_filters:
          - name: clients
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth
              credentials: [{client: a, key: {inline_string: "kt-client-secret"}}]
              key_sources: [{header: authorization}]`, 1)
	for _, tc := range []struct {
		name      string
		bootstrap string
		level     string
		want      []string
	}{
		{"listener's port taken", string(minimal(tcp(0), tcp(port))), "", []string{fmt.Sprintf("cannot bind '127.0.0.1:%d'", port), "Address already in use"}},
		{"admin's port taken", string(minimal(tcp(port), tcp(0))), "", []string{fmt.Sprintf("cannot bind '127.0.0.1:%d'", port)}},
		{"unknown field", strings.Replace(string(minimal(tcp(0), tcp(0))), "stat_prefix", "stat_perfix", 1), "", []string{"stat_perfix"}},
		{"keys are blanked", secret, "", []string{"credentials[0].key"}},
		{"a bad option", string(minimal(tcp(0), tcp(0))), "loud", []string{"loud"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			folder := t.TempDir()
			var log envoytest.Buffer
			p := envoytest.Start(t, b, process.RunConfig{Bootstrap: []byte(tc.bootstrap), Folder: folder, LogLevel: tc.level, Log: &log, Secrets: []string{"kt-client-secret"}})
			err := p.Ready(envoytest.Bounded(t))
			var exit *process.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, "exit status 1", exit.Reason)
			require.ErrorContains(t, err, filepath.Join(folder, "envoy.yaml")+": envoy ended: exit status 1; its last log lines:\n")
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
				require.Contains(t, log.String(), want)
			}
			require.NotContains(t, err.Error()+log.String(), "kt-client-secret")
			require.FileExists(t, filepath.Join(folder, "envoy.yaml"), "it stays for the reader")
			<-p.Done()
			require.Equal(t, exit, p.Wait())
		})
	}
}

func TestReadyEndsWithContext(t *testing.T) {
	// The cluster's warming waits for a control plane that never answers, so Envoy stays in its initialization.
	doc := fmt.Appendf(minimal(tcp(0), tcp(0)), `
  clusters:
  - {name: xds, connect_timeout: 600s, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}, load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: %s}}]}]}}
dynamic_resources:
  cds_config: {resource_api_version: V3, initial_fetch_timeout: 0s, api_config_source: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}}
node: {id: a, cluster: a}
`, tcp(silent(t)))
	p := envoytest.Start(t, envoytest.Real(t), process.RunConfig{Bootstrap: doc})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := p.Ready(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "envoy is not ready")
}

func TestKilledFromOutside(t *testing.T) {
	b := envoytest.Real(t)
	for _, tc := range []struct {
		name   string
		signal syscall.Signal
		want   string
	}{
		{"SIGKILL", syscall.SIGKILL, "signal: killed"},
		{"SIGTERM", syscall.SIGTERM, "exit status 0, stopped by somebody else"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := envoytest.Start(t, b, process.RunConfig{Bootstrap: minimal(tcp(0), tcp(0))})
			require.NoError(t, p.Ready(envoytest.Bounded(t)))
			require.NoError(t, syscall.Kill(p.PID(), tc.signal))
			var exit *process.ExitError
			require.ErrorAs(t, p.Wait(), &exit)
			require.Equal(t, tc.want, exit.Reason)
			require.Equal(t, p.Wait(), p.Stop(envoytest.Bounded(t)))
		})
	}
}

func TestStopKillsTheDeaf(t *testing.T) {
	// Says that it listens, and hears no SIGTERM.
	deaf := script(t, t.TempDir(), "envoy", `trap "" TERM; echo deaf >&2; while :; do /bin/sleep 1; done`)
	heard, said := io.Pipe()
	p := envoytest.Start(t, process.Binary{Path: deaf}, process.RunConfig{
		Bootstrap: minimal(tcp(0), tcp(0)), Log: said, Grace: 50 * time.Millisecond,
	})
	line, err := bufio.NewReader(heard).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "deaf\n", line)
	require.NoError(t, heard.Close())
	err = p.Stop(envoytest.Bounded(t))
	require.EqualError(t, err, "envoy ended: killed, since it was still there 50ms after SIGTERM; its last log lines:\n  deaf")
}

func TestStartRefuses(t *testing.T) {
	long := "/tmp/" + strings.Repeat("x", 103)
	noFolder := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(noFolder, nil, 0o600))
	for _, tc := range []struct {
		name string
		path string
		cfg  process.RunConfig
		want string
	}{
		{"no configuration", "", process.RunConfig{}, "envoy's configuration: it is empty"},
		{"not YAML", "", process.RunConfig{Bootstrap: []byte("{")}, "not YAML or JSON"},
		{"no admin", "", process.RunConfig{Bootstrap: []byte("node: {id: x}")}, "no admin.address"},
		{"long socket path", "", process.RunConfig{Bootstrap: minimal(tcp(0), pipe(long))}, `"` + long + `" is 108 bytes long, and the system allows 107`},
		{"folder is a file", "", process.RunConfig{Bootstrap: minimal(tcp(0), tcp(0)), Folder: noFolder}, "envoy's run folder: "},
		{"log is a folder", "", process.RunConfig{Bootstrap: minimal(tcp(0), tcp(0)), LogPath: t.TempDir()}, "envoy's log: "},
		{"no such binary", filepath.Join(t.TempDir(), "envoy"), process.RunConfig{Bootstrap: minimal(tcp(0), tcp(0))}, "start Envoy: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ignore := goleak.IgnoreCurrent()
			_, err := process.Binary{Path: tc.path}.Start(t.Context(), tc.cfg)
			require.ErrorContains(t, err, tc.want)
			goleak.VerifyNone(t, ignore)
		})
	}
}
