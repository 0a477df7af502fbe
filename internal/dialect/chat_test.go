package dialect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
)

const (
	chatForecast = "bmcp_weather_get_forecast"
	chatMail     = `{"type":"function","function":{"name":"send_mail"}}`
)

// chatRequest is a request that streams and asks for usage, with more members.
func chatRequest(more string) string {
	return `{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}` + more + `}`
}

func openChat(t testing.TB, request string, m dialect.Memory) dialect.Session {
	t.Helper()
	s := openWith(dialect.Chat, []byte(request), dialect.Options{Tools: scenarioTools(), ModelName: scenarioModelName, Memory: m})
	require.NotNil(t, s)
	require.True(t, s.Reads())
	return s
}

// chatChunk is one event, with delta and the rest of its choice.
func chatChunk(delta, rest string) string {
	return `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":` + delta + rest + `}]}` + "\n\n"
}

func chatFinish(reason string) string { return chatChunk(`{}`, `,"finish_reason":"`+reason+`"`) }

const chatDone = "data: [DONE]\n\n"

// everyCut is a stream whole, byte by byte, and in two pieces cut at every place.
func everyCut(stream string) (cuts [][][]byte) {
	b := []byte(stream)
	var single [][]byte
	for i := range b {
		single = append(single, b[i:i+1])
	}
	cuts = append(cuts, [][]byte{b}, single)
	for i := 1; i < len(b); i++ {
		cuts = append(cuts, [][]byte{b[:i], b[i:]})
	}
	return cuts
}

func TestChatRequests(t *testing.T) {
	for _, tc := range []struct {
		name, request string
		want          string // the request to the provider; "passes": Open returns nil; "injects": it has the tools
	}{
		{"no tools of the client's", `{"messages":[],"model":"m"}`, `{"messages":[],"model":"m","tools":[TOOLS]}`},
		{"null tools", `{"tools":null,"messages":[]}`, `{"tools":[TOOLS],"messages":[]}`},
		{"empty tools", `{"tools":[ ],"messages":[]}`, `{"tools":[TOOLS ],"messages":[]}`},
		{
			"bytes stay", "{ \"x\" : 1e999 ,\"messages\":[{\"a\":\"\\u00e9\",\"a\":2}] , \"tools\" : [ " + chatMail + " ]\n}",
			"{ \"x\" : 1e999 ,\"messages\":[{\"a\":\"\\u00e9\",\"a\":2}] , \"tools\" : [ " + chatMail + ",TOOLS ]\n}",
		},
		{"stream", `{"messages":[],"stream":true}`, `{"messages":[],"stream":true,"tools":[TOOLS],"stream_options":{"include_usage":true}}`},
		{"stream options", `{"messages":[],"stream":true,"stream_options":{"x":1}}`, `{"messages":[],"stream":true,"stream_options":{"x":1,"include_usage":true},"tools":[TOOLS]}`},
		{"usage is not wanted", `{"messages":[],"stream":true,"stream_options":{"include_usage":false}}`, `{"messages":[],"stream":true,"stream_options":{"include_usage":true},"tools":[TOOLS]}`},
		{"n is one", `{"messages":[],"n":1}`, "injects"},
		{"n is two", `{"messages":[],"n":2}`, "passes"},
		{"no JSON", `{"messages":[]`, "passes"},
		{"no object", `[]`, "passes"},
		{"not UTF-8", "{\"messages\":[\"\xff\"]}", "passes"},
		{"no messages", `{"model":"m"}`, "passes"},
		{"messages are no list", `{"messages":"hi"}`, "passes"},
		{"messages twice", `{"messages":[],"messages":[]}`, "passes"},
		{"an escaped name", `{"messages":[],"mess\u0061ges":[]}`, "passes"},
		{"tools twice", `{"messages":[],"tools":[],"tools":[]}`, "passes"},
		{"stream is no boolean", `{"messages":[],"stream":"yes"}`, "passes"},
		{"functions", `{"messages":[],"functions":[]}`, "passes"},
		{"function_call", `{"messages":[],"function_call":"auto"}`, "passes"},
		{"tool_choice none", `{"messages":[],"tool_choice":"none"}`, "passes"},
		{"tool_choice null", `{"messages":[],"tool_choice":null}`, "injects"},
		{"tool_choice auto", `{"messages":[],"tool_choice":"auto"}`, "injects"},
		{"tool_choice required", `{"messages":[],"tool_choice":"required"}`, "injects"},
		{"tool_choice of the client's", `{"messages":[],"tool_choice":{"type":"function","function":{"name":"x"}}}`, "passes"},
		{"tool_choice of Keyturn's", `{"messages":[],"tool_choice":{"type":"function","function":{"name":"` + chatForecast + `"}}}`, "injects"},
		{"tool_choice unknown", `{"messages":[],"tool_choice":{"type":"custom","custom":{"name":"x"}}}`, "passes"},
		{"allowed_tools without Keyturn's", `{"messages":[],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"x"}}]}}}`, "passes"},
		{
			"the client has a tool of that name", `{"messages":[],"tools":[{"type":"function","function":{"name":"` + chatForecast + `"}}]}`,
			`{"messages":[],"tools":[{"type":"function","function":{"name":"` + chatForecast + `"}},FILES]}`,
		},
		{"and of all", `{"messages":[],"tools":[{"type":"function","function":{"name":"` + chatForecast + `"}},{"type":"custom","custom":{"name":"bmcp_files_read_file"}}]}`, "passes"},
		{
			"127 tools", `{"messages":[],"tools":[` + strings.Repeat(chatMail+",", 126) + chatMail + `]}`,
			`{"messages":[],"tools":[` + strings.Repeat(chatMail+",", 127) + `WEATHER]}`,
		},
		{"128 tools", `{"messages":[],"tools":[` + strings.Repeat(chatMail+",", 127) + chatMail + `]}`, "passes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openWith(dialect.Chat, []byte(tc.request), dialect.Options{Tools: scenarioTools()})
			if tc.want == "passes" {
				require.Nil(t, s)
				return
			}
			require.NotNil(t, s)
			weather := `{"type":"function","function":{"name":"` + chatForecast + `","description":"Forecast for a city","parameters":` + string(scenarioTools()[0].Schema) + `}}`
			files := `{"type":"function","function":{"name":"bmcp_files_read_file","description":"Reads a file","parameters":` + string(scenarioTools()[1].Schema) + `}}`
			if tc.want == "injects" {
				require.Contains(t, string(s.Request()), weather+","+files)
				return
			}
			want := strings.NewReplacer("TOOLS", weather+","+files, "WEATHER", weather, "FILES", files).Replace(tc.want)
			require.Equal(t, want, string(s.Request()))
		})
	}
	require.Nil(t, openWith(dialect.Chat, []byte(`{"messages":[]}`), dialect.Options{}), "no tools are offered")
}

