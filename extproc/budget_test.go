package extproc

import (
	"context"
	"testing"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
)

func TestBudget(t *testing.T) {
	clock, ctx := quartz.NewMock(t), t.Context()
	b := newBudget(1333, clock) // 1000 for large bodies, 333 for small ones
	var first, second, third share
	require.True(t, first.announced(ctx, b, 100))
	require.True(t, second.announced(ctx, b, 150))
	trap := clock.Trap().AfterFunc("budget")
	defer trap.Close()

	// There is none left: the third waits, and gets nothing.
	got := make(chan bool)
	go func() { got <- third.announced(ctx, b, 20) }()
	trap.MustWait(ctx).MustRelease(ctx)
	clock.Advance(fullWait).MustWait(ctx)
	require.False(t, <-got)
	third.end()

	// It waits, and gets what another gives back: the first body turns out to be smaller, and what stays of it smaller still.
	go func() { got <- third.announced(ctx, b, 20) }()
	trap.MustWait(ctx).MustRelease(ctx)
	require.True(t, first.came(ctx, 50))
	require.True(t, <-got)
	first.keep(50)
	require.Equal(t, []int64{60, 600, 80}, []int64{first.held, second.held, third.held})

	// What is announced and does not come is given back.
	clock.Advance(uploadTime - fullWait).MustWait(ctx)
	require.Zero(t, second.held)
	// And asked for again when it comes after all.
	require.True(t, second.came(ctx, 150))
	require.EqualValues(t, 600, second.held)

	first.end()
	second.end()
	third.end()
	require.True(t, b.large.free.TryAcquire(1000), "all was given back")
	b.large.free.Release(1000)

	// A body alone is read, however large it is.
	require.True(t, first.announced(ctx, b, 1<<30))
	// Small ones have room of their own.
	require.True(t, third.announced(ctx, b, 5))
	third.end()
	// A client that leaves waits no longer.
	gone, leave := context.WithCancel(ctx)
	go func() { got <- second.announced(gone, b, 20) }()
	trap.MustWait(ctx).MustRelease(ctx)
	leave()
	require.False(t, <-got)
	second.end()
	first.end()
	require.True(t, b.large.free.TryAcquire(1000))
}

func TestBudgetOfNone(t *testing.T) {
	b := newBudget(0, quartz.NewMock(t))
	var s share
	require.True(t, s.came(t.Context(), 1<<40), "of a request that asked for nothing")
	require.True(t, s.announced(t.Context(), b, 1<<40))
	require.True(t, s.came(t.Context(), 1<<40))
	require.True(t, s.more(t.Context(), 1<<40))
	s.end()
}
