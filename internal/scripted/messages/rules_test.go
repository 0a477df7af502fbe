package messages_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted/messages"
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

func TestRefuseConversation(t *testing.T) {
	const (
		user  = `{"role":"user","content":"hi"}`
		call  = `{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"add","input":{}}]}`
		tools = `,"tools":[{"name":"add","input_schema":{"type":"object"}}]`
	)
	result := func(rest string) string {
		return `{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"` + rest + `}]}`
	}
	for _, tc := range []struct{ name, messages, more, want string }{
		{"a call and its result", user + "," + call + "," + result(`,"content":"1"`), tools, ""},
		{"an empty result", user + "," + call + "," + result(""), tools, ""},
		{"an error that says nothing", user + "," + call + "," + result(`,"is_error":true,"content":[]`), tools, "content cannot be empty if `is_error` is true"},
		{"an error that says something", user + "," + call + "," + result(`,"is_error":true,"content":"no"`), tools, ""},
		{"calls without tools", user + "," + call + "," + result(""), "", "must define tools"},
		{"blank text", `{"role":"user","content":" \n"}`, "", "must contain non-whitespace text"},
		{"empty text", `{"role":"user","content":[{"type":"text","text":""}]}`, "", "must be non-empty"},
		{"a call by the user", `{"role":"user","content":[{"type":"tool_use","id":"a","name":"add","input":{}}]}`, tools, "can only be in `assistant` messages"},
		{"a type that nobody knows", `{"role":"user","content":[{"type":"acme"}]}`, "", "Input tag 'acme'"},
		{"a type of a beta", `{"role":"user","content":[{"type":"compaction"}]}`, "", ""},
		{"no result", user + "," + call + "," + user, tools, "without `tool_result` blocks immediately after: a"},
		{"no call", user + "," + result(""), tools, "unexpected `tool_use_id`"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			told := talk.Hear(talk.Messages, []byte(`{"messages":[`+tc.messages+`]`+tc.more+`}`))
			require.NoError(t, told.Err)
			pr := messages.RefuseConversation(told, "compaction")
			if tc.want == "" {
				require.Nil(t, pr)
				return
			}
			require.NotNil(t, pr)
			require.Contains(t, pr.Message, tc.want)
		})
	}
}