// What providers send that OpenAI does not. None of it calls Keyturn's tools.
var chatVendors = map[string]string{
	"OpenRouter": ": OPENROUTER PROCESSING\n\n" +
		`data: {"id":"gen-1","provider":"X","model":"m","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"Hm","reasoning_details":[{"type":"reasoning.text","text":"Hm","index":0}]},"finish_reason":null,"native_finish_reason":null,"logprobs":null}]}` + "\n\n" +
		`data: {"id":"gen-1","provider":"X","model":"m","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null,"native_finish_reason":null,"logprobs":null}]}` + "\n\n" +
		`data: {"id":"gen-1","provider":"X","model":"m","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop","native_finish_reason":"STOP","logprobs":null}]}` + "\n\n" +
		`data: {"id":"gen-1","provider":"X","model":"m","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null,"native_finish_reason":null,"logprobs":null}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"cost":0.00012}}` + "\n\n" + chatDone,
	"Azure": `data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}]}` + "\n\n" +
		`data: {"choices":[{"content_filter_results":{},"delta":{"content":"","refusal":null,"role":"assistant"},"finish_reason":null,"index":0,"logprobs":null}],"created":1,"id":"c1","model":"m","object":"chat.completion.chunk","system_fingerprint":"fp","usage":null}` + "\n\n" +
		`data: {"choices":[{"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}},"delta":{"content":"Hi"},"finish_reason":null,"index":0,"logprobs":null}],"created":1,"id":"c1","model":"m","object":"chat.completion.chunk","system_fingerprint":"fp","usage":null}` + "\n\n" +
		`data: {"choices":[{"content_filter_offsets":{"check_offset":1},"content_filter_results":{},"finish_reason":null,"index":0,"logprobs":null}],"created":0,"id":"","model":"","object":""}` + "\n\n" +
		chatFinish("stop") + chatDone,
	"Gemini": chatChunk(`{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"send_mail"},"id":"function-call-1","type":"function"}]}`, "") +
		chatChunk(`{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"send_mail"},"id":"function-call-2","type":"function"}]}`, "") +
		chatChunk(`{"role":"assistant"}`, `,"finish_reason":"stop"`) + chatDone,
	"usage with every chunk": strings.ReplaceAll(chatChunk(`{"role":"assistant","content":"a"}`, "")+chatChunk(`{"content":"b"}`, "")+chatFinish("stop"),
		`}]}`, `}],"usage":{"prompt_tokens":1,"total_tokens":2,"completion_tokens":1}}`) + chatDone,
	"no [DONE]":         chatChunk(`{"content":"a"}`, "") + chatFinish("stop"),
	"no finish_reason":  chatChunk(`{"content":"a"}`, "") + chatDone,
	"no choices at all": "data: {\"x\":1}\n\n" + chatChunk(`{"content":"a"}`, "") + chatFinish("stop") + chatDone,
	"index from one":    chatChunk(`{"tool_calls":[{"index":1,"id":"a","function":{"name":"send_mail","arguments":"{}"}}]}`, "") + chatFinish("tool_calls") + chatDone,
	"index is minus one": chatChunk(`{"tool_calls":[{"index":-1,"id":"a","function":{"name":"send_mail","arguments":"{"}}]}`, "") +
		chatChunk(`{"tool_calls":[{"index":-1,"function":{"arguments":"}"}}]}`, "") + chatFinish("tool_calls") + chatDone,
	"finish_reason with each chunk": chatChunk(`{"content":"a"}`, `,"finish_reason":"stop"`) + chatChunk(`{"content":"b"}`, `,"finish_reason":"stop"`) + chatDone,
	"no space after the colon":      strings.ReplaceAll(chatChunk(`{"content":"a"}`, "")+chatFinish("stop")+chatDone, "data: ", "data:"),
	"event lines":                   strings.ReplaceAll(chatChunk(`{"content":"a"}`, "")+chatFinish("stop")+chatDone, "data: ", "event: message\nid: 7\ndata: "),
	"several lines":                 strings.ReplaceAll(chatChunk(`{"content":"a"}`, "")+chatChunk(`{"content":"b"}`, "")+chatFinish("stop"), `,"choices"`, ",\ndata:  \"choices\"") + chatDone,
	"a BOM and CR":                  "\xef\xbb\xbf" + strings.ReplaceAll(chatChunk(`{"content":"a"}`, "")+chatFinish("stop")+chatDone, "\n", "\r"),
	"empty data":                    "data:\n\n" + chatChunk(`{"content":"a"}`, "") + "data: \n\n" + chatFinish("stop") + chatDone,
	"broken":                        chatChunk(`{"content":"a"}`, "") + "data: {\"choices\":[{\n\n" + "data: nonsense\n\n" + chatFinish("stop") + chatDone,
	"members twice":                 chatChunk(`{"content":"a","role":"x","role":"y"}`, "") + chatFinish("stop") + chatDone,
	"a legacy function call":        chatChunk(`{"function_call":{"name":"f","arguments":"{}"}}`, "") + chatFinish("function_call") + chatDone,
	"audio":                         chatChunk(`{"audio":{"id":"a","data":"AAAA"}}`, "") + chatChunk(`{"audio":{"transcript":"hi"}}`, "") + chatFinish("stop") + chatDone,
	"after [DONE]":                  chatChunk(`{"content":"a"}`, "") + chatFinish("stop") + chatDone + ": bye\n\n" + chatDone,
	"a custom tool": chatChunk(`{"tool_calls":[{"index":0,"id":"a","type":"custom","custom":{"name":"bmcp_x","input":""}}]}`, "") +
		chatChunk(`{"tool_calls":[{"index":0,"custom":{"input":"x"}}]}`, "") + chatFinish("tool_calls") + chatDone,
	"an error in the middle": chatChunk(`{"content":"a"}`, "") + `data: {"error":{"message":"m","code":502},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}` + "\n\n",
	"nothing":                "",
	"an HTML page":           "<html>\n<body>busy</body></html>\n",
	"escapes":                chatChunk(`{"content":"\ud83d"}`, "") + chatChunk(`{"content":"\ude00\u003c\/"}`, "") + chatFinish("stop") + chatDone,
}

