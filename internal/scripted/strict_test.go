package scripted_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

// caller is a model that thinks and calls two tools, and answers when it has results.
func caller() scripted.Answer {
	return scripted.ToolUser(func(c scripted.Conversation) []scripted.Part {
		if len(c.Latest) > 0 {
			return []scripted.Part{scripted.Think("So."), scripted.Text("done: " + c.Latest[0].Text)}
		}
		return []scripted.Part{scripted.Think("Hm."), scripted.Call("add", `{"a":1}`), scripted.Call("weather", `{}`)}
	})
}

func strict(t *testing.T, cfg scripted.Config, s scripted.Script) (*scripted.Provider, *scripted.Server) {
	t.Helper()
	cfg.Strict = true
	p := scripted.New(cfg).Key(good, s)
	return p, start(t, p)
}

// object is an object of JSON, with its members in their order of spelling.
type object = map[string]any

func send(t *testing.T, srv *scripted.Server, path string, body any) (status int, answer object) {
	t.Helper()
	b, err := json.Marshal(body)
	require.NoError(t, err)
	r := newRequest(t, http.MethodPost, srv.URL+path, string(b))
	if path == "/v1/messages" {
		r.Header.Set("Anthropic-Version", "2023-06-01")
	}
	got := do(t, client(t), r)
	require.NoError(t, got.err)
	require.NoError(t, json.Unmarshal([]byte(got.body), &answer), got.body)
	return got.status, answer
}

// refused sends a request that is refused, and returns the error's message.
func refused(t *testing.T, srv *scripted.Server, path string, body any) string {
	t.Helper()
	status, answer := send(t, srv, path, body)
	require.GreaterOrEqual(t, status, 400, "%v", answer)
	require.Less(t, status, 500)
	e, ok := answer["error"].(object)
	require.True(t, ok)
	require.Contains(t, []any{"invalid_request_error"}, e["type"])
	message, ok := e["message"].(string)
	require.True(t, ok)
	return message
}

func list(t *testing.T, v any) []any {
	t.Helper()
	l, ok := v.([]any)
	require.True(t, ok)
	return l
}

func member(t *testing.T, v any, name string) string {
	t.Helper()
	o, ok := v.(object)
	require.True(t, ok)
	s, ok := o[name].(string)
	require.True(t, ok, "%s of %v", name, v)
	return s
}

func output(id, text string) object {
	return object{"type": "function_call_output", "call_id": id, "output": text}
}

func without(v any, name string) object {
	o := object{}
	if from, ok := v.(object); ok {
		for k, m := range from {
			if k != name {
				o[k] = m
			}
		}
	}
	return o
}

func set(v any, name string, to any) object {
	o := without(v, name)
	o[name] = to
	return o
}

// TestStrictReplay replays a turn of Responses in every way, right and wrong.
func TestStrictReplay(t *testing.T) {
	user := object{"role": "user", "content": "hi"}
	for _, store := range []bool{true, false} {
		_, srv := strict(t, scripted.Config{}, caller())
		ask := func(input ...any) object { return object{"model": "m", "store": store, "input": input} }
		status, first := send(t, srv, "/v1/responses", ask(user))
		require.Equal(t, 200, status)
		said := list(t, first["output"])
		rs, add, weather := said[0], said[1], said[2]
		a, w := member(t, add, "call_id"), member(t, weather, "call_id")
		status, second := send(t, srv, "/v1/responses", ask(user, rs, add, weather, output(a, "5"), output(w, "sun")))
		require.Equal(t, 200, status, "%v", second)
		require.Contains(t, fmt.Sprint(second["output"]), "done: 5")
		status, got := send(t, srv, "/v1/responses", ask(user, rs, without(add, "id"), weather, output(w, "sun"), output(a, "5"), user))
		require.Equal(t, 200, status, "%v", got)
		again := list(t, second["output"])
		status, got = send(t, srv, "/v1/responses", ask(user, rs, add, weather, output(a, "5"), output(w, "sun"), again[0], again[1], user))
		require.Equal(t, 200, status, "a longer conversation: %v", got)

		for _, tc := range []struct {
			name  string
			input []any
			want  string
		}{
			{"no result", []any{user, rs, add, weather, output(a, "5")}, "No tool output found for function call " + w + "."},
			{"no call", []any{user, output(a, "5")}, "No tool call found for function call output with call_id " + a + "."},
			{"the result before its call", []any{user, output(a, "5"), rs, add, weather, output(w, "")}, "No tool call found for function call output with call_id " + a},
			{"no reasoning", []any{user, add, output(a, "5")}, "Item '" + member(t, add, "id") + "' of type 'function_call' was provided without its required 'reasoning' item"},
			{"reasoning alone", []any{user, rs}, "Item '" + member(t, rs, "id") + "' of type 'reasoning' was provided without its required following item."},
			{"reasoning before something else", []any{user, rs, weather, output(w, "")}, "without its required following item"},
			{"a message without its reasoning", []any{user, again[1]}, "of type 'message' was provided without its required 'reasoning' item"},
			{"twice", []any{user, rs, add, rs, add}, "Duplicate item found with id " + member(t, rs, "id")},
			{"an MCP call of nobody", []any{object{"type": "mcp_call", "id": "mcp_1", "name": "x", "arguments": "{}", "server_label": "s"}}, "Invalid 'input[0].id': 'mcp_1'"},
			{"an unknown type", []any{object{"type": "odd_call"}}, "Invalid value: 'odd_call'."},
			{"a wrong id", []any{user, set(add, "id", "toolu_1"), output(a, "5")}, "Invalid 'input[1].id': 'toolu_1'. Expected an ID that begins with 'fc'."},
			{"an id that is too long", []any{user, set(add, "id", "fc_"+strings.Repeat("x", 90))}, "Invalid 'input[1].id': string too long."},
			{"a thought that was changed", []any{user, set(rs, "encrypted_content", "x"), add, weather, output(a, ""), output(w, "")}, "could not be verified"},
			{"a thought of nobody", []any{user, object{"type": "reasoning", "id": "rs_9", "summary": []any{}}}, "Item with id 'rs_9' not found."},
		} {
			require.Contains(t, refused(t, srv, "/v1/responses", ask(tc.input...)), tc.want, tc.name)
		}
		thin := ask(user, without(rs, "encrypted_content"), add, weather, output(a, "5"), output(w, "sun"))
		byName := ask(user, object{"type": "item_reference", "id": rs.(object)["id"]}, add, weather, output(a, "5"), output(w, "sun"))
		for _, body := range []object{thin, byName} {
			if store {
				status, got := send(t, srv, "/v1/responses", body)
				require.Equal(t, 200, status, "%v", got)
			} else {
				require.Contains(t, refused(t, srv, "/v1/responses", body), "Items are not persisted when `store` is set to false.")
			}
		}
	}
}

