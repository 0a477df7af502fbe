package schema

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// The reasons for which a schema cannot be mended.
var (
	errTop = errors.New("the arguments are no object")
	errKey = errors.New("an argument that is required has a name that the provider refuses")
)

// mender mends one schema.
type mender struct {
	rules Rules
	root  *node    // as it came, for references
	left  int      // values that references and combinators may still bring in
	path  []string // references that are being followed
}

// Mend returns a tool's schema as the rules want it: the very bytes where nothing is wrong, else another that keeps its order. The error says why there
// is none; it repeats nothing of the schema. Work and memory are linear in the schema's size and bounded.
func Mend(raw json.RawMessage, rules Rules) (json.RawMessage, error) {
	root, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if !root.isObject() {
		return nil, errTop
	}
	before := root.append(nil)
	m := &mender{rules: rules, root: root, left: maxNodes}
	top, err := m.top(root)
	if err != nil {
		return nil, err
	}
	after := top.append(nil)
	switch {
	case string(after) == string(before):
		return raw, nil
	case len(after) > maxBytes || m.left < 0:
		return nil, errSize
	}
	return after, nil
}

// top mends the schema of the arguments themselves.
func (m *mender) top(n *node) (*node, error) {
	flat := n
	if topWord(n) {
		if flat = m.fold(n, maxDepth); flat == nil {
			return nil, errTop
		}
	} else if t := n.get("type"); t != nil && !isType(t, "object") {
		return nil, errTop
	}
	flat = m.clone(flat)
	if flat == nil {
		return nil, errSize
	}
	if t := flat.get("type"); t == nil || t.text() != "object" {
		flat.remove("type")
		flat.fields = slices.Insert(flat.fields, 0, field{"type", scalar("object")})
		flat.index = nil
	}
	if !flat.get("properties").isObject() {
		flat.set("properties", object())
	}
	if m.rules.key != nil && !m.keys(flat) {
		return nil, errKey
	}
	m.clean(flat, maxDepth)
	return flat, nil
}

// topWords are refused at the top, and a reference that stands there hides what the top is.
var topWords = []string{"anyOf", "oneOf", "allOf", "enum", "const", "not", "$ref"}

func topWord(n *node) bool {
	return slices.ContainsFunc(topWords, func(word string) bool { return n.get(word) != nil })
}

// isType reports whether a type is this one, or this one among others.
func isType(t *node, want string) bool {
	return types[strings.ToLower(t.text())] == want || slices.ContainsFunc(t.items, func(one *node) bool { return types[one.text()] == want })
}

// spend counts a value that is brought in. It is false when there were too many.
func (m *mender) spend() bool {
	m.left--
	return m.left >= 0
}

// clone returns a copy, nil when there were too many values.
func (m *mender) clone(n *node) *node {
	if n == nil || !m.spend() {
		return nil
	}
	c := &node{raw: n.raw, kind: n.kind}
	for _, f := range n.fields {
		value := m.clone(f.value)
		if value == nil {
			return nil
		}
		c.fields = append(c.fields, field{f.name, value})
	}
	for _, item := range n.items {
		one := m.clone(item)
		if one == nil {
			return nil
		}
		c.items = append(c.items, one)
	}
	return c
}

// target returns what a reference within the schema refers to, by a JSON pointer (RFC 6901); nil: nothing.
func (m *mender) target(ref *node) *node {
	rest, local := strings.CutPrefix(ref.text(), "#")
	if ref.text() == "" || !local || rest != "" && rest[0] != '/' {
		return nil
	}
	at := m.root
	for part := range strings.SplitSeq(strings.TrimPrefix(rest, "/"), "/") {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		switch {
		case rest == "":
		case at.isObject():
			at = at.get(part)
		case at.isArray():
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(at.items) {
				return nil
			}
			at = at.items[i]
		default:
			return nil
		}
		if at == nil {
			return nil
		}
	}
	if !at.isObject() {
		return nil
	}
	return at
}
