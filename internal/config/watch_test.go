package config

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watching is a watcher under test, on a clock that stands still.
type watching struct {
	*testing.T
	ctx     context.Context // ends with the test, or after a minute
	clock   *quartz.Mock
	timers  *quartz.Trap
	applied chan *Config
	logged  chan string
}

// logTap sends what a record is about to a channel.
type logTap struct {
	slog.Handler
	to chan string
}

func (logTap) Enabled(context.Context, slog.Level) bool { return true }

func (r logTap) Handle(_ context.Context, rec slog.Record) error {
	rec.Attrs(func(a slog.Attr) bool { r.to <- a.Value.String(); return true })
	return nil
}

func watch(t *testing.T, c *Config) *watching {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	clock := quartz.NewMock(t)
	w := &watching{
		T: t, ctx: ctx, clock: clock, timers: clock.Trap().NewTimer("settle"),
		applied: make(chan *Config, 100), logged: make(chan string, 100),
	}
	ended := make(chan error, 1)
	go func() {
		ended <- (&watcher{
			path: c.Path, seen: c.sum, clock: clock,
			log:   slog.New(logTap{slog.DiscardHandler, w.logged}),
			apply: func(c *Config) { w.applied <- c },
		}).run(ctx, c.files)
	}()
	t.Cleanup(func() {
		cancel()
		w.timers.Close()
		require.NoError(t, <-ended)
	})
	return w
}

// expire lets every timer of the watcher expire as soon as it is set.
func (w *watching) expire() *watching {
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(w.ctx)
	go func() {
		defer close(ended)
		for {
			call, err := w.timers.Wait(ctx)
			if err != nil {
				return
			}
			whole := context.WithoutCancel(ctx) // a trapped call must be released
			if call.Release(whole) != nil || w.clock.Advance(settle).Wait(whole) != nil {
				return
			}
		}
	}()
	w.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}

// until waits for a configuration whose keys are these.
func (w *watching) until(keys ...string) *Config {
	w.Helper()
	for {
		select {
		case c := <-w.applied:
			if fmt.Sprint(secretsOf(c)) == fmt.Sprint(keys) {
				return c
			}
		case <-w.ctx.Done():
			w.Fatalf("no configuration with the keys %v", keys)
		}
	}
}

// untilLogged waits for a problem.
func (w *watching) untilLogged(problem string) {
	w.Helper()
	for {
		select {
		case got := <-w.logged:
			if got == problem {
				return
			}
		case <-w.ctx.Done():
			w.Fatalf("not logged: %s", problem)
		}
	}
}

func secretsOf(c *Config) (keys []string) {
	for _, k := range c.Pools[0].Keys {
		keys = append(keys, k.Secret)
	}
	return keys
}

// over replaces a file as editors do, so that nobody reads half of it.
func over(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".new", text)
	require.NoError(t, os.Rename(path+".new", path))
}

const byFile = "pools: [{provider: openai, keys_file: openai.keys}]\n"

// loaded writes a configuration and its keys, and loads it.
func loaded(t *testing.T, config, keys string) (folder string, c *Config) {
	t.Helper()
	folder = t.TempDir()
	write(t, filepath.Join(folder, "keyturn.yaml"), config)
	write(t, filepath.Join(folder, "openai.keys"), keys)
	c, err := Load(filepath.Join(folder, "keyturn.yaml"))
	require.NoError(t, err)
	return folder, c
}

func TestWatchSeesEveryWayToChangeAFile(t *testing.T) {
	for _, name := range []string{"keyturn.yaml", "openai.keys"} {
		for _, way := range []struct {
			name   string
			change func(t *testing.T, path, text string)
		}{
			{"written", write},
			{"renamed over", over},
			{"removed and back", func(t *testing.T, path, text string) {
				require.NoError(t, os.Remove(path))
				write(t, path, text)
			}},
			{"a link", func(t *testing.T, path, text string) {
				write(t, path+".2", text)
				require.NoError(t, os.Remove(path))
				require.NoError(t, os.Symlink(filepath.Base(path)+".2", path))
			}},
		} {
			t.Run(name+" "+way.name, func(t *testing.T) {
				folder, c := loaded(t, byFile, "one\n")
				w := watch(t, c).expire()
				for i, keys := range []string{"two", "three"} {
					text := keys + "\n"
					if name == "keyturn.yaml" {
						file := fmt.Sprintf("%d.keys", i)
						write(t, filepath.Join(folder, file), text)
						text = "pools: [{provider: openai, keys_file: " + file + "}]\n"
					}
					way.change(t, filepath.Join(folder, name), text)
					w.until(keys)
				}
			})
		}
	}
}

