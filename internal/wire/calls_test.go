package wire

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCalls(t *testing.T) {
	calls := []Call{
		{ID: "call_1", Server: "demo", Tool: "weather", Turn: 1, Start: 1500 * time.Microsecond, Duration: time.Second, Outcome: "ok"},
		{ID: "call_2\"\n", Tool: "Grüße", Turn: 2, Outcome: "client"},
	}
	text, cut := Calls(calls, MaxMetadata)
	require.Zero(t, cut)
	require.Equal(t, calls, ReadCalls(text))

	many := make([]Call, 1000)
	for i := range many {
		many[i] = Call{ID: strings.Repeat("ü", 1000), Server: strings.Repeat("s", 1000), Tool: strings.Repeat("\x00", 1000), Outcome: strings.Repeat("o", 1000)}
	}
	text, cut = Calls(many, 3<<10)
	require.LessOrEqual(t, len(text), 3<<10)
	got := ReadCalls(text)
	require.Len(t, got, len(many)-cut)
	require.NotEmpty(t, got)
	require.Equal(t, strings.Repeat("ü", 32), got[0].ID)

	text, cut = Calls(calls, 3)
	require.Equal(t, "[]", text)
	require.Equal(t, 2, cut)
	for _, hostile := range []string{"", "{", "{}", "null", `"x"`, `[1,null,{},["a"]]`, strings.Repeat("[", 10_000)} {
		for _, c := range ReadCalls(hostile) {
			require.LessOrEqual(t, len(c.ID), len(hostile))
		}
	}
}

func TestClip(t *testing.T) {
	require.Equal(t, "ab", Clip("ab", 2))
	require.Equal(t, "a", Clip("aü", 2))
	require.Equal(t, "", Clip("ü", 1))
}
