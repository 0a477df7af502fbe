package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/test/gateway"
)

// fixed is an answer with these bytes, cut nowhere in particular.
func fixed(kind, body string) scripted.Answer {
	return scripted.Status(http.StatusOK, body).Header("Content-Type", kind).Chunked()
}

// TestUnusedTools holds that an answer in which the model calls none of Keyturn's tools reaches the client as the provider sent it.
func TestUnusedTools(t *testing.T) {
	const events = "text/event-stream; charset=utf-8"
	odd := strings.NewReplacer("\n", "\r\n") // and whatever else a provider may send
	eachSpeech(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway, s speech, stream bool) {
		gw.Provider.Default(scripted.OK(said))
		t.Cleanup(func() { gw.Provider.Default(nil) })
		// What the provider sends when it is asked without Keyturn in between.
		direct := gw.PostProvider(t, s.path, s.body(stream, "hi"), s.headers()...)
		require.Equal(t, http.StatusOK, direct.Status, direct.Body)
		saved := direct.Body
		kind := events
		if !stream {
			kind = "application/json"
		}
		for name, body := range map[string]string{
			"as it is": saved, "CRLF": odd.Replace(saved), "comments": strings.ReplaceAll(saved, "data: ", ": PROCESSING\ndata: "),
			"broken JSON": strings.Replace(saved, `":`, `"`, 3), "not of this dialect": "data: {}\n\nx: y\n\ndata: [\n\n: z", "empty": "",
			"no end": strings.TrimRight(saved[:len(saved)*2/3], "\n"),
		} {
			t.Run(name, func(t *testing.T) {
				gw.Provider.Default(fixed(kind, body))
				got := s.ask(t, gw, stream, "hi")
				require.Equal(t, http.StatusOK, got.Status)
				require.Equal(t, body, got.Body)
				require.Empty(t, got.Header.Values("X-Keyturn-Retry"))
			})
		}
	})
}

