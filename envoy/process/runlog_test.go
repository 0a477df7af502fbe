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
		{
			"a long line", strings.Repeat("x", 70_000) + "y\nz\n",
			strings.Repeat("x", 70_000) + "y\nz\n",
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

func TestOutputIsBlanked(t *testing.T) {
	var log, stdout bytes.Buffer
	o, err := newOutput(RunConfig{Log: &log, Stdout: &stdout, Secrets: []string{"the-first-secret"}})
	require.NoError(t, err)
	write := func(text string) {
		for i := range len(text) {
			_, err := o.err.Write([]byte{text[i]})
			require.NoError(t, err)
			_, err = o.stdout.Write([]byte{text[i]})
			require.NoError(t, err)
		}
	}
	write("a the-first-secret\nb the-second-")
	o.blank([]string{"the-second-secret"})
	write("secret\nc the-first-\nsecret d\ne the-first-secret")
	require.NoError(t, o.close())
	require.Equal(t, "a ***\nb ***\nc ***\n*** d\ne ***\n", log.String())
	require.Equal(t, "a ***\nb ***\nc ***\n*** d\ne ***", stdout.String())
	require.Equal(t, []string{"a ***", "b ***", "c ***", "*** d", "e ***"}, o.log.lines())
}

func TestOpenRequests(t *testing.T) {
	require.Equal(t, uint64(7), openRequests("http.admin.downstream_rq_active: 1\nhttp.main.downstream_rq_active: 4\nhttp.loopback.downstream_rq_active: 3\nlistener.x.downstream_rq_active: 9\n"))
	require.Zero(t, openRequests(""))
}
