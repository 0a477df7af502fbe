package scripted_test

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

// dataOf reads the data of each event of a stream, whatever its framing.
func dataOf(stream string) []string {
	var all []string
	var data []string
	s := bufio.NewScanner(strings.NewReader(stream + "\n\n"))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := strings.TrimSuffix(s.Text(), "\r")
		if d, ok := strings.CutPrefix(line, "data: "); ok {
			data = append(data, d)
		}
		if line == "" && data != nil {
			all = append(all, strings.Join(data, "\n"))
			data = nil
		}
	}
	return all
}

// ask is an answer without a network. Each is the first of its provider, so the ids are the same.
func ask(t *testing.T, a scripted.Answer, path, body string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+good)
	w := httptest.NewRecorder()
	scripted.New(scripted.Config{}).Key(good, a).ServeHTTP(w, r)
	require.Equal(t, 200, w.Code, w.Body)
	return w.Body.String()
}

// TestStreamsTellWhatObjectsTell holds that, whatever the model says, both ways of asking give the same, by the clients' own
// accumulators.
func TestStreamsTellWhatObjectsTell(t *testing.T) {
	all := []scripted.Part{
		scripted.Text("Some words, „quoted“."), scripted.Refuse("No, not that."), scripted.Think("Well, well."), scripted.RedactedThinking(),
		scripted.Call("add", `{"a": 1, "b": "ü"}`), scripted.Call("none", `{}`), scripted.Custom("shell", "ls -l"), scripted.Hosted("what is it"),
		scripted.Text(""), scripted.Incomplete("max_output_tokens"),
	}
	dice := rand.New(rand.NewPCG(1, 2)) // the same cases every time
	for n := range 150 {
		var parts []scripted.Part
		for range n % 10 {
			parts = append(parts, all[dice.IntN(len(all))])
		}
		a := scripted.Say(parts...).Usage(50, 30)
		sameResponse(t, a)
		sameCompletion(t, a)
		sameMessage(t, a)
	}
}

func sameResponse(t *testing.T, a scripted.Answer) {
	t.Helper()
	whole := ask(t, a, "/v1/responses", `{"model":"m"}`)
	var check lifecycle
	var last struct {
		Response json.RawMessage `json:"response"`
	}
	for _, data := range dataOf(ask(t, a, "/v1/responses", `{"model":"m","stream":true}`)) {
		check.event(t, data)
		require.NoError(t, json.Unmarshal([]byte(data), &last))
	}
	check.end(t)
	require.JSONEq(t, timeless(t, whole), timeless(t, string(last.Response)))
}

func sameCompletion(t *testing.T, a scripted.Answer) {
	t.Helper()
	var whole openai.ChatCompletion
	require.NoError(t, json.Unmarshal([]byte(ask(t, a, "/v1/chat/completions", `{"model":"m"}`)), &whole))
	var acc openai.ChatCompletionAccumulator
	chunks := dataOf(ask(t, a, "/v1/chat/completions", `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`))
	require.Equal(t, "[DONE]", chunks[len(chunks)-1])
	for _, data := range chunks[:len(chunks)-1] {
		var chunk openai.ChatCompletionChunk
		require.NoError(t, json.Unmarshal([]byte(data), &chunk))
		require.True(t, acc.AddChunk(chunk))
	}
	want, got := whole.Choices[0], acc.Choices[0]
	require.Equal(t, want.FinishReason, got.FinishReason)
	require.Equal(t, want.Message.Content, got.Message.Content)
	require.Equal(t, want.Message.Refusal, got.Message.Refusal)
	require.Len(t, got.Message.ToolCalls, len(want.Message.ToolCalls))
	for i, want := range want.Message.ToolCalls {
		got := got.Message.ToolCalls[i]
		require.Equal(t, want.ID, got.ID)
		require.Equal(t, want.Function.Name+want.Function.Arguments, got.Function.Name+got.Function.Arguments)
	}
	require.Equal(t, whole.Usage.TotalTokens, acc.Usage.TotalTokens)
}

