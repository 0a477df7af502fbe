package test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/check"
	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// vendor is a provider that speaks a dialect of another's, at its own place and with its own credential.
type vendor struct {
	name     string
	base     string // path of the provider's base URL
	path     string // what clients ask for, below the pool's name
	header   string // that carries the key
	prefix   string // of its value
	body     func(stream bool) string
	check    func([]byte) error
	framing  scripted.Framing
	failures []vendorFailure
}

// vendorFailure is an error as the vendor documents it, and what it means for the first key.
type vendorFailure struct {
	name   string
	answer scripted.Answer
	state  string // of the first key, then
	status int    // what the client gets; 200: the second key has served
}

func chatBody(stream bool) string { return speeches[1].body(stream, "hi") }

// Azure: https://learn.microsoft.com/azure/ai-services/openai/reference. Gemini: https://ai.google.dev/gemini-api/docs/openai.
// OpenRouter: https://openrouter.ai/docs/api-reference. vLLM: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html.
var vendors = []vendor{
	{
		name: "azure", path: "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", header: "Api-Key", body: chatBody, check: check.Chat,
		failures: []vendorFailure{
			{"429", scripted.AzureRateLimited(time.Minute), "parked", 200}, // the path names the deployment, whose limit it is
			{"empty 429", scripted.EmptyStatus(429), "parked", 200},
			{"401", scripted.AzureUnauthorized(), "permanent", 200},
			{"no such deployment", scripted.AzureDeploymentNotFound(), "valid", 404},
		},
	},
	{
		name: "azure", path: "/openai/v1/responses", header: "Api-Key", check: check.Responses,
		body: func(stream bool) string { return speeches[0].body(stream, "hi") },
	},
	{
		name: "gemini", base: "/v1beta/openai", path: "/chat/completions", header: "Authorization", prefix: "Bearer ", body: chatBody, check: check.Chat,
		failures: []vendorFailure{
			{"429", scripted.GeminiRateLimited(57 * time.Second), "parked", 200}, // the quota's name says PerModel
			{"quota of the day", scripted.GeminiDailyQuota(), "parked", 200},     // it is the model's: for others the key serves on
			{"bad key", scripted.GeminiBadKey(), "permanent", 200},
			{"overloaded", scripted.GeminiOverloaded(), "valid", 503},
		},
	},
	{
		name: "openrouter", base: "/api", path: "/v1/chat/completions", header: "Authorization", prefix: "Bearer ", body: chatBody, check: check.Chat,
		framing: scripted.Framing{Comment: "OPENROUTER PROCESSING"},
		failures: []vendorFailure{
			{"429", scripted.OpenRouterRateLimited(time.Minute), "temporary", 200},
			{"429 of the provider behind it", scripted.OpenRouterBusy(time.Minute), "valid", 429},
			{"401", scripted.OpenRouterUnauthorized(), "permanent", 200},
			{"no credit", scripted.OpenRouterNoCredit(), "temporary", 200},
		},
	},
	{
		name: "compatible", path: "/v1/chat/completions", header: "Authorization", prefix: "Bearer ", body: chatBody, check: check.Chat,
		failures: []vendorFailure{
			{"vLLM 401", scripted.Status(401, `{"error":"Unauthorized"}`), "permanent", 200},
			{"vLLM no such model", scripted.Status(404, `{"object":"error","message":"The model m does not exist.","type":"NotFoundError","param":null,"code":404}`), "valid", 404},
			{"vLLM 400", scripted.Status(400, `{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}`), "valid", 400},
		},
	},
}

// TestVendors runs each vendor's paths, credential and errors, and a conversation with a tool.
func TestVendors(t *testing.T) {
	for _, v := range vendors {
		t.Run(v.name+v.path, func(t *testing.T) {
			t.Parallel()
			gw := gateway.Start(t, gateway.Config{Tools: true, Pools: []gateway.Pool{{Provider: v.name, Keys: poolKeys[:2], Base: v.base}}})
			path := "/" + v.name + v.path
			for _, stream := range []bool{true, false} {
				t.Run(fmt.Sprintf("tool/stream=%t", stream), func(t *testing.T) {
					gw.Reset(t)
					gw.Provider.Default(scripted.Func(func(r scripted.Request) scripted.Answer {
						if len(r.Results()) == 0 {
							return scripted.Say(echo("vendor")).Framed(v.framing)
						}
						return scripted.Say(scripted.Text("done")).Framed(v.framing)
					}))
					got := gw.Post(t, path, v.body(stream), "authorization", "Bearer client", "api-key", "client")
					require.Equal(t, http.StatusOK, got.Status, got.Body)
					require.Contains(t, got.Body, "done")
					if stream {
						require.NoError(t, v.check([]byte(got.Body)))
					}
					requests := gw.Provider.Requests()
					require.Len(t, requests, 2)
					for _, r := range requests {
						require.Equal(t, v.base+v.path, r.Path)
						require.Equal(t, []string{v.prefix + poolKeys[0]}, r.Header.Values(v.header))
						for _, other := range []string{"Authorization", "Api-Key"} {
							if other != v.header {
								require.Empty(t, r.Header.Values(other))
							}
						}
					}
				})
			}
			for _, f := range v.failures {
				t.Run(f.name, func(t *testing.T) {
					gw.Reset(t)
					gw.Provider.Key(poolKeys[0], f.answer).Key(poolKeys[1], scripted.OK(said))
					got := gw.Post(t, path, v.body(true))
					require.Equal(t, f.status, got.Status, got.Body)
					if first := gw.Keys(t, v.name)[0]; f.state == "parked" {
						require.Equal(t, "valid", first.State)
						require.NotEmpty(t, first.Models)
					} else {
						require.Equal(t, f.state, first.State)
					}
					require.Equal(t, "valid", gw.States(t, v.name)[1])
					if f.status != http.StatusOK {
						return
					}
					gw.Provider.Reset()
					require.Equal(t, http.StatusOK, gw.Post(t, path, v.body(true)).Status)
					require.Equal(t, poolKeys[1:2], gw.Provider.Keys(), "the first key is left out at once")
				})
			}
		})
	}
}
