package mcp_test

import (
	"context"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/mcp"
	"github.com/stretchr/testify/require"
)

var all = []string{"add", "big", "count", "echo", "fail", "image", "resource", "sleep", "structured", "weather"}

// TestKilled kills a server, and starts it again at the same address.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, kind.opts)
			c := connected(t, mcp.Server{URL: address(ts, kind.path), Transport: kind.transport})
			echo(t, c)
			require.NoError(t, ts.Close())
			down(t, c) // nobody calls: it is noticed all the same
			_, err := text(t.Context(), c, "count", "")
			require.Equal(t, &mcp.Error{Kind: mcp.Unreachable, Server: "demo", Tool: "count"}, failure(t, err))
			require.Equal(t, "unreachable", c.Status()[0].LastError)

			again := toolserver.New(kind.opts)
			require.NoError(t, again.Listen(ts.Addr()))
			defer func() { require.NoError(t, again.Close()) }()
			up(t, c)
			echo(t, c)
		})
	}
}

// TestRestarted kills a server and starts it again before anybody can notice. A call that finds no session is made again.
func TestRestarted(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, kind.opts)
			c := connected(t, mcp.Server{URL: address(ts, kind.path), Transport: kind.transport})
			echo(t, c)
			require.NoError(t, ts.Close())
			again := toolserver.New(kind.opts)
			require.NoError(t, again.Listen(ts.Addr()))
			defer func() { require.NoError(t, again.Close()) }()
			require.Eventually(t, func() bool {
				_, err := text(t.Context(), c, "count", "")
				return err == nil
			}, patience, interval)
			require.Len(t, again.Calls("count"), 1)
		})
	}
}

// TestHung has a server that answers nothing any more. All the times are the clock's.
func TestHung(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ts := serve(t, toolserver.Options{JSON: true})
	clk := quartz.NewMock(t)
	c := open(t, mcp.At(clk, mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: ts.URL, Timeout: time.Minute}}}))
	up(t, c)
	for _, method := range []string{"tools/call", "tools/list", "server/discover", "initialize"} {
		ts.Next(10, toolserver.Fault{Method: method, Hang: true})
	}

	trap := clk.Trap().AfterFunc("timeout")
	defer trap.Close()
	failed := make(chan error, 1)
	go func() {
		_, err := text(ctx, c, "count", "")
		failed <- err
	}()
	requests := 0
	hung := func() {
		t.Helper()
		requests++
		require.Eventually(t, func() bool { return ts.Faults() == requests }, patience, interval)
	}
	pass := func(want time.Duration, before ...time.Duration) {
		t.Helper()
		set := trap.MustWait(ctx)
		require.Equal(t, want, set.Duration)
		set.MustRelease(ctx)
		hung()
		for _, d := range before { // after which it is tried in another way
			clk.Advance(d).MustWait(ctx)
			hung()
			want -= d
		}
		clk.Advance(want).MustWait(ctx)
	}
	pass(time.Minute) // the call
	require.Equal(t, &mcp.Error{Kind: mcp.Timeout, Server: "demo", Tool: "count", Ran: true}, failure(t, <-failed))
	require.Len(t, c.Tools(ctx, []string{"demo"}), len(all), "a slow tool alone says nothing about the server")
	pass(10 * time.Second)              // the list that the call's end brought about
	pass(10*time.Second, 3*time.Second) // the attempt at another session: server/discover, and initialize
	down(t, c)
	trap.Close()
	require.Equal(t, "timeout", c.Status()[0].LastError)

	ts.Heal()
	clk.Advance(500 * time.Millisecond).MustWait(ctx)
	up(t, c)
}

// TestFirstWait lets Tools wait for a server that has not been heard of, for a second; the other's tools are there.
func TestFirstWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ts, hung := serve(t, toolserver.Options{}), serve(t, toolserver.Options{})
	hung.Next(1000, toolserver.Fault{Hang: true})
	clk := quartz.NewMock(t)
	trap := clk.Trap().NewTimer("first")
	defer trap.Close()
	c := open(t, mcp.At(clk, mcp.Config{Servers: []mcp.Server{{Name: "hung", URL: hung.URL}, {Name: "demo", URL: ts.URL}}}))
	tools := make(chan []mcp.Tool)
	go func() { tools <- c.Tools(ctx, []string{"hung", "demo", "unknown", "demo"}) }()
	set := trap.MustWait(ctx)
	require.Equal(t, time.Second, set.Duration)
	set.MustRelease(ctx)
	require.Eventually(t, func() bool { return c.Status()[1].Connected }, patience, interval)
	clk.Advance(time.Second).MustWait(ctx)
	require.Equal(t, all, names(<-tools))

	ended, end := context.WithCancel(ctx)
	end()
	go func() { tools <- c.Tools(ended, []string{"hung"}) }()
	trap.MustWait(ctx).MustRelease(ctx)
	require.Empty(t, <-tools)
}

