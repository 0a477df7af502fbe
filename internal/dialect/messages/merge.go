package messages

import (
	"bytes"
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// fillNumbers returns the usage last with the numbers that first has and last has not: message_delta overwrites what message_start
// said, and leaves out what stays as it was. Either may be empty.
func fillNumbers(last, first []byte) []byte { return rawjson.FillNumbers(first, last) }

// used is the usage of the turn that ends.
func (s *session) used() []byte { return fillNumbers(s.turn.end, s.turn.begin) }

// counted is the usage of a response of several turns; nil if none was told. Clients take it for the size of the context, so it is the last
// turn's unless all of them are to be added up. All of them stand in iterations ("Usage", of beta messages, in Anthropic's API reference).
func (s *session) counted() []byte {
	last := s.used()
	if s.opts.Counting.Sums(false) || last == nil {
		last = rawjson.AddNumbers(s.usage, last)
	}
	if !rawjson.IsObject(last) {
		return nil
	}
	var e rawjson.Edits
	all := append(slices.Clone(s.iterations), s.iteration()...)
	e.Set(last, rawjson.Whole(last), "iterations", slices.Concat([]byte{'['}, bytes.TrimSuffix(all, rawjson.Comma), []byte{']'}))
	return e.Apply(nil, last)
}

// maxUsage bounds the usage of a turn that goes into iterations, in bytes.
const maxUsage = 16 << 10

// iteration is the usage of the turn that ends as elements of iterations, each with a comma behind it: its own, where it had some.
func (s *session) iteration() []byte {
	u := s.used()
	if !rawjson.IsObject(u) || len(u) > maxUsage {
		return nil
	}
	if own, ok := rawjson.Lookup(u, rawjson.Whole(u), "iterations"); ok && u[own.Start] == '[' {
		if inside := bytes.TrimSpace(u[own.Start+1 : own.End-1]); len(inside) > 0 {
			return append(slices.Clone(inside), ',')
		}
		return nil
	}
	b := []byte(`{"type":"message"`)
	for _, name := range [...]string{"input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"} {
		if v, ok := rawjson.Lookup(u, rawjson.Whole(u), name); ok {
			b = append(append(append(b, `,"`...), name...), `":`...)
			b = append(b, v.Of(u)...)
		}
	}
	return append(b, "},"...)
}

// finalDelta is the data of the last turn's message_delta as that of all turns.
func (s *session) finalDelta(data []byte) []byte {
	e := &s.edits
	e.Reset()
	if s.number > 1 {
		if u := s.counted(); u != nil {
			e.Set(data, rawjson.Whole(data), "usage", u)
		}
	}
	if delta, ok := rawjson.Lookup(data, rawjson.Whole(data), "delta"); ok && data[delta.Start] == '{' {
		s.end(e, data, delta)
	}
	return e.Apply(nil, data)
}

// end notes what the end of the last turn says that is not so of the response: b[at] has stop_reason and container.
func (s *session) end(e *rawjson.Edits, b []byte, at rawjson.Span) {
	switch {
	case s.spent:
		e.Set(b, at, "stop_reason", []byte(`"max_tokens"`))
	case s.turn.reason == "" && len(s.turn.calls) > 0: // the client's calls are what it stopped for
		e.Set(b, at, "stop_reason", []byte(`"tool_use"`))
	}
	if v, ok := rawjson.Lookup(b, at, "container"); s.container != nil && (!ok || rawjson.IsNull(v.Of(b))) {
		e.Set(b, at, "container", s.container)
	}
}

// contain takes the container that the end of a turn tells of.
func (s *session) contain(b []byte, at rawjson.Span) {
	if v, ok := rawjson.Lookup(b, at, "container"); ok && b[v.Start] == '{' {
		s.container = slices.Clone(v.Of(b))
	}
}

// Whole takes a turn's answer that is not a stream. Nothing of it is shown before the response is over, so an error is always a
// failure that may be tried again.
func (s *session) Whole(body []byte) turn.Turn {
	s.plain = true
	s.turn = currentTurn{}
	t := &s.turn
	t.final = slices.Clone(body)
	body = t.final
	s.body = body
	if !rawjson.IsObject(body) || !rawjson.Valid(body) {
		t.over, t.broken = true, true
		return s.result()
	}
	at := rawjson.Whole(body)
	if rawjson.Text(body, at, "type") == "error" {
		t.errored, t.failure = true, readFailure(body)
		return s.result()
	}
	t.model, t.reason = rawjson.Text(body, at, "model"), rawjson.Text(body, at, "stop_reason")
	if v, ok := rawjson.Lookup(body, at, "usage"); ok {
		t.end = v.Of(body)
	}
	content, ok := rawjson.Lookup(body, at, "content")
	if !ok || body[content.Start] != '[' {
		t.over, t.broken = true, true
		return s.result()
	}
	if rawjson.Count(body, content) < 0 || rawjson.Count(body, content) > maxBlocks {
		t.over, t.broken = true, true
		return s.result()
	}
	for v := range rawjson.Elements(body, content) {
		b := s.newBlock(len(t.blocks), v.Of(body))
		if b.whole = true; !b.own {
			s.see(b)
		}
	}
	t.over = true
	s.contain(body, at)
	s.decide()
	cameTo := s.result()
	if s.number == 1 {
		if v, ok := rawjson.Lookup(body, at, "id"); ok {
			s.id = v.Of(body)
		}
		if v, ok := rawjson.Lookup(body, at, "model"); ok {
			s.named = v.Of(body)
		}
	}
	s.withhold(cameTo)
	if len(cameTo.Calls) == 0 {
		s.close()
		s.conversation.remember(s)
		s.body = s.merged(body)
	}
	return cameTo
}

// maxBlocks bounds the blocks of an answer that is read. No model writes as many.
const maxBlocks = 4096

// merged is the last turn's answer as that of all turns.
func (s *session) merged(body []byte) []byte {
	at := rawjson.Whole(body)
	var e rawjson.Edits
	content, _ := rawjson.Lookup(body, at, "content")
	if s.number > 1 || len(s.turn.calls) > 0 || s.seam.mended {
		e.Set(body, at, "content", s.shown())
	} else {
		i := 0
		for v := range rawjson.Elements(body, content) {
			if s.turn.blocks[i].own {
				e.Drop(body, content, v)
			}
			i++
		}
	}
	if s.number > 1 {
		for _, m := range []struct {
			name  string
			value []byte
		}{{"id", s.id}, {"model", s.named}} {
			if m.value != nil {
				e.Set(body, at, m.name, m.value)
			}
		}
		if u := s.counted(); u != nil {
			e.Set(body, at, "usage", u)
		}
	}
	s.end(&e, body, at)
	return e.Apply(nil, body)
}

// shown is all that the client sees, an array.
func (s *session) shown() []byte {
	size := len(`[]`)
	for _, b := range s.seen {
		size += len(b.json()) + 1
	}
	list := append(make([]byte, 0, size), '[')
	for i, b := range s.seen {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, b.joined()...)
	}
	return append(list, ']')
}