func sameMessage(t *testing.T, a scripted.Answer) {
	t.Helper()
	var whole, acc anthropic.Message
	require.NoError(t, json.Unmarshal([]byte(ask(t, a, "/v1/messages", `{"model":"m"}`)), &whole))
	for _, data := range dataOf(ask(t, a, "/v1/messages", `{"model":"m","stream":true}`)) {
		var e anthropic.MessageStreamEventUnion
		require.NoError(t, json.Unmarshal([]byte(data), &e))
		require.NoError(t, acc.Accumulate(e))
	}
	require.Equal(t, whole.StopReason, acc.StopReason)
	require.Equal(t, whole.Usage.OutputTokens, acc.Usage.OutputTokens)
	require.Len(t, acc.Content, len(whole.Content))
	for i, want := range whole.Content {
		got := acc.Content[i]
		require.Equal(t, want.Type+want.Text+want.Thinking+want.ID+want.Name+want.Data, got.Type+got.Text+got.Thinking+got.ID+got.Name+got.Data)
		require.Equal(t, want.Signature, got.Signature)
		if want.Type == "tool_use" {
			require.JSONEq(t, string(want.AsToolUse().Input), string(got.Input))
		}
	}
}

// Words that come one by one are whole without a stream.
func TestChunksWithoutAStream(t *testing.T) {
	for _, path := range []string{"/v1/responses", "/v1/chat/completions", "/v1/messages"} {
		require.Contains(t, ask(t, scripted.Chunks(3, 0), path, `{"model":"m","n":2}`), "chunk0 chunk1 chunk2 ")
	}
}

// timeless is a response without the times in it.
func timeless(t *testing.T, response string) string {
	t.Helper()
	var members map[string]any
	require.NoError(t, json.Unmarshal([]byte(response), &members))
	delete(members, "created_at")
	delete(members, "completed_at")
	b, err := json.Marshal(members)
	require.NoError(t, err)
	return string(b)
}

func TestEndings(t *testing.T) {
	pr := scripted.Problem{Status: 500, Type: "server_error", Message: "It broke."}
	call := scripted.Call("add", `{"a":1`)
	for _, tc := range []struct {
		name   string
		parts  []scripted.Part
		path   string
		status int      // without a stream
		whole  []string // what the object has
		stream []string // what the stream has
		hasNot []string // what the stream lacks
	}{
		{
			"incomplete",
			[]scripted.Part{scripted.Text("Half a"), scripted.Incomplete("max_output_tokens"), scripted.Text("unsaid")},
			"/v1/responses", 200,
			[]string{`"status":"incomplete"`, `"incomplete_details":{"reason":"max_output_tokens"}`},
			[]string{`"type":"response.incomplete"`, `"type":"response.output_item.done"`, `"status":"incomplete","content"`},
			[]string{"response.completed", "unsaid"},
		},
		{
			"an incomplete call",
			[]scripted.Part{call, scripted.Incomplete("content_filter")},
			"/v1/responses", 200,
			[]string{`"status":"incomplete","arguments":"{\"a\":1"`, `"reason":"content_filter"`},
			[]string{"response.incomplete"},
			nil,
		},
		{"length", []scripted.Part{call, scripted.Incomplete("max_output_tokens")}, "/v1/chat/completions", 200, []string{`"finish_reason":"length"`}, []string{`"finish_reason":"length"`}, nil},
		{"filter", []scripted.Part{scripted.Incomplete("content_filter")}, "/v1/chat/completions", 200, []string{`"finish_reason":"content_filter"`}, []string{`"finish_reason":"content_filter"`}, nil},
		{"max_tokens", []scripted.Part{call, scripted.Incomplete("max_output_tokens")}, "/v1/messages", 200, []string{`"stop_reason":"max_tokens"`, `"input":{}`}, []string{`"stop_reason":"max_tokens"`, `"partial_json":"{\"a\""`}, nil},
		{"pause", []scripted.Part{scripted.Hosted("x"), scripted.Incomplete("pause_turn")}, "/v1/messages", 200, []string{`"stop_reason":"pause_turn"`, `"web_search_requests":1`}, []string{`"stop_reason":"pause_turn"`}, nil},
		{"refusal", []scripted.Part{scripted.Refuse("No.")}, "/v1/messages", 200, []string{`"stop_reason":"refusal"`, `"stop_details":{"type":"refusal"`}, []string{`"stop_reason":"refusal"`}, nil},
		{"refusal in a chat", []scripted.Part{scripted.Refuse("No.")}, "/v1/chat/completions", 200, []string{`"content":null`, `"refusal":"No."`, `"finish_reason":"stop"`}, []string{`"refusal":"No."`}, nil},
		{"failed", []scripted.Part{scripted.Text("Half a"), scripted.Failed(pr)}, "/v1/responses", 200, []string{`"status":"failed"`, `"error":{"code":"server_error","message":"It broke."}`}, []string{"response.failed", "output_item.done"}, []string{"event: error", "response.completed"}},
		{"failed in a chat", []scripted.Part{scripted.Text("Half a"), scripted.Failed(pr)}, "/v1/chat/completions", 500, []string{"It broke."}, []string{`data: {"error":{"message":"It broke."`}, []string{"[DONE]"}},
		{"broken in a call", []scripted.Part{call, scripted.Broken(pr)}, "/v1/responses", 500, []string{"It broke."}, []string{"event: error", "response.failed", "arguments.delta"}, []string{"arguments.done", "output_item.done"}},
		{"broken in a call on Messages", []scripted.Part{call, scripted.Broken(pr)}, "/v1/messages", 500, []string{"It broke."}, []string{"event: error", "input_json_delta"}, []string{"content_block_stop", "message_stop"}},
		{"broken at once", []scripted.Part{scripted.Broken(pr)}, "/v1/messages", 500, []string{"It broke."}, []string{"message_start", "event: error"}, []string{"content_block_start"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, srv := provider(t, scripted.Say(tc.parts...))
			r := post(t, srv, tc.path, `{"model":"m"}`)
			require.Equal(t, tc.status, r.status)
			for _, want := range tc.whole {
				require.Contains(t, r.body, want)
			}
			r = post(t, srv, tc.path, `{"model":"m","stream":true}`)
			require.Equal(t, 200, r.status)
			for _, want := range tc.stream {
				require.Contains(t, r.body, want)
			}
			for _, not := range tc.hasNot {
				require.NotContains(t, r.body, not)
			}
		})
	}
}

