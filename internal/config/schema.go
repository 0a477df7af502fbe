package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// Schema returns the JSON schema (draft 2020-12) of the file, for editors and other checkers. What needs more than one value, such as
// a file that must exist, only Load can tell.
func Schema() []byte {
	top := root().describe(Config{}).schema
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["title"] = "keyturn.yaml"
	top["description"] = "The configuration of Keyturn. Keys stand in it by reference only."
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(top); err != nil {
		return nil // maps, lists, strings and numbers always encode
	}
	return b.Bytes()
}

// schema is the JSON schema of a field: that of its value, with what the field is for.
func (f fieldText) schema() map[string]any {
	s := maps.Clone(f.of.schema)
	s["description"] = f.doc
	if f.value == "" {
		return s
	}
	s["default"] = f.value
	switch s["type"] {
	case "boolean", "integer":
		s["default"] = json.RawMessage(f.value)
	case "array", "object":
		delete(s, "default")
	}
	return s
}

// Reference returns a markdown table of every field: its path, type, default and meaning.
func Reference() []byte {
	var b bytes.Buffer
	b.WriteString("| field | type | default | meaning |\n|---|---|---|---|\n")
	rows(&b, "", root().describe(Config{}).fields)
	return b.Bytes()
}

func rows(b *bytes.Buffer, path string, fields []fieldText) {
	cell := strings.NewReplacer("|", `\|`, "\n", " ")
	for _, f := range fields {
		value := f.note
		switch {
		case f.required:
			value = "required"
		case f.value != "":
			value = "`" + f.value + "`"
		}
		at := within(path, f.name)
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", at, cell.Replace(f.of.word), cell.Replace(value), cell.Replace(f.doc))
		rows(b, at+f.of.suffix, f.of.fields)
	}
}

// homes returns the places in which a field of this name is known, for the message about one that stands elsewhere.
func homes(name string) []string {
	var found []string
	var walk func(path string, fields []fieldText)
	walk = func(path string, fields []fieldText) {
		for _, f := range fields {
			if f.name == name {
				place := strings.TrimSuffix(path, "[]")
				if place == "" {
					place = "the top level"
				}
				found = append(found, place)
			}
			walk(within(path, f.name)+f.of.suffix, f.of.fields)
		}
	}
	walk("", root().describe(Config{}).fields)
	return found
}
