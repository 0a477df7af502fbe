package dialect

import "bytes"

// messagesEvent is where the members of a stream's event stand that decide what becomes of it. A member that is absent is not found.
type messagesEvent struct {
	kind  []byte // its type
	index span
	at    int // the index's value; -1 if there is none
	block span
	delta span
	// value is what a delta of one of the common kinds brings, a JSON string; it has no other members then.
	value     span
	valueKind deltaKind

	message, usage, err span
}

// read finds them, and reports whether the data is one JSON object. Of members that stand twice the last counts, as in clients.
func (f *messagesEvent) read(b []byte) bool {
	if f.readDelta(b) {
		return true
	}
	*f = messagesEvent{at: -1}
	if !isObject(b) || !validJSON(b) {
		return false
	}
	for m := range members(b, whole(b)) {
		switch string(m.name) {
		case "type":
			f.kind = nil
			if v := m.val.of(b); v[0] == '"' {
				f.kind = v[1 : len(v)-1]
			}
		case "index":
			f.index, f.at = number(b, m.val)
		case "content_block":
			f.block = m.val
		case "delta":
			f.delta = m.val
		case "message":
			f.message = m.val
		case "usage":
			f.usage = m.val
		case "error":
			f.err = m.val
		}
	}
	return true
}

var (
	deltaHead  = []byte(`{"type":"content_block_delta","index":`)
	deltaType  = []byte("content_block_delta")
	deltaForms = [deltaKinds][]byte{
		textDelta:      []byte(`,"delta":{"type":"text_delta","text":"`),
		thinkingDelta:  []byte(`,"delta":{"type":"thinking_delta","thinking":"`),
		signatureDelta: []byte(`,"delta":{"type":"signature_delta","signature":"`),
		inputDelta:     []byte(`,"delta":{"type":"input_json_delta","partial_json":"`),
	}
)

// readDelta reads the events that a stream is full of, in the very form in which the API writes them. It returns false for all
// others, well-formed or not.
func (f *messagesEvent) readDelta(b []byte) bool {
	rest, ok := bytes.CutPrefix(b, deltaHead)
	if !ok {
		return false
	}
	digits := 0
	for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' {
		digits++
	}
	start := len(deltaHead)
	f.index = span{start, start + digits}
	if digits == 0 || digits > 9 || digits > 1 && rest[0] == '0' {
		return false
	}
	f.index, f.at = number(b, f.index)
	rest = rest[digits:]
	for kind, form := range deltaForms {
		if !bytes.HasPrefix(rest, form) {
			continue
		}
		at := len(b) - len(rest) + len(form) - 1
		end := skipString(b, at)
		if end < 0 || end >= len(b) || b[end] != '}' {
			return false
		}
		i := skipSpace(b, end+1)
		if i >= len(b) || b[i] != '}' || skipSpace(b, i+1) != len(b) {
			return false
		}
		f.kind, f.value, f.valueKind = deltaType, span{at, end}, deltaKind(kind)
		f.block, f.delta, f.message, f.usage, f.err = span{}, span{}, span{}, span{}, span{}
		return true
	}
	return false
}
