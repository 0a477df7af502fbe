package scripted_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

const messagesPath = "/v1/messages"

// thought is a conversation on Messages whose model thinks.
type thought struct {
	t   *testing.T
	srv *scripted.Server
}

func (c thought) ask(messages ...any) object {
	return object{
		"model": "m", "max_tokens": 1100, "system": "be brief", "messages": messages, "thinking": object{"type": "enabled", "budget_tokens": 1024},
		"tools": []any{tool(messagesPath, "add"), tool(messagesPath, "weather")},
	}
}

// turn sends messages and returns the answer's blocks.
func (c thought) turn(messages ...any) []any {
	c.t.Helper()
	status, got := send(c.t, c.srv, messagesPath, c.ask(messages...))
	require.Equal(c.t, 200, status, "%v", got)
	return list(c.t, got["content"])
}

func says(role string, blocks ...any) object { return object{"role": role, "content": blocks} }

func toolResult(id any, text string) object {
	return object{"type": "tool_result", "tool_use_id": id, "content": text}
}

func words(text string) object { return object{"type": "text", "text": text} }

func TestStrictMessages(t *testing.T) {
	_, srv := strict(t, scripted.Config{}, caller())
	c := thought{t, srv}
	user := object{"role": "user", "content": "hi"}
	said := c.turn(user)
	thinking, add, weather := said[0], said[1], said[2]
	a, w := member(t, add, "id"), member(t, weather, "id")
	results := says("user", toolResult(a, "5"), toolResult(w, "sun"))
	second := c.turn(user, says("assistant", said...), results)
	require.Equal(t, "done: 5", member(t, second[1], "text"))
	c.turn(user, says("assistant", said...), says("user", toolResult(w, "sun"), toolResult(a, "5"), words("go on")))
	c.turn(user, says("assistant", said...), says("user", toolResult(w, "sun")), says("user", toolResult(a, "5")))
	c.turn(user, says("assistant", said[:2]...), says("assistant", said[2]), results)

	for _, tc := range []struct {
		name     string
		messages []any
		want     string
	}{
		{"no results", []any{user, says("assistant", said...)}, "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: " + a + ", " + w},
		{"one result", []any{user, says("assistant", said...), says("user", toolResult(a, "5"))}, "immediately after: " + w + "."},
		{"words first", []any{user, says("assistant", said...), says("user", words("here:"), toolResult(a, "5"), toolResult(w, "sun"))}, "immediately after: " + a},
		{"too late", []any{user, says("assistant", said...), says("assistant", words("x")), user, says("assistant", words("x")), results}, "immediately after: " + a},
		{"no call", []any{says("user", toolResult(a, "5"))}, "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: " + a},
		{"two results", []any{user, says("assistant", said...), says("user", toolResult(a, "5"), toolResult(w, "sun"), toolResult(a, "5"))}, "Found multiple `tool_result` blocks with id: " + a},
		{"a call twice", []any{user, says("assistant", thinking, add, add), says("user", toolResult(a, "5"))}, "`tool_use` ids must be unique"},
		{"no input", []any{user, says("assistant", without(add, "input")), results}, "input: Input should be a valid dictionary"},
		{"the thought is changed", []any{user, says("assistant", set(thinking, "thinking", "Ha."), add, weather), results}, "messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified."},
		{"an old thought is changed", []any{user, says("assistant", set(thinking, "thinking", "Ha."), add, weather), results, says("assistant", second...), user}, "Invalid `signature` in `thinking` block"},
		{"the thought is missing", []any{user, says("assistant", add, weather), results}, "Expected `thinking` or `redacted_thinking`, but found `tool_use`."},
		{"no words", []any{user, says("assistant", words("")), user}, "text content blocks must be non-empty"},
		{"nothing", []any{user, says("assistant"), user}, "all messages must have non-empty content"},
		{"a role of OpenAI's", []any{says("tool", words("x"))}, "Unexpected role \"tool\""},
		{"a block of the MCP connector", []any{user, says("assistant", object{"type": "mcp_tool_use", "id": "mcptoolu_1"}), user}, "Input tag 'mcp_tool_use' found using 'type' does not match any of the expected tags"},
	} {
		require.Contains(t, refused(t, srv, messagesPath, c.ask(tc.messages...)), tc.want, tc.name)
	}
	for _, forced := range []object{{"type": "any"}, {"type": "tool", "name": "add"}} {
		require.Contains(t, refused(t, srv, messagesPath, set(c.ask(user), "tool_choice", forced)), "Thinking may not be enabled when tool_choice forces tool use.")
	}
	c.turn(user, says("assistant", add, weather), results, says("assistant", second[1]), user) // an old thought may be left out
}

