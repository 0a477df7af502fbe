package scripted

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// ToolUser is a model that looks at the conversation and says what the function returns:
//
//	scripted.ToolUser(func(c scripted.Conversation) []scripted.Part {
//		if len(c.Latest) == 0 {
//			return []scripted.Part{scripted.Call("add", `{"a":1,"b":2}`), scripted.Call("weather", `{"city":"Paris"}`)}
//		}
//		return []scripted.Part{scripted.Text("done: " + c.Latest[0].Text)}
//	})
//
// It obeys the request as a model does: with tool_choice none it calls nothing, with a tool that it must call it calls that one,
// and where calls may not be parallel it makes one. The conversation holds what the provider stored, if it is strict
// (Config.Strict). The function is called from the goroutine that serves the request.
func ToolUser(model func(talk.Conversation) []talk.Part) Answer {
	return Answer{name: "tool user", model: true, render: func(x *exchange) response {
		return x.good(talk.Turn{Model: func(c talk.Conversation) []talk.Part { return obey(c, model(c)) }})
	}}
}

// obey makes the parts what the request's tool_choice allows, and what it asks for.
func obey(c talk.Conversation, parts []talk.Part) []talk.Part {
	if c.Choice.Mode == "required" || c.Choice.Mode == "named" {
		parts = slices.DeleteFunc(slices.Clone(parts), func(p talk.Part) bool { return p.Called() && !c.Choice.Allows(p.Name) })
		if tool, ok := c.Tool(""); ok && !slices.ContainsFunc(parts, talk.Part.Called) {
			parts = append(parts, use(c, tool))
		}
	}
	parts = talk.Turn{Parts: parts}.Forbidden(c).Parts
	if len(parts) == 0 {
		return []talk.Part{talk.Text("I may not call a tool.")}
	}
	return parts
}

// use calls a tool with arguments made of what the user said last.
func use(c talk.Conversation, t talk.Tool) talk.Part {
	if t.Custom {
		return talk.Custom(t.Name, c.LastUserText)
	}
	return talk.Call(t.Name, argumentsFor(t, c.LastUserText))
}

var (
	numbers = regexp.MustCompile(`-?\d+(?:\.\d+)?`)
	places  = regexp.MustCompile(`\b(?:in|for|at|of|from)\s+(\p{Lu}[\p{L}'’-]*(?:\s\p{Lu}[\p{L}'’-]*)*)`)
)

// placeIn finds the name of a place: "in New York".
func placeIn(text string) (name string, ok bool) {
	if m := places.FindStringSubmatch(text); m != nil {
		return m[1], true
	}
	return "", false
}

// argumentsFor fills what the tool's schema requires (all of it, if it requires nothing): numbers with those of the text in their order,
// strings with the place that it names, or with the text.
func argumentsFor(t talk.Tool, text string) string {
	var schema struct {
		Properties map[string]struct {
			Type any   `json:"type"`
			Enum []any `json:"enum"`
		} `json:"properties"`
		Required []string `json:"required"`
	}
	_ = json.Unmarshal(t.Schema, &schema)
	names := schema.Required
	if len(names) == 0 {
		for name := range schema.Properties {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	found := numbers.FindAllString(text, -1)
	words := text
	if p, ok := placeIn(text); ok {
		words = p
	}
	arguments := map[string]any{}
	for _, name := range names {
		property := schema.Properties[name]
		kind, _ := property.Type.(string)
		switch {
		case len(property.Enum) > 0:
			arguments[name] = property.Enum[0]
		case kind == "number" || kind == "integer":
			number := json.Number("0")
			if len(found) > 0 {
				number, found = json.Number(found[0]), found[1:]
			}
			if kind == "integer" {
				whole, _, _ := strings.Cut(number.String(), ".")
				number = json.Number(whole)
			}
			arguments[name] = number
		case kind == "boolean":
			arguments[name] = false
		case kind == "array":
			arguments[name] = []any{}
		case kind == "object":
			arguments[name] = map[string]any{}
		default:
			arguments[name] = words
		}
	}
	return string(talk.Encode(arguments))
}
