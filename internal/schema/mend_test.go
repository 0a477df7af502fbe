package schema

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMend has one schema for each thing that providers refuse. An empty want is the schema itself, to the byte.
func TestMend(t *testing.T) {
	t.Parallel()
	const self = ""
	for _, tc := range []struct{ name, schema, openai, anthropic, gemini string }{
		{"nothing is wrong", `{"type":"object",  "properties":{"b":{"type":"string"},"a":{"type":"integer","minimum":1}},"required":["b"]}`, self, self, self},
		{"no properties", `{"type":"object"}`, `{"type":"object","properties":{}}`, `{"type":"object","properties":{}}`, `{"type":"object","properties":{}}`},
		{"nothing", `{}`, `{"type":"object","properties":{}}`, `{"type":"object","properties":{}}`, `{"type":"object","properties":{}}`},
		{"nulls", `{"type":"object","properties":null,"required":null,"description":null}`, `{"type":"object","properties":{}}`, `{"type":"object","properties":{}}`, `{"type":"object","properties":{}}`},
		{"a null that is meant", `{"type":"object","properties":{"a":{"type":"string","default":null}}}`, self, self, `{"type":"object","properties":{"a":{"type":"string"}}}`},
		{"no items", `{"type":"object","properties":{"a":{"type":"array"}}}`, `{"type":"object","properties":{"a":{"type":"array","items":{}}}}`, `{"type":"object","properties":{"a":{"type":"array","items":{}}}}`, `{"type":"object","properties":{"a":{"type":"array","items":{"type":"string"}}}}`},
		{"items by place", `{"type":"object","properties":{"a":{"type":"array","items":[{"type":"string"},{"type":"number"}]}}}`, `{"type":"object","properties":{"a":{"type":"array","items":{"anyOf":[{"type":"string"},{"type":"number"}]}}}}`, `{"type":"object","properties":{"a":{"type":"array","items":{"anyOf":[{"type":"string"},{"type":"number"}]}}}}`, `{"type":"object","properties":{"a":{"type":"array","items":{"anyOf":[{"type":"string"},{"type":"number"}]}}}}`},
		{"required only by branches", `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"],"anyOf":[{"required":["a"]},{"required":["b"]}]}`, `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"]}`, `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"]}`, `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"]}`},
		{"a choice at the top", `{"oneOf":[{"type":"object","properties":{"kind":{"const":"a"},"x":{"type":"string"}},"required":["kind","x"]},{"type":"object","properties":{"kind":{"const":"b"},"y":{"type":"string"}},"required":["kind"]},{"type":"null"}]}`, `{"type":"object","properties":{"kind":{"anyOf":[{"const":"a"},{"const":"b"}]},"x":{"type":"string"},"y":{"type":"string"}},"required":["kind"]}`, `{"type":"object","properties":{"kind":{"anyOf":[{"const":"a"},{"const":"b"}]},"x":{"type":"string"},"y":{"type":"string"}},"required":["kind"]}`, `{"type":"object","properties":{"kind":{"anyOf":[{"enum":["a"],"type":"string"},{"enum":["b"],"type":"string"}]},"x":{"type":"string"},"y":{"type":"string"}},"required":["kind"]}`},
		{"all at the top", `{"allOf":[{"$ref":"#/$defs/base"},{"properties":{"b":{"type":"number"}},"required":["b"]}],"$defs":{"base":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}}}`, `{"type":"object","$defs":{"base":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}},"properties":{"a":{"type":"string"},"b":{"type":"number"}},"required":["a","b"]}`, `{"type":"object","$defs":{"base":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}},"properties":{"a":{"type":"string"},"b":{"type":"number"}},"required":["a","b"]}`, `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"number"}},"required":["a","b"]}`},
		{"a reference at the top", `{"$ref":"#/definitions/Args","definitions":{"Args":{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}},"$schema":"http://json-schema.org/draft-07/schema#"}`, `{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false,"definitions":{"Args":{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}},"$schema":"http://json-schema.org/draft-07/schema#"}`, `{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false,"definitions":{"Args":{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}},"$schema":"http://json-schema.org/draft-07/schema#"}`, `{"type":"object","properties":{"a":{"type":"string"}}}`},
		{"draft 4", `{"type":"object","properties":{"n":{"type":"integer","minimum":0,"exclusiveMinimum":true,"maximum":9,"exclusiveMaximum":false}}}`, `{"type":"object","properties":{"n":{"type":"integer","exclusiveMinimum":0,"maximum":9}}}`, `{"type":"object","properties":{"n":{"type":"integer","exclusiveMinimum":0,"maximum":9}}}`, `{"type":"object","properties":{"n":{"type":"integer","maximum":9,"minimum":1}}}`},
		{"keys", `{"type":"object","properties":{"$.xgafv":{"type":"string"},"a":{"type":"object","properties":{"filter[name]":{"type":"string"}},"required":["filter[name]"]}},"required":["a"]}`, self, `{"type":"object","properties":{"a":{"type":"object","properties":{},"required":[]}},"required":["a"]}`, self},
		{"types by other names", `{"type":"object","properties":{"a":{"type":"str"},"b":{"type":"Integer"},"c":{"type":"any"},"d":{"type":7},"e":{"type":["string","float","string"]},"f":{"type":"weird"}}}`, `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"},"c":{},"d":{},"e":{"type":["string","number"]},"f":{}}}`, `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"},"c":{},"d":{},"e":{"type":["string","number"]},"f":{}}}`, `{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"},"c":{},"d":{},"e":{"anyOf":[{"type":"string"},{"type":"number"}]},"f":{}}}`},
		{"words of the wrong type", `{"type":"object","properties":{"a":{"type":"string","minLength":"5","title":7,"uniqueItems":1,"enum":[],"anyOf":[],"required":true},"b":true,"c":false,"d":null,"e":"string"},"required":["a",7,"a"]}`, `{"type":"object","properties":{"a":{"type":"string"},"b":{},"d":{},"e":{}},"required":["a"]}`, `{"type":"object","properties":{"a":{"type":"string"},"b":{},"d":{},"e":{}},"required":["a"]}`, `{"type":"object","properties":{"a":{"type":"string"},"b":{},"d":{},"e":{}},"required":["a"]}`},
		{"references to nothing", `{"type":"object","properties":{"a":{"$ref":"#/$defs/no"},"b":{"$ref":"https://example.com/x"},"c":{"$ref":7},"d":{"$ref":"#no"}}}`, `{"type":"object","properties":{"a":{},"b":{},"c":{},"d":{}}}`, `{"type":"object","properties":{"a":{},"b":{},"c":{},"d":{}}}`, `{"type":"object","properties":{"a":{},"b":{},"c":{},"d":{}}}`},
		{"a tree", `{"type":"object","properties":{"t":{"$ref":"#/$defs/t","description":"a tree"}},"$defs":{"t":{"type":"object","properties":{"name":{"type":"string"},"of":{"type":"array","items":{"$ref":"#/$defs/t"}}}}}}`, self, self, `{"type":"object","properties":{"t":{"description":"a tree","type":"object","properties":{"name":{"type":"string"},"of":{"type":"array","items":{}}}}}}`},
		{"a reference into the properties", `{"type":"object","properties":{"a~b/c":{"type":"object","properties":{}},"x":{"items":{"$ref":"#/properties/a~0b~1c"},"type":"array"}}}`, self, `{"type":"object","properties":{"x":{"items":{},"type":"array"}}}`, `{"type":"object","properties":{"a~b/c":{"type":"object","properties":{}},"x":{"items":{"type":"object","properties":{}},"type":"array"}}}`},
		{"what a subset lacks", `{"type":"object","properties":{"a":{"type":["string","null"],"format":"uri","minLength":1},"b":{"enum":[1,2],"description":"How many."},"c":{"anyOf":[{"type":"number","exclusiveMinimum":0},{"type":"null"}],"default":null,"title":"C"},"d":{"anyOf":[{"type":"string"},{"type":"number"}],"description":"either"},"e":{"type":"object","patternProperties":{"x":{}},"additionalProperties":{"type":"string"}},"f":{"const":"x"},"g":{"allOf":[{"type":"string"},{"maxLength":3}]}},"additionalProperties":false,"$schema":"x"}`, self, self, `{"type":"object","properties":{"a":{"type":"string","minLength":1,"nullable":true},"b":{"description":"How many. One of: 1, 2"},"c":{"title":"C","type":"number","minimum":0,"nullable":true},"d":{"anyOf":[{"type":"string","description":"either"},{"type":"number","description":"either"}]},"e":{"type":"object"},"f":{"enum":["x"],"type":"string"},"g":{"type":"string","maxLength":3}}}`},
	} {
		for _, one := range []struct {
			name  string
			rules Rules
			want  string
		}{{"OpenAI", OpenAI, tc.openai}, {"Anthropic", Anthropic, tc.anthropic}, {"Gemini", Gemini, tc.gemini}} {
			t.Run(tc.name+"/"+one.name, func(t *testing.T) {
				t.Parallel()
				got, err := Mend(json.RawMessage(tc.schema), one.rules)
				require.NoError(t, err)
				want := one.want
				if want == self {
					want = tc.schema
				}
				require.Equal(t, want, string(got))
				require.Empty(t, refused(got, one.rules))
			})
		}
	}
}

