package sse_test

import (
	"bytes"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/sse"
)

// seen is an event that outlives emit.
type seen struct {
	Raw, Type, Data, ID string
	HasID               bool
	Retry               int64
	Dispatched          bool
	Truncated           bool
}

func keep(e *sse.Event) seen {
	return seen{string(e.Raw), string(e.Type), string(e.Data), string(e.ID), e.HasID, e.RetryMillis, e.Dispatched, e.Truncated}
}

// slow reads a whole stream by the letter of the standard, one byte after the other, without any thought of speed.
func slow(stream string) []seen {
	var (
		events []seen
		e      = seen{Retry: -1}
		data   []string
		start  int // of the block
		line   int // of the line
	)
	field := func(text string) {
		if line == 0 {
			text = strings.TrimPrefix(text, "\ufeff")
		}
		name, value, _ := strings.Cut(text, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "data":
			data = append(data, value)
		case "event":
			e.Type = value
		case "id":
			if !strings.Contains(value, "\x00") {
				e.ID, e.HasID = value, true
			}
		case "retry":
			if n, ok := new(big.Int).SetString(value, 10); ok && strings.Trim(value, "0123456789") == "" {
				e.Retry = 1<<63 - 1
				if n.IsInt64() {
					e.Retry = n.Int64()
				}
			}
		}
	}
	end := func(at int, truncated bool) {
		e.Raw, e.Data, e.Dispatched, e.Truncated = stream[start:at], strings.Join(data, "\n"), len(data) > 0, truncated
		events = append(events, e)
		e, data, start = seen{Retry: -1}, nil, at
	}
	for i := 0; i < len(stream); i++ {
		if stream[i] != '\r' && stream[i] != '\n' {
			continue
		}
		text := stream[line:i]
		if stream[i] == '\r' && i+1 < len(stream) && stream[i+1] == '\n' {
			i++
		}
		empty := text == "" || line == 0 && text == "\ufeff"
		if empty {
			end(i+1, false)
		} else {
			field(text)
		}
		line = i + 1
	}
	if start < len(stream) {
		if line < len(stream) {
			field(stream[line:])
		}
		end(len(stream), true)
	}
	return events
}

// result is what a decoder made of a stream.
type result struct {
	events []seen
	err    error
	rest   string // what was not delivered, when there was an error
}

// decode writes the pieces one after the other, and checks what holds for every stream.
func decode(t testing.TB, limits sse.Limits, pieces ...string) result {
	t.Helper()
	var r result
	d := sse.NewDecoder(limits, func(e *sse.Event) error {
		r.events = append(r.events, keep(e))
		return nil
	})
	r.err = feed(t, d, &r.rest, pieces)
	var all strings.Builder
	for _, e := range r.events {
		all.WriteString(e.Raw)
	}
	require.Equal(t, strings.Join(pieces, ""), all.String()+r.rest, "every byte, once, in order")
	r.events = joined(r.events)
	return r
}

// feed writes the pieces and closes. The rest is what the decoder did not deliver.
func feed(t testing.TB, d *sse.Decoder, rest *string, pieces []string) error {
	t.Helper()
	var failed error
	var left, p []byte
	for _, piece := range pieces {
		p = append(p[:0], piece...)
		n, err := d.Write(p)
		if string(p) != piece {
			require.Equal(t, piece, string(p), "p was changed")
		}
		switch {
		case err == nil && n != len(piece), failed != nil && (n != 0 || !errors.Is(err, failed)):
			require.Fail(t, "Write", "%d, %v of %d bytes after %v", n, err, len(piece), failed)
		case err != nil && failed == nil:
			left, failed = append(left, d.Held()...), err
		}
		if failed != nil {
			left = append(left, piece[n:]...)
		}
		clear(p) // the decoder keeps no reference to it
	}
	err := d.Close()
	if *rest = string(left); failed != nil {
		require.Equal(t, failed, err, "the same error each time")
		return failed
	}
	require.Empty(t, d.Held())
	return err
}

// joined puts an LF that came as a block of its own, since it was cut off its CR, back where it is without the cut.
func joined(events []seen) []seen {
	var out []seen
	for _, e := range events {
		if last := len(out) - 1; e.Raw == "\n" && last >= 0 && strings.HasSuffix(out[last].Raw, "\r") {
			lone := seen{Raw: "\n", Retry: -1}
			if e != lone {
				panic("an LF that says something")
			}
			out[last].Raw += "\n"
			continue
		}
		out = append(out, e)
	}
	return out
}

// same checks that two ways to cut a stream give the same events and the same error.
func same(t testing.TB, want, got result) {
	t.Helper()
	require.Equal(t, want.events, got.events)
	require.Equal(t, want.err, got.err)
	if want.err != nil {
		require.ErrorIs(t, got.err, sse.ErrTooLong)
		require.Equal(t, want.rest, got.rest)
	}
}

// bytewise is the stream in pieces of n bytes.
func bytewise(stream string, n int) []string {
	var pieces []string
	for len(stream) > n {
		pieces, stream = append(pieces, stream[:n]), stream[n:]
	}
	return append(pieces, stream)
}

// dispatched are the data of the events that a client gets.
func dispatched(events []seen) []string {
	data := []string{}
	for _, e := range events {
		if e.Dispatched && !e.Truncated {
			data = append(data, e.Data)
		}
	}
	return data
}

var errRefused = errors.New("refused")

// refuser is a decoder whose emit refuses the event with this data.
func refuser(data string, got *bytes.Buffer) *sse.Decoder {
	return sse.NewDecoder(sse.Limits{}, func(e *sse.Event) error {
		got.Write(e.Raw)
		if string(e.Data) == data {
			return errRefused
		}
		return nil
	})
}
