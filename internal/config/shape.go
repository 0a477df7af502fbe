package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A shape is one kind of value: how it is read, and what the schema and the reference say of it. The tree of shapes that root returns
// drives all three, so that they cannot differ.
type shape[V any] interface {
	// read reads n into *into, or notes problems and leaves it as it is.
	read(r *reader, path string, n *yaml.Node, into *V)
	// show writes v as the file would. Empty: nothing worth showing.
	show(v V) string
	// describe says what the schema and the reference need, with v as the default.
	describe(v V) description
}

// All the shapes.
var (
	_ shape[struct{}]          = object[struct{}]{}
	_ shape[[]string]          = list[string]{}
	_ shape[map[string]string] = dictionary[string]{}
	_ shape[*string]           = optional[string]{}
	_ shape[string]            = scalar[string]{}
	_ shape[string]            = secret{}
	_ shape[Key]               = keyEntry{}
	_ shape[[]ClientKey]       = clientKeys{}
	_ shape[BYOK]              = byokShape{}
	_ shape[*url.URL]          = baseURL{}
	_ shape[*url.URL]          = endpoint{}
	_ shape[string]            = revealed{}
)

// description is what the schema and the reference say of a shape.
type description struct {
	word   string         // the reference's word for the type
	schema map[string]any // the JSON schema of a value
	suffix string         // what a path gets for the values within: "[]" for a list
	fields []fieldText    // of a mapping
}

// fieldText is what the schema and the reference say of one field.
type fieldText struct {
	name, doc string
	required  bool
	value     string // the default as the file would write it; empty: none
	note      string // the default in words, where another field decides it
	of        description
}

// field is one entry of a mapping that fills a T.
type field[T any] struct {
	fieldText
	example string // what to write when it is missing
	read    func(r *reader, path string, n *yaml.Node, into *T)
	show    func(T) string
	of      func(T) description
}

// is describes the field name, whose value is kept at the place that at returns. doc is one or two sentences for the reference.
func is[T, V any](name string, at func(*T) *V, s shape[V], doc string) field[T] {
	return field[T]{
		fieldText: fieldText{name: name, doc: doc},
		read: func(r *reader, path string, n *yaml.Node, into *T) {
			r.value(path, n, func(n *yaml.Node) { s.read(r, path, n, at(into)) })
		},
		show: func(t T) string { return s.show(*at(&t)) },
		of:   func(t T) description { return s.describe(*at(&t)) },
	}
}

// must marks a field that has no default; example is what a message tells to write.
func (f field[T]) must(example string) field[T] {
	f.required, f.example = true, example
	return f
}

// otherwise says the default in words, where another field decides it.
func (f field[T]) otherwise(note string) field[T] {
	f.note = note
	return f
}

// value reads what n stands for: an alias is followed, and the line is kept for later checks.
func (r *reader) value(path string, n *yaml.Node, read func(*yaml.Node)) {
	if r.tooMany() {
		return
	}
	r.line[path] = n.Line
	line := n.Line
	n = follow(n)
	if n.Kind == yaml.ScalarNode {
		r.scalars = append(r.scalars, Setting{Path: path, Value: n.Value, Line: line})
	}
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		r.refuse(path, "found a tag of its own (!name), which means nothing here; remove it")
		return
	}
	read(n)
}

// tooMany counts one value more, and says whether that makes it more than can be meant.
func (r *reader) tooMany() bool {
	r.values++
	if r.values == maxValues+1 {
		r.problems = nil // the others may be one, many times over
		r.refuse("", "holds more than %d values once its anchors are followed; split it, or write keys into a keys_file", maxValues)
	}
	return r.values > maxValues
}

func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// object is a mapping with known fields.
type object[T any] struct {
	fields  []field[T]
	refused map[string]string                     // names that are known to be wrong, and what to do instead
	start   func(text func(name string) string) T // the defaults, given the plain values; nil: the zero T
	after   func(r *reader, path string, into *T) // checks and fills in what needs several fields; nil: nothing
	example string                                // for messages: "{env: OPENAI_KEY}"
	extra   map[string]any                        // further constraints of the schema
	private bool                                  // a secret could stand where a name belongs
}

func (o object[T]) read(r *reader, path string, n *yaml.Node, into *T) {
	if n.Kind != yaml.MappingNode {
		r.refuse(path, "found %s; write a mapping such as %s%s", found(n), o.example, orNothing(n))
		return
	}
	entries := o.entries(r, path, n)
	if o.start != nil {
		*into = o.start(func(name string) string {
			if v := entries[name]; v != nil && follow(v).Kind == yaml.ScalarNode {
				return follow(v).Value
			}
			return ""
		})
	}
	for _, f := range o.fields {
		if v := entries[f.name]; v != nil {
			f.read(r, within(path, f.name), v, into)
		} else if f.required {
			if !r.strays[path] {
				r.refuse(path, "%s is missing; write %s: %s", f.name, f.name, f.example)
			}
			r.bad[within(path, f.name)] = true
		}
	}
	if o.after != nil {
		o.after(r, path, into)
	}
}

// entries returns the values by name. It notes unknown and repeated names.
func (o object[T]) entries(r *reader, path string, n *yaml.Node) map[string]*yaml.Node {
	all := map[string]*yaml.Node{}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := follow(n.Content[i]), n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode:
			r.line[within(path, "?")] = k.Line
			r.refuse(within(path, "?"), "found %s where a field's name belongs; write name: value", found(k))
		case k.Tag == "!!merge":
			continue
		case first[k.Value] > 0:
			at := within(path, o.name(k.Value))
			line := r.line[at]
			r.line[at] = k.Line
			r.refuse(at, "is given twice, first on line %d; remove one", first[k.Value])
			r.line[at] = line
		case o.knows(k.Value):
			all[k.Value] = v
			first[k.Value] = k.Line
		default:
			first[k.Value] = k.Line
			o.unknown(r, path, k)
		}
	}
	o.merge(r, path, n, all, 0)
	return all
}

