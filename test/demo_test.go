package test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/check"
	"github.com/keyturn/keyturn/test/gateway"
)

// command is a running keyturn whose output is read line by line.
type command struct {
	cmd   *exec.Cmd
	lines chan string
	out   io.Closer // closed, the lines end
}

func startKeyturn(t *testing.T, dir string, args ...string) *command {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	c := &command{cmd: exec.CommandContext(ctx, gateway.Keyturn(t), args...), lines: make(chan string, 10_000)}
	c.cmd.Dir = dir
	c.cmd.Env = append(os.Environ(), "ENVOY_BIN="+gateway.Envoy(t).Path)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r, w := io.Pipe()
	c.out = w
	c.cmd.Stdout, c.cmd.Stderr = w, w
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); w.Close() })
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	return c
}

// until reads lines up to one that matches and returns them all.
func (c *command) until(t *testing.T, pattern string) string {
	t.Helper()
	var seen strings.Builder
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		select {
		case line, ok := <-c.lines:
			seen.WriteString(line + "\n")
			require.True(t, ok, "ended before %q:\n%s", pattern, seen.String())
			if regexp.MustCompile(pattern).MatchString(line) {
				return seen.String()
			}
		case <-deadline.C:
			require.FailNow(t, "waited in vain", "for %q:\n%s", pattern, seen.String())
		}
	}
}

// stop ends the command as a person would and expects it to end well.
func (c *command) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(os.Interrupt))
	require.NoError(t, c.cmd.Wait())
}

// TestDemo does what the README says: starts the demo, runs the lines that it prints, and sees the keys turn.
func TestDemo(t *testing.T) {
	t.Parallel()
	ports := gateway.FreePorts(t, 3)
	c := startKeyturn(t, t.TempDir(), "demo", "--listen", ports[0], "--admin", ports[1], "--envoy-admin", ports[2])
	intro := c.until(t, "Ctrl-C ends it")
	curls := regexp.MustCompile(`(?m)^  curl -\w+ (http://\S+)(?:.* -d '(.*)')?`).FindAllStringSubmatch(intro, -1)
	require.Len(t, curls, 9, intro)
	for i, curl := range curls {
		method, body := http.MethodGet, io.Reader(nil)
		if curl[2] != "" {
			method, body = http.MethodPost, strings.NewReader(curl[2])
		}
		req, err := http.NewRequestWithContext(t.Context(), method, curl[1], body)
		require.NoError(t, err)
		if curl[2] != "" && !strings.Contains(curl[0], "content-type") {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded") // curl's, for -d
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s: %s", curl[0], b)
		switch {
		case strings.Contains(curl[2], "Oslo"):
			require.Contains(t, string(b), `"server_label":"demo"`)
			require.Contains(t, string(b), "Oslo: ", "what the tool said")
			require.NoError(t, check.Responses(b))
		case strings.Contains(curl[2], "20 and 22"):
			require.Contains(t, string(b), "42")
		}
		if i == 0 {
			seen := c.until(t, `provider: POST /v1/responses with key .*: 200`)
			require.Regexp(t, `provider: .*: 429`, seen)
			require.Regexp(t, `provider: .*: 401`, seen)
			require.Regexp(t, `key marked temporary.* key=alpha`, seen)
			require.Regexp(t, `key marked permanent.* key=bravo`, seen)
		}
	}
	c.stop(t)
}

// TestRun holds that one file is enough for both programs, and that Envoy ends with the command.
func TestRun(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "kt") // short, for the sockets' sake
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	ports := gateway.FreePorts(t, 3)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.key"), []byte("sk-test-0123456789\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "keyturn.yaml"), fmt.Appendf(nil, `
admin: {listen: %q}
pools:
- {name: openai, provider: openai, upstream: "http://127.0.0.1:1/v1", keys: [{file: a.key}]}
envoy: {listen: %q, admin: %q}
`, ports[1], ports[0], ports[2]), 0o600))
	c := startKeyturn(t, dir, "run", "-c", "keyturn.yaml")
	said := c.until(t, `pool is served`)
	require.Regexp(t, `base_url"?[=:]"?http://`+ports[0]+`/openai/v1`, said)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+ports[0]+"/v1/messages", strings.NewReader("{}"))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode) // nobody listens on port 1
	c.stop(t)
	_, err = http.DefaultClient.Do(req.Clone(t.Context()))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}
