package mcp

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRoom has two answers share what there is room for. What is over gives its room back, and what comes after it is not counted.
func TestRoom(t *testing.T) {
	t.Parallel()
	shared := &room{left: 10}
	read := func(f *flight, n int) error {
		_, err := io.ReadAll(&cappedBody{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", n))), left: f.limit, flight: f})
		return err
	}
	fly := func() *flight {
		_, end := context.WithCancelCause(t.Context())
		return &flight{limit: 100, end: end, room: shared}
	}
	first, second := fly(), fly()
	require.NoError(t, read(first, 6))
	require.Equal(t, errTooLarge, read(second, 5))
	require.True(t, second.facts().large)
	require.True(t, second.land())
	require.Equal(t, int64(4), shared.left)
	require.False(t, first.land())
	require.NoError(t, read(first, 50), "nobody keeps it")
	require.Equal(t, int64(10), shared.left)
	third := fly()
	require.NoError(t, read(third, 10))
	require.False(t, third.land())
	require.Equal(t, errTooLarge, read(third, 101), "its own limit")
}

// TestPace lets some sessions follow each other at once, and then one a second.
func TestPace(t *testing.T) {
	t.Parallel()
	var p pace
	now := time.Unix(1_000_000, 0)
	for range burst {
		require.Zero(t, p.wait(now))
	}
	for range 5 {
		rest := p.wait(now)
		require.InDelta(t, time.Second, rest, float64(time.Millisecond))
		now = now.Add(rest)
	}
	now = now.Add(time.Hour)
	for range burst {
		require.Zero(t, p.wait(now))
	}
	require.NotZero(t, p.wait(now))
}
