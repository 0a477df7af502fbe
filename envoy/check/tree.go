package check

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// steps lead to a place in the document: fields by their names, elements by their index from 0.
type steps []string

// to is the place below this one.
func (s steps) to(more ...string) steps { return append(slices.Clip(s), more...) }

// item is the i-th element of a list below this place.
func (s steps) item(list string, i int) steps { return s.to(list, strconv.Itoa(i)) }

// begins reports whether a place is within another, or the same.
func (s steps) begins(p steps) bool { return len(p) <= len(s) && slices.Equal(s[:len(p)], p) }

// last is the name of the field that the place is, "" for an element.
func (s steps) last() string {
	if len(s) == 0 || isIndex(s[len(s)-1]) {
		return ""
	}
	return snake(s[len(s)-1])
}

// field is the name of the field that the place is, or that it is an element of.
func (s steps) field() string {
	for _, v := range slices.Backward(s) {
		if !isIndex(v) {
			return snake(v)
		}
	}
	return ""
}

// within reports whether the place is below a field of such a name.
func (s steps) within(names ...string) bool {
	return slices.ContainsFunc(s, func(step string) bool { return slices.Contains(names, snake(step)) })
}

var plainStep = regexp.MustCompile(`^[A-Za-z_@][A-Za-z0-9_]*$`)

// String is the place as a path: static_resources.listeners[0].name.
func (s steps) String() string {
	var b strings.Builder
	for _, step := range s {
		switch {
		case isIndex(step):
			b.WriteString("[" + step + "]")
		case !plainStep.MatchString(step):
			b.WriteString("[" + strconv.Quote(step) + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}

func isIndex(step string) bool {
	return step != "" && strings.Trim(step, "0123456789") == ""
}

// snake is a field's name as Envoy's documentation has it: JSON may have it in camelCase.
func snake(name string) string {
	if strings.IndexFunc(name, unicode.IsUpper) < 0 {
		return name
	}
	if !plainStep.MatchString(name) || unicode.IsUpper(rune(name[0])) {
		return name // a key of a map
	}
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// child is what stands below a value, and the step that leads there as the document writes it.
func child(v any, step string) (any, string, bool) {
	switch v := v.(type) {
	case map[string]any:
		if c, ok := v[step]; ok {
			return c, step, true
		}
		for name, c := range v {
			if snake(name) == step {
				return c, name, true
			}
		}
	case []any:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(v) {
			return v[i], step, true
		}
	}
	return nil, "", false
}

// descend goes as far below v as the steps lead, and returns what it found there, the steps that it took, as the document writes
// them, and whether these were all.
func descend(v any, path steps) (found any, taken steps, all bool) {
	for _, step := range path {
		next, name, ok := child(v, step)
		if !ok {
			return v, taken, false
		}
		v, taken = next, append(taken, name)
	}
	return v, taken, true
}

// at is what stands at a place, nil when nothing does.
func (d *document) at(p steps) any {
	v, _, ok := descend(d.root, p)
	if !ok {
		return nil
	}
	return v
}

// walk visits a value and all below it, fields by their names, until visit says that it need not look below one.
func walk(v any, p steps, visit func(p steps, v any) (deeper bool)) {
	if !visit(p, v) {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			walk(v[name], p.to(name), visit)
		}
	case []any:
		for i, e := range v {
			walk(e, p.to(strconv.Itoa(i)), visit)
		}
	}
}

// field is a field of a message, nil without one.
func field(v any, name string) any {
	c, _, _ := child(v, name)
	return c
}

// text is a field of a message that is a string, "" without one.
func text(v any, name string) string {
	s, _ := field(v, name).(string)
	return s
}

// typeOf is the type of an extension's configuration, "" where v is none. A TypedStruct says for what it stands.
func typeOf(v any) string {
	t := text(v, "@type")
	if strings.HasSuffix(t, ".TypedStruct") {
		t = text(v, "type_url")
	}
	return t[strings.LastIndexByte(t, '/')+1:]
}
