package chat

import (
	"bytes"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

const (
	maxChatWindow      = 64        // events that are held until one shows something
	maxChatWindowBytes = 256 << 10 // and their bytes
	maxChatTurn        = 32 << 20  // bytes of a turn that are kept for the next one's request
)

// place is where an event's bytes went.
type place uint8

const (
	nowhere  place = iota
	toClient       // to the client
	toWindow       // held until the turn shows something
	toTail         // held until it is known what the turn's end means
)

// Write implements Session.
func (s *session) Write(dst, p []byte) ([]byte, turn.State) {
	s.dst = dst
	if s.raw {
		s.dst = append(s.dst, p...)
	} else if n, err := s.decoder.Write(p); err != nil {
		s.relayRest(p[n:])
	}
	dst, s.dst = s.dst, nil
	switch t := &s.turn; {
	case t.failure != nil:
		return dst, turn.Failing
	case t.over:
		return dst, turn.Over
	}
	return dst, turn.Going
}

// relayRest gives the stream up, since an event is longer than any client reads: from here on it passes as it comes.
func (s *session) relayRest(rest []byte) {
	if s.turn.failure != nil {
		return
	}
	s.raw, s.torn, s.turn.broken = true, true, true
	s.reveal()
	s.release()
	s.dst = append(append(s.dst, s.decoder.Held()...), rest...)
}

// event takes one event of the provider's stream.
func (s *session) event(e *sse.Event) error {
	if s.afterCR && string(e.Raw) == "\n" { // the end of the event before, whatever became of it
		s.rest(e.Raw)
		s.afterCR = false
		return nil
	}
	s.afterCR = e.Raw[len(e.Raw)-1] == '\r'
	switch t := &s.turn; {
	case t.failure != nil:
		s.put = nowhere
		if len(s.window) < maxChatWindowBytes {
			s.put, s.window = toWindow, append(s.window, e.Raw...)
		}
	case s.quick(e):
	default:
		s.count(e)
		s.take(e)
		s.torn = s.torn || e.Truncated && s.put != nowhere
	}
	return nil
}

// rest adds what belongs to the event before to it.
func (s *session) rest(b []byte) {
	switch s.put {
	case toClient:
		s.dst = append(s.dst, b...)
	case toWindow:
		s.window = append(s.window, b...)
	case toTail:
		s.turn.hold(b)
	case nowhere:
	}
}

// count bounds the window.
func (s *session) count(e *sse.Event) {
	if s.turn.revealed || !e.Dispatched && len(s.window) == 0 {
		return
	}
	if s.windowed++; s.windowed > maxChatWindow || len(s.window) > maxChatWindowBytes {
		s.reveal()
	}
}

// reveal ends the window: what is in it goes to the client.
func (s *session) reveal() {
	if !s.turn.revealed {
		s.turn.revealed = true
		s.dst = append(s.dst, s.window...)
		s.window = s.window[:0]
		if s.put == toWindow {
			s.put = toClient
		}
	}
}

// sink is where bytes go that the client is to have now, unless the window holds them.
func (s *session) sink() (*[]byte, place) {
	if s.turn.revealed {
		return &s.dst, toClient
	}
	return &s.window, toWindow
}

// out is the sink for the current event.
func (s *session) out() *[]byte {
	dst, put := s.sink()
	s.put = put
	return dst
}

// relay hands an event on as it is.
func (s *session) relay(e *sse.Event) {
	dst := s.out()
	*dst = append(*dst, e.Raw...)
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
		if s.put = nowhere; !t.hasOurs() {
			s.relay(e)
		}
	case done:
		s.done(e)
	case s.chunk.read(e.Data):
		s.chunks++
		s.piece(e, &s.chunk)
	case e.Truncated && s.number > 1:
		// Clients drop what a stream that broke off leaves behind. It must not stand before what Keyturn may add.
		s.put = nowhere
	default:
		t.broken = true
		s.reveal()
		s.release()
		s.relay(e)
	}
}

// aside takes a block that is no event: a comment, most often.
func (s *session) aside(e *sse.Event) {
	t := &s.turn
	switch b := bareError(e.Raw); {
	case b != nil && !t.revealed:
		s.fail(e, b)
	case e.Truncated && s.number > 1:
		s.put = nowhere
	case len(t.tail) > 0 && !t.hasOurs():
		t.hold(e.Raw)
		s.put = toTail
	case !t.revealed && len(s.window) == 0:
		// A comment shows nothing, and keeps the client waiting.
		s.dst, s.put = append(s.dst, e.Raw...), toClient
	default:
		s.relay(e)
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
		s.put = nowhere
		return
	}
	if says || theirs > 0 || finish || len(late) > 0 {
		s.reveal()
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
		s.emit(s.out(), e)
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
		case call.owner == clients && call.held == nil:
			theirs++
			continue
		case call.owner == clients && !call.begun:
			s.show(call)
			late = append(late, call)
			fallthrough
		case call.owner != keyturns:
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
		if t.bytes += len(v); t.bytes > maxChatTurn {
			t.broken = true
			continue
		}
		t.fields = collect(t.fields, f.Name, v)
	}
	return some
}
