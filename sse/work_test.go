package sse_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/sse"
)

// TestDripIsLinear proves that the decoder looks at no byte again in a later Write: line feeds that the test writes over the held bytes are not seen,
// so each Write's work is bounded by its own bytes. That held bytes are not moved with each Write shows in the number of buffers.
func TestDripIsLinear(t *testing.T) {
	for _, begin := range []string{"data: ", ":", "x", "data: 1\ndata: ", "event: y\r\n"} {
		stream := []byte("data: first\n\n" + begin + strings.Repeat("x", 200_000))
		var events int
		var data []byte
		d := sse.NewDecoder(sse.Limits{}, func(e *sse.Event) error {
			events++
			data = append(data[:0], e.Data...)
			return nil
		})
		drip := func(overwrite bool) {
			events = 0
			done := 20 // the fields' names stay
			for piece := range slices.Chunk(stream, 16) {
				if _, err := d.Write(piece); err != nil {
					t.Fatal(err)
				}
				for held := d.Held(); overwrite && done < len(held); done++ {
					held[done] = '\n'
				}
			}
		}
		drip(true)
		require.Equal(t, 1, events)
		_, err := d.Write([]byte("y\n\n"))
		require.NoError(t, err)
		require.Equal(t, 2, events)
		if strings.HasSuffix(begin, "data: ") {
			require.Greater(t, bytes.Count(data, []byte{'\n'}), 199_900)
			require.Equal(t, byte('y'), data[len(data)-1])
		}

		buffers := testing.AllocsPerRun(1, func() {
			d = sse.NewDecoder(sse.Limits{}, func(*sse.Event) error { return nil })
			drip(false)
		})
		require.Less(t, buffers, 60.0, "of 12,500 writes")
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	stream := mixed()[:1<<20]
	for _, tc := range []struct {
		name   string
		stream []byte
	}{
		{"mixed", stream},
		{"CRLF", bytes.ReplaceAll(stream, []byte("\n"), []byte("\r\n"))},
		{"CR", bytes.ReplaceAll(stream, []byte("\n"), []byte("\r"))},
		{"many data lines", bytes.ReplaceAll(stream, []byte(`"`), []byte("\ndata: "))},
		{"every field", bytes.Repeat([]byte(":c\nid: 1\nretry: 5\nevent: x\ndata: y\ndata: z\n\n"), 20_000)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, size := range []int{16 << 10, 1 << 10, 128, 1} {
				events := 0
				d := sse.NewDecoder(sse.Limits{}, func(*sse.Event) error {
					events++
					return nil
				})
				read := func() {
					d.Reset()
					for piece := range slices.Chunk(tc.stream, size) {
						if _, err := d.Write(piece); err != nil {
							t.Fatal(err)
						}
					}
					if err := d.Close(); err != nil {
						t.Fatal(err)
					}
				}
				read()
				require.Greater(t, events, 3000)
				require.Zero(t, testing.AllocsPerRun(2, read), "pieces of %d", size)
			}
		})
	}
}

func TestResetLetsALargeBufferGo(t *testing.T) {
	d := sse.NewDecoder(sse.Limits{}, func(*sse.Event) error { return nil })
	for _, tc := range []struct {
		size int
		kept bool
	}{{100 << 10, true}, {2 << 20, false}} {
		_, err := d.Write(bytes.Repeat([]byte{'x'}, tc.size))
		require.NoError(t, err)
		d.Reset()
		require.Equal(t, tc.kept, cap(d.Held()) >= tc.size)
	}
}
