package scripted

import (
	"encoding/json"
	"fmt"
	"strings"
)

// refuseResponses checks a request of the Responses API, and puts what is stored before its input.
func (x *exchange) refuseResponses(t *told) *Problem {
	const leastTokens = 16
	if t.MaxOutputTokens != nil && *t.MaxOutputTokens < leastTokens {
		return invalid("max_output_tokens", "integer_below_min_value",
			"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= %d, but got %d instead.", leastTokens, *t.MaxOutputTokens)
	}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	l := &x.p.ledger
	if pr := l.assemble(t, x.conversationID()); pr != nil {
		return pr
	}
	for i, item := range t.own {
		if pr := x.refuseItem(i, item); pr != nil {
			return pr
		}
	}
	if pr := l.refuseOrder(t); pr != nil {
		return pr
	}
	return refusePairs(t.items)
}

// assemble puts the items of the conversation, or of the responses before, in front of the request's own, and what is stored in
// place of references to it.
func (l *ledger) assemble(t *told, conversation *named) *Problem {
	var before []json.RawMessage
	switch {
	case conversation != nil && t.Previous != "":
		return invalid("", "mutually_exclusive_parameters",
			"Mutually exclusive parameters: 'conversation' and 'previous_response_id'. Ensure you are only providing one of them.")
	case conversation != nil:
		thread := l.threads[conversation.ID]
		if thread == nil {
			pr := absent("Conversation", conversation.ID)
			return &pr
		}
		before = thread.items
	case t.Previous != "":
		var ok bool
		if before, ok = l.chain(t.Previous); !ok {
			return invalid("previous_response_id", "previous_response_not_found", "Previous response with id '%s' not found.", t.Previous)
		}
	}
	for i, item := range t.own {
		if item.Type != "item_reference" {
			continue
		}
		entry, ok := l.issued[item.ID]
		if !ok || !entry.stored {
			return l.lost(item.ID)
		}
		_ = json.Unmarshal(entry.raw, &t.own[i]) // this package made it
		t.own[i].raw = entry.raw
	}
	t.items = nil
	for _, raw := range before {
		item := itemTold{raw: raw}
		if json.Unmarshal(raw, &item) == nil {
			if item.Type == "" {
				item.Type = "message"
			}
			t.items = append(t.items, item)
		}
	}
	t.items = append(t.items, t.own...)
	return nil
}

// lost is the error for an item that is named but not stored.
func (l *ledger) lost(id string) *Problem {
	pr := absent("Item", id)
	pr.Param = "input"
	if entry, ok := l.issued[id]; ok && !entry.stored {
		pr.Message += " Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from " +
			"your input."
	}
	return &pr
}

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

// refuseItem checks one item of the request's own.
func (x *exchange) refuseItem(i int, item itemTold) *Problem {
	at := fmt.Sprintf("input[%d]", i)
	prefix, known := prefixes[item.Type]
	switch {
	case !known:
		return invalid(at+".type", "invalid_value", "Invalid value: '%s'. Supported values are: 'message', 'reasoning', 'function_call', "+
			"'function_call_output', 'custom_tool_call', 'custom_tool_call_output', 'web_search_call', 'mcp_call', and others.", item.Type)
	case len(item.ID) > maxIDLen:
		return tooLong(at+".id", maxIDLen, item.ID)
	case len(item.CallID) > maxIDLen:
		return tooLong(at+".call_id", maxIDLen, item.CallID)
	case item.ID != "" && !strings.HasPrefix(item.ID, prefix):
		return invalid(at+".id", "invalid_value", "Invalid '%s.id': '%s'. Expected an ID that begins with '%s'.", at, item.ID, prefix)
	}
	entry, issued := x.p.ledger.issued[item.ID]
	switch item.Type {
	case "reasoning":
		switch {
		case item.Encrypted != nil && *item.Encrypted != x.p.seal(item.ID):
			return invalid("input", "invalid_encrypted_content", "The encrypted content for item %s could not be verified. "+
				"Reason: Encrypted content could not be decrypted or parsed.", item.ID)
		case item.Encrypted == nil && !(issued && entry.stored):
			return x.p.ledger.lost(item.ID)
		}
	case "web_search_call", "file_search_call", "computer_call", "code_interpreter_call", "image_generation_call", "mcp_call",
		"mcp_list_tools", "mcp_approval_request", "compaction":
		if !issued {
			return invalid(at+".id", "invalid_value", "Invalid '%s.id': '%s'. No %s with this ID was made here.", at, item.ID, item.Type)
		}
	}
	return nil
}

// refuseOrder checks that no item is there twice, and that reasoning items and what was made with them stand together.
func (l *ledger) refuseOrder(t *told) *Problem {
	seen := map[string]bool{}
	own := len(t.items) - len(t.own)
	for i, item := range t.items {
		if item.ID == "" {
			continue
		}
		if seen[item.ID] {
			return invalid("input", "", "Duplicate item found with id %s. Remove duplicate items from your input and try again.", item.ID)
		}
		seen[item.ID] = true
		entry, issued := l.issued[item.ID]
		if i < own || !issued {
			continue
		}
		if entry.reasoning != "" && !seen[entry.reasoning] {
			return invalid("input", "", "Item '%s' of type '%s' was provided without its required 'reasoning' item: '%s'.",
				item.ID, item.Type, entry.reasoning)
		}
		if item.Type == "reasoning" && entry.next != "" && !(i+1 < len(t.items) && entry.follows(t.items[i+1])) {
			return invalid("input", "", "Item '%s' of type 'reasoning' was provided without its required following item.", item.ID)
		}
	}
	return nil
}

// follows says whether an item is the one after this one. A client may leave its id out.
func (e issued) follows(next itemTold) bool {
	if next.ID != "" {
		return next.ID == e.next
	}
	if e.nextCall != "" {
		return next.CallID == e.nextCall && !strings.HasSuffix(next.Type, "_output")
	}
	return next.Type == "message" && next.Role == "assistant"
}

// refusePairs checks that every call has an output, and every output a call before it.
func refusePairs(items []itemTold) *Problem {
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
			return invalid("input", "", "No tool call found for %s output with call_id %s.", kind, item.CallID)
		default:
			answered[item.CallID] = true
		}
	}
	for _, item := range items {
		if kind, ok := kinds[item.Type]; ok && !answered[item.CallID] {
			return invalid("input", "", "No tool output found for %s %s.", kind, item.CallID)
		}
	}
	return nil
}
