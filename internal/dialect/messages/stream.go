package messages

import (
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

// streamState is where a session stands in its streams.
type streamState struct {
	decoder *sse.Decoder
	dst     []byte // what the caller's bytes are appended to
	held    []byte // what is held back
	events  int    // of the turn
	bytes   int    // likewise
	holding bool   // nothing has gone out yet
	quiet   bool   // the turn has shown nothing: if it fails now, it can be run again
	follows bool   // what came last went out as it came, so that a line feed that belongs to it does too
	broken  bool   // the decoder gave up: bytes pass as they come
	unended bool   // what went out last has no blank line at its end

	fields eventFields
	edits  rawjson.Edits
}

// begin makes ready for the stream of a turn. What later turns begin with is not for the client, so nothing need be held.
func (m *streamState) begin(first bool) {
	m.decoder.Reset()
	m.held, m.events, m.bytes, m.holding, m.quiet, m.follows, m.broken = m.held[:0], 0, 0, first, true, true, false
}

// Write takes the next bytes of the turn's stream.
func (s *session) Write(dst, p []byte) ([]byte, turn.State) {
	m := &s.stream
	m.dst, s.plain = dst, false
	if !m.broken {
		n, err := m.decoder.Write(p)
		if err == nil {
			return m.dst, s.state()
		}
		// From here on nothing is understood any more. Held is what the decoder has and did not hand over.
		m.release()
		m.broken, s.turn.broken = true, true
		m.dst = append(m.dst, m.decoder.Held()...)
		p = p[n:]
	}
	m.dst = append(m.dst, p...)
	return m.dst, s.state()
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
	m := &s.stream
	m.dst, s.plain = dst, false
	if !m.broken {
		if m.decoder.Close() != nil { // event never fails, and Write has told of limits
			m.broken = true
		}
	}
	t := s.result()
	if t.Failure == nil {
		m.release()
	}
	if len(t.Calls) == 0 && s.turn.over && !s.turn.broken {
		s.close()
		s.talk.remember(s)
	}
	return m.dst, t
}

// event takes one block of the stream. It always returns nil.
func (s *session) event(ev *sse.Event) error {
	m, t := &s.stream, &s.turn
	if t.failure != nil { // whatever follows changes nothing, but for the rest of a CRLF
		if m.follows && len(ev.Raw) == 1 && ev.Raw[0] == '\n' {
			m.held = append(m.held, '\n')
		}
		m.follows = false
		return nil
	}
	m.bytes += len(ev.Raw)
	if len(ev.Raw) == 1 && ev.Raw[0] == '\n' {
		// It may be the rest of a CRLF that was cut: it shares the fate of what it belongs to.
		if m.follows {
			m.comment(ev.Raw)
		}
		s.window()
		return nil
	}
	m.follows = true
	m.unended = ev.Truncated
	switch {
	case t.over:
		s.after(ev)
	case !ev.Dispatched:
		m.comment(ev.Raw)
	default:
		m.events++
		s.dispatch(ev)
	}
	s.window()
	return nil
}

// window hands out what is held once it is too much.
func (s *session) window() {
	if m := &s.stream; m.holding && s.turn.failure == nil && (m.events >= relay.WindowEvents || m.bytes >= relay.WindowBytes) {
		m.release()
	}
}

// after takes what comes after the end of the turn. If there is another, it is not for the client.
func (s *session) after(ev *sse.Event) {
	m := &s.stream
	if len(s.turn.calls) == 0 {
		m.raw(ev.Raw)
		return
	}
	m.drop()
}

// dispatch takes an event with data.
func (s *session) dispatch(ev *sse.Event) {
	m, f := &s.stream, &s.stream.fields
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
		m.put(ev, ev.Data)
	default: // clients read over what they do not know
		b := s.turn.find(f.at)
		switch {
		case b == nil:
			m.quiet = m.quiet && m.holding
			m.put(ev, ev.Data)
		case b.own:
			m.drop()
		default:
			m.putIndex(ev, b.shown)
		}
	}
}

// foreign takes data that is no JSON object: it passes as it is, and nothing of the turn is acted on, since it may have been a part
// of a call. What a stream broke off in was no event to anybody; where something of Keyturn's may follow it, it is left out.
func (s *session) foreign(ev *sse.Event) {
	m := &s.stream
	if string(ev.Type) == "error" {
		m.fields.kind = ev.Type
		s.erring(ev)
		return
	}
	s.turn.broken = true
	if ev.Truncated && s.number > 1 {
		m.drop()
		return
	}
	m.release()
	m.raw(ev.Raw)
}

