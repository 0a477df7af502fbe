package dialect

import (
	"bytes"

	"github.com/keyturn/keyturn/sse"
)

// The end of a turn is the chunk with finish_reason, the chunk that counts tokens, and [DONE]. Each is held until the next event has
// come, since what it means depends on whether the turn called Keyturn's tools, and providers name calls even after finish_reason.

// chatHeld is one event of a turn's end.
type chatHeld struct {
	kind chatKind
	raw  []byte // for the client
	data []byte // its JSON, where it is a chunk
	typ  []byte
	says bool // it has more for the client than the finish_reason
}

type chatKind uint8

const (
	chatAside chatKind = iota
	chatFinish
	chatUsage
	chatDone
)

// hold adds a block to the tail; the LF of a CR LF to the last event in it.
func (t *chatTurn) hold(b []byte) {
	if len(t.tail) > 0 && string(b) == "\n" {
		last := &t.tail[len(t.tail)-1]
		last.raw = append(last.raw, b...)
		return
	}
	t.tail = append(t.tail, chatHeld{kind: chatAside, raw: bytes.Clone(b)})
}

// keep holds the current event, with the changes noted.
func (s *chat) keep(kind chatKind, e *sse.Event, says bool) {
	h := chatHeld{kind: kind, typ: bytes.Clone(e.Type), says: says}
	s.put = chatTail
	s.emit(&h.raw, e)
	if kind != chatDone {
		h.data = s.edits.apply(nil, e.Data)
	}
	s.turn.tail = append(s.turn.tail, h)
}

// finish takes the chunk that ends the choice. Says: there is more in it for the client.
func (s *chat) finish(e *sse.Event, c *chatChunk, says bool, late []*chatCall) {
	s.keep(chatFinish, e, says || c.other || c.says(c.logprobs) || c.role.val.found() && s.number == 1)
	if s.turn.hasOurs() || len(late) > 0 {
		s.retract()
	}
	s.flush(late)
}

// counts takes the chunk that counts tokens. A client that did not ask for it does not get it.
func (s *chat) counts(e *sse.Event, c *chatChunk) {
	if !s.wantUsage {
		s.put = chatNowhere
		return
	}
	s.edits.reset()
	s.common(c)
	s.keep(chatUsage, e, false)
}

// done takes [DONE].
func (s *chat) done(e *sse.Event) {
	t := &s.turn
	t.over = !e.Truncated
	late := s.settleOwners()
	s.reveal()
	s.flush(late)
	if t.hasOurs() {
		s.edits.reset()
		s.keep(chatDone, e, false)
		return
	}
	s.remember()
	s.release()
	s.relay(e)
}

// retract says, now that the turn is known to call Keyturn's tools, what the client may have of its end: all but the finish_reason,
// which is held on alone.
func (s *chat) retract() {
	t := &s.turn
	held := t.tail[:0]
	dst, _ := s.sink()
	for _, h := range t.tail {
		switch {
		case h.kind == chatAside:
			*dst = append(*dst, h.raw...)
			continue
		case h.kind == chatFinish && h.says:
			*dst = appendChunk(*dst, h.typ, withoutFinish(h.data))
			h.data, h.says = onlyFinish(h.data), false
			h.raw = appendChunk(nil, h.typ, h.data)
			s.put = chatNowhere
		}
		held = append(held, h)
	}
	t.tail = held
}

// choiceIn is where the first choice of a chunk stands, or the message's in an answer that is no stream.
func choiceIn(data []byte) span {
	list, _ := lookup(data, whole(data), "choices")
	for at := range elements(data, list) {
		return at
	}
	return span{}
}

// withoutFinish is a chunk that has more than its finish_reason, without that and the tokens.
func withoutFinish(data []byte) []byte {
	var e edits
	e.set(data, choiceIn(data), "finish_reason", []byte("null"))
	for m := range members(data, whole(data)) {
		if string(m.name) == "usage" && !isNull(m.val.of(data)) {
			e.remove(data, whole(data), m)
		}
	}
	return e.apply(nil, data)
}

// onlyFinish is such a chunk without the rest.
func onlyFinish(data []byte) []byte {
	var e edits
	for m := range members(data, choiceIn(data)) {
		switch string(m.name) {
		case "delta":
			e.replace(m.val, []byte("{}"))
		case "logprobs":
			e.replace(m.val, []byte("null"))
		}
	}
	return e.apply(nil, data)
}

// release hands the tail out.
func (s *chat) release() {
	t := &s.turn
	if len(t.tail) == 0 {
		return
	}
	dst, put := s.sink()
	for _, h := range t.tail {
		*dst = append(*dst, h.raw...)
	}
	if s.put == chatTail {
		s.put = put
	}
	t.tail = nil
}

// releaseOnce hands out what a turn that called Keyturn's tools ended with: each kind of event once, the last of them, with reason as
// the finish_reason unless it is "". A finish_reason that is due and did not come is made.
func (s *chat) releaseOnce(reason string) {
	t := &s.turn
	last := [chatDone + 1]*chatHeld{}
	for i := range t.tail {
		last[t.tail[i].kind] = &t.tail[i]
	}
	if f := last[chatFinish]; reason != "" && f != nil {
		var e edits
		e.set(f.data, choiceIn(f.data), "finish_reason", appendString(nil, reason))
		f.raw = appendChunk(nil, f.typ, e.apply(nil, f.data))
	} else if reason != "" {
		last[chatFinish] = &chatHeld{raw: appendChunk(nil, nil, s.chunkOf([]byte("{}"), appendString(nil, reason)))}
	}
	for _, h := range last {
		if h != nil {
			s.dst = append(s.dst, h.raw...)
		}
	}
	t.tail, s.put = nil, chatNowhere
}
