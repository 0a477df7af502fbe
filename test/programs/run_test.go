//go:build clients

package programs_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// atOnce is how many programs run at the same time: each is heavy.
const atOnce = 2

// patience bounds one run of a program.
const patience = 90 * time.Second

func TestMain(m *testing.M) { os.Exit(gateway.Main(m, atOnce)) }

// What the prompts ask for. The scripted model knows by them what to do.
const (
	hello = "keyturn-hello"
	sum   = "keyturn-sum"
	mixed = "keyturn-mixed"
	spent = "keyturn-spent"

	greeting = "Greetings from behind the gateway."
	note     = "mercury" // stands in note.txt, in the program's working folder
)

// keyOf is a pool's key. The provider refuses the first of each pool.
func keyOf(pool string, i int) string { return fmt.Sprintf("%s-long-key-%d", pool, i) }

// provider answers as the prompts say.
type provider struct {
	programs map[string]program // by their pools' names
	mu       sync.Mutex
	spent    map[string]int // pool -> refusals
}

func (p *provider) answer(r scripted.Request) scripted.Answer {
	pool, i, _ := strings.Cut(r.Key, "-long-key-")
	switch {
	case bytes.Contains(r.Body, []byte(spent)):
		p.mu.Lock()
		defer p.mu.Unlock()
		p.spent[pool]++
		if p.programs[pool].waits && p.spent[pool] > 4 {
			return scripted.OK(greeting)
		}
		return scripted.RateLimited(time.Second)
	case i == "0":
		return scripted.RateLimited(time.Minute)
	}
	return scripted.ToolUser(func(c scripted.Conversation) []scripted.Part { return speak(c, r.Body, p.programs[pool]) }).Usage(100, 10)
}

// speak is what the model says.
func speak(c scripted.Conversation, body []byte, p program) []scripted.Part {
	if len(c.Latest) > 0 {
		var said []string
		for _, r := range c.Latest {
			said = append(said, strings.TrimSpace(r.Text))
		}
		return []scripted.Part{scripted.Text("The tools said: " + strings.Join(said, " and ") + ".")}
	}
	var parts []scripted.Part
	if tool, ok := c.Tool("_add"); ok && (bytes.Contains(body, []byte(sum)) || bytes.Contains(body, []byte(mixed))) {
		parts = append(parts, scripted.Call(tool.Name, `{"a":20,"b":22}`))
	}
	if tool, ok := c.Tool(p.own); ok && bytes.Contains(body, []byte(mixed)) {
		arguments, err := json.Marshal(map[string]any{p.command: "cat note.txt", "description": "read the note"})
		if err != nil {
			panic(err) // of strings
		}
		parts = append(parts, scripted.Call(tool.Name, string(arguments)))
	}
	if len(parts) == 0 {
		return []scripted.Part{scripted.Text(greeting)}
	}
	return parts
}

// run runs a program once, and returns all that it said and how it ended. It has a home of its own, and every way out of this machine is a
// proxy that refuses.
func (p program) run(t *testing.T, base, proxy, prompt string) (string, error) {
	t.Helper()
	words, err := p.install(t.Context())
	require.NoError(t, err)
	home := t.TempDir()
	files := map[string]string{"work/note.txt": note + "\n"}
	if p.files != nil {
		maps.Copy(files, p.files(base))
	}
	require.NoError(t, write(home, files))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	words = append(words, p.args(prompt)...)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = filepath.Join(home, "work")
	cmd.Env = append([]string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + home, "TERM=dumb", "LANG=C.UTF-8", "PWD=" + cmd.Dir,
		"HTTP_PROXY=" + proxy, "HTTPS_PROXY=" + proxy, "http_proxy=" + proxy, "https_proxy=" + proxy, "NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost",
	}, p.env(base)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind
	require.NoError(t, ctx.Err(), "it did not end within %s:\n%.4000s", patience, out)
	return string(out), err
}

// TestPrograms is make test-clients.
func TestPrograms(t *testing.T) {
	p := &provider{programs: map[string]program{}, spent: map[string]int{}}
	cfg := gateway.Config{Tools: true, Provider: scripted.Config{Strict: true}}
	for i, pr := range programs {
		pool := fmt.Sprintf("pool%d", i)
		p.programs[pool] = pr
		settings := map[string]any{"cooldown": map[string]any{"min": "10ms"}}
		if pr.hidden {
			settings["tools"] = map[string]any{"servers": []string{"demo"}, "present": "hidden"}
		}
		cfg.Pools = append(cfg.Pools, gateway.Pool{Name: pool, Provider: pr.provider, Keys: []string{keyOf(pool, 0), keyOf(pool, 1)}, Settings: settings})
	}
	gw := gateway.Start(t, cfg)
	gw.Provider.Default(scripted.Func(p.answer))
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Logf("refused: %s %s", r.Method, r.Host)
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(outside.Close)
	t.Run("all", func(t *testing.T) {
		for i, pr := range programs {
			t.Run(strings.ReplaceAll(pr.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				pool := fmt.Sprintf("pool%d", i)
				pr.try(t, gw, pool, func(t *testing.T, prompt string) (string, error) {
					return pr.run(t, gw.URL+"/"+pool, outside.URL, prompt)
				})
			})
		}
	})
}

// try has the four conversations.
func (p program) try(t *testing.T, gw *gateway.Gateway, pool string, run func(*testing.T, string) (string, error)) {
	succeeds := func(name, prompt string, wants ...string) {
		t.Run(name, func(t *testing.T) {
			gw.ResetKeys(t, pool)
			out, err := run(t, "Say "+prompt+".")
			require.NoError(t, err, "%.4000s", out)
			for _, want := range wants {
				require.Contains(t, out, want)
			}
			require.Equal(t, "temporary", gw.States(t, pool)[0], "it did not meet the key that is refused")
		})
	}
	succeeds("failover", hello, greeting)
	succeeds("tool", sum, "The tools said: 42.")
	if p.own != "" {
		succeeds("mixed", mixed, "42 and ", note)
	}
	t.Run("exhaustion", func(t *testing.T) {
		gw.ResetKeys(t, pool)
		out, err := run(t, "Say "+spent+".")
		if p.waits {
			require.NoError(t, err, "%.4000s", out)
			require.Contains(t, out, greeting)
			return
		}
		require.Error(t, err, "%.4000s", out)
		require.Contains(t, out, cmp.Or(p.exhausted, "rate-limited"))
	})
}
