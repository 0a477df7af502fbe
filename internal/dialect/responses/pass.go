package responses

import (
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/sse"
)

// This file puts events out, with as few bytes changed as can be.

// pass hands an event on with the changes noted in edits, and with the client's numbers.
func (s *session) pass(ev *sse.Event, f *eventFields) {
	m := &s.stream
	if !m.renumbers {
		if f.indexValue >= 0 && f.indexValue < maxItems {
			s.see(s.item(f.indexValue), f.indexValue)
		}
		m.next++
		if m.edits.None() {
			m.put(ev.Raw)
			return
		}
		m.splice(ev, f)
		return
	}
	var i *outputItem
	if f.indexValue >= 0 && f.indexValue < maxItems {
		i = s.item(f.indexValue)
		s.see(i, s.nextIndex)
	}
	renamed := i != nil && f.itemID.Found() && i.shown != i.id
	if m.edits.None() && !renamed && f.seq.Found() && i != nil {
		if at := relay.DataAt(ev); at >= 0 { // nearly all events, so without the detour over edits
			m.number(ev.Raw, at, f, i.index)
			return
		}
	}
	e := &m.edits
	if f.seq.Found() {
		e.ReplaceInt(f.seq, m.next)
		m.next++
	}
	if i != nil && i.index != f.indexValue {
		e.ReplaceInt(f.index, i.index)
	}
	if renamed {
		e.Replace(f.itemID, rawjson.AppendString(nil, i.shown))
	}
	m.splice(ev, f)
}

// number puts a block out with the client's numbers. Its data begins at raw[at].
func (m *streamState) number(raw []byte, at int, f *eventFields, index int) {
	first, second := f.seq, f.index
	x, y := m.next, index
	if second.Start < first.Start {
		first, second, x, y = second, first, y, x
	}
	to := m.sink()
	b := append(*to, raw[:at+first.Start]...)
	b = strconv.AppendInt(b, int64(x), 10)
	b = append(b, raw[at+first.End:at+second.Start]...)
	b = strconv.AppendInt(b, int64(y), 10)
	*to = append(b, raw[at+second.End:]...)
	m.next++
}

// splice puts the event out with the changes in edits; all around its data stays.
func (m *streamState) splice(ev *sse.Event, f *eventFields) {
	to := m.sink()
	at := relay.DataAt(ev)
	if at < 0 {
		*to = m.style.Event(*to, string(f.kind.Of(ev.Data)), m.edits.Apply(nil, ev.Data))
		m.unended = false
		return
	}
	*to = append(*to, ev.Raw[:at]...)
	*to = m.edits.Apply(*to, ev.Data)
	*to = append(*to, ev.Raw[at+len(ev.Data):]...)
}

// emit puts out an event of Keyturn's own. Rest are its members but for the type and the number.
func (m *streamState) emit(kind string, rest []byte) {
	data := append(rawjson.AppendString([]byte(`{"type":`), kind), `,"sequence_number":`...)
	data = append(strconv.AppendInt(data, int64(m.next), 10), ',')
	m.next++
	to := m.sink()
	*to = m.style.Event(*to, kind, append(append(data, rest...), '}'))
}
