package sse_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/sse"
)

func TestLimits(t *testing.T) {
	const lineError = "sse: too long: a line has more than 10 bytes"
	const eventError = "sse: too long: an event has more than 30 bytes"
	limits := sse.Limits{LineBytes: 10, EventBytes: 30}
	for _, tc := range []struct {
		name   string
		stream string
		events int // before the error, or before the end
		err    string
		rest   string
	}{
		{"line of 10", "data:67890\n\n", 1, "", ""},
		{"line of 10, CRLF", "data:67890\r\n\r\n", 1, "", ""},
		{"line of 11", "data:678901\n\n", 0, lineError, "data:678901\n\n"},
		{"line of 11, CR", "data:678901\r\r", 0, lineError, "data:678901\r\r"},
		{"comment of 11", "data:1\n\n:2345678901\n\n", 1, lineError, ":2345678901\n\n"},
		{"open line of 10", "data:1\n\ndata:67890", 2, "", ""},
		{"open line of 11", "data:1\n\ndata:678901", 1, lineError, "data:678901"},
		{"the byte order mark counts", bom + "data:901\n\n", 0, lineError, bom + "data:901\n\n"},
		{"second line of 11", "data:1\n\n:\ndata:678901\n\ndata:3\n\n", 1, lineError, ":\ndata:678901\n\ndata:3\n\n"},
		{"event of 30", ":234567\n:234567\n:234567\n:234\n\n", 1, "", ""},
		{"event of 30 and the LF of its CRLF", ":234567\n:234567\n:234567\n:23\n\r\n", 1, "", ""},
		{"event of 31", "\n:234567\n:234567\n:234567\n:2345\n\n", 1, eventError, ":234567\n:234567\n:234567\n:2345\n\n"},
		{"event of 31, each CRLF counts", ":23456\r\n:23456\r\n:23456\r\n:234\r\n\r\n", 0, eventError, ":23456\r\n:23456\r\n:23456\r\n:234\r\n\r\n"},
		{"open event of 30", "\n:234567\n:234567\n:234567\n:23456", 2, "", ""},
		{"open event of 31", "\n:234567\n:234567\n:234567\n:234567", 1, eventError, ":234567\n:234567\n:234567\n:234567"},
		{"open event of 31, its last line whole", ":234567\n:234567\n:234567\n:23456\n", 0, eventError, ":234567\n:234567\n:234567\n:23456\n"},
		{"line over both limits, its own first", ":234567\n:23456\n:2345678901234567890\n\n", 0, lineError, ":234567\n:23456\n:2345678901234567890\n\n"},
		{"line over both limits at one byte", ":234567\n:234567\n:23\n:2345678901\n\n", 0, lineError, ":234567\n:234567\n:23\n:2345678901\n\n"},
		{"line over both limits, the event's first", ":234567\n:234567\n:23456\n:2345678901\n\n", 0, eventError, ":234567\n:234567\n:23456\n:2345678901\n\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for n := 1; n <= len(tc.stream); n++ {
				for _, pieces := range [][]string{bytewise(tc.stream, n), {tc.stream[:n], tc.stream[n:]}} {
					got := decode(t, limits, pieces...)
					if tc.err == "" {
						require.NoError(t, got.err)
					} else {
						require.EqualError(t, got.err, tc.err)
						require.ErrorIs(t, got.err, sse.ErrTooLong)
					}
					require.Len(t, got.events, tc.events)
					require.Equal(t, tc.rest, got.rest)
				}
			}
		})
	}
}

func TestLimitsThatAreNotGiven(t *testing.T) {
	for _, limits := range []sse.Limits{{}, {LineBytes: -1, EventBytes: -1}, {LineBytes: 1 << 30}, {EventBytes: 1 << 30}} {
		d := sse.NewDecoder(limits, func(*sse.Event) error { return errors.New("no event was expected") })
		line := bytes.Repeat([]byte{'x'}, 16<<10)
		written := 0
		var err error
		for err == nil {
			var n int
			n, err = d.Write(line)
			written += n
			require.LessOrEqual(t, written, sse.DefaultLimitBytes)
		}
		require.ErrorIs(t, err, sse.ErrTooLong)
		require.Equal(t, sse.DefaultLimitBytes, written)
		require.Len(t, d.Held(), written)
	}
}

func TestHugeEvent(t *testing.T) {
	huge := slices.Concat([]byte("data: 1\n\n"), bytes.Repeat([]byte("data:"+strings.Repeat("x", 1023)+"\r"), 1<<10),
		[]byte("\rdata: "), bytes.Repeat([]byte{'x'}, 64<<20), []byte("\n\ndata: 3\n\n"))
	for _, size := range []int{len(huge), 1 << 20, 16 << 10} {
		var events, data, longest int
		count := func(e *sse.Event) error {
			events++
			data += len(e.Data)
			longest = max(longest, len(e.Data))
			return nil
		}
		d := sse.NewDecoder(sse.Limits{LineBytes: 65 << 20, EventBytes: 66 << 20}, count)
		for piece := range slices.Chunk(huge, size) {
			_, err := d.Write(piece)
			require.NoError(t, err)
		}
		require.NoError(t, d.Close())
		require.Equal(t, 4, events)
		require.Equal(t, 64<<20, longest)
		require.Equal(t, 65<<20+1, data, "1, 3, and the line feeds between the lines of the second")

		events = 0
		d = sse.NewDecoder(sse.Limits{}, count)
		var err error
		for piece := range slices.Chunk(huge, size) {
			if _, err = d.Write(piece); err != nil {
				break
			}
		}
		require.ErrorIs(t, err, sse.ErrTooLong)
		require.Equal(t, 2, events)
		require.LessOrEqual(t, len(d.Held()), sse.DefaultLimitBytes)
	}
}

func TestManyDataLines(t *testing.T) {
	stream := strings.Repeat("data: x\n", 10_000) + "\n"
	want := seen{Raw: stream, Data: strings.Repeat("x\n", 9_999) + "x", Dispatched: true, Retry: -1}
	for _, n := range []int{len(stream), 4096, 16, 1} {
		require.Equal(t, []seen{want}, decode(t, sse.Limits{}, bytewise(stream, n)...).events)
	}
	read := decode(t, sse.Limits{}, stream+stream+"data: y\n\n") // in place, and nothing of the one before stays
	require.Equal(t, []seen{want, want, {Raw: "data: y\n\n", Data: "y", Dispatched: true, Retry: -1}}, read.events)
}
