package mcp_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/mcp"
	"github.com/stretchr/testify/require"
)

// TestConnections makes calls one after the other: they share the connection.
func TestConnections(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			ts := toolserver.New(kind.opts)
			var opened atomic.Int64
			front := httptest.NewUnstartedServer(ts)
			front.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					opened.Add(1)
				}
			}
			front.Start()
			defer front.Close()
			defer func() { require.NoError(t, ts.Close()) }()
			c := connected(t, mcp.Server{URL: front.URL + map[bool]string{true: kind.path, false: toolserver.Path}[kind.path != ""], Transport: kind.transport})
			for range 100 {
				echo(t, c)
			}
			require.NoError(t, c.Close())
			require.LessOrEqual(t, opened.Load(), int64(10))
		})
	}
}
