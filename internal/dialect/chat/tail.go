package chat

import (
	"bytes"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/relay"
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
	cut  bool // it lacks its blank line
}

type endKind uint8

const (
	heldAside endKind = iota
	heldFinish
	heldUsage
	heldDone
)

// Rest implements relay.Keeper: the LF goes to the last event of the tail.
func (t *currentTurn) Rest(lf []byte) {
	if len(t.tail) > 0 {
		last := &t.tail[len(t.tail)-1]
		last.raw = append(last.raw, lf...)
	}
}

// putAside holds a block that is no chunk, together with those right before it: there may be any number of them.
func (t *currentTurn) putAside(e *sse.Event) {
	if n := len(t.tail); n > 0 && t.tail[n-1].kind == heldAside {
		last := &t.tail[n-1]
		last.raw, last.cut = append(last.raw, e.Raw...), e.Truncated
		return
	}
	t.tail = append(t.tail, heldEvent{kind: heldAside, raw: bytes.Clone(e.Raw), cut: e.Truncated})
}

// keep holds the current event, with the changes noted.
func (s *session) keep(kind endKind, e *sse.Event, says bool) {
	h := heldEvent{kind: kind, typ: bytes.Clone(e.Type), says: says, raw: s.appendEdited(nil, e)}
	if s.edits.None() || relay.DataAt(e) >= 0 {
		h.cut = e.Truncated
		s.relay.Elsewhere(&s.turn)
	}
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
	s.relay.Release()
	s.flush(late)
	if t.hasOurs() {
		s.edits.Reset()
		s.keep(heldDone, e, false)
		return
	}
	s.remember()
	s.release()
	s.relay.Put(e)
}

// retract says, now that the turn is known to call Keyturn's tools, what the client may have of its end: all but the finish_reason,
// which is held on alone.
func (s *session) retract() {
	t := &s.turn
	held := t.tail[:0]
	for _, h := range t.tail {
		switch {
		case h.kind == heldAside:
			s.relay.Insert(h.raw, h.cut)
			continue
		case h.kind == heldFinish && h.says:
			to := s.relay.Own()
			*to = appendChunk(*to, h.typ, withoutFinish(h.data))
			h.data, h.says, h.cut = onlyFinish(h.data), false, false
			h.raw = appendChunk(nil, h.typ, h.data)
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
	for _, h := range t.tail {
		s.relay.Insert(h.raw, h.cut)
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
		f.raw, f.cut = appendChunk(nil, f.typ, e.Apply(nil, f.data)), false
	} else if reason != "" {
		last[heldFinish] = &heldEvent{raw: appendChunk(nil, nil, s.chunkOf([]byte("{}"), rawjson.AppendString(nil, reason)))}
	}
	for _, h := range last {
		if h != nil {
			s.relay.Insert(h.raw, h.cut)
		}
	}
	t.tail = nil
}
