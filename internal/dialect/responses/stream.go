package responses

import (
	"bytes"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

// Write takes the next bytes of the turn's stream.
func (s *session) Write(dst, p []byte) ([]byte, turn.State) {
	return s.relay.Write(dst, p), s.state()
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
	s.relay.Close(dst)
	s.withhold()
	if s.number > 1 && s.turn.failure == nil { // the client gets the bytes of a first turn and no other; later ones are Keyturn's
		s.relay.Release()
		s.relay.Mend()
	}
	return s.relay.End(), s.result()
}

// GiveUp implements relay.Reader: nothing more of the stream can be read. Where the event that ends the turn is withheld, that was all of it.
func (s *session) GiveUp() bool { return s.turn.terminal == nil }

// Block implements relay.Reader.
func (s *session) Block(ev *sse.Event) {
	switch {
	case !s.relay.Holding() && !s.renumbers && !ev.Truncated && isDelta(ev.Data):
		s.nextNumber++
		s.relay.Put(ev)
	case s.turn.over:
		s.after(ev)
	case !ev.Dispatched:
		s.relay.Aside(ev)
	default:
		s.dispatch(ev)
	}
}

// after takes what comes after the event that ends the turn: [DONE] and comments. Of a turn that is not the last, [DONE] waits.
func (s *session) after(ev *sse.Event) {
	switch {
	case s.turn.terminal == nil:
		s.relay.Put(ev)
	case string(ev.Data) == "[DONE]":
		s.doneDue = true
	}
}

// dispatch takes an event with data.
func (s *session) dispatch(ev *sse.Event) {
	f := &s.event
	if !f.read(ev.Data) {
		s.foreign(ev)
		return
	}
	s.edits.Reset()
	kind := f.kind.Of(ev.Data)
	short, ours := bytes.CutPrefix(kind, []byte("response."))
	if !s.renumbers && f.seqValue >= 0 {
		s.nextNumber = f.seqValue // the provider's, whatever it began with
	}
	switch {
	case string(kind) == "error", len(kind) == 0 && f.err.Found() && ev.Data[f.err.Start] == '{':
		s.erring(ev, f)
		return
	case string(kind) == "keepalive":
		s.relay.Alive()
		s.pass(ev, f)
		return
	case !ours:
		s.relay.Release()
		s.pass(ev, f)
		return
	}
	switch string(short) {
	case "created", "queued", "in_progress":
		s.lifecycle(ev, f)
		return
	case "failed":
		if s.relay.Holding() {
			s.failing(ev.Data, f)
		}
	}
	if s.turn.failure == nil {
		s.relay.Release()
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
	switch {
	case ev.Truncated && s.number > 1:
		return
	case s.turn.failure == nil:
		s.relay.Release()
	}
	s.relay.Put(ev)
}

// lifecycle takes an event that tells the response's settings. The client gets those of the first turn.
func (s *session) lifecycle(ev *sse.Event, f *eventFields) {
	if id := rawjson.Text(ev.Data, f.response, "id"); id != "" {
		s.upstreamID = id
	}
	if s.number > 1 {
		return
	}
	s.settings(&s.edits, ev.Data, f.response)
	s.pass(ev, f)
	if s.relay.HoldsWhole() {
		s.relay.Mark()
		s.marked = s.nextNumber
	}
}

// itemAdded takes an item that begins.
func (s *session) itemAdded(ev *sse.Event, f *eventFields) {
	if !f.item.Found() || f.indexValue < 0 || f.indexValue >= maxItems {
		s.pass(ev, f)
		return
	}
	i := s.item(f.indexValue)
	s.identify(i, f.item.Of(ev.Data))
	if i.arguments != nil && i.raw == nil { // more of them may follow
		i.deltas.Add(i.arguments[1 : len(i.arguments)-1])
		i.arguments = nil
	}
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
		s.edits.Replace(v, rawjson.AppendString(nil, i.shown))
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
	i := (*outputItem)(nil)
	if f.indexValue >= 0 && f.indexValue < len(s.turn.items) {
		i = s.turn.items[f.indexValue]
	}
	if i == nil || !i.own {
		s.pass(ev, f)
		return
	}
	of, isArguments := bytes.CutPrefix(short, []byte("function_call_arguments."))
	if !isArguments {
		return
	}
	switch string(of) {
	case "delta":
		i.argue(ev.Data, f.object)
	case "done":
		if v, ok := rawjson.Lookup(ev.Data, f.object, "arguments"); ok {
			i.argued(v.Of(ev.Data))
		}
	}
	if !i.begun || s.hides(i) {
		return
	}
	kind := "response.mcp_call_arguments." + string(of)
	e := &s.edits
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
		e.ReplaceInt(f.seq, s.nextNumber)
		s.nextNumber++
	}
	s.relay.Event(kind, e.Apply(nil, ev.Data))
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
	switch {
	case s.turn.terminal != nil:
	case s.spent:
		s.conclude(ev.Data, kind)
	default:
		s.merge(&s.edits, ev.Data, f.response)
		s.pass(ev, f)
	}
}

// erring takes an error event. Before the turn has shown anything the turn has failed; later, the response ends with it.
func (s *session) erring(ev *sse.Event, f *eventFields) {
	switch {
	case s.relay.Holding():
		s.failing(ev.Data, f)
	default:
		s.endUnrun(&brokeOff)
	}
	s.turn.errored = true
	s.pass(ev, f)
}

// brokeOff is what calls that were begun come to when the turn fails.
var brokeOff = turn.ToolError{Message: "the response failed before the tool was called"}
