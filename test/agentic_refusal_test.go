package test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// refusing is a provider that refuses requests in which one of the words stands, as many do, and else says text.
func refusing(status int, says, text string, words ...string) scripted.Script {
	return scripted.Func(func(r scripted.Request) scripted.Answer {
		for _, w := range words {
			if strings.Contains(string(r.Body), w) {
				return scripted.Status(status, says)
			}
		}
		return scripted.Say(scripted.Text(text))
	})
}

// TestRefusedForTools holds that a provider which will have nothing of what Keyturn puts into a request answers it all the same: without that, with
// the same key, and the next request like it at once.
func TestRefusedForTools(t *testing.T) {
	eachSpeech(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway, s speech, stream bool) {
		for i, tc := range []struct {
			status int
			says   string
			words  string // that the provider refuses
			stays  string // that the request keeps
		}{
			{400, `{"error":{"message":"registry.ollama.ai/library/gemma3:latest does not support tools","type":"api_error"}}`, `"tools"`, ""},
			{400, `{"error":{"message":"Function calling with a response mime type: 'application/json' is unsupported","code":400}}`, `"tools"`, ""},
			{404, `{"error":{"message":"No endpoints found that support tool use. To learn more about provider routing, visit: https://openrouter.ai/docs","code":404}}`, `"tools"`, ""},
			{500, `{"error":{"code":500,"message":"tools param requires --jinja flag","type":"server_error"}}`, `"tools"`, ""},
			{422, `{"detail":[{"type":"extra_forbidden","loc":["body","tools"],"msg":"Extra inputs are not permitted"}]}`, `"tools"`, ""},
			{400, `{"error":{"message":"Invalid schema for function 'bmcp_demo_echo': In context=(), object schema missing properties.","param":"tools[0].function.parameters"}}`, "bmcp_demo_echo", "bmcp_demo_count"},
		} {
			t.Run(fmt.Sprint(i, tc.status), func(t *testing.T) {
				gw.Reset(t)
				gw.Provider.Default(refusing(tc.status, tc.says, "said", tc.words))
				model := fmt.Sprintf("model-%s-%d-%t", s.name, i, stream)
				body := strings.NewReplacer("gpt-4o-mini", model, "claude-sonnet-4-5", model).Replace(s.body(stream, "hi"))
				for n, want := range []int{2, 1} {
					gw.Provider.Reset()
					got := gw.Post(t, s.path, body, s.headers()...)
					require.Equal(t, http.StatusOK, got.Status, got.Body)
					require.Contains(t, got.Body, "said")
					requests := gw.Provider.Requests()
					require.Len(t, requests, want, "request %d", n)
					require.Contains(t, string(requests[want-1].Body), tc.stays)
					require.Equal(t, poolKeys[0], requests[want-1].Key)
				}
				require.Equal(t, []string{"valid", "valid"}, gw.States(t, s.provider))
			})
		}
		t.Run("not about tools", func(t *testing.T) {
			gw.Reset(t)
			says := `{"error":{"message":"temperature must be at most 2","type":"invalid_request_error"}}`
			gw.Provider.Default(scripted.Status(400, says))
			got := s.ask(t, gw, stream, "hi")
			require.Equal(t, 400, got.Status)
			require.Equal(t, says, got.Body)
			require.Len(t, gw.Provider.Requests(), 1)
		})
		t.Run("refused without them too", func(t *testing.T) {
			gw.Reset(t)
			says := `{"error":{"message":"this model does not support tools, nor anything"}}`
			gw.Provider.Default(scripted.Status(400, says))
			for range 2 {
				gw.Provider.Reset()
				got := s.ask(t, gw, stream, "hi")
				require.Equal(t, 400, got.Status)
				require.Equal(t, says, got.Body, "the provider's words")
				require.Len(t, gw.Provider.Requests(), 2, "once; and nothing is remembered of it")
			}
		})
		t.Run("the client's own tool", func(t *testing.T) {
			gw.Reset(t)
			gw.Provider.Default(refusing(400, `{"error":{"message":"tools.0: mine is no good"}}`, "said", `"mine"`))
			own := map[string]string{
				"responses": `{"type":"function","name":"mine","parameters":{"type":"object","properties":{}}}`, "chat": `{"type":"function","function":{"name":"mine"}}`,
				"messages": `{"name":"mine","input_schema":{"type":"object"}}`,
			}[s.name]
			got := gw.Post(t, s.path, strings.Replace(s.body(stream, "hi"), "{", `{"tools":[`+own+`],`, 1), s.headers()...)
			require.Equal(t, 400, got.Status)
			for _, r := range gw.Provider.Requests() {
				require.Contains(t, string(r.Body), `"mine"`, "what the client sent is never taken out")
			}
		})
		if s.name == "chat" && stream {
			t.Run("stream_options", func(t *testing.T) {
				gw.Reset(t)
				gw.Provider.Default(refusing(422, `{"detail":[{"type":"extra_forbidden","loc":["body","stream_options","include_usage"],"msg":"Extra inputs are not permitted"}]}`, "said", "stream_options"))
				for _, want := range []int{2, 1} {
					gw.Provider.Reset()
					got := s.ask(t, gw, stream, "hi")
					require.Equal(t, http.StatusOK, got.Status)
					requests := gw.Provider.Requests()
					require.Len(t, requests, want)
					require.Contains(t, string(requests[want-1].Body), "bmcp_demo_echo", "the tools stay")
				}
			})
		}
	})
}