func TestChatVendorsPassUnchanged(t *testing.T) {
	for name, stream := range chatVendors {
		t.Run(name, func(t *testing.T) {
			for _, cut := range everyCut(stream) {
				s := openChat(t, chatRequest(`,"tools":[`+chatMail+`]`), nil)
				var got []byte
				for _, p := range cut {
					got, _ = s.Write(got, p)
				}
				got, turn := s.End(got)
				require.Equal(t, stream, string(got))
				require.Empty(t, turn.Calls)
				require.Nil(t, turn.Failure)
			}
		})
	}
}

// What a second turn looks like after one that called Keyturn's tools.
func TestChatVendorsInTheSecondTurn(t *testing.T) {
	first := `data: {"id":"first","object":"chat.completion.chunk","created":9,"model":"mine","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"a","function":{"name":"` + chatForecast + `","arguments":""}}]},"finish_reason":"tool_calls"}]}` + "\n\n" + chatDone
	for _, name := range []string{"OpenRouter", "Azure", "no [DONE]", "usage with every chunk", "several lines", "a custom tool", "escapes"} {
		t.Run(name, func(t *testing.T) {
			stream := chatVendors[name]
			want := ""
			for i, cut := range everyCut(stream) {
				s := openChat(t, chatRequest(`,"tools":[`+chatMail+`]`), nil)
				got, turn := play(t, s, nil, [][]byte{[]byte(first)})
				require.Len(t, turn.Calls, 1)
				require.Empty(t, turn.Calls[0].Arguments, "none came")
				s.Settle(nil, 0, dialect.Result{})
				require.True(t, s.Continue(false))
				got, turn = play(t, s, got, cut)
				require.Empty(t, turn.Calls)
				if i == 0 {
					want = string(got)
					require.NoError(t, check.Chat(got))
					require.Equal(t, 1, strings.Count(want, `"role"`))
					require.NotContains(t, want, `"id":"c1"`)
				}
				require.Equal(t, want, string(got))
			}
		})
	}
}

