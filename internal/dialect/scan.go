package dialect

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"iter"
	"math/bits"

	"github.com/go-json-experiment/json/jsontext"
)

// span is where a JSON value stands in the bytes it was read from: b[start:end].
type span struct{ start, end int }

func (s span) of(b []byte) []byte { return b[s.start:s.end] }
func (s span) found() bool        { return s.end > s.start }

// maxDepth bounds how deep values may be nested, as encoding/json does.
const maxDepth = 10_000

// skipSpace returns the index of the first byte from i on that is not white space (RFC 8259 section 2).
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// skipValue returns the index after the JSON value that begins at b[i], or -1 when there is none. It checks the whole grammar
// of RFC 8259 but for UTF-8 and surrogates within strings, which pass as they are.
func skipValue(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch c := b[i]; c {
	case '"':
		return skipString(b, i)
	case '{':
		return skipObject(b, i, depth)
	case '[':
		return skipArray(b, i, depth)
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	}
	return skipNumber(b, i)
}

func skipWord(b []byte, i int, word string) int {
	if len(b)-i >= len(word) && string(b[i:i+len(word)]) == word {
		return i + len(word)
	}
	return -1
}

// skipString begins at a quote and returns the index after the closing one. It looks at eight bytes at a time, since texts are most
// of what providers send.
func skipString(b []byte, i int) int {
	const (
		ones   = 0x0101010101010101
		highs  = 0x8080808080808080
		quotes = '"' * ones
		slants = '\\' * ones
	)
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	i++
	for {
		hits := uint64(0)
		for len(b)-i >= 8 {
			x := binary.LittleEndian.Uint64(b[i:])
			q, s := x^quotes, x^slants
			// The highest bit of a byte is set where x has a quote, a backslash or a control character: the usual tests for a zero
			// byte and for one below a space. They can err above the first hit only.
			if hits = ((q-ones)&^q | (s-ones)&^s | (x-' '*ones)&^x) & highs; hits != 0 {
				i += bits.TrailingZeros64(hits) >> 3
				break
			}
			i += 8
		}
		for hits == 0 && i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' ' {
			i++
		}
		switch {
		case i >= len(b):
			return -1
		case b[i] == '"':
			return i + 1
		case b[i] != '\\':
			return -1
		}
		if i = skipEscape(b, i); i < 0 {
			return -1
		}
	}
}

// skipEscape begins at a backslash and returns the index after its escape.
func skipEscape(b []byte, i int) int {
	if i+1 >= len(b) {
		return -1
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		if len(b)-i >= 6 && hex(b[i+2]) && hex(b[i+3]) && hex(b[i+4]) && hex(b[i+5]) {
			return i + 6
		}
	}
	return -1
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func skipNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	case i < len(b) && '1' <= b[i] && b[i] <= '9':
		i = skipDigits(b, i)
	default:
		return -1
	}
	if i < len(b) && b[i] == '.' {
		j := skipDigits(b, i+1)
		if j == i+1 {
			return -1
		}
		i = j
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		j := skipDigits(b, i)
		if j == i {
			return -1
		}
		i = j
	}
	return i
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	return i
}

func skipObject(b []byte, i, depth int) int {
	if depth >= maxDepth {
		return -1
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		if i = skipString(b, i); i < 0 {
			return -1
		}
		if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
			return -1
		}
		if i = skipValue(b, skipSpace(b, i+1), depth+1); i < 0 {
			return -1
		}
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case '}':
			return i + 1
		case ',':
			i = skipSpace(b, i+1)
		default:
			return -1
		}
	}
}

func skipArray(b []byte, i, depth int) int {
	if depth >= maxDepth {
		return -1
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		if i = skipValue(b, i, depth+1); i < 0 {
			return -1
		}
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case ']':
			return i + 1
		case ',':
			i = skipSpace(b, i+1)
		default:
			return -1
		}
	}
}

// validJSON reports whether b is one JSON value and white space.
func validJSON(b []byte) bool {
	i := skipValue(b, skipSpace(b, 0), 0)
	return i >= 0 && skipSpace(b, i) == len(b)
}

