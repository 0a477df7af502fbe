package sdks

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// manifest writes a file that says what is in a set.
func manifest(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manifest")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestInstallOnce(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "below", "cache")
	var fills atomic.Int32
	s := set{name: "set", manifests: []string{manifest(t, "a==1")}, platform: "3.11", fill: func(_ context.Context, work, into string) error {
		fills.Add(1)
		require.NoDirExists(t, into)
		require.NoError(t, os.WriteFile(filepath.Join(work, "scrap"), nil, 0o600))
		return os.Mkdir(into, 0o755)
	}}
	dirs := make([]string, 8)
	var all sync.WaitGroup
	for i := range dirs {
		all.Go(func() {
			dir, err := s.install(t.Context(), cache)
			if err != nil {
				t.Error(err)
			}
			dirs[i] = dir
		})
	}
	all.Wait()
	require.EqualValues(t, 1, fills.Load())
	require.DirExists(t, dirs[0])
	for _, dir := range dirs {
		require.Equal(t, dirs[0], dir)
	}
	left, err := filepath.Glob(filepath.Join(cache, "*-install-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestInstallAnew(t *testing.T) {
	cache := t.TempDir()
	fill := func(_ context.Context, _, into string) error { return os.Mkdir(into, 0o755) }
	path := manifest(t, "a==1")
	first, err := set{name: "set", manifests: []string{path}, platform: "3.11", fill: fill}.install(t.Context(), cache)
	require.NoError(t, err)
	for name, s := range map[string]set{
		"another content":  {name: "set", manifests: []string{manifest(t, "a==2")}, platform: "3.11"},
		"another platform": {name: "set", manifests: []string{path}, platform: "3.12"},
		"one more":         {name: "set", manifests: []string{path, path}, platform: "3.11"},
	} {
		t.Run(name, func(t *testing.T) {
			s.fill = fill
			dir, err := s.install(t.Context(), cache)
			require.NoError(t, err)
			require.NotEqual(t, first, dir)
		})
	}
}

func TestInstallFails(t *testing.T) {
	cache := t.TempDir()
	broken := errors.New("no index")
	s := set{name: "set", manifests: []string{manifest(t, "a==1")}, fill: func(_ context.Context, _, into string) error {
		require.NoError(t, os.Mkdir(into, 0o755))
		return broken
	}}
	_, err := s.install(t.Context(), cache)
	require.ErrorIs(t, err, broken)
	s.fill = func(_ context.Context, _, into string) error { return os.Mkdir(into, 0o755) }
	dir, err := s.install(t.Context(), cache)
	require.NoError(t, err, "a failed installation must leave nothing that looks like a whole one")
	require.DirExists(t, dir)

	s.manifests = []string{filepath.Join(cache, "missing")}
	_, err = s.install(t.Context(), cache)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestRunSaysWhat(t *testing.T) {
	cmd := Runtime{Interpreter: "python3"}.Command(t.Context(), "-c", "import sys; sys.exit('no such package')")
	require.ErrorContains(t, run(cmd), "no such package")
}

// TestCommandEnvironment: settings of the machine must not reach the SDKs.
func TestCommandEnvironment(t *testing.T) {
	t.Setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")
	t.Setenv("ANTHROPIC_AUTH_TOKEN", "token")
	t.Setenv("https_proxy", "http://127.0.0.1:1")
	env := Runtime{Interpreter: "python3", env: []string{"A=b"}}.Command(t.Context()).Env
	require.Contains(t, env, "A=b")
	for _, variable := range env {
		require.NotRegexp(t, `(?i)^(OPENAI|ANTHROPIC)_|^[a-z]+_proxy=`, variable)
	}
}
