package dialect_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

func TestNews(t *testing.T) {
	for _, tc := range []struct{ name, body, want string }{
		{"a first message", `{"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hi"}]}`, "be kind\n\nhi"},
		{"not what was said before", `{"messages":[{"role":"user","content":"old"},{"role":"assistant","content":"well"},{"role":"user","content":"new"}]}`, "new"},
		{"Anthropic's task", `{"system":[{"type":"text","text":"be kind"}],"messages":[{"role":"user","content":[{"type":"text","text":"see"},{"type":"image","source":{"data":"AAAA"}}]}]}`, "be kind\n\nsee\n\n[image]"},
		{"and not again", `{"system":"be kind","messages":[{"role":"user","content":"old"},{"role":"assistant","content":"a"},{"role":"user","content":"new"}]}`, "new"},
		{"no results", `{"messages":[{"role":"assistant","tool_calls":[]},{"role":"tool","content":"secret result"}]}`, ""},
		{"Anthropic's results", `{"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"secret"}]},{"type":"text","text":"go on"}]}]}`, "go on"},
		{"a text", `{"instructions":"be kind","input":"hi"}`, "be kind\n\nhi"},
		{"items", `{"input":[{"role":"user","content":"old"},{"type":"function_call","arguments":"x"},{"type":"function_call_output","output":"y"},{"role":"user","content":[{"type":"input_text","text":"new"}]}]}`, "new"},
		{"after a stored response", `{"previous_response_id":"resp_1","instructions":"be kind","input":"more"}`, "more"},
		{"no request", `[1]`, ""},
		{"no JSON", `{"input":"hi"`, ""},
		{"odd", `{"messages":7,"input":[3,null,{"content":{}}],"system":null}`, ""},
	} {
		text, more := dialect.News([]byte(tc.body), 1000)
		require.Equal(t, tc.want, text, tc.name)
		require.False(t, more, tc.name)
	}
	text, more := dialect.News([]byte(`{"messages":[{"content":"abc"},{"content":"def"}]}`), 6)
	require.Equal(t, "abc\n\nd", text)
	require.True(t, more)
}

func FuzzNews(f *testing.F) {
	f.Add(`{"system":[{"type":"text","text":"a"}],"messages":[{"role":"user","content":"b"}],"input":[{"type":"x_call"},{"content":[{"type":"image"}]}]}`)
	f.Add(` { "input" : [ 1 , "x" , { "content" : "y" } ] } `)
	f.Fuzz(func(t *testing.T, body string) {
		text, more := dialect.News([]byte(body), 8)
		require.LessOrEqual(t, len(text), 8)
		all, cut := dialect.News([]byte(body), len(body)*4+64)
		require.False(t, cut)
		require.Equal(t, more, len(all) > 8)
	})
}
