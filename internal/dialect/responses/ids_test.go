package responses

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An id is short and of characters that everybody takes, and tells the call without memory.
func TestIDs(t *testing.T) {
	openAI := "fc_" + strings.Repeat("0a", 25)
	for _, tc := range []struct{ function, call, wantFunction, wantCall string }{
		{"fc_1", "call_1", "fc_1", "call_1"},
		{openAI, "call_" + strings.Repeat("x", 24), openAI, "call_" + strings.Repeat("x", 24)},
		{"", "call_1", "", "call_1"},
		{"fc_tmp.1%", "functions.weather:0", "fc_tmp.1%", "functions.weather:0"},
		{"fc_", "call_", "fc_", "call_"},
		{"fc_0a", "call_0A", "fc_0a", "call_0A"},
		{"fc_äöü", "ä", "fc_äöü", "ä"},
		{"msg_" + strings.Repeat("y", 40), "chatcmpl-tool-" + strings.Repeat("0f", 16), "", "chatcmpl-tool-" + strings.Repeat("0f", 16)},
	} {
		for _, more := range []bool{false, true} {
			id := mcpID(tc.function, tc.call, more)
			require.Regexp(t, `^mcp[A-Za-z0-9_-]{1,61}$`, id)
			function, call, again, ok := ownID(id)
			require.True(t, ok, id)
			require.Equal(t, []any{tc.wantFunction, tc.wantCall, more}, []any{function, call, again}, id)
		}
	}
}

// A call's id that has no room is replaced by the item's.
func TestLongIDs(t *testing.T) {
	one, two := mcpID("fc_1", strings.Repeat("x", 200), true), mcpID("fc_1", strings.Repeat("x", 201), true)
	require.Regexp(t, `^mcp[A-Za-z0-9_-]{1,61}$`, one)
	require.NotEqual(t, one, two)
	function, call, more, ok := ownID(one)
	require.Equal(t, []any{"", one, true, true}, []any{function, call, more, ok})
}

func TestIDsOfOthers(t *testing.T) {
	for _, id := range []string{
		"", "mcp-", "mcp_", "mcp-A", "mcp-AA", "mcp-AZa", "mcp-call-1", "mcp-DA*", "mcp-CA!", "mcp-" + strings.Repeat("A", 100), "mcp_" + strings.Repeat("0a", 25), "mcp-hAx", "fc_1",
	} {
		_, _, _, ok := ownID(id)
		require.False(t, ok, id)
	}
	function, call, more, ok := ownID("mcp_fc_1.+call_1") // as they were written before
	require.Equal(t, []any{"fc_1", "call_1", true, true}, []any{function, call, more, ok})
}

func FuzzIDs(f *testing.F) {
	f.Add("fc_1", "call_1", "mcp-FB11")
	f.Add("", "x", "mcp_a.b")
	f.Fuzz(func(t *testing.T, function, call, other string) {
		id := mcpID(function, call, false)
		require.LessOrEqual(t, len(id), maxShown)
		if _, got, _, ok := ownID(id); ok && got != id {
			require.Equal(t, call, got)
		}
		ownID(other)
	})
}
