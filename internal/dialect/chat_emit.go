package dialect

import (
	"bytes"
	"strconv"

	"github.com/keyturn/keyturn/sse"
)

// common notes the changes that every chunk may need: it belongs to the response that the first turn began, and counts tokens only
// for a client that has asked. A null error is taken out, since openai-go ends the stream at any.
func (s *chat) common(c *chatChunk) {
	if c.err.val.found() && isNull(c.err.val.of(c.b)) {
		s.edits.remove(c.b, whole(c.b), c.err)
	}
	switch {
	case c.says(c.usage):
		if s.usage != nil {
			s.edits.replace(c.usage.val, addNumbers(s.usage, bytes.Clone(c.usage.val.of(c.b))))
		}
	case c.usage.val.found() && !s.wantUsage:
		s.edits.remove(c.b, whole(c.b), c.usage)
	}
	if s.number == 1 {
		return
	}
	for _, m := range [...]struct {
		at   member
		with []byte
	}{{c.id, s.known.id}, {c.created, s.known.created}, {c.model, s.known.model}, {c.fingerprint, s.known.fingerprint}} {
		if m.at.val.found() && m.with != nil && !bytes.Equal(m.at.val.of(c.b), m.with) {
			s.edits.replace(m.at.val, m.with)
		}
	}
}

// renumber takes Keyturn's pieces out of the delta, and gives the client's their numbers.
func (s *chat) renumber(c *chatChunk, none bool) {
	if none && len(c.calls) > 0 {
		s.edits.remove(c.b, c.delta.val, c.toolCalls)
		return
	}
	for i := range c.calls {
		p := &c.calls[i]
		switch call := p.call; {
		case call.owner != chatTheirs || call.held != nil:
			s.edits.drop(c.b, c.toolCalls.val, p.at)
		case call.shown < 0:
		case p.index.val.found():
			if n, ok := integer(p.index.val.of(c.b)); !ok || int(n) != call.shown {
				s.edits.replaceInt(p.index.val, call.shown)
			}
		default:
			s.edits.set(c.b, p.at, "index", strconv.AppendInt(nil, int64(call.shown), 10))
		}
	}
}

// emit appends the event with the changes noted.
func (s *chat) emit(dst *[]byte, e *sse.Event) {
	if s.edits.none() {
		*dst = append(*dst, e.Raw...)
		return
	}
	at := dataIn(e)
	if at < 0 {
		*dst = appendChunk(*dst, e.Type, s.edits.apply(nil, e.Data))
		s.put = chatNowhere
		return
	}
	*dst = append(*dst, e.Raw[:at]...)
	*dst = s.edits.apply(*dst, e.Data)
	*dst = append(*dst, e.Raw[at+len(e.Data):]...)
}

// dataIn tells where in an event's bytes its data stands; -1 if it stands in several lines.
func dataIn(e *sse.Event) int {
	for i := 0; i <= len(e.Raw)-len(e.Data); i++ {
		if &e.Raw[i] == &e.Data[0] {
			return i
		}
	}
	return -1
}

// appendChunk appends an event on one line. Line ends within JSON are white space.
func appendChunk(dst []byte, typ []byte, data []byte) []byte {
	return sse.AppendEvent(dst, string(typ), bytes.ReplaceAll(data, []byte{'\n'}, []byte{' '}))
}

// flush hands out the pieces of calls that have turned out to be the client's.
func (s *chat) flush(late []*chatCall) {
	for _, call := range late {
		if call.held == nil {
			continue
		}
		list := append(append([]byte{'['}, call.held...), ']')
		var e edits
		for at := range elements(list, whole(list)) {
			if call.shown >= 0 {
				e.set(list, at, "index", strconv.AppendInt(nil, int64(call.shown), 10))
			}
		}
		delta := append(append([]byte(`{"tool_calls":`), e.apply(nil, list)...), '}')
		dst := s.out()
		*dst = appendChunk(*dst, nil, s.chunkOf(delta, []byte("null")))
		s.put, call.held, call.args = chatNowhere, nil, nil
	}
}

// chunkOf is a chunk of Keyturn's own making.
func (s *chat) chunkOf(delta, reason []byte) []byte {
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
