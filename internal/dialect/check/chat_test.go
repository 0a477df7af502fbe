package check_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/check"
)

// chatStream is a stream with calls, without anything wrong.
const chatStream = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}

: comment

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}],"usage":null}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}},{"index":1,"id":"b","type":"custom","custom":{"name":"g"}}]},"finish_reason":null}],"usage":null}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":null}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}

data: [DONE]

`

func TestChat(t *testing.T) {
	require.NoError(t, check.Chat([]byte(chatStream)))
	const finish = `"finish_reason":"tool_calls"`
	for _, tc := range []struct {
		name, old, new string // the last of old in the stream becomes new
		want           string
	}{
		{"another id", `"id":"c"`, `"id":"d"`, `event 6 (): id is "d", and was "c"`},
		{"another model", `"model":"m"`, `"model":"n"`, "model is"},
		{"another time", `"created":1`, `"created":2`, "created is"},
		{"another object", `"object":"chat.completion.chunk"`, `"object":"chat.completion"`, "object is"},
		{"a second role", `"delta":{}`, `"delta":{"role":"assistant"}`, "the role came before"},
		{"no [DONE] is allowed, two are not", "data: [DONE]\n\n", "data: [DONE]\n\ndata: [DONE]\n\n", "event 8 (): it comes after [DONE]"},
		{"a null error", `"choices":[]`, `"error":null,"choices":[]`, "error is null"},
		{"an error without a message", `"choices":[]`, `"error":{},"choices":[]`, "no message"},
		{"something after an error", `"choices":[{"index":0,"delta":{}`, `"error":{"message":"m"},"choices":[{"index":0,"delta":{}`, "event 6 (): it comes after an error"},
		{"no JSON", `"delta":{}`, `"delta":{`, "not a JSON object"},
		{"no choices", `"choices":[]`, `"x":[]`, "it has no choices"},
		{"no finish_reason", finish, `"finish_reason":null`, "ends without a finish_reason"},
		{"two of them", "data: [DONE]", `data: {"choices":[{"finish_reason":"stop"}]}` + "\n\ndata: [DONE]", "finish_reason came before"},
		{"the wrong one", finish, `"finish_reason":"content_filter"`, "after tool calls"},
		{"text after it", "data: [DONE]", `data: {"choices":[{"delta":{"content":"x"}}]}` + "\n\ndata: [DONE]", "after the finish_reason"},
		{"tokens twice", "data: [DONE]", `data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}` + "\n\ndata: [DONE]", "counted before"},
		{"fewer tokens", `"usage":null}` + "\n\ndata: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],", `"usage":{"prompt_tokens":5,"completion_tokens":0,"total_tokens":5}}` + "\n\ndata: {\"choices\":[],", "3 tokens after 5"},
		{"tokens too soon", "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{}", `data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}` + "\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{}", "before the finish_reason"},
		{"a wrong sum", `"total_tokens":3`, `"total_tokens":4`, "total_tokens is 4, not 3"},
		{"another choice", `"index":0,"delta":{}`, `"index":1,"delta":{}`, "choice 1"},
		{"a gap in the calls", `{"index":1,"id":"b"`, `{"index":2,"id":"b"`, "a tool call's index is 2, not 1"},
		{"a call without index", `{"index":1,"id":"b"`, `{"id":"b"`, "index is , not 1"},
		{"a call without id", `"id":"b",`, ``, "without id or name"},
		{"a call without name", `"name":"g"`, `"x":""`, "without id or name"},
		{"an id twice", `"id":"b"`, `"id":"a"`, "the same id"},
		{"another id of a call", `{"index":0,"function"`, `{"index":0,"id":"z","function"`, `has the id "z", and had "a"`},
		{"another name of a call", `{"arguments":"{}"}`, `{"arguments":"{}","name":"z"}`, `has the name "z", and had "f"`},
		{"no calls in tool_calls", `"delta":{}`, `"delta":{"tool_calls":[]}`, "no array with something in it"},
		{"the gateway's own", `"name":"f"`, `"name":" bmcp_x"`, "the gateway's own"},
		{"a line without end", "data: [DONE]\n\n", "data: [DONE]\n\n" + strings.Repeat("x", 33<<20), "too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i := strings.LastIndex(chatStream, tc.old)
			require.Positive(t, i)
			require.ErrorContains(t, check.Chat([]byte(chatStream[:i]+tc.new+chatStream[i+len(tc.old):])), tc.want)
		})
	}
	noCalls := `data: {"choices":[{"delta":{"content":"x"},"finish_reason":"tool_calls"}]}` + "\n\n"
	require.ErrorContains(t, check.Chat([]byte(noCalls)), "and there are none")
	require.ErrorContains(t, check.Chat(nil), "ends without")
	failed := `data: {"choices":[{"delta":{"content":"x"}}]}` + "\n\n" + `data: {"error":{"message":"m"}}` + "\n\ndata: [DONE]\n\n"
	require.NoError(t, check.Chat([]byte(failed)), "an error is an end")
}
