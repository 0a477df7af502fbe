package schema

import "slices"

// fold makes one object of a schema that says by combinators what its properties are. It is nil for a schema that allows no object. What of the
// combinators an object cannot say, which properties go together, is left out: the tool itself knows.
func (m *mender) fold(n *node, depth int) *node {
	if depth == 0 || !m.spend() {
		return nil
	}
	if n.isBool() {
		out := object()
		out.set("properties", object())
		return out
	}
	if !n.isObject() {
		return nil
	}
	if ref := n.get("$ref"); ref != nil {
		return m.foldReference(n, ref, depth)
	}
	if t := n.get("type"); t != nil && !t.isNull() && !isType(t, "object") {
		return nil
	}
	out := object()
	for _, f := range n.fields {
		if !slices.Contains(topWords, f.name) {
			out.set(f.name, f.value)
		}
	}
	properties, required := object(), stringsOf(n.get("required"))
	if p := n.get("properties"); p.isObject() {
		for _, f := range p.fields {
			properties.set(f.name, f.value)
		}
	}
	for _, branch := range branches(n, "allOf") {
		if b := m.fold(branch, depth-1); b != nil {
			m.merge(properties, b, nil)
			required = append(required, stringsOf(b.get("required"))...)
		}
	}
	for _, word := range []string{"anyOf", "oneOf"} {
		common, ok := m.foldChoice(properties, branches(n, word), depth)
		if !ok && n.get("type") == nil && len(properties.fields) == 0 {
			return nil
		}
		required = append(required, common...)
	}
	out.set("properties", properties)
	out.remove("required")
	if required = unique(required); len(required) > 0 {
		out.set("required", texts(required))
	}
	return out
}

// foldReference folds what a reference refers to, with what stands beside it.
func (m *mender) foldReference(n, ref *node, depth int) *node {
	beside := object()
	for _, f := range n.fields {
		if f.name != "$ref" {
			beside.set(f.name, f.value)
		}
	}
	target := m.target(ref)
	if target == nil || target == n || slices.Contains(m.path, ref.text()) {
		return m.fold(beside, depth-1)
	}
	m.path = append(m.path, ref.text())
	out := m.fold(target, depth-1)
	m.path = m.path[:len(m.path)-1]
	with := m.fold(beside, depth-1)
	if out == nil || with == nil {
		return nil
	}
	m.merge(out.get("properties"), with, nil)
	required := unique(append(stringsOf(out.get("required")), stringsOf(with.get("required"))...))
	for _, f := range with.fields {
		if f.name != "properties" && f.name != "required" {
			out.set(f.name, f.value)
		}
	}
	if len(required) > 0 {
		out.set("required", texts(required))
	}
	return out
}

// foldChoice adds the properties of branches of which one holds, and returns the names that all of them require. It is false when there are branches
// and none is an object.
func (m *mender) foldChoice(properties *node, choice []*node, depth int) (common []string, ok bool) {
	made := map[*node]bool{} // alternatives that stand for several branches
	objects := 0
	for _, branch := range choice {
		b := m.fold(branch, depth-1)
		if b == nil {
			continue
		}
		m.merge(properties, b, made)
		names := stringsOf(b.get("required"))
		if objects++; objects == 1 {
			common = names
			continue
		}
		in := words(names...)
		common = slices.DeleteFunc(common, func(name string) bool { return !in[name] })
	}
	return common, objects > 0 || len(choice) == 0
}

// maxAlternatives bounds the schemas that one property has by its branches.
const maxAlternatives = 50

// merge adds the properties of a branch. Where made is given, one that is there already may be either; else it stays.
func (m *mender) merge(properties, branch *node, made map[*node]bool) {
	p := branch.get("properties")
	if !p.isObject() {
		return
	}
	for _, f := range p.fields {
		if !m.spend() {
			return
		}
		there := properties.get(f.name)
		switch {
		case there == nil:
			properties.set(f.name, f.value)
		case made == nil, same(there, f.value):
		case made[there]:
			either := there.get("anyOf")
			if len(either.items) < maxAlternatives && !slices.ContainsFunc(either.items, func(one *node) bool { return same(one, f.value) }) {
				either.items = append(either.items, f.value)
			}
		default:
			either := object()
			either.set("anyOf", array(there, f.value))
			made[either] = true
			properties.set(f.name, either)
		}
	}
}

// branches are the schemas of a combinator.
func branches(n *node, word string) []*node {
	if b := n.get(word); b.isArray() {
		return b.items
	}
	return nil
}

// stringsOf returns the strings of an array.
func stringsOf(n *node) (found []string) {
	if n.isArray() {
		for _, item := range n.items {
			if item.kind == '"' {
				found = append(found, item.text())
			}
		}
	}
	return found
}

func unique(names []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(names, func(name string) bool {
		again := seen[name]
		seen[name] = true
		return again
	})
}

func texts(names []string) *node {
	list := array()
	for _, name := range names {
		list.items = append(list.items, scalar(name))
	}
	return list
}
