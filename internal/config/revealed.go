package config

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/mcp"
)

// revealed is a text that may stand in the file, or by reference one that may not.
type revealed struct {
	literal scalar[string] // how a text is judged
	content content        // how what a reference leads to is judged
	private bool           // by reference only
}

func (v revealed) read(r *reader, path string, n *yaml.Node, into *string) {
	if n.Kind == yaml.MappingNode {
		var ref reference
		secretOf(1).mapping.read(r, path, n, &ref)
		if s, _, ok := r.resolve(path, ref, v.content); ok {
			*into = s
		}
		return
	}
	if v.private {
		what := "a credential"
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			what = found(n)
		}
		r.refuse(path, "found %s; write {env: NAME} or {file: PATH}: %s", what, byReference)
		return
	}
	v.literal.read(r, path, n, into)
}

func (revealed) show(string) string { return "" }

func (revealed) describe(string) description {
	of := secretOf(1).describe("")
	return description{word: "text or mapping", fields: of.fields, schema: map[string]any{
		"oneOf": []any{map[string]any{"type": "string"}, of.schema},
	}}
}

// Names of headers and variables that carry credentials.
var (
	credentialName = regexp.MustCompile(`(?i)(keys?|token|secrets?|passwd|password|passphrase|pwd|credentials?|authorization|cookie|bearer|jwt)([^a-z]|$)`)
)

func headersShape() dictionary[string] {
	return dictionary[string]{
		word: "names with text, `{env: NAME}` or `{file: PATH}`", example: "{authorization: {env: DOCS_TOKEN}}", pattern: mcp.HeaderPattern,
		refuse: func(name string) wrong { return wrong(mcp.BadHeader(name)) },
		item: func(name string) shape[string] {
			const want = "the header's value"
			return revealed{
				private: credentialName.MatchString(name),
				literal: text("text", want, func(s string) wrong {
					if looksSecret(s) {
						return itselfAKey
					}
					if w := badHeader(s, false); w != "" {
						return "the value here is " + w
					}
					return ""
				}),
				content: badHeader,
			}
		},
	}
}

// badHeader says what is wrong with a header's value (RFC 9110 section 5.5), without repeating it.
func badHeader(s string, _ bool) wrong {
	switch first := strings.IndexFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c > '~' }); {
	case s == "":
		return "an empty text; write the value, or remove the header"
	case first >= 0 && (s[first] == '\n' || s[first] == '\r'):
		return "a text of more than one line; write one"
	case first >= 0:
		return "a text with a character that no header can carry; write it again"
	case strings.TrimSpace(s) != s:
		return "a text with a space at its beginning or end; remove it"
	case len(s) > 1 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0]:
		return "a text in quotes; remove them"
	}
	return ""
}

func environmentShape() dictionary[string] {
	noZero := func(s string, _ bool) wrong {
		if strings.ContainsRune(s, 0) {
			return "a zero byte, which no variable can have; write it again"
		}
		return ""
	}
	return dictionary[string]{
		word: "names with text, `{env: NAME}` or `{file: PATH}`", example: "{DOCS_TOKEN: {env: DOCS_TOKEN}}", pattern: envName.String(),
		refuse: func(name string) wrong {
			if !envName.MatchString(name) {
				return "cannot be the name of an environment variable; write a name such as DOCS_TOKEN"
			}
			return ""
		},
		item: func(name string) shape[string] {
			return revealed{
				private: credentialName.MatchString(name),
				literal: text("text", "the variable's value", func(s string) wrong {
					if looksSecret(s) {
						return itselfAKey
					}
					if w := noZero(s, false); w != "" {
						return "the value here has " + w
					}
					return ""
				}),
				content: noZero,
			}
		},
	}
}