// tool is a function in the shape of a path's dialect.
func tool(path, name string) object {
	switch path {
	case "/v1/responses":
		return object{"type": "function", "name": name}
	case "/v1/messages":
		return object{"name": name, "input_schema": object{"type": "object"}}
	}
	return object{"type": "function", "function": object{"name": name}}
}

func choose(path, name string) object {
	switch path {
	case "/v1/responses":
		return object{"type": "function", "name": name}
	case "/v1/messages":
		return object{"type": "tool", "name": name}
	}
	return object{"type": "function", "function": object{"name": name}}
}

func question(path string) object {
	if path == "/v1/responses" {
		return object{"model": "m", "input": "hi"}
	}
	return object{"model": "m", "max_tokens": 100, "messages": []any{object{"role": "user", "content": "hi"}}}
}

func TestStrictTools(t *testing.T) {
	var many []any
	for i := range 129 {
		many = append(many, fmt.Sprint("tool_", i))
	}
	for _, path := range []string{"/v1/responses", "/v1/chat/completions", "/v1/messages"} {
		_, srv := strict(t, scripted.Config{}, scripted.OK("hi"))
		for _, tc := range []struct {
			name  string
			tools []any
			want  []string // one of them is in the message; none: it is allowed
		}{
			{"as many as may be", many[:128], nil},
			{"the longest name", []any{strings.Repeat("x", 64)}, nil},
			{"too many", many, []string{"array too long", ""}},
			{"a dot in a name", []any{"a", "b.c"}, []string{"tools[1].", "tools.1."}},
			{"a long name", []any{strings.Repeat("x", 65)}, []string{"maximum length 64", "{1,64}"}},
			{"twice", []any{"a", "b", "a"}, []string{"another tool with the name 'a'", "Tool names must be unique"}},
			{"no name", []any{""}, []string{"Missing required parameter", "String should match"}},
		} {
			body := question(path)
			var tools []any
			for _, name := range tc.tools {
				tools = append(tools, tool(path, name.(string)))
			}
			body["tools"] = tools
			if tc.want == nil || tc.want[1] == "" && strings.HasSuffix(path, "/messages") { // Anthropic has no such limit
				status, got := send(t, srv, path, body)
				require.Equal(t, 200, status, "%s: %v", tc.name, got)
				continue
			}
			message := refused(t, srv, path, body)
			require.True(t, strings.Contains(message, tc.want[0]) || strings.Contains(message, tc.want[1]), "%s: %s", tc.name, message)
		}
		body := question(path)
		body["tools"] = []any{tool(path, "a")}
		body["tool_choice"] = choose(path, "a")
		status, _ := send(t, srv, path, body)
		require.Equal(t, 200, status)
		body["tool_choice"] = choose(path, "b")
		require.Contains(t, refused(t, srv, path, body), "b'")
	}
}