// pieces makes a stream of deltas of tool calls.
func chatPieces(deltas ...string) string {
	var stream strings.Builder
	stream.WriteString(chatChunk(`{"role":"assistant","content":null}`, ""))
	for _, d := range deltas {
		stream.WriteString(chatChunk(`{"tool_calls":[`+d+`]}`, ""))
	}
	return stream.String()
}

func TestChatCallsAreFound(t *testing.T) {
	const f, r = chatForecast, "bmcp_files_read_file"
	type call struct{ ID, Name, Args string }
	for _, tc := range []struct {
		name   string
		stream string
		want   []call
		shows  string // the client's calls: id, name and arguments, joined; "" if it has none
	}{
		{
			"index missing, whole calls", chatPieces(
				`{"id":"a","type":"function","function":{"name":"`+f+`","arguments":"{\"a\":1}"}}`,
				`{"id":"b","type":"function","function":{"name":"`+r+`","arguments":"{}"}}`) + chatFinish("stop"),
			[]call{{"a", f, `{"a":1}`}, {"b", r, `{}`}},
			"",
		},
		{
			"index missing, in pieces", chatPieces(
				`{"id":"a","function":{"name":"`+f+`","arguments":""}}`, `{"function":{"arguments":"{\"a\""}}`, `{"function":{"arguments":":1}"}}`,
				`{"id":"b","function":{"name":"`+f+`"}}`, `{"function":{"arguments":"{}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{"a":1}`}, {"b", f, `{}`}},
			"",
		},
		{
			"index always 0, ids differ", chatPieces(
				`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{}"}}`, `{"index":0,"id":"b","function":{"name":"`+f+`","arguments":"{"}}`,
				`{"index":0,"function":{"arguments":"}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{}`}, {"b", f, `{}`}},
			"",
		},
		{
			"index always 0, ids with each piece", chatPieces(
				`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{"}}`, `{"index":0,"id":"b","function":{"name":"`+f+`","arguments":"{"}}`,
				`{"index":0,"id":"a","function":{"arguments":"\"x\":1}"}}`, `{"index":0,"id":"b","function":{"arguments":"}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{"x":1}`}, {"b", f, `{}`}},
			"",
		},
		{
			"index always 0, no ids", chatPieces(
				`{"index":0,"id":"","function":{"name":"`+f+`","arguments":"{}"}}`, `{"index":0,"function":{"name":"`+r+`","arguments":"{\"b\":2}"}}`) + chatFinish("stop"),
			[]call{{"call_keyturn_1_0", f, `{}`}, {"call_keyturn_1_1", r, `{"b":2}`}},
			"",
		},
		{
			"no index and no ids in one chunk", chatPieces(`{"function":{"name":"`+f+`","arguments":""}},{"function":{"name":"`+f+`","arguments":"{}"}}`) + chatFinish("stop"),
			[]call{{"call_keyturn_1_0", f, ``}, {"call_keyturn_1_1", f, `{}`}},
			"",
		},
		{
			"index -1", chatPieces(`{"index":-1,"id":"a","function":{"name":"`+f+`","arguments":"{"}}`, `{"index":-1,"function":{"arguments":"}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{}`}},
			"",
		},
		{
			"index from 1", chatPieces(`{"index":1,"id":"a","function":{"name":"`+f+`","arguments":"{"}}`, `{"index":1,"function":{"arguments":"}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{}`}},
			"",
		},
		{
			"the same id twice", chatPieces(
				`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{}"}}`, `{"index":1,"id":"a","function":{"name":"`+r+`","arguments":"{}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{}`}, {"call_keyturn_1_1", r, `{}`}},
			"",
		},
		{
			"name with white space, and empty later", chatPieces(
				`{"index":0,"id":"a","function":{"name":" `+f+`\n","arguments":""}}`, `{"index":0,"function":{"name":"","arguments":"{}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{}`}},
			"",
		},
		{
			"name with each piece", chatPieces(
				`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{"}}`, `{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{}`}},
			"",
		},
		{
			"name in pieces", chatPieces(
				`{"index":0,"id":"a","function":{"name":"bmcp_wea","arguments":""}}`, `{"index":0,"function":{"name":"ther_get_forecast"}}`, `{"index":0,"function":{"arguments":"{}"}}`) + chatFinish("tool_calls"), //nolint:misspell // a name in two pieces
			[]call{{"a", f, `{}`}},
			"",
		},
		{
			"a name that may become Keyturn's", chatPieces(
				`{"index":0,"id":"a","function":{"name":"bmcp","arguments":""}}`, `{"index":0,"function":{"name":"","arguments":"{"}}`, `{"index":0,"function":{"arguments":"}"}}`,
				`{"index":1,"id":"b","function":{"name":"`+f+`","arguments":"{}"}}`) + chatFinish("tool_calls"),
			[]call{{"b", f, `{}`}},
			"a bmcp {}",
		},
		{
			"and has no arguments", chatPieces(`{"index":0,"id":"a","function":{"name":"bm","arguments":""}}`, `{"index":1,"id":"b","function":{"name":"`+f+`","arguments":"{}"}}`) + chatFinish("tool_calls"),
			[]call{{"b", f, `{}`}},
			"a bm ",
		},
		{
			"name after the arguments", chatPieces(`{"index":0,"id":"a","function":{"arguments":"{\"a\""}}`, `{"index":0,"function":{"name":"`+f+`","arguments":":1}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{"a":1}`}},
			"",
		},
		{
			"arguments as an object", chatPieces(`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":{"a":"é\n"}}}`) + chatFinish("stop"),
			[]call{{"a", f, `{"a":"é\n"}`}},
			"",
		},
		{"no finish_reason", chatPieces(`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{}"}}`) + chatDone, []call{{"a", f, `{}`}}, ""},
		{"no [DONE]", chatPieces(`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{}"}}`) + chatFinish("tool_calls"), []call{{"a", f, `{}`}}, ""},
		{
			"after a finish_reason", chatPieces() + chatChunk(`{"content":"a"}`, `,"finish_reason":"stop"`) +
				chatChunk(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{}"}}]}`, `,"finish_reason":"stop"`) + chatDone,
			[]call{{"a", f, `{}`}},
			"",
		},
		{
			"the client's from 1, Keyturn's between", chatPieces(
				`{"index":1,"id":"a","function":{"name":"`+f+`","arguments":"{}"}}`, `{"index":2,"id":"b","function":{"name":"send_mail","arguments":"{"}}`,
				`{"index":3,"id":"c","function":{"name":"`+f+`","arguments":"{}"}}`, `{"index":4,"id":"d","function":{"name":"send_mail","arguments":"{}"}},{"index":2,"function":{"arguments":"}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{}`}, {"c", f, `{}`}},
			"b send_mail {}, d send_mail {}",
		},
		{
			"the client's without index", chatPieces(
				`{"id":"a","function":{"name":"`+f+`","arguments":"{}"}}`, `{"id":"b","function":{"name":"send_mail","arguments":"{}"}}`) + chatFinish("stop"),
			[]call{{"a", f, `{}`}},
			"b send_mail {}",
		},
		{
			"index 0, an id with every piece", chatPieces(
				`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":""}}`, `{"index":0,"id":"b","function":{"arguments":"{\"x\":"}}`,
				`{"index":0,"id":"c","function":{"arguments":"1}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{"x":1}`}},
			"",
		},
		{
			"index 0, an id and the name with every piece", chatPieces(
				`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":""}}`, `{"index":0,"id":"b","function":{"name":"`+f+`","arguments":"{\"x\":"}}`,
				`{"index":0,"id":"c","function":{"name":"`+f+`","arguments":"1}"}}`, `{"index":0,"id":"d","function":{"name":"`+f+`","arguments":""}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{"x":1}`}},
			"",
		},
		{
			"all arguments so far with each piece", chatPieces(
				`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{\"x\""}}`, `{"index":0,"function":{"arguments":"{\"x\":1"}}`,
				`{"index":0,"function":{"arguments":"{\"x\":1}"}}`, `{"index":0,"function":{"arguments":"{\"x\":1}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{"x":1}`}},
			"",
		},
		{
			"{} first", chatPieces(`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{}"}}`, `{"index":0,"function":{"arguments":"{\"x\":"}}`,
				`{"index":0,"function":{"arguments":"1}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{"x":1}`}},
			"",
		},
		{
			"whole once more", chatPieces(`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{\"x\":1}"}}`,
				`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{\"x\": 1}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{"x":1}`}},
			"",
		},
		{
			"whole once more with another id", chatPieces(`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{\"x\":1}"}}`,
				`{"index":0,"id":"b","function":{"name":"`+f+`","arguments":""}}`, `{"index":0,"function":{"arguments":"{\"x\":1}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{"x":1}`}},
			"",
		},
		{
			"whole once more with another index", chatPieces(`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{\"x\":1}"}}`,
				`{"index":1,"id":"a","function":{"name":"`+f+`","arguments":"{\"x\":1}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{"x":1}`}},
			"",
		},
		{
			"custom null", chatPieces(`{"index":0,"id":"a","type":"function","custom":null,"function":{"name":"`+f+`","arguments":"{}"}}`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{}`}},
			"",
		},
		{
			"finish_reason that is empty", strings.ReplaceAll(chatPieces(`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{}"}}`), `"finish_reason":null`, `"finish_reason":""`) + chatFinish("tool_calls"),
			[]call{{"a", f, `{}`}},
			"",
		},
		{"cut off by the limit", chatPieces(`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{}"}}`) + chatFinish("length"), nil, ""},
		{"cut off by a filter", chatPieces(`{"index":0,"id":"a","function":{"name":"`+f+`","arguments":"{}"}}`) + chatFinish("content_filter"), nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := ""
			for i, cut := range everyCut(tc.stream) {
				s := openChat(t, chatRequest(`,"tools":[`+chatMail+`]`), nil)
				client, turn := play(t, s, nil, cut)
				var got []call
				for _, c := range turn.Calls {
					got = append(got, call{c.ID, c.Name, string(c.Arguments)})
				}
				require.Equal(t, tc.want, got)
				require.Equal(t, tc.shows != "" && tc.want != nil, turn.Mixed)
				if tc.want != nil {
					client = settleAll(t, s, turn, client)
				}
				if i == 0 {
					want = string(client)
					require.NotContains(t, want, "bmcp_")
					if turn.Mixed {
						require.NoError(t, check.Chat(client))
						a, ok := assembled(client)
						require.True(t, ok)
						require.Equal(t, tc.shows, callsIn(a))
					}
				}
				require.Equal(t, want, string(client))
			}
		})
	}
}