// walk reads b, an object and white space, and calls note with where each member's name (within its quotes) and value stand. It
// returns false if b is anything else; what note was told before then means nothing. Names may have escapes.
func walk(b []byte, note func(name, val span)) bool {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '{' {
		return false
	}
	if i = skipSpace(b, i+1); i < len(b) && b[i] == '}' {
		return skipSpace(b, i+1) == len(b)
	}
	for {
		name := span{start: i + 1}
		if i = skipString(b, i); i < 0 {
			return false
		}
		name.end = i - 1
		if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
			return false
		}
		val := span{start: skipSpace(b, i+1)}
		if val.end = skipValue(b, val.start, 1); val.end < 0 {
			return false
		}
		note(name, val)
		if i = skipSpace(b, val.end); i >= len(b) {
			return false
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case '}':
			return skipSpace(b, i+1) == len(b)
		default:
			return false
		}
	}
}

// member is one member of an object: its name as it is meant, and where its name (with quotes) and its value stand.
type member struct {
	name []byte
	key  span
	val  span
}

// members yields the members of the object that begins at b[at.start], in order. b[at] must be valid JSON (see validJSON);
// for anything but an object there are none. Names alias b unless they have escapes.
func members(b []byte, at span) iter.Seq[member] {
	return func(yield func(member) bool) {
		i := skipSpace(b, at.start)
		if i >= at.end || b[i] != '{' {
			return
		}
		for i = skipSpace(b, i+1); i < at.end && b[i] == '"'; {
			m := member{key: span{i, skipString(b, i)}}
			if m.key.end < 0 {
				return
			}
			if m.name = b[m.key.start+1 : m.key.end-1]; bytes.IndexByte(m.name, '\\') >= 0 {
				m.name = []byte(unquote(m.key.of(b)))
			}
			m.val.start = skipSpace(b, skipSpace(b, m.key.end)+1)
			if m.val.end = skipValue(b, m.val.start, 0); m.val.end < 0 {
				return
			}
			if !yield(m) {
				return
			}
			i = skipSpace(b, m.val.end)
			if i < at.end && b[i] == ',' {
				i = skipSpace(b, i+1)
			}
		}
	}
}

// elements yields where the elements of the array that begins at b[at.start] stand. b[at] must be valid JSON; for anything but
// an array there are none.
func elements(b []byte, at span) iter.Seq[span] {
	return func(yield func(span) bool) {
		i := skipSpace(b, at.start)
		if i >= at.end || b[i] != '[' {
			return
		}
		for i = skipSpace(b, i+1); i < at.end && b[i] != ']'; {
			end := skipValue(b, i, 0)
			if end < 0 || !yield(span{i, end}) {
				return
			}
			i = skipSpace(b, end)
			if i < at.end && b[i] == ',' {
				i = skipSpace(b, i+1)
			}
		}
	}
}

// whole is the span of all of b.
func whole(b []byte) span { return span{0, len(b)} }

// lookup follows names from the object at b[at] and returns where the value stands. Of a name that stands twice the last counts,
// as with encoding/json.
func lookup(b []byte, at span, path ...string) (span, bool) {
	for _, name := range path {
		found := false
		for m := range members(b, at) {
			if string(m.name) == name {
				at, found = m.val, true
				// Not left early: a later member of the same name counts.
			}
		}
		if !found {
			return span{}, false
		}
	}
	return at, true
}

// find looks for members of the object at b[at] by their names, all in one go, and returns where their values stand; of a name that
// is not there, a span that is not found.
func find(b []byte, at span, names ...string) []span {
	found := make([]span, len(names))
	for m := range members(b, at) {
		for i, name := range names {
			if string(m.name) == name {
				found[i] = m.val
			}
		}
	}
	return found
}

// text is the string at the end of the path, "" when there is none.
func text(b []byte, at span, path ...string) string {
	v, ok := lookup(b, at, path...)
	if !ok {
		return ""
	}
	return unquote(v.of(b))
}

// unquote is the meaning of a JSON string; "" for anything else.
func unquote(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// isNull reports whether a value is null.
func isNull(raw []byte) bool { return string(raw) == "null" }

// appendString appends s as a JSON string. Bytes that are no UTF-8 become U+FFFD.
func appendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // its error only says that it has replaced bytes
	return dst
}