func TestStrictRequests(t *testing.T) {
	_, srv := strict(t, scripted.Config{}, scripted.OK("hi"))
	require.Contains(t, refused(t, srv, "/v1/responses", object{"input": "hi"}), "Missing required parameter: 'model'.")
	require.Contains(t, refused(t, srv, "/v1/responses", object{"model": "m", "input": "hi", "max_output_tokens": 15}), "Expected a value >= 16, but got 15 instead.")
	require.Contains(t, refused(t, srv, "/v1/responses", object{"model": "m", "input": 7}), "We could not parse the JSON body")
	require.Contains(t, refused(t, srv, "/v1/responses", []any{}), "We could not parse the JSON body")
	require.Contains(t, refused(t, srv, "/v1/responses", object{"model": "m", "tool_choice": "required"}), "must be specified with 'tools'")
	require.Contains(t, refused(t, srv, "/v1/chat/completions", set(question(""), "stream_options", object{"include_usage": true})), "'stream_options' parameter is only allowed when 'stream' is enabled")
	require.Contains(t, refused(t, srv, "/v1/chat/completions", set(question(""), "parallel_tool_calls", false)), "only allowed when 'tools' are specified")
	require.Contains(t, refused(t, srv, "/v1/messages", without(question(""), "max_tokens")), "max_tokens: Field required")
	for budget, why := range map[int]string{1023: "greater than or equal to 1024", 100_000: "must be greater than `thinking.budget_tokens`"} {
		require.Contains(t, refused(t, srv, "/v1/messages", set(set(question(""), "max_tokens", 100_000), "thinking", object{"type": "enabled", "budget_tokens": budget})), why)
	}
	r := newRequest(t, http.MethodPost, srv.URL+"/v1/messages", "{}")
	require.Contains(t, do(t, client(t), r).body, "anthropic-version: header is required")

	p, srv := strict(t, scripted.Config{}, scripted.RateLimited(0))
	status, _ := send(t, srv, "/v1/responses", object{})
	require.Equal(t, 429, status, "only models are strict")
	p.Key(good, scripted.OK("hi"))
	status, _ = send(t, srv, "/v1/responses", question("/v1/responses"))
	require.Equal(t, 200, status)
}

// A provider makes no calls that the request forbids, whatever the script.
func TestStrictCallsAreAllowedOnes(t *testing.T) {
	two := scripted.Say(scripted.Call("a", "{}"), scripted.Call("b", "{}"))
	for path, forbid := range map[string]object{
		"/v1/responses":        {"parallel_tool_calls": false},
		"/v1/chat/completions": {"parallel_tool_calls": false},
		"/v1/messages":         {"tool_choice": object{"type": "auto", "disable_parallel_tool_use": true}},
	} {
		_, srv := strict(t, scripted.Config{}, two)
		body := question(path)
		body["tools"] = []any{tool(path, "a"), tool(path, "b")}
		_, got := send(t, srv, path, body)
		require.Contains(t, fmt.Sprint(got), "name:b")
		maps.Copy(body, forbid)
		_, got = send(t, srv, path, body)
		require.Contains(t, fmt.Sprint(got), "name:a")
		require.NotContains(t, fmt.Sprint(list(t, firstOf(got, "output", "choices", "content"))), "name:b")
	}
}

func firstOf(o object, names ...string) any {
	for _, name := range names {
		if v, ok := o[name]; ok {
			return v
		}
	}
	return nil
}

func TestStrictChat(t *testing.T) {
	const path = "/v1/chat/completions"
	_, srv := strict(t, scripted.Config{}, caller())
	user := object{"role": "user", "content": "hi"}
	ask := func(messages ...any) object { return object{"model": "m", "messages": messages} }
	status, first := send(t, srv, path, ask(user))
	require.Equal(t, 200, status)
	said := list(t, first["choices"])[0].(object)["message"]
	calls := list(t, said.(object)["tool_calls"])
	a, w := member(t, calls[0], "id"), member(t, calls[1], "id")
	result := func(id string) object { return object{"role": "tool", "tool_call_id": id, "content": "5"} }
	status, got := send(t, srv, path, ask(user, said, result(w), result(a), user))
	require.Equal(t, 200, status, "%v", got)
	picture := object{"role": "tool", "tool_call_id": a, "content": []any{object{"type": "image_url", "image_url": object{"url": "data:"}}}}
	for _, tc := range []struct {
		name     string
		messages []any
		want     string
	}{
		{"no results", []any{user, said}, "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: " + a + ", " + w},
		{"one result", []any{user, said, result(a), user}, "did not have response messages: " + w},
		{"a message between", []any{user, said, result(a), user, result(w)}, "did not have response messages: " + w},
		{"an orphan", []any{user, result(a)}, "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'"}, //nolint:misspell // as the provider spells it
		{"two results", []any{user, said, result(a), result(a), result(w)}, "must be a response to a preceeding message"},               //nolint:misspell // as the provider spells it
		{"a picture", []any{user, said, picture, result(w)}, "Image URLs are only allowed for messages with role 'user'"},
		{"nothing said", []any{user, object{"role": "assistant", "content": nil}, user}, "expected a string, got null"},
		{"nothing at all", nil, "Missing required parameter: 'messages'."},
	} {
		require.Contains(t, refused(t, srv, path, ask(tc.messages...)), tc.want, tc.name)
	}
}