// TestWatchSeesTheSecretsOfToolServers changes the files that headers and variables name.
func TestWatchSeesTheSecretsOfToolServers(t *testing.T) {
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	write(t, in("openai.keys"), "one\n")
	write(t, in("docs.token"), "old\n")
	write(t, in("files.token"), "old\n")
	write(t, in("keyturn.yaml"), `pools: [{provider: openai, keys_file: openai.keys, tools: {servers: [docs, files]}}]
tools:
  servers:
  - {name: docs, url: "https://mcp.example.com/mcp", headers: {authorization: {file: docs.token}}}
  - {name: files, command: [files], env: {FILES_TOKEN: {file: files.token}}}
`)
	c, err := Load(in("keyturn.yaml"))
	require.NoError(t, err)
	w := watch(t, c).expire()
	over(t, in("docs.token"), "new\n")
	for c = w.until("one"); c.Tools.Servers[0].Headers["authorization"] != "Bearer new"; {
		c = w.until("one")
	}
	over(t, in("files.token"), "new\n")
	for c = w.until("one"); c.Tools.Servers[1].Env["FILES_TOKEN"] != "new"; {
		c = w.until("one")
	}
}

// TestWatchSeesAVolumeOfKubernetes exchanges the link "..data" as the kubelet does: a new folder, a new link, a rename, the old folder
// removed.
func TestWatchSeesAVolumeOfKubernetes(t *testing.T) {
	volume := filepath.Join(t.TempDir(), "volume")
	publish := func(version, keys string) {
		t.Helper()
		write(t, filepath.Join(volume, version, "keyturn.yaml"), byFile)
		write(t, filepath.Join(volume, version, "openai.keys"), keys)
		old, _ := os.Readlink(filepath.Join(volume, "..data"))
		require.NoError(t, os.Symlink(version, filepath.Join(volume, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")))
		if old != "" {
			require.NoError(t, os.RemoveAll(filepath.Join(volume, old)))
		}
	}
	publish("..2026_01", "one\n")
	for _, name := range []string{"keyturn.yaml", "openai.keys"} {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(volume, name)))
	}
	c, err := Load(filepath.Join(volume, "keyturn.yaml"))
	require.NoError(t, err)
	w := watch(t, c).expire()
	for i, keys := range []string{"two", "three", "four"} {
		publish(fmt.Sprintf("..2026_1%d", i), keys+"\n")
		w.until(keys)
	}
}

func TestWatchSeesAFolderExchanged(t *testing.T) {
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	write(t, in("keyturn.yaml"), "pools: [{provider: openai, keys_file: keys/deep/openai.keys}]\n")
	write(t, in("keys/deep/openai.keys"), "one\n")
	c, err := Load(in("keyturn.yaml"))
	require.NoError(t, err)
	w := watch(t, c).expire()

	require.NoError(t, os.Rename(in("keys/deep"), in("keys/old")))
	w.untilLogged(in("keyturn.yaml") + ":1: pools[0].keys_file: " + in("keys/deep/openai.keys") + " does not exist; create it, or name another")
	write(t, in("keys/new/openai.keys"), "two\n")
	require.NoError(t, os.Rename(in("keys/new"), in("keys/deep")))
	w.until("two")
	write(t, in("keys/deep/openai.keys"), "three\n")
	w.until("three")

	require.NoError(t, os.RemoveAll(in("keys")))
	w.untilLogged(in("keyturn.yaml") + ":1: pools[0].keys_file: " + in("keys/deep/openai.keys") + " does not exist; create it, or name another")
	write(t, in("keys/deep/openai.keys"), "four\n")
	w.until("four")
}

func TestABrokenFileKeepsTheOldOneAndIsToldOnce(t *testing.T) {
	folder, c := loaded(t, byFile, "one\n")
	path := filepath.Join(folder, "keyturn.yaml")
	w := watch(t, c).expire()

	over(t, path, "pools: [{provider: opnai, keys_file: openai.keys}]\nfoo: 1\n")
	w.untilLogged(path + ":1: pools[0].provider: found \"opnai\"; write openai, anthropic, azure, gemini, openrouter, mistral, groq, deepseek, xai, together, fireworks, cerebras, bedrock, vertex, ollama, vllm or compatible (did you mean openai?)")
	w.untilLogged(path + ":2: foo: unknown field; the fields here are listen, admin, log, fingerprint_secret, pools, tools, limits, record, telemetry or envoy")
	over(t, path, "pools: [{provider: opnai, keys_file: openai.keys}]\nfoo: 1\n") // the same again: nothing new to say
	over(t, path, "pools: [{provider: openai, keys_file: missing/openai.keys}]\n")
	w.untilLogged(path + ":1: pools[0].keys_file: " + filepath.Join(folder, "missing/openai.keys") + " does not exist; create it, or name another")
	require.Empty(t, w.applied)
	require.Empty(t, w.logged)

	write(t, filepath.Join(folder, "missing/openai.keys.new"), "two\n") // a file that no configuration has yet read is watched too
	require.NoError(t, os.Rename(filepath.Join(folder, "missing/openai.keys.new"), filepath.Join(folder, "missing/openai.keys")))
	w.until("two")
	require.Empty(t, w.logged)
}

func TestAChangeBetweenLoadAndWatchIsSeen(t *testing.T) {
	folder, c := loaded(t, byFile, "one\n")
	write(t, filepath.Join(folder, "openai.keys"), "two\n")
	watch(t, c).until("two") // without an event, hence without a timer
}

// TestManyEventsAreOneChange holds the watcher at the timer of the first event while more come.
func TestManyEventsAreOneChange(t *testing.T) {
	folder, c := loaded(t, byFile, "one\n")
	keys := filepath.Join(folder, "openai.keys")
	write(t, keys, "two\n")
	w := watch(t, c)
	w.until("two") // now it watches

	over(t, keys, "three\n")
	first := w.timers.MustWait(w.ctx)
	for i := range 20 {
		over(t, keys, fmt.Sprintf("three-%d\n", i))
	}
	over(t, keys, "four\n")
	require.Equal(t, settle, first.Duration)
	first.MustRelease(w.ctx)
	w.clock.Advance(settle - 1).MustWait(w.ctx)
	require.Empty(t, w.applied, "before its time")
	w.clock.Advance(1).MustWait(w.ctx)
	require.Equal(t, []string{"four"}, secretsOf(<-w.applied))

	w.expire() // events that came after the reading read the same again
	over(t, keys, "five\n")
	require.Equal(t, []string{"five"}, secretsOf(<-w.applied))
}

func TestWatchIsDeafToOtherFiles(t *testing.T) {
	folder, c := loaded(t, byFile, "one\n")
	fs, err := fsnotify.NewWatcher()
	require.NoError(t, err)
	defer fs.Close()
	w := &watcher{fs: fs}
	added, err := w.arm(c.files)
	require.NoError(t, err)
	require.True(t, added)
	require.Equal(t, []string{folder}, fs.WatchList())
	event := func(name string) fsnotify.Event {
		return fsnotify.Event{Name: filepath.Join(folder, name), Op: fsnotify.Write}
	}
	require.False(t, w.concerns(event("access.log")))
	require.True(t, w.concerns(event("openai.keys")))
	require.True(t, w.concerns(event("")))

	added, err = w.arm(c.files)
	require.NoError(t, err)
	require.False(t, added, "armed already")
	_, err = w.arm([]string{filepath.Join(folder, "deeper/keyturn.yaml")})
	require.NoError(t, err)
	require.False(t, w.concerns(event("openai.keys")), "no longer needed")
}

func TestTrail(t *testing.T) {
	folder, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	in := func(name string) string { return filepath.Join(folder, name) }
	write(t, in("real/file"), "")
	require.NoError(t, os.Symlink("../real/file", in("real/link")))
	require.NoError(t, os.Symlink("real", in("folder")))
	require.NoError(t, os.Symlink(in("folder"), in("absolute")))
	require.NoError(t, os.Symlink("nowhere/file", in("dangling")))
	require.NoError(t, os.Symlink("round", in("round")))
	for _, tc := range []struct {
		path string
		want []string
	}{
		{"real/file", []string{"real/file"}},
		{"real/link", []string{"real/link", "real/file"}},
		{"folder/link", []string{"folder", "real/link", "real/file"}},
		{"absolute/file", []string{"absolute", "folder", "real/file"}},
		{"dangling", []string{"dangling", "nowhere"}},
		{"missing/deep/file", []string{"missing"}},
		{"real/file/below", []string{"real/file/below"}},
	} {
		var want []string
		for _, name := range tc.want {
			want = append(want, in(name))
		}
		require.Equal(t, want, trail(in(tc.path)), tc.path)
	}
	require.Less(t, len(trail(in("round"))), 50)
}

func TestWatchEndsWithItsContext(t *testing.T) {
	_, c := loaded(t, byFile, "one\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, Watch(ctx, c, slog.New(slog.DiscardHandler), func(*Config) { t.Error("nothing has changed") }))
}
