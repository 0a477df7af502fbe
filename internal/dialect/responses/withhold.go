package responses

import "slices"

// withhold leaves out the messages of a turn that another follows, where the client is to get what the last one says alone. The rest of
// the turn has been held back with them, and is told again.
func (s *session) withhold() {
	t := &s.turn
	if s.alone && !s.plain && t.failure == nil && !s.relay.HoldsWhole() { // the client has them
		s.alone = false
	}
	isMessage := func(i *outputItem) bool { return i != nil && i.kind == "message" }
	if !s.alone || t.terminal == nil || s.mixed || !slices.ContainsFunc(t.items, isMessage) {
		return
	}
	s.items, s.nextIndex = s.items[:s.start.items], s.start.nextIndex
	if !s.plain {
		s.relay.Drop()
		s.nextNumber, s.renumbers = s.marked, true
	}
	for _, i := range t.items {
		if i == nil {
			continue
		}
		i.index, i.begun = -1, false
		switch {
		case i.raw == nil, i.own && (!i.runs || s.opts.Hidden), isMessage(i):
			i.final = nil
		case s.plain:
			s.see(i, s.nextIndex)
		case i.own:
			s.begin(i)
		default:
			s.see(i, s.nextIndex)
			for _, of := range [...]string{"added", "done"} {
				s.emit("response.output_item."+of, append(append(place(i), `,"item":`...), i.final...))
			}
		}
	}
}
