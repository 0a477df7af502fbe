package dialect

import "slices"

// Whole takes a turn's answer that is not a stream: the response object, or an error.
func (s *responses) Whole(body []byte) Turn {
	s.plain = true
	t := &s.turn
	at := whole(body)
	if !isObject(body) || !validJSON(body) {
		s.body, t.over = slices.Clone(body), true
		return s.result()
	}
	if failure, ok := lookup(body, at, "error"); ok && body[failure.start] == '{' && !hasOutput(body, at) {
		t.failure = openAIFailure(body, failure)
	}
	kind := text(body, at, "status")
	if kind == "" {
		kind = "completed"
	}
	if s.body = nil; t.failure == nil || hasID(body, at) {
		s.hold(body, at, kind, true)
	}
	s.endUnrun(nil)
	if t.terminal != nil {
		return s.result()
	}
	var e edits
	if t.failure == nil || hasID(body, at) {
		s.merge(&e, body, at)
	}
	s.body = e.apply(nil, body)
	if t.failure != nil {
		s.held, s.body = s.body, nil
	}
	return s.result()
}

// hasOutput reports whether a response shows anything.
func hasOutput(b []byte, at span) bool {
	list, _ := lookup(b, at, "output")
	items := 0
	for range elements(b, list) {
		items++
	}
	return items > 0
}

// hasID tells a response object, which a response that failed is too, from a mere error.
func hasID(b []byte, at span) bool { return text(b, at, "id") != "" }
