package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
)

// violates checks v against the keywords of JSON schema that Schema uses, and says where the first of them fails. It knows no others:
// a new keyword in the schema makes it fail.
func violates(schema map[string]any, v any, at string) error {
	for keyword, want := range schema {
		var err error
		switch keyword {
		case "$schema", "title", "description", "default":
		case "properties", "additionalProperties", "required":
			err = violatesFields(schema, v, at)
		case "propertyNames":
			fields, _ := v.(map[string]any)
			for name := range fields {
				if err == nil {
					err = violates(want.(map[string]any), name, at)
				}
			}
		case "type":
			err = unless(isType(v, want.(string)), at, "is not of type %v", want)
		case "enum":
			if n, ok := v.(int); ok {
				v = float64(n) // as JSON has it
			}
			err = unless(slices.Contains(want.([]any), v), at, "is none of %v", want)
		case "pattern":
			s, ok := v.(string)
			err = unless(!ok || regexp.MustCompile(want.(string)).MatchString(s), at, "does not match %v", want)
		case "minimum":
			n, ok := v.(int)
			err = unless(!ok || float64(n) >= want.(float64), at, "is below %v", want)
		case "maximum":
			n, ok := v.(int)
			err = unless(!ok || float64(n) <= want.(float64), at, "is above %v", want)
		case "minItems":
			l, ok := v.([]any)
			err = unless(!ok || float64(len(l)) >= want.(float64), at, "has fewer items than %v", want)
		case "items":
			l, _ := v.([]any)
			for i, item := range l {
				if err == nil {
					err = violates(want.(map[string]any), item, fmt.Sprintf("%s[%d]", at, i))
				}
			}
		case "oneOf", "anyOf":
			n := 0
			for _, s := range want.([]any) {
				if violates(s.(map[string]any), v, at) == nil {
					n++
				}
			}
			err = unless(n == 1 || n > 1 && keyword == "anyOf", at, "fits %d of "+keyword, n)
		default:
			err = fmt.Errorf("the schema has the keyword %s, which this check does not know", keyword)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func violatesFields(schema map[string]any, v any, at string) error {
	fields, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := fields[name.(string)]; !ok {
			return fmt.Errorf("%s lacks %v", at, name)
		}
	}
	for name, value := range fields {
		s, known := properties[name].(map[string]any)
		if !known {
			s, known = schema["additionalProperties"].(map[string]any)
		}
		if !known {
			if schema["additionalProperties"] == false {
				return fmt.Errorf("%s has an unknown field %s", at, name)
			}
			continue
		}
		if err := violates(s, value, within(at, name)); err != nil {
			return err
		}
	}
	return nil
}

func unless(ok bool, at, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%s "+format, append([]any{at}, args...)...)
}

func isType(v any, name string) bool {
	switch v.(type) {
	case map[string]any:
		return name == "object"
	case []any:
		return name == "array"
	case string:
		return name == "string"
	case bool:
		return name == "boolean"
	case int:
		return name == "integer" || name == "number"
	case float64:
		return name == "number"
	}
	return false
}

func parsedSchema() (schema map[string]any, err error) {
	err = json.Unmarshal(Schema(), &schema)
	return schema, err
}
