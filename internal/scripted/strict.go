package scripted

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// refusal is the error that the real provider answers this request with; nil if it would answer it well, or if this one is not
// strict. The messages are the real ones, as far as they are known.
func (x *exchange) refusal() *Problem {
	if !x.p.cfg.Strict {
		return nil
	}
	if x.body == nil && x.req.BodySize > 0 {
		return nil // too big to be held
	}
	t := x.heard()
	anthropic := x.anthropic()
	switch {
	case t.err != nil && anthropic:
		return invalid("", "", "The request body is not valid JSON")
	case t.err != nil:
		return unparsed()
	case anthropic:
		return x.refuseMessages(t)
	case t.Model == "":
		return invalid("model", "missing_required_parameter", "Missing required parameter: 'model'.")
	}
	if pr := refuseTools(x.req.Endpoint, t); pr != nil {
		return pr
	}
	if x.req.Endpoint == Chat {
		return refuseChat(t)
	}
	return x.refuseResponses(t)
}

func unparsed() *Problem {
	return invalid("", "", "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "+
		"library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)")
}

const (
	maxTools    = 128
	maxNameLen  = 64
	namePattern = `^[a-zA-Z0-9_-]+$`
	maxIDLen    = 64
)

var nameRule = regexp.MustCompile(namePattern)

// tooLong is OpenAI's error for a string that is too long.
func tooLong(param string, most int, value string) *Problem {
	return invalid(param, "string_above_max_length",
		"Invalid '%s': string too long. Expected a string with maximum length %d, but got a string with length %d instead.",
		param, most, len(value))
}

// refuseTools checks what both of OpenAI's APIs say of tools and of tool_choice.
func refuseTools(e Endpoint, t *told) *Problem {
	if len(t.tools) > maxTools {
		return invalid("tools", "array_above_max_length",
			"Invalid 'tools': array too long. Expected an array with maximum length %d, but got an array with length %d instead.",
			maxTools, len(t.tools))
	}
	names := map[string]bool{}
	for i, tool := range t.tools {
		if !tool.callable() {
			continue
		}
		param := fmt.Sprintf("tools[%d].name", i)
		if e == Chat {
			param = fmt.Sprintf("tools[%d].function.name", i)
		}
		switch {
		case tool.Name == "":
			return invalid(param, "missing_required_parameter", "Missing required parameter: '%s'.", param)
		case len(tool.Name) > maxNameLen:
			return tooLong(param, maxNameLen, tool.Name)
		case !nameRule.MatchString(tool.Name):
			return invalid(param, "invalid_value",
				"Invalid '%s': string does not match pattern. Expected a string that matches the pattern '%s'.", param, namePattern)
		case names[tool.Name]:
			return invalid(param, "invalid_value", "Invalid '%s': there is another tool with the name '%s'.", param, tool.Name)
		}
		names[tool.Name] = true
	}
	return refuseChoice(e, t, names)
}

func refuseChoice(e Endpoint, t *told, names map[string]bool) *Problem {
	choice := t.choice()
	if e == Chat && len(t.tools) == 0 {
		for param, set := range map[string]bool{"tool_choice": len(t.ToolChoice) > 0, "parallel_tool_calls": t.Parallel != nil} {
			if set && string(t.ToolChoice) != "null" {
				return invalid(param, "", "Invalid value for '%s': '%s' is only allowed when 'tools' are specified.", param, param)
			}
		}
	}
	for _, name := range choice.Names {
		switch {
		case names[name]:
		case e == Chat:
			return invalid("tool_choice", "", "Invalid value for 'tool_choice': no function named '%s' was specified in the 'tools' parameter.", name)
		default:
			return invalid("tool_choice", "", "Tool choice '%s' not found in 'tools' parameter.", name)
		}
	}
	if choice.Mode == "required" && len(t.tools) == 0 {
		return invalid("tool_choice", "", "Tool choice 'required' must be specified with 'tools' parameter.")
	}
	return nil
}

// refuseChat checks a request of Chat Completions.
func refuseChat(t *told) *Problem {
	if len(t.StreamOptions) > 0 && string(t.StreamOptions) != "null" && !t.Stream {
		return invalid("stream_options", "", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	if len(t.Messages) == 0 {
		return invalid("messages", "missing_required_parameter", "Missing required parameter: 'messages'.")
	}
	pending := map[string]bool{} // calls of the last assistant message that wait for a result
	var order []string
	for i, m := range t.Messages {
		if m.Role == "tool" {
			if !pending[m.ToolCallID] {
				return invalid(fmt.Sprintf("messages.[%d].role", i), "",
					"Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.") //nolint:misspell // as the provider spells it
			}
			if _, images := wordsTold(m.Content); images > 0 {
				return invalid(fmt.Sprintf("messages[%d].content", i), "", "Invalid 'messages[%d]'. Image URLs are only allowed for messages "+
					"with role 'user', but this message with role 'tool' contains an image URL.", i)
			}
			delete(pending, m.ToolCallID)
			continue
		}
		if pr := unanswered(pending, order); pr != nil {
			return pr
		}
		order = nil
		for _, c := range m.ToolCalls {
			pending[c.ID] = true
			order = append(order, c.ID)
		}
		if m.Role == "assistant" && len(m.ToolCalls) == 0 && (len(m.Content) == 0 || string(m.Content) == "null") {
			return invalid(fmt.Sprintf("messages.[%d].content", i), "", "Invalid value for 'content': expected a string, got null.")
		}
	}
	return unanswered(pending, order)
}

// unanswered is Chat Completions' error for calls without a result.
func unanswered(pending map[string]bool, order []string) *Problem {
	var ids []string
	for _, id := range order {
		if pending[id] {
			ids = append(ids, id)
		}
	}
	if ids == nil {
		return nil
	}
	return &Problem{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Param: "messages",
		Message: "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. " +
			"The following tool_call_ids did not have response messages: " + strings.Join(ids, ", "),
	}
}