// OpenAI says stop where tool_choice named the tool.
func TestFinishReasonOfANamedTool(t *testing.T) {
	_, srv := provider(t, scripted.Say(scripted.Call("add", "{}")))
	named := `{"model":"m","tool_choice":{"type":"function","function":{"name":"add"}}}`
	require.Contains(t, post(t, srv, "/v1/chat/completions", named).body, `"finish_reason":"stop"`)
	require.Contains(t, post(t, srv, "/v1/chat/completions", `{"model":"m","tool_choice":"required"}`).body, `"finish_reason":"tool_calls"`)
}

func TestCutAfter(t *testing.T) {
	for _, n := range []int{1, 3, 6} {
		_, srv := provider(t, scripted.CutAfter(n, scripted.Say(scripted.Call("add", `{"a":1,"b":2}`))))
		r := do(t, client(t), newRequest(t, "POST", srv.URL+"/v1/responses", streamed))
		require.Error(t, r.err)
		require.Len(t, dataOf(r.body), n)
	}
	_, srv := provider(t, scripted.CutAfter(1, scripted.OK("hi")))
	r := do(t, client(t), newRequest(t, "POST", srv.URL+"/v1/responses", "{}"))
	require.Error(t, r.err)
	require.NotEmpty(t, r.body, "half an object")
}

func TestFramingKeepsTheEvents(t *testing.T) {
	plain := scripted.Say(scripted.Text("a word"), scripted.Call("add", `{"a":1}`))
	for _, f := range []scripted.Framing{
		{CRLF: true},
		{NoNames: true},
		{Pretty: true},
		{Comment: "keep-alive"},
		{NoFinalBlank: true},
		{Done: true},
		{CRLF: true, NoNames: true, Pretty: true, Comment: "x", NoFinalBlank: true, Done: true},
	} {
		_, srv := provider(t, plain)
		want := dataOf(post(t, srv, "/v1/responses", streamed).body)
		_, srv = provider(t, plain.Framed(f))
		body := post(t, srv, "/v1/responses", streamed).body
		got := dataOf(body)
		if f.Done {
			require.Equal(t, "[DONE]", got[len(got)-1])
			got = got[:len(got)-1]
		}
		require.Len(t, got, len(want))
		for i := range want {
			require.JSONEq(t, timed(want[i]), timed(got[i]))
		}
		require.Equal(t, f.CRLF, strings.Contains(body, "\r\n"))
		require.Equal(t, f.NoNames, !strings.Contains(body, "event:"))
		require.Equal(t, f.Comment != "", strings.HasPrefix(body, ": "))
		require.Equal(t, f.NoFinalBlank, !strings.HasSuffix(body, "\n\n") && !strings.HasSuffix(body, "\r\n\r\n"))
	}
	_, srv := provider(t, plain.Framed(scripted.Framing{NoFinalBlank: true}))
	require.Contains(t, post(t, srv, "/v1/chat/completions", streamed).body, "[DONE]\n")
}

// timed sets the times of an event to the same.
func timed(data string) string {
	for _, name := range []string{"created_at", "completed_at"} {
		before, after, ok := strings.Cut(data, `"`+name+`":`)
		if ok {
			data = before + `"` + name + `":0` + after[strings.IndexAny(after, ",}"):]
		}
	}
	return data
}
