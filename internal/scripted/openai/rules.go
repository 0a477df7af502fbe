// Package openai knows what both of OpenAI's APIs refuse.
package openai

import (
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// Unparsed is the error for a body that is no JSON.
func Unparsed() *talk.Problem {
	return talk.Invalid("", "", "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "+
		"library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)")
}

// RefuseTools checks what both of OpenAI's APIs say of tools and of tool_choice.
func RefuseTools(e talk.Endpoint, t *talk.Told) *talk.Problem {
	if len(t.Tools) > talk.MaxTools {
		return talk.Invalid("tools", "array_above_max_length",
			"Invalid 'tools': array too long. Expected an array with maximum length %d, but got an array with length %d instead.",
			talk.MaxTools, len(t.Tools))
	}
	names := map[string]bool{}
	for i, tool := range t.Tools {
		if !tool.Callable() {
			continue
		}
		param := fmt.Sprintf("tools[%d].name", i)
		if e == talk.Chat {
			param = fmt.Sprintf("tools[%d].function.name", i)
		}
		switch {
		case tool.Name == "":
			return talk.Invalid(param, "missing_required_parameter", "Missing required parameter: '%s'.", param)
		case len(tool.Name) > talk.MaxNameLen:
			return talk.TooLong(param, talk.MaxNameLen, tool.Name)
		case !talk.NameRule.MatchString(tool.Name):
			return talk.Invalid(param, "invalid_value",
				"Invalid '%s': string does not match pattern. Expected a string that matches the pattern '%s'.", param, talk.NamePattern)
		case names[tool.Name]:
			return talk.Invalid(param, "invalid_value", "Invalid '%s': there is another tool with the name '%s'.", param, tool.Name)
		}
		names[tool.Name] = true
		if tool.Type != "function" {
			continue
		}
		if pr := refuseSchema(strings.TrimSuffix(param, "name")+"parameters", tool.Name, tool.Parameters); pr != nil {
			return pr
		}
	}
	return refuseChoice(e, t, names)
}

func refuseChoice(e talk.Endpoint, t *talk.Told, names map[string]bool) *talk.Problem {
	choice := t.Choice()
	if e == talk.Chat && len(t.Tools) == 0 {
		for param, set := range map[string]bool{"tool_choice": len(t.ToolChoice) > 0, "parallel_tool_calls": t.Parallel != nil} {
			if set && string(t.ToolChoice) != "null" {
				return talk.Invalid(param, "", "Invalid value for '%s': '%s' is only allowed when 'tools' are specified.", param, param)
			}
		}
	}
	for _, name := range choice.Names {
		switch {
		case names[name]:
		case e == talk.Chat:
			return talk.Invalid("tool_choice", "", "Invalid value for 'tool_choice': no function named '%s' was specified in the 'tools' parameter.", name)
		default:
			return talk.Invalid("tool_choice", "", "Tool choice '%s' not found in 'tools' parameter.", name)
		}
	}
	if choice.Mode == "required" && len(t.Tools) == 0 {
		return talk.Invalid("tool_choice", "", "Tool choice 'required' must be specified with 'tools' parameter.")
	}
	return nil
}