// merge adds what "<<" brings along: a name that is given itself wins, then the earlier one.
func (o object[T]) merge(r *reader, path string, n *yaml.Node, all map[string]*yaml.Node, depth int) {
	const maxDepth = 8
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag != "!!merge" {
			continue
		}
		from := follow(n.Content[i+1])
		sources := []*yaml.Node{from}
		if from.Kind == yaml.SequenceNode {
			sources = from.Content
		}
		r.line[within(path, "<<")] = n.Content[i].Line
		for _, s := range sources {
			s = follow(s)
			switch {
			case s.Kind != yaml.MappingNode:
				r.refuse(within(path, "<<"), "found %s; write << with the alias of a mapping", found(s))
				return
			case depth == maxDepth:
				r.refuse(within(path, "<<"), "found << more than %d levels deep; write fewer", maxDepth)
				return
			case r.tooMany(): // a list of aliases of lists of aliases
				return
			}
			for j := 0; j+1 < len(s.Content); j += 2 {
				if k := follow(s.Content[j]); k.Tag != "!!merge" && o.knows(k.Value) && all[k.Value] == nil {
					all[k.Value] = s.Content[j+1]
				}
			}
			o.merge(r, path, s, all, depth+1)
		}
	}
}

func (o object[T]) knows(name string) bool {
	return slices.ContainsFunc(o.fields, func(f field[T]) bool { return f.name == name })
}

func (o object[T]) names() []string {
	names := make([]string, len(o.fields))
	for i, f := range o.fields {
		names[i] = f.name
	}
	return names
}

// name is a field's name as a message may show it.
func (o object[T]) name(s string) string {
	if !plainWord.MatchString(s) && (o.private || looksSecret(s)) {
		return "?"
	}
	if len(s) > 40 || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "?"
	}
	return s
}

// unknown says what to write instead of the name k.
func (o object[T]) unknown(r *reader, path string, k *yaml.Node) {
	name := o.name(k.Value)
	at := within(path, name)
	r.line[at] = k.Line
	defer delete(r.line, at) // there is no such value
	r.strays[path] = true
	if text := o.refused[k.Value]; text != "" {
		r.refuse(at, "%s", text)
		return
	}
	text := "unknown field; "
	switch near, ok := nearest(k.Value, o.names()); {
	case looksSecret(k.Value):
		text = itselfAKey
	case name == "?":
		text += "the fields here are " + either(o.names())
	case ok:
		text += fmt.Sprintf("did you mean %s?", near)
	case len(homes(k.Value)) > 0:
		text += fmt.Sprintf("%s belongs to %s", name, either(homes(k.Value)))
	default:
		text += "the fields here are " + either(o.names())
	}
	r.refuse(at, "%s", text)
}

func (o object[T]) show(T) string { return "" } //nolint:unused // called through shape, which the linter does not see for generic types

func (o object[T]) describe(t T) description {
	if o.start != nil {
		t = o.start(func(string) string { return "" })
	}
	d := description{word: "mapping", schema: map[string]any{"type": "object", "additionalProperties": false}}
	properties, required := map[string]any{}, []string{}
	for _, f := range o.fields {
		text := f.fieldText
		text.of = f.of(t)
		if text.note == "" && !text.required {
			text.value = f.show(t)
		}
		d.fields = append(d.fields, text)
		properties[f.name] = text.schema()
		if f.required {
			required = append(required, f.name)
		}
	}
	d.schema["properties"] = properties
	if len(required) > 0 {
		d.schema["required"] = required
	}
	maps.Copy(d.schema, o.extra)
	return d
}

// list is a sequence of values of one shape.
type list[V any] struct {
	item    shape[V]
	example string // for messages: "[openai]"
	atLeast int
}

func (l list[V]) read(r *reader, path string, n *yaml.Node, into *[]V) { //nolint:unused // called through shape, which the linter does not see for generic types
	if n.Kind != yaml.SequenceNode {
		r.refuse(path, "found %s; write a list such as %s%s", found(n), l.example, orNothing(n))
		return
	}
	if len(n.Content) < l.atLeast {
		r.refuse(path, "the list is empty; write at least %d, such as %s", l.atLeast, l.example)
		return
	}
	all := make([]V, len(n.Content))
	for i, c := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		r.value(at, c, func(n *yaml.Node) { l.item.read(r, at, n, &all[i]) })
	}
	*into = all
}

func (l list[V]) show(vs []V) string { //nolint:unused // called through shape, which the linter does not see for generic types
	if len(vs) == 0 {
		return ""
	}
	texts := make([]string, len(vs))
	for i, v := range vs {
		texts[i] = l.item.show(v)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func (l list[V]) describe([]V) description { //nolint:unused // called through shape, which the linter does not see for generic types
	var none V
	of := l.item.describe(none)
	schema := map[string]any{"type": "array", "items": of.schema}
	if l.atLeast > 0 {
		schema["minItems"] = l.atLeast
	}
	return description{word: "list", schema: schema, suffix: "[]" + of.suffix, fields: of.fields}
}

// orNothing is the other remedy for a field that was left empty.
func orNothing(n *yaml.Node) string {
	if n.Tag == "!!null" {
		return ", or remove the line"
	}
	return ""
}

// found says what kind of value n is, without its text.
func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	case n.Tag == "!!int", n.Tag == "!!float":
		return "a number"
	case n.Tag == "!!bool":
		return "true or false"
	}
	return "text"
}
