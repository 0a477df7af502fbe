package scripted

import (
	"fmt"
	"slices"
	"strings"
)

// placed is a block and where it stands.
type placed struct {
	blockTold
	at string // messages.1.content.0
}

// spoken is what one side says before the other one does: messages of the same role that follow one another are one.
type spoken struct {
	role   string
	at     string // messages.1
	blocks []placed
}

func (t *told) spoken() []spoken {
	var all []spoken
	for i, m := range t.Messages {
		at := fmt.Sprintf("messages.%d", i)
		if len(all) == 0 || all[len(all)-1].role != m.Role {
			all = append(all, spoken{role: m.Role, at: at})
		}
		last := &all[len(all)-1]
		for j, b := range blocksTold(m.Content) {
			last.blocks = append(last.blocks, placed{b, fmt.Sprintf("%s.content.%d", at, j)})
		}
	}
	return all
}

// refuseMessages checks a request of the Messages API.
func (x *exchange) refuseMessages(t *told) *Problem {
	mode := t.choice().Mode
	forced := mode == "required" || mode == "named"
	switch {
	case x.r.Header.Get("Anthropic-Version") == "":
		return invalid("", "", "anthropic-version: header is required")
	case t.Model == "":
		return invalid("", "", "model: Field required")
	case t.MaxTokens == nil:
		return invalid("", "", "max_tokens: Field required")
	case *t.MaxTokens < 1:
		return invalid("", "", "max_tokens: Input should be greater than or equal to 1")
	case len(t.Messages) == 0:
		return invalid("", "", "messages: at least one message is required")
	case forced && t.thinks():
		return invalid("", "", "Thinking may not be enabled when tool_choice forces tool use.")
	}
	for _, check := range []func(*told) *Problem{
		refuseMessageTools, refuseBlocks, refuseUnanswered, refuseOrphans, x.refuseThoughts, x.refuseThoughtless,
	} {
		if pr := check(t); pr != nil {
			return pr
		}
	}
	return nil
}

func refuseMessageTools(t *told) *Problem {
	if len(t.tools) > maxTools {
		return invalid("", "", "tools: List should have at most %d items after validation, not %d", maxTools, len(t.tools))
	}
	names := map[string]bool{}
	for i, tool := range t.tools {
		if tool.callable() && (len(tool.Name) > maxNameLen || !nameRule.MatchString(tool.Name)) {
			return invalid("", "", "tools.%d.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,%d}$'", i, maxNameLen)
		}
		if names[tool.Name] {
			return invalid("", "", "tools: Tool names must be unique.")
		}
		names[tool.Name] = true
	}
	choice := t.choice()
	for _, name := range choice.Names {
		if !names[name] {
			return invalid("", "", "Tool '%s' not found in provided tools", name)
		}
	}
	if choice.Mode == "required" && len(t.tools) == 0 {
		return invalid("", "", "tool_choice.any may only be specified while providing tools")
	}
	return nil
}

// blockTags are the types that a block of a request may have without a beta header.
var blockTags = []string{
	"bash_code_execution_tool_result", "code_execution_tool_result", "container_upload", "document", "image", "redacted_thinking",
	"search_result", "server_tool_use", "text", "text_editor_code_execution_tool_result", "thinking", "tool_result", "tool_use",
	"web_fetch_tool_result", "web_search_tool_result",
}

func refuseBlocks(t *told) *Problem {
	ids := map[string]bool{}
	for i, m := range t.Messages {
		blocks := blocksTold(m.Content)
		switch {
		case m.Role != "user" && m.Role != "assistant":
			return invalid("", "", "messages: Unexpected role %q. Allowed roles are \"user\" or \"assistant\".", m.Role)
		case len(blocks) == 0 && (i < len(t.Messages)-1 || m.Role == "user"):
			return invalid("", "", "messages.%d: all messages must have non-empty content except for the optional final assistant message", i)
		}
		for j, b := range blocks {
			at := fmt.Sprintf("messages.%d.content.%d", i, j)
			switch {
			case !slices.Contains(blockTags, b.Type):
				return invalid("", "", "%s: Input tag '%s' found using 'type' does not match any of the expected tags: '%s'",
					at, b.Type, strings.Join(blockTags, "', '"))
			case b.Type == "text" && b.Text == "":
				return invalid("", "", "messages: text content blocks must be non-empty")
			case b.Type == "tool_use" && (len(b.Input) == 0 || b.Input[0] != '{'):
				return invalid("", "", "%s.tool_use.input: Input should be a valid dictionary", at)
			case b.Type == "tool_use" && ids[b.ID]:
				return invalid("", "", "%s: `tool_use` ids must be unique", at)
			case b.Type == "tool_use":
				ids[b.ID] = true
			}
		}
	}
	return nil
}

