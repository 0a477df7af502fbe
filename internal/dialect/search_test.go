package dialect_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// manyTools are more than a model should be told of one by one.
func manyTools() (tools []dialect.Tool) {
	for i := range 100 {
		tools = append(tools, dialect.Tool{
			Name: fmt.Sprintf("bmcp_s_tool%02d", i), Server: "s", Tool: fmt.Sprintf("tool%02d", i), Description: fmt.Sprintf("Does the thing number %d", i), Schema: []byte(`{"type":"object","properties":{"x":{"type":"number"}}}`),
		})
	}
	return append(tools, scenarioTools()...)
}

func searching() dialect.Options {
	return dialect.Options{Tools: dialect.SearchTools(), Catalogue: manyTools(), Memory: scenarioMemory{}, ModelName: scenarioModelName}
}

func TestSearch(t *testing.T) {
	o := searching()
	search := func(query string) string {
		c := o.Meant(dialect.Call{Name: turn.SearchTool, Tool: dialect.SearchTools()[0], Arguments: fmt.Appendf(nil, `{"query":%q}`, query)})
		require.NotNil(t, c.Known)
		require.Nil(t, c.Known.Error)
		return c.Known.Parts[0].Text
	}
	require.True(t, strings.HasPrefix(search("forecast of the weather"), `[{"name":"bmcp_weather_get_forecast","description":"Forecast for a city","parameters":{"type":"object"`))
	require.Contains(t, search("READ file!"), "bmcp_files_read_file")
	require.Contains(t, search("qqq zzz"), "No tool")
	require.Contains(t, search(""), "No tool")
	require.LessOrEqual(t, strings.Count(search("thing"), `"name"`), 10)
	require.LessOrEqual(t, len(search(strings.Repeat("thing ", 100000))), 40<<10)

	call := func(args string) dialect.Call {
		return o.Meant(dialect.Call{Name: turn.CallTool, Tool: dialect.SearchTools()[1], Arguments: []byte(args)})
	}
	c := call(`{"name":"bmcp_files_read_file","arguments":{"path":"a"}}`)
	require.Nil(t, c.Known)
	require.Equal(t, "read_file", c.Tool.Tool)
	require.Equal(t, `{"path":"a"}`, string(c.Arguments))
	require.Empty(t, call(`{"name":"bmcp_files_read_file"}`).Arguments, "none came")
	for _, args := range []string{`{"name":"bmcp_gone"}`, `{}`, `[]`, `"`, ``} {
		require.Contains(t, call(args).Known.Error.Message, "no tool of that name", args)
	}
	require.Equal(t, "read_file", o.Meant(dialect.Call{Name: "bmcp_files_read_file"}).Tool.Tool, "called by the name that was found")
	require.Empty(t, o.Meant(dialect.Call{Name: "bmcp_gone"}).Tool.Name)
}

// TestCallsByNameAreTheRealTools holds that a call by CallTool is the real tool's: for the loop, and for a client that sees calls.
func TestCallsByNameAreTheRealTools(t *testing.T) {
	args := `{\"name\":\"bmcp_files_read_file\",\"arguments\":{\"path\":\"a\"}}`
	item := `{"id":"fc1","type":"function_call","call_id":"c1","name":"bmcp__call","arguments":"` + args + `","status":"completed"}`
	for d, stream := range map[dialect.Dialect]string{
		dialect.Chat: chatPieces(`{"index":0,"id":"c1","function":{"name":"bmcp__call","arguments":"`+args[:20]+`"}}`, `{"index":0,"function":{"arguments":"`+args[20:]+`"}}`) + chatFinish("tool_calls") + chatDone,
		dialect.Messages: `data: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}` + "\n\n" +
			`data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"c1","name":"bmcp__call","input":{}}}` + "\n\n" +
			`data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"` + args + `"}}` + "\n\n" +
			`data: {"type":"content_block_stop","index":0}` + "\n\n" + `data: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1}}` + "\n\n" + `data: {"type":"message_stop"}` + "\n\n",
		dialect.Responses: `data: {"type":"response.created","sequence_number":0,"response":{"id":"r","status":"in_progress","output":[]}}` + "\n\n" +
			`data: {"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"fc1","type":"function_call","call_id":"c1","name":"bmcp__call","arguments":"","status":"in_progress"}}` + "\n\n" +
			`data: {"type":"response.function_call_arguments.delta","sequence_number":2,"output_index":0,"item_id":"fc1","delta":"` + args + `"}` + "\n\n" +
			`data: {"type":"response.output_item.done","sequence_number":3,"output_index":0,"item":` + item + `}` + "\n\n" +
			`data: {"type":"response.completed","sequence_number":4,"response":{"id":"r","status":"completed","output":[` + item + `]}}` + "\n\n",
	} {
		t.Run(d.Name(), func(t *testing.T) {
			request := `{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":1000,"stream":true}`
			if d == dialect.Responses {
				request = `{"model":"m","input":"hi","stream":true}`
			}
			s := openWith(d, []byte(request), searching())
			require.Contains(t, string(s.Request()), "bmcp__search")
			require.NotContains(t, string(s.Request()), "bmcp_s_tool")
			out, cameTo := play(t, s, nil, [][]byte{[]byte(stream)})
			require.Len(t, cameTo.Calls, 1)
			require.Equal(t, "files", cameTo.Calls[0].Tool.Server)
			require.Equal(t, `{"path":"a"}`, string(cameTo.Calls[0].Arguments))
			require.Nil(t, cameTo.Calls[0].Known)
			out = s.Settle(out, 0, dialect.Result{Parts: []dialect.Part{{Text: "r"}}})
			require.True(t, s.Continue(false))
			require.Contains(t, string(s.Request()), `"bmcp__call"`, "the model's own call, as it made it")
			require.NotContains(t, string(out), "bmcp__")
			if d != dialect.Responses {
				return
			}
			require.Contains(t, string(out), `"arguments":"{\"path\":\"a\"}"`)
			require.Contains(t, string(out), `"name":"read_file"`)
			require.Contains(t, string(out), `"server_label":"files"`)
			out, _ = play(t, s, out, [][]byte{[]byte(`data: {"type":"response.completed","sequence_number":0,"response":{"id":"r2","status":"completed","output":[]}}` + "\n\n")})
			require.NoError(t, check.Responses(out), "%s", out)
			require.Equal(t, 1, strings.Count(string(out[strings.LastIndex(string(out), "response.completed"):]), `"mcp_call"`))
		})
	}
	t.Run("whole", func(t *testing.T) {
		s := openWith(dialect.Responses, []byte(`{"model":"m","input":"hi"}`), searching())
		cameTo := s.Whole([]byte(`{"id":"r","status":"completed","output":[` + item + `]}`))
		require.Equal(t, "files", cameTo.Calls[0].Tool.Server)
		s.Settle(nil, 0, dialect.Result{})
		require.True(t, s.Continue(false))
		s.Whole([]byte(`{"id":"r2","status":"completed","output":[]}`))
		require.Contains(t, string(s.Body()), `"server_label":"files"`)
		require.NotContains(t, string(s.Body()), "bmcp__")
	})
}
