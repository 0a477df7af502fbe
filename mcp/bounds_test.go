package mcp

import (
	"context"
	"io"
	"log/slog"
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
	p := pace{burst: burst}
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

// TestListPace doubles the pause between lists while changes follow each other, and forgets it when they do not.
func TestListPace(t *testing.T) {
	t.Parallel()
	var p listPace
	require.Zero(t, p.change(time.Hour), "the first change, long after the list")
	p.listed()
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		require.Equal(t, want*time.Second-100*time.Millisecond, p.change(100*time.Millisecond))
		require.Equal(t, want*time.Second-200*time.Millisecond, p.change(200*time.Millisecond), "a second change asks for no other list")
		p.listed()
	}
	require.Zero(t, p.change(time.Minute))
	p.listed()
	require.Equal(t, 2*time.Second, p.change(0))
	p.listed()
	p.listed() // due to its age
	require.Equal(t, time.Second, p.change(0))
}

// TestTurn has calls wait for their turn, and says once that they do.
func TestTurn(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	env, err := newEnvironment(Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	v := &server{env: env, cfg: Server{Name: "demo"}, calls: make(chan struct{}, 2)}
	first, e := v.turn(t.Context())
	require.Nil(t, e)
	_, e = v.turn(t.Context())
	require.Nil(t, e)
	require.Empty(t, log.String())

	ended, end := context.WithCancel(t.Context())
	end()
	_, e = v.turn(ended)
	require.Equal(t, &Error{Kind: Canceled}, e)
	waits := make(chan *Error)
	go func() {
		_, e := v.turn(context.Background())
		waits <- e
	}()
	first()
	require.Nil(t, <-waits)
	require.Equal(t, 1, strings.Count(log.String(), `server=demo limit="many calls at the same time; more wait for their turn" most=512`))
}
