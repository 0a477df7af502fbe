package sse

import "errors"

// maxKeptBytes is the size of a buffer that Reset keeps. A larger one was for a rare event.
const maxKeptBytes = 1 << 20

var (
	errClosed = errors.New("sse: the stream was closed")
	bom       = []byte("\xef\xbb\xbf")
)

// Decoder reads one stream. It is for one goroutine at a time, and emit must not call it.
type Decoder struct {
	limits Limits
	emit   func(*Event) error
	err    error // what Write and Close return from now on

	open    block  // what the lines in held have said
	held    []byte // bytes of the open block from earlier calls of Write
	line    int    // where in held the open line starts
	begun   bool   // the first block has ended: no byte order mark can come
	afterCR bool   // the last byte was a CR: an LF that comes next belongs to it
	joined  []byte // values of a block with several data fields
	event   Event  // handed to emit
}

// NewDecoder makes a Decoder that hands each block of the stream to emit.
func NewDecoder(limits Limits, emit func(*Event) error) *Decoder {
	return &Decoder{limits: limits.withDefaults(), emit: emit, open: emptyBlock}
}

// Write takes the next bytes of the stream, cut anywhere, and calls emit for each block that they complete, before it returns. It does not change
// p and keeps no reference to it: a block whose end is still to come is copied.
//
// A CR ends its line at once, also as the last byte of p. When it ended a block and the next call brings the LF that belongs to it, that LF comes as
// a block of its own, not Dispatched: no byte waits for the next block.
//
// The first error stops the decoder: every later call returns it too, and no block comes any more. It is the one that emit returned, as it is, or
// has ErrTooLong in it. Write then returns how many bytes of p it took. Nothing is lost: the bytes of the stream are those in the Raw of the blocks
// handed to emit (also of the one that emit refused), then Held, then p from that number on.
func (d *Decoder) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.write(p)
	d.err = err
	return n, err
}

// Close ends the stream. A block without its empty line, if there is one, is handed to emit as Truncated; its last line is read as far as it came.
// Close returns emit's error, or the one that stopped the decoder earlier. Until Reset, Write then fails, and Close does nothing.
func (d *Decoder) Close() error {
	if d.err != nil {
		if errors.Is(d.err, errClosed) {
			return nil
		}
		return d.err
	}
	d.err = errClosed
	if len(d.held) == 0 {
		return nil
	}
	raw := d.held
	if start := d.lineStart(); start < len(raw) {
		d.field(&d.open, raw, start, len(raw))
	}
	d.held = raw[:0]
	if err := d.send(raw, &d.open, true); err != nil {
		d.err = err
		return err
	}
	return nil
}

// Reset makes the decoder ready for the next stream, with the same limits and emit. It drops what it held, and keeps its memory,
// but for a buffer of more than 1 MiB.
func (d *Decoder) Reset() {
	*d = Decoder{limits: d.limits, emit: d.emit, open: emptyBlock, held: kept(d.held), joined: kept(d.joined)}
}

func kept(buffer []byte) []byte {
	if cap(buffer) > maxKeptBytes {
		return nil
	}
	return buffer[:0]
}

// Held returns the bytes of the open block: those that Write took and emit has not seen. They are the decoder's own, until its next call.
func (d *Decoder) Held() []byte { return d.held }

// send hands the block to emit.
func (d *Decoder) send(raw []byte, b *block, truncated bool) error {
	e := &d.event
	e.Raw, e.Type, e.ID = raw, b.typ.of(raw), b.id.of(raw)
	e.Data = b.data.of(raw)
	if b.dataLines > 1 {
		e.Data = d.joined
	}
	e.HasID, e.RetryMillis, e.Dispatched, e.Truncated = b.hasID, b.retryMillis, b.dataLines > 0, truncated
	return d.emit(e)
}
