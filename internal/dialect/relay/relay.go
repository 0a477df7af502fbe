// Package relay writes the events of a stream so that they look like the provider's own.
package relay

import (
	"bytes"
	"strings"

	"github.com/keyturn/keyturn/sse"
)

// The first events of a turn are held back until one shows content, an error within them being no part of the response yet; but no
// more than so many.
const (
	WindowEvents = 64
	WindowBytes  = 256 << 10
)

// DataAt is where the data stands in the block's bytes, when it is the value of one field; -1 otherwise.
func DataAt(ev *sse.Event) int {
	for i := 0; i < len(ev.Raw); {
		if rest, ok := bytes.CutPrefix(ev.Raw[i:], []byte("data:")); ok {
			at := i + len("data:")
			if len(rest) > 0 && rest[0] == ' ' {
				at++
			}
			end := at + len(ev.Data)
			if len(ev.Data) > 0 && (end == len(ev.Raw) || end < len(ev.Raw) && (ev.Raw[end] == '\n' || ev.Raw[end] == '\r')) &&
				ev.Raw[at] == ev.Data[0] && ev.Raw[end-1] == ev.Data[len(ev.Data)-1] && bytes.IndexByte(ev.Data, '\n') < 0 {
				return at
			}
			return -1
		}
		n := bytes.IndexByte(ev.Raw[i:], '\n')
		if n < 0 {
			return -1 // lines that end in CR alone are written anew
		}
		i += n + 1
	}
	return -1
}

// IsEventStream reports whether a Content-Type is that of server-sent events, whatever its parameters.
func IsEventStream(contentType string) bool {
	const kind = "text/event-stream"
	return len(contentType) >= len(kind) && strings.EqualFold(contentType[:len(kind)], kind)
}

// Style is how a provider writes its events, so that ours look the same.
type Style struct {
	known bool
	bare  bool // without event fields
	crlf  bool
}

// Learn takes the style of the first event that comes.
func (s *Style) Learn(ev *sse.Event) {
	if !s.known && ev.Dispatched {
		*s = Style{known: true, bare: len(ev.Type) == 0, crlf: bytes.Contains(ev.Raw, []byte("\r\n"))}
	}
}

// EOL appends the end of a line.
func (s *Style) EOL(dst []byte) []byte {
	if s.crlf {
		return append(dst, "\r\n"...)
	}
	return append(dst, '\n')
}

// Event appends an event. Data may have LFs.
func (s *Style) Event(dst []byte, kind string, data []byte) []byte {
	if !s.bare {
		dst = s.EOL(append(append(dst, "event: "...), kind...))
	}
	for more := true; more; {
		var line []byte
		line, data, more = bytes.Cut(data, []byte{'\n'})
		dst = s.EOL(append(append(dst, "data: "...), line...))
	}
	return s.EOL(dst)
}
