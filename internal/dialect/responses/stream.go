package responses

import (
	"bytes"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

// streamState is where a session stands in its streams.
type streamState struct {
	decoder *sse.Decoder
	style   relay.Style
	dst     []byte // what the caller's bytes are appended to
	held    []byte // what is held back
	events  int    // how many came while it was
	holding bool

	renumbers bool // something was put in or left out: the provider's numbers are no longer the client's
	next      int  // the next sequence_number
	done      bool // a turn that is not the last had [DONE] after its end
	swallows  bool // an LF that comes next belongs to a block that did not go out as it came
	broken    bool // the decoder gave up: bytes pass as they come
	unended   bool // what went out last has no blank line at its end

	fields eventFields
	edits  rawjson.Edits
}

// begin makes ready for the stream of a turn.
func (m *streamState) begin(s *session) {
	if m.decoder == nil {
		m.decoder = sse.NewDecoder(sse.Limits{}, s.event)
	} else {
		m.decoder.Reset()
	}
	m.held, m.events, m.holding = m.held[:0], 0, true
}

// sink is where bytes for the client go.
func (m *streamState) sink() *[]byte {
	if m.holding {
		return &m.held
	}
	return &m.dst
}

func (m *streamState) put(b []byte) {
	to := m.sink()
	*to = append(*to, b...)
}

// release hands out what is held back.
func (m *streamState) release() {
	if m.holding {
		m.holding = false
		m.dst = append(m.dst, m.held...)
		m.held = m.held[:0]
	}
}

// Write takes the next bytes of the turn's stream.
func (s *session) Write(dst, p []byte) ([]byte, turn.State) {
	m := &s.stream
	m.dst = dst
	if !m.broken {
		n, err := m.decoder.Write(p)
		if err == nil {
			return m.dst, s.state()
		}
		// From here on nothing is understood any more. Held is what the decoder has and did not hand over.
		m.release()
		m.broken = true
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
	m.dst = dst
	if !m.broken {
		if m.decoder.Close() != nil { // event never fails, and Write has told of limits
			m.broken = true
		}
	}
	if s.turn.failure == nil {
		m.release()
	}
	if m.unended && s.number > 1 {
		m.dst = m.style.EOL(m.style.EOL(m.dst))
		m.unended = false
	}
	return m.dst, s.result()
}

// event takes one block of the stream. It always returns nil.
func (s *session) event(ev *sse.Event) error {
	m := &s.stream
	if m.swallows {
		m.swallows = false
		if string(ev.Raw) == "\n" {
			return nil
		}
	}
	if !m.holding && !m.renumbers && !ev.Truncated && isDelta(ev.Data) {
		m.next++
		m.dst = append(m.dst, ev.Raw...)
		return nil
	}
	if m.holding && (m.events >= relay.WindowEvents || len(m.held) >= relay.WindowBytes) {
		if s.turn.failure != nil {
			return nil // it has failed, and whatever follows changes nothing
		}
		m.release()
	}
	if ev.Dispatched {
		m.events++
	}
	m.unended = ev.Truncated
	switch {
	case s.turn.over:
		s.after(ev)
	case !ev.Dispatched && len(m.held) == 0:
		m.dst = append(m.dst, ev.Raw...) // there is nothing that it must come after: it shows the client that all is well
		return nil
	case !ev.Dispatched:
		m.put(ev.Raw)
	default:
		m.style.Learn(ev)
		s.dispatch(ev)
	}
	// The decoder does not wait for the LF that may follow a block's last CR; where the CR did not go out, neither does that.
	m.swallows = bytes.HasSuffix(ev.Raw, cr) && !bytes.HasSuffix(*m.sink(), cr)
	return nil
}

var cr = []byte{'\r'}

// after takes what comes after the event that ends the turn: [DONE] and comments. Of a turn that is not the last, [DONE] waits.
func (s *session) after(ev *sse.Event) {
	m := &s.stream
	switch {
	case s.turn.terminal == nil:
		m.put(ev.Raw)
	case string(ev.Data) == "[DONE]":
		m.done = true
	}
}

// dispatch takes an event with data.
func (s *session) dispatch(ev *sse.Event) {
	m := &s.stream
	f := &m.fields
	if !f.read(ev.Data) {
		s.foreign(ev)
		return
	}
	m.edits.Reset()
	kind := f.kind.Of(ev.Data)
	short, ours := bytes.CutPrefix(kind, []byte("response."))
	if !m.renumbers && f.seqValue >= 0 {
		m.next = f.seqValue // the provider's, whatever it began with
	}
	switch {
	case string(kind) == "error", len(kind) == 0 && f.err.Found() && ev.Data[f.err.Start] == '{':
		s.erring(ev, f)
		return
	case string(kind) == "keepalive":
		s.pass(ev, f)
		return
	case !ours:
		m.release()
		s.pass(ev, f)
		return
	}
	switch string(short) {
	case "created", "queued", "in_progress":
		s.lifecycle(ev, f)
		return
	case "failed":
		if m.holding {
			s.failing(ev.Data, f)
		}
	}
	if s.turn.failure == nil {
		m.release()
	}
	switch string(short) {
	case "completed", "incomplete", "failed":
		s.terminal(ev, f, string(short))
	case "output_item.added":
		s.itemAdded(ev, f)
	case "output_item.done":
		s.itemDone(ev, f)
	default:
		s.itemEvent(ev, f, short)
	}
}

// foreign takes data that is no JSON object: it passes as it is. What a stream broke off in was no event to anybody; where
// something of Keyturn's may follow it, it is left out.
func (s *session) foreign(ev *sse.Event) {
	m := &s.stream
	switch {
	case ev.Truncated && s.number > 1:
		m.unended = false
		return
	case s.turn.failure == nil:
		m.release()
	}
	m.put(ev.Raw)
}

// lifecycle takes an event that tells the response's settings. The client gets those of the first turn.
func (s *session) lifecycle(ev *sse.Event, f *eventFields) {
	if id := rawjson.Text(ev.Data, f.response, "id"); id != "" {
		s.upstreamID = id
	}
	if s.number > 1 {
		return
	}
	s.settings(&s.stream.edits, ev.Data, f.response)
	s.pass(ev, f)
}

// itemAdded takes an item that begins.
func (s *session) itemAdded(ev *sse.Event, f *eventFields) {
	if !f.item.Found() || f.indexValue < 0 || f.indexValue >= maxItems {
		s.pass(ev, f)
		return
	}
	i := s.item(f.indexValue)
	s.identify(i, f.item.Of(ev.Data))
	if i.own {
		s.begin(i)
		return
	}
	if i.shown != i.id {
		s.rename(ev, f, i)
	}
	s.pass(ev, f)
}

// rename notes the client's id of the event's item.
func (s *session) rename(ev *sse.Event, f *eventFields, i *outputItem) {
	if v, ok := rawjson.Lookup(ev.Data, f.item, "id"); ok {
		s.stream.edits.Replace(v, rawjson.AppendString(nil, i.shown))
	}
}

// itemDone takes an item that is complete.
func (s *session) itemDone(ev *sse.Event, f *eventFields) {
	if !f.item.Found() || f.indexValue < 0 || f.indexValue >= maxItems {
		s.pass(ev, f)
		return
	}
	i := s.item(f.indexValue)
	raw := f.item.Of(ev.Data)
	if i.kind == "" {
		s.identify(i, raw)
	}
	s.done(i, raw)
	if i.own {
		s.begin(i) // unless it has begun
		return
	}
	if i.shown != i.id {
		s.rename(ev, f, i)
	}
	s.pass(ev, f)
}

// itemEvent takes any other event, which may be about an item.
func (s *session) itemEvent(ev *sse.Event, f *eventFields, short []byte) {
	m := &s.stream
	i := (*outputItem)(nil)
	if f.indexValue >= 0 && f.indexValue < len(s.turn.items) {
		i = s.turn.items[f.indexValue]
	}
	if i == nil || !i.own {
		s.pass(ev, f)
		return
	}
	of, isArguments := bytes.CutPrefix(short, []byte("function_call_arguments."))
	if !isArguments || s.hides(i) {
		return
	}
	if string(of) == "delta" {
		i.argue(ev.Data, f.object)
	}
	kind := "response.mcp_call_arguments." + string(of)
	e := &m.edits
	e.Replace(rawjson.Span{Start: f.kind.Start - 1, End: f.kind.End + 1}, rawjson.AppendString(nil, kind))
	if v, ok := rawjson.Lookup(ev.Data, f.object, "name"); ok && string(of) == "done" { // which that event does not have
		for member := range rawjson.Members(ev.Data, f.object) {
			if member.Val == v {
				e.Remove(ev.Data, f.object, member)
			}
		}
	}
	e.Replace(f.itemID, rawjson.AppendString(nil, i.shown))
	e.ReplaceInt(f.index, i.index)
	if f.seq.Found() {
		e.ReplaceInt(f.seq, m.next)
		m.next++
	}
	to := m.sink()
	*to = m.style.Event(*to, kind, e.Apply(nil, ev.Data))
}

// terminal takes the event that ends the turn. It is withheld when there are calls to run.
func (s *session) terminal(ev *sse.Event, f *eventFields, kind string) {
	s.hold(ev.Data, f.response, kind, !ev.Truncated)
	for _, i := range s.turn.items {
		if i != nil && i.own {
			s.begin(i) // unless it has: no event of its own told of it
		}
	}
	s.endUnrun(nil)
	if s.turn.terminal != nil {
		return
	}
	s.merge(&s.stream.edits, ev.Data, f.response)
	s.pass(ev, f)
}

// erring takes an error event. Before the turn has shown anything the turn has failed; later, the response ends with it.
func (s *session) erring(ev *sse.Event, f *eventFields) {
	switch {
	case s.stream.holding:
		s.failing(ev.Data, f)
	default:
		s.endUnrun(&brokeOff)
	}
	s.turn.errored = true
	s.pass(ev, f)
}

// brokeOff is what calls that were begun come to when the turn fails.
var brokeOff = turn.ToolError{Message: "the response failed before the tool was called"}
