package chat

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// Refuse checks a request of Chat Completions.
func Refuse(t *talk.Told) *talk.Problem {
	if len(t.StreamOptions) > 0 && string(t.StreamOptions) != "null" && !t.Stream {
		return talk.Invalid("stream_options", "", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	if len(t.Messages) == 0 {
		return talk.Invalid("messages", "missing_required_parameter", "Missing required parameter: 'messages'.")
	}
	return RefuseConversation(t)
}

// RefuseConversation checks the messages of a request.
func RefuseConversation(t *talk.Told) *talk.Problem {
	pending := map[string]bool{} // calls of the last assistant message that wait for a result
	var order []string
	for i, m := range t.Messages {
		if m.Role == "" {
			return talk.Invalid(fmt.Sprintf("messages[%d].role", i), "missing_required_parameter", "Missing required parameter: 'messages[%d].role'.", i)
		}
		if m.Role == "tool" {
			if !pending[m.ToolCallID] {
				return talk.Invalid(fmt.Sprintf("messages.[%d].role", i), "",
					"Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.") //nolint:misspell // as the provider spells it
			}
			if _, images := talk.Words(m.Content); images > 0 {
				return talk.Invalid(fmt.Sprintf("messages[%d].content", i), "", "Invalid 'messages[%d]'. Image URLs are only allowed for messages "+
					"with role 'user', but this message with role 'tool' contains an image URL.", i)
			}
			delete(pending, m.ToolCallID)
			continue
		}
		if pr := unanswered(pending, order); pr != nil {
			return pr
		}
		order = nil
		for j, c := range m.ToolCalls {
			at := fmt.Sprintf("messages[%d].tool_calls[%d]", i, j)
			switch {
			case c.ID == "":
				return talk.Invalid(at+".id", "missing_required_parameter", "Missing required parameter: '%s.id'.", at)
			case c.Function.Name+c.Custom.Name == "":
				return talk.Invalid(at+".function.name", "missing_required_parameter", "Missing required parameter: '%s.function.name'.", at)
			case pending[c.ID]:
				return talk.Invalid("messages", "", "Duplicate value for 'tool_call_id' of '%s' in message[%d].", c.ID, i)
			}
			pending[c.ID] = true
			order = append(order, c.ID)
		}
		if m.Role == "assistant" && len(m.ToolCalls) == 0 && (len(m.Content) == 0 || string(m.Content) == "null") {
			return talk.Invalid(fmt.Sprintf("messages.[%d].content", i), "", "Invalid value for 'content': expected a string, got null.")
		}
	}
	return unanswered(pending, order)
}

// unanswered is Chat Completions' error for calls without a result.
func unanswered(pending map[string]bool, order []string) *talk.Problem {
	var ids []string
	for _, id := range order {
		if pending[id] {
			ids = append(ids, id)
		}
	}
	if ids == nil {
		return nil
	}
	return &talk.Problem{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Param: "messages",
		Message: "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. " +
			"The following tool_call_ids did not have response messages: " + strings.Join(ids, ", "),
	}
}
