package dialect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

func TestMessagesPass(t *testing.T) {
	own := `{"name":"bmcp_weather_get_forecast","input_schema":{}},{"name":"bmcp_files_read_file","input_schema":{}}`
	many := strings.Repeat(`{"type":"web_search_20250305","name":"web_search"},`, 128)
	for _, tc := range []struct{ name, request string }{
		{"nothing", ``},
		{"no JSON", `{"messages":[`},
		{"more after it", `{"messages":[]} {}`},
		{"no object", `[{"messages":[]}]`},
		{"no UTF-8", "{\"messages\":[],\"system\":\"\xff\"}"},
		{"no messages", `{"model":"m"}`},
		{"messages are no list", `{"messages":"Hi"}`},
		{"messages twice", `{"messages":[],"messages":[]}`},
		{"tools twice", `{"messages":[],"tools":[],"tools":[]}`},
		{"tools twice, written otherwise", `{"messages":[],"tools":[],"\u0074ools":[]}`},
		{"stream twice", `{"messages":[],"stream":true,"stream":false}`},
		{"tools are no list", `{"messages":[],"tools":{}}`},
		{"a tool with two names", `{"messages":[],"tools":[{"name":"a","name":"b"}]}`},
		{"tool_choice none", `{"messages":[],"tool_choice":{"type":"none"}}`},
		{"tool_choice of a tool of the client's", `{"messages":[],"tools":[{"name":"a"}],"tool_choice":{"type":"tool","name":"a"}}`},
		{"tool_choice of a type that is not known", `{"messages":[],"tool_choice":{"type":"some"}}`},
		{"tool_choice that is no object", `{"messages":[],"tool_choice":"any"}`},
		{"tool_choice with two types", `{"messages":[],"tool_choice":{"type":"none","type":"auto"}}`},
		{"all tools are the client's", `{"messages":[],"tools":[` + own + `]}`},
		{"128 tools", `{"messages":[],"tools":[` + strings.TrimSuffix(many, ",") + `]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Nil(t, openWith(dialect.Messages, []byte(tc.request), dialect.Options{Tools: scenarioTools(), Memory: scenarioMemory{}}))
		})
	}
	require.Nil(t, openWith(dialect.Messages, []byte(`{"messages":[]}`), dialect.Options{}), "there are no tools")
}

func TestMessagesTools(t *testing.T) {
	forecast := `{"name":"bmcp_weather_get_forecast","description":"Forecast for a city","input_schema":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}}`
	read := `{"name":"bmcp_files_read_file","description":"Reads a file","input_schema":{"type":"object","properties":{"path":{"type":"string"}}}}`
	many := strings.Repeat(`{"name":"x"},`, 126) + `{"name":"x"}`
	for _, tc := range []struct{ name, request, want string }{
		{"none yet", `{"messages":[]}`, `{"messages":[],"tools":[` + forecast + `,` + read + `]}`},
		{"an empty list", `{"tools":[ ],"messages":[]}`, `{"tools":[` + forecast + `,` + read + ` ],"messages":[]}`},
		{"null", `{"tools":null,"messages":[]}`, `{"tools":[` + forecast + `,` + read + `],"messages":[]}`},
		{
			"before the client's, which keep their bytes", `{"messages":[],"tools":[ {"name":"a","cache_control":{"type":"ephemeral"} } ]}`,
			`{"messages":[],"tools":[ ` + forecast + `,` + read + `,{"name":"a","cache_control":{"type":"ephemeral"} } ]}`,
		},
		{
			"one has the name of one of the client's", `{"messages":[],"tools":[{"name":"bmcp_weather_get_forecast"}]}`,
			`{"messages":[],"tools":[` + read + `,{"name":"bmcp_weather_get_forecast"}]}`,
		},
		{"room for one", `{"messages":[],"tools":[` + many + `]}`, `{"messages":[],"tools":[` + forecast + `,` + many + `]}`},
		{
			"tool_choice stays as it is", `{"messages":[],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}`,
			`{"messages":[],"tool_choice":{"type":"auto","disable_parallel_tool_use":true},"tools":[` + forecast + `,` + read + `]}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openWith(dialect.Messages, []byte(tc.request), dialect.Options{Tools: scenarioTools()})
			require.NotNil(t, s)
			require.True(t, s.Reads())
			require.Equal(t, tc.want, string(s.Request()))
		})
	}
}

