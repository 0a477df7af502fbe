package rawjson

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth bounds how deep values may be nested, as encoding/json does.
const maxDepth = 10_000

// SkipSpace returns the index of the first byte from i on that is not white space (RFC 8259 section 2).
func SkipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// SkipValue returns the index after the JSON value that begins at b[i], or -1 when there is none. It checks the whole grammar
// of RFC 8259 but for UTF-8 and surrogates within strings, which pass as they are.
func SkipValue(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch c := b[i]; c {
	case '"':
		return SkipString(b, i)
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
	return SkipNumber(b, i)
}

func skipWord(b []byte, i int, word string) int {
	if len(b)-i >= len(word) && string(b[i:i+len(word)]) == word {
		return i + len(word)
	}
	return -1
}

// SkipString begins at a quote and returns the index after the closing one. It looks at eight bytes at a time, since texts are most
// of what providers send.
func SkipString(b []byte, i int) int {
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

// SkipNumber returns the index after the number that begins at b[i], or -1 when there is none.
func SkipNumber(b []byte, i int) int {
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
	i = SkipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		if i = SkipString(b, i); i < 0 {
			return -1
		}
		if i = SkipSpace(b, i); i >= len(b) || b[i] != ':' {
			return -1
		}
		if i = SkipValue(b, SkipSpace(b, i+1), depth+1); i < 0 {
			return -1
		}
		if i = SkipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case '}':
			return i + 1
		case ',':
			i = SkipSpace(b, i+1)
		default:
			return -1
		}
	}
}

func skipArray(b []byte, i, depth int) int {
	if depth >= maxDepth {
		return -1
	}
	i = SkipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		if i = SkipValue(b, i, depth+1); i < 0 {
			return -1
		}
		if i = SkipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case ']':
			return i + 1
		case ',':
			i = SkipSpace(b, i+1)
		default:
			return -1
		}
	}
}
