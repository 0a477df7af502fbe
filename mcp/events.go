package mcp

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/keyturn/keyturn/sse"
)

const (
	streamChunk = 16 << 10 // bytes of a stream that are read at once; what they hold waits in memory
	maxEventID  = 1 << 10  // bytes of an event's id, which goes into a header

	// Bounds of what a server may want as the wait before a stream is opened again.
	minStreamRetry = 100 * time.Millisecond
	maxStreamRetry = maxListenWait
)

// event is one server-sent event, as far as MCP reads it.
type event struct {
	name  string
	id    string        // to resume after
	hasID bool          // there is one; an empty one takes the one before back
	retry time.Duration // the wish for the wait before the stream is opened again; 0: none
	data  []byte
}

// message reports whether the event carries an MCP message. Without data it only names an id to resume from (SEP-1699).
func (e event) message() bool { return (e.name == "" || e.name == "message") && len(e.data) > 0 }

// eventReader reads the events of a stream.
type eventReader struct {
	src   io.Reader
	dec   *sse.Decoder
	chunk []byte
	found []event // not yet returned
	err   error   // returned when found is empty
}

// newEventReader reads from r events of at most limit bytes each.
func newEventReader(r io.Reader, limit int64) *eventReader {
	s := &eventReader{src: r, chunk: make([]byte, streamChunk)}
	s.dec = sse.NewDecoder(sse.Limits{LineBytes: int(limit), EventBytes: int(limit)}, s.take)
	return s
}

// next returns the next event that says something. At the end it returns io.EOF; the error for an event over the limit is errTooLarge.
func (s *eventReader) next() (event, error) {
	for len(s.found) == 0 {
		if s.err != nil {
			return event{}, s.err
		}
		s.read()
	}
	e := s.found[0]
	s.found = s.found[1:]
	return e, nil
}

// read reads the next bytes of the stream.
func (s *eventReader) read() {
	n, err := s.src.Read(s.chunk)
	_, long := s.dec.Write(s.chunk[:n])
	if errors.Is(err, io.EOF) && long == nil {
		long = s.dec.Close()
	}
	if errors.Is(long, sse.ErrTooLong) {
		err = errTooLarge
	}
	s.err = err
}

// take keeps an event. Of a last one without its blank line it keeps a message, which is whole or is none, and nothing else, which may be cut.
func (s *eventReader) take(e *sse.Event) error {
	one := event{name: string(e.Type)}
	if e.Dispatched {
		one.data = bytes.Clone(e.Data)
	}
	if !e.Truncated {
		if e.HasID && validEventID(e.ID) {
			one.id, one.hasID = string(e.ID), true
		}
		if e.RetryMillis > 0 {
			one.retry = min(max(time.Duration(min(e.RetryMillis, maxStreamRetry.Milliseconds()))*time.Millisecond, minStreamRetry), maxStreamRetry)
		}
	}
	if one.hasID || one.retry > 0 || len(one.data) > 0 && (!e.Truncated || one.message()) {
		s.found = append(s.found, one)
	}
	return nil
}

// validEventID reports whether an id can go into the header Last-Event-ID.
func validEventID(id []byte) bool {
	return len(id) <= maxEventID && bytes.IndexFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// eventBody is the body of an event stream of which only whole and valid events are read: one that breaks off, or is no MCP message, becomes an
// error of this body. From the bytes themselves the SDK would conclude that the session is broken.
type eventBody struct {
	src   io.ReadCloser
	scan  *eventReader
	large func() // told of an event over the limit
	buf   bytes.Buffer
	err   error
}

func (b *eventBody) Read(p []byte) (int, error) {
	for b.buf.Len() == 0 {
		if b.err == nil {
			b.fill()
		}
		if b.err != nil && b.buf.Len() == 0 {
			return 0, b.err
		}
	}
	return b.buf.Read(p)
}

func (b *eventBody) fill() {
	b.buf.Reset()
	e, err := b.scan.next()
	if errors.Is(err, errTooLarge) {
		b.large()
	}
	if err == nil && e.message() {
		if _, invalid := jsonrpc.DecodeMessage(e.data); invalid != nil {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		b.err = err
		return
	}
	b.field("event", e.name)
	b.field("id", e.id)
	if e.retry > 0 {
		b.field("retry", strconv.FormatInt(e.retry.Milliseconds(), 10))
	}
	if len(e.data) > 0 {
		for line := range bytes.SplitSeq(e.data, []byte("\n")) {
			b.buf.WriteString("data: ")
			b.buf.Write(line)
			b.buf.WriteByte('\n')
		}
	}
	b.buf.WriteByte('\n')
}

func (b *eventBody) field(name, value string) {
	if value != "" {
		b.buf.WriteString(name + ": " + value + "\n")
	}
}

func (b *eventBody) Close() error { return b.src.Close() }
