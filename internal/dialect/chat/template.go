package chat

import (
	"bytes"
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/sse"
)

// template is a chunk that said one string, cut where the string and the padding stand. Most chunks of a stream differ from the
// one before in nothing else, and are told by comparing the rest.
type template struct {
	valid  bool
	same   bool // such a chunk needs no change
	padded bool // it has an obfuscation string after the content
	in     templateParts
	out    templateParts
	fields int // index of the member in the turn's fields
}

// templateParts are what stands before the string, after it, and after the padding.
type templateParts struct{ head, mid, end []byte }

// learn makes the chunk that was just emitted the template.
func (s *session) learn(e *sse.Event, c *chunk, says bool) {
	t := &s.template
	t.valid = false
	if !says || c.count != 1 || len(c.calls) > 0 || c.says(c.usage) || s.relay.Holding() || len(s.turn.tail) > 0 || relay.DataAt(e) < 0 {
		return
	}
	f, ok := c.onlyString()
	if !ok {
		return
	}
	t.fields = slices.IndexFunc(s.turn.fields, func(o field) bool { return o.name == string(f.Name) && o.kind == '"' })
	if t.fields < 0 {
		return
	}
	text, end, pad := f.Val, rawjson.Whole(c.b), c.obfuscation.Val
	if t.padded = pad.Found() && c.b[pad.Start] == '"'; t.padded && pad.Start < text.End {
		return
	}
	mid := rawjson.Span{Start: text.End - 1, End: end.End}
	if t.padded {
		mid.End, end.Start = pad.Start+1, pad.End-1
	} else {
		end.Start = end.End
	}
	head := rawjson.Span{Start: 0, End: text.Start + 1}
	t.valid, t.same = true, s.edits.None()
	t.in.head = append(t.in.head[:0], head.Of(c.b)...)
	t.in.mid = append(t.in.mid[:0], mid.Of(c.b)...)
	t.in.end = append(t.in.end[:0], end.Of(c.b)...)
	if t.same {
		return
	}
	t.out.head = s.edits.ApplyTo(t.out.head[:0], c.b, head)
	t.out.mid = s.edits.ApplyTo(t.out.mid[:0], c.b, mid)
	t.out.end = s.edits.ApplyTo(t.out.end[:0], c.b, end)
}

// onlyString is the string that the delta says, if it says nothing else.
func (c *chunk) onlyString() (f rawjson.Member, ok bool) {
	for _, o := range c.fields {
		if blank(o.Val.Of(c.b)) {
			continue
		}
		if ok || c.b[o.Val.Start] != '"' {
			return f, false
		}
		f, ok = o, true
	}
	return f, ok
}

// quick takes a chunk like the one before. It returns false for any other event.
func (s *session) quick(e *sse.Event) bool {
	t := &s.template
	if !t.valid || len(s.turn.tail) > 0 || e.Truncated || s.turn.over || s.turn.bytes > maxTurn || !bytes.HasPrefix(e.Data, t.in.head) {
		return false
	}
	text := rawjson.Span{Start: len(t.in.head), End: 0}
	if text.End = rawjson.SkipString(e.Data, text.Start-1) - 1; text.End < 0 || !bytes.HasPrefix(e.Data[text.End:], t.in.mid) {
		return false
	}
	pad := rawjson.Span{Start: text.End + len(t.in.mid), End: len(e.Data)}
	if t.padded {
		if pad.End = rawjson.SkipString(e.Data, pad.Start-1) - 1; pad.End < 0 || !bytes.Equal(e.Data[pad.End:], t.in.end) {
			return false
		}
	} else if pad.Start != pad.End {
		return false
	}
	at := relay.DataAt(e)
	if at < 0 {
		return false
	}
	f := &s.turn.fields[t.fields]
	f.raw = append(f.raw, text.Of(e.Data)...)
	s.turn.bytes += text.End - text.Start
	if t.same {
		s.relay.Put(e)
		return true
	}
	to := s.relay.Sink()
	b := append(append(append(append(*to, e.Raw[:at]...), t.out.head...), text.Of(e.Data)...), t.out.mid...)
	*to = append(append(append(b, pad.Of(e.Data)...), t.out.end...), e.Raw[at+len(e.Data):]...)
	return true
}