func TestMessagesSchemas(t *testing.T) {
	for _, tc := range []struct{ schema, want string }{
		{`{ "type" : "object", "$defs":{"x":{"const":1E400}} }`, `{ "type" : "object", "$defs":{"x":{"const":1E400}} }`},
		{`{"properties":{}}`, `{"properties":{},"type":"object"}`},
		{`{}`, `{"type":"object"}`},
		{``, `{"type":"object"}`},
		{`[]`, `{"type":"object"}`},
		{`{"type":`, `{"type":"object"}`},
	} {
		s := openWith(dialect.Messages, []byte(`{"messages":[]}`), dialect.Options{Tools: []dialect.Tool{{Name: "bmcp_a", Schema: []byte(tc.schema)}}})
		require.Equal(t, `{"messages":[],"tools":[{"name":"bmcp_a","input_schema":`+tc.want+`}]}`, string(s.Request()))
	}
}

// dialogue is a conversation in which Keyturn remembers.
type dialogue struct {
	memory scenarioMemory
	tools  []dialect.Tool
}

// open is a request with messages, joined by commas, and other members.
func (k *dialogue) open(t *testing.T, messages, more string) dialect.Session {
	t.Helper()
	s := openWith(dialect.Messages, []byte(`{"max_tokens":1000,"messages":[`+messages+`]`+more+`}`), dialect.Options{Tools: k.tools, Memory: k.memory})
	if s != nil {
		require.NoError(t, json.Unmarshal(s.Request(), new(any)))
	}
	return s
}

// answer plays a response: turns are contents, the last one's calls are not run unless they are the client's too.
func (k *dialogue) answer(t *testing.T, s dialect.Session, turns ...string) []byte {
	t.Helper()
	for n, content := range turns {
		reason := "end_turn"
		if strings.Contains(content, `"tool_use"`) {
			reason = "tool_use"
		}
		turn := s.Whole(fmt.Appendf(nil, `{"type":"message","id":"msg_%d","role":"assistant","model":"m","content":[%s],"stop_reason":%q,"usage":{"output_tokens":1}}`, n, content, reason))
		for i, c := range turn.Calls {
			s.Settle(nil, i, dialect.Result{Parts: []dialect.Part{{Text: "of " + c.ID}}})
		}
		switch {
		case n < len(turns)-1:
			require.True(t, s.Continue(false))
		case len(turn.Calls) > 0:
			s.Finish(nil)
		}
	}
	return s.Body()
}

// sent is the messages of a request, without the tools.
func sent(t *testing.T, s dialect.Session) string {
	t.Helper()
	var r struct{ Messages json.RawMessage }
	require.NoError(t, json.Unmarshal(s.Request(), &r))
	require.NoError(t, validMessages(s.Request()))
	return string(r.Messages)
}

const (
	ask     = `{"role":"user","content":"Weather?"}`
	more    = `{"role":"user","content":"More?"}`
	forTool = `{"type":"tool_use","id":"toolu_1","name":"bmcp_weather_get_forecast","input":{"city":"Oslo"}}`
	forTime = `{"type":"tool_use","id":"toolu_2","name":"get_time","input":{}}`
	thought = `{"type":"thinking","thinking":"Hm.","signature":"Sg=="}`
	timeIs  = `{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_2","content":"noon"}]}`
	client  = `,"tools":[{"name":"get_time","input_schema":{"type":"object"}}]`
)

func says(text string) string { return `{"type":"text","text":"` + text + `"}` }

// An answer whose words the client has changed finds the turns before by the id of a call of the client's.
func TestMessagesReplayChanged(t *testing.T) {
	k := &dialogue{memory: scenarioMemory{}, tools: scenarioTools()}
	second := strings.Replace(forTool, "toolu_1", "toolu_3", 1)
	k.answer(t, k.open(t, ask, client), says("Look.")+","+forTool, thought+","+says("Again.")+","+second, says("And the time?")+","+forTime)
	echo := `{"role":"assistant","content":[` + says("Short.") + `,` + forTime + `]},` + timeIs
	ran := func(call, id string) string {
		return `{"role":"assistant","content":[` + call + `]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"` + id + `","content":"of ` + id + `"}]},`
	}
	require.Equal(t, "["+ask+","+ran(forTool, "toolu_1")+ran(second, "toolu_3")+echo+"]", sent(t, k.open(t, ask+","+echo, client)))
	require.Equal(t, "["+more+","+ran(forTool, "toolu_1")+ran(second, "toolu_3")+echo+"]", sent(t, k.open(t, more+","+echo, client)), "another question")
}