// messageStart takes the event that begins a turn. The client gets the first turn's.
func (s *session) messageStart(ev *sse.Event) {
	m, t := &s.stream, &s.turn
	if !t.begun {
		t.begun = true
		t.model = rawjson.Text(ev.Data, m.fields.message, "model")
		if v, ok := rawjson.Lookup(ev.Data, m.fields.message, "usage"); ok {
			t.begin = slices.Clone(v.Of(ev.Data))
		}
	}
	if s.number > 1 {
		m.drop()
		return
	}
	m.put(ev, ev.Data)
}

// blockStart takes a block that begins: whose it is stands in it.
func (s *session) blockStart(ev *sse.Event) {
	m, f := &s.stream, &s.stream.fields
	if f.at < 0 || !f.block.Found() || ev.Data[f.block.Start] != '{' {
		s.turn.broken = true
		m.release()
		m.raw(ev.Raw)
		return
	}
	b := s.newBlock(f.at, slices.Clone(f.block.Of(ev.Data)))
	b.open = true
	if b.own {
		m.drop()
		return
	}
	s.see(b)
	m.release()
	m.putIndex(ev, b.shown)
}

// blockDelta takes a piece of a block.
func (s *session) blockDelta(ev *sse.Event) {
	m, f := &s.stream, &s.stream.fields
	b := s.turn.find(f.at)
	if b == nil {
		s.turn.broken = true
		m.release()
		m.raw(ev.Raw)
		return
	}
	if b.open && !ev.Truncated {
		if f.value.Found() {
			b.add(f.valueKind, f.value.Of(ev.Data))
		} else {
			b.other(ev.Data, f.delta)
		}
	}
	if b.own {
		m.drop()
		return
	}
	m.putIndex(ev, b.shown)
}

// blockStop takes the end of a block.
func (s *session) blockStop(ev *sse.Event) {
	m := &s.stream
	b := s.turn.find(m.fields.at)
	switch {
	case b == nil:
		m.release()
		m.raw(ev.Raw)
		return
	case b.own:
		m.drop()
	default:
		m.putIndex(ev, b.shown)
	}
	b.open = b.open && ev.Truncated
}

// messageDelta takes the event that says why the turn stopped. It is withheld when there are calls to run.
func (s *session) messageDelta(ev *sse.Event) {
	m, t := &s.stream, &s.turn
	if reason := rawjson.Text(ev.Data, m.fields.delta, "stop_reason"); reason != "" {
		t.reason = reason
	}
	if m.fields.usage.Found() {
		t.end = slices.Clone(m.fields.usage.Of(ev.Data))
	}
	s.contain(ev.Data, m.fields.delta)
	if !t.decided {
		s.decide()
	}
	if len(t.calls) > 0 {
		t.final = slices.Clone(ev.Data)
		m.drop()
		return
	}
	m.release()
	if s.number == 1 {
		m.put(ev, ev.Data)
		return
	}
	m.put(ev, s.finalDelta(ev.Data))
}

// messageStop takes the event that ends the turn. It is withheld likewise; a stream that broke off in it has not ended, if calls
// depend on it.
func (s *session) messageStop(ev *sse.Event) {
	m, t := &s.stream, &s.turn
	if !t.decided {
		s.decide()
	}
	if t.broken && t.final != nil { // after all
		t.calls = nil
		*m.sink() = sse.AppendEvent(*m.sink(), "message_delta", s.finalDelta(t.final))
	}
	if len(t.calls) > 0 {
		t.over = !ev.Truncated
		t.stop = slices.Clone(ev.Data)
		m.drop()
		return
	}
	t.over = true
	m.release()
	m.put(ev, ev.Data)
}

// erring takes an error event. Before the turn has shown anything the turn has failed; later, the response ends with it.
func (s *session) erring(ev *sse.Event) {
	m, t := &s.stream, &s.turn
	t.errored, t.calls = true, nil
	if !m.quiet {
		m.put(ev, ev.Data)
		return
	}
	t.failure = readFailure(ev.Data)
	m.held = append(m.held, ev.Raw...)
}
