package messages

import (
	"bytes"
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/sse"
)

// This file puts events out to the client of a Messages stream.

// put hands an event on with data in the place of its own. An event without an event field gets one: clients' libraries read over
// those that have none.
func (s *session) put(ev *sse.Event, data []byte) {
	at := relay.DataAt(ev)
	if at < 0 {
		to := s.relay.Own()
		*to = sse.AppendEvent(*to, string(s.event.kind), data)
		return
	}
	to := s.relay.Sink()
	*to = append(append(s.head(*to, ev, at), data...), ev.Raw[at+len(ev.Data):]...)
}

// putIndex hands an event on with another index.
func (s *session) putIndex(ev *sse.Event, index int) {
	if index == s.event.at && len(ev.Type) > 0 {
		s.relay.Put(ev)
		return
	}
	if relay.DataAt(ev) < 0 {
		to := s.relay.Own()
		*to = s.appendIndexed(*to, ev, index)
		return
	}
	to := s.relay.Sink()
	*to = s.appendIndexed(*to, ev, index)
}

// appendIndexed appends an event with another index. All around its data stays as it is, if that stands on one line.
func (s *session) appendIndexed(dst []byte, ev *sse.Event, index int) []byte {
	f := &s.event
	at := relay.DataAt(ev)
	if at < 0 {
		data := ev.Data
		if index != f.at {
			s.edits.Reset()
			s.edits.ReplaceInt(f.index, index)
			data = s.edits.Apply(nil, ev.Data)
		}
		return sse.AppendEvent(dst, string(f.kind), data)
	}
	dst = append(s.head(dst, ev, at), ev.Data[:f.index.Start]...)
	dst = strconv.AppendInt(dst, int64(index), 10)
	return append(append(dst, ev.Data[f.index.End:]...), ev.Raw[at+len(ev.Data):]...)
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// head appends the event's bytes before its data, with an event field.
func (s *session) head(dst []byte, ev *sse.Event, at int) []byte {
	head := ev.Raw[:at]
	if len(ev.Type) == 0 && len(s.event.kind) > 0 && bytes.IndexByte(s.event.kind, '\\') < 0 {
		if rest, ok := bytes.CutPrefix(head, byteOrderMark); ok && !bytes.HasPrefix(rest, byteOrderMark) {
			dst, head = append(dst, byteOrderMark...), rest
		}
		dst = append(append(append(dst, "event: "...), s.event.kind...), '\n')
	}
	return append(dst, head...)
}