// TestMessagesReplay is about what clients make of an answer that was merged of two turns.
func TestMessagesReplay(t *testing.T) {
	hidden := `{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"of toolu_1"}]}`
	whole := ask + `,{"role":"assistant","content":[` + says("Look. ") + `,` + forTool + `]},` + hidden + `,{"role":"assistant","content":[` + says("Rain.") + `]},` + more
	thoughtful := ask + `,{"role":"assistant","content":[` + thought + `,` + says("Look. ") + `,` + forTool + `]},` + hidden + `,{"role":"assistant","content":[` + says("Rain.") + `]},` + more
	for _, tc := range []struct{ name, first, echo, want string }{
		{"as it came", "", `{"role":"assistant","content":[` + says("Look. ") + `,` + says("Rain.") + `]}`, whole},
		{"in another order, with members that only requests have", "", `{ "content": [{"citations":null,"text":"\u004cook. ","type":"text"}, ` + says("Rain.") + ` ], "role":"assistant" }`, whole},
		{"as one text", "", `{"role":"assistant","content":"Look. Rain."}`, whole},
		{"as one text, trimmed and on lines", "", `{"role":"assistant","content":[{"type":"text","text":"Look.\n\nRain. "}]}`, whole},
		{"in several messages", "", `{"role":"assistant","content":"Look. "},{"role":"assistant","content":[` + says("Rain.") + `]}`, whole},
		{
			"with a cache breakpoint", "", `{"role":"assistant","content":[` + says("Look. ") + `,{"type":"text","text":"Rain.","cache_control":{"type":"ephemeral"}}]}`,
			strings.Replace(whole, `"Rain."`, `"Rain.","cache_control":{"type":"ephemeral"}`, 1),
		},
		{"other words", "", `{"role":"assistant","content":"Look. Sun."}`, ask + `,{"role":"assistant","content":"Look. Sun."},` + more},
		{"with its thoughts", thought + ",", `{"role":"assistant","content":[` + thought + `,` + says("Look. ") + `,` + says("Rain.") + `]}`, thoughtful},
		{"without its thoughts", thought + ",", `{"role":"assistant","content":[` + says("Look. ") + `,` + says("Rain.") + `]}`, whole},
		{
			"with other thoughts", thought + ",", `{"role":"assistant","content":[{"type":"thinking","thinking":"Hm.","signature":"Tg=="},` + says("Look. ") + `,` + says("Rain.") + `]}`,
			ask + `,{"role":"assistant","content":[{"type":"thinking","thinking":"Hm.","signature":"Tg=="},` + says("Look. ") + `,` + says("Rain.") + `]},` + more,
		},
		{
			"with its thoughts joined", thought + "," + strings.Replace(thought, "Sg==", "Tg==", 1) + ",", `{"role":"assistant","content":[{"type":"thinking","thinking":"Hm.Hm.","signature":"Tg=="},` + says("Look. Rain.") + `]}`,
			strings.Replace(thoughtful, thought, thought+","+strings.Replace(thought, "Sg==", "Tg==", 1), 1),
		},
		{"with its thoughts in a message of their own", thought + ",", `{"role":"assistant","content":[` + thought + `]},{"role":"assistant","content":"Look. Rain."}`, thoughtful},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := &dialogue{memory: scenarioMemory{}, tools: scenarioTools()}
			k.answer(t, k.open(t, ask, ""), tc.first+says("Look. ")+","+forTool, says("Rain."))
			require.Equal(t, "["+tc.want+"]", sent(t, k.open(t, ask+","+tc.echo+","+more, "")))
			theirs := `{"role":"user","content":"Another."},` + tc.echo + "," + more
			require.Equal(t, "["+theirs+"]", sent(t, k.open(t, theirs, "")), "another conversation")
		})
	}
}