// TestAge fetches the list again when it is old: as old as the configuration says, or the server.
func TestAge(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		opts toolserver.Options
		want time.Duration
	}{
		{"the configuration's", toolserver.Options{}, 3 * time.Minute},
		{"the server's", toolserver.Options{Stateless: true, TTL: 40 * time.Second}, 40 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, tc.opts)
			clk := quartz.NewMock(t)
			trap := clk.Trap().NewTimer("refresh")
			defer trap.Close()
			c := open(t, mcp.At(clk, mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: ts.URL, Refresh: 3 * time.Minute}}}))
			set := trap.MustWait(t.Context())
			require.Equal(t, tc.want, set.Duration)
			set.MustRelease(t.Context())
			require.Equal(t, 1, ts.Lists())
			for n := 2; n <= 4; n++ {
				reset := clk.Trap().TimerReset("refresh")
				clk.Advance(tc.want - time.Second).MustWait(t.Context())
				require.Equal(t, n-1, ts.Lists())
				clk.Advance(time.Second).MustWait(t.Context())
				reset.MustWait(t.Context()).MustRelease(t.Context())
				reset.Close()
				require.Equal(t, n, ts.Lists())
			}
			require.Equal(t, all, names(c.Tools(t.Context(), []string{"demo"})))
		})
	}
}

// TestBackoff doubles the wait between attempts, up to half a minute.
func TestBackoff(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ts := serve(t, toolserver.Options{})
	ts.Next(1000, toolserver.Fault{Status: 500})
	clk := quartz.NewMock(t)
	trap := clk.Trap().NewTimer("sleep")
	defer trap.Close()
	c := open(t, mcp.At(clk, mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: ts.URL, Transport: "http"}}}))
	var waits []float64
	for range 8 {
		set := trap.MustWait(ctx)
		waits = append(waits, set.Duration.Seconds())
		set.MustRelease(ctx)
		clk.Advance(set.Duration).MustWait(ctx)
	}
	require.Equal(t, []float64{0.5, 1, 2, 4, 8, 16, 30, 30}, waits)
	trap.Close()
	require.False(t, c.Status()[0].Connected)
}

// TestChanged adds and removes tools while the catalogue is connected, on every transport.
func TestChanged(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, kind.opts)
			c := connected(t, mcp.Server{URL: address(ts, kind.path), Transport: kind.transport})
			listed := func() []string { return names(c.Tools(t.Context(), []string{"demo"})) }
			require.Equal(t, all, listed())
			ts.Add("another", "")
			require.Eventually(t, func() bool { return len(listed()) == len(all)+1 }, patience, interval)
			got, err := text(t.Context(), c, "another", "")
			require.NoError(t, err)
			require.Equal(t, "another", got)
			ts.Remove("another")
			require.Eventually(t, func() bool { return len(listed()) == len(all) }, patience, interval)
			_, err = text(t.Context(), c, "another", "")
			require.Equal(t, &mcp.Error{Kind: mcp.NotFound, Server: "demo", Tool: "another"}, failure(t, err))
		})
	}
}

// TestCancel leaves a call: it returns, and the tool hears of it, within a second.
func TestCancel(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, kind.opts)
			c := connected(t, mcp.Server{URL: address(ts, kind.path), Transport: kind.transport})
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() {
				_, err := text(ctx, c, "sleep", `{"seconds":60}`)
				failed <- err
			}()
			require.Eventually(t, func() bool { return len(ts.Calls("sleep")) == 1 }, patience, interval)
			cancel()
			require.Equal(t, &mcp.Error{Kind: mcp.Canceled, Server: "demo", Tool: "sleep", Ran: true}, failure(t, <-failed))
			require.Eventually(t, func() bool { return ts.Calls("sleep")[0].Canceled }, time.Second, interval)
			echo(t, c)
			require.Len(t, ts.Calls("sleep"), 1)
		})
	}
}

// TestClose closes the catalogue in the middle of a call.
func TestClose(t *testing.T) {
	t.Parallel()
	ts := serve(t, toolserver.Options{})
	c := connected(t, mcp.Server{URL: ts.URL})
	failed := make(chan error, 1)
	go func() {
		_, err := text(context.Background(), c, "sleep", `{"seconds":60}`)
		failed <- err
	}()
	require.Eventually(t, func() bool { return len(ts.Calls("sleep")) == 1 }, patience, interval)
	require.NoError(t, c.Close())
	require.Equal(t, &mcp.Error{Kind: mcp.Closed, Server: "demo", Tool: "sleep", Ran: true}, failure(t, <-failed))
	require.Empty(t, c.Tools(t.Context(), []string{"demo"}))
	_, err := text(t.Context(), c, "echo", "")
	require.Error(t, err)
	require.Error(t, c.SetServers(nil))
	require.NoError(t, c.Close())
}
