package dialect

import (
	"bytes"

	"github.com/keyturn/keyturn/sse"
)

// eventFields is where the members of a stream's event stand that decide what becomes of it ("Streaming events" in OpenAI's API
// reference). A member that is absent is not found.
type eventFields struct {
	object                   span
	kind, seq, index, itemID span // kind is without its quotes
	item, response, err      span
	indexValue, seqValue     int // -1 where there is none
}

// read finds them, and reports whether the data is one JSON object. It looks at every byte once: what is not well-formed is
// none of ours.
func (f *eventFields) read(b []byte) bool {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '{' {
		return false
	}
	*f = eventFields{indexValue: -1, seqValue: -1, object: span{start: i}}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		f.object.end = i + 1
		return skipSpace(b, i+1) == len(b)
	}
	if next := f.lead(b); next > 0 {
		i = next
	}
	for {
		key := span{start: i + 1}
		if i = skipString(b, i); i < 0 {
			return false
		}
		key.end = i - 1
		if i >= len(b) || b[i] != ':' {
			if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
				return false
			}
		}
		if i++; i < len(b) && b[i] <= ' ' {
			i = skipSpace(b, i)
		}
		val := span{start: i}
		for val.end = i; val.end < len(b) && '0' <= b[val.end] && b[val.end] <= '9'; {
			val.end++
		}
		switch { // the two most frequent kinds of values first
		case i < len(b) && b[i] == '"':
			val.end = skipString(b, i)
		case val.end == i || val.end == len(b) || b[i] == '0' && val.end > i+1 || b[val.end] != ',' && b[val.end] != '}':
			val.end = skipValue(b, i, 1)
		}
		if val.end < 0 {
			return false
		}
		f.note(b, key, val)
		if i = val.end; i >= len(b) || b[i] <= ' ' {
			if i = skipSpace(b, i); i >= len(b) {
				return false
			}
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case '}':
			f.object.end = i + 1
			return skipSpace(b, i+1) == len(b)
		default:
			return false
		}
	}
}

// lead reads the members that deltas begin with, in the order in which OpenAI writes them, and returns where the next one begins; 0
// when they are not these.
func (f *eventFields) lead(b []byte) int {
	const kind, seq, id, index = `{"type":"`, `,"sequence_number":`, `,"item_id":`, `,"output_index":`
	if len(b) < len(kind) || string(b[:len(kind)]) != kind {
		return 0
	}
	kindEnd := skipString(b, len(kind)-1)
	if kindEnd < 0 || len(b)-kindEnd < len(seq) || string(b[kindEnd:kindEnd+len(seq)]) != seq {
		return 0
	}
	seqAt := span{start: kindEnd + len(seq)}
	seqAt.end = skipNumber(b, seqAt.start)
	if seqAt.end < 0 || len(b)-seqAt.end < len(id) || string(b[seqAt.end:seqAt.end+len(id)]) != id {
		return 0
	}
	idAt := span{start: seqAt.end + len(id)}
	idAt.end = skipString(b, idAt.start)
	if idAt.end < 0 || len(b)-idAt.end < len(index) || string(b[idAt.end:idAt.end+len(index)]) != index {
		return 0
	}
	indexAt := span{start: idAt.end + len(index)}
	indexAt.end = skipNumber(b, indexAt.start)
	if indexAt.end < 0 || len(b)-indexAt.end < 2 || b[indexAt.end] != ',' || b[indexAt.end+1] != '"' {
		return 0
	}
	f.kind, f.itemID = span{len(kind), kindEnd - 1}, idAt
	f.seq, f.seqValue = number(b, seqAt)
	f.index, f.indexValue = number(b, indexAt)
	return indexAt.end + 1
}

// note keeps a member that counts.
func (f *eventFields) note(b []byte, key, val span) {
	switch string(key.of(b)) {
	case "type":
		if b[val.start] == '"' {
			f.kind = span{val.start + 1, val.end - 1}
		}
	case "sequence_number":
		f.seq, f.seqValue = number(b, val)
	case "output_index":
		f.index, f.indexValue = number(b, val)
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

// number is where a small whole number stands, and its value; nowhere and -1 for anything else.
func number(b []byte, at span) (span, int) {
	n := 0
	if at.end-at.start > 9 {
		return span{}, -1
	}
	for _, c := range at.of(b) {
		if c < '0' || c > '9' {
			return span{}, -1
		}
		n = n*10 + int(c-'0')
	}
	return at, n
}

// isDelta reports, by the first bytes alone, whether data is one of the events that a stream is full of and that say nothing
// about items or the response. It may miss some.
func isDelta(data []byte) bool {
	rest, ok := bytes.CutPrefix(data, []byte(`{"type":"response.`))
	return ok && (bytes.HasPrefix(rest, []byte(`output_text.delta"`)) || bytes.HasPrefix(rest, []byte(`reasoning_summary_text.delta"`)) ||
		bytes.HasPrefix(rest, []byte(`reasoning_text.delta"`)) || bytes.HasPrefix(rest, []byte(`function_call_arguments.delta"`)) ||
		bytes.HasPrefix(rest, []byte(`custom_tool_call_input.delta"`)))
}

// dataAt is where the data stands in the block's bytes, when it is the value of one field; -1 otherwise.
func dataAt(ev *sse.Event) int {
	for i := 0; i < len(ev.Raw); {
		if rest, ok := bytes.CutPrefix(ev.Raw[i:], []byte("data:")); ok {
			at := i + len("data:")
			if len(rest) > 0 && rest[0] == ' ' {
				at++
			}
			end := at + len(ev.Data)
			if len(ev.Data) > 0 && (end == len(ev.Raw) || end < len(ev.Raw) && (ev.Raw[end] == '\n' || ev.Raw[end] == '\r')) &&
				ev.Raw[at] == ev.Data[0] && ev.Raw[end-1] == ev.Data[len(ev.Data)-1] && bytes.IndexByte(ev.Data, '\n') < 0 {
				return at
			}
			return -1
		}
		n := bytes.IndexByte(ev.Raw[i:], '\n')
		if n < 0 {
			return -1 // lines that end in CR alone are written anew
		}
		i += n + 1
	}
	return -1
}

// style is how a provider writes its events, so that ours look the same.
type style struct {
	known bool
	bare  bool // without event fields
	crlf  bool
}

func (s *style) learn(ev *sse.Event) {
	if !s.known && ev.Dispatched {
		*s = style{known: true, bare: len(ev.Type) == 0, crlf: bytes.Contains(ev.Raw, []byte("\r\n"))}
	}
}

func (s *style) eol(dst []byte) []byte {
	if s.crlf {
		return append(dst, "\r\n"...)
	}
	return append(dst, '\n')
}

// event appends an event. Data may have LFs.
func (s *style) event(dst []byte, kind string, data []byte) []byte {
	if !s.bare {
		dst = s.eol(append(append(dst, "event: "...), kind...))
	}
	for more := true; more; {
		var line []byte
		line, data, more = bytes.Cut(data, []byte{'\n'})
		dst = s.eol(append(append(dst, "data: "...), line...))
	}
	return s.eol(dst)
}
