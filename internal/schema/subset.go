package schema

import (
	"slices"
	"strconv"
	"strings"
)

// reduce says a schema, whose parts are mended, in the words of a subset. What cannot be said is left out, or told in the description.
func (m *mender) reduce(n *node) {
	if c := n.get("const"); c != nil && n.get("enum") == nil && c.kind == '"' {
		n.set("enum", array(c))
	}
	m.joinAll(n)
	if n.get("anyOf") == nil && n.get("oneOf") != nil {
		n.set("anyOf", n.get("oneOf"))
	}
	inclusive(n, "exclusiveMinimum", "minimum", 1)
	inclusive(n, "exclusiveMaximum", "maximum", -1)
	n.fields = slices.DeleteFunc(n.fields, func(f field) bool { return !known[f.name] })
	n.index = nil
	singleType(n)
	if f := n.get("format"); f != nil && !formats[f.text()] {
		n.remove("format")
	}
	if d := n.get("default"); d.isNull() {
		n.remove("default")
	}
	textsOnly(n)
	properties := n.get("properties")
	if required := n.get("required"); required != nil {
		required.items = slices.DeleteFunc(required.items, func(one *node) bool { return properties == nil || properties.get(one.text()) == nil })
		if len(required.items) == 0 {
			n.remove("required")
		}
	}
	alone(n)
}

// joinAll takes what the schemas of an allOf say into the schema itself, as far as it does not say the same word.
func (m *mender) joinAll(n *node) {
	for _, branch := range branches(n, "allOf") {
		if p, b := n.get("properties"), branch.get("properties"); p.isObject() && b.isObject() {
			m.merge(p, branch, nil)
		}
		if required := append(stringsOf(n.get("required")), stringsOf(branch.get("required"))...); len(required) > 0 {
			n.set("required", texts(unique(required)))
		}
		for _, f := range branch.fields {
			if n.get(f.name) == nil {
				n.set(f.name, f.value)
			}
		}
	}
}

// inclusive makes of an exclusive bound an inclusive one: the next integer, or the same number, which allows a little more.
func inclusive(n *node, exclusive, bound string, step int64) {
	e := n.get(exclusive)
	if !e.isNumber() || n.get(bound) != nil {
		return
	}
	limit := e
	if t := n.get("type"); t != nil && t.text() == "integer" {
		if i, err := strconv.ParseInt(string(e.raw), 10, 32); err == nil {
			limit = scalar(i + step)
		}
	}
	n.set(bound, limit)
}

// singleType makes of a list of types one; null is what a schema may be besides.
func singleType(n *node) {
	t := n.get("type")
	if !t.isArray() {
		return
	}
	names := stringsOf(t)
	rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "null" })
	if len(rest) < len(names) {
		n.set("nullable", scalar(true))
	}
	switch {
	case len(rest) == 1:
		n.set("type", scalar(rest[0]))
	case len(rest) == 0:
		n.remove("type")
	default:
		n.remove("type")
		if n.get("anyOf") == nil {
			either := array()
			for _, name := range rest {
				one := object()
				one.set("type", scalar(name))
				if name == "array" {
					items := object()
					items.set("type", scalar("string"))
					one.set("items", items)
				}
				either.items = append(either.items, one)
			}
			n.set("anyOf", either)
		}
	}
}

// textsOnly leaves an enum of texts that are not empty; the values of another are told in the description.
func textsOnly(n *node) {
	enum := n.get("enum")
	if enum == nil {
		return
	}
	var found []*node
	var others []string
	for _, v := range enum.items {
		switch {
		case v.kind == '"' && v.text() != "":
			found = append(found, v)
		case v.isNull():
			n.set("nullable", scalar(true))
		case v.kind != '"':
			others = append(others, string(v.append(nil)))
		}
	}
	t := n.get("type")
	if len(found) > 0 && len(others) == 0 && (t == nil || t.text() == "string") {
		n.set("enum", array(found...))
		n.set("type", scalar("string"))
		return
	}
	n.remove("enum")
	if len(others) > 0 {
		told := "One of: " + strings.Join(others, ", ")
		if d := n.get("description").text(); d != "" {
			told = d + " " + told
		}
		n.set("description", scalar(told))
	}
}

// alone leaves an anyOf by itself, as it must be: null goes to nullable, one alternative becomes the schema, and each is described.
func alone(n *node) {
	either := n.get("anyOf")
	if either == nil {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(either.items), func(one *node) bool { return one.get("type").text() == "null" })
	nullable := len(rest) < len(either.items) || n.get("nullable").isTrue()
	properties := n.get("properties")
	switch {
	case len(rest) == 0 || properties.isObject() && len(properties.fields) > 0: // its own properties say more
		n.remove("anyOf")
	case len(rest) == 1:
		n.remove("anyOf")
		for _, f := range rest[0].fields {
			if n.get(f.name) == nil {
				n.set(f.name, f.value)
			}
		}
	default:
		description := n.get("description")
		for _, one := range rest {
			if description != nil && one.get("description") == nil {
				one.set("description", description)
			}
		}
		n.fields, n.index = []field{{"anyOf", array(rest...)}}, nil
		return
	}
	if nullable {
		n.set("nullable", scalar(true))
	}
}