// TestMendNot has schemas of which nothing can be made.
func TestMendNot(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, schema string
		rules        Rules
		want         error
	}{
		{"no JSON", `{"type"`, OpenAI, errSyntax},
		{"two", `{} {}`, OpenAI, errSyntax},
		{"no object", `[]`, OpenAI, errTop},
		{"arguments that are a string", `{"type":"string"}`, OpenAI, errTop},
		{"a choice of no objects", `{"anyOf":[{"type":"string"},{"type":"null"}]}`, OpenAI, errTop},
		{"a reference to no object", `{"$ref":"#/$defs/x","$defs":{"x":{"type":"array"}}}`, OpenAI, errTop},
		{"a key that is required", `{"type":"object","properties":{"a b":{}},"required":["a b"]}`, Anthropic, errKey},
		{"too deep", strings.Repeat(`{"properties":{"a":`, 60) + "{}" + strings.Repeat("}}", 60), OpenAI, errSize},
		{"too many", `{"enum":[` + strings.Repeat("1,", maxNodes) + `1]}`, OpenAI, errSize},
		{"a name of megabytes", `{"properties":{"` + strings.Repeat("x", maxBytes) + `":{}}}`, OpenAI, errSize},
		{"references that double", doubling(30), Gemini, errSize},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := Mend(json.RawMessage(tc.schema), tc.rules)
			require.Equal(t, tc.want, err)
		})
	}
}

