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
	if !s.renumbers {
		if f.indexValue >= 0 && f.indexValue < maxItems {
			s.see(s.item(f.indexValue), f.indexValue)
		}
		s.nextNumber++
		if s.edits.None() {
			s.relay.Put(ev)
			return
		}
		s.splice(ev, f)
		return
	}
	var i *outputItem
	if f.indexValue >= 0 && f.indexValue < maxItems {
		i = s.item(f.indexValue)
		s.see(i, s.nextIndex)
	}
	renamed := i != nil && f.itemID.Found() && i.shown != i.id
	if s.edits.None() && !renamed && f.seq.Found() && i != nil {
		if at := relay.DataAt(ev); at >= 0 { // nearly all events, so without the detour over edits
			s.writeNumbers(ev.Raw, at, f, i.index)
			return
		}
	}
	e := &s.edits
	if f.seq.Found() {
		e.ReplaceInt(f.seq, s.nextNumber)
		s.nextNumber++
	}
	if i != nil && i.index != f.indexValue {
		e.ReplaceInt(f.index, i.index)
	}
	if renamed {
		e.Replace(f.itemID, rawjson.AppendString(nil, i.shown))
	}
	s.splice(ev, f)
}

// writeNumbers puts a block out with the client's numbers. Its data begins at raw[at].
func (s *session) writeNumbers(raw []byte, at int, f *eventFields, index int) {
	first, second := f.seq, f.index
	x, y := s.nextNumber, index
	if second.Start < first.Start {
		first, second, x, y = second, first, y, x
	}
	to := s.relay.Sink()
	b := append(*to, raw[:at+first.Start]...)
	b = strconv.AppendInt(b, int64(x), 10)
	b = append(b, raw[at+first.End:at+second.Start]...)
	b = strconv.AppendInt(b, int64(y), 10)
	*to = append(b, raw[at+second.End:]...)
	s.nextNumber++
}

// splice puts the event out with the changes in edits; all around its data stays.
func (s *session) splice(ev *sse.Event, f *eventFields) {
	at := relay.DataAt(ev)
	if at < 0 {
		s.relay.Event(string(f.kind.Of(ev.Data)), s.edits.Apply(nil, ev.Data))
		return
	}
	to := s.relay.Sink()
	*to = append(*to, ev.Raw[:at]...)
	*to = s.edits.Apply(*to, ev.Data)
	*to = append(*to, ev.Raw[at+len(ev.Data):]...)
}

// emit puts out an event of Keyturn's own. Rest are its members but for the type and the number.
func (s *session) emit(kind string, rest []byte) {
	data := append(rawjson.AppendString([]byte(`{"type":`), kind), `,"sequence_number":`...)
	data = append(strconv.AppendInt(data, int64(s.nextNumber), 10), ',')
	s.nextNumber++
	s.relay.Event(kind, append(append(data, rest...), '}'))
}
