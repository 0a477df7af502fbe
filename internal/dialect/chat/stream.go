package chat

import (
	"bytes"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

// maxTurn bounds the bytes of a turn that are kept for the next one's request.
const maxTurn = 32 << 20

// Write implements Session.
func (s *session) Write(dst, p []byte) ([]byte, turn.State) {
	dst = s.relay.Write(dst, p)
	switch t := &s.turn; {
	case t.failure != nil:
		return dst, turn.Failing
	case t.over:
		return dst, turn.Over
	}
	return dst, turn.Going
}

// GiveUp implements relay.Reader: nothing more of the stream can be read, so its calls cannot be relied on.
func (s *session) GiveUp() bool {
	s.turn.broken = true
	s.relay.Release()
	s.release()
	return true
}

// Block implements relay.Reader.
func (s *session) Block(e *sse.Event) {
	switch {
	case s.turn.failure != nil:
		s.relay.Put(e)
	case s.quick(e):
	default:
		s.take(e)
	}
}

// take finds out what an event is.
func (s *session) take(e *sse.Event) {
	t := &s.turn
	data := bytes.TrimSpace(e.Data)
	done := string(data) == "[DONE]"
	switch {
	case !e.Dispatched || len(data) == 0:
		s.aside(e)
	case t.over:
		// Nothing comes after [DONE].
		if !t.hasOurs() {
			s.relay.Put(e)
		}
	case done:
		s.done(e)
	case s.chunk.read(e.Data):
		s.chunks++
		s.piece(e, &s.chunk)
	case e.Truncated && s.number > 1:
		// Clients drop what a stream that broke off leaves behind. It must not stand before what Keyturn may add.
	default:
		t.broken = true
		s.relay.Release()
		s.release()
		s.relay.Put(e)
	}
}

// aside takes a block that is no event: a comment, most often.
func (s *session) aside(e *sse.Event) {
	t := &s.turn
	switch b := bareError(e.Raw); {
	case b != nil && s.relay.Holding():
		s.fail(e, b)
	case e.Truncated && s.number > 1:
	case len(t.tail) > 0 && !t.hasOurs():
		t.tail = append(t.tail, heldEvent{kind: heldAside, raw: bytes.Clone(e.Raw), cut: e.Truncated})
		s.relay.Elsewhere(t)
	default:
		s.relay.Aside(e)
	}
}

// piece takes a chunk.
func (s *session) piece(e *sse.Event, c *chunk) {
	t := &s.turn
	if s.errs(e, c) {
		return
	}
	s.note(c)
	if c.count == 0 && c.says(c.usage) {
		s.counts(e, c)
		return
	}
	t.broken = t.broken || c.count > 1
	finish := c.says(c.finish)
	t.finished = t.finished || finish && !e.Truncated
	theirs, ours, late := s.pieces(c, finish)
	role := c.role.Val.Found()
	dropRole := role && s.roleShown && (s.number > 1 || ours > 0)
	says := s.says(c)
	rest := theirs > 0 || finish || says || c.other || c.says(c.logprobs)
	if (ours > 0 || dropRole) && !rest && len(late) == 0 && (dropRole || !role) && !(c.says(c.usage) && t.finished) {
		return
	}
	if says || theirs > 0 || finish || len(late) > 0 {
		s.relay.Release()
	}
	if t.hasOurs() {
		s.retract()
	} else {
		s.release()
	}
	s.roleShown = s.roleShown || role

	s.edits.Reset()
	s.common(c)
	if dropRole {
		s.edits.Remove(c.b, c.delta.Val, c.role)
	}
	s.renumber(c, theirs == 0)
	switch {
	case finish && !t.failed:
		s.finish(e, c, says || theirs > 0, late)
	case t.finished && c.says(c.usage) && !rest:
		s.keep(heldUsage, e, false) // OpenRouter counts tokens in a chunk with a choice that says nothing
	default:
		s.emit(e)
		s.learn(e, c, says)
		s.flush(late)
	}
}

// note keeps what a chunk tells of the response.
func (s *session) note(c *chunk) {
	t := &s.turn
	if t.model == "" && c.model.Val.Found() {
		t.model = rawjson.Unquote(c.model.Val.Of(c.b))
	}
	if c.says(c.usage) && c.b[c.usage.Val.Start] == '{' {
		t.usage = append(t.usage[:0], c.usage.Val.Of(c.b)...)
	}
	if s.known.id != nil || !c.id.Val.Found() || blank(c.id.Val.Of(c.b)) {
		return
	}
	clone := func(m rawjson.Member) []byte {
		if !m.Val.Found() {
			return nil
		}
		return bytes.Clone(m.Val.Of(c.b))
	}
	s.known = identity{clone(c.id), clone(c.created), clone(c.model), clone(c.fingerprint)}
}

// pieces takes a delta's pieces of tool calls. It returns how many of them the client is to see and how many not, and the calls that
// have turned out to be the client's after pieces of them were held: all pieces of those come after the chunk.
func (s *session) pieces(c *chunk, finish bool) (theirs, ours int, late []*toolCall) {
	for i := range c.calls {
		p := &c.calls[i]
		p.call = s.find(c, p)
		s.update(p.call, c, p)
	}
	for i := range c.calls {
		p := &c.calls[i]
		switch call := p.call; {
		case call.owner == turn.Client && call.held == nil:
			theirs++
			continue
		case call.owner == turn.Client && !call.begun:
			s.show(call)
			late = append(late, call)
			fallthrough
		case call.owner != turn.Keyturn:
			call.held = append(rawjson.Separate(call.held), p.at.Of(c.b)...)
		}
		ours++
	}
	if finish {
		s.turn.reason = rawjson.Unquote(c.finish.Val.Of(c.b))
		late = append(late, s.settleOwners()...)
	}
	return theirs, ours, late
}

// says keeps what the delta has beside role and calls, and reports whether that is anything.
func (s *session) says(c *chunk) bool {
	t, some := &s.turn, false
	for _, f := range c.fields {
		v := f.Val.Of(c.b)
		some = some || !blank(v)
		if t.bytes += len(v); t.bytes > maxTurn {
			t.broken = true
			continue
		}
		t.fields = collect(t.fields, f.Name, v)
	}
	return some
}