// doubling is a schema that is twice as large with each definition, where references are put in.
func doubling(n int) string {
	var defs []string
	for i := range n {
		defs = append(defs, fmt.Sprintf(`"d%d":{"type":"object","properties":{"a":{"$ref":"#/$defs/d%d"},"b":{"$ref":"#/$defs/d%d"}}}`, i, i+1, i+1))
	}
	return `{"type":"object","properties":{"x":{"$ref":"#/$defs/d0"}},"$defs":{` + strings.Join(defs, ",") + fmt.Sprintf(`,"d%d":{}}}`, n)
}

// refused says why a provider would refuse a schema: their rules as they tell them, written without the code that mends.
func refused(raw []byte, rules Rules) string {
	var top any
	if json.Unmarshal(raw, &top) != nil {
		return "no JSON"
	}
	s, ok := top.(map[string]any)
	if !ok || s["type"] != "object" {
		return "the top is no object"
	}
	for _, word := range []string{"anyOf", "oneOf", "allOf", "enum", "not", "const"} {
		if _, there := s[word]; there {
			return word + " at the top"
		}
	}
	if _, ok := s["properties"].(map[string]any); !ok {
		return "no properties"
	}
	return refusedIn(s, rules)
}

func refusedIn(s map[string]any, rules Rules) string {
	var inside []any
	for word, v := range s {
		_, isObject := v.(map[string]any)
		_, isBool := v.(bool)
		_, isNumber := v.(float64)
		switch {
		case rules.subset && !known[word]:
			return "unknown: " + word
		case v == nil && word != "default" && word != "const" && word != "example":
			return "null: " + word
		case (word == "exclusiveMinimum" || word == "exclusiveMaximum") && !isNumber:
			return "draft 4: " + word
		case word == "items" && !isObject && !isBool:
			return "items that are no schema"
		case single[word] && !isObject && !isBool:
			return "no schema: " + word
		case single[word] && isObject:
			inside = append(inside, v)
		case several[word]:
			inside = append(inside, v.([]any)...)
		case byName[word]:
			for name, p := range v.(map[string]any) {
				if word == "properties" && rules.key != nil && !rules.key.MatchString(name) {
					return "a key"
				}
				inside = append(inside, p)
			}
		}
	}
	if either, ok := s["anyOf"]; ok && rules.subset && (len(s) > 1 || len(either.([]any)) < 2) {
		return "anyOf is not alone"
	}
	if _, there := s["items"]; !there && (s["type"] == "array" || slices.Contains(asList(s["type"]), "array")) {
		return "an array without items"
	}
	if rules.subset && asList(s["type"]) != nil {
		return "several types"
	}
	for _, one := range inside {
		p, ok := one.(map[string]any)
		if !ok {
			return "a schema that is no object"
		}
		if why := refusedIn(p, rules); why != "" {
			return why
		}
	}
	return ""
}

