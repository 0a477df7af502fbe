package sse

import (
	"errors"
	"fmt"
)

// DefaultLimitBytes stands for a limit that is not given. A client of the OpenAI SDK for Go fails on a line of more than 32 MiB; the 64 KiB less
// leave room for what a relay adds to an event.
const DefaultLimitBytes = 32<<20 - 64<<10

// ErrTooLong is in the error of a Decoder that met a line or a block over its limits. The error names the limit, and never shows the stream.
var ErrTooLong = errors.New("sse: too long")

// Limits bound what a Decoder holds. A value of zero or less stands for DefaultLimitBytes. What is exactly as long as its limit passes, and
// where the stream is cut changes nothing.
type Limits struct {
	LineBytes  int // one line, without its line end
	EventBytes int // one block, with its line ends; when CRLF ends its last line, without that LF
}

func (l Limits) withDefaults() Limits {
	if l.LineBytes <= 0 {
		l.LineBytes = DefaultLimitBytes
	}
	if l.EventBytes <= 0 {
		l.EventBytes = DefaultLimitBytes
	}
	return l
}

// check judges a block that has size bytes so far, the last of them from lineStart up to lineEnd being a line, whole or not. Of two limits the one
// that was passed first is named, so that the error does not depend on where the stream was cut.
func (l Limits) check(lineStart, lineEnd, size int) error {
	lineOver, eventOver := lineEnd-lineStart > l.LineBytes, size > l.EventBytes
	switch {
	case lineOver && (!eventOver || lineStart+l.LineBytes <= l.EventBytes):
		return fmt.Errorf("%w: a line has more than %d bytes", ErrTooLong, l.LineBytes)
	case eventOver:
		return fmt.Errorf("%w: an event has more than %d bytes", ErrTooLong, l.EventBytes)
	}
	return nil
}
