package scripted_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

// bodies are one conversation in the three dialects: a question, two calls, their results. %s is what else the request says.
var bodies = map[string]string{
	"/v1/responses": `{"model":"m","input":[{"role":"developer","content":"be brief"},{"role":"user","content":[{"type":"input_text","text":"2 and 3 in Rome"}]},
		{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"x"},
		{"type":"function_call","id":"fc_1","call_id":"c1","name":"my_add","arguments":"{\"a\":2}"},
		{"type":"function_call","id":"fc_2","call_id":"c2","name":"my_weather","arguments":"{}"},
		{"type":"function_call_output","call_id":"c1","output":"5"},
		{"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"sunny"},{"type":"input_image","image_url":"data:"}]}],
		"tools":[{"type":"function","name":"my_add","description":"adds","parameters":{"type":"object"}},{"type":"function","name":"my_weather"},{"type":"web_search"}]%s}`,
	"/v1/chat/completions": `{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"2 and 3 in Rome"},
		{"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"c1","type":"function","function":{"name":"my_add","arguments":"{\"a\":2}"}},
		{"id":"c2","type":"function","function":{"name":"my_weather","arguments":"{}"}}]},
		{"role":"tool","tool_call_id":"c1","content":"5"},{"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"sunny"}]}],
		"tools":[{"type":"function","function":{"name":"my_add","description":"adds","parameters":{"type":"object"}}},{"type":"function","function":{"name":"my_weather"}}]%s}`,
	"/v1/messages": `{"model":"m","max_tokens":9,"system":"be brief","messages":[{"role":"user","content":"2 and 3 in Rome"},
		{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"tool_use","id":"c1","name":"my_add","input":{"a":2}},
		{"type":"tool_use","id":"c2","name":"my_weather","input":{}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"5"},
		{"type":"tool_result","tool_use_id":"c2","is_error":true,"content":[{"type":"text","text":"sunny"},{"type":"image","source":{}}]}]}],
		"tools":[{"name":"my_add","description":"adds","input_schema":{"type":"object"}},{"name":"my_weather","input_schema":{}},{"type":"web_search_20250305","name":"web_search"}]%s}`,
}

func with(path, more string) string { return strings.Replace(bodies[path], "%s", more, 1) }

func TestConversationInEveryDialect(t *testing.T) {
	for path := range bodies {
		t.Run(path, func(t *testing.T) {
			p, srv := provider(t, scripted.OK(""))
			post(t, srv, path, with(path, `,"stream":true`))
			c := p.Requests()[0].Conversation()
			require.Equal(t, "m", c.Model)
			require.True(t, c.Stream)
			require.Len(t, c.Tools, 2, "hosted tools are not the client's")
			require.Equal(t, []string{"my_add", "adds", `{"type":"object"}`}, []string{c.Tools[0].Name, c.Tools[0].Description, string(c.Tools[0].Schema)})
			require.Equal(t, "auto", c.Choice.Mode)
			require.True(t, c.Parallel)
			require.Equal(t, "2 and 3 in Rome", c.LastUserText)
			require.Equal(t, 1, c.Turns)
			require.Equal(t, 1, c.Thoughts)
			require.Equal(t, c.Results, c.Latest)
			want := []scripted.ToolResult{
				{CallID: "c1", Name: "my_add", Arguments: `{"a":2}`, Text: "5"},
				{CallID: "c2", Name: "my_weather", Arguments: `{}`, Text: "sunny", Images: 1},
			}
			switch c.Endpoint {
			case scripted.Messages:
				want[1].IsError = true
			case scripted.Chat:
				want[1].Images = 0
			default:
			}
			require.Equal(t, want, p.Requests()[0].Results())
			tool, ok := c.Tool("_add")
			require.True(t, ok)
			require.Equal(t, "my_add", tool.Name)
		})
	}
}

func TestLatestResultsAreThoseSinceTheModelSpoke(t *testing.T) {
	p, srv := provider(t, scripted.OK(""))
	body := strings.Replace(bodies["/v1/chat/completions"], `],
		"tools"`, `,{"role":"assistant","content":"five"},{"role":"user","content":"thanks"}],"tools"`, 1)
	post(t, srv, "/v1/chat/completions", strings.Replace(body, "%s", "", 1))
	c := p.Requests()[0].Conversation()
	require.Len(t, c.Results, 2)
	require.Empty(t, c.Latest)
	require.Equal(t, 2, c.Turns)
	require.Equal(t, "thanks", c.LastUserText)
}