// TestUntouchedRequests holds that a request that rules tools out, or is none that Keyturn understands, reaches the provider as the
// client sent it.
func TestUntouchedRequests(t *testing.T) {
	gw := gateway.Start(t, gateway.Config{Tools: true, Pools: []gateway.Pool{{Provider: "openai"}, {Provider: "anthropic"}}})
	gw.Provider.Default(scripted.OK(said))
	for name, tc := range map[string]struct{ path, body string }{
		"responses, no tools wanted": {"/v1/responses", `{ "model":"m",  "input":"\u00e4", "tool_choice":"none", "n":12345678901234567890, "x":[ ] }`},
		"responses, its own tool": {"/v1/responses", `{"tools":[{"type":"function","name":"mine","parameters":{}}],
			"tool_choice":{"type":"function","name":"mine"},"model":"m","input":"hi"}`},
		"responses, in the background": {"/v1/responses", `{"model":"m","input":"hi","background":true}`},
		"chat, several choices":        {"/v1/chat/completions", `{"model":"m","n":2,"messages":[{"role":"user","content":"hi"}]}`},
		"chat, no tools wanted":        {"/v1/chat/completions", `{"model":"m","tool_choice":"none",   "messages":[{"role":"user","content":"hi"}]}`},
		"messages, no tools wanted":    {"/v1/messages", `{"model":"m","max_tokens":9,"tool_choice":{"type":"none"},"messages":[{"role":"user","content":"hi"}]}`},
		"no JSON":                      {"/v1/responses", `{"model":"m","input":`},
		"a member twice":               {"/v1/chat/completions", `{"model":"m","tools":[],"tools":[],"messages":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			gw.Provider.Reset()
			gw.Post(t, tc.path, tc.body)
			requests := gw.Provider.Requests()
			require.Len(t, requests, 1)
			require.Equal(t, tc.body, string(requests[0].Body))
		})
	}
}

// TestEchoedTools holds that Responses, which echoes the request's tools, echoes the client's alone.
func TestEchoedTools(t *testing.T) {
	gw := gateway.Start(t, gateway.Config{Tools: true})
	gw.Provider.Default(scripted.OK(said))
	own := `[{"type":"function","name":"mine","parameters":{"type":"object","properties":{}},"strict":true}]`
	for _, stream := range []bool{true, false} {
		for name, tools := range map[string]string{"none": `[]`, "one": own} {
			t.Run(fmt.Sprintf("stream=%t/%s", stream, name), func(t *testing.T) {
				body := fmt.Sprintf(`{"model":"m","input":"hi","stream":%t,"tools":%s}`, stream, tools)
				got := gw.Post(t, "/v1/responses", body)
				require.NotContains(t, got.Body, "bmcp_")
				offered := toolNames(t, gw.Provider.Requests()[gw.Provider.Count()-1].Body)
				require.Contains(t, offered, "bmcp_demo_echo")
				require.Equal(t, name == "one", strings.Contains(got.Body, `"mine"`))
				require.Equal(t, name == "one", offered[0] == "mine", "the client's come first")
			})
		}
	}
}

func toolNames(t *testing.T, request []byte) (names []string) {
	t.Helper()
	var r struct {
		Tools []struct{ Name string }
	}
	require.NoError(t, json.Unmarshal(request, &r))
	for _, tool := range r.Tools {
		names = append(names, tool.Name)
	}
	return names
}

// TestTurnsRepeat holds what later turns take along of the client's request, and what not.
func TestTurnsRepeat(t *testing.T) {
	byok := map[string]any{"byok": map[string]any{"allow": map[string]any{"placeholders": []string{"dummy"}}}, "tools": map[string]any{"servers": []string{"demo"}}}
	gw := gateway.Start(t, gateway.Config{
		Tools: true, Secrets: []string{clientKey, ownKey}, Pools: []gateway.Pool{
			{Provider: "openai", Keys: poolKeys[:2]},
			{Provider: "anthropic", Keys: poolKeys[:2]},
			{Name: "own", Provider: "openai", Keys: poolKeys[:2], Settings: byok},
		},
	})
	script := afterTools("done", echo("x"))
	ask := func(t *testing.T, path, body, credential string) []scripted.Request {
		t.Helper()
		gw.Reset(t)
		got := gw.Post(t, path, body, "authorization", "Bearer "+credential, "cookie", "session=secret", "anthropic-beta", "context-1m-2025-08-07",
			"x-custom", "kept", "user-agent", "client/1", "x-keyturn-turn", "7", "x-keyturn-cluster", "elsewhere", "x-keyturn-used-name", "forged",
			"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "openai-organization", "org-client")
		require.Equal(t, http.StatusOK, got.Status, got.Body)
		require.Contains(t, got.Body, "done")
		for name := range got.Header {
			require.NotContains(t, strings.ToLower(name), "x-keyturn-")
		}
		requests := gw.Provider.Requests()
		require.Len(t, requests, 2)
		for i, r := range requests {
			require.Equal(t, []string{"context-1m-2025-08-07"}, r.Header.Values("Anthropic-Beta"), "turn %d", i+1)
			require.Equal(t, []string{"kept"}, r.Header.Values("X-Custom"))
			require.Equal(t, []string{"client/1"}, r.Header.Values("User-Agent"))
			require.Equal(t, requests[0].Path, r.Path)
			require.Equal(t, requests[0].Host, r.Host)
			for name := range r.Header {
				name = strings.ToLower(name)
				for _, prefix := range []string{"x-keyturn-", "x-envoy-", "x-forwarded-"} {
					require.False(t, strings.HasPrefix(name, prefix), "turn %d: %s", i+1, name)
				}
			}
			require.Empty(t, r.Header.Values("X-Request-Id"))
			for _, name := range []string{"Cookie", "Openai-Organization"} {
				if credential != ownKey { // beside its own credential these are the client's own business
					require.Empty(t, r.Header.Values(name), "turn %d: %s", i+1, name)
				}
			}
		}
		return requests
	}
	gw.Provider.Default(script).Key(poolKeys[0], script).Key(ownKey, script)
	for _, s := range speeches {
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/stream=%t", s.name, stream), func(t *testing.T) {
				for _, r := range ask(t, s.path+"?api-version=1", s.body(stream, "hi"), clientKey) {
					require.Equal(t, poolKeys[0], r.Key)
				}
			})
		}
	}
	t.Run("own credential", func(t *testing.T) {
		for _, r := range ask(t, "/own/v1/responses", speeches[0].body(true, "hi"), ownKey) {
			require.Equal(t, ownKey, r.Key)
		}
	})
	t.Run("placeholder", func(t *testing.T) {
		for _, r := range ask(t, "/own/v1/responses", speeches[0].body(true, "hi"), "dummy") {
			require.Equal(t, poolKeys[0], r.Key)
		}
	})
	t.Run("placeholder fails over", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Key(poolKeys[0], scripted.RateLimited(time.Minute)).Key(poolKeys[1], script)
		got := gw.Post(t, "/own/v1/responses", speeches[0].body(true, "hi"), "authorization", "Bearer dummy")
		require.Contains(t, got.Body, "done")
		require.Equal(t, []string{poolKeys[0], poolKeys[1], poolKeys[1]}, gw.Provider.Keys())
	})
}

// TestAgenticRecords holds what the access log and the metrics tell of a response with tools, and that no log has a prompt, an
// argument or a result.
func TestAgenticRecords(t *testing.T) {
	gw := gateway.Start(t, gateway.Config{Tools: true, Pools: []gateway.Pool{{Keys: poolKeys[:2]}}})
	gw.Provider.Key(poolKeys[0], scripted.Seq(scripted.Say(scripted.Call("bmcp_demo_echo", `{"text":"the-argument"}`)).Usage(100, 10), scripted.RateLimited(time.Minute))).
		Key(poolKeys[1], scripted.Say(scripted.Text("the-answer")).Usage(200, 20))
	got := gw.Post(t, "/v1/responses", speeches[0].body(true, "the-prompt"))
	require.Contains(t, got.Body, "the-answer")
	var usage struct {
		Response struct {
			Usage map[string]any
		}
	}
	require.NoError(t, json.Unmarshal([]byte(lastData(got.Body)), &usage))
	require.InDelta(t, 300, usage.Response.Usage["input_tokens"], 0)
	require.InDelta(t, 30, usage.Response.Usage["output_tokens"], 0)
	require.InDelta(t, 330, usage.Response.Usage["total_tokens"], 0)

	request, turn, attempts := gw.AccessLog(t, 1)[0], gw.Logged(t, "turn", 1)[0], gw.Logged(t, "attempt", 3)
	require.Len(t, attempts, 3)
	require.InDelta(t, 1, request["attempts"], 0)
	require.Equal(t, "k0...ey", request["key"], "what the response's headers were sent with")
	require.InDelta(t, 2, turn["attempts"], 0)
	require.Equal(t, "2", turn["turn"])
	for _, line := range append(attempts, turn) {
		require.Equal(t, request["request_id"], line["request_id"], "the lines of one response can be joined")
	}
	byTurn := map[any][]map[string]any{}
	for _, a := range attempts {
		byTurn[a["turn"]] = append(byTurn[a["turn"]], a)
	}
	require.Len(t, byTurn["2"], 2)
	for field, want := range map[string]any{"turns": 2.0, "tool_calls": 1.0, "input_tokens": 300.0, "output_tokens": 30.0, "key": "k1...ey", "key_name": "key1", "attempt": 1.0} {
		require.Equal(t, want, byTurn[nil][0][field], field)
	}
	require.InDelta(t, 1, gw.Metric(t, "keyturn_tool_calls_total", `tool="echo"`, `server="demo"`, `outcome="ok"`, `provider="openai"`), 0)
	require.InDelta(t, 1, gw.Metric(t, "keyturn_turns_total", `dialect="responses"`, `outcome="ok"`), 0)
	gw.Eventually(t, "the tokens of both turns", func() bool {
		return strings.Contains(gw.Metrics(t), "gen_ai_client_inference_usage_input_tokens_total") &&
			gw.Metric(t, "gen_ai_client_inference_usage_input_tokens_total", `gen_ai_operation_name="chat"`) == 300
	})
	access, err := os.ReadFile(filepath.Join(gw.Dir, "access.log"))
	require.NoError(t, err)
	for name, text := range map[string]string{"the log": gw.Log(), "the access log": string(access), "the metrics": gw.Metrics(t)} {
		for _, secret := range []string{"the-prompt", "the-argument", "the-answer"} {
			require.NotContains(t, text, secret, name)
		}
	}
}

// lastData is the data of the stream's last event.
func lastData(stream string) string {
	i := strings.LastIndex(stream, "data: ")
	return strings.TrimSpace(stream[i+len("data: "):])
}

// toolFaults are what a server of tools does to one call.
var toolFaults = map[string]toolserver.Fault{
	"401": {Method: "tools/call", Status: 401}, "403": {Method: "tools/call", Status: 403}, "404": {Method: "tools/call", Status: 404},
	"500": {Method: "tools/call", Status: 500}, "HTML": {Method: "tools/call", HTML: true}, "20 MB": {Method: "tools/call", Bytes: 20 << 20},
	"cut": {Method: "tools/call", Cut: true}, "dropped": {Method: "tools/call", Drop: true}, "refused": {Method: "tools/call", Gone: true},
}

// TestServersOfTools holds that a server that is down, refuses or answers nonsense costs its tools or the call, and that it comes
// back by itself.
func TestServersOfTools(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Tools: true, Pools: []gateway.Pool{{Keys: poolKeys[:1]}}})
	script := scripted.Func(func(r scripted.Request) scripted.Answer {
		c := r.Conversation()
		if len(c.Latest) > 0 {
			return scripted.Say(scripted.Text("it said " + c.Latest[0].Text))
		}
		if _, ok := c.Tool("_echo"); !ok {
			return scripted.Say(scripted.Text("no tools"))
		}
		return scripted.Say(echo("hello"))
	})
	gw.Provider.Default(script)
	ask := func() string {
		got := gw.Post(t, "/v1/chat/completions", speeches[1].body(false, "hi"))
		require.Equal(t, http.StatusOK, got.Status, got.Body)
		return got.Body
	}
	require.Contains(t, ask(), "it said hello")
	for name, f := range toolFaults {
		t.Run(name, func(t *testing.T) {
			gw.Tools.Next(1, f)
			require.Contains(t, ask(), "it said ", "the model hears of it, or the call was repeated, which did not run")
			gw.Tools.Heal()
			gw.Eventually(t, "the server is back", func() bool { return strings.Contains(ask(), "it said hello") })
		})
	}
	t.Run("restarted", func(t *testing.T) {
		gw.Tools.Forget()
		gw.Eventually(t, "the server is back", func() bool { return strings.Contains(ask(), "it said hello") })
	})
	t.Run("gone", func(t *testing.T) {
		address := gw.Tools.Addr()
		require.NoError(t, gw.Tools.Close())
		gw.Eventually(t, "its tools are gone", func() bool { return strings.Contains(ask(), "no tools") })
		again, err := toolserver.Start(address)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, again.Close()) })
		gw.Eventually(t, "the server is back", func() bool { return strings.Contains(ask(), "it said hello") })
	})
}
