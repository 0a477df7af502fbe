package messages

import (
	"encoding/json"
	"regexp"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// keyRule is what the names of properties must be.
var keyRule = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

// refuseSchema checks the input_schema of a tool, by what public reports quote of the API's errors.
func refuseSchema(i int, raw json.RawMessage) *talk.Problem {
	var schema map[string]any
	switch {
	case json.Unmarshal(raw, &schema) != nil:
		return talk.Invalid("", "", "tools.%d.custom.input_schema: Input should be a valid dictionary", i)
	case schema["type"] == nil:
		return talk.Invalid("", "", "tools.%d.custom.input_schema.type: Field required", i)
	case schema["type"] != "object":
		return talk.Invalid("", "", "tools.%d.custom.input_schema.type: Input should be 'object'", i)
	}
	for _, word := range []string{"oneOf", "allOf", "anyOf"} {
		if _, there := schema[word]; there {
			return talk.Invalid("", "", "tools.%d.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level", i)
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for name := range properties {
		if !keyRule.MatchString(name) {
			return talk.Invalid("", "", "tools.%d.custom.input_schema.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'", i)
		}
	}
	if !draft2020(schema) {
		return talk.Invalid("", "", "tools.%d.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12 "+
			"(https://json-schema.org/draft/2020-12). Learn more about tool use at https://docs.claude.com/en/docs/tool-use.", i)
	}
	return nil
}

// draft2020 reports whether the words of older drafts that servers send are missing.
func draft2020(node any) bool {
	switch v := node.(type) {
	case []any:
		for _, e := range v {
			if !draft2020(e) {
				return false
			}
		}
	case map[string]any:
		_, low := v["exclusiveMinimum"].(bool)
		_, high := v["exclusiveMaximum"].(bool)
		_, tuple := v["items"].([]any)
		_, required := v["required"].(bool)
		if low || high || tuple || required {
			return false
		}
		for name, e := range v {
			if name != "enum" && name != "const" && name != "default" && name != "examples" && !draft2020(e) {
				return false
			}
		}
	}
	return true
}
