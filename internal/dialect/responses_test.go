package dialect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
	"github.com/keyturn/keyturn/sse"
)

func openResponses(body string, m dialect.Memory) dialect.Session {
	return openWith(dialect.Responses, []byte(body), dialect.Options{Tools: scenarioTools(), ModelName: scenarioModelName, Memory: m})
}

func TestResponsesPasses(t *testing.T) {
	many := strings.Repeat(`{"type":"function","name":"x"},`, 127) + `{"type":"web_search"}`
	for _, tc := range []struct{ name, body string }{
		{"no JSON", `{"model":"m"`},
		{"more after it", `{"model":"m"} {}`},
		{"an array", `[]`},
		{"no UTF-8", "{\"model\":\"\xff\"}"},
		{"a member twice", `{"model":"m","input":"a","input":"b"}`},
		{"a member twice, once spelled with an escape", `{"model":"m","tools":[],"\u0074ools":[]}`},
		{"in the background", `{"model":"m","input":"a","background":true}`},
		{"no tools wanted", `{"model":"m","input":"a","tool_choice":"none"}`},
		{"the client's tool wanted", `{"model":"m","tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"function","name":"f"}}`},
		{"a hosted tool wanted", `{"model":"m","tools":[{"type":"web_search"}],"tool_choice":{"type":"web_search"}}`},
		{"an MCP server's tool wanted", `{"model":"m","tool_choice":{"type":"mcp","server_label":"weather"}}`},
		{"tools allowed, none of Keyturn's", `{"model":"m","tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]}}`},
		{"a choice of two minds", `{"model":"m","tool_choice":{"type":"function","name":"f","name":"bmcp_files_read_file"}}`},
		{"an unknown choice", `{"model":"m","tool_choice":"sometimes"}`},
		{"tools that are no array", `{"model":"m","tools":{}}`},
		{"a tool with two names", `{"model":"m","tools":[{"type":"function","name":"a","name":"b"}]}`},
		{"as many tools as may be", `{"model":"m","tools":[` + many + `]}`},
		{"the client has all of them", `{"model":"m","tools":[{"type":"function","name":"bmcp_weather_get_forecast"},{"type":"custom","name":"bmcp_files_read_file"}]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Nil(t, openResponses(tc.body, nil))
		})
	}
	require.Nil(t, openWith(dialect.Responses, []byte(`{"model":"m","input":"a"}`), dialect.Options{}))
}

// names are the tools of a request, and what it says to include.
func names(t *testing.T, request []byte) (tools, include []string) {
	t.Helper()
	var r struct {
		Tools []struct {
			Name   string
			Strict *bool
		}
		Include []string
	}
	require.NoError(t, json.Unmarshal(request, &r), string(request))
	for _, tool := range r.Tools {
		tools = append(tools, tool.Name)
	}
	return tools, r.Include
}

func TestResponsesInjects(t *testing.T) {
	both := []string{"bmcp_weather_get_forecast", "bmcp_files_read_file"}
	many := strings.TrimSuffix(strings.Repeat(`{"type":"function","name":"x"},`, 127), ",")
	encrypted := []string{"reasoning.encrypted_content"}
	for _, tc := range []struct {
		name, body string
		tools      []string
		include    []string
	}{
		{"no tools", `{"model":"m"}`, both, nil},
		{"an empty object", `{}`, both, nil},
		{"null", `{"tools":null,"include":null,"store":false,"reasoning":{}}`, both, encrypted},
		{"an empty array", `{"tools":[ ]}`, both, nil},
		{"the client's come first", `{"tools":[{"type":"function","name":"f"}]}`, append([]string{"f"}, both...), nil},
		{"one is the client's own", `{"tools":[{"type":"function","name":"bmcp_weather_get_forecast"}]}`, both, nil},
		{"one is in a namespace of the client's", `{"tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"bmcp_files_read_file"}]}]}`, []string{"n", both[0]}, nil},
		{"one is in an item", `{"input":[{"type":"additional_tools","tools":[{"type":"function","name":"bmcp_files_read_file"}]}]}`, both[:1], nil},
		{"one of Keyturn's is wanted", `{"tool_choice":{"type":"function","name":"bmcp_files_read_file"}}`, both, nil},
		{"one of Keyturn's is allowed", `{"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"bmcp_files_read_file"}]}}`, both, nil},
		{"no room for two", `{"tools":[` + many + `]}`, append(strings.Split(strings.Repeat("x,", 126)+"x", ","), both[0]), nil},
		{"stored", `{"model":"o3"}`, both, nil},
		{"not stored, the model reasons", `{"model":"openai/gpt-5-mini","store":false}`, both, encrypted},
		{"not stored, the model chats", `{"model":"gpt-5-chat-latest","store":false}`, both, nil},
		{"not stored, the model does not reason", `{"model":"gpt-4.1","store":false}`, both, nil},
		{"not stored, and asked for", `{"model":"o3","store":false,"include":["reasoning.encrypted_content"]}`, both, encrypted},
		{"not stored, other things asked for", `{"model":"o3","store":false,"include":["x"]}`, both, append([]string{"x"}, encrypted...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openResponses(tc.body, nil)
			require.NotNil(t, s)
			require.True(t, s.Reads())
			tools, include := names(t, s.Request())
			require.Equal(t, tc.tools, tools)
			require.Equal(t, tc.include, include)
		})
	}
}

func TestResponsesSchemas(t *testing.T) {
	tools := []dialect.Tool{{Name: "a", Schema: nil}, {Name: "b", Schema: []byte(`{"x":`)}, {Name: "c", Schema: []byte(`[]`)}, {Name: "d\"", Description: "\x00\xff"}}
	s := openWith(dialect.Responses, []byte(`{}`), dialect.Options{Tools: tools})
	var r struct {
		Tools []struct{ Parameters map[string]any }
	}
	require.NoError(t, json.Unmarshal(s.Request(), &r))
	require.Len(t, r.Tools, 4)
	for _, tool := range r.Tools {
		require.Equal(t, "object", tool.Parameters["type"])
	}
}

// TestResponsesTranslates is about requests that get no tools, and still have to be translated.
func TestResponsesTranslates(t *testing.T) {
	item := `{"id":"mcp-FB11","type":"mcp_call","status":%q,"arguments":%s,"error":%s,"name":"read_file","output":%s,"server_label":"files"}`
	output := func(s string) string { return `{"type":"function_call_output","call_id":"call_1","output":` + s + `}` }
	for _, tc := range []struct {
		name, item, want string
	}{
		{"completed", fmt.Sprintf(item, "completed", `"{\"a\":1}"`, "null", `"r"`), output(`"r"`)},
		{"an error in words", fmt.Sprintf(item, "failed", `"{\"a\":1}"`, `"boom"`, "null"), output(`"boom"`)},
		{"an error of the protocol", fmt.Sprintf(item, "failed", `"{\"a\":1}"`, `{"type":"mcp_protocol_error","code":1,"message":"boom"}`, "null"), output(`"Error: boom"`)},
		{"an error of the tool", fmt.Sprintf(item, "failed", `"{\"a\":1}"`, `{"type":"mcp_tool_execution_error","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}`, "null"), output(`"a\nb"`)},
		{"not run", fmt.Sprintf(item, "incomplete", `"{\"a\":1}"`, "null", "null"), output(`"Error: the call was not completed"`)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openResponses(`{"model":"m","tool_choice":"none","input":[`+tc.item+`]}`, nil)
			require.NotNil(t, s)
			require.False(t, s.Reads())
			call := `{"type":"function_call","id":"fc_1","call_id":"call_1","name":"bmcp_files_read_file","arguments":"{\"a\":1}","status":"completed"}`
			require.Equal(t, `{"model":"m","tool_choice":"none","input":[`+call+`,`+tc.want+`]}`, string(s.Request()))
		})
	}
	require.Nil(t, openResponses(`{"tool_choice":"none","input":[{"type":"mcp_call","id":"mcp_0123","name":"x","server_label":"y","arguments":"{}","output":"z"}]}`, nil),
		"the provider's own MCP calls are its own")
}

// TestResponsesTurnOrder is about which items of the input make a turn.
func TestResponsesTurnOrder(t *testing.T) {
	mcp := func(id string) string {
		return `{"type":"mcp_call","id":"` + id + `","name":"read_file","server_label":"files","arguments":"{}","output":"o"}`
	}
	for _, tc := range []struct {
		name  string
		input []string
		want  string // types, shortened, with the calls' ids
	}{
		{"one after the other", []string{mcp("mcp-ABa1"), mcp("mcp-ABb2")}, "call1 out1 call2 out2"},
		{"at once", []string{mcp("mcp-ABa1"), mcp("mcp-QBb2")}, "call1 call2 out1 out2"},
		{"with words between", []string{mcp("mcp-ABa1"), `{"role":"assistant"}`, mcp("mcp-QBb2"), `{"role":"assistant"}`}, "call1 assistant call2 out1 out2 assistant"},
		{"the client's between", []string{mcp("mcp-ABa1"), `{"type":"function_call","call_id":"c"}`, mcp("mcp-QBb2"), `{"type":"function_call_output","call_id":"c"}`}, "call1 callc call2 out1 out2 outc"},
		{"the client's after", []string{mcp("mcp-ABa1"), `{"type":"custom_tool_call","call_id":"c"}`, `{"type":"custom_tool_call_output","call_id":"c"}`}, "call1 customc out1 customoutc"},
		{"reasoning begins a turn", []string{mcp("mcp-ABa1"), `{"type":"reasoning"}`, `{"type":"function_call","call_id":"c"}`}, "call1 out1 reasoning callc"},
		{"the first is lost", []string{`{"role":"user"}`, mcp("mcp-QBb2"), `{"role":"user"}`}, "user call2 out2 user"},
		{"dots and percents in an id", []string{mcp("mcp-MGYS5iJQ1.5")}, "call1.5 out1.5"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openResponses(`{"input":[`+strings.Join(tc.input, ",")+`]}`, nil)
			var r struct{ Input []anyItem }
			require.NoError(t, json.Unmarshal(s.Request(), &r), string(s.Request()))
			var got []string
			for _, i := range r.Input {
				short := strings.NewReplacer("function_call_output", "out", "function_call", "call", "custom_tool_call_output", "customout", "custom_tool_call", "custom").Replace(i.Type)
				got = append(got, short+i.Role+i.CallID)
			}
			require.Equal(t, tc.want, strings.Join(got, " "))
		})
	}
}

