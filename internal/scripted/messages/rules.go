package messages

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// placed is a block and where it stands.
type placed struct {
	talk.Block
	at string // messages.1.content.0
}

// spoken is what one side says before the other one does: messages of the same role that follow one another are one.
type spoken struct {
	role   string
	at     string // messages.1
	blocks []placed
}

func spokenIn(t *talk.Told) []spoken {
	var all []spoken
	for i, m := range t.Messages {
		at := fmt.Sprintf("messages.%d", i)
		if len(all) == 0 || all[len(all)-1].role != m.Role {
			all = append(all, spoken{role: m.Role, at: at})
		}
		last := &all[len(all)-1]
		for j, b := range talk.Blocks(m.Content) {
			last.blocks = append(last.blocks, placed{b, fmt.Sprintf("%s.content.%d", at, j)})
		}
	}
	return all
}

// Refuse checks a request as such. Version is the header anthropic-version.
func Refuse(t *talk.Told, version string) *talk.Problem {
	mode := t.Choice().Mode
	forced := mode == "required" || mode == "named"
	switch {
	case version == "":
		return talk.Invalid("", "", "anthropic-version: header is required")
	case t.Model == "":
		return talk.Invalid("", "", "model: Field required")
	case t.MaxTokens == nil:
		return talk.Invalid("", "", "max_tokens: Field required")
	case *t.MaxTokens < 1:
		return talk.Invalid("", "", "max_tokens: Input should be greater than or equal to 1")
	case len(t.Messages) == 0:
		return talk.Invalid("", "", "messages: at least one message is required")
	case forced && t.Thinks():
		return talk.Invalid("", "", "Thinking may not be enabled when tool_choice forces tool use.")
	}
	if pr := RefuseBudget(t); pr != nil {
		return pr
	}
	return RefuseConversation(t)
}

// leastThinking is the smallest budget for thinking ("Extended thinking" in Anthropic's documentation).
const leastThinking = 1024

// RefuseBudget checks how much the model may think. Interleaved thinking, which may take more than max_tokens, is not known here.
func RefuseBudget(t *talk.Told) *talk.Problem {
	switch {
	case t.Thinking == nil || t.Thinking.Type != "enabled" || t.MaxTokens == nil:
	case t.Thinking.BudgetTokens < leastThinking:
		return talk.Invalid("", "", "thinking.enabled.budget_tokens: Input should be greater than or equal to %d", leastThinking)
	case t.Thinking.BudgetTokens >= *t.MaxTokens:
		return talk.Invalid("", "", "`max_tokens` must be greater than `thinking.budget_tokens`.")
	}
	return nil
}

// RefuseConversation checks the tools of a request and its messages. Beta are types of blocks that a beta header allows.
func RefuseConversation(t *talk.Told, beta ...string) *talk.Problem {
	blocks := func(t *talk.Told) *talk.Problem { return refuseBlocks(t, beta) }
	for _, check := range []func(*talk.Told) *talk.Problem{refuseTools, blocks, refuseUnanswered, refuseOrphans} {
		if pr := check(t); pr != nil {
			return pr
		}
	}
	return nil
}

func refuseTools(t *talk.Told) *talk.Problem {
	names := map[string]bool{}
	for i, tool := range t.Tools {
		if tool.Callable() && (len(tool.Name) > talk.MaxNameLen || !talk.NameRule.MatchString(tool.Name)) {
			return talk.Invalid("", "", "tools.%d.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,%d}$'", i, talk.MaxNameLen)
		}
		if names[tool.Name] {
			return talk.Invalid("", "", "tools: Tool names must be unique.")
		}
		names[tool.Name] = true
		if tool.Callable() {
			if pr := refuseSchema(i, tool.InputSchema); pr != nil {
				return pr
			}
		}
	}
	choice := t.Choice()
	for _, name := range choice.Names {
		if !names[name] {
			return talk.Invalid("", "", "Tool '%s' not found in provided tools", name)
		}
	}
	if choice.Mode == "required" && len(t.Tools) == 0 {
		return talk.Invalid("", "", "tool_choice.any may only be specified while providing tools")
	}
	return nil
}

// blockTags are the types that a block of a request may have without a beta header.
var blockTags = []string{
	"bash_code_execution_tool_result", "code_execution_tool_result", "container_upload", "document", "image", "redacted_thinking",
	"search_result", "server_tool_use", "text", "text_editor_code_execution_tool_result", "thinking", "tool_result", "tool_use",
	"web_fetch_tool_result", "web_search_tool_result",
}

func refuseBlocks(t *talk.Told, beta []string) *talk.Problem {
	ids := map[string]bool{}
	for i, m := range t.Messages {
		blocks := talk.Blocks(m.Content)
		switch {
		case m.Role != "user" && m.Role != "assistant":
			return talk.Invalid("", "", "messages: Unexpected role %q. Allowed roles are \"user\" or \"assistant\".", m.Role)
		case len(blocks) == 0 && (i < len(t.Messages)-1 || m.Role == "user"):
			return talk.Invalid("", "", "messages.%d: all messages must have non-empty content except for the optional final assistant message", i)
		}
		for j, b := range blocks {
			at := fmt.Sprintf("messages.%d.content.%d", i, j)
			if !slices.Contains(blockTags, b.Type) && !slices.Contains(beta, b.Type) {
				return talk.Invalid("", "", "%s: Input tag '%s' found using 'type' does not match any of the expected tags: '%s'",
					at, b.Type, strings.Join(blockTags, "', '"))
			}
			if pr := refuseBlock(b, at, m.Role, ids); pr != nil {
				return pr
			}
			if (b.Type == "tool_use" || b.Type == "tool_result") && len(t.Tools) == 0 {
				return talk.Invalid("", "", "Requests which include `tool_use` or `tool_result` blocks must define tools")
			}
		}
	}
	return nil
}

