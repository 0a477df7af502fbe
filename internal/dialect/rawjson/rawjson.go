// Package rawjson reads JSON where it stands, and changes it so that every byte which no change is about stays as it is.
package rawjson

import (
	"bytes"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// Span is where a JSON value stands in the bytes it was read from: b[Start:End].
type Span struct{ Start, End int }

// Of is what stands there.
func (s Span) Of(b []byte) []byte { return b[s.Start:s.End] }

// Found reports whether anything stands there: a span of what was not found is empty.
func (s Span) Found() bool { return s.End > s.Start }

// Whole is the span of all of b.
func Whole(b []byte) Span { return Span{0, len(b)} }

// Valid reports whether b is one JSON value and white space.
func Valid(b []byte) bool {
	looked(len(b))
	i := SkipValue(b, SkipSpace(b, 0), 0)
	return i >= 0 && SkipSpace(b, i) == len(b)
}

// IsNull reports whether a value is null.
func IsNull(raw []byte) bool { return string(raw) == "null" }

// IsObject reports whether a value is an object, with white space before it at the most.
func IsObject(b []byte) bool {
	i := SkipSpace(b, 0)
	return i < len(b) && b[i] == '{'
}

// Unquote is the meaning of a JSON string; "" for anything else.
func Unquote(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	looked(len(raw))
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// maxWord bounds names and ids: of a model, a tool, a call.
const maxWord = 1024

// Word is the meaning of a JSON string that is a name or an id; "" for anything else, and for what is longer than those ever are.
func Word(raw []byte) string {
	if len(raw) > maxWord {
		return ""
	}
	return Unquote(raw)
}

// AppendString appends s as a JSON string. Bytes that are no UTF-8 become U+FFFD.
func AppendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // its error only says that it has replaced bytes
	return dst
}

// Separate makes a list ready for another value.
func Separate(list []byte) []byte {
	if len(list) > 0 {
		return append(list, ',')
	}
	return list
}

// Values that are written often. They are not to be changed.
var (
	Null  = []byte("null")
	Comma = []byte{','}
)
