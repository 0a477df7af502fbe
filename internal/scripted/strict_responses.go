package scripted

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/internal/scripted/responses"
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// refuseResponses checks a request of the Responses API, and puts what is stored before its input.
func (x *exchange) refuseResponses(t *talk.Told) *talk.Problem {
	if pr := refuseOpenAI(talk.Responses, t); pr != nil {
		return pr
	}
	const leastTokens = 16
	if t.MaxOutputTokens != nil && *t.MaxOutputTokens < leastTokens {
		return talk.Invalid("max_output_tokens", "integer_below_min_value",
			"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= %d, but got %d instead.", leastTokens, *t.MaxOutputTokens)
	}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	l := &x.p.ledger
	if pr := l.assemble(t, responses.ConversationID(x)); pr != nil {
		return pr
	}
	for i, item := range t.Own {
		if pr := responses.RefuseItem(i, item); pr != nil {
			return pr
		}
		if pr := x.refuseForeign(i, item); pr != nil {
			return pr
		}
	}
	if pr := l.refuseOrder(t); pr != nil {
		return pr
	}
	return responses.RefusePairs(t.Items)
}

// assemble puts the items of the conversation, or of the responses before, in front of the request's own, and what is stored in
// place of references to it.
func (l *ledger) assemble(t *talk.Told, conversation *responses.Named) *talk.Problem {
	var before []json.RawMessage
	switch {
	case conversation != nil && t.Previous != "":
		return talk.Invalid("", "mutually_exclusive_parameters",
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
			return talk.Invalid("previous_response_id", "previous_response_not_found", "Previous response with id '%s' not found.", t.Previous)
		}
	}
	for i, item := range t.Own {
		if item.Type != "item_reference" {
			continue
		}
		entry, ok := l.issued[item.ID]
		if !ok || !entry.stored {
			return l.lost(item.ID)
		}
		_ = json.Unmarshal(entry.raw, &t.Own[i]) // this package made it
		t.Own[i].Raw = entry.raw
	}
	t.Items = nil
	for _, raw := range before {
		item := talk.Item{Raw: raw}
		if json.Unmarshal(raw, &item) == nil {
			if item.Type == "" {
				item.Type = "message"
			}
			t.Items = append(t.Items, item)
		}
	}
	t.Items = append(t.Items, t.Own...)
	return nil
}

// lost is the error for an item that is named but not stored.
func (l *ledger) lost(id string) *talk.Problem {
	pr := absent("Item", id)
	pr.Param = "input"
	if entry, ok := l.issued[id]; ok && !entry.stored {
		pr.Message += " Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from " +
			"your input."
	}
	return &pr
}

// refuseForeign refuses items that a client cannot have made, unless the provider has.
func (x *exchange) refuseForeign(i int, item talk.Item) *talk.Problem {
	at := fmt.Sprintf("input[%d]", i)
	entry, issued := x.p.ledger.issued[item.ID]
	switch item.Type {
	case "reasoning":
		switch {
		case item.Encrypted != nil && *item.Encrypted != x.Seal(item.ID):
			return talk.Invalid("input", "invalid_encrypted_content", "The encrypted content for item %s could not be verified. "+
				"Reason: Encrypted content could not be decrypted or parsed.", item.ID)
		case item.Encrypted == nil && !(issued && entry.stored):
			return x.p.ledger.lost(item.ID)
		}
	case "web_search_call", "file_search_call", "computer_call", "code_interpreter_call", "image_generation_call", "mcp_call",
		"mcp_list_tools", "mcp_approval_request", "compaction":
		if !issued {
			return talk.Invalid(at+".id", "invalid_value", "Invalid '%s.id': '%s'. No %s with this ID was made here.", at, item.ID, item.Type)
		}
	}
	return nil
}

// refuseOrder checks that no item is there twice, and that reasoning items and what was made with them stand together.
func (l *ledger) refuseOrder(t *talk.Told) *talk.Problem {
	seen := map[string]bool{}
	own := len(t.Items) - len(t.Own)
	for i, item := range t.Items {
		if item.ID == "" {
			continue
		}
		if seen[item.ID] {
			return talk.Invalid("input", "", "Duplicate item found with id %s. Remove duplicate items from your input and try again.", item.ID)
		}
		seen[item.ID] = true
		entry, issued := l.issued[item.ID]
		if i < own || !issued {
			continue
		}
		if entry.reasoning != "" && !seen[entry.reasoning] {
			return talk.Invalid("input", "", "Item '%s' of type '%s' was provided without its required 'reasoning' item: '%s'.",
				item.ID, item.Type, entry.reasoning)
		}
		if item.Type == "reasoning" && entry.next != "" && !(i+1 < len(t.Items) && entry.follows(t.Items[i+1])) {
			return talk.Invalid("input", "", "Item '%s' of type 'reasoning' was provided without its required following item.", item.ID)
		}
	}
	return nil
}

// follows says whether an item is the one after this one. A client may leave its id out.
func (e issued) follows(next talk.Item) bool {
	if next.ID != "" {
		return next.ID == e.next
	}
	if e.nextCall != "" {
		return next.CallID == e.nextCall && !strings.HasSuffix(next.Type, "_output")
	}
	return next.Type == "message" && next.Role == "assistant"
}