func TestMessagesReplayMixed(t *testing.T) {
	for _, tc := range []struct{ name, echo, want string }{
		{
			"as it came", `{"role":"assistant","content":[` + says("Both.") + `,` + forTime + `]},` + timeIs,
			`{"role":"assistant","content":[` + says("Both.") + `,` + forTool + `,` + forTime + `]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"of toolu_1"},{"type":"tool_result","tool_use_id":"toolu_2","content":"noon"}]}`,
		},
		{
			"other words: the call tells", `{"role":"assistant","content":[` + says("Changed.") + `,` + forTime + `]},` + timeIs,
			`{"role":"assistant","content":[` + says("Changed.") + `,` + forTool + `,` + forTime + `]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"of toolu_1"},{"type":"tool_result","tool_use_id":"toolu_2","content":"noon"}]}`,
		},
		{
			"other words in messages of their own", `{"role":"assistant","content":[` + forTime + `]},{"role":"assistant","content":"Changed."},` + timeIs,
			`{"role":"assistant","content":[` + forTool + `,` + forTime + `]},{"role":"assistant","content":"Changed."},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"of toolu_1"},{"type":"tool_result","tool_use_id":"toolu_2","content":"noon"}]}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := &dialogue{memory: scenarioMemory{}, tools: scenarioTools()}
			k.answer(t, k.open(t, ask, client), says("Both.")+","+forTool+","+forTime)
			require.Equal(t, "["+ask+","+tc.want+"]", sent(t, k.open(t, ask+","+tc.echo, client)))
		})
	}
}

// TestMessagesReplayMixedLast holds that a call of Keyturn's that stood after the client's last goes to the end of an answer that the
// client has changed.
func TestMessagesReplayMixedLast(t *testing.T) {
	k := &dialogue{memory: scenarioMemory{}, tools: scenarioTools()}
	k.answer(t, k.open(t, ask, client), says("Both.")+","+forTime+","+forTool)
	changed := ask + `,{"role":"assistant","content":[` + says("Changed.") + `,` + forTime
	require.Equal(t, "["+changed+`,`+forTool+`]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_2","content":"noon"},{"type":"tool_result","tool_use_id":"toolu_1","content":"of toolu_1"}]}]`,
		sent(t, k.open(t, changed+`]},`+timeIs, client)))
}

// TestMessagesListsAreToldApart holds that two conversations are not taken for one whose lists have the same words.
func TestMessagesListsAreToldApart(t *testing.T) {
	ask := func(list string) string {
		return `{"role":"user","content":[{"type":"document","source":{"type":"content","content":` + list + `}}]}`
	}
	echo := `,{"role":"assistant","content":"Rain."},` + more
	k := &dialogue{memory: scenarioMemory{}, tools: scenarioTools()}
	k.answer(t, k.open(t, ask(`[["a"],"b"]`), ""), forTool, says("Rain."))
	require.Contains(t, sent(t, k.open(t, ask(`[ [ "a" ] , "b" ]`)+echo, "")), "toolu_1")
	for _, other := range []string{`["a","]","b"]`, `[["a","b"]]`, `["a",["b"]]`, `[["a"],["b"]]`, `[["a"],"b",[]]`} {
		require.NotContains(t, sent(t, k.open(t, ask(other)+echo, "")), "toolu_1", other)
	}
}

// What is forgotten leaves a conversation that is valid.
func TestMessagesForgotten(t *testing.T) {
	k := &dialogue{memory: scenarioMemory{}, tools: scenarioTools()}
	k.answer(t, k.open(t, ask, client), says("Both.")+","+forTool+","+forTime)
	echo := ask + `,{"role":"assistant","content":[` + says("Both.") + `,` + forTime + `]},` + timeIs
	clear(k.memory)
	require.Equal(t, "["+echo+"]", sent(t, k.open(t, echo, client)))

	k.answer(t, k.open(t, ask, client), says("Both.")+","+forTool+","+forTime)
	for key := range k.memory {
		if strings.HasPrefix(key, "messages/turns/") {
			delete(k.memory, key)
		}
	}
	require.Equal(t, "["+echo+"]", sent(t, k.open(t, echo, client)), "ids of calls without their turns")

	for key := range k.memory {
		k.memory[key] = []byte(`{"turns":[{"content":7}],"tools":"x","list":{}}`)
	}
	k.open(t, echo, client) // whatever memory has, nothing panics
}

// TestMessagesFrozenTools is about the tools of a conversation that has begun: what comes and goes in the catalogue is for others.
func TestMessagesFrozenTools(t *testing.T) {
	k := &dialogue{memory: scenarioMemory{}, tools: scenarioTools()}
	first := k.open(t, ask, "")
	k.answer(t, first, says("Hi."))
	toolsOf := func(s dialect.Session) string {
		_, tools, ok := bytes.Cut(s.Request(), []byte(`"tools":`))
		require.True(t, ok)
		return string(tools)
	}
	began := toolsOf(first)
	next := ask + `,{"role":"assistant","content":"Hi."},` + more

	k.tools = []dialect.Tool{{Name: "bmcp_new", Server: "new", Tool: "new", Schema: []byte(`{"type":"object"}`)}}
	s := k.open(t, next, "")
	require.Equal(t, began, toolsOf(s))
	turn := s.Whole([]byte(`{"type":"message","content":[` + forTool + `,{"type":"tool_use","id":"toolu_9","name":"bmcp_new","input":{}}],"stop_reason":"tool_use"}`))
	require.Len(t, turn.Calls, 2)
	require.Zero(t, turn.Calls[0].Tool, "it is gone")
	require.Zero(t, turn.Calls[1].Tool, "it is not in this conversation")

	// Where the answer was changed, the request before it still tells.
	require.Equal(t, began, toolsOf(k.open(t, ask+`,{"role":"assistant","content":"Changed."},`+more, "")))
	require.NotEqual(t, began, toolsOf(k.open(t, more, "")), "another conversation")
	require.NotEqual(t, began, toolsOf(k.open(t, ask, "")), "another one that begins with the same words")
	require.Equal(t, began, toolsOf(k.open(t, next, "")))

	k.tools = nil
	require.Equal(t, began, toolsOf(k.open(t, next, "")), "all are gone")
	s = k.open(t, next, `,"tool_choice":{"type":"none"}`)
	require.Contains(t, toolsOf(s), "bmcp_weather_get_forecast", "the tools stay where they may not be called")
	require.False(t, s.Reads())

	clear(k.memory)
	require.Nil(t, k.open(t, next, ""))
	k.tools = scenarioTools()
	require.Equal(t, began, toolsOf(k.open(t, next, "")), "what is forgotten is as if it began")
}

// A conversation in which a model has thought and that had no tools must not get any.
func TestMessagesFrozenWithoutTools(t *testing.T) {
	k := &dialogue{memory: scenarioMemory{}}
	require.Nil(t, k.open(t, ask, ""))
	k.tools = scenarioTools()
	require.Nil(t, k.open(t, ask+`,{"role":"assistant","content":[`+thought+`,`+says("Hi.")+`]},`+more, ""))
	require.NotNil(t, k.open(t, ask+`,{"role":"assistant","content":[`+says("Hi.")+`]},`+more, ""), "nothing is bound to the tools")
}

func TestMessagesExplain(t *testing.T) {
	refusal := func(message string) []byte {
		b, err := json.Marshal(map[string]any{"type": "error", "error": map[string]any{"type": "invalid_request_error", "message": message}})
		require.NoError(t, err)
		return b
	}
	bound := refusal("messages.1.content.0: `thinking` block is bound to a different conversation")
	lost := refusal("messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_77. Each `tool_use` block must have a corresponding `tool_result` block in the next message.")
	theirs := refusal("messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_2.")
	k := &dialogue{memory: scenarioMemory{}, tools: scenarioTools()}
	k.answer(t, k.open(t, ask, client), thought+","+says("Both.")+","+forTool+","+forTime)
	next := ask + `,{"role":"assistant","content":[` + thought + `,` + says("Both.") + `,` + forTime + `]},` + timeIs

	s := k.open(t, next, client)
	_, ok := s.Explain(400, bound)
	require.False(t, ok, "all is known")
	clear(k.memory)
	s = k.open(t, next, client)
	for _, body := range [][]byte{bound, lost} {
		e, ok := s.Explain(400, body)
		require.True(t, ok)
		require.Equal(t, "conversation_state_lost", e.Code)
		require.Equal(t, "invalid_request_error", e.Type)
		require.Contains(t, e.Message, "begin a new conversation")
	}
	for _, tc := range []struct {
		status int
		body   []byte
	}{{400, theirs}, {400, refusal("max_tokens: too large")}, {400, []byte("<html>")}, {400, nil}, {529, bound}} {
		_, ok := s.Explain(tc.status, tc.body)
		require.False(t, ok, "%s", tc.body)
	}
}

func TestMessagesFailures(t *testing.T) {
	for _, tc := range []struct {
		data   string
		kind   string
		status int
		body   string
	}{
		{`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, "overloaded_error", 529, ""},
		{`{"type":"error","error":{"type":"rate_limit_error","message":"Slow"}}`, "rate_limit_error", 429, ""},
		{`{"type":"error","error":{"type":"authentication_error","message":"Who"}}`, "authentication_error", 401, ""},
		{`{"type":"error","error":{"type":"billing_error","message":"Pay"}}`, "billing_error", 402, ""},
		{`{"type":"error","error":{"type":"permission_error","message":"No"}}`, "permission_error", 403, ""},
		{`{"type":"error","error":{"type":"not_found_error","message":"Where"}}`, "not_found_error", 404, ""},
		{`{"type":"error","error":{"type":"request_too_large","message":"Big"}}`, "request_too_large", 413, ""},
		{`{"type":"error","error":{"type":"timeout_error","message":"Late"}}`, "timeout_error", 504, ""},
		{`{"type":"error","error":{"type":"api_error","message":"Oh"}}`, "api_error", 500, ""},
		{`{"type":"error","error":{"type":"acme_error","message":"New"}}`, "acme_error", 0, ""},
		{`{"error":{"type":"rate_limit_error","message":"Slow"}}`, "rate_limit_error", 429, `{"error":{"message":"Slow","type":"rate_limit_error"},"request_id":"","type":"error"}`},
		{`Internal error`, "api_error", 500, `{"error":{"message":"","type":"api_error"},"request_id":"","type":"error"}`},
		{`null`, "api_error", 500, `{"error":{"message":"","type":"api_error"},"request_id":"","type":"error"}`},
	} {
		s := openWith(dialect.Messages, []byte(`{"messages":[],"stream":true}`), dialect.Options{Tools: scenarioTools()})
		event := "event: error\ndata: " + tc.data + "\n\n"
		out, state := s.Write(nil, []byte(event))
		require.Empty(t, out)
		require.Equal(t, dialect.Failing, state)
		_, turn := s.End(nil)
		if tc.body == "" {
			tc.body = tc.data
		}
		require.Equal(t, tc.kind, turn.Failure.Type)
		require.Equal(t, tc.status, turn.Failure.Status)
		require.Equal(t, tc.body, string(turn.Failure.Body))
		require.False(t, turn.Cut)
		require.Equal(t, event, string(s.Relay(nil)))

		if tc.data[0] == '{' && strings.HasPrefix(tc.data, `{"type":"error"`) {
			s := openWith(dialect.Messages, []byte(`{"messages":[]}`), dialect.Options{Tools: scenarioTools()})
			turn := s.Whole([]byte(tc.data))
			require.Equal(t, tc.status, turn.Failure.Status)
			s.Relay(nil)
			require.Equal(t, tc.data, string(s.Body()))
		}
	}
}

// TestMessagesWindow holds how much of the begin of a turn is held back.
func TestMessagesWindow(t *testing.T) {
	var w turnWriter
	w.start("msg_1")
	failure := "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"
	ping := "event: ping\ndata: {\"type\": \"ping\"}\n\n"
	for _, tc := range []struct {
		name string
		then string
		want dialect.State
	}{
		{"62 pings", strings.Repeat(ping, 62), dialect.Failing},
		{"63 pings", strings.Repeat(ping, 63), dialect.Over},
		{"a long event", "event: ping\ndata: {\"type\":\"ping\",\"x\":\"" + strings.Repeat("x", 256<<10) + "\"}\n\n", dialect.Over},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openWith(dialect.Messages, []byte(`{"messages":[],"stream":true}`), dialect.Options{Tools: scenarioTools()})
			all := string(w.b) + tc.then + failure
			out, state := s.Write(nil, []byte(all))
			require.Equal(t, tc.want, state)
			out, turn := s.End(out)
			const alive = ": keyturn\n\n" // for each ping but the first
			if tc.want == dialect.Failing {
				require.Equal(t, strings.Repeat(alive, 61), string(out))
				require.NotNil(t, turn.Failure)
				out = s.Relay(out)
			} else {
				require.Nil(t, turn.Failure)
			}
			require.Equal(t, all, strings.ReplaceAll(string(out), alive, ""))
		})
	}
}

// An event beyond all limits is relayed, and so is all that follows.
func TestMessagesTooLong(t *testing.T) {
	var w turnWriter
	w.start("msg_1")
	w.call("toolu_1", "bmcp_weather_get_forecast", `{}`)
	called := len(w.b)
	w.event("ping", `,"x":"`+strings.Repeat("x", 33<<20)+`"`)
	w.stop("tool_use", 9)
	s := openWith(dialect.Messages, []byte(`{"messages":[],"stream":true}`), dialect.Options{Tools: scenarioTools()})
	var out []byte
	for p := range chunks(w.b, 1<<20) {
		out, _ = s.Write(out, p)
	}
	out, turn := s.End(out)
	require.Empty(t, turn.Calls)
	require.True(t, bytes.HasSuffix(out, w.b[called:]))
	require.Empty(t, s.KeepAlive(nil), "the stream may be within a line")
}

func chunks(b []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(size, len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// TestMessagesLines reads streams whose lines end in CR alone, and ones that begin with a byte order mark.
func TestMessagesLines(t *testing.T) {
	var first, second turnWriter
	first.start("msg_1")
	first.block(`{"type":"text","text":""}`, `{"type":"text_delta","text":"Look."}`)
	first.call("toolu_1", "bmcp_weather_get_forecast", `{}`)
	first.stop("tool_use", 9)
	second.start("msg_2")
	second.block(`{"type":"text","text":""}`, `{"type":"text_delta","text":"Rain."}`)
	second.stop("end_turn", 9)
	for _, tc := range []struct {
		name  string
		write func([]byte) []byte
	}{
		{"CR", func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r")) }},
		{"byte order mark", func(b []byte) []byte { return append([]byte("\xef\xbb\xbf"), b...) }},
		{"byte order mark, no event lines", func(b []byte) []byte {
			return append([]byte("\xef\xbb\xbf"), withoutEventLines(b)...)
		}},
		{"no space", func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(": {"), []byte(":{")) }},
		{"data first", func(b []byte) []byte {
			var out []byte
			for block := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte("\n\n")), []byte("\n\n")) {
				event, data, _ := bytes.Cut(block, []byte("\n"))
				out = fmt.Appendf(out, "%s\n%s\n: %s\n\n", data, event, data)
			}
			return out
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openWith(dialect.Messages, []byte(`{"messages":[],"stream":true}`), dialect.Options{Tools: scenarioTools()})
			out, turn := play(t, s, nil, [][]byte{tc.write(first.b)})
			require.Len(t, turn.Calls, 1)
			require.Equal(t, `{}`, string(turn.Calls[0].Arguments))
			s.Settle(nil, 0, dialect.Result{})
			require.True(t, s.Continue(false))
			out, turn = play(t, s, out, [][]byte{tc.write(second.b)})
			require.False(t, turn.Cut)
			message := messageOf(bytes.ReplaceAll(out, []byte("\xef\xbb\xbf"), nil)) // a mark within a stream is a client's to read
			require.Equal(t, []any{map[string]any{"type": "text", "text": "Look.\n\nRain."}}, message["content"])
			require.Equal(t, json.Number("9"), message["usage"].(map[string]any)["output_tokens"])
		})
	}
}

func withoutEventLines(b []byte) []byte {
	var out []byte
	for line := range bytes.Lines(b) {
		if !bytes.HasPrefix(line, []byte("event:")) {
			out = append(out, line...)
		}
	}
	return out
}

// TestMessagesWholeOddly is about answers that are no messages.
func TestMessagesWholeOddly(t *testing.T) {
	for _, body := range []string{``, `<html>`, `[]`, `{}`, `{"content":7}`, `{"type":"message","content":[7,null,{}],"usage":7,"stop_reason":null}`} {
		s := openWith(dialect.Messages, []byte(`{"messages":[]}`), dialect.Options{Tools: scenarioTools(), Memory: scenarioMemory{}})
		turn := s.Whole([]byte(body))
		require.Empty(t, turn.Calls)
		require.Nil(t, turn.Failure)
		require.Equal(t, body, string(s.Body()))
	}
}

func TestMessagesParts(t *testing.T) {
	for _, tc := range []struct {
		name string
		r    dialect.Result
		want string
	}{
		{"one text", dialect.Result{Parts: []dialect.Part{{Text: " a\n"}}}, `"content":" a\n"`},
		{"a blank text", dialect.Result{Parts: []dialect.Part{{Text: " \n"}}}, `"content":""`},
		{"an image of a kind that models cannot see", dialect.Result{Parts: []dialect.Part{{Kind: dialect.ImagePart, MIME: "image/bmp", Data: []byte("B"), Text: "image image/bmp, 1 bytes"}}}, `"content":"image image/bmp, 1 bytes"`},
		{"an image by another name", dialect.Result{Parts: []dialect.Part{{Kind: dialect.ImagePart, MIME: "Image/PNG; q=1", Data: []byte("PNG")}}}, `"content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"UE5H"}}]`},
		{"an image in a file", dialect.Result{Parts: []dialect.Part{{Kind: dialect.FilePart, MIME: "image/gif", Data: []byte("GIF")}}}, `"content":[{"type":"image","source":{"type":"base64","media_type":"image/gif","data":"R0lG"}}]`},
		{"a text in a file", dialect.Result{Parts: []dialect.Part{{Kind: dialect.FilePart, MIME: "text/csv", Data: []byte("a,b"), Name: "a.csv"}}}, `"content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a,b"},"title":"a.csv"}]`},
		{"a file that is no text", dialect.Result{Parts: []dialect.Part{{Kind: dialect.FilePart, MIME: "text/plain", Data: []byte("\xff"), Text: "file a, text/plain, 1 bytes"}}}, `"content":"file a, text/plain, 1 bytes"`},
		{"sound", dialect.Result{Parts: []dialect.Part{{Kind: dialect.AudioPart, MIME: "audio/wav", Data: []byte("RIFF"), Text: "audio audio/wav, 4 bytes"}}}, `"content":"audio audio/wav, 4 bytes"`},
		{"an error with an image", dialect.Result{IsError: true, Parts: []dialect.Part{{Kind: dialect.ImagePart, MIME: "image/png", Data: []byte("PNG")}}}, `"content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"UE5H"}}],"is_error":true`},
		{"an error without a word", dialect.Result{Error: &dialect.ToolError{}}, `"content":"Error: the tool failed and does not say why","is_error":true`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openWith(dialect.Messages, []byte(`{"messages":[]}`), dialect.Options{Tools: scenarioTools()})
			require.Len(t, s.Whole([]byte(`{"type":"message","content":[`+forTool+`],"stop_reason":"tool_use"}`)).Calls, 1)
			s.Settle(nil, 0, tc.r)
			require.True(t, s.Continue(false))
			require.Contains(t, string(s.Request()), `{"type":"tool_result","tool_use_id":"toolu_1",`+tc.want+`}`)
		})
	}
}

// What is said of an image is not remembered of another.
func TestMessagesReplayImages(t *testing.T) {
	ask := func(data string) string {
		return `{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + data + `"}},{"type":"text","text":"What is it?"}]}`
	}
	echo := `,{"role":"assistant","content":"A cat."},` + more
	k := &dialogue{memory: scenarioMemory{}, tools: scenarioTools()}
	k.answer(t, k.open(t, ask("QQ=="), ""), forTool, says("A cat."))
	require.Contains(t, sent(t, k.open(t, ask("QQ==")+echo, "")), "toolu_1")
	require.NotContains(t, sent(t, k.open(t, ask("Qg==")+echo, "")), "toolu_1")
	written := `{"content":[{"source":{"data":"QQ=\u003d","media_type":"image\/png","type":"base64","url":null},"cache_control":{"type":"ephemeral"},"type":"image"},{"text":"What is it?","type":"text"}],"role":"user"}`
	require.Contains(t, sent(t, k.open(t, written+echo, "")), "toolu_1", "the same image, written otherwise")
}

// Where no tokens are left for another turn, no tool runs: a client that goes on would have it run again.
func TestMessagesSpent(t *testing.T) {
	k := &dialogue{memory: scenarioMemory{}, tools: scenarioTools()}
	s := k.open(t, ask, "")
	require.Empty(t, s.Whole([]byte(`{"type":"message","id":"msg_1","role":"assistant","model":"m","content":[`+says("Look.")+`,`+forTool+`],"stop_reason":"tool_use","usage":{"output_tokens":1000}}`)).Calls)
	require.Equal(t, `{"type":"message","id":"msg_1","role":"assistant","model":"m","content":[`+says("Look.")+`],"stop_reason":"max_tokens","usage":{"output_tokens":1000}}`, string(s.Body()))
	echo := ask + `,{"role":"assistant","content":"Look."}`
	require.Equal(t, "["+echo+`,`+more+"]", sent(t, k.open(t, echo+`,`+more, "")))

	// The client's own calls go on in another request: then all of them run.
	s = k.open(t, ask, client)
	require.Len(t, s.Whole([]byte(`{"type":"message","id":"msg_1","role":"assistant","model":"m","content":[`+forTime+`,`+forTool+`],"stop_reason":"tool_use","usage":{"output_tokens":1000}}`)).Calls, 1)
}

// A client that owes results gets no help: what it sends is not made worse.
func TestMessagesReplayOwed(t *testing.T) {
	k := &dialogue{memory: scenarioMemory{}, tools: scenarioTools()}
	k.answer(t, k.open(t, ask, client), says("Both.")+","+forTool+","+forTime)
	echo := ask + `,{"role":"assistant","content":[` + says("Both.") + `,` + forTime + `]}`
	s := k.open(t, echo, client)
	var r struct{ Messages json.RawMessage }
	require.NoError(t, json.Unmarshal(s.Request(), &r))
	require.Equal(t, "["+echo+"]", string(r.Messages))
}

// An error of Keyturn's own can be read also where the provider's stream broke off within an event.
func TestMessagesFail(t *testing.T) {
	failure := "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"broke \\\"off\\\"\"}}\n\n"
	var w turnWriter
	w.start("msg_2")
	w.event("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`)
	for _, tc := range []struct{ name, tail, want string }{
		{"between events", "", ""},
		{"within a line", "event: content_block_delta\ndata: {\"type\":\"content_bl", ""},
		{"before the blank line", "event: ping\ndata: {\"type\":\"ping\"}\n", "event: ping\ndata: {\"type\":\"ping\"}\n\n\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := later(t)
			begun := "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\\n\\n\"}}\n\n"
			out, _ := s.Write(nil, append(bytes.Clone(w.b), tc.tail...))
			out, turn := s.End(out)
			require.True(t, turn.Cut)
			require.Equal(t, begun+tc.want+failure, string(s.Fail(out, dialect.Error{Type: "api_error", Message: `broke "off"`})))
		})
	}
	t.Run("after one that was held back", func(t *testing.T) {
		s := later(t)
		out, state := s.Write(nil, []byte("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"))
		require.Equal(t, dialect.Failing, state)
		out, _ = s.End(out)
		stop := "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n" // of the text that could have gone on
		require.Equal(t, stop+failure, string(s.Fail(out, dialect.Error{Type: "api_error", Message: `broke "off"`})))
	})
}
