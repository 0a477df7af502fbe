package mcp

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// event is one server-sent event, https://html.spec.whatwg.org/multipage/server-sent-events.html
type event struct {
	name, id, retry string
	data            []byte // valid until the next call of next
}

// message reports whether the event carries an MCP message. Without data it only names an id to resume from (SEP-1699).
func (e event) message() bool { return (e.name == "" || e.name == "message") && len(e.data) > 0 }

// eventReader reads events. Their lines may end in LF or CRLF.
type eventReader struct {
	r     *bufio.Reader
	limit int64 // of one event, in bytes
	data  []byte
}

func newEventReader(r io.Reader, limit int64) *eventReader {
	return &eventReader{r: bufio.NewReader(r), limit: limit}
}

// next returns the next event that says something. At the end it returns io.EOF; the error for an event over the limit is errTooLarge. A last event
// without its blank line is returned as it is.
func (s *eventReader) next() (event, error) {
	var e event
	var size int64
	var lines int // of data
	s.data = s.data[:0]
	for {
		line, err := s.line(&size)
		if err != nil && !errors.Is(err, io.EOF) {
			return event{}, err
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			e.name = string(value)
		case "id":
			e.id = string(value)
		case "retry":
			e.retry = string(value)
		case "data":
			if lines > 0 {
				s.data = append(s.data, '\n')
			}
			s.data = append(s.data, value...)
			lines++
		}
		if len(line) > 0 && err == nil {
			continue
		}
		if e.id != "" || e.retry != "" || len(s.data) > 0 {
			e.data = s.data
			return e, nil
		}
		if err != nil {
			return event{}, io.EOF
		}
		e, size = event{}, 0
	}
}

// line returns the next line without its end, and adds its bytes to size.
func (s *eventReader) line(size *int64) ([]byte, error) {
	var whole []byte
	for {
		part, err := s.r.ReadSlice('\n')
		if *size += int64(len(part)); *size > s.limit {
			return nil, errTooLarge
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			whole = append(whole, part...)
			continue
		}
		if whole != nil {
			part = append(whole, part...)
		}
		return bytes.TrimRight(part, "\r\n"), err
	}
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
	for _, field := range [...]struct{ name, value string }{{"event", e.name}, {"id", e.id}, {"retry", e.retry}} {
		if field.value != "" {
			b.buf.WriteString(field.name + ": " + field.value + "\n")
		}
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

func (b *eventBody) Close() error { return b.src.Close() }
