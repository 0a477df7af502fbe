package dialect

import (
	"bytes"

	"github.com/keyturn/keyturn/sse"
)

// chatTemplate is a chunk that said one string, cut where the string and the padding stand. Most chunks of a stream differ from the
// one before in nothing else, and are told by comparing the rest.
type chatTemplate struct {
	valid  bool
	same   bool // such a chunk needs no change
	padded bool // it has an obfuscation string after the content
	in     chatParts
	out    chatParts
	fields int // index of the member in the turn's fields
}

// chatParts are what stands before the string, after it, and after the padding.
type chatParts struct{ head, mid, end []byte }

// learn makes the chunk that was just emitted the template.
func (s *chat) learn(e *sse.Event, c *chatChunk, says bool) {
	t := &s.template
	t.valid = false
	if !says || c.count != 1 || len(c.calls) > 0 || c.says(c.usage) || !s.turn.revealed || len(s.turn.tail) > 0 || dataIn(e) < 0 {
		return
	}
	var f member // the one that says something
	for _, o := range c.fields {
		if blank(o.val.of(c.b)) {
			continue
		}
		if f.val.found() || c.b[o.val.start] != '"' {
			return
		}
		f = o
	}
	t.fields = -1
	for i := range s.turn.fields {
		if s.turn.fields[i].name == string(f.name) && s.turn.fields[i].kind == '"' {
			t.fields = i
		}
	}
	if t.fields < 0 {
		return
	}
	text, end, pad := f.val, whole(c.b), c.obfuscation.val
	if t.padded = pad.found() && c.b[pad.start] == '"'; t.padded && pad.start < text.end {
		return
	}
	mid := span{text.end - 1, end.end}
	if t.padded {
		mid.end, end.start = pad.start+1, pad.end-1
	} else {
		end.start = end.end
	}
	head := span{0, text.start + 1}
	t.valid, t.same = true, s.edits.none()
	t.in.head = append(t.in.head[:0], head.of(c.b)...)
	t.in.mid = append(t.in.mid[:0], mid.of(c.b)...)
	t.in.end = append(t.in.end[:0], end.of(c.b)...)
	if t.same {
		return
	}
	t.out.head = s.edits.applyTo(t.out.head[:0], c.b, head)
	t.out.mid = s.edits.applyTo(t.out.mid[:0], c.b, mid)
	t.out.end = s.edits.applyTo(t.out.end[:0], c.b, end)
}

// quick takes a chunk like the one before. It returns false for any other event.
func (s *chat) quick(e *sse.Event) bool {
	t := &s.template
	if !t.valid || len(s.turn.tail) > 0 || e.Truncated || s.turn.over || s.turn.bytes > maxChatTurn || !bytes.HasPrefix(e.Data, t.in.head) {
		return false
	}
	text := span{len(t.in.head), 0}
	if text.end = skipString(e.Data, text.start-1) - 1; text.end < 0 || !bytes.HasPrefix(e.Data[text.end:], t.in.mid) {
		return false
	}
	pad := span{text.end + len(t.in.mid), len(e.Data)}
	if t.padded {
		if pad.end = skipString(e.Data, pad.start-1) - 1; pad.end < 0 || !bytes.Equal(e.Data[pad.end:], t.in.end) {
			return false
		}
	} else if pad.start != pad.end {
		return false
	}
	at := dataIn(e)
	if at < 0 {
		return false
	}
	f := &s.turn.fields[t.fields]
	f.raw = append(f.raw, text.of(e.Data)...)
	s.turn.bytes += text.end - text.start
	s.put = chatOut
	if t.same {
		s.dst = append(s.dst, e.Raw...)
		return true
	}
	s.dst = append(append(append(append(s.dst, e.Raw[:at]...), t.out.head...), text.of(e.Data)...), t.out.mid...)
	s.dst = append(append(append(s.dst, pad.of(e.Data)...), t.out.end...), e.Raw[at+len(e.Data):]...)
	return true
}