// settleAll gives results to all calls, and goes on or finishes. What it sends must be a valid conversation.
func settleAll(t *testing.T, s dialect.Session, turn dialect.Turn, client []byte) []byte {
	t.Helper()
	for i := range turn.Calls {
		client = s.Settle(client, i, dialect.Result{Parts: []dialect.Part{{Text: "r"}}})
	}
	if turn.Mixed {
		return s.Finish(client)
	}
	require.True(t, s.Continue(false))
	require.NoError(t, validChat(s.Request()))
	return client
}

// callsIn is an answer's calls in a few words.
func callsIn(a chatAnswer) string {
	var list []string
	calls, _ := a.Choices[0].Message["tool_calls"].([]map[string]any)
	for _, c := range calls {
		f := c["function"].(map[string]any)
		list = append(list, fmt.Sprint(c["id"], " ", f["name"], " ", f["arguments"]))
	}
	return strings.Join(list, ", ")
}

// What models that reason want back, as their providers send it.
func TestChatVendorFieldsGoBack(t *testing.T) {
	const f = chatForecast
	for _, tc := range []struct {
		name, stream string
		want         string // the assistant message in the next request
	}{
		{
			"Gemini's signature", chatPieces(`{"extra_content":{"google":{"thought_signature":"<&>A=="}},"function":{"arguments":"{}","name":"` + f + `"},"id":"a","type":"function"}`),
			`{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"` + f + `","arguments":"{}"},"extra_content":{"google":{"thought_signature":"<&>A=="}}}]}`,
		},
		{
			"a member within function", chatPieces(`{"function":{"arguments":"","name":"` + f + `","provider_specific_fields":{"x":1}},"id":"a"}`),
			`{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"` + f + `","arguments":"{}","provider_specific_fields":{"x":1}}}]}`,
		},
		{
			"OpenRouter's details", chatChunk(`{"content":"","reasoning":"Let ","reasoning_details":[{"type":"reasoning.text","text":"Let ","format":"anthropic-claude-v1","index":0}]}`, "") +
				chatChunk(`{"reasoning":"me.","reasoning_details":[{"type":"reasoning.text","text":"me.","format":"anthropic-claude-v1","index":0}]}`, "") +
				chatChunk(`{"reasoning_details":[{"type":"reasoning.text","signature":"Et8B","format":"anthropic-claude-v1","index":0}]}`, "") +
				chatChunk(`{"reasoning_details":[{"type":"reasoning.encrypted","data":"AA","id":"rs_1","format":"x","index":1},{"type":"reasoning.summary","summary":"S","index":0},"odd"]}`, "") +
				chatPieces(`{"index":0,"id":"a","function":{"arguments":"{}","name":"`+f+`"}}`),
			`{"role":"assistant","content":"","reasoning":"Let me.","reasoning_details":[{"type":"reasoning.text","text":"Let me.","format":"anthropic-claude-v1","index":0,"signature":"Et8B"},` +
				`{"type":"reasoning.encrypted","data":"AA","id":"rs_1","format":"x","index":1},{"type":"reasoning.summary","summary":"S","index":0},"odd"],` +
				`"tool_calls":[{"id":"a","type":"function","function":{"name":"` + f + `","arguments":"{}"}}]}`,
		},
		{
			"LiteLLM's thinking blocks", chatChunk(`{"thinking_blocks":[{"type":"thinking","thinking":"A"}]}`, "") + chatChunk(`{"thinking_blocks":[{"type":"thinking","thinking":"B","signature":"s1"}]}`, "") +
				chatChunk(`{"thinking_blocks":[{"type":"thinking","thinking":"C"}]}`, "") + chatPieces(`{"index":0,"id":"a","function":{"arguments":"{}","name":"`+f+`"}}`),
			`{"role":"assistant","content":null,"thinking_blocks":[{"type":"thinking","thinking":"AB","signature":"s1"},{"type":"thinking","thinking":"C"}],"tool_calls":[{"id":"a","type":"function","function":{"name":"` + f + `","arguments":"{}"}}]}`,
		},
		{
			"halves of a character", chatChunk(`{"content":"\ud83d"}`, "") + chatChunk(`{"content":"\ude00\u003c"}`, "") + chatPieces(`{"index":0,"id":"a","function":{"arguments":"{\"x\":\"\ud83d"}}`, `{"index":0,"function":{"name":"`+f+`","arguments":"\ude00\"}"}}`),
			`{"role":"assistant","content":"\ud83d\ude00\u003c","tool_calls":[{"id":"a","type":"function","function":{"name":"` + f + `","arguments":"{\"x\":\"\ud83d\ude00\"}"}}]}`,
		},
		{
			"audio goes back as its id", chatChunk(`{"audio":{"id":"au_1","data":"AAAA"}}`, "") + chatPieces(`{"index":0,"id":"a","function":{"arguments":"{}","name":"`+f+`"}}`),
			`{"role":"assistant","content":null,"audio":{"id":"au_1"},"tool_calls":[{"id":"a","type":"function","function":{"name":"` + f + `","arguments":"{}"}}]}`,
		},
		{
			"Mistral's content", chatChunk(`{"content":[{"type":"thinking","thinking":[{"type":"text","text":"A"}]}]}`, "") + chatPieces(`{"index":0,"id":"a","function":{"arguments":"{}","name":"`+f+`"}}`),
			`{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"A"}]}],"tool_calls":[{"id":"a","type":"function","function":{"name":"` + f + `","arguments":"{}"}}]}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openChat(t, chatRequest(""), nil)
			_, turn := play(t, s, nil, [][]byte{[]byte(tc.stream + chatFinish("tool_calls"))})
			require.Len(t, turn.Calls, 1)
			settleAll(t, s, turn, nil)
			var r struct{ Messages []json.RawMessage }
			require.NoError(t, json.Unmarshal(s.Request(), &r))
			require.Equal(t, tc.want, string(r.Messages[1]))
		})
	}
}

// A client that did not ask how many tokens there were is not told.
func TestChatUsageIsAskedForAndWithheld(t *testing.T) {
	for _, more := range []string{"", `,"stream_options":{"include_usage":false}`} {
		s := openChat(t, `{"model":"m","messages":[],"stream":true`+more+`}`, nil)
		require.Contains(t, string(s.Request()), `"include_usage":true`)
		null := func(chunk string) string { return strings.Replace(chunk, `}]}`, `}],"usage":null}`, 1) }
		usage := `data: {"id":"c1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}` + "\n\n"
		stream := null(chatChunk(`{"role":"assistant"}`, "")) + null(chatChunk(`{"content":"a"}`, "")) + null(chatChunk(`{"content":"b"}`, "")) + null(chatFinish("stop")) + usage + chatDone
		want := chatChunk(`{"role":"assistant"}`, "") + chatChunk(`{"content":"a"}`, "") + chatChunk(`{"content":"b"}`, "") + chatFinish("stop") + chatDone
		for _, cut := range everyCut(stream) {
			client, turn := play(t, s, nil, cut)
			require.Equal(t, want, string(client))
			require.Equal(t, dialect.Usage{Input: 1, Output: 2}, turn.Usage)
			s = openChat(t, `{"model":"m","messages":[],"stream":true`+more+`}`, nil)
		}
	}
}

