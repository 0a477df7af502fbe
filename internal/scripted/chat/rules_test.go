package chat_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted/chat"
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

func TestRefuseConversation(t *testing.T) {
	const result = `{"role":"tool","tool_call_id":"a","content":"1"}`
	calls := func(list string) string { return `{"role":"assistant","tool_calls":[` + list + `]}` }
	const call = `{"id":"a","type":"function","function":{"name":"add","arguments":"{}"}}`
	for _, tc := range []struct{ name, messages, want string }{
		{"a call and its result", calls(call) + "," + result, ""},
		{"a custom tool's call", calls(`{"id":"a","type":"custom","custom":{"name":"add","input":""}}`) + "," + result, ""},
		{"no role", `{"content":"hi"}`, "Missing required parameter: 'messages[0].role'"},
		{"a call without id", calls(`{"function":{"name":"add"}}`), "Missing required parameter: 'messages[0].tool_calls[0].id'"},
		{"a call without name", calls(`{"id":"a","function":{}}`) + "," + result, "'messages[0].tool_calls[0].function.name'"},
		{"an id twice", calls(call+","+call) + "," + result, "Duplicate value for 'tool_call_id' of 'a'"},
		{"no result", calls(call) + `,{"role":"user","content":"hi"}`, "did not have response messages: a"},
		{"no result at the end", calls(call), "did not have response messages: a"},
		{"no call", result, "must be a response to a preceeding message"}, //nolint:misspell // as the provider spells it
		{"says nothing", `{"role":"assistant","content":null}`, "expected a string, got null"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			told := talk.Hear(talk.Chat, []byte(`{"messages":[`+tc.messages+`]}`))
			require.NoError(t, told.Err)
			pr := chat.RefuseConversation(told)
			if tc.want == "" {
				require.Nil(t, pr)
				return
			}
			require.NotNil(t, pr)
			require.Contains(t, pr.Message, tc.want)
		})
	}
}
