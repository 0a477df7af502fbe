package turn

import (
	"bytes"
	"encoding/json"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// Arguments are those of one call, put together from the pieces in which a provider sends them. Most append; some send with each piece
// all there is so far, some {} before the first, some the whole once more after the last. The zero value has none.
type Arguments struct {
	joined []byte // all pieces, one after the other: insides of JSON strings
	last   int    // where the last piece begins
	more   bool   // there were others before it
	apart  bool   // one of them did not begin with all of the one before it
}

// Add takes a piece: the inside of a JSON string.
func (a *Arguments) Add(piece []byte) {
	if len(piece) == 0 {
		return
	}
	if before := a.joined[a.last:]; len(before) > 0 {
		a.more = true
		a.apart = a.apart || !bytes.HasPrefix(piece, before) && !IsBlank(before)
	}
	a.last = len(a.joined)
	a.joined = append(a.joined, piece...)
}

// AddObject takes arguments that came as an object, not as its text.
func (a *Arguments) AddObject(raw []byte) {
	text := rawjson.AppendString(nil, raw)
	a.Add(text[1 : len(text)-1])
}

// Len is how many bytes the pieces have.
func (a *Arguments) Len() int { return len(a.joined) }

// Raw is all pieces, one after the other: the inside of a JSON string.
func (a *Arguments) Raw() []byte { return a.joined }

// Text is what the model wrote, as far as the pieces can be understood: a JSON object if all is well; empty if nothing came.
func (a *Arguments) Text() []byte {
	text := unquoted(a.joined)
	switch {
	case IsObject(text):
		return text
	case a.more && !a.apart:
		if last := unquoted(a.joined[a.last:]); IsObject(last) {
			return last
		}
	}
	return Once(text)
}

// Blank reports whether all that has come is {}.
func (a *Arguments) Blank() bool { return len(a.joined) < 64 && IsBlank(a.joined) }

// Complete reports whether the pieces are a JSON object.
func (a *Arguments) Complete() bool {
	return bytes.HasSuffix(bytes.TrimSpace(a.joined), []byte{'}'}) && IsObject(a.Text())
}

func unquoted(inner []byte) []byte {
	return []byte(rawjson.Unquote(append(append([]byte{'"'}, inner...), '"')))
}

// IsObject reports whether text is a JSON object.
func IsObject(text []byte) bool { return rawjson.IsObject(text) && rawjson.Valid(text) }

// IsBlank reports whether text is {}.
func IsBlank(text []byte) bool {
	text = bytes.TrimSpace(text)
	return len(text) > 1 && text[0] == '{' && rawjson.SkipSpace(text, 1) == len(text)-1 && text[len(text)-1] == '}'
}

// Once is text without what stands in it before or after the arguments: the same once more, or {}. It is text itself where that is
// not all.
func Once(text []byte) []byte {
	var first, compacted, blank []byte
	for i := rawjson.SkipSpace(text, 0); i < len(text); i = rawjson.SkipSpace(text, i) {
		end := -1
		if text[i] == '{' {
			end = rawjson.SkipValue(text, i, 0)
		}
		if end < 0 {
			return text
		}
		v := text[i:end]
		i = end
		switch {
		case IsBlank(v):
			blank = v
			continue
		case first == nil:
			first = v
			continue
		case compacted == nil: // once: there may be many
			compacted = compact(first)
		}
		if !bytes.Equal(compacted, compact(v)) {
			return text
		}
	}
	switch {
	case first != nil:
		return first
	case blank != nil:
		return blank
	}
	return text
}

func compact(value []byte) []byte {
	var b bytes.Buffer
	_ = json.Compact(&b, value) // it was scanned
	return b.Bytes()
}

// Object is a call's arguments as they go back to a provider, many of which refuse a conversation in which past arguments are anything
// but a JSON object. Text that is none is wrapped, as Anthropic advises for JSON that a model did not finish ("Fine-grained tool
// streaming").
func Object(text []byte) []byte {
	trimmed := bytes.TrimSpace(text)
	switch {
	case len(trimmed) == 0 || rawjson.IsNull(trimmed):
		return []byte("{}")
	case IsObject(text):
		return text
	case trimmed[0] == '"' && rawjson.Valid(trimmed): // an object written as a string
		if inner := []byte(rawjson.Unquote(trimmed)); IsObject(inner) {
			return inner
		}
	}
	return append(rawjson.AppendString([]byte(`{"INVALID_JSON":`), text), '}')
}
