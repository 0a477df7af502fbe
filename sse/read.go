package sse

import (
	"errors"
	"io"
	"iter"
)

// readBytes is how much of a stream is read at once.
const readBytes = 32 << 10

// Read pulls the events of the stream that r has, as a client that follows the standard gets them: those that are Dispatched, and
// not what the stream's end cut off.
//
//	for event, err := range sse.Read(resp.Body, sse.Limits{}) {
//		if err != nil {
//			return err
//		}
//		...
//	}
//
// An event is valid until the next one is asked for; who keeps one longer copies it. The last round has the error, and no event, if
// r returned another one than io.EOF, or a line or an event is over its limit (ErrTooLong). Nothing is read before the first round or
// after the loop was left; closing r is the caller's.
func Read(r io.Reader, limits Limits) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		d := NewDecoder(limits, func(e *Event) error {
			if e.Dispatched && !e.Truncated && !yield(e, nil) {
				return errLeft
			}
			return nil
		})
		p := make([]byte, readBytes)
		for {
			n, err := r.Read(p)
			if _, failed := d.Write(p[:n]); failed != nil {
				err = failed
			}
			switch {
			case err == nil:
				continue
			case !errors.Is(err, errLeft) && !errors.Is(err, io.EOF):
				yield(nil, err)
			}
			return
		}
	}
}

// errLeft stops the decoder when the caller has left the loop.
var errLeft = errors.New("sse: nobody reads")
