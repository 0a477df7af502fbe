package test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
	"github.com/keyturn/keyturn/test/sdks"
)

var takePictures = flag.Bool("pictures", false, "take the pictures of docs/img")

// look has a browser do a job, and returns what it found to be wrong. answers do what it asks for.
func look(t *testing.T, job map[string]any, answers map[string]func()) []string {
	t.Helper()
	const most = 3 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	rt, err := sdks.NodePackages(t.Context(), "clients/node/page")
	require.NoError(t, err)
	program, err := filepath.Abs("clients/node/page.mjs")
	require.NoError(t, err)
	cmd := rt.Command(ctx, program, rt.Packages)
	cmd.WaitDelay = time.Second
	var said strings.Builder
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	send := func(v any) {
		line, err := json.Marshal(v)
		require.NoError(t, err)
		_, err = in.Write(append(line, '\n'))
		require.NoError(t, err, "%s", said.String())
	}
	send(job)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	var last struct {
		Want  string
		Found []string
	}
	for lines.Scan() {
		last.Want = ""
		require.NoError(t, json.Unmarshal(lines.Bytes(), &last), "%s", lines.Text())
		if last.Want == "" {
			break
		}
		answers[last.Want]()
		send("done")
	}
	require.NoError(t, lines.Err())
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait(), "%s", said.String())
	require.NotNil(t, last.Found, "the browser ended early: %s", said.String())
	return last.Found
}

// TestPage has a real browser look at every view of the operator's page, with traffic through a real Envoy, and act.
func TestPage(t *testing.T) {
	const token, hostile = "operators-own-token", "<script>alert(1)</script>\u202eتم"
	gw := gateway.Start(t, gateway.Config{
		Tools: true, Files: map[string]string{"admin.token": token}, Secrets: []string{token},
		Top:   map[string]any{"admin": map[string]any{"token": map[string]any{"file": "admin.token"}}},
		Pools: []gateway.Pool{{}, {Name: "second", Keys: []string{"k3-long-key", "k4-long-key"}}},
	})
	gw.Provider.Key("k0-long-key", scripted.RateLimited(time.Hour)).Key("k1-long-key", scripted.Agent("hello")).Key("k2-long-key", scripted.Agent("hello"))
	gw.Provider.Key("k3-long-key", scripted.Unauthorized()).Key("k4-long-key", scripted.Quota())
	ask := func(pool, model, session string) {
		body, err := json.Marshal(map[string]any{"model": model, "input": "What is the weather in Oslo?"})
		require.NoError(t, err)
		gw.Post(t, "/"+pool+"/v1/responses", string(body), "X-Session-Id", session, "User-Agent", "<img src=x onerror=alert(2)>")
	}
	ask("openai", "gpt-4o-mini", "a-session")
	ask("openai", hostile, "<script>alert(3)</script>")
	ask("openai", strings.Repeat("long-", 2000), strings.Repeat("s", 200))
	ask("second", "gpt-4o-mini", "a-session")
	gw.Eventually(t, "the turns are recorded", func() bool {
		req := gw.Request(t, http.MethodGet, "", nil, "Authorization", "Bearer "+token)
		again, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gw.AdminURL+"/api/v1/turns", nil)
		require.NoError(t, err)
		again.Header = req.Header
		resp, err := gw.TryDo(again)
		return err == nil && strings.Count(resp.Body, `"user_agent"`) == 4
	})
	found := look(t, map[string]any{"url": gw.AdminURL, "token": token, "artifacts": t.ArtifactDir()}, map[string]func(){
		"traffic": func() { ask("openai", "fresh-model", "later") },
		"stop":    func() { gw.StopProcessor(t) },
		"start":   func() { gw.StartProcessor(t) },
	})
	require.Empty(t, found, strings.Join(found, "\n"))
}

// TestPictures takes those of docs/img, of the demo, when it is asked to, and else looks at what there is of them.
func TestPictures(t *testing.T) {
	const most = 120 << 10
	folder, err := filepath.Abs("../docs/img")
	require.NoError(t, err)
	names := []string{"pools.png", "turn.png"}
	if *takePictures {
		ports := gateway.FreePorts(t, 2)
		c := startKeyturn(t, t.TempDir(), "demo", "--listen", ports[0], "--admin", ports[1])
		c.until(t, "Ctrl-C ends it")
		for range 10 {
			c.until(t, `provider: POST /v1/chat/completions`)
		}
		require.NoError(t, os.MkdirAll(folder, 0o755))
		found := look(t, map[string]any{"url": "http://" + ports[1], "pictures": []map[string]string{
			{"path": "/", "file": filepath.Join(folder, names[0])},
			{"path": "/turns?pool=research", "link": "#turns tr:last-child a", "file": filepath.Join(folder, names[1])},
		}}, nil)
		require.Empty(t, found)
		c.stop(t)
	}
	for _, name := range names {
		info, err := os.Stat(filepath.Join(folder, name))
		require.NoError(t, err, "take it: go test ./test -run TestPictures -pictures")
		require.Less(t, info.Size(), int64(most), name)
	}
}
