package responses

import (
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/openai"
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// Whole takes a turn's answer that is not a stream: the response object, or an error.
func (s *session) Whole(body []byte) turn.Turn {
	s.plain = true
	t := &s.turn
	at := rawjson.Whole(body)
	if !rawjson.IsObject(body) || !rawjson.Valid(body) {
		s.body, t.over = slices.Clone(body), true
		return s.result()
	}
	if failure, ok := rawjson.Lookup(body, at, "error"); ok && body[failure.Start] == '{' && !hasOutput(body, at) {
		t.failure = openai.ReadFailure(body, failure)
	}
	kind := rawjson.Text(body, at, "status")
	if kind == "" {
		kind = "completed"
	}
	if s.body = nil; t.failure == nil || hasID(body, at) {
		s.hold(body, at, kind, true)
	}
	s.endUnrun(nil)
	if t.terminal != nil {
		s.withhold()
		return s.result()
	}
	var e rawjson.Edits
	if t.failure == nil || hasID(body, at) {
		s.merge(&e, body, at)
	}
	s.body = e.Apply(nil, body)
	if t.failure != nil {
		s.held, s.body = s.body, nil
	}
	return s.result()
}

// hasOutput reports whether a response shows anything.
func hasOutput(b []byte, at rawjson.Span) bool {
	list, _ := rawjson.Lookup(b, at, "output")
	items := 0
	for range rawjson.Elements(b, list) {
		items++
	}
	return items > 0
}

// hasID tells a response object, which a response that failed is too, from a mere error.
func hasID(b []byte, at rawjson.Span) bool { return rawjson.Text(b, at, "id") != "" }
