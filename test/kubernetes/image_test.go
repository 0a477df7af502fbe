package kubernetes

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// stages are those of the Dockerfile.
func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	require.NoError(t, err)
	r, err := parser.Parse(bytes.NewReader(b))
	require.NoError(t, err)
	require.Empty(t, r.Warnings)
	stages, _, err := instructions.Parse(r.AST, nil)
	require.NoError(t, err)
	require.Len(t, stages, 2)
	return stages
}

// command is the last one of a type in a stage.
func command[C instructions.Command](t *testing.T, s instructions.Stage) (found C) {
	t.Helper()
	ok := false
	for _, c := range s.Commands {
		if c, is := c.(C); is {
			found, ok = c, true
		}
	}
	require.True(t, ok, "%s: no %T", s.BaseName, found)
	return found
}

// programs are those that were built, by architecture, in a folder that TestMain makes and removes.
var programs = struct {
	dir string
	mu  sync.Mutex // protects what follows
	at  map[string]string
}{at: map[string]string{}}

// build runs the Dockerfile's own command for an architecture, once, and returns the program.
func build(t *testing.T, arch string) string {
	t.Helper()
	programs.mu.Lock()
	defer programs.mu.Unlock()
	if at, ok := programs.at[arch]; ok {
		return at
	}
	line := strings.Join(command[*instructions.RunCommand](t, stages(t)[0]).CmdLine, " ")
	require.Contains(t, line, "-o /out/keyturn ")
	out := filepath.Join(programs.dir, "keyturn-"+arch)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(line, "/out/keyturn", out, 1))
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+arch)
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", text)
	programs.at[arch] = out
	return out
}

// folder is one that other users may look into, unlike t.TempDir.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keyturn")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// TestDockerfile: what the image is, as BuildKit reads it.
func TestDockerfile(t *testing.T) {
	both := stages(t)
	from, last := both[0], both[1]
	require.Equal(t, "$BUILDPLATFORM", from.Platform, "compiling for another architecture is faster than emulating one")
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	_, version, _ := strings.Cut(string(mod), "\ngo ")
	minor := strings.Join(strings.Split(strings.Fields(version)[0], ".")[:2], ".")
	require.Equal(t, "golang:"+minor+"-bookworm", from.BaseName)

	require.Equal(t, "gcr.io/distroless/static-debian12:nonroot", last.BaseName)
	require.Equal(t, "65532:65532", command[*instructions.UserCommand](t, last).User)
	entry := command[*instructions.EntrypointCommand](t, last)
	require.False(t, entry.PrependShell, "the image has no shell")
	copied := command[*instructions.CopyCommand](t, last)
	require.Equal(t, "build", copied.From)
	require.Equal(t, []string{"/out/keyturn"}, copied.SourcePaths)
	require.Equal(t, []string{copied.DestPath}, []string(entry.CmdLine))
	args := command[*instructions.CmdCommand](t, last)
	require.False(t, args.PrependShell)
	for name, d := range deployments(t) {
		require.Equal(t, []string(args.CmdLine), keyturn(t, d).Args, name)
		require.Empty(t, keyturn(t, d).Command, name)
	}
}

// TestDockerignore: no file that git knows is kept from the build, or the version would end in +dirty; no secret gets into it.
func TestDockerignore(t *testing.T) {
	f, err := os.Open(filepath.Join(root, ".dockerignore"))
	require.NoError(t, err)
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	require.NoError(t, err)
	m, err := patternmatcher.New(patterns)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	cmd.Dir = root
	files, err := cmd.Output()
	require.NoError(t, err)
	names := strings.Split(strings.Trim(string(files), "\x00"), "\x00")
	require.Greater(t, len(names), 100)
	for _, name := range names {
		ignored, err := m.MatchesOrParentMatches(name)
		require.NoError(t, err)
		require.False(t, ignored, name)
	}
	for _, name := range []string{"keyturn.yaml", "clients.keys", "sub/openai.keys", ".env", "sub/.env", ".cache/envoy/x", "bin/keyturn", "run/extproc.sock"} {
		ignored, err := m.MatchesOrParentMatches(name)
		require.NoError(t, err)
		require.True(t, ignored, name)
	}
}

// TestArchitectures: both programs of the image need no library, and are of their architecture.
func TestArchitectures(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		t.Run(arch, func(t *testing.T) {
			f, err := elf.Open(build(t, arch))
			require.NoError(t, err)
			defer f.Close()
			require.Equal(t, machine, f.Machine)
			libraries, err := f.ImportedLibraries()
			require.NoError(t, err)
			require.Empty(t, libraries)
			for _, p := range f.Progs {
				require.NotEqual(t, elf.PT_INTERP, p.Type, "it needs a loader")
			}
		})
	}
}

// TestImage: the image's program is its whole file system, and still runs, as the image's user.
func TestImage(t *testing.T) {
	rootfs := imageRoot(t)
	out, err := container{root: rootfs, uid: 65532, gid: 65532}.command(t, "version").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `^keyturn \S+ go1\.\S+ linux/`+runtime.GOARCH+"\n$", string(out))
}

// imageRoot is a folder with what the image has: the program and certificates.
func imageRoot(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(folder(t), "root")
	b, err := os.ReadFile(build(t, runtime.GOARCH))
	require.NoError(t, err)
	program := filepath.Join(dir, command[*instructions.EntrypointCommand](t, stages(t)[1]).CmdLine[0])
	write(t, program, string(b))
	require.NoError(t, os.Chmod(program, 0o755))
	write(t, filepath.Join(dir, "etc/ssl/certs/ca-certificates.crt"), "")
	return dir
}

// mounts are the paths in a container of the volumes of a pod.
func mounts(c corev1.Container) map[string]string {
	out := map[string]string{}
	for _, m := range c.VolumeMounts {
		out[m.Name] = m.MountPath
	}
	return out
}
