package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Setting is one value of the configuration that is in force.
type Setting struct {
	Path  string // as in "pools[0].keys[1].env"
	Value string // as the file has it, or would; a secret only by reference
	Line  int    // of the file; 0: the file says nothing, and this is the default
}

// maxSettings bounds what Settings returns: anchors can make a small file a large tree.
const maxSettings = 20_000

// Settings returns every setting that is in force: those of the file in the file's order, with their lines, and the defaults of what it leaves
// open. It shows no secret. Some defaults are words, such as "built in", where another field decides them.
func (c *Config) Settings() []Setting {
	if c.settings == nil {
		return nil
	}
	return c.settings()
}

// effective is Settings for what r has read. It keeps of r only what it needs.
func (r *reader) effective() func() []Setting {
	given, secrets := r.scalars, &r.secrets
	if len(given) > maxSettings {
		given = given[:maxSettings]
	}
	lines := r.line
	return func() []Setting {
		all := make([]Setting, 0, 2*len(given))
		for _, s := range given {
			s.Value = withoutSecret(s.Value, *secrets)
			all = append(all, s)
		}
		addDefaults(&all, lines, "", root().describe(Config{}).fields)
		sections := root().names()
		slices.SortStableFunc(all, func(a, b Setting) int { return comparePaths(sections, a.Path, b.Path) })
		return slices.CompactFunc(all, func(a, b Setting) bool { return a.Path == b.Path }) // an alias brings its values along more than once
	}
}

// addDefaults adds the defaults of the fields within path that have none of their own.
func addDefaults(all *[]Setting, lines map[string]int, path string, fields []fieldText) {
	for _, f := range fields {
		at := within(path, f.name)
		if len(*all) >= 2*maxSettings {
			return
		}
		switch isList := strings.HasPrefix(f.of.suffix, "[]"); {
		case isList && lines[at] > 0:
			for i := 0; ; i++ {
				item := fmt.Sprintf("%s[%d]", at, i)
				if lines[item] == 0 {
					break
				}
				addDefaults(all, lines, item, f.of.fields)
			}
		case lines[at] > 0:
			if !isReference(f.of.fields) {
				addDefaults(all, lines, at, f.of.fields)
			}
		case f.value != "" || f.note != "":
			value := f.value
			if f.note != "" {
				value = f.note
			}
			*all = append(*all, Setting{Path: at, Value: value})
		case !isList && !f.required && f.of.suffix == "":
			addDefaults(all, lines, at, f.of.fields)
		}
	}
}

// isReference says whether the fields are those of a reference to a secret, which has no defaults.
func isReference(fields []fieldText) bool {
	return slices.ContainsFunc(fields, func(f fieldText) bool { return f.name == "env" })
}

// withoutSecret is a value of the file as it may be shown.
func withoutSecret(value string, secrets []string) string {
	const hidden, shortest = "(not shown)", 6
	if looksSecret(value) {
		return hidden
	}
	for _, s := range secrets {
		if len(s) >= shortest && strings.Contains(value, s) {
			return hidden
		}
	}
	if strings.Contains(value, "://") && strings.Contains(value, "@") {
		u, err := url.Parse(value)
		if err != nil {
			return hidden
		}
		return u.Redacted()
	}
	return value
}

// comparePaths has the numbers in brackets in their order, and the sections in that of the reference.
func comparePaths(sections []string, a, b string) int {
	section := func(path string) (n int) {
		name, _, _ := strings.Cut(strings.ReplaceAll(path, "[", "."), ".")
		return slices.Index(sections, name)
	}
	if d := section(a) - section(b); d != 0 {
		return d
	}
	for a != "" && b != "" {
		var x, y string
		x, a = pathStep(a)
		y, b = pathStep(b)
		if x == y {
			continue
		}
		if len(x) != len(y) && strings.HasPrefix(x, "[") && strings.HasPrefix(y, "[") {
			return len(x) - len(y)
		}
		return strings.Compare(x, y)
	}
	return len(a) - len(b)
}

// pathStep cuts the first step off a path: "keys" or "[12]".
func pathStep(path string) (step, rest string) {
	end := strings.IndexAny(path[1:], ".[") + 1
	if end == 0 {
		return path, ""
	}
	return path[:end], strings.TrimPrefix(path[end:], ".")
}
