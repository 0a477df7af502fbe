package schema

import (
	"regexp"
	"unicode/utf8"
)

// Rules are what a provider takes.
type Rules struct {
	// key is what the names of properties must be. Nil: anything.
	key *regexp.Regexp
	// subset says that only a few words of JSON Schema are known, and no references.
	subset bool
	// Description is how long the description of a tool may be, in characters. Zero: as long as it likes.
	Description int
}

// The rules of the providers, as their errors tell them: the documentation has few of them.
var (
	// OpenAI is for OpenAI, Azure, and what speaks like them: "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the
	// top level", "object schema missing properties", "array schema missing items", and 1,024 characters of description.
	// https://platform.openai.com/docs/guides/function-calling
	OpenAI = Rules{Description: 1024}
	// Compatible is for providers of that dialect whose limits are unknown.
	Compatible = Rules{}
	// Anthropic: "input_schema does not support oneOf, allOf, or anyOf at the top level", "Property keys should match pattern", and a schema
	// that is valid by draft 2020-12. https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use
	Anthropic = Rules{key: regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)}
	// Gemini takes a subset of OpenAPI's schemas: "Unknown name "exclusiveMinimum"", "$ref was set alongside unsupported fields", "any_of must be the
	// only field set". https://ai.google.dev/api/caching#Schema
	Gemini = Rules{subset: true}
)

// What a schema may cost, whatever it says.
const (
	maxDepth = 100      // levels of JSON
	maxNodes = 20_000   // values, also those that references bring in
	maxBytes = 64 << 10 // of a mended schema
)

// The words of JSON Schema under which there are schemas. https://json-schema.org/draft/2020-12/meta/applicator
var (
	single  = words("items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains", "propertyNames", "not", "if", "then", "else")
	several = words("anyOf", "oneOf", "allOf", "prefixItems")
	byName  = words("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
)

// known are the words that a subset has. https://ai.google.dev/api/caching#Schema
var known = words("type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties", "required", "minProperties",
	"maxProperties", "minLength", "maxLength", "pattern", "anyOf", "default", "items", "minimum", "maximum")

// formats are those that it knows.
var formats = words("enum", "date-time", "int32", "int64", "float", "double")

// types are JSON Schema's, and what servers write in their place; "" is none.
var types = map[string]string{
	"object": "object", "array": "array", "string": "string", "number": "number", "integer": "integer", "boolean": "boolean", "null": "null",
	"dict": "object", "map": "object", "list": "array", "tuple": "array", "str": "string", "text": "string", "float": "number", "double": "number",
	"decimal": "number", "int": "integer", "long": "integer", "bool": "boolean", "any": "",
}

func words(all ...string) map[string]bool {
	set := make(map[string]bool, len(all))
	for _, w := range all {
		set[w] = true
	}
	return set
}

// Describe returns a tool's description as the rules want it: cut where it is too long.
func (r Rules) Describe(text string) string {
	if r.Description == 0 || len(text) <= r.Description {
		return text
	}
	characters := 0
	for i := range text {
		if characters++; characters == r.Description {
			if utf8.RuneCountInString(text[i:]) == 1 {
				return text
			}
			return text[:i] + "…"
		}
	}
	return text
}
