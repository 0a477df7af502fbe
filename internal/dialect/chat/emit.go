package chat

import (
	"bytes"
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

// common notes the changes that every chunk may need: it belongs to the response that the first turn began, and counts tokens only
// for a client that has asked. A null error is taken out, since openai-go ends the stream at any.
func (s *session) common(c *chunk) {
	if c.err.Val.Found() && rawjson.IsNull(c.err.Val.Of(c.b)) {
		s.edits.Remove(c.b, rawjson.Whole(c.b), c.err)
	}
	switch {
	case c.says(c.usage):
		if s.usage != nil && s.opts.Counting.Sums(false) {
			s.edits.Replace(c.usage.Val, rawjson.AddNumbers(s.usage, bytes.Clone(c.usage.Val.Of(c.b))))
		}
	case c.usage.Val.Found() && !s.wantUsage:
		s.edits.Remove(c.b, rawjson.Whole(c.b), c.usage)
	}
	if s.number == 1 {
		return
	}
	for _, m := range [...]struct {
		at   rawjson.Member
		with []byte
	}{{c.id, s.known.id}, {c.created, s.known.created}, {c.model, s.known.model}, {c.fingerprint, s.known.fingerprint}} {
		if m.at.Val.Found() && m.with != nil && !bytes.Equal(m.at.Val.Of(c.b), m.with) {
			s.edits.Replace(m.at.Val, m.with)
		}
	}
}

// renumber takes Keyturn's pieces out of the delta, and gives the client's their numbers.
func (s *session) renumber(c *chunk, none bool) {
	if none && len(c.calls) > 0 {
		s.edits.Remove(c.b, c.delta.Val, c.toolCalls)
		return
	}
	for i := range c.calls {
		p := &c.calls[i]
		switch call := p.call; {
		case call.owner != turn.Client || call.held != nil:
			s.edits.Drop(c.b, c.toolCalls.Val, p.at)
		case call.shown < 0:
		case p.index.Val.Found():
			if n, ok := rawjson.ParseInt(p.index.Val.Of(c.b)); !ok || int(n) != call.shown {
				s.edits.ReplaceInt(p.index.Val, call.shown)
			}
		default:
			s.edits.Set(c.b, p.at, "index", strconv.AppendInt(nil, int64(call.shown), 10))
		}
	}
}

// emit hands the current event on with the changes noted.
func (s *session) emit(e *sse.Event) {
	if relay.DataAt(e) < 0 && !s.edits.None() {
		to := s.relay.Own()
		*to = s.appendEdited(*to, e)
		return
	}
	to := s.relay.Sink()
	*to = s.appendEdited(*to, e)
}

// appendEdited appends an event with the changes noted. All around its data stays as it is, if that stands on one line.
func (s *session) appendEdited(dst []byte, e *sse.Event) []byte {
	if s.edits.None() {
		return append(dst, e.Raw...)
	}
	at := relay.DataAt(e)
	if at < 0 {
		return appendChunk(dst, e.Type, s.edits.Apply(nil, e.Data))
	}
	dst = s.edits.Apply(append(dst, e.Raw[:at]...), e.Data)
	return append(dst, e.Raw[at+len(e.Data):]...)
}

// appendChunk appends an event on one line. Line ends within JSON are white space.
func appendChunk(dst []byte, typ []byte, data []byte) []byte {
	return sse.AppendEvent(dst, string(typ), bytes.ReplaceAll(data, []byte{'\n'}, []byte{' '}))
}

// flush hands out the pieces of calls that have turned out to be the client's.
func (s *session) flush(late []*toolCall) {
	for _, call := range late {
		if call.held == nil {
			continue
		}
		list := append(append([]byte{'['}, call.held...), ']')
		var e rawjson.Edits
		for at := range rawjson.Elements(list, rawjson.Whole(list)) {
			if call.shown >= 0 {
				e.Set(list, at, "index", strconv.AppendInt(nil, int64(call.shown), 10))
			}
		}
		delta := append(append([]byte(`{"tool_calls":`), e.Apply(nil, list)...), '}')
		to := s.relay.Own()
		*to = appendChunk(*to, nil, s.chunkOf(delta, []byte("null")))
		call.held, call.args = nil, turn.Arguments{}
	}
}

// chunkOf is a chunk of Keyturn's own making.
func (s *session) chunkOf(delta, reason []byte) []byte {
	b := []byte(`{`)
	for _, m := range [...]struct {
		name string
		val  []byte
	}{
		{"id", s.known.id},
		{"object", []byte(`"chat.completion.chunk"`)},
		{"created", s.known.created},
		{"model", s.known.model},
		{"system_fingerprint", s.known.fingerprint},
	} {
		if m.val != nil {
			b = append(append(append(append(b, '"'), m.name...), `":`...), m.val...)
			b = append(b, ',')
		}
	}
	b = append(append(b, `"choices":[{"index":0,"delta":`...), delta...)
	b = append(append(b, `,"finish_reason":`...), reason...)
	return append(b, `}]}`...)
}
