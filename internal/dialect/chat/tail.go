package chat

import (
	"bytes"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/sse"
)

// The end of a turn is the chunk with finish_reason, the chunk that counts tokens, and [DONE]. Each is held until the next event has
// come, since what it means depends on whether the turn called Keyturn's tools, and providers name calls even after finish_reason.

// heldEvent is one event of a turn's end.
type heldEvent struct {
	kind endKind
	raw  []byte // for the client
	data []byte // its JSON, where it is a chunk
	typ  []byte
	says bool // it has more for the client than the finish_reason
}

type endKind uint8

const (
	heldAside endKind = iota
	heldFinish
	heldUsage
	heldDone
)

// hold adds a block to the tail: to the last event in it where that is no chunk, or b is the LF of its CR LF.
func (t *currentTurn) hold(b []byte) {
	if n := len(t.tail); n > 0 && (string(b) == "\n" || t.tail[n-1].kind == heldAside) {
		last := &t.tail[n-1]
		last.raw = append(last.raw, b...)
		return
	}
	t.tail = append(t.tail, heldEvent{kind: heldAside, raw: bytes.Clone(b)})
}

// keep holds the current event, with the changes noted.
func (s *session) keep(kind endKind, e *sse.Event, says bool) {
	h := heldEvent{kind: kind, typ: bytes.Clone(e.Type), says: says}
	s.put = toTail
	s.emit(&h.raw, e)
	if kind != heldDone {
		h.data = s.edits.Apply(nil, e.Data)
	}
	s.turn.tail = append(s.turn.tail, h)
}

// finish takes the chunk that ends the choice. Says: there is more in it for the client.
func (s *session) finish(e *sse.Event, c *chunk, says bool, late []*toolCall) {
	s.keep(heldFinish, e, says || c.other || c.says(c.logprobs) || c.role.Val.Found() && s.number == 1)
	if s.turn.hasOurs() || len(late) > 0 {
		s.retract()
	}
	s.flush(late)
}

// counts takes the chunk that counts tokens. A client that did not ask for it does not get it.
func (s *session) counts(e *sse.Event, c *chunk) {
	if !s.wantUsage {
		s.put = nowhere
		return
	}
	s.edits.Reset()
	s.common(c)
	s.keep(heldUsage, e, false)
}

// done takes [DONE].
func (s *session) done(e *sse.Event) {
	t := &s.turn
	t.over = !e.Truncated
	late := s.settleOwners()
	s.reveal()
	s.flush(late)
	if t.hasOurs() {
		s.edits.Reset()
		s.keep(heldDone, e, false)
		return
	}
	s.remember()
	s.release()
	s.relay(e)
}

// retract says, now that the turn is known to call Keyturn's tools, what the client may have of its end: all but the finish_reason,
// which is held on alone.
func (s *session) retract() {
	t := &s.turn
	held := t.tail[:0]
	dst, _ := s.sink()
	for _, h := range t.tail {
		switch {
		case h.kind == heldAside:
			*dst = append(*dst, h.raw...)
			continue
		case h.kind == heldFinish && h.says:
			*dst = appendChunk(*dst, h.typ, withoutFinish(h.data))
			h.data, h.says = onlyFinish(h.data), false
			h.raw = appendChunk(nil, h.typ, h.data)
			s.put = nowhere
		}
		held = append(held, h)
	}
	t.tail = lastOfEach(held)
}

// lastOfEach leaves of each kind of event the last, in order: what a turn that calls Keyturn's tools ends with.
func lastOfEach(held []heldEvent) []heldEvent {
	last := [heldDone + 1]int{}
	for i := range held {
		last[held[i].kind] = i
	}
	kept := held[:0]
	for i := range held {
		if last[held[i].kind] == i {
			kept = append(kept, held[i])
		}
	}
	return kept
}

// choiceIn is where the first choice of a chunk stands, or the message's in an answer that is no stream.
func choiceIn(data []byte) rawjson.Span {
	list, _ := rawjson.Lookup(data, rawjson.Whole(data), "choices")
	for at := range rawjson.Elements(data, list) {
		return at
	}
	return rawjson.Span{}
}

// withoutFinish is a chunk that has more than its finish_reason, without that and the tokens.
func withoutFinish(data []byte) []byte {
	var e rawjson.Edits
	e.Set(data, choiceIn(data), "finish_reason", []byte("null"))
	for m := range rawjson.Members(data, rawjson.Whole(data)) {
		if string(m.Name) == "usage" && !rawjson.IsNull(m.Val.Of(data)) {
			e.Remove(data, rawjson.Whole(data), m)
		}
	}
	return e.Apply(nil, data)
}

// onlyFinish is such a chunk without the rest.
func onlyFinish(data []byte) []byte {
	var e rawjson.Edits
	for m := range rawjson.Members(data, choiceIn(data)) {
		switch string(m.Name) {
		case "delta":
			e.Replace(m.Val, []byte("{}"))
		case "logprobs":
			e.Replace(m.Val, []byte("null"))
		}
	}
	return e.Apply(nil, data)
}

// release hands the tail out.
func (s *session) release() {
	t := &s.turn
	if len(t.tail) == 0 {
		return
	}
	dst, put := s.sink()
	for _, h := range t.tail {
		*dst = append(*dst, h.raw...)
	}
	if s.put == toTail {
		s.put = put
	}
	t.tail = nil
}

// releaseOnce hands out what a turn that called Keyturn's tools ended with: each kind of event once, the last of them, with reason as
// the finish_reason unless it is "". A finish_reason that is due and did not come is made.
func (s *session) releaseOnce(reason string) {
	t := &s.turn
	last := [heldDone + 1]*heldEvent{}
	for i := range t.tail {
		last[t.tail[i].kind] = &t.tail[i]
	}
	if f := last[heldFinish]; reason != "" && f != nil {
		var e rawjson.Edits
		e.Set(f.data, choiceIn(f.data), "finish_reason", rawjson.AppendString(nil, reason))
		f.raw = appendChunk(nil, f.typ, e.Apply(nil, f.data))
	} else if reason != "" {
		last[heldFinish] = &heldEvent{raw: appendChunk(nil, nil, s.chunkOf([]byte("{}"), rawjson.AppendString(nil, reason)))}
	}
	for _, h := range last {
		if h != nil {
			s.dst = append(s.dst, h.raw...)
		}
	}
	t.tail, s.put = nil, nowhere
}
