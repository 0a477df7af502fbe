package messages

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

// This file has what becomes of the seams of a response: places where calls of Keyturn's, and so the end of a turn, stood between what
// the client sees. Many clients take one text of a message, and join thoughts that stand side by side, which invalidates them. So texts
// at both sides of a seam are one block, and of thoughts the later ones are left out; the conversation goes on with all of them.

// seams is what is known of them.
type seams struct {
	open   bool      // something was hidden since the last block that the client sees
	mended bool      // a text was joined, or a thought left out
	stop   *heldStop // the end of the last block, a text that may go on; nil if it has none that is held
}

// heldStop is the event that ends a block.
type heldStop struct {
	raw []byte
	cut bool // it lacks its blank line
}

// Rest implements relay.Keeper.
func (h *heldStop) Rest(lf []byte) { h.raw = append(h.raw, lf...) }

// see gives a block its place in what the client sees, unless it is left out. It reports whether it goes on with the one before.
func (s *session) see(b *block) (goesOn bool) {
	var last *block
	if n := len(s.seen); n > 0 && s.seam.open {
		last = s.seen[n-1]
	}
	switch {
	case last == nil:
	case isThinking(b.kind) && isThinking(last.kind):
		b.omitted, s.seam.mended = true, true
		return false
	case b.kind == "text" && last.joins() && !b.cites() && (s.plain || s.seam.stop != nil):
		last.join(b)
		s.seam.open, s.seam.mended = false, true
		return true
	}
	s.seam.open = false
	b.shown = len(s.seen)
	s.seen = append(s.seen, b)
	return false
}

// withhold leaves out what a turn said that another follows, where the client is to get what the last one says alone.
func (s *session) withhold(t turn.Turn) {
	switch {
	case !s.alone || t.Failure != nil:
	case !s.plain && !s.relay.HoldsWhole(): // the client has it
		s.alone = false
	case len(t.Calls) > 0 && !t.Mixed:
		if !s.plain {
			s.relay.Drop()
		}
		s.seen, s.seam = nil, seams{open: true}
		for _, b := range s.turn.blocks {
			b.omitted = !b.own
		}
	}
}

// joins reports whether another text may go on with a block. Citations hold for all of a block.
func (b *block) joins() bool {
	return b.kind == "text" && !b.open && !b.cites() && !slices.ContainsFunc(b.more, func(m *block) bool { return m.open || m.cites() })
}

// cites reports whether a text has citations, or is to have some.
func (b *block) cites() bool {
	v, ok := rawjson.Lookup(b.raw, rawjson.Whole(b.raw), "citations")
	return b.citations != nil || ok && !rawjson.IsNull(v.Of(b.raw))
}

// gap sets a text apart from the one before it, as the inside of a JSON string.
const gap = `\n\n`

// join makes a text go on with another.
func (b *block) join(next *block) {
	before := b
	if n := len(b.more); n > 0 {
		before = b.more[n-1]
	}
	if text := bytes.TrimRight(before.text(), " \t"); len(text) > 0 {
		b.spoke, b.apart = true, bytes.HasSuffix(text, []byte(`\n`))
	}
	if b.spoke && !b.apart {
		next.gap, b.apart = gap, true
	}
	next.shown = b.shown
	b.more = append(b.more, next)
}

// text is what a text block says, as the inside of a JSON string.
func (b *block) text() []byte {
	j := b.json()
	if v, ok := rawjson.Lookup(j, rawjson.Whole(j), "text"); ok && j[v.Start] == '"' {
		return j[v.Start+1 : v.End-1]
	}
	return nil
}

// joined is the block as the client sees it, with the texts that went on with it.
func (b *block) joined() []byte {
	if len(b.more) == 0 {
		return b.json()
	}
	all := append([]byte{'"'}, b.text()...)
	for _, m := range b.more {
		all = append(append(all, m.gap...), m.text()...)
	}
	var e rawjson.Edits
	e.Set(b.json(), rawjson.Whole(b.json()), "text", append(all, '"'))
	return e.Apply(nil, b.json())
}

// holdStop keeps the current event, the end of a text, until it is known what follows.
func (s *session) holdStop(ev *sse.Event, index int) {
	s.letStop()
	h := &heldStop{raw: s.appendIndexed(nil, ev, index)}
	s.seam.stop = h
	if relay.DataAt(ev) < 0 {
		return
	}
	h.cut = ev.Truncated
	s.relay.Elsewhere(h)
}

// letStop hands out the end of a text that is over. What is held back of the turn has gone out before.
func (s *session) letStop() {
	if h := s.seam.stop; h != nil {
		s.seam.stop = nil
		s.relay.Insert(h.raw, h.cut)
	}
}

// goOn hands on the begin of a text that goes on with the one before: as a piece of that.
func (s *session) goOn(b *block) {
	s.seam.stop = nil
	first := []byte(b.gap)
	if v, ok := rawjson.Lookup(b.raw, rawjson.Whole(b.raw), "text"); ok && b.raw[v.Start] == '"' {
		first = append(first, b.raw[v.Start+1:v.End-1]...)
	}
	if len(first) == 0 {
		return
	}
	data := strconv.AppendInt([]byte(`{"type":"content_block_delta","index":`), int64(b.shown), 10)
	data = append(append(append(data, `,"delta":{"type":"text_delta","text":"`...), first...), `"}}`...)
	to := s.relay.Own()
	*to = sse.AppendEvent(*to, "content_block_delta", bytes.ReplaceAll(data, []byte{'\n'}, []byte{' '}))
}
