package openai

import (
	"encoding/json"
	"fmt"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// refuseSchema checks the parameters of a function that is not strict, by what public reports quote of the API's errors.
func refuseSchema(param, name string, raw json.RawMessage) *talk.Problem {
	if len(raw) == 0 || string(raw) == "null" { // a function without any
		return nil
	}
	var schema map[string]any
	why := ""
	switch {
	case json.Unmarshal(raw, &schema) != nil:
		why = "schema must be a JSON Schema of 'type: \"object\"'."
	case schema["type"] != "object":
		why = fmt.Sprintf("schema must be a JSON Schema of 'type: \"object\"', got 'type: \"%v\"'.", schema["type"])
	case schema["properties"] == nil:
		why = "In context=(), object schema missing properties."
	default:
		for _, word := range []string{"oneOf", "anyOf", "allOf", "enum", "not"} {
			if _, there := schema[word]; there {
				why = "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
			}
		}
		if why == "" {
			why = refuseArrays(schema, "()")
		}
	}
	if why == "" {
		return nil
	}
	return talk.Invalid(param, "invalid_function_parameters", "Invalid schema for function '%s': %s", name, why)
}

// refuseArrays finds an array that does not say what is in it.
func refuseArrays(node any, at string) string {
	switch v := node.(type) {
	case []any:
		for _, e := range v {
			if why := refuseArrays(e, at); why != "" {
				return why
			}
		}
	case map[string]any:
		if v["type"] == "array" && v["items"] == nil && v["prefixItems"] == nil {
			return fmt.Sprintf("In context=%s, array schema missing items.", at)
		}
		for name, e := range v {
			switch name {
			case "enum", "const", "default", "examples", "required":
				continue
			}
			if why := refuseArrays(e, fmt.Sprintf("(%q)", name)); why != "" {
				return why
			}
		}
	}
	return ""
}
