package messages

import (
	"bytes"
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/sse"
)

// This file puts events out to the client of a Messages stream.

// sink is where bytes for the client go.
func (m *streamState) sink() *[]byte {
	if m.holding {
		return &m.held
	}
	return &m.dst
}

// release hands out what is held back.
func (m *streamState) release() {
	m.quiet = false
	if m.holding || len(m.held) > 0 {
		m.holding = false
		m.dst = append(m.dst, m.held...)
		m.held = m.held[:0]
	}
}

// raw puts out a block as it came.
func (m *streamState) raw(b []byte) {
	to := m.sink()
	*to = append(*to, b...)
}

// comment puts out a block without data. While nothing is held before it, it need not wait: the client sees that all is well.
func (m *streamState) comment(b []byte) {
	if len(m.held) == 0 {
		m.dst = append(m.dst, b...)
		return
	}
	m.raw(b)
}

// drop notes that a block is withheld.
func (m *streamState) drop() { m.follows, m.unended = false, false }

// put hands an event on with data in the place of its own. An event without an event field gets one: clients' libraries read over
// those that have none.
func (m *streamState) put(ev *sse.Event, data []byte) {
	to := m.sink()
	at := relay.DataAt(ev)
	if at < 0 {
		*to = sse.AppendEvent(*to, string(m.fields.kind), data)
		m.follows, m.unended = false, false
		return
	}
	*to = append(append(m.named(*to, ev, at), data...), ev.Raw[at+len(ev.Data):]...)
}

// putIndex hands an event on with another index.
func (m *streamState) putIndex(ev *sse.Event, index int) {
	f := &m.fields
	if index == f.at {
		if len(ev.Type) > 0 {
			m.raw(ev.Raw)
			return
		}
		m.put(ev, ev.Data)
		return
	}
	at := relay.DataAt(ev)
	if at < 0 {
		m.edits.Reset()
		m.edits.ReplaceInt(f.index, index)
		m.put(ev, m.edits.Apply(nil, ev.Data))
		return
	}
	to := m.sink()
	b := append(m.named(*to, ev, at), ev.Data[:f.index.Start]...)
	b = strconv.AppendInt(b, int64(index), 10)
	*to = append(append(b, ev.Data[f.index.End:]...), ev.Raw[at+len(ev.Data):]...)
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// named appends the event's bytes before its data, with an event field.
func (m *streamState) named(dst []byte, ev *sse.Event, at int) []byte {
	head := ev.Raw[:at]
	if len(ev.Type) == 0 && len(m.fields.kind) > 0 && bytes.IndexByte(m.fields.kind, '\\') < 0 {
		if rest, ok := bytes.CutPrefix(head, byteOrderMark); ok && !bytes.HasPrefix(rest, byteOrderMark) {
			dst, head = append(dst, byteOrderMark...), rest
		}
		dst = append(append(append(dst, "event: "...), m.fields.kind...), '\n')
	}
	return append(dst, head...)
}
