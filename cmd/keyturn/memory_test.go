package main

import (
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
