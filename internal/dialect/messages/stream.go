package messages

import (
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

// Write takes the next bytes of the turn's stream.
func (s *session) Write(dst, p []byte) ([]byte, turn.State) {
	s.plain = false
	return s.relay.Write(dst, p), s.state()
}

// GiveUp implements relay.Reader: nothing more of the stream can be read, so nothing of the turn is acted on.
func (s *session) GiveUp() bool {
	s.turn.broken = true
	s.relay.Release()
	s.letStop()
	return true
}

func (s *session) state() turn.State {
	switch {
	case s.turn.failure != nil:
		return turn.Failing
	case s.turn.over || s.turn.errored:
		return turn.Over
	}
	return turn.Going
}

// End says that the turn's stream has ended.
func (s *session) End(dst []byte) ([]byte, turn.Turn) {
	s.plain = false
	s.relay.Close(dst)
	t := s.result()
	if len(t.Calls) == 0 && s.turn.failure == nil {
		s.relay.Release()
		s.letStop()
	}
	s.withhold(t)
	if len(t.Calls) == 0 && s.turn.over && !s.turn.broken {
		s.close()
		s.conversation.remember(s)
	}
	return s.relay.End(), t
}

// Block implements relay.Reader.
func (s *session) Block(ev *sse.Event) {
	switch {
	case s.turn.failure != nil: // whatever follows changes nothing
	case s.turn.over:
		s.after(ev)
	case !ev.Dispatched:
		s.relay.Aside(ev)
	default:
		s.dispatch(ev)
	}
}

// after takes what comes after the end of the turn. If there is another, it is not for the client.
func (s *session) after(ev *sse.Event) {
	if len(s.turn.calls) == 0 {
		s.relay.Put(ev)
	}
}

// dispatch takes an event with data.
func (s *session) dispatch(ev *sse.Event) {
	f := &s.event
	if !f.read(ev.Data) {
		s.foreign(ev)
		return
	}
	if len(f.kind) == 0 {
		f.kind = ev.Type
	}
	switch string(f.kind) {
	case "content_block_delta":
		s.blockDelta(ev)
	case "content_block_start":
		s.blockStart(ev)
	case "content_block_stop":
		s.blockStop(ev)
	case "message_start":
		s.messageStart(ev)
	case "message_delta":
		s.messageDelta(ev)
	case "message_stop":
		s.messageStop(ev)
	case "error":
		s.erring(ev)
	case "ping":
		s.relay.Alive()
		s.relay.Hurry()
		s.put(ev, ev.Data)
	default: // clients read over what they do not know
		switch b := s.turn.find(f.at); {
		case b == nil:
			s.put(ev, ev.Data)
		case b.seen():
			s.putIndex(ev, b.shown)
		}
	}
}

// foreign takes data that is no JSON object: it passes as it is, and nothing of the turn is acted on, since it may have been a part
// of a call. What a stream broke off in was no event to anybody; where something of Keyturn's may follow it, it is left out.
func (s *session) foreign(ev *sse.Event) {
	if string(ev.Type) == "error" {
		s.event.kind = ev.Type
		s.erring(ev)
		return
	}
	s.turn.broken = true
	if ev.Truncated && s.number > 1 {
		return
	}
	s.relay.Release()
	s.letStop()
	s.relay.Put(ev)
}

// messageStart takes the event that begins a turn. The client gets the first turn's.
func (s *session) messageStart(ev *sse.Event) {
	t := &s.turn
	if !t.begun {
		t.begun = true
		t.model = rawjson.Text(ev.Data, s.event.message, "model")
		if v, ok := rawjson.Lookup(ev.Data, s.event.message, "usage"); ok {
			t.begin = slices.Clone(v.Of(ev.Data))
		}
	}
	if s.number == 1 {
		s.put(ev, ev.Data)
	}
	if s.relay.HoldsWhole() {
		s.relay.Mark()
	}
}

// blockStart takes a block that begins: whose it is stands in it.
func (s *session) blockStart(ev *sse.Event) {
	f := &s.event
	if f.at < 0 || !f.block.Found() || ev.Data[f.block.Start] != '{' {
		s.turn.broken = true
		s.relay.Release()
		s.letStop()
		s.relay.Put(ev)
		return
	}
	b := s.newBlock(f.at, slices.Clone(f.block.Of(ev.Data)))
	b.open = true
	if b.own {
		return
	}
	goesOn := s.see(b)
	if b.omitted {
		return
	}
	s.relay.Release()
	if goesOn {
		s.goOn(b)
		return
	}
	s.letStop()
	s.putIndex(ev, b.shown)
}

// blockDelta takes a piece of a block.
func (s *session) blockDelta(ev *sse.Event) {
	f := &s.event
	b := s.turn.find(f.at)
	if b == nil {
		s.turn.broken = true
		s.relay.Release()
		s.relay.Put(ev)
		return
	}
	if b.open && !ev.Truncated {
		if f.value.Found() {
			b.add(f.valueKind, f.value.Of(ev.Data))
		} else {
			b.other(ev.Data, f.delta)
		}
	}
	if b.seen() {
		s.putIndex(ev, b.shown)
	}
}

// blockStop takes the end of a block.
func (s *session) blockStop(ev *sse.Event) {
	b := s.turn.find(s.event.at)
	switch {
	case b == nil:
		s.relay.Release()
		s.relay.Put(ev)
		return
	case b.seen() && b.kind == "text" && b.open:
		s.holdStop(ev, b.shown)
	case b.seen():
		s.putIndex(ev, b.shown)
	}
	b.open = b.open && ev.Truncated
}

// messageDelta takes the event that says why the turn stopped. It is withheld when there are calls to run.
func (s *session) messageDelta(ev *sse.Event) {
	t := &s.turn
	if reason := rawjson.Text(ev.Data, s.event.delta, "stop_reason"); reason != "" {
		t.reason = reason
	}
	if s.event.usage.Found() {
		t.end = slices.Clone(s.event.usage.Of(ev.Data))
	}
	s.contain(ev.Data, s.event.delta)
	if !t.decided {
		s.decide()
	}
	if len(t.calls) > 0 {
		t.final = slices.Clone(ev.Data)
		return
	}
	s.relay.Release()
	s.letStop()
	if s.number == 1 && !s.spent {
		s.put(ev, ev.Data)
		return
	}
	s.put(ev, s.finalDelta(ev.Data))
}

// messageStop takes the event that ends the turn. It is withheld likewise; a stream that broke off in it has not ended, if calls
// depend on it.
func (s *session) messageStop(ev *sse.Event) {
	t := &s.turn
	if !t.decided {
		s.decide()
	}
	if t.broken && t.final != nil { // after all
		t.calls = nil
		s.letStop()
		to := s.relay.Own()
		*to = sse.AppendEvent(*to, "message_delta", s.finalDelta(t.final))
	}
	if len(t.calls) > 0 {
		t.over = !ev.Truncated
		t.stop = slices.Clone(ev.Data)
		return
	}
	t.over = true
	s.relay.Release()
	s.letStop()
	s.put(ev, ev.Data)
}

// erring takes an error event. Before the turn has shown anything the turn has failed; later, the response ends with it.
func (s *session) erring(ev *sse.Event) {
	t := &s.turn
	t.errored, t.calls = true, nil
	if !s.relay.Holding() {
		s.letStop()
		s.put(ev, ev.Data)
		return
	}
	t.failure = readFailure(ev.Data)
	s.relay.Put(ev)
	s.relay.Fail()
}