// TestResponsesPreviousEcho holds that the client reads its own previous_response_id, not the one that Keyturn made of it.
func TestResponsesPreviousEcho(t *testing.T) {
	m := scenarioMemory{}
	playFile(t, "previous", m)
	for path, want := range map[string]string{
		"/v1/responses/resp_01":                "/v1/responses/resp_02",
		"/v1/responses/resp_01/input_items":    "/v1/responses/resp_02/input_items",
		"/v1/responses/resp_01?stream=true":    "/v1/responses/resp_02?stream=true",
		"/v1/responses/resp_02":                "/v1/responses/resp_02",
		"/v1/responses/resp_99":                "/v1/responses/resp_99",
		"/v1/responses":                        "/v1/responses",
		"/v1/conversations/resp_01/items?a=/b": "/v1/conversations/resp_01/items?a=/b",
	} {
		require.Equal(t, want, dialect.UpstreamPath(path, m), path)
		require.Equal(t, path, dialect.UpstreamPath(path, nil), path)
	}

	for _, choice := range []string{"auto", "none"} {
		s := openResponses(`{"stream":true,"previous_response_id":"resp_01","tool_choice":"`+choice+`"}`, m)
		require.Contains(t, string(s.Request()), `"previous_response_id":"resp_02"`)
		require.True(t, s.Reads())
		out, _ := s.Write(nil, []byte("data: {\"type\":\"response.completed\",\"sequence_number\":0,\"response\":{\"id\":\"resp_9\",\"previous_response_id\":\"resp_02\",\"output\":[]}}\n\n"))
		require.Equal(t, "data: {\"type\":\"response.completed\",\"sequence_number\":0,\"response\":{\"id\":\"resp_9\",\"previous_response_id\":\"resp_01\",\"output\":[]}}\n\n", string(out))
	}
}

