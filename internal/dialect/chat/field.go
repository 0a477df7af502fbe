package chat

import (
	"bytes"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// field is a member of a message, put together from the deltas that its pieces came in. Strings are joined as JSON, so that
// every escape, and a character whose two halves came apart, goes back to the provider as it came.
type field struct {
	name     string
	kind     byte            // the first byte of the value: '"', '[', or that of something else
	raw      []byte          // a string's inside; of something else the last value
	elements []element       // an array's
	last     map[pieceOf]int // of the elements that come in pieces: where the last one of each stands
}

// pieceOf is what the pieces of one element have in common.
type pieceOf struct{ index, kind string }

// maxFields bounds the members of a message that are kept, and maxPieces the elements of an array that come in pieces. No API has as many.
const (
	maxFields = 128
	maxPieces = 1024
)

// element is an element of an array. One that comes in pieces has its members apart; of others raw is the whole of as many as stand
// together, joined by commas.
type element struct {
	raw    []byte
	index  string // as JSON; "" if it has none
	kind   string // its type
	fields []field
}

// collect adds what a delta says of a member. Null says nothing.
func collect(list []field, name, raw []byte) []field {
	if len(raw) == 0 || rawjson.IsNull(raw) {
		return list
	}
	f := (*field)(nil)
	for i := range list {
		if list[i].name == string(name) {
			f = &list[i]
		}
	}
	switch {
	case f != nil:
	case len(list) >= maxFields:
		return list
	default:
		list = append(list, field{name: string(name), kind: raw[0]})
		f = &list[len(list)-1]
	}
	switch {
	case f.kind != raw[0] && blank(raw):
	case f.kind != raw[0]:
		*f = field{name: f.name, kind: raw[0]}
		f.add(raw)
	default:
		f.add(raw)
	}
	return list
}

// add joins a value to one of the same kind.
func (f *field) add(raw []byte) {
	switch f.kind {
	case '"':
		f.raw = append(f.raw, raw[1:len(raw)-1]...)
	case '[':
		for at := range rawjson.Elements(raw, rawjson.Whole(raw)) {
			f.addElement(at.Of(raw))
		}
	default:
		f.raw = append(f.raw[:0], raw...)
	}
}

// addElement adds an element of an array. OpenRouter sends the elements of reasoning_details in pieces that have index and type in
// common, LiteLLM those of thinking_blocks one after the other, each ended by its signature. Their texts are one text: providers
// verify the signature of the whole.
func (f *field) addElement(raw []byte) {
	kind, index := "", ""
	for m := range rawjson.Members(raw, rawjson.Whole(raw)) {
		switch v := m.Val.Of(raw); string(m.Name) {
		case "type":
			kind = rawjson.Word(v)
		case "index":
			index = string(v[:min(len(v), 32)])
		}
	}
	pieces := index != "" || f.name == "thinking_blocks"
	if !pieces || raw[0] != '{' || len(f.last) > maxPieces {
		f.addWhole(raw)
		return
	}
	el := (*element)(nil)
	of := pieceOf{index, kind}
	if at, ok := f.last[of]; ok && (index != "" || at == len(f.elements)-1 && !f.elements[at].signed()) {
		el = &f.elements[at]
	} else {
		if f.last == nil {
			f.last = map[pieceOf]int{}
		}
		f.last[of] = len(f.elements)
		f.elements = append(f.elements, element{index: index, kind: kind})
		el = &f.elements[len(f.elements)-1]
	}
	for m := range rawjson.Members(raw, rawjson.Whole(raw)) {
		el.add(m.Name, m.Val.Of(raw))
	}
}

// addWhole adds an element that is in one piece, or several that are joined by commas.
func (f *field) addWhole(raw []byte) {
	if n := len(f.elements); n > 0 && f.elements[n-1].fields == nil && f.elements[n-1].raw != nil {
		f.elements[n-1].raw = append(append(f.elements[n-1].raw, ','), raw...)
		return
	}
	f.elements = append(f.elements, element{raw: bytes.Clone(raw)})
}

// signed reports whether an element has the signature that ends it.
func (el *element) signed() bool {
	f := fieldOf(el.fields, "signature")
	return f != nil && len(f.raw) > 0
}

// add takes a member of a piece: texts are joined, of the rest the last that says something counts.
func (el *element) add(name, raw []byte) {
	switch string(name) {
	case "text", "summary", "thinking", "data":
		el.fields = collect(el.fields, name, raw)
		return
	}
	for i := range el.fields {
		if f := &el.fields[i]; f.name == string(name) {
			if !blank(raw) {
				*f = field{name: f.name, kind: raw[0]}
				f.add(raw)
			}
			return
		}
	}
	if rawjson.IsNull(raw) && len(el.fields) < maxFields {
		el.fields = append(el.fields, field{name: string(name), kind: 'n', raw: []byte("null")})
		return
	}
	el.fields = collect(el.fields, name, raw)
}

// appendTo appends the value as JSON.
func (f *field) appendTo(dst []byte) []byte {
	switch f.kind {
	case '"':
		return append(append(append(dst, '"'), f.raw...), '"')
	case '[':
		dst = append(dst, '[')
		for i := range f.elements {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = f.elements[i].appendTo(dst)
		}
		return append(dst, ']')
	}
	return append(dst, f.raw...)
}

func (el *element) appendTo(dst []byte) []byte {
	if el.fields == nil {
		return append(dst, el.raw...)
	}
	dst = append(dst, '{')
	for i := range el.fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(rawjson.AppendString(dst, el.fields[i].name), ':')
		dst = el.fields[i].appendTo(dst)
	}
	return append(dst, '}')
}

