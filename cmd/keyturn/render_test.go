package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestWhatIsRenderedIsItsOwnersAlone: whatever was there before.
func TestWhatIsRenderedIsItsOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(in("open"), []byte("old and longer than what comes"), 0o644))
	require.NoError(t, os.Chmod(in("open"), 0o666))
	before, err := os.Open(in("open")) // somebody who has it open reads nothing new
	require.NoError(t, err)
	defer before.Close()
	for _, name := range []string{"new", "open"} {
		require.NoError(t, writePrivate(in(name), []byte("new")))
		info, err := os.Lstat(in(name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		b, err := os.ReadFile(in(name))
		require.NoError(t, err)
		require.Equal(t, "new", string(b))
	}
	old := make([]byte, 3)
	_, err = before.Read(old)
	require.NoError(t, err)
	require.Equal(t, "old", string(old))

	require.NoError(t, os.Symlink(in("elsewhere"), in("link")))
	require.ErrorContains(t, writePrivate(in("link"), []byte("new")), "is a link")
	require.NoFileExists(t, in("elsewhere"))
	require.Error(t, writePrivate(in("none/file"), []byte("new")))
	require.Error(t, writePrivate(dir, []byte("new")))

	require.NoError(t, unix.Mkfifo(in("pipe"), 0o600))
	read := make(chan string)
	go func() {
		b, _ := os.ReadFile(in("pipe"))
		read <- string(b)
	}()
	require.NoError(t, writePrivate(in("pipe"), []byte("through")))
	require.Equal(t, "through", <-read)
	left, err := filepath.Glob(in(".*"))
	require.NoError(t, err)
	require.Empty(t, left, "files in between")
}
