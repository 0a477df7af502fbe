package dialect_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

const (
	wholeRequest = `{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[` + chatMail + `]}`
	wholeOwn     = `{"type" : "function", "id":"a","function":{"arguments":"{\"city\":\"<Oslo>\"}","name":"` + chatForecast + `"},"extra_content":{"google":{"thought_signature":"<&>"}}}`
	wholeTheirs  = `{"id":"b","type":"function","function":{"name":"send_mail","arguments":"{}"}}`
)

// wholeAnswer is a provider's answer, spaced as nobody else would.
func wholeAnswer(id, message, finish, usage string) string {
	return `{ "id":"` + id + `","object":"chat.completion", "created":` + id + `0, "model":"m-` + id + `","choices":[ {"index":0, "message":` + message +
		`,"logprobs":null,"finish_reason":"` + finish + `"} ],"usage":` + usage + `,"x":1e999 }`
}

func TestChatWhole(t *testing.T) {
	const usage = `{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}`
	s := openChat(t, wholeRequest, nil)
	first := wholeAnswer("1", `{"role":"assistant" ,"content":"A \u00e9 ","refusal":null,"annotations":[],"reasoning_content":"R1","tool_calls":[`+wholeOwn+`]}`, "tool_calls", usage)
	turn := s.Whole([]byte(first))
	require.Equal(t, []dialect.Call{{ID: "a", Name: chatForecast, Tool: scenarioTools()[0], Arguments: []byte(`{"city":"<Oslo>"}`)}}, turn.Calls)
	require.Equal(t, dialect.Usage{Input: 1, Output: 2}, turn.Usage)
	require.Equal(t, "m-1", turn.Model)
	s.Settle(nil, 0, dialect.Result{Parts: []dialect.Part{{Text: "4 °C"}}})
	require.True(t, s.Continue(false))
	require.Contains(t, string(s.Request()), `[{"role":"user","content":"hi"},{"role":"assistant" ,"content":"A \u00e9 ","refusal":null,"annotations":[],"reasoning_content":"R1","tool_calls":[`+
		wholeOwn+`]},{"role":"tool","tool_call_id":"a","content":"4 °C"}]`, "the message goes back byte for byte")
	last := wholeAnswer("2", `{"role":"assistant","content":"B","refusal":null,"reasoning_content":"R2"}`, "stop", `{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"new":{"x":1}}`)
	turn = s.Whole([]byte(last))
	require.Empty(t, turn.Calls)
	require.Equal(t, `{ "id":"1","object":"chat.completion", "created":10, "model":"m-1","choices":[ {"index":0, "message":{"role":"assistant","content":"A \u00e9 \n\nB","refusal":null,"reasoning_content":"R1R2"}`+
		`,"logprobs":null,"finish_reason":"stop"} ],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"new":{"x":1}},"x":1e999 }`, string(s.Body()))
}