func TestChatNullErrorIsTakenOut(t *testing.T) {
	s := openChat(t, chatRequest(""), nil)
	null := func(chunk string) string { return strings.Replace(chunk, `}]}`, `}],"error":null}`, 1) }
	client, _ := play(t, s, nil, [][]byte{[]byte(null(chatChunk(`{"content":"a"}`, "")) + null(chatChunk(`{"content":"b"}`, "")) + null(chatFinish("stop")) + chatDone)})
	require.Equal(t, chatChunk(`{"content":"a"}`, "")+chatChunk(`{"content":"b"}`, "")+chatFinish("stop")+chatDone, string(client))
}

func TestChatFailures(t *testing.T) {
	role := chatChunk(`{"role":"assistant","content":""}`, "")
	for _, tc := range []struct {
		name, stream string
		status       int
		body         string
	}{
		{"OpenAI", role + `data: {"error":{"message":"m","type":"t","param":null,"code":"insufficient_quota"}}` + "\n\n", 429, `{"error":{"message":"m","type":"t","param":null,"code":"insufficient_quota"}}`},
		{"vLLM", `data: {"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}` + "\n\n", 400, `{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}`},
		{"OpenRouter", role + `data: {"id":"gen","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error":{"code":502,"message":"m","metadata":{"x":1}}}` + "\n\n", 502, `{"error":{"code":502,"message":"m","metadata":{"x":1}}}`},
		{"Gemini", `data: {"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[]}}` + "\n\n", 429, `{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[]}}`},
		{"a text", `data: {"error":"busy"}` + "\n\n", 0, `{"error":"busy"}`},
		{"event: error", "event: error\ndata: {\"error\":{\"message\":\"m\",\"status\":\"UNAVAILABLE\"}}\n\n", 503, `{"error":{"message":"m","status":"UNAVAILABLE"}}`},
		{"a line of its own", "{\"error\":{\"message\":\"m\",\"code\":\"invalid_api_key\"}}\n\n", 401, `{"error":{"message":"m","code":"invalid_api_key"}}`},
		{"a field called error", "error: {\"code\":500,\"message\":\"m\"}\n\n", 500, `{"error":{"code":500,"message":"m"}}`},
		{"without an end", `data: {"error":{"message":"m","code":"429"}}`, 429, `{"error":{"message":"m","code":"429"}}`},
		{"in many lines", "data: {\"error\":\ndata: {\"message\":\"m\",\"type\":\"server_error\"}}\n\n", 500, "{\"error\":\n{\"message\":\"m\",\"type\":\"server_error\"}}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, cut := range everyCut(tc.stream + "") {
				s := openChat(t, chatRequest(""), nil)
				client, turn := play(t, s, nil, cut)
				require.Empty(t, string(client))
				require.NotNil(t, turn.Failure)
				require.Equal(t, tc.status, turn.Failure.Status)
				require.Equal(t, tc.body, string(turn.Failure.Body))
				require.NotEmpty(t, turn.Failure.Message)
				require.False(t, turn.Cut)
				request := string(s.Request())
				s.Again()
				require.Equal(t, request, string(s.Request()))
				client, turn = play(t, s, nil, cut)
				require.NotNil(t, turn.Failure)
				require.Equal(t, tc.stream, string(s.Relay(client)))
			}
		})
	}
}

