package sse_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/sse"
)

// pulled is what Read makes of r, until it has left events.
func pulled(r io.Reader, limits sse.Limits, left int) (events []string, err error) {
	for e, failed := range sse.Read(r, limits) {
		if failed != nil {
			return events, failed
		}
		events = append(events, string(e.Type)+"|"+string(e.Data))
		if left--; left == 0 {
			break
		}
	}
	return events, nil
}

func TestRead(t *testing.T) {
	const stream = "\xef\xbb\xbf: hello\n\nevent: a\ndata: 1\ndata: 2\n\nretry: 5\n\ndata: 3\r\n\r\ndata: 4\r\rdata: cut"
	all := []string{"a|1\n2", "|3", "|4"}
	broken := errors.New("connection lost")
	for name, tc := range map[string]struct {
		r      io.Reader
		limits sse.Limits
		left   int
		want   []string
		err    error
	}{
		"whole":                    {r: strings.NewReader(stream), want: all},
		"byte by byte":             {r: iotest.OneByteReader(strings.NewReader(stream)), want: all},
		"its end with the bytes":   {r: iotest.DataErrReader(strings.NewReader(stream)), want: all},
		"nothing":                  {r: strings.NewReader("")},
		"left early":               {r: strings.NewReader(stream), left: 1, want: all[:1]},
		"left at the last":         {r: strings.NewReader(stream), left: 3, want: all},
		"a connection that breaks": {r: io.MultiReader(strings.NewReader(stream), iotest.ErrReader(broken)), want: all, err: broken},
		"too long a line":          {r: strings.NewReader("data: 1\n\ndata: 23456\n\ndata: 7\n\n"), limits: sse.Limits{LineBytes: 8}, want: []string{"|1"}, err: sse.ErrTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pulled(tc.r, tc.limits, tc.left)
			require.Equal(t, tc.want, got)
			require.ErrorIs(t, err, tc.err)
			if tc.err == nil {
				require.NoError(t, err)
			}
		})
	}
}

// TestReadLeavesTheRest holds that who leaves the loop has not lost what comes after: nothing more is read.
func TestReadLeavesTheRest(t *testing.T) {
	var rest bytes.Buffer
	rest.WriteString("data: 1\n\n")
	got, err := pulled(iotest.OneByteReader(&rest), sse.Limits{}, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"|1"}, got)
	rest.WriteString("data: 2\n\n")
	require.Equal(t, 9, rest.Len())
}
