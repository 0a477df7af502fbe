package sse

import (
	"bytes"
	"math"
)

// span is a range of a block's bytes. Offsets survive what slices do not: the block moves when its buffer grows.
type span struct{ start, end int }

func (s span) of(raw []byte) []byte { return raw[s.start:s.end:s.end] }

// block is what the lines of the open block have said so far.
type block struct {
	typ, data, id span
	retryMillis   int64
	dataLines     int // number of data fields; from the second on their values are in Decoder.joined
	hasID         bool
}

var (
	dataPrefix  = []byte("data:")
	eventPrefix = []byte("event:")
)

var emptyBlock = block{retryMillis: -1}

// field reads raw[start:end], a line that is not empty. The name ends at the first colon.
func (d *Decoder) field(b *block, raw []byte, start, end int) {
	line := raw[start:end]
	switch { // almost all lines
	case bytes.HasPrefix(line, dataPrefix):
		d.addData(b, raw, valueAt(raw, start+len(dataPrefix), end))
		return
	case bytes.HasPrefix(line, eventPrefix):
		b.typ = valueAt(raw, start+len(eventPrefix), end)
		return
	}
	name, value := line, span{end, end}
	if colon := bytes.IndexByte(line, ':'); colon >= 0 {
		name, value = line[:colon], valueAt(raw, start+colon+1, end)
	}
	switch string(name) {
	case "data":
		d.addData(b, raw, value)
	case "event":
		b.typ = value
	case "id":
		if bytes.IndexByte(value.of(raw), 0) < 0 {
			b.id, b.hasID = value, true
		}
	case "retry":
		if n, ok := digits(value.of(raw)); ok {
			b.retryMillis = n
		}
	}
}

// valueAt is the value after a colon: one space is no part of it.
func valueAt(raw []byte, start, end int) span {
	if start < end && raw[start] == ' ' {
		start++
	}
	return span{start, end}
}

// addData takes the value of a data field. The first stays where it is; all are copied when a second comes.
func (d *Decoder) addData(b *block, raw []byte, value span) {
	b.dataLines++
	switch b.dataLines {
	case 1:
		b.data = value
		return
	case 2:
		d.joined = append(d.joined[:0], b.data.of(raw)...)
	}
	d.joined = append(d.joined, '\n')
	d.joined = append(d.joined, value.of(raw)...)
}

// digits reads a decimal number; one too large for an int64 is the largest.
func digits(value []byte) (int64, bool) {
	n := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n > (math.MaxInt64-int64(c-'0'))/10 {
			n = math.MaxInt64
			continue
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(value) > 0
}
