package test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/test/gateway"
	"github.com/keyturn/keyturn/test/slowclients"
)

// TestSlowClients holds that clients that leave a large answer unread for a while get every byte of it, and that Envoy serves on.
// How much the kernel takes of an answer differs, so each pipelining client's is larger than the one before. make test-slow tries
// everything else.
func TestSlowClients(t *testing.T) {
	const pause = 4 * time.Second
	small := slowclients.Ask{Bytes: 300}
	for _, tc := range []struct {
		name    string
		tools   bool
		client  slowclients.Client
		clients int
		bytes   int // of the first client's large answer
		step    int // from one client's to the next one's
		stream  bool
		more    []slowclients.Ask
	}{
		{name: "a stream that Keyturn reads", tools: true, client: slowclients.Client{Pause: pause}, clients: 3, bytes: 8 << 20, stream: true},
		{
			name: "one HTTP/2 connection", client: slowclients.Client{HTTP2: true, Pause: pause}, clients: 3, bytes: 8 << 20,
			more: []slowclients.Ask{small, small},
		},
		{name: "pipelined requests", client: slowclients.Client{Pause: pause}, clients: 12, bytes: 3_300_000, step: 150_000, more: []slowclients.Ask{small}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			provider := slowclients.StartProvider(t)
			gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Upstream: provider.URL}}, Tools: tc.tools})
			address := strings.TrimPrefix(gw.URL, "http://")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var work errgroup.Group
			for i := range tc.clients {
				large := slowclients.Ask{Bytes: tc.bytes + i*tc.step, Stream: tc.stream}
				work.Go(func() error { return tc.client.Run(ctx, address, append([]slowclients.Ask{large}, tc.more...)...) })
			}
			err := work.Wait()
			require.False(t, err != nil && gw.EnvoyDies(time.Second), "Envoy has died")
			require.NoError(t, err)
			require.NoError(t, slowclients.Client{}.Run(ctx, address, small))
			require.True(t, gw.EnvoyAlive())
		})
	}
}