// fieldOf is the field of a name, or nil.
func fieldOf(list []field, name string) *field {
	for i := range list {
		if list[i].name == name {
			return &list[i]
		}
	}
	return nil
}

// concat joins what a turn's message has to what those before it had, each string to string and array to array.
func concat(before, turn []field) []field {
	offset := 0 // of the turn's text in all of it
	if fieldOf(turn, annotations) != nil {
		offset = spoken(before)
	}
	for i := range turn {
		f := &turn[i]
		if f.name == annotations {
			next := f.moved(offset)
			f = &next
		}
		b := fieldOf(before, f.name)
		switch {
		case b == nil:
			before = append(before, field{name: f.name, kind: f.kind, raw: bytes.Clone(f.raw), elements: f.inOnePiece()})
		case b.kind == f.kind && f.kind == '"':
			if f.name == "content" && len(f.raw) > 0 && ends(b.raw) {
				b.raw = append(b.raw, gap...)
			}
			b.raw = append(b.raw, f.raw...)
		case b.kind == f.kind && f.kind == '[':
			b.elements = append(b.elements, f.inOnePiece()...)
		default:
			b.kind, b.raw, b.elements = f.kind, bytes.Clone(f.raw), f.inOnePiece()
		}
	}
	return before
}

// annotations is the member that tells of places in content, in characters ("Chat completion object", annotations, in OpenAI's API
// reference).
const annotations = "annotations"

// spoken is where the text of the next turn begins behind what was said, in characters.
func spoken(said []field) int {
	f := fieldOf(said, "content")
	if f == nil || f.kind != '"' || len(f.raw) == 0 {
		return 0
	}
	n := utf8.RuneCountInString(rawjson.Unquote(f.appendTo(nil)))
	if ends(f.raw) {
		n += 2 // the gap
	}
	return n
}

// moved is an array of annotations of a text that begins so many characters further on.
func moved(list []byte, by int) []byte {
	var e rawjson.Edits
	move := func(at rawjson.Span) {
		for _, v := range rawjson.Values(list, at, "start_index", "end_index") {
			if n, ok := rawjson.ParseInt(v.Of(list)); ok && n >= 0 && n < 1<<31 {
				e.ReplaceInt(v, int(n)+by)
			}
		}
	}
	for at := range rawjson.Elements(list, rawjson.Whole(list)) {
		if list[at.Start] != '{' {
			continue
		}
		move(at)
		for _, name := range [...]string{"url_citation", "file_citation"} {
			if v, ok := rawjson.Lookup(list, at, name); ok && list[v.Start] == '{' {
				move(v)
			}
		}
	}
	return e.Apply(nil, list)
}

// moved is annotations of a text that begins so many characters further on.
func (f *field) moved(by int) field {
	if f.kind != '[' || by == 0 || len(f.elements) == 0 {
		return *f
	}
	list := moved(f.appendTo(nil), by)
	return field{name: f.name, kind: f.kind, elements: []element{{raw: bytes.TrimSpace(list[1 : len(list)-1])}}}
}

// gap sets what a turn says apart from what was said before, as the inside of a JSON string.
const gap = `\n\n`

// ends reports whether a text, the inside of a JSON string, is to be set apart from what follows.
func ends(text []byte) bool {
	text = bytes.TrimRight(text, " \t")
	return len(text) > 0 && !bytes.HasSuffix(text, []byte(`\n`))
}

// inOnePiece has an array's elements, each put together.
func (f *field) inOnePiece() []element {
	var list []element
	for i := range f.elements {
		list = append(list, element{raw: f.elements[i].appendTo(nil)})
	}
	return list
}
