package mcp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/mcp"
)

// TestDetail has what an operator sees of a server: what it is, its tools, and what became of their calls.
func TestDetail(t *testing.T) {
	t.Parallel()
	ts := serve(t, toolserver.Options{})
	c := open(t, mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: ts.URL}}})
	up(t, c)
	for range 3 {
		_, err := text(t.Context(), c, "count", "")
		require.NoError(t, err)
	}
	_, err := text(t.Context(), c, "fail", `{"message":"private"}`)
	require.Error(t, err)
	_, err = text(t.Context(), c, "invented", "")
	require.Error(t, err)

	d := c.Detail()
	require.Len(t, d, 1)
	require.True(t, d[0].Connected)
	require.Equal(t, "2025-11-25", d[0].Protocol)
	require.NotEmpty(t, d[0].Software)
	require.Len(t, d[0].Offered, d[0].Tools)
	for _, tool := range d[0].Offered {
		switch tool.Name {
		case "count":
			require.EqualValues(t, 3, tool.Calls)
			require.Zero(t, tool.Failed)
			require.Positive(t, tool.P50)
			require.GreaterOrEqual(t, tool.P99, tool.P50)
		case "fail":
			require.EqualValues(t, 1, tool.Failed)
			require.Equal(t, "tool_error", tool.LastError)
			require.False(t, tool.LastErrorAt.IsZero())
		default:
			require.Zero(t, tool.Calls, tool.Name)
		}
		require.NotContains(t, tool.LastError, "private")
	}
}
