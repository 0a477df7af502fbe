package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/config"
)

func TestBodyMemory(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 30))
	require.EqualValues(t, 512<<20, bodyMemory(&config.Config{}))
	require.EqualValues(t, 64<<20, bodyMemory(&config.Config{Limits: config.Limits{Memory: 64 << 20}}))
	debug.SetMemoryLimit(1<<63 - 1)
	require.Positive(t, bodyMemory(&config.Config{}), "of the machine's")
}

func TestBoundHeap(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1<<63 - 1))
	boundHeap(&config.Config{})
	require.EqualValues(t, 1<<63-1, debug.SetMemoryLimit(-1), "nothing says how much there is")
	boundHeap(&config.Config{Limits: config.Limits{Memory: 256 << 20}})
	require.EqualValues(t, 640<<20, debug.SetMemoryLimit(-1))
	boundHeap(&config.Config{Limits: config.Limits{Memory: 64 << 20}})
	require.EqualValues(t, 640<<20, debug.SetMemoryLimit(-1), "what was set stays")
}

func TestEnvoyMemory(t *testing.T) {
	own, _ := runEnvoy(&config.Config{}, "1.40.0")
	require.Positive(t, own.Memory, "half of what there is")
	own, _ = runEnvoy(&config.Config{Envoy: config.Envoy{Memory: 1 << 30}}, "1.40.0")
	require.EqualValues(t, 1<<30, own.Memory)
}

func TestAccessLogIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	require.NoError(t, makeAccessLog(path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	require.NoError(t, os.Chmod(path, 0o640))
	require.NoError(t, makeAccessLog(path))
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode(), "as its owner wants it")
	require.EqualValues(t, 1, info.Size())
	for _, none := range []string{"", "stdout", "off"} {
		require.NoError(t, makeAccessLog(none))
	}
	require.Error(t, makeAccessLog(filepath.Join(path, "x")))
}
