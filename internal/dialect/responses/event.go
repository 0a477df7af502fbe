package responses

import (
	"bytes"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// eventFields is where the members of a stream's event stand that decide what becomes of it ("Streaming events" in OpenAI's API
// reference). A member that is absent is not found.
type eventFields struct {
	object                   rawjson.Span
	kind, seq, index, itemID rawjson.Span // kind is without its quotes
	item, response, err      rawjson.Span
	indexValue, seqValue     int // -1 where there is none
}

// read finds them, and reports whether the data is one JSON object. It looks at every byte once: what is not well-formed
// passes as it is.
func (f *eventFields) read(b []byte) bool {
	i := rawjson.SkipSpace(b, 0)
	if i >= len(b) || b[i] != '{' {
		return false
	}
	*f = eventFields{indexValue: -1, seqValue: -1, object: rawjson.Span{Start: i}}
	i = rawjson.SkipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		f.object.End = i + 1
		return rawjson.SkipSpace(b, i+1) == len(b)
	}
	if next := f.lead(b); next > 0 {
		i = next
	}
	for {
		key, val := eventMember(b, i)
		if val.End < 0 {
			return false
		}
		f.note(b, key, val)
		if i = val.End; i >= len(b) || b[i] <= ' ' {
			if i = rawjson.SkipSpace(b, i); i >= len(b) {
				return false
			}
		}
		switch b[i] {
		case ',':
			i = rawjson.SkipSpace(b, i+1)
		case '}':
			f.object.End = i + 1
			return rawjson.SkipSpace(b, i+1) == len(b)
		default:
			return false
		}
	}
}

// eventMember is where the name, within its quotes, and the value of the member stand that begins at b[i]. The value ends at -1 when
// there is none.
func eventMember(b []byte, i int) (key, val rawjson.Span) {
	key.Start = i + 1
	if i = rawjson.SkipString(b, i); i < 0 {
		return key, rawjson.Span{End: -1}
	}
	key.End = i - 1
	if i >= len(b) || b[i] != ':' {
		if i = rawjson.SkipSpace(b, i); i >= len(b) || b[i] != ':' {
			return key, rawjson.Span{End: -1}
		}
	}
	if i++; i < len(b) && b[i] <= ' ' {
		i = rawjson.SkipSpace(b, i)
	}
	val.Start, val.End = i, i
	for val.End < len(b) && '0' <= b[val.End] && b[val.End] <= '9' {
		val.End++
	}
	switch { // the two most frequent kinds of values first
	case i < len(b) && b[i] == '"':
		val.End = rawjson.SkipString(b, i)
	case val.End == i || val.End == len(b) || b[i] == '0' && val.End > i+1 || b[val.End] != ',' && b[val.End] != '}':
		val.End = rawjson.SkipValue(b, i, 1)
	}
	return key, val
}

// lead reads the members that deltas begin with, in the order in which OpenAI writes them, and returns where the next one begins; 0
// when they are not these.
func (f *eventFields) lead(b []byte) int {
	const kind, seq, id, index = `{"type":"`, `,"sequence_number":`, `,"item_id":`, `,"output_index":`
	if len(b) < len(kind) || string(b[:len(kind)]) != kind {
		return 0
	}
	kindEnd := rawjson.SkipString(b, len(kind)-1)
	if kindEnd < 0 || len(b)-kindEnd < len(seq) || string(b[kindEnd:kindEnd+len(seq)]) != seq {
		return 0
	}
	seqAt := rawjson.Span{Start: kindEnd + len(seq)}
	seqAt.End = rawjson.SkipNumber(b, seqAt.Start)
	if seqAt.End < 0 || len(b)-seqAt.End < len(id) || string(b[seqAt.End:seqAt.End+len(id)]) != id {
		return 0
	}
	idAt := rawjson.Span{Start: seqAt.End + len(id)}
	idAt.End = rawjson.SkipString(b, idAt.Start)
	if idAt.End < 0 || len(b)-idAt.End < len(index) || string(b[idAt.End:idAt.End+len(index)]) != index {
		return 0
	}
	indexAt := rawjson.Span{Start: idAt.End + len(index)}
	indexAt.End = rawjson.SkipNumber(b, indexAt.Start)
	if indexAt.End < 0 || len(b)-indexAt.End < 2 || b[indexAt.End] != ',' || b[indexAt.End+1] != '"' {
		return 0
	}
	f.kind, f.itemID = rawjson.Span{Start: len(kind), End: kindEnd - 1}, idAt
	f.seq, f.seqValue = rawjson.SmallInt(b, seqAt)
	f.index, f.indexValue = rawjson.SmallInt(b, indexAt)
	return indexAt.End + 1
}

// note keeps a member that counts.
func (f *eventFields) note(b []byte, key, val rawjson.Span) {
	switch string(key.Of(b)) {
	case "type":
		if b[val.Start] == '"' {
			f.kind = rawjson.Span{Start: val.Start + 1, End: val.End - 1}
		}
	case "sequence_number":
		f.seq, f.seqValue = rawjson.SmallInt(b, val)
	case "output_index":
		f.index, f.indexValue = rawjson.SmallInt(b, val)
	case "item_id":
		f.itemID = val
	case "item":
		f.item = val
	case "response":
		f.response = val
	case "error":
		f.err = val
	}
}

// isDelta reports, by the first bytes alone, whether data is one of the events that a stream is full of and that say nothing
// about items or the response. It may miss some.
func isDelta(data []byte) bool {
	rest, ok := bytes.CutPrefix(data, []byte(`{"type":"response.`))
	return ok && (bytes.HasPrefix(rest, []byte(`output_text.delta"`)) || bytes.HasPrefix(rest, []byte(`reasoning_summary_text.delta"`)) ||
		bytes.HasPrefix(rest, []byte(`reasoning_text.delta"`)) || bytes.HasPrefix(rest, []byte(`function_call_arguments.delta"`)) ||
		bytes.HasPrefix(rest, []byte(`custom_tool_call_input.delta"`)))
}
