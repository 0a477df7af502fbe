package process_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/keyturn/keyturn/envoy/process"
	"github.com/stretchr/testify/require"
)

// orphanEnv makes TestParentOfOrphan the program that TestNoOrphan kills; it holds the path of Envoy.
const orphanEnv = "KEYTURN_TEST_ORPHAN"

// TestParentOfOrphan does nothing in a run of its own.
func TestParentOfOrphan(t *testing.T) {
	path := os.Getenv(orphanEnv)
	if path == "" {
		return
	}
	p, err := process.Binary{Path: path}.Start(t.Context(), process.RunConfig{Bootstrap: minimal(tcp(0), tcp(0)), Stdout: os.Stdout, Concurrency: 1})
	require.NoError(t, err)
	require.NoError(t, p.Ready(t.Context()))
	_, err = io.WriteString(os.Stdout, "ready\n")
	require.NoError(t, err)
	_ = p.Wait()
}

// TestNoOrphan kills the process that started Envoy. Both write to one pipe, so its end is the end of both.
func TestNoOrphan(t *testing.T) {
	b := envoytest.Real(t)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer func() { _ = read.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	parent := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestParentOfOrphan$")
	parent.Env = append(os.Environ(), orphanEnv+"="+b.Path, "TMPDIR="+t.TempDir())
	parent.Stdout = write
	require.NoError(t, parent.Start())
	require.NoError(t, write.Close())
	require.NoError(t, read.SetReadDeadline(time.Now().Add(time.Minute)))
	said := make([]byte, len("ready\n"))
	_, err = io.ReadFull(read, said)
	require.NoError(t, err)
	require.Equal(t, "ready\n", string(said))

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	rest, err := io.ReadAll(read)
	require.NoError(t, err, "Envoy outlived its parent: %s", strings.TrimSpace(string(rest)))
}
