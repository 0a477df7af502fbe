package process

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWhatAKilledRunLeftIsRemoved: the configuration may hold the clients' keys, and only the run itself knew where it was.
func TestWhatAKilledRunLeftIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	alive, err := writeFiles("", []byte("alive"))
	require.NoError(t, err)
	killed, err := writeFiles("", []byte("killed"))
	require.NoError(t, err)
	require.NoError(t, killed.lock.Close()) // as the kernel does
	other := filepath.Join(os.TempDir(), "keyturn-envoy-by-hand")
	require.NoError(t, os.MkdirAll(other, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(other, "mine"), nil, 0o600))
	require.NoError(t, os.Symlink(filepath.Dir(alive.config), filepath.Join(os.TempDir(), "keyturn-envoy-link")))

	next, err := writeFiles("", []byte("next"))
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Dir(killed.config))
	require.FileExists(t, alive.config)
	require.FileExists(t, filepath.Join(other, "mine"))
	for _, f := range []files{alive, next} {
		f.remove()
		require.NoDirExists(t, filepath.Dir(f.config))
	}
}