func TestToolChoiceInEveryDialect(t *testing.T) {
	for _, tc := range []struct {
		path, more string
		mode       string
		names      []string
		parallel   bool
	}{
		{"/v1/responses", `,"tool_choice":"none"`, "none", nil, true},
		{"/v1/responses", `,"tool_choice":"required","parallel_tool_calls":false`, "required", nil, false},
		{"/v1/responses", `,"tool_choice":{"type":"function","name":"my_add"}`, "named", []string{"my_add"}, true},
		{"/v1/responses", `,"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"my_add"}]}`, "required", []string{"my_add"}, true},
		{"/v1/chat/completions", `,"tool_choice":{"type":"function","function":{"name":"my_add"}}`, "named", []string{"my_add"}, true},
		{"/v1/chat/completions", `,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"my_add"}}]}}`, "auto", []string{"my_add"}, true},
		{"/v1/messages", `,"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`, "auto", nil, false},
		{"/v1/messages", `,"tool_choice":{"type":"any"}`, "required", nil, true},
		{"/v1/messages", `,"tool_choice":{"type":"tool","name":"my_add"}`, "named", []string{"my_add"}, true},
		{"/v1/messages", `,"tool_choice":{"type":"none"}`, "none", nil, true},
	} {
		t.Run(tc.path+tc.more, func(t *testing.T) {
			p, srv := provider(t, scripted.ToolUser(func(scripted.Conversation) []scripted.Part {
				return []scripted.Part{scripted.Call("my_weather", "{}"), scripted.Call("my_add", `{"a":1}`), scripted.Call("my_add", `{"a":2}`)}
			}))
			body := post(t, srv, tc.path, with(tc.path, tc.more)).body
			c := p.Requests()[0].Conversation()
			require.Equal(t, tc.mode, c.Choice.Mode)
			require.Equal(t, tc.names, c.Choice.Names)
			require.Equal(t, tc.parallel, c.Parallel)

			calls := strings.Count(body, `"function_call"`) + strings.Count(body, `"type":"function","function"`) + strings.Count(body, `"tool_use","id"`)
			want := 3
			switch {
			case tc.mode == "none":
				want = 0
			case !tc.parallel:
				want = 1
			case tc.names != nil && tc.mode != "auto":
				want = 2
			}
			require.Equal(t, want, calls, body)
		})
	}
}

// A model that must call a tool calls one, though its script would not.
func TestToolUserCallsWhatItMust(t *testing.T) {
	_, srv := provider(t, scripted.ToolUser(func(scripted.Conversation) []scripted.Part { return []scripted.Part{scripted.Text("no")} }))
	tool := `"tools":[{"type":"function","name":"f","parameters":{"type":"object","required":["n","s","e","b","l","o"],"properties":{
		"n":{"type":"integer"},"s":{"type":"string"},"e":{"enum":["x","y"]},"b":{"type":"boolean"},"l":{"type":"array"},"o":{"type":"object"}}}}]`
	body := post(t, srv, "/v1/responses", `{"model":"m","input":"take 4.5 to New York","tool_choice":"required",`+tool+`}`).body
	require.Contains(t, body, `"arguments":"{\"b\":false,\"e\":\"x\",\"l\":[],\"n\":4,\"o\":{},\"s\":\"take 4.5 to New York\"}"`)
	require.Contains(t, post(t, srv, "/v1/responses", `{"model":"m","input":"x","tool_choice":"none",`+tool+`}`).body, `"text":"no"`)
}

// agentTools are offered to the Agent, in each dialect.
var agentTools = map[string]string{
	"/v1/responses":        `[{"type":"function","name":"bmcp_demo_add","parameters":{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}},{"type":"function","name":"bmcp_demo_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}]`,
	"/v1/chat/completions": `[{"type":"function","function":{"name":"bmcp_demo_add","parameters":{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}}},{"type":"function","function":{"name":"bmcp_demo_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}]`,
	"/v1/messages":         `[{"name":"bmcp_demo_add","input_schema":{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}},{"name":"bmcp_demo_weather","input_schema":{"type":"object","properties":{"city":{"type":"string"}}}}]`,
}

func TestAgent(t *testing.T) {
	const question = "What is 2 plus 40.5, and how is the weather in New York?"
	for path, tools := range agentTools {
		t.Run(path, func(t *testing.T) {
			_, srv := provider(t, scripted.Agent("Hello from the model."))
			input := `"messages":[{"role":"user","content":"` + question + `"}]`
			if path == "/v1/responses" {
				input = `"input":"` + question + `"`
			}
			require.Contains(t, post(t, srv, path, `{"model":"m",`+input+`}`).body, "Hello from the model.", "no tools")
			body := post(t, srv, path, `{"model":"m",`+input+`,"thinking":{"type":"enabled"},"reasoning":{"effort":"low"},"tools":`+tools+`}`).body
			plain := strings.ReplaceAll(body, `\"`, `"`)
			require.Contains(t, plain, `{"a":2,"b":40.5}`)
			require.Contains(t, plain, `{"city":"New York"}`)
			require.Contains(t, body, "I need a tool for this.", "it thinks when it is asked to")
			require.NotContains(t, post(t, srv, path, `{"model":"m",`+strings.Replace(input, question, "Hi!", 1)+`,"tools":`+tools+`}`).body, "bmcp_demo_add\",\"arg")

			body = post(t, srv, path, with(path, "")).body
			require.Contains(t, body, "my_add says: 5. my_weather ")
			require.Contains(t, body, "sunny")
			require.Contains(t, body, "Done.")
		})
	}
}

func TestKeysOfAnEndpoint(t *testing.T) {
	p := scripted.New(scripted.Config{}).Key("k0", scripted.OK("")).Key("k1", scripted.OK(""))
	srv := start(t, p)
	for _, key := range []string{"k0", "k0", "k1"} {
		r := newRequest(t, http.MethodPost, srv.URL+"/v1/responses", `{}`)
		r.Header.Set("Authorization", "Bearer "+key)
		require.Equal(t, 200, do(t, client(t), r).status)
	}
	r := newRequest(t, http.MethodGet, srv.URL+"/v1/models", "")
	r.Header.Set("Authorization", "Bearer k1")
	require.Equal(t, 200, do(t, client(t), r).status)
	require.Equal(t, []string{"k0", "k0", "k1"}, p.KeysOf(scripted.Responses))
	require.Equal(t, []string{}, p.KeysOf(scripted.Chat))
	require.Equal(t, map[string]int{"k0": 2, "k1": 2}, p.CountByKey())
}
