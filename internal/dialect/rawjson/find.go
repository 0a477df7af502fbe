package rawjson

import (
	"bytes"
	"iter"
	"unicode/utf8"
)

// ReadFields finds the members of a request that matter, each of them where named says; named returns nil for the others. It returns
// false for anything but one JSON object in UTF-8 in which each of them stands once: parsers do not agree which of two counts, so
// such a request is to pass as it is. A member that is null is as if it were not there.
func ReadFields(b []byte, named func(name string) *Span) bool {
	seen := map[*Span]bool{}
	twice := false
	ok := walk(b, func(name, val Span) {
		at := named(Word(b[name.Start-1 : name.End+1]))
		if at == nil {
			return
		}
		twice = twice || seen[at]
		seen[at] = true
		if !IsNull(val.Of(b)) {
			*at = val
		}
	})
	return ok && !twice && utf8.Valid(b)
}

// Once reports whether none of the names stands twice in an object.
func Once(b []byte, at Span, names ...string) bool {
	seen := 0
	for m := range Members(b, at) {
		for i, name := range names {
			if string(m.Name) != name {
				continue
			}
			if seen&(1<<i) != 0 {
				return false
			}
			seen |= 1 << i
		}
	}
	return true
}

// walk reads b, an object and white space, and calls note with where each member's name (within its quotes) and value stand. It
// returns false if b is anything else; what note was told before then means nothing. Names may have escapes.
func walk(b []byte, note func(name, val Span)) bool {
	looked(len(b))
	i := SkipSpace(b, 0)
	if i >= len(b) || b[i] != '{' {
		return false
	}
	if i = SkipSpace(b, i+1); i < len(b) && b[i] == '}' {
		return SkipSpace(b, i+1) == len(b)
	}
	for {
		name := Span{Start: i + 1}
		if i = SkipString(b, i); i < 0 {
			return false
		}
		name.End = i - 1
		if i = SkipSpace(b, i); i >= len(b) || b[i] != ':' {
			return false
		}
		val := Span{Start: SkipSpace(b, i+1)}
		if val.End = SkipValue(b, val.Start, 1); val.End < 0 {
			return false
		}
		note(name, val)
		if i = SkipSpace(b, val.End); i >= len(b) {
			return false
		}
		switch b[i] {
		case ',':
			i = SkipSpace(b, i+1)
		case '}':
			return SkipSpace(b, i+1) == len(b)
		default:
			return false
		}
	}
}

// Member is one member of an object: its name as it is meant, and where its name (with quotes) and its value stand.
type Member struct {
	Name []byte
	Key  Span
	Val  Span
}

// Members yields the members of the object that begins at b[at.Start], in order. b[at] must be valid JSON (see Valid);
// for anything but an object there are none. Names alias b unless they have escapes.
func Members(b []byte, at Span) iter.Seq[Member] {
	return func(yield func(Member) bool) {
		i := SkipSpace(b, at.Start)
		if i >= at.End || b[i] != '{' {
			return
		}
		for i = SkipSpace(b, i+1); i < at.End && b[i] == '"'; {
			m := Member{Key: Span{i, SkipString(b, i)}}
			if m.Key.End < 0 {
				return
			}
			if m.Name = b[m.Key.Start+1 : m.Key.End-1]; bytes.IndexByte(m.Name, '\\') >= 0 {
				m.Name = []byte(Unquote(m.Key.Of(b)))
			}
			m.Val.Start = SkipSpace(b, SkipSpace(b, m.Key.End)+1)
			if m.Val.End = SkipValue(b, m.Val.Start, 0); m.Val.End < 0 {
				return
			}
			looked(m.Val.End - m.Key.Start)
			if !yield(m) {
				return
			}
			i = SkipSpace(b, m.Val.End)
			if i < at.End && b[i] == ',' {
				i = SkipSpace(b, i+1)
			}
		}
	}
}

// Elements yields where the elements of the array that begins at b[at.Start] stand. b[at] must be valid JSON; for anything but
// an array there are none.
func Elements(b []byte, at Span) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		i := SkipSpace(b, at.Start)
		if i >= at.End || b[i] != '[' {
			return
		}
		for i = SkipSpace(b, i+1); i < at.End && b[i] != ']'; {
			end := SkipValue(b, i, 0)
			if looked(end - i); end < 0 || !yield(Span{i, end}) {
				return
			}
			i = SkipSpace(b, end)
			if i < at.End && b[i] == ',' {
				i = SkipSpace(b, i+1)
			}
		}
	}
}

// Count is how many elements the array at b[at] has, if they are no more than anybody has reason to send in so many bytes; -1
// otherwise. What is kept of each element so stays below what the bytes themselves cost.
func Count(b []byte, at Span) int {
	const (
		some  = 1024
		bytes = 48 // of an element, where there are many
	)
	n, most := 0, some+(at.End-at.Start)/bytes
	for range Elements(b, at) {
		if n++; n > most {
			return -1
		}
	}
	return n
}

// Lookup follows names from the object at b[at] and returns where the value stands. Of a name that stands twice the last counts,
// as with encoding/json.
func Lookup(b []byte, at Span, path ...string) (Span, bool) {
	for _, name := range path {
		found := false
		for m := range Members(b, at) {
			if string(m.Name) == name {
				at, found = m.Val, true
				// Not left early: a later member of the same name counts.
			}
		}
		if !found {
			return Span{}, false
		}
	}
	return at, true
}

// Values looks for members of the object at b[at] by their names, all in one go, and returns where their values stand; of a name that
// is not there, a span that is not found.
func Values(b []byte, at Span, names ...string) []Span {
	found := make([]Span, len(names))
	for m := range Members(b, at) {
		for i, name := range names {
			if string(m.Name) == name {
				found[i] = m.Val
			}
		}
	}
	return found
}

// Text is the string at the end of the path, "" when there is none.
func Text(b []byte, at Span, path ...string) string {
	v, ok := Lookup(b, at, path...)
	if !ok {
		return ""
	}
	return Unquote(v.Of(b))
}

// SmallInt is where a small whole number stands, and its value; nowhere and -1 for anything else.
func SmallInt(b []byte, at Span) (Span, int) {
	n := 0
	if at.End-at.Start > 9 {
		return Span{}, -1
	}
	for _, c := range at.Of(b) {
		if c < '0' || c > '9' {
			return Span{}, -1
		}
		n = n*10 + int(c-'0')
	}
	return at, n
}
