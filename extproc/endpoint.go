package extproc

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/provider"
)

// segments are those of a path as whoever decodes it may understand it: without escapes, empty ones, parameters (;x) and the query. It
// fails where dots are segments, and where readers differ about what a byte means: those lead elsewhere than the path says.
func segments(path string) (all []string, ok bool) {
	path, _, _ = strings.Cut(path, "?")
	path, _, _ = strings.Cut(path, "#")
	path, ok = decoded(path, unescaped)
	if !ok || !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl) {
		return nil, false
	}
	path = lookalikes.Replace(path)
	all = make([]string, 0, 8)
	for s := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if i := strings.IndexAny(s, ";?#"); i >= 0 { // parameters; the others were escaped, and are read as what they are by who decodes twice
			s = s[:i]
		}
		switch s = strings.TrimSpace(s); s {
		case "":
		case ".", "..":
			return nil, false
		default:
			all = append(all, s)
		}
	}
	return all, true
}

// lookalikes are what some servers turn into the characters of a path (Unicode's compatibility decomposition, NFKC).
var lookalikes = strings.NewReplacer("\uff0e", ".", "\u2024", ".", "\u2025", "..", "\uff0f", "/", "\uff3c", `\`, "\uff1b", ";")

// maxDecodings is how often text is decoded: by whoever stands behind one another on the way to the provider.
const maxDecodings = 8

// decoded is a text that plain has taken the escapes of, again and again. It reports whether none is left.
func decoded(text string, plain func(string) string) (string, bool) {
	for range maxDecodings {
		next := plain(text)
		if next == text {
			return text, true
		}
		text = next
	}
	return text, plain(text) == text
}

// unescaped decodes the escapes of a path that are right, and leaves those that are not.
func unescaped(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	b := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			b = append(b, path[i])
			continue
		}
		from, digits := i+1, 2
		if from < len(path) && path[from]|0x20 == 'u' { // %uHHHH, as some servers of Microsoft's read it
			from, digits = from+1, 4
		}
		if v, err := strconv.ParseUint(path[from:min(from+digits, len(path))], 16, 32); err == nil && from+digits <= len(path) {
			if digits == 4 {
				b = utf8.AppendRune(b, rune(v))
			} else {
				b = append(b, byte(v))
			}
			i = from + digits - 1
			continue
		}
		b = append(b, '%')
	}
	return string(b)
}

// is reports whether a segment means a word, in lower case with underscores. Servers differ in what they overlook, so this overlooks case,
// dashes, and what stands around the word (".json", ":create").
func is(segment, word string) bool {
	segment = strings.TrimLeftFunc(segment, func(r rune) bool { return r > 'z' || !inWord(byte(r)) })
	if len(segment) < len(word) || len(segment) > len(word) && inWord(segment[len(word)]) {
		return false
	}
	for i := range len(word) {
		if c := lower(segment[i]); c != word[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '-':
		return '_'
	}
	return c
}

func inWord(c byte) bool {
	c = lower(c)
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_'
}

// leading are segments that stand before the API's own, beside versions and the pool's base path.
var leading = []string{"api", "openai", "anthropic", "inference"}

func isLeading(segment string) bool {
	if slices.ContainsFunc(leading, func(word string) bool { return is(segment, word) }) {
		return true
	}
	return isVersion(segment)
}

func isVersion(segment string) bool {
	return len(segment) > 1 && lower(segment[0]) == 'v' && '0' <= segment[1] && segment[1] <= '9'
}

// reserved reports whether a path leads to what mints credentials or manages an organisation: from its beginning, or from a version in it,
// which another proxy may have something before.
func reserved(path []string) bool {
	for from := range min(len(path), maxLeading) {
		if from > 0 && !isVersion(path[from-1]) {
			continue
		}
		rest := path[from:]
		for len(rest) > 0 && isLeading(rest[0]) {
			rest = rest[1:]
		}
		for _, r := range provider.Reserved {
			if leadsTo(rest, r.Segments) && !slices.ContainsFunc(r.But, func(but []string) bool { return leadsTo(rest, but) }) {
				return true
			}
		}
	}
	return false
}

// maxLeading is how many segments may stand before what an API is asked for.
const maxLeading = 8

// leadsTo reports whether a path begins with segments, of which "*" is any.
func leadsTo(path, begin []string) bool {
	if len(path) < len(begin) {
		return false
	}
	for i, want := range begin {
		if want != "*" && !is(path[i], want) {
			return false
		}
	}
	return true
}

// endpoints are what a pool serves.
type endpoints struct {
	base   []string // of the upstream: paths that have it begin after it
	served []endpoint
}

type endpoint struct {
	segments []string // of which "*" is any
	reserved bool
}

// newEndpoints reads paths that Pool.complete has judged. None: everything that is not reserved.
func newEndpoints(base string, paths []string) endpoints {
	e := endpoints{}
	e.base, _ = segments(base)
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	for _, p := range paths {
		s, _ := segments(p)
		e.served = append(e.served, endpoint{s, reserved(s)})
	}
	return e
}

// serve reports whether a path is one of them, or below one. What is reserved is served only where an entry says so itself.
func (e endpoints) serve(path []string) bool {
	if begins(path, e.base) {
		path = path[len(e.base):]
	}
	closed := reserved(path)
	return slices.ContainsFunc(e.served, func(s endpoint) bool { return begins(path, s.segments) && (s.reserved || !closed) })
}

// begins reports whether a path begins with segments, of which "*" is any, whatever their case.
func begins(path, with []string) bool {
	if len(path) < len(with) {
		return false
	}
	for i, want := range with {
		if want != "*" && !strings.EqualFold(path[i], want) {
			return false
		}
	}
	return true
}

// PathPattern is what an entry of Pool.Paths is, but that no segment is of dots.
const PathPattern = `^/((\*|[^/*?#%;\\\s]+)(/(\*|[^/*?#%;\\\s]+))*/?)?$`

var pathPattern = regexp.MustCompile(PathPattern)

// badPath says what is wrong with an entry of a pool's paths; "": nothing.
func badPath(path string) string {
	if _, ok := segments(path); ok && pathPattern.MatchString(path) && len(path) <= maxPath {
		return ""
	}
	return "is not the beginning of a path; write one such as /v1/responses, or /v1/files/*/content, in which * is a whole segment"
}

// maxPath bounds an entry, in bytes.
const maxPath = 512
