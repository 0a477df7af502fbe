package test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// runDir is a folder with a configuration for keyturn run, in front of a scripted provider.
func runDir(t *testing.T, ports []string, envoy string) (dir string, provider *scripted.Provider) {
	t.Helper()
	dir, err := os.MkdirTemp("", "kt") // short, for the sockets' sake
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	provider = scripted.New(scripted.Config{})
	server, err := provider.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	for name, text := range map[string]string{
		"a.key": "sk-run-pool-key-0123456789\n", "clients.keys": "alice:kt-run-client-key-0123456789\n", "admin.token": "the-admin-token-0123456789\n",
		"keyturn.yaml": fmt.Sprintf(`
admin: {listen: %q, token: {file: admin.token}}
pools:
- {name: openai, provider: openai, upstream: %q, keys: [{file: a.key}]}
envoy: {listen: %q, clients: {api_keys_file: clients.keys}%s}
`, ports[1], server.URL, ports[0], envoy),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir, provider
}

// children are the processes that pid started.
func children(t *testing.T, pid int) (found []int) {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	require.NoError(t, err)
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		require.NoError(t, err)
		for field := range strings.FieldsSeq(string(b)) {
			child, err := strconv.Atoi(field)
			require.NoError(t, err)
			found = append(found, child)
		}
	}
	return found
}

// TestRunBlanksSecrets holds that no key stands in anything that an Envoy of keyturn run writes: not at its finest log level, not after
// a reload that changed a key, and not when it crashes in the middle of a request.
func TestRunBlanksSecrets(t *testing.T) {
	t.Parallel()
	ports := gateway.FreePorts(t, 2)
	dir, provider := runDir(t, ports, "")
	provider.Key("sk-run-pool-key-0123456789", scripted.OK("hello")).Key("sk-run-next-key-9876543210", scripted.OK("hello"))
	c := startKeyturn(t, dir, "run", "-c", "keyturn.yaml")
	c.until(t, "envoy is ready")
	socket := filepath.Join(dir, "run", "envoy-admin.sock")
	info, err := os.Stat(socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	status, body := gateway.AskSocket(t, socket, http.MethodPost, "/logging?level=trace")
	require.Equal(t, http.StatusOK, status, body)

	var written strings.Builder
	ask := func() {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+ports[0]+"/openai/v1/responses?note=kt-run-client%2dkey-0123456789", strings.NewReader(`{"model":"m","input":"hi"}`))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer kt-run-client-key-0123456789")
		req.Header.Set("X-Basic", "Basic "+base64.StdEncoding.EncodeToString([]byte("alice:kt-run-client-key-0123456789")))
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
		written.WriteString(c.until(t, `"log":"request"`))
	}
	ask()
	require.Contains(t, written.String(), "'authorization', 'Bearer ***'")
	require.Contains(t, written.String(), "'x-basic', 'Basic ", "the log shows requests")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.key.new"), []byte("sk-run-next-key-9876543210\n"), 0o600))
	require.NoError(t, os.Rename(filepath.Join(dir, "a.key.new"), filepath.Join(dir, "a.key")))
	written.WriteString(c.until(t, "configuration applied"))
	ask()
	require.Equal(t, "sk-run-next-key-9876543210", provider.Requests()[1].Key)

	for _, pid := range children(t, c.cmd.Process.Pid) {
		require.NoError(t, syscall.Kill(pid, syscall.SIGSEGV))
	}
	require.Error(t, c.cmd.Wait())
	require.NoError(t, c.out.Close())
	for line := range c.lines {
		written.WriteString(line + "\n")
	}
	require.Contains(t, written.String(), "Caught Segmentation fault")
	for _, secret := range []string{"run-pool-key", "run-next-key", "run-client-key", "run-client%2dkey", "the-admin-token", base64.StdEncoding.EncodeToString([]byte("run-client-key"))} {
		require.NotContains(t, written.String(), secret)
	}
	files, err := filepath.Glob(filepath.Join(os.TempDir(), "keyturn-envoy-*"))
	require.NoError(t, err)
	for _, folder := range files {
		b, _ := os.ReadFile(filepath.Join(folder, "envoy.yaml"))
		require.NotContains(t, string(b), "kt-run-client-key", "the configuration of an Envoy that crashed stays behind")
	}
}

// TestRunShowsEnvoyOverTCP holds what an address for Envoy's admin interface is good for: looking, and nothing else. Envoy is drained
// by its socket all the same.
func TestRunShowsEnvoyOverTCP(t *testing.T) {
	t.Parallel()
	ports := gateway.FreePorts(t, 3)
	dir, _ := runDir(t, ports, fmt.Sprintf(", admin: %q", ports[2]))
	c := startKeyturn(t, dir, "run", "-c", "keyturn.yaml")
	c.until(t, "envoy is ready")
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/ready", 200},
		{"GET", "/stats?filter=^server.live$", 200},
		{"GET", "/config_dump?include_eds", 200},
		{"POST", "/quitquitquit", 404},
		{"POST", "/drain_listeners?graceful", 404},
		{"POST", "/logging?level=trace", 404},
		{"POST", "/healthcheck/fail", 404},
		{"POST", "/stats", 405},
		{"GET", "/", 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, "http://"+ports[2]+tc.path, nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, tc.status, resp.StatusCode, "%s %s", tc.method, tc.path)
	}
	c.stop(t)
}

// TestRenderedAdminOverTCP: an Envoy that somebody else starts has no more at an address than what can be looked at.
func TestRenderedAdminOverTCP(t *testing.T) {
	t.Parallel()
	address := gateway.FreePorts(t, 1)[0]
	gateway.Start(t, gateway.Config{Envoy: map[string]any{"admin": address}, Drain: -1})
	for path, status := range map[string]int{
		"/ready": 200, "/stats?filter=^server.live$": 200, "/config_dump?include_eds": 200, "/clusters?format=json": 200, "/stats/prometheus": 200,
		"/": 403, "/quitquitquit": 403, "/logging?level=trace": 403, "/drain_listeners": 403, "/stats/recentlookups/enable": 403, "/heapprofiler?enable=y": 403,
		"/tap": 403, "/init_dump": 403, "/runtime_modify?a=b": 403, "/ready/": 403, "/stats?x=/quitquitquit": 200,
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, nil)
			require.NoError(t, err)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			if method == http.MethodGet || status == 403 {
				require.Equal(t, status, resp.StatusCode, "%s %s", method, path)
			}
		}
	}
}
