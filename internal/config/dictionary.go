package config

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// dictionary is a mapping whose names the file chooses.
type dictionary[V any] struct {
	item    func(name string) shape[V] // how the value of this name is read
	refuse  func(name string) wrong    // why a name cannot be one; "": it can
	pattern string                     // of the names, for the schema
	word    string                     // the reference's word
	suffix  string                     // what a path gets for the values within; "": the reference does not tell of them
	example string                     // for messages: "{x-team: docs}"
}

// read reads it as an object that has just the names that it finds, so that anchors and merges mean the same here.
func (d dictionary[V]) read(r *reader, path string, n *yaml.Node, into *map[string]V) { //nolint:unused // called through shape, which the linter does not see for generic types
	o := object[map[string]V]{
		refused: map[string]string{}, example: d.example,
		start: func(func(string) string) map[string]V { return map[string]V{} },
	}
	for _, name := range namesOf(n, map[*yaml.Node]bool{}) {
		switch w := d.refuse(name); {
		case looksSecret(name):
			o.refused[name] = itselfAKey
		case w != "":
			o.refused[name] = string(w)
		default:
			o.fields = append(o.fields, field[map[string]V]{
				fieldText: fieldText{name: name},
				read: func(r *reader, path string, n *yaml.Node, into *map[string]V) {
					r.value(path, n, func(n *yaml.Node) {
						var v V
						d.item(name).read(r, path, n, &v)
						(*into)[name] = v
					})
				},
			})
		}
	}
	o.read(r, path, n, into)
}

// namesOf are the names in a mapping and in what it merges, each once, in their order. seen holds the mappings that were looked at.
func namesOf(n *yaml.Node, seen map[*yaml.Node]bool) (names []string) { //nolint:unused // called by read
	if n = follow(n); n.Kind != yaml.MappingNode || seen[n] {
		return nil
	}
	seen[n] = true
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := follow(n.Content[i]), follow(n.Content[i+1])
		more := []string{k.Value}
		switch {
		case k.Kind != yaml.ScalarNode:
			continue
		case k.Tag == "!!merge" && v.Kind == yaml.SequenceNode:
			more = nil
			for _, each := range v.Content {
				more = append(more, namesOf(each, seen)...)
			}
		case k.Tag == "!!merge":
			more = namesOf(v, seen)
		}
		for _, name := range more {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func (d dictionary[V]) show(map[string]V) string { return "" } //nolint:unused // called through shape, which the linter does not see for generic types

func (d dictionary[V]) describe(map[string]V) description { //nolint:unused // called through shape, which the linter does not see for generic types
	var none V
	of := d.item("").describe(none)
	all := description{word: d.word, schema: map[string]any{
		"type": "object", "propertyNames": map[string]any{"pattern": d.pattern},
		"additionalProperties": of.schema,
	}}
	if d.suffix != "" {
		all.suffix, all.fields = d.suffix, of.fields
	}
	return all
}
