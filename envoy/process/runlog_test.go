package process

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogTail(t *testing.T) {
	for _, tc := range []struct {
		name, in, out string
		last          []string
	}{
		{"lines", "a\nb\n", "a\nb\n", []string{"a", "b"}},
		{"an end without newline", "a\nb", "a\nb\n", []string{"a", "b"}},
		{"blank lines are not repeated", "a\n\n \nb\n", "a\n\n \nb\n", []string{"a", "b"}},
		{"JSON secret", `x {"key":{"inline_string":"se\"cret"},"y":1}` + "\n", `x {"key":{"inline_string":"***"},"y":1}` + "\n", []string{`x {"key":{"inline_string":"***"},"y":1}`}},
		{"bytes", `{"inline_bytes": "c2VjcmV0"}` + "\n", `{"inline_bytes": "***"}` + "\n", []string{`{"inline_bytes": "***"}`}},
		{"text form", `key { inline_string: "secret" }` + "\n", `key { inline_string: "***" }` + "\n", []string{`key { inline_string: "***" }`}},
		{"cut in the secret", `{"inline_string":"sec`, `{"inline_string":"***"` + "\n", []string{`{"inline_string":"***"`}},
		{
			"a line without end", strings.Repeat("x", maxLineBytes) + "y\nz\n",
			strings.Repeat("x", maxLineBytes) + "\nz\n",
			[]string{strings.Repeat("x", tailBytes), "z"},
		},
		{"nothing", "", "", []string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, step := range []int{len(tc.in) + 1, 1, 7} {
				var out bytes.Buffer
				log := &logTail{out: &out}
				for b := []byte(tc.in); len(b) > 0; {
					n := min(step, len(b))
					wrote, err := log.Write(b[:n])
					require.NoError(t, err)
					require.Equal(t, n, wrote)
					b = b[n:]
				}
				require.NoError(t, log.Close())
				require.Equal(t, tc.out, out.String())
				require.Equal(t, tc.last, log.lines())
			}
		})
	}
}

func TestLogTailKeepsTheLast(t *testing.T) {
	log := &logTail{}
	for i := range 100 {
		_, err := fmt.Fprintf(log, "line %d\n", i)
		require.NoError(t, err)
	}
	lines := log.lines()
	require.Len(t, lines, tailLines)
	require.Equal(t, "line 99", lines[tailLines-1])
}

func TestOpenRequests(t *testing.T) {
	require.Equal(t, uint64(7), openRequests("http.admin.downstream_rq_active: 1\nhttp.main.downstream_rq_active: 4\nhttp.loopback.downstream_rq_active: 3\nlistener.x.downstream_rq_active: 9\n"))
	require.Zero(t, openRequests(""))
}