func TestBoundThinking(t *testing.T) {
	_, srv := strict(t, scripted.Config{BindThinking: true}, caller())
	c := thought{t, srv}
	user := object{"role": "user", "content": "hi"}
	said := c.turn(user)
	results := says("user", toolResult(said[1].(object)["id"], "5"), toolResult(said[2].(object)["id"], "sun"))
	second := c.turn(user, says("assistant", said...), results)
	whole := []any{user, says("assistant", said...), results, says("assistant", second...), says("user", words("thanks"))}
	c.turn(whole...)

	const bound = "bound to a different conversation"
	same := []any{
		says("user", object{"type": "text", "text": "hi", "cache_control": object{"type": "ephemeral"}}), whole[1],
		says("user", object{"type": "tool_result", "tool_use_id": said[1].(object)["id"], "content": []any{words("5")}}),
		says("user", toolResult(said[2].(object)["id"], "sun")), whole[3], whole[4],
	}
	c.turn(same...) // the model sees no difference
	for name, body := range map[string]object{
		"another system prompt": set(c.ask(whole...), "system", "be verbose"),
		"one tool more":         set(c.ask(whole...), "tools", []any{tool(messagesPath, "add"), tool(messagesPath, "weather"), tool(messagesPath, "x")}),
		"another question":      c.ask(object{"role": "user", "content": "ho"}, whole[1], whole[2], whole[3], whole[4]),
		"another result":        c.ask(user, whole[1], says("user", toolResult(said[1].(object)["id"], "6"), toolResult(said[2].(object)["id"], "sun")), whole[3], whole[4]),
		"a hidden turn":         c.ask(user, whole[3], whole[4]),
		"a thought left out":    c.ask(user, says("assistant", said[1], said[2]), results, whole[3], whole[4]),
	} {
		require.Contains(t, refused(t, srv, messagesPath, body), bound, name)
	}

	again := c.ask(user, says("assistant", said[1], said[2]), results)
	require.Contains(t, refused(t, srv, messagesPath, again), "Expected `thinking` or `redacted_thinking`, but found `tool_use`.")

	// Anthropic's way out: blocks that do not fit are dropped.
	drop := set(c.ask(user, whole[3], whole[4]), "thinking", object{"type": "enabled", "budget_tokens": 1024, "block_binding": object{"prefix_mismatch_behavior": "drop_block"}})
	require.Contains(t, refused(t, srv, messagesPath, drop), bound, "it needs its beta header")
	b, err := json.Marshal(drop)
	require.NoError(t, err)
	r := newRequest(t, http.MethodPost, srv.URL+messagesPath, string(b))
	r.Header.Set("Anthropic-Version", "2023-06-01")
	r.Header.Set("Anthropic-Beta", "thinking-binding-controls-2026-08-01")
	require.Equal(t, 200, do(t, client(t), r).status)

	_, srv = strict(t, scripted.Config{}, caller())
	c = thought{t, srv}
	said = c.turn(user)
	c.turn(object{"role": "user", "content": "ho"}, says("assistant", said...), says("user", toolResult(said[1].(object)["id"], "5"), toolResult(said[2].(object)["id"], "sun")))
}

// A signature that was streamed is the one of the object.
func TestBoundThinkingInAStream(t *testing.T) {
	_, srv := strict(t, scripted.Config{BindThinking: true}, scripted.Say(scripted.Text("Well,"), scripted.Think("hm."), scripted.RedactedThinking(), scripted.Text("yes.")))
	c := thought{t, srv}
	user := object{"role": "user", "content": "hi"}
	b, err := json.Marshal(set(c.ask(user), "stream", true))
	require.NoError(t, err)
	r := newRequest(t, http.MethodPost, srv.URL+messagesPath, string(b))
	r.Header.Set("Anthropic-Version", "2023-06-01")
	var signature, data string
	for _, event := range dataOf(do(t, client(t), r).body) {
		var e struct {
			Delta        struct{ Signature string }
			ContentBlock struct{ Data string } `json:"content_block"`
		}
		require.NoError(t, json.Unmarshal([]byte(event), &e))
		signature += e.Delta.Signature
		data += e.ContentBlock.Data
	}
	said := []any{
		words("Well,"), object{"type": "thinking", "thinking": "hm.", "signature": signature}, object{"type": "redacted_thinking", "data": data}, words("yes."),
	}
	c.turn(user, says("assistant", said...), user)
	require.Contains(t, refused(t, srv, messagesPath, c.ask(user, says("assistant", said[1], said[0], said[2], said[3]), user)), "bound to a different conversation", "a thought was moved")
}
