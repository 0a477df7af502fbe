package responses

import (
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// prefixes are how the ids of items begin that a client may send. "" is any id, since such items are the client's own.
var prefixes = map[string]string{
	"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc", "web_search_call": "ws",
	"file_search_call": "fs", "computer_call": "cu", "code_interpreter_call": "ci", "image_generation_call": "ig", "mcp_call": "mcp",
	"mcp_list_tools": "mcpl", "mcp_approval_request": "mcpr", "compaction": "cmp",
	"function_call_output": "", "custom_tool_call_output": "", "computer_call_output": "", "mcp_approval_response": "",
	"local_shell_call": "", "local_shell_call_output": "", "shell_call": "", "shell_call_output": "", "apply_patch_call": "",
	"apply_patch_call_output": "", "tool_search_call": "", "tool_search_output": "", "additional_tools": "", "program": "",
	"program_output": "",
}

// RefuseItem checks one item of the request's own, as such.
func RefuseItem(i int, item talk.Item) *talk.Problem {
	at := fmt.Sprintf("input[%d]", i)
	prefix, known := prefixes[item.Type]
	switch {
	case !known:
		return talk.Invalid(at+".type", "invalid_value", "Invalid value: '%s'. Supported values are: 'message', 'reasoning', 'function_call', "+
			"'function_call_output', 'custom_tool_call', 'custom_tool_call_output', 'web_search_call', 'mcp_call', and others.", item.Type)
	case len(item.ID) > talk.MaxIDLen:
		return talk.TooLong(at+".id", talk.MaxIDLen, item.ID)
	case len(item.CallID) > talk.MaxIDLen:
		return talk.TooLong(at+".call_id", talk.MaxIDLen, item.CallID)
	case item.ID != "" && !strings.HasPrefix(item.ID, prefix):
		return talk.Invalid(at+".id", "invalid_value", "Invalid '%s.id': '%s'. Expected an ID that begins with '%s'.", at, item.ID, prefix)
	}
	return nil
}

// RefusePairs checks that every call has an output, and every output a call before it.
func RefusePairs(items []talk.Item) *talk.Problem {
	kinds := map[string]string{
		"function_call": "function call", "function_call_output": "function call",
		"custom_tool_call": "custom tool call", "custom_tool_call_output": "custom tool call",
	}
	called, answered := map[string]bool{}, map[string]bool{}
	for _, item := range items {
		kind, ok := kinds[item.Type]
		switch {
		case !ok:
		case !strings.HasSuffix(item.Type, "_output"):
			called[item.CallID] = true
		case !called[item.CallID]:
			return talk.Invalid("input", "", "No tool call found for %s output with call_id %s.", kind, item.CallID)
		default:
			answered[item.CallID] = true
		}
	}
	for _, item := range items {
		if kind, ok := kinds[item.Type]; ok && !answered[item.CallID] {
			return talk.Invalid("input", "", "No tool output found for %s %s.", kind, item.CallID)
		}
	}
	return nil
}
