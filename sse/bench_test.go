package sse_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/launchdarkly/eventsource"
	r3labs "github.com/r3labs/sse/v2"
	"github.com/stretchr/testify/require"
	tmaxmax "github.com/tmaxmax/go-sse"

	"github.com/keyturn/keyturn/sse"
)

// mixed is 8 MB of what models stream, as the three dialects write it: 229 bytes an event.
var mixed = sync.OnceValue(func() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	word := func() string { return "                 the quick brown"[r.IntN(17):][:1+r.IntN(15)] }
	var b []byte
	for n := 0; len(b) < 8<<20; n++ {
		switch n / 100 % 3 {
		case 0:
			b = sse.AppendEvent(b, "response.output_text.delta", fmt.Appendf(nil,
				`{"type":"response.output_text.delta","content_index":0,"delta":%q,"item_id":"msg_68c2f0a1b3d48191a0c5e7f9b1d3f507","logprobs":[],"obfuscation":%q,"output_index":1,"sequence_number":%d}`,
				word(), "Qz7LmN2xVbT9kRfY"[r.IntN(16):], n))
		case 1:
			b = append(b, fmt.Sprintf(
				"data: {\"id\":\"chatcmpl-CHq2Vd8kTn3sXw5yZ1aBcDeFgHiJk\",\"object\":\"chat.completion.chunk\",\"created\":1757600000,\"model\":\"gpt-5.5-2026-06-11\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_44709d6fcb\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"logprobs\":null,\"finish_reason\":null}],\"obfuscation\":%q}\n\n",
				word(), "aB3dE5gH7jK9m"[r.IntN(13):])...)
		case 2:
			if n%50 == 0 {
				b = append(b, "event: ping\ndata: {\"type\": \"ping\"}\n\n"...)
			}
			b = sse.AppendEvent(b, "content_block_delta", fmt.Appendf(nil,
				`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":%q}%s}`, word(), strings.Repeat(" ", r.IntN(16))))
		}
	}
	return b
})

// chunks reads a stream in pieces of n bytes.
type chunks struct {
	rest []byte
	n    int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(c.n, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

// counted is what every reader must find in the stream.
type counted struct{ events, bytes int }

// readers are this package's decoder and others', and the search for line feeds that bounds them all. Those of other projects read from an io.Reader,
// which costs them one more copy.
var readers = []struct {
	name string
	read func(stream []byte, chunk int) (counted, error)
}{
	{"keyturn", func(stream []byte, chunk int) (c counted, err error) {
		d := sse.NewDecoder(sse.Limits{}, func(e *sse.Event) error {
			if e.Dispatched {
				c.events++
				c.bytes += len(e.Data)
			}
			return nil
		})
		for len(stream) > 0 {
			n, err := d.Write(stream[:min(chunk, len(stream))])
			if err != nil {
				return c, err
			}
			stream = stream[n:]
		}
		return c, d.Close()
	}},
	{"tmaxmax", func(stream []byte, chunk int) (c counted, err error) {
		for e, err := range tmaxmax.Read(&chunks{stream, chunk}, nil) {
			if err != nil {
				return c, err
			}
			c.events++
			c.bytes += len(e.Data)
		}
		return c, nil
	}},
	{"launchdarkly", func(stream []byte, chunk int) (c counted, err error) {
		d := eventsource.NewDecoder(&chunks{stream, chunk})
		for {
			e, err := d.Decode()
			if errors.Is(err, io.EOF) {
				return c, nil
			}
			if err != nil {
				return c, err
			}
			c.events++
			c.bytes += len(e.Data())
		}
	}},
	{"r3labs", func(stream []byte, chunk int) (c counted, err error) { // finds the blocks only
		r := r3labs.NewEventStreamReader(&chunks{stream, chunk}, 1<<20)
		for {
			block, err := r.ReadEvent()
			if errors.Is(err, io.EOF) {
				return c, nil
			}
			if err != nil {
				return c, err
			}
			c.events++
			_, data, _ := bytes.Cut(block, []byte("data: "))
			c.bytes += len(data)
		}
	}},
	{"IndexByte", func(stream []byte, chunk int) (c counted, err error) { // not a parser
		for len(stream) > 0 {
			p := stream[:min(chunk, len(stream))]
			stream = stream[len(p):]
			for {
				i := bytes.IndexByte(p, '\n')
				if i < 0 {
					break
				}
				c.events++
				p = p[i+1:]
			}
		}
		return c, nil
	}},
}

func TestReadersAgree(t *testing.T) {
	stream := mixed()
	want, err := readers[0].read(stream, len(stream))
	require.NoError(t, err)
	require.Equal(t, bytes.Count(stream, []byte("\n\n")), want.events)
	for _, r := range readers[:4] {
		got, err := r.read(stream, 16<<10)
		require.NoError(t, err, r.name)
		require.Equal(t, want, got, r.name)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []struct {
		name  string
		chunk int
	}{{"16K", 16 << 10}, {"1K", 1 << 10}, {"128", 128}} {
		for _, r := range readers {
			b.Run(size.name+"/"+r.name, func(b *testing.B) {
				stream := mixed()
				b.SetBytes(int64(len(stream)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := r.read(stream, size.chunk); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkDecodeLineEnds is this package's decoder on the same stream with the line ends that are rare.
func BenchmarkDecodeLineEnds(b *testing.B) {
	for _, bc := range []struct{ name, end string }{{"CRLF", "\r\n"}, {"CR", "\r"}} {
		b.Run(bc.name, func(b *testing.B) {
			stream := bytes.ReplaceAll(mixed(), []byte("\n"), []byte(bc.end))
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := readers[0].read(stream, 16<<10); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	data := []byte(strings.Repeat(`{"type":"response.output_text.delta"}`, 7))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = sse.AppendEvent(dst[:0], "response.output_text.delta", data)
	}
}