func asList(v any) []any {
	l, _ := v.([]any)
	return l
}

// FuzzMend checks that what is mended is what providers take, and that mending it again changes nothing.
func FuzzMend(f *testing.F) {
	for _, one := range []string{
		`{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"oneOf":[{"type":"integer"},{"type":"null"}]}}}`,
		`{"anyOf":[{"$ref":"#"},{"properties":{"a":{"type":["array","null"],"items":[{},true]}}}]}`,
		`{"allOf":[{"if":{"properties":{"a":{"const":1}}},"then":{"required":["b"]}}],"properties":{"a":{"enum":[1,null,"x",""]}}}`,
		`{"properties":{"a":{"minimum":1,"exclusiveMinimum":true,"prefixItems":[{}],"not":{"type":"array"},"additionalProperties":false,"patternProperties":{"x":null}}}}`,
		`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`,
		doubling(3),
	} {
		f.Add([]byte(one))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, rules := range []Rules{OpenAI, Anthropic, Gemini} {
			got, err := Mend(raw, rules)
			if err != nil {
				continue
			}
			require.Empty(t, refused(got, rules), "%s", got)
			again, err := Mend(got, rules)
			require.NoError(t, err)
			require.Equal(t, string(got), string(again))
		}
	})
}

// TestRealSchemas mends the schemas of testdata, of MCP servers that are in use.
func TestRealSchemas(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, rules := range []Rules{OpenAI, Anthropic, Gemini} {
			got, err := Mend(raw, rules)
			require.NoError(t, err, file)
			require.Empty(t, refused(got, rules), file)
		}
	}
}

// TestDescribe cuts a description by characters, and only one that is too long.
func TestDescribe(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]string{
		10: strings.Repeat("é", 10), 1024: strings.Repeat("é", 1024), 1025: strings.Repeat("é", 1023) + "…", 5000: strings.Repeat("é", 1023) + "…",
	} {
		require.Equal(t, want, OpenAI.Describe(strings.Repeat("é", length)))
	}
	require.Len(t, Anthropic.Describe(strings.Repeat("x", 5000)), 5000)
}
