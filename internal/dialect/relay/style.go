package relay

import (
	"bytes"
	"strings"

	"github.com/keyturn/keyturn/sse"
)

// IsEventStream reports whether a Content-Type is that of server-sent events, whatever its parameters.
func IsEventStream(contentType string) bool {
	const kind = "text/event-stream"
	return len(contentType) >= len(kind) && strings.EqualFold(contentType[:len(kind)], kind)
}

// DataAt is where in ev.Raw the data stands; -1 where it is empty, or was joined from several lines.
func DataAt(ev *sse.Event) int {
	if len(ev.Data) == 0 {
		return -1
	}
	for i := range len(ev.Raw) - len(ev.Data) + 1 {
		if &ev.Raw[i] == &ev.Data[0] { // data of one line aliases Raw
			return i
		}
	}
	return -1
}

// style is how a provider writes its events, so that Keyturn's own look the same.
type style struct {
	known bool
	bare  bool // without event fields
	crlf  bool
	ids   bool // an event has an id: openai-python takes any blank line after it for the end of an event (openai/openai-python#2722)
}

// learn takes the style of the first event.
func (s *style) learn(ev *sse.Event) {
	s.ids = s.ids || ev.HasID
	if !s.known && ev.Dispatched {
		end := bytes.IndexAny(ev.Raw, "\r\n")
		*s = style{known: true, ids: s.ids, bare: len(ev.Type) == 0, crlf: bytes.HasPrefix(ev.Raw[max(0, end):], []byte("\r\n"))}
	}
}

// eol appends the end of a line.
func (s *style) eol(dst []byte) []byte {
	if s.crlf {
		return append(dst, "\r\n"...)
	}
	return append(dst, '\n')
}

// event appends an event. Data may have LFs.
func (s *style) event(dst []byte, kind string, data []byte) []byte {
	if !s.bare && kind != "" {
		dst = s.eol(append(append(dst, "event: "...), kind...))
	}
	for more := true; more; {
		var line []byte
		line, data, more = bytes.Cut(data, []byte{'\n'})
		dst = s.eol(append(append(dst, "data: "...), line...))
	}
	return s.eol(dst)
}
