package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestRunChangesWithoutARestart adds a pool, moves another one's upstream and takes a client away while requests run under `keyturn run`: each
// holds once reload has answered, no request of the client that stays is lost, and reload says what did not change.
func TestRunChangesWithoutARestart(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "kt") // short, for the sockets' sake
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	const key = "sk-test-0123456789"
	provider := func(says string) string {
		server, err := scripted.New(scripted.Config{}).Key(key, scripted.Agent(says)).Start("")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Close()) })
		return server.URL
	}
	one, other := provider("from the one"), provider("from the other")
	ports := gateway.FreePorts(t, 2)
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	configure := func(listen, clients string, pools ...string) {
		write("clients.keys", clients)
		write("keyturn.yaml", fmt.Sprintf("admin: {listen: %q}\npools:\n%s\nenvoy: {listen: %q, clients: {api_keys_file: clients.keys}}\n", ports[1], strings.Join(pools, "\n"), listen))
	}
	pool := func(name, upstream string) string {
		return fmt.Sprintf("- {name: %s, provider: openai, upstream: %q, keys: [{file: a.key}]}", name, upstream)
	}
	write("a.key", key)
	const stays, goes = "stays-0123456789abcdef", "goes-0123456789abcdef"
	both := "stays:" + stays + "\ngoes:" + goes + "\n"
	configure(ports[0], both, pool("first", one))
	c := startKeyturn(t, dir, "run", "-c", "keyturn.yaml")
	c.until(t, "pool is served")
	ask := func(pool, client string) (int, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+ports[0]+"/"+pool+"/v1/responses", strings.NewReader(`{"model":"m","input":"x"}`))
		if err != nil {
			return 0, "", err
		}
		req.Header.Set("Authorization", "Bearer "+client)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}
	reload := func() (later []string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+ports[1]+"/api/v1/reload", nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		var answer struct {
			Later []string `json:"at_next_start"`
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
		return answer.Later
	}
	eventually := func(what, pool, client string, status int, words string) {
		t.Helper()
		for status2, body := 0, ""; status2 != status || !strings.Contains(body, words); {
			require.NoError(t, t.Context().Err(), "%s: %d %s", what, status2, body)
			var err error
			status2, body, err = ask(pool, client)
			require.NoError(t, err, what)
		}
	}
	var load sync.WaitGroup
	end, problems := make(chan struct{}), make(chan string, 1000)
	for range 2 {
		load.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if status, body, err := ask("first", stays); err != nil || status != http.StatusOK {
					problems <- fmt.Sprint(status, err, body)
				}
			}
		})
	}

	eventually("a pool that is not there", "second", stays, http.StatusNotFound, "(/first/)")
	configure(ports[0], both, pool("first", one), pool("second", other))
	require.Empty(t, reload())
	eventually("a pool that is added", "second", stays, http.StatusOK, "from the other")
	eventually("the pools' names", "third", stays, http.StatusNotFound, "(/first/, /second/)")

	configure(ports[0], both, pool("first", other), pool("second", other))
	require.Empty(t, reload())
	eventually("another upstream", "first", stays, http.StatusOK, "from the other")

	status, _, err := ask("first", goes)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	configure(ports[0], "stays:"+stays+"\n", pool("first", other), pool("second", other))
	require.Empty(t, reload())
	status, body, err := ask("first", goes)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, status, "at once: %s", body)

	configure(ports[0], "stays:"+stays+"\n", pool("first", other))
	require.Empty(t, reload())
	eventually("a pool that is taken away", "second", stays, http.StatusNotFound, "(/first/)")

	configure("127.0.0.1:1", "stays:"+stays+"\n", pool("first", other))
	require.Contains(t, fmt.Sprint(reload()), "envoy")
	close(end)
	load.Wait()
	close(problems)
	for p := range problems {
		t.Error(p)
	}
	c.stop(t)
}
