package messages

import (
	"bytes"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// eventFields is where the members of a stream's event stand that decide what becomes of it. A member that is absent is not found.
type eventFields struct {
	kind  []byte // its type
	index rawjson.Span
	at    int // the index's value; -1 if there is none
	block rawjson.Span
	delta rawjson.Span
	// value is what a delta of one of the common kinds brings, a JSON string; it has no other members then.
	value     rawjson.Span
	valueKind deltaKind

	message, usage, err rawjson.Span
}

// read finds them, and reports whether the data is one JSON object. Of members that stand twice the last counts, as in clients.
func (f *eventFields) read(b []byte) bool {
	if f.readDelta(b) {
		return true
	}
	*f = eventFields{at: -1}
	if !rawjson.IsObject(b) || !rawjson.Valid(b) {
		return false
	}
	for m := range rawjson.Members(b, rawjson.Whole(b)) {
		switch string(m.Name) {
		case "type":
			f.kind = nil
			if v := m.Val.Of(b); v[0] == '"' {
				f.kind = v[1 : len(v)-1]
			}
		case "index":
			f.index, f.at = rawjson.SmallInt(b, m.Val)
		case "content_block":
			f.block = m.Val
		case "delta":
			f.delta = m.Val
		case "message":
			f.message = m.Val
		case "usage":
			f.usage = m.Val
		case "error":
			f.err = m.Val
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
func (f *eventFields) readDelta(b []byte) bool {
	rest, ok := bytes.CutPrefix(b, deltaHead)
	if !ok {
		return false
	}
	digits := 0
	for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' {
		digits++
	}
	start := len(deltaHead)
	f.index = rawjson.Span{Start: start, End: start + digits}
	if digits == 0 || digits > 9 || digits > 1 && rest[0] == '0' {
		return false
	}
	f.index, f.at = rawjson.SmallInt(b, f.index)
	rest = rest[digits:]
	for kind, form := range deltaForms {
		if !bytes.HasPrefix(rest, form) {
			continue
		}
		at := len(b) - len(rest) + len(form) - 1
		end := rawjson.SkipString(b, at)
		if end < 0 || end >= len(b) || b[end] != '}' {
			return false
		}
		i := rawjson.SkipSpace(b, end+1)
		if i >= len(b) || b[i] != '}' || rawjson.SkipSpace(b, i+1) != len(b) {
			return false
		}
		f.kind, f.value, f.valueKind = deltaType, rawjson.Span{Start: at, End: end}, deltaKind(kind)
		f.block, f.delta, f.message, f.usage, f.err = rawjson.Span{}, rawjson.Span{}, rawjson.Span{}, rawjson.Span{}, rawjson.Span{}
		return true
	}
	return false
}
