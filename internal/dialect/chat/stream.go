package chat

import (
	"bytes"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

// maxTurn bounds the bytes of a turn that are kept for the next one's request.
const maxTurn = 32 << 20

// Write implements turn.Session.
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
		s.chunkCame(e, &s.chunk)
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
		t.putAside(e)
		s.relay.Elsewhere(t)
	default:
		s.relay.Aside(e)
	}
}

// gist is what a chunk has for the client.
type gist struct {
	theirs, ours int         // pieces of calls, that the client is to see and not
	late         []*toolCall // see pieces
	text         bool        // the delta has something beside role and calls
	role         bool
	again        bool // the client knows the role
	finish       bool
}

// gistOf keeps what a chunk says of the turn, and tells what of it is for the client.
func (s *session) gistOf(c *chunk, truncated bool) gist {
	t := &s.turn
	g := gist{role: c.role.Val.Found(), finish: c.finish.Val.Found() && !blank(c.finish.Val.Of(c.b))}
	t.broken = t.broken || c.count > 1
	t.finished = t.finished || g.finish && !truncated
	g.theirs, g.ours, g.late = s.pieces(c, g.finish)
	g.again = g.role && s.roleShown && (s.number > 1 || g.ours > 0)
	g.text = s.says(c)
	return g
}

// shows reports whether the client sees that the turn says something.
func (g *gist) shows() bool { return g.text || g.theirs > 0 || g.finish || len(g.late) > 0 }

// only reports whether a chunk has nothing for the client beside role and usage.
func (g *gist) only(c *chunk) bool {
	return g.theirs == 0 && !g.finish && !g.text && !c.other && !c.says(c.logprobs)
}

// nothing reports whether a chunk has nothing at all for the client: pieces of Keyturn's calls, or a role that it knows.
func (s *session) nothing(c *chunk, g *gist) bool {
	counts := c.says(c.usage) && s.turn.finished
	return (g.ours > 0 || g.again) && (g.again || !g.role) && len(g.late) == 0 && g.only(c) && !counts
}

// chunkCame takes a chunk.
func (s *session) chunkCame(e *sse.Event, c *chunk) {
	if s.errs(e, c) {
		return
	}
	s.note(c)
	if c.count == 0 && c.says(c.usage) {
		s.counts(e, c)
		return
	}
	g := s.gistOf(c, e.Truncated)
	if s.nothing(c, &g) {
		return
	}
	if g.shows() {
		s.relay.Release()
	}
	if s.turn.hasOurs() {
		s.retract()
	} else {
		s.release()
	}
	s.roleShown = s.roleShown || g.role

	s.edits.Reset()
	s.common(c)
	if g.again {
		s.edits.Remove(c.b, c.delta.Val, c.role)
	}
	s.renumber(c, g.theirs == 0)
	s.moveAnnotations(c)
	apart := s.setApart(c)
	switch {
	case g.finish && !s.turn.failed:
		s.finish(e, c, g.text || g.theirs > 0, g.late)
	case s.turn.finished && c.says(c.usage) && g.only(c):
		s.keep(heldUsage, e, false) // OpenRouter counts tokens in a chunk with a choice that says nothing
	default:
		s.emit(e)
		s.learn(e, c, g.text && !apart)
		s.flush(g.late)
	}
}

// moveAnnotations notes where the places that a later turn's annotations tell of are in all of the text.
func (s *session) moveAnnotations(c *chunk) {
	for _, f := range c.fields {
		if v := f.Val.Of(c.b); s.number > 1 && string(f.Name) == annotations && v[0] == '[' {
			if offset := spoken(s.said); offset > 0 {
				s.edits.Replace(f.Val, moved(v, offset))
			}
		}
	}
}

// setApart notes an empty line before the first that a later turn says.
func (s *session) setApart(c *chunk) bool {
	for _, f := range c.fields {
		if v := f.Val.Of(c.b); s.apart && string(f.Name) == "content" && v[0] == '"' && len(v) > len(`""`) {
			s.apart = false
			s.edits.Insert(f.Val.Start+1, []byte(gap))
			return true
		}
	}
	return false
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
