package scripted

import (
	"bytes"
	"encoding/json"
	"slices"
)

// maxFieldBytes is the longest value that fields keeps. What is longer (a big tools array, a long instructions string) is not
// echoed in the answer.
const maxFieldBytes = 256 << 10

// fields picks some top-level members out of a JSON object while the object passes, so that a body of any size is answered
// without being held. It expects valid JSON and promises nothing for anything else but to stay within its bounds.
type fields struct {
	wanted []string
	values map[string][]byte // the raw values, trimmed

	depth   int
	object  bool // the outermost value is an object
	atName  bool // at depth 1, the next string is a member's name
	quoted  bool // inside a string
	naming  bool // that string is a member's name
	escaped bool // after a backslash in a string
	name    []byte
	keeping bool
	value   []byte
}

// Write reads the next part of the object. It never fails.
func (f *fields) Write(p []byte) (int, error) {
	from := 0 // where in p the value that is being kept goes on
	for i := 0; i < len(p); i++ {
		if f.quoted {
			i = f.skipString(p, i)
			continue
		}
		switch c := p[i]; c {
		case '"':
			f.quoted = true
			if f.naming = f.depth == 1 && f.atName; f.naming {
				f.name = f.name[:0]
			}
		case '{', '[':
			if f.depth++; f.depth == 1 {
				f.object = c == '{'
				f.atName = f.object
			}
		case '}', ']':
			if f.depth == 1 {
				f.end(p[from:i])
			}
			f.depth--
		case ',':
			if f.depth == 1 {
				f.end(p[from:i])
				f.atName = f.object
			}
		case ':':
			if f.depth == 1 && f.atName {
				f.atName = false
				f.keeping = slices.Contains(f.wanted, string(f.name))
				from = i + 1
			}
		}
	}
	f.keep(p[min(from, len(p)):])
	return len(p), nil
}

// skipString goes on in a string from p[i] and returns the place of the quote that ends it, or len(p). Most of a body is one long
// string, so this is what costs; each byte is looked at once for a quote and once for a backslash.
func (f *fields) skipString(p []byte, i int) int {
	from, quote := i, -1
	for i < len(p) {
		if f.escaped {
			f.escaped = false
			i++
			continue
		}
		if quote < i {
			quote = index(p, i, len(p), '"')
		}
		if i = index(p, i, quote, '\\'); i == quote {
			f.quoted = quote == len(p)
			break
		}
		f.escaped = true
		i++
	}
	if f.naming && len(f.name) < 64 {
		f.name = append(f.name, p[from:min(i, from+64)]...)
	}
	return i
}

// index is the place of c in p from i up to end, or end.
func index(p []byte, i, end int, c byte) int {
	if n := bytes.IndexByte(p[i:end], c); n >= 0 {
		return i + n
	}
	return end
}

func (f *fields) keep(p []byte) {
	if f.keeping && len(f.value)+len(p) > maxFieldBytes {
		f.keeping, f.value = false, nil
	}
	if f.keeping {
		f.value = append(f.value, p...)
	}
}

func (f *fields) end(p []byte) {
	f.keep(p)
	if f.keeping {
		if f.values == nil {
			f.values = map[string][]byte{}
		}
		f.values[string(f.name)] = bytes.TrimSpace(f.value)
		f.keeping, f.value = false, nil
	}
}

// decode reads the member into v, if it was there and fits.
func (f *fields) decode(name string, v any) bool {
	raw, ok := f.values[name]
	return ok && json.Unmarshal(raw, v) == nil
}

// echo is the member as the client sent it, or otherwise if it sent none.
func (f *fields) echo(name, otherwise string) json.RawMessage {
	raw, ok := f.values[name]
	if !ok || string(raw) == "null" || !json.Valid(raw) {
		return json.RawMessage(otherwise)
	}
	return raw
}

// shown are the members that an answer depends on, or that the Responses API repeats in its answer.
var shown = []string{
	"model", "stream", "stream_options", "n",
	"background", "conversation", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "previous_response_id",
	"prompt_cache_key", "reasoning", "safety_identifier", "store", "temperature", "text", "tool_choice", "tools", "top_logprobs",
	"top_p", "truncation", "user",
}
