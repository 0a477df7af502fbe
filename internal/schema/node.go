package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
)

// node is a JSON value whose objects keep the order of their members: models read it.
type node struct {
	fields []field         // of an object
	items  []*node         // of an array
	raw    json.RawMessage // of anything else
	kind   byte            // '{', '[' or the first byte of raw

	index map[string]int // of fields, when they are many; nil: not yet
}

type field struct {
	name  string
	value *node
}

var (
	errSyntax = errors.New("the schema is not JSON")
	errSize   = errors.New("the schema is too large or too deep")
)

// parse reads one value. Of members with the same name the last counts.
func parse(raw []byte) (*node, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	left := maxNodes
	n, err := read(dec, maxDepth, &left)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errSyntax
	}
	return n, nil
}

func read(dec *json.Decoder, depth int, left *int) (*node, error) {
	if *left--; *left < 0 || depth == 0 {
		return nil, errSize
	}
	token, err := dec.Token()
	if err != nil {
		return nil, errSyntax
	}
	switch token {
	case json.Delim('{'):
		n := &node{kind: '{'}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, errSyntax
			}
			value, err := read(dec, depth-1, left)
			if err != nil {
				return nil, err
			}
			n.set(name.(string), value)
		}
		_, err = dec.Token()
		return n, err
	case json.Delim('['):
		n := &node{kind: '['}
		for dec.More() {
			value, err := read(dec, depth-1, left)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, value)
		}
		_, err = dec.Token()
		return n, err
	}
	return scalar(token), nil
}

// scalar is a value without others in it.
func scalar(v any) *node {
	raw := encode(v)
	return &node{raw: raw, kind: raw[0]}
}

func encode(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // a token of a decoder, or a string
	return bytes.TrimRight(b.Bytes(), "\n")
}

func object() *node { return &node{kind: '{'} }

func array(items ...*node) *node { return &node{kind: '[', items: items} }

func (n *node) isObject() bool { return n != nil && n.kind == '{' }
func (n *node) isArray() bool  { return n != nil && n.kind == '[' }
func (n *node) isNull() bool   { return n != nil && n.kind == 'n' }
func (n *node) isTrue() bool   { return n != nil && n.kind == 't' }
func (n *node) isBool() bool   { return n != nil && (n.kind == 't' || n.kind == 'f') }
func (n *node) isNumber() bool {
	return n != nil && (n.kind == '-' || n.kind >= '0' && n.kind <= '9')
}

// text returns a string, "" for anything else.
func (n *node) text() (s string) {
	if n != nil && n.kind == '"' {
		_ = json.Unmarshal(n.raw, &s)
	}
	return s
}

// few is how many members an object may have to be searched without an index.
const few = 16

// find returns the place of a member, -1 if there is none.
func (n *node) find(name string) int {
	if len(n.fields) <= few {
		return slices.IndexFunc(n.fields, func(f field) bool { return f.name == name })
	}
	if n.index == nil {
		n.index = make(map[string]int, 2*len(n.fields))
		for i, f := range n.fields {
			n.index[f.name] = i
		}
	}
	if i, ok := n.index[name]; ok {
		return i
	}
	return -1
}

// get returns a member of an object; nil: there is none.
func (n *node) get(name string) *node {
	if i := n.find(name); i >= 0 {
		return n.fields[i].value
	}
	return nil
}

func (n *node) set(name string, value *node) {
	if i := n.find(name); i >= 0 {
		n.fields[i].value = value
		return
	}
	if n.index != nil {
		n.index[name] = len(n.fields)
	}
	n.fields = append(n.fields, field{name, value})
}

// remove takes members out of an object.
func (n *node) remove(names ...string) {
	n.index = nil
	n.fields = slices.DeleteFunc(n.fields, func(f field) bool { return slices.Contains(names, f.name) })
}

// append appends the value as JSON.
func (n *node) append(dst []byte) []byte {
	switch n.kind {
	case '{':
		dst = append(dst, '{')
		for i, f := range n.fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(dst, encode(f.name)...), ':')
			dst = f.value.append(dst)
		}
		return append(dst, '}')
	case '[':
		dst = append(dst, '[')
		for i, item := range n.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = item.append(dst)
		}
		return append(dst, ']')
	}
	return append(dst, n.raw...)
}

// same reports whether two values are the same JSON, in the same order.
func same(a, b *node) bool {
	if a == b {
		return true
	}
	if a.kind != b.kind || len(a.fields) != len(b.fields) || len(a.items) != len(b.items) || !bytes.Equal(a.raw, b.raw) {
		return false
	}
	for i, f := range a.fields {
		if f.name != b.fields[i].name || !same(f.value, b.fields[i].value) {
			return false
		}
	}
	for i, item := range a.items {
		if !same(item, b.items[i]) {
			return false
		}
	}
	return true
}