// refuseUnanswered checks that what follows calls begins with the results of all of them.
func refuseUnanswered(t *told) *Problem {
	all := t.spoken()
	for i, s := range all {
		if s.role == "user" {
			continue
		}
		results := map[string]bool{}
		if i+1 < len(all) {
			for _, b := range all[i+1].blocks {
				if b.Type != "tool_result" {
					break
				}
				if results[b.ToolUseID] {
					return invalid("", "", "%s: each tool_use must have a single result. Found multiple `tool_result` blocks with id: %s", b.at, b.ToolUseID)
				}
				results[b.ToolUseID] = true
			}
		}
		var missing []string
		for _, b := range s.blocks {
			if b.Type == "tool_use" && !results[b.ID] {
				missing = append(missing, b.ID)
			}
		}
		if missing != nil {
			return invalid("", "", "%s: `tool_use` ids were found without `tool_result` blocks immediately after: %s. Each `tool_use` block must have "+
				"a corresponding `tool_result` block in the next message.", s.at, strings.Join(missing, ", "))
		}
	}
	return nil
}

// refuseOrphans checks that results follow their calls.
func refuseOrphans(t *told) *Problem {
	all := t.spoken()
	for i, s := range all {
		calls := map[string]bool{}
		if i > 0 {
			for _, b := range all[i-1].blocks {
				calls[b.ID] = calls[b.ID] || b.Type == "tool_use"
			}
		}
		for _, b := range s.blocks {
			if b.Type == "tool_result" && (s.role != "user" || !calls[b.ToolUseID]) {
				return invalid("", "", "%s: unexpected `tool_use_id` found in `tool_result` blocks: %s. Each `tool_result` block must have a corresponding "+
					"`tool_use` block in the previous message.", b.at, b.ToolUseID)
			}
		}
	}
	return nil
}

// refuseThoughts checks that thoughts are what this provider thought and, with BindThinking, that they stand where they were
// thought.
func (x *exchange) refuseThoughts(t *told) *Problem {
	all := t.spoken()
	before := bind(t)
	drops := t.Thinking != nil && t.Thinking.Binding.Mismatch == "drop_block" &&
		strings.Contains(strings.Join(x.r.Header.Values("Anthropic-Beta"), ","), "thinking-binding-controls")
	for i, s := range all {
		latest := i >= len(all)-2 // the last word of the model's
		for _, b := range s.blocks {
			if b.Type != "thinking" && b.Type != "redacted_thinking" {
				before.add(s.role, b.raw)
				continue
			}
			signature := b.Signature + b.Data
			genuine, bound := before.verify(b.Thinking, signature)
			switch {
			case !genuine && latest:
				return invalid("", "", "%s: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must "+
					"remain as they were in the original response.", b.at)
			case !genuine:
				return invalid("", "", "%s: Invalid `signature` in `thinking` block", b.at)
			case !bound && x.p.cfg.BindThinking && drops:
				continue // it is as if it were not there
			case !bound && x.p.cfg.BindThinking:
				return invalid("", "", "%s: this `%s` block is bound to a different conversation. The system prompt, the tools and all messages before it "+
					"must be those of the request that it answered.", b.at, b.Type)
			}
			before.add(s.role, b.raw)
		}
	}
	return nil
}

// refuseThoughtless finds calls that lost the thought they were made after. Only calls that are being answered need it, unless
// thoughts are bound.
func (x *exchange) refuseThoughtless(t *told) *Problem {
	if !t.thinks() {
		return nil
	}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	all := t.spoken()
	for i, s := range all {
		if s.role != "assistant" || i < len(all)-2 && !x.p.cfg.BindThinking {
			continue
		}
		thought := false
		for _, b := range s.blocks {
			thought = thought || b.Type == "thinking" || b.Type == "redacted_thinking"
			if b.Type == "tool_use" && !thought && x.p.ledger.thought[b.ID] {
				return invalid("", "", "%s.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final "+
					"`assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks).", b.at) //nolint:misspell // as the provider spells it
			}
		}
	}
	return nil
}