// playFile plays the first turns of a scenario.
func playFile(t *testing.T, name string, m dialect.Memory) {
	t.Helper()
	sc := readScenario(t, filepath.Join("testdata", "responses", name+".txtar"))
	sc.run(t, scenarioDialect{dialect: dialect.Responses}, m, func(b []byte) [][]byte { return [][]byte{b} }, false)
}

func TestResponsesExplains(t *testing.T) {
	const missing = `{"error":{"message":"No tool output found for function call call_11.","type":"invalid_request_error","param":"input","code":null}}`
	const unknown = `{"error":{"message":"Previous response with id 'resp_02' not found.","type":"invalid_request_error","param":"previous_response_id","code":"previous_response_not_found"}}`
	known := scenarioMemory{}
	playFile(t, "previous", known)
	for _, tc := range []struct {
		name, body string
		memory     dialect.Memory
		status     int
		answer     string
		want       bool
	}{
		{"forgotten", `{"previous_response_id":"resp_01","input":"a"}`, scenarioMemory{}, 400, missing, true},
		{"forgotten, in a conversation", `{"conversation":"conv_1","input":"a"}`, scenarioMemory{}, 400, missing, true},
		{"no memory", `{"previous_response_id":"resp_01","input":"a"}`, nil, 400, missing, true},
		{"remembered: another's fault", `{"previous_response_id":"resp_01","input":"a"}`, known, 400, missing, false},
		{"the call is the client's", `{"previous_response_id":"resp_01","input":[{"type":"function_call","call_id":"call_11"}]}`, scenarioMemory{}, 400, missing, false},
		{"no state", `{"input":"a"}`, scenarioMemory{}, 400, missing, false},
		{"another status", `{"previous_response_id":"resp_01"}`, scenarioMemory{}, 429, missing, false},
		{"another error", `{"previous_response_id":"resp_01"}`, scenarioMemory{}, 400, `{"error":{"message":"No."}}`, false},
		{"no JSON", `{"previous_response_id":"resp_01"}`, scenarioMemory{}, 400, `No tool output found for function call call_11.`, false},
		{"the provider forgot the last turn", `{"previous_response_id":"resp_01"}`, known, 400, unknown, true},
		{"the provider never knew", `{"previous_response_id":"resp_77"}`, known, 400, unknown, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, ok := openResponses(tc.body, tc.memory).Explain(tc.status, []byte(tc.answer))
			require.Equal(t, tc.want, ok)
			if ok {
				require.Equal(t, "conversation_state_lost", e.Code)
				require.Contains(t, e.Message, "send the whole conversation as input")
			}
		})
	}
}