func TestChatWholeIsLeftAlone(t *testing.T) {
	for name, body := range map[string]string{
		"no calls":          wholeAnswer("1", `{"role":"assistant","content":"A"}`, "stop", `{}`),
		"the client's":      wholeAnswer("1", `{"role":"assistant","content":null,"tool_calls":[`+wholeTheirs+`]}`, "tool_calls", `{}`),
		"custom":            wholeAnswer("1", `{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"custom","custom":{"name":"bmcp_x","input":""}}]}`, "tool_calls", `null`),
		"no JSON":           `{"choices":[`,
		"nothing":           ``,
		"an HTML page":      `<html>`,
		"no choices":        `{"x":1}`,
		"two choices":       `{"choices":[{"message":{"tool_calls":[` + wholeOwn + `]}},{}]}`,
		"a member twice":    `{"choices":[{"message":{"tool_calls":[` + wholeOwn + `]},"message":{}}]}`,
		"calls twice":       `{"choices":[{"message":{"tool_calls":[` + wholeOwn + `],"tool_calls":[]}}]}`,
		"odd calls":         `{"choices":[{"message":{"tool_calls":[1,null,{"function":1}]}}]}`,
		"a null error":      `{"error":null,"choices":[{"message":{"content":"A"}}]}`,
		"an error beside":   `{"error":{"x":1},"choices":[{"message":{"content":"A"}}]}`,
		"message is a text": `{"choices":[{"message":"A"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := openChat(t, wholeRequest, scenarioMemory{})
			turn := s.Whole([]byte(body))
			require.Empty(t, turn.Calls)
			require.Nil(t, turn.Failure)
			require.False(t, turn.Cut)
			require.Equal(t, body, string(s.Body()))
		})
	}
}

func TestChatWholeFailures(t *testing.T) {
	for body, status := range map[string]int{
		`{"error":{"message":"m","type":"t","code":"rate_limit_exceeded"}}`:     429,
		` [{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]`: 429,
		`{"object":"error","message":"m","type":"NotFoundError","code":404}`:    404,
		`{"error":"busy"}`: 0,
	} {
		s := openChat(t, wholeRequest, nil)
		turn := s.Whole([]byte(body))
		require.NotNil(t, turn.Failure, body)
		require.Equal(t, status, turn.Failure.Status, body)
		require.Equal(t, body, string(turn.Failure.Body))
		s.Again()
		turn = s.Whole([]byte(wholeAnswer("1", `{"content":"A"}`, "stop", `{}`)))
		require.Nil(t, turn.Failure)
		s = openChat(t, wholeRequest, nil)
		s.Whole([]byte(body))
		require.Empty(t, s.Relay(nil))
		require.Equal(t, body, string(s.Body()))
	}
}

func TestChatWholeMixed(t *testing.T) {
	s := openChat(t, wholeRequest, scenarioMemory{})
	turn := s.Whole([]byte(wholeAnswer("1", `{"role":"assistant","content":"A","tool_calls":[`+wholeOwn+`, `+wholeTheirs+` ,`+wholeOwn+`]}`, "tool_calls", `{}`)))
	require.True(t, turn.Mixed)
	require.Len(t, turn.Calls, 2)
	require.NotEqual(t, turn.Calls[0].ID, turn.Calls[1].ID, "the provider gave one id to both")
	require.Empty(t, s.Finish(nil))
	require.Equal(t, wholeAnswer("1", `{"role":"assistant","content":"A","tool_calls":[`+wholeTheirs+`]}`, "tool_calls", `{}`), string(s.Body()))
}

// A call that was cut short is not run, and does not show.
func TestChatWholeIncomplete(t *testing.T) {
	for finish, want := range map[string]string{"length": "length", "content_filter": "content_filter"} {
		s := openChat(t, wholeRequest, nil)
		turn := s.Whole([]byte(wholeAnswer("1", `{"role":"assistant","content":"A","tool_calls":[`+wholeOwn+`]}`, finish, `{}`)))
		require.Empty(t, turn.Calls)
		require.Equal(t, wholeAnswer("1", `{"role":"assistant","content":"A"}`, want, `{}`), string(s.Body()))
	}
}

// What providers leave out of calls, requests want.
func TestChatWholeCallsAreMended(t *testing.T) {
	s := openChat(t, wholeRequest, nil)
	turn := s.Whole([]byte(`{"choices":[{"message":{"content":null,"audio":{"id":"au","data":"AAAA"},"tool_calls":[{"function":{"name":" ` + chatForecast + `"}},{"id":"x","function":{"name":"` + chatForecast +
		`","arguments":{"a":1}}},{"id":"y","function":{"arguments":"","name":"` + chatForecast + `"}}]}}]}`))
	require.Len(t, turn.Calls, 3)
	require.Equal(t, "{}", string(turn.Calls[0].Arguments))
	require.Equal(t, `{"a":1}`, string(turn.Calls[1].Arguments))
	settleAll(t, s, turn, nil)
	require.Contains(t, string(s.Request()), `{"content":null,"audio":{"id":"au"},"tool_calls":[{"function":{"name":"`+chatForecast+`","arguments":"{}"},"id":"call_keyturn_1_0"},`+
		`{"id":"x","function":{"name":"`+chatForecast+`","arguments":"{\"a\":1}"}},{"id":"y","function":{"arguments":"{}","name":"`+chatForecast+`"}}],"role":"assistant"}`)
}

func TestChatWholeLogprobs(t *testing.T) {
	s := openChat(t, wholeRequest, nil)
	turn := s.Whole([]byte(`{"choices":[{"message":{"content":"A","tool_calls":[` + wholeOwn + `]},"logprobs":{"content":[{"token":"A"}],"refusal":null}}]}`))
	settleAll(t, s, turn, nil)
	s.Whole([]byte(`{"choices":[{"message":{"content":"B"},"logprobs":{"content":[{"token":"B"}],"refusal":null}}]}`))
	require.JSONEq(t, `{"choices":[{"message":{"content":"A\n\nB"},"logprobs":{"content":[{"token":"A"},{"token":"B"}]}}]}`, string(s.Body()))
}

func TestChatFailWithoutStream(t *testing.T) {
	s := openChat(t, wholeRequest, nil)
	require.Empty(t, s.Fail(nil, dialect.Error{Type: "api_error", Code: "c", Message: "m"}))
	require.JSONEq(t, `{"error":{"type":"api_error","code":"c","message":"m","param":""}}`, string(s.Body()))
}