// refuseBlock checks what one block says. Ids are those of the calls before it.
func refuseBlock(b talk.Block, at, role string, ids map[string]bool) *talk.Problem {
	switch b.Type {
	case "text":
		return refuseText(b)
	case "tool_use":
		return refuseCall(b, at, role, ids)
	case "tool_result":
		if b.IsError && (len(b.Content) == 0 || string(b.Content) == `""` || string(b.Content) == "[]") {
			return talk.Invalid("", "", "%s.tool_result: content cannot be empty if `is_error` is true", at)
		}
	}
	return nil
}

func refuseText(b talk.Block) *talk.Problem {
	switch {
	case b.Text == "":
		return talk.Invalid("", "", "messages: text content blocks must be non-empty")
	case strings.TrimSpace(b.Text) == "":
		return talk.Invalid("", "", "messages: text content blocks must contain non-whitespace text")
	}
	return nil
}

func refuseCall(b talk.Block, at, role string, ids map[string]bool) *talk.Problem {
	switch {
	case role != "assistant":
		return talk.Invalid("", "", "%s: `tool_use` blocks can only be in `assistant` messages", at)
	case len(b.Input) == 0 || b.Input[0] != '{':
		return talk.Invalid("", "", "%s.tool_use.input: Input should be a valid dictionary", at)
	case ids[b.ID]:
		return talk.Invalid("", "", "%s: `tool_use` ids must be unique", at)
	}
	ids[b.ID] = true
	return nil
}

// refuseUnanswered checks that what follows calls begins with the results of all of them.
func refuseUnanswered(t *talk.Told) *talk.Problem {
	all := spokenIn(t)
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
					return talk.Invalid("", "", "%s: each tool_use must have a single result. Found multiple `tool_result` blocks with id: %s", b.at, b.ToolUseID)
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
			return talk.Invalid("", "", "%s: `tool_use` ids were found without `tool_result` blocks immediately after: %s. Each `tool_use` block must have "+
				"a corresponding `tool_result` block in the next message.", s.at, strings.Join(missing, ", "))
		}
	}
	return nil
}

// refuseOrphans checks that results follow their calls.
func refuseOrphans(t *talk.Told) *talk.Problem {
	all := spokenIn(t)
	for i, s := range all {
		calls := map[string]bool{}
		if i > 0 {
			for _, b := range all[i-1].blocks {
				calls[b.ID] = calls[b.ID] || b.Type == "tool_use"
			}
		}
		for _, b := range s.blocks {
			if b.Type == "tool_result" && (s.role != "user" || !calls[b.ToolUseID]) {
				return talk.Invalid("", "", "%s: unexpected `tool_use_id` found in `tool_result` blocks: %s. Each `tool_result` block must have a corresponding "+
					"`tool_use` block in the previous message.", b.at, b.ToolUseID)
			}
		}
	}
	return nil
}

// RefuseThoughts checks that thoughts are what this provider thought and, where they are bound, that they stand where they were
// thought. Drops says that the client may have those that do not left out.
func RefuseThoughts(t *talk.Told, binds, drops bool) *talk.Problem {
	all := spokenIn(t)
	before := bind(t)
	drops = drops && t.Thinking != nil && t.Thinking.Binding.Mismatch == "drop_block"
	for i, s := range all {
		latest := i >= len(all)-2 // the last word of the model's
		for _, b := range s.blocks {
			if b.Type != "thinking" && b.Type != "redacted_thinking" {
				before.add(s.role, b.Raw)
				continue
			}
			signature := b.Signature + b.Data
			genuine, bound := before.verify(b.Thinking, signature)
			switch {
			case !genuine && latest:
				return talk.Invalid("", "", "%s: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must "+
					"remain as they were in the original response.", b.at)
			case !genuine:
				return talk.Invalid("", "", "%s: Invalid `signature` in `thinking` block", b.at)
			case !bound && binds && drops:
				continue // it is as if it were not there
			case !bound && binds:
				return talk.Invalid("", "", "%s: this `%s` block is bound to a different conversation. The system prompt, the tools and all messages before it "+
					"must be those of the request that it answered.", b.at, b.Type)
			}
			before.add(s.role, b.Raw)
		}
	}
	return nil
}

// RefuseThoughtless finds calls that lost the thought they were made after, which thought tells of. Only calls that are being answered
// need it, unless thoughts are bound.
func RefuseThoughtless(t *talk.Told, binds bool, thought func(toolUse string) bool) *talk.Problem {
	if !t.Thinks() {
		return nil
	}
	all := spokenIn(t)
	for i, s := range all {
		if s.role != "assistant" || i < len(all)-2 && !binds {
			continue
		}
		some := false
		for _, b := range s.blocks {
			some = some || b.Type == "thinking" || b.Type == "redacted_thinking"
			if b.Type == "tool_use" && !some && thought(b.ID) {
				return talk.Invalid("", "", "%s.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final "+
					"`assistant` message must start with a Exchange block (preceeding the lastmost set of `tool_use` and `tool_result` blocks).", b.at) //nolint:misspell // as the provider spells it
			}
		}
	}
	return nil
}