// TestResponsesPending is about results that the provider waits for, by all the ways in which a request can ask for them.
func TestResponsesPending(t *testing.T) {
	m := scenarioMemory{}
	playFile(t, "replay_mixed", m)
	const pending = `{"type":"function_call_output","call_id":"call_11","output":"rain"},{"type":"function_call_output","call_id":"call_13","output":"content"}`
	const answer = `{"type":"function_call_output","call_id":"call_12","output":"sent"}`
	for _, tc := range []struct{ name, body, want string }{
		{"previous_response_id, an array", `{"previous_response_id":"resp_01","input":[` + answer + `]}`, `"input":[` + pending + `,` + answer + `]`},
		{"previous_response_id, a text", `{"previous_response_id":"resp_01","input":"go on"}`, `"input":[` + pending + `,{"role":"user","content":"go on"}]`},
		{"previous_response_id, nothing", `{"previous_response_id":"resp_01"}`, `"input":[` + pending + `]`},
		{"a conversation", `{"conversation":"conv_1","input":[` + answer + `]}`, `"input":[` + pending + `,` + answer + `]`},
		{"the call is there, and Keyturn's are not", `{"input":[{"type":"function_call","call_id":"call_12"},` + answer + `]}`, `"name":"bmcp_files_read_file"},` + pending + `,` + answer + `]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Contains(t, string(openResponses(tc.body, m).Request()), tc.want)
		})
	}
	// What a shared store brings may be damaged: then it counts as forgotten.
	for key := range m {
		m[key] = []byte(`{"id":`)
	}
	require.NotContains(t, string(openResponses(`{"previous_response_id":"resp_01","input":[`+answer+`]}`, m).Request()), "rain")
}

func TestResponsesWholeFailures(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"an error with 200", `{"error":{"message":"m","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`, 429, "rate_limit_exceeded"},
		{"billing", `{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`, 429, "insufficient_quota"},
		{"a bad key", `{"error":{"message":"m","type":"invalid_request_error","code":"invalid_api_key"}}`, 401, "invalid_api_key"},
		{"by its type", `{"error":{"message":"m","type":"authentication_error","code":null}}`, 401, ""},
		{"forbidden", `{"error":{"message":"m","type":"permission_error"}}`, 403, ""},
		{"overloaded", `{"error":{"message":"m","type":"service_unavailable_error","code":"server_is_overloaded"}}`, 503, "server_is_overloaded"},
		{"a number", `{"error":{"message":"m","code":429}}`, 429, "429"},
		{"unknown", `{"error":{"message":"m","code":"bio_policy"}}`, 0, "bio_policy"},
		{"a response that failed", `{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"m"},"output":[],"tools":[]}`, 500, "server_error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openResponses(`{"model":"m","input":"a"}`, nil)
			turn := s.Whole([]byte(tc.body))
			require.NotNil(t, turn.Failure)
			require.Equal(t, tc.status, turn.Failure.Status)
			require.Equal(t, tc.code, turn.Failure.Code)
			require.Equal(t, "m", turn.Failure.Message)
			require.True(t, json.Valid(turn.Failure.Body), string(turn.Failure.Body))
			s.Again()
			turn = s.Whole([]byte(`{"id":"resp_2","status":"completed","output":[],"tools":[]}`))
			require.Nil(t, turn.Failure)
			require.JSONEq(t, `{"id":"resp_2","status":"completed","output":[],"tools":[]}`, string(s.Body()))
			s.Again()
			s.Whole([]byte(tc.body))
			require.Empty(t, s.Relay(nil))
			require.JSONEq(t, tc.body, string(s.Body()))
		})
	}
	s := openResponses(`{"model":"m","input":"a"}`, nil)
	require.Empty(t, s.Whole([]byte(`<html>`)).Calls)
	require.Equal(t, `<html>`, string(s.Body()))
}

// TestResponsesUnannounced is about a call that only the end of the stream tells of.
func TestResponsesUnannounced(t *testing.T) {
	s := openResponses(`{"stream":true}`, nil)
	out, state := s.Write(nil, []byte("data: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r\",\"status\":\"in_progress\"}}\n\n"+
		"data: {\"type\":\"response.completed\",\"sequence_number\":1,\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":"+
		"[{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"bmcp_files_read_file\",\"arguments\":\"{}\"}]}}\n\n"))
	require.Equal(t, dialect.Over, state)
	out, turn := s.End(out)
	require.Len(t, turn.Calls, 1)
	out = s.Settle(out, 0, dialect.Result{})
	out = s.Settle(out, 0, dialect.Result{IsError: true}) // a second time it is nothing
	out = s.Settle(out, 7, dialect.Result{})
	require.True(t, s.Continue(false))
	out, _ = s.Write(out, []byte("data: {\"type\":\"response.completed\",\"sequence_number\":0,\"response\":{\"id\":\"r2\",\"status\":\"completed\",\"output\":[]}}\n\n"))
	require.NoError(t, check.Responses(out))
	require.Contains(t, string(out), `"id":"mcp-AAc"`)
}

// TestResponsesWindow is about how much is held back.
func TestResponsesWindow(t *testing.T) {
	failing := "data: {\"type\":\"error\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"}}\n\n"
	s := openResponses(`{"stream":true}`, nil)
	out, state := s.Write(nil, []byte(strings.Repeat("data: {\"type\":\"keepalive\"}\n\n", 63)))
	require.Equal(t, strings.Repeat(": keyturn\n\n", 61), string(out), "no event, but signs of life")
	require.Equal(t, dialect.Going, state)
	out, state = s.Write(nil, []byte(failing+"data: more\n\n"))
	require.Empty(t, out)
	require.Equal(t, dialect.Failing, state)
	_, turn := s.End(nil)
	require.Equal(t, 500, turn.Failure.Status)
	require.Contains(t, string(s.Relay(nil)), failing)

	s = openResponses(`{"stream":true}`, nil)
	out, state = s.Write(nil, []byte(strings.Repeat("data: {\"type\":\"keepalive\"}\n\n", 64)+failing))
	require.NotEmpty(t, out)
	require.Equal(t, dialect.Over, state)
	_, turn = s.End(nil)
	require.Nil(t, turn.Failure)
}

// TestResponsesTooLong holds that a stream that cannot be read goes on as it came.
func TestResponsesTooLong(t *testing.T) {
	begin := "data: {\"type\":\"response.created\",\"response\":{}}\n\ndata: {\"x\":\""
	stream := []byte(begin + strings.Repeat("x", 33<<20) + "\"}\n\ndata: {\"type\":\"response.completed\"}\n\n")
	s := openResponses(`{"stream":true}`, nil)
	var out []byte
	for p := stream; len(p) > 0; {
		n := min(1<<20, len(p))
		out, _ = s.Write(out, p[:n])
		p = p[n:]
	}
	out, turn := s.End(out)
	require.True(t, bytes.Equal(stream, out))
	require.True(t, turn.Cut)
	require.Empty(t, s.KeepAlive(nil))
}

// TestResponsesHundredTurns holds that turns may be many.
func TestResponsesHundredTurns(t *testing.T) {
	first, _ := responsesDeltas(0)
	s := openResponses(`{"stream":true,"input":"a"}`, nil)
	var out []byte
	for range 100 {
		var turn dialect.Turn
		out, _ = s.Write(out, first)
		out, turn = s.End(out)
		require.Len(t, turn.Calls, 1)
		out = s.Settle(out, 0, dialect.Result{Parts: []dialect.Part{{Text: "r"}}})
		require.True(t, s.Continue(false))
	}
	require.Equal(t, 100, bytes.Count(s.Request(), []byte(`"function_call_output"`)))
	_, last := responsesDeltas(3)
	out, _ = s.Write(out, last)
	require.NoError(t, check.Responses(out))
}

// responsesSeeds are the streams of all scenarios.
func responsesSeeds(tb testing.TB) (streams [][]byte, requests [][]byte) {
	files, err := filepath.Glob("testdata/responses/*.txtar")
	require.NoError(tb, err)
	require.NotEmpty(tb, files)
	for _, path := range files {
		file, err := txtar.ParseFile(path)
		require.NoError(tb, err)
		for _, f := range file.Files {
			switch {
			case strings.HasSuffix(f.Name, ".sse") && f.Name != "client.sse":
				streams = append(streams, f.Data)
			case f.Name == "request.json", strings.HasPrefix(f.Name, "upstream."):
				requests = append(requests, f.Data)
			}
		}
	}
	return streams, requests
}

// playTwice plays a stream as the first turn, and again as the second if it has calls.
func playTwice(s dialect.Session, stream []byte, cut int) (out []byte, turns []dialect.Turn) {
	for range 2 {
		for p := stream; len(p) > 0; {
			n := len(p)
			if cut > 0 {
				n = min(n, cut)
			}
			out, _ = s.Write(out, p[:n:n])
			p = p[n:]
		}
		var turn dialect.Turn
		out, turn = s.End(out)
		turns = append(turns, turn)
		if turn.Failure != nil {
			return s.Relay(out), turns
		}
		if len(turn.Calls) == 0 {
			return out, turns
		}
		for i := range turn.Calls {
			out = s.Settle(out, i, dialect.Result{Parts: []dialect.Part{{Text: "r"}}})
		}
		if turn.Mixed || !s.Continue(false) {
			return s.Finish(out), turns
		}
	}
	return s.Fail(out, dialect.Error{Type: "api_error"}), turns
}

func FuzzResponsesStream(f *testing.F) {
	streams, _ := responsesSeeds(f)
	for i, b := range streams {
		f.Add(b, i%5, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, stream []byte, cut int, hidden bool) {
		open := func() dialect.Session {
			return openWith(dialect.Responses, []byte(`{"stream":true,"input":"a"}`), dialect.Options{Tools: scenarioTools(), Hidden: hidden, Memory: scenarioMemory{}})
		}
		want, turns := playTwice(open(), stream, 0)
		for _, n := range []int{1, 2 + cut&31} {
			got, same := playTwice(open(), stream, n)
			require.Equal(t, string(want), string(got))
			require.Equal(t, turns, same)
		}
	})
}

func FuzzResponsesWhole(f *testing.F) {
	streams, _ := responsesSeeds(f)
	for i, b := range streams {
		if body := terminalOf(b); body != nil {
			f.Add([]byte(body), i%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, hidden bool) {
		s := openWith(dialect.Responses, []byte(`{"input":"a"}`), dialect.Options{Tools: scenarioTools(), Hidden: hidden, Memory: scenarioMemory{}})
		for range 3 {
			turn := s.Whole(body)
			if turn.Failure != nil {
				s.Relay(nil)
				break
			}
			for i := range turn.Calls {
				s.Settle(nil, i, dialect.Result{})
			}
			if len(turn.Calls) == 0 || turn.Mixed || !s.Continue(false) {
				break
			}
			require.True(t, json.Valid(s.Request()))
		}
		s.Finish(nil)
		if json.Valid(body) {
			require.True(t, s.Body() == nil || json.Valid(s.Body()), string(s.Body()))
		}
	})
}

func FuzzResponsesOpen(f *testing.F) {
	_, requests := responsesSeeds(f)
	for _, b := range requests {
		f.Add(b, false)
	}
	m := scenarioMemory{}
	for _, hidden := range []bool{false, true} {
		for _, name := range []string{"replay", "replay_mixed", "images", "hidden", "hidden_mixed", "five_turns"} {
			input, output := answered(f, name, hidden, m)
			for _, how := range replays {
				items := append(slices.Clone(input), replayed(f, how, output)...)
				f.Add([]byte(`{"input":[`+strings.Join(items, ",")+`]}`), hidden)
			}
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, hidden bool) {
		s := openWith(dialect.Responses, body, dialect.Options{Tools: scenarioTools(), ModelName: scenarioModelName, Memory: m, Hidden: hidden})
		if s == nil {
			return
		}
		require.True(t, json.Valid(s.Request()), "%s\n%s", body, s.Request())
		s.Explain(400, body)
	})
}

// TestResponsesGarbageAfterTheEnd holds that what follows the end of a turn, and is longer than any client reads, does not keep the
// next turn from being read.
func TestResponsesGarbageAfterTheEnd(t *testing.T) {
	first, then := responsesDeltas(1)
	s := openResponses(`{"stream":true,"input":"a"}`, nil)
	out, _ := s.Write(nil, first)
	long := "data: " + strings.Repeat("x", sse.DefaultLimitBytes+1)
	rest, _ := s.Write(nil, []byte(long))
	require.Empty(t, rest, "it is no part of the client's response, which goes on")
	out, turn := s.End(out)
	require.Len(t, turn.Calls, 1)
	out = s.Settle(out, 0, dialect.Result{Parts: []dialect.Part{{Text: "r"}}})
	require.True(t, s.Continue(false))
	out, turn = playOne(s, out, then)
	require.Empty(t, turn.Calls)
	require.NoError(t, check.Responses(out))
}

func playOne(s dialect.Session, out, stream []byte) ([]byte, dialect.Turn) {
	out, _ = s.Write(out, stream)
	return s.End(out)
}