// The window is bounded: a role and comments do not keep a client waiting for ever.
func TestChatWindow(t *testing.T) {
	s := openChat(t, chatRequest(""), nil)
	role := chatChunk(`{"role":"assistant","content":""}`, "")
	got, state := s.Write(nil, []byte(": before\n\n"+role))
	require.Equal(t, ": before\n\n", string(got), "a comment before all else shows nothing")
	require.Equal(t, dialect.Going, state)
	for range 63 {
		got, _ = s.Write(nil, []byte(role))
		require.Empty(t, string(got))
	}
	got, _ = s.Write(nil, []byte(role))
	require.Equal(t, strings.Repeat(role, 65), string(got))
	errs := `data: {"error":{"message":"m"}}` + "\n\n"
	got, turn := play(t, s, nil, [][]byte{[]byte(errs)})
	require.Equal(t, errs, string(got), "too late to fail the turn")
	require.Nil(t, turn.Failure)

	s = openChat(t, chatRequest(""), nil)
	large := chatChunk(`{"role":"`+strings.Repeat("x", 257<<10)+`"}`, "")
	got, _ = s.Write(nil, []byte(large))
	require.Empty(t, string(got))
	got, _ = s.Write(nil, []byte(role))
	require.Equal(t, large+role, string(got))
}

