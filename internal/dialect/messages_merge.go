package dialect

import "slices"

// fillNumbers returns the usage last with the numbers that first has and last has not: message_delta overwrites what message_start
// said, and leaves out what stays as it was. Either may be empty.
func fillNumbers(last, first []byte) []byte {
	if !isObject(last) {
		return first
	}
	var e edits
	for m := range members(first, whole(first)) {
		v, ok := lookup(last, whole(last), string(m.name))
		if ok && !isNull(v.of(last)) {
			continue
		}
		if _, isInt := integer(m.val.of(first)); isInt || isObject(m.val.of(first)) {
			e.set(last, whole(last), string(m.name), m.val.of(first))
		}
	}
	if e.none() {
		return last
	}
	return e.apply(nil, last)
}

// finalDelta is the data of the last turn's message_delta as that of all turns: its usage counts all of them, since clients take
// it for the message's own.
func (s *messages) finalDelta(data []byte) []byte {
	e := &s.stream.edits
	e.reset()
	if s.usage != nil {
		e.set(data, whole(data), "usage", addNumbers(s.usage, fillNumbers(s.turn.end, s.turn.begin)))
	}
	if delta, ok := lookup(data, whole(data), "delta"); ok && data[delta.start] == '{' {
		s.end(e, data, delta)
	}
	return e.apply(nil, data)
}

// end notes what the end of the last turn says that is not so of the response: b[at] has stop_reason and container.
func (s *messages) end(e *edits, b []byte, at span) {
	switch {
	case s.spent:
		e.set(b, at, "stop_reason", []byte(`"max_tokens"`))
	case s.turn.reason == "" && len(s.turn.calls) > 0: // the client's calls are what it stopped for
		e.set(b, at, "stop_reason", []byte(`"tool_use"`))
	}
	if v, ok := lookup(b, at, "container"); s.container != nil && (!ok || isNull(v.of(b))) {
		e.set(b, at, "container", s.container)
	}
}

// contain takes the container that the end of a turn tells of.
func (s *messages) contain(b []byte, at span) {
	if v, ok := lookup(b, at, "container"); ok && b[v.start] == '{' {
		s.container = slices.Clone(v.of(b))
	}
}

// Whole takes a turn's answer that is not a stream. Nothing of it is shown before the response is over, so an error is always a
// failure that may be tried again.
func (s *messages) Whole(body []byte) Turn {
	s.plain = true
	s.turn = messagesTurn{}
	t := &s.turn
	t.final = slices.Clone(body)
	body = t.final
	s.body = body
	if !isObject(body) || !validJSON(body) {
		t.over, t.broken = true, true
		return s.result()
	}
	at := whole(body)
	if text(body, at, "type") == "error" {
		t.errored, t.failure = true, messagesFailure(body)
		return s.result()
	}
	t.model, t.reason = text(body, at, "model"), text(body, at, "stop_reason")
	if v, ok := lookup(body, at, "usage"); ok {
		t.end = v.of(body)
	}
	content, ok := lookup(body, at, "content")
	if !ok || body[content.start] != '[' {
		t.over, t.broken = true, true
		return s.result()
	}
	for v := range elements(body, content) {
		if b := s.newBlock(len(t.blocks), v.of(body)); !b.own {
			s.see(b)
		}
	}
	t.over = true
	s.contain(body, at)
	s.decide()
	turn := s.result()
	if s.number == 1 {
		if v, ok := lookup(body, at, "id"); ok {
			s.id = v.of(body)
		}
		if v, ok := lookup(body, at, "model"); ok {
			s.named = v.of(body)
		}
	}
	if len(turn.Calls) == 0 {
		s.close()
		s.talk.remember(s)
		s.body = s.merged(body)
	}
	return turn
}

// merged is the last turn's answer as that of all turns.
func (s *messages) merged(body []byte) []byte {
	at := whole(body)
	var e edits
	content, _ := lookup(body, at, "content")
	if s.number > 1 || len(s.turn.calls) > 0 {
		e.set(body, at, "content", slices.Concat([]byte{'['}, s.shown(), []byte{']'}))
	} else {
		for i, v := range slices.Collect(elements(body, content)) {
			if s.turn.blocks[i].own {
				e.drop(body, content, v)
			}
		}
	}
	if s.number > 1 {
		for _, m := range []struct {
			name  string
			value []byte
		}{{"id", s.id}, {"model", s.named}} {
			if m.value != nil {
				e.set(body, at, m.name, m.value)
			}
		}
		if s.usage != nil {
			e.set(body, at, "usage", addNumbers(s.usage, s.turn.end))
		}
	}
	s.end(&e, body, at)
	return e.apply(nil, body)
}

// see gives a block its place in what the client sees.
func (s *messages) see(b *messagesBlock) {
	b.shown = len(s.seen)
	s.seen = append(s.seen, b)
}

// shown is all that the client sees, joined by commas.
func (s *messages) shown() []byte {
	var list []byte
	for _, b := range s.seen {
		list = append(join(list), b.json()...)
	}
	return list
}
