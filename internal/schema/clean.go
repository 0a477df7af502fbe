package schema

import (
	"slices"
	"strings"
)

// Words whose values have a type. Another value makes the schema invalid. https://json-schema.org/draft/2020-12/meta/validation
var (
	numbers  = words("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains")
	strs     = words("title", "description", "pattern", "format", "$comment", "$schema", "$id", "$anchor", "contentEncoding", "contentMediaType")
	booleans = words("uniqueItems", "deprecated", "readOnly", "writeOnly", "nullable")
	anything = words("default", "const", "example") // null too
)

// clean mends a schema and those in it, in place. What it cannot make valid it leaves out.
func (m *mender) clean(n *node, depth int) {
	if depth == 0 {
		n.fields, n.index = nil, nil
		return
	}
	m.reference(n, depth)
	tidyType(n)
	bound(n, "exclusiveMinimum", "minimum")
	bound(n, "exclusiveMaximum", "maximum")
	var wrong []string
	for i := range n.fields {
		f := &n.fields[i]
		switch {
		case !valid(f):
			wrong = append(wrong, f.name)
		case single[f.name]:
			f.value = m.schema(f, depth)
		case several[f.name]:
			for j := range f.value.items {
				f.value.items[j] = m.object(f.value.items[j], depth)
			}
		case byName[f.name]:
			m.named(f, depth)
		}
	}
	n.remove(wrong...)
	if t := n.get("type"); t != nil && isType(t, "array") && n.get("items") == nil {
		n.set("items", m.anyItem())
	}
	if m.rules.subset {
		m.reduce(n)
	}
}

// valid reports whether a word has a value of its type, and mends lists of names.
func valid(f *field) bool {
	v := f.value
	switch {
	case anything[f.name]:
		return true
	case v.isNull():
		return false
	case numbers[f.name]:
		return v.isNumber()
	case strs[f.name]:
		return v.kind == '"'
	case booleans[f.name]:
		return v.isBool()
	case several[f.name], f.name == "enum":
		return v.isArray() && len(v.items) > 0
	case f.name == "examples":
		return v.isArray()
	case byName[f.name]:
		return v.isObject()
	case f.name == "required":
		names := stringsOf(v)
		if v.isArray() && len(names) != len(v.items) || len(unique(slices.Clone(names))) != len(names) {
			f.value = texts(unique(names))
		}
		return v.isArray()
	}
	return true
}

// tidyType leaves the types that JSON Schema has.
func tidyType(n *node) {
	t := n.get("type")
	switch {
	case t == nil:
	case t.isArray():
		var found []string
		for _, name := range stringsOf(t) {
			if right := types[strings.ToLower(name)]; right != "" {
				found = append(found, right)
			}
		}
		if found = unique(found); len(found) == 0 {
			n.remove("type")
		} else if !same(t, texts(found)) {
			n.set("type", texts(found))
		}
	case types[t.text()] == t.text() && t.text() != "":
	case types[strings.ToLower(t.text())] != "":
		n.set("type", scalar(types[strings.ToLower(t.text())]))
	default:
		n.remove("type")
	}
}

// bound makes a draft-4 boolean the bound of later drafts.
// https://json-schema.org/draft-06/json-schema-release-notes#backwards-incompatible-changes
func bound(n *node, exclusive, inclusive string) {
	e := n.get(exclusive)
	if !e.isBool() {
		return
	}
	limit := n.get(inclusive)
	if e.isTrue() && limit.isNumber() {
		n.set(exclusive, limit)
		n.remove(inclusive)
		return
	}
	n.remove(exclusive)
}

// schema mends the value of a word that is one schema.
func (m *mender) schema(f *field, depth int) *node {
	v := f.value
	switch {
	case v.isBool() && strings.HasSuffix(f.name, "Items") || v.isBool() && strings.HasSuffix(f.name, "Properties"):
		return v
	case f.name == "items" && v.isArray(): // of drafts before 2020-12: a schema for each place
		if len(v.items) == 1 {
			return m.object(v.items[0], depth)
		}
		either := object()
		if len(v.items) > 0 {
			either.set("anyOf", v)
		}
		return m.object(either, depth)
	}
	return m.object(v, depth)
}

// object mends a schema; what is none allows everything.
func (m *mender) object(v *node, depth int) *node {
	if !v.isObject() {
		return object()
	}
	m.clean(v, depth-1)
	return v
}

// named mends schemas that have names. A property that is forbidden, or whose name the provider refuses, goes.
func (m *mender) named(f *field, depth int) {
	f.value.fields = slices.DeleteFunc(f.value.fields, func(p field) bool {
		return f.name == "properties" && p.value.isBool() && !p.value.isTrue()
	})
	f.value.index = nil
	for i := range f.value.fields {
		p := &f.value.fields[i]
		p.value = m.object(p.value, depth)
	}
}

// keys takes out the properties whose names the provider refuses. It is false when one of them is required at the top.
func (m *mender) keys(top *node) bool {
	for _, name := range stringsOf(top.get("required")) {
		if !m.rules.key.MatchString(name) {
			return false
		}
	}
	m.dropKeys(top)
	if top != m.root {
		m.dropKeys(m.root) // no reference may lead there
	}
	return true
}

func (m *mender) dropKeys(n *node) {
	for _, f := range n.fields {
		if f.name == "properties" && f.value.isObject() {
			f.value.fields = slices.DeleteFunc(f.value.fields, func(p field) bool { return !m.rules.key.MatchString(p.name) })
			f.value.index = nil
		}
		switch {
		case f.name == "required":
			f.value.items = slices.DeleteFunc(f.value.items, func(one *node) bool { return !m.rules.key.MatchString(one.text()) })
		case single[f.name]:
			m.dropKeys(f.value)
		case several[f.name]:
			for _, item := range f.value.items {
				m.dropKeys(item)
			}
		case byName[f.name]:
			for _, p := range f.value.fields {
				m.dropKeys(p.value)
			}
		}
	}
}

// anyItem is a schema for the items of an array that names none.
func (m *mender) anyItem() *node {
	item := object()
	if m.rules.subset {
		item.set("type", scalar("string"))
	}
	return item
}

// reference keeps a reference that leads somewhere, or puts in its place what it leads to. One to itself leads nowhere.
func (m *mender) reference(n *node, depth int) {
	ref := n.get("$ref")
	if ref == nil {
		return
	}
	target := m.target(ref)
	if target != nil && !m.rules.subset {
		return
	}
	n.remove("$ref")
	if target == nil || len(m.path) == maxFollowed || slices.Contains(m.path, ref.text()) {
		return
	}
	inlined := m.clone(target)
	if inlined == nil {
		return
	}
	m.path = append(m.path, ref.text())
	m.clean(inlined, depth-1)
	m.path = m.path[:len(m.path)-1]
	for _, f := range inlined.fields {
		if n.get(f.name) == nil {
			n.set(f.name, f.value)
		}
	}
}

// maxFollowed bounds the references that lead from one to the next.
const maxFollowed = 10