// An event that no client reads ends the reading, not the stream.
func TestChatTooLongEvent(t *testing.T) {
	s := openChat(t, chatRequest(""), nil)
	stream := chatChunk(`{"role":"assistant"}`, "") + chatPieces(`{"index":0,"id":"a","function":{"name":"`+chatForecast+`","arguments":"{}"}}`)
	long := "data: " + strings.Repeat("x", 33<<20) + "\n\n"
	got, turn := play(t, s, nil, [][]byte{[]byte(stream), []byte(long), []byte(chatDone)})
	require.Empty(t, turn.Calls)
	require.True(t, bytes.HasSuffix(got, []byte(long+chatDone)))
	require.Equal(t, string(got), string(s.KeepAlive(got)), "nothing may stand in the middle of an event")
	require.True(t, bytes.HasPrefix(s.Fail(nil, dialect.Error{Message: "m"}), []byte("\n\ndata: ")))
}

// TestChatCutComment holds that the next turn's first chunk does not become a part of half a comment.
func TestChatCutComment(t *testing.T) {
	s := openChat(t, `{"messages":[],"stream":true}`, nil)
	first := chatPieces(`{"index":0,"id":"a","function":{"name":"`+chatForecast+`","arguments":"{}"}}`) + chatFinish("tool_calls") + ": half"
	out, turn := play(t, s, nil, [][]byte{[]byte(first)})
	require.Len(t, turn.Calls, 1)
	settleAll(t, s, turn, nil)
	out, _ = play(t, s, out, [][]byte{[]byte(chatChunk(`{"role":"assistant","content":"One"}`, "") + chatFinish("stop") + chatDone)})
	require.Contains(t, string(out), ": half\n\ndata: {")
	require.NoError(t, check.Chat(out))
}
