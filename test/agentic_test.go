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

// speech is one dialect as the tests with tools speak it.
type speech struct {
	name, provider, path string
	body                 func(stream bool, text string) string
	check                func(stream []byte) error // every rule of the dialect, on what the client got
	end                  string                    // what the end of a good stream has in it
	fails                string                    // what an error within a stream has in it
}

var speeches = []speech{
	{
		name: "responses", provider: "openai", path: "/v1/responses", check: check.Responses,
		body: func(stream bool, text string) string {
			return fmt.Sprintf(`{"input":%q,"model":"gpt-4o-mini","stream":%t}`, text, stream)
		},
		end: "event: response.completed", fails: "event: error",
	},
	{
		name: "chat", provider: "openai", path: "/v1/chat/completions", check: check.Chat,
		body: func(stream bool, text string) string {
			return fmt.Sprintf(`{"messages":[{"role":"user","content":%q}],"model":"gpt-4o-mini","stream":%t}`, text, stream)
		},
		end: "data: [DONE]", fails: `data: {"error"`,
	},
	{
		name: "messages", provider: "anthropic", path: "/v1/messages", check: check.Messages,
		body: func(stream bool, text string) string {
			return fmt.Sprintf(`{"messages":[{"role":"user","content":%q}],"model":"claude-sonnet-4-5","max_tokens":1000,"stream":%t}`, text, stream)
		},
		end: "event: message_stop", fails: "event: error",
	},
}

// headers are what clients of the dialect send beside the body.
func (s speech) headers() []string {
	if s.provider == "anthropic" {
		return []string{"anthropic-version", "2023-06-01"}
	}
	return nil
}

// ask sends text to the model.
func (s speech) ask(t *testing.T, gw *gateway.Gateway, stream bool, text string) gateway.Response {
	t.Helper()
	return gw.Post(t, s.path, s.body(stream, text), s.headers()...)
}

// eachSpeech runs a test for every dialect, streaming and not, on one gateway with tools. The pools openai and anthropic have the
// keys of poolKeys, two of them.
func eachSpeech(t *testing.T, cfg gateway.Config, run func(t *testing.T, gw *gateway.Gateway, s speech, stream bool)) {
	t.Helper()
	cfg.Tools = true
	cfg.Provider.Strict = true // it refuses what the real one refuses
	if cfg.Pools == nil {
		cfg.Pools = []gateway.Pool{{Provider: "openai", Keys: poolKeys[:2]}, {Provider: "anthropic", Keys: poolKeys[:2]}}
	}
	gw := gateway.Start(t, cfg)
	for _, s := range speeches {
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/stream=%t", s.name, stream), func(t *testing.T) {
				gw.Reset(t)
				run(t, gw, s, stream)
			})
		}
	}
}

func echo(text string) scripted.Part {
	return scripted.Call("bmcp_demo_echo", fmt.Sprintf(`{"text":%q}`, text))
}

// afterTools calls tools first and says text when their results are there.
func afterTools(text string, calls ...scripted.Part) scripted.Script {
	return scripted.Func(func(r scripted.Request) scripted.Answer {
		if len(r.Results()) == 0 {
			return scripted.Say(calls...)
		}
		return scripted.Say(scripted.Text(text))
	})
}

// TestAgenticAcceptance is the acceptance table's second half: what failing keys do to a response that takes more than one turn.
func TestAgenticAcceptance(t *testing.T) {
	eachSpeech(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway, s speech, stream bool) {
		ask := func(t *testing.T) gateway.Response {
			t.Helper()
			gw.Reset(t)
			return s.ask(t, gw, stream, "hi")
		}
		t.Run("happy_path", func(t *testing.T) {
			gw.Provider.Key(poolKeys[0], afterTools("done", echo("mock"))).Key(poolKeys[1], scripted.ServerError(500))
			got := ask(t)
			require.Equal(t, http.StatusOK, got.Status, got.Body)
			require.Contains(t, got.Body, "done")
			require.Equal(t, []string{poolKeys[0], poolKeys[0]}, gw.Provider.Keys())
			require.Equal(t, []string{"valid", "valid"}, gw.States(t, s.provider))
			results := gw.Provider.Requests()[1].Results()
			require.Len(t, results, 1)
			require.Equal(t, "mock", results[0].Text)
			if stream {
				require.Contains(t, got.Body, s.end)
				require.NoError(t, s.check([]byte(got.Body)))
			}
		})
		t.Run("agentic_failover_to_k1", func(t *testing.T) {
			gw.Provider.Key(poolKeys[0], scripted.Seq(scripted.Say(echo("mock")), scripted.RateLimited(5*time.Second))).
				Key(poolKeys[1], afterTools("done", echo("wrong")))
			got := ask(t)
			require.Equal(t, http.StatusOK, got.Status, got.Body)
			require.Contains(t, got.Body, "done")
			require.Equal(t, []string{poolKeys[0], poolKeys[0], poolKeys[1]}, gw.Provider.Keys())
			require.Equal(t, []string{"temporary", "valid"}, gw.States(t, s.provider))
			if stream {
				require.NoError(t, s.check([]byte(got.Body)))
			}
		})
		t.Run("agentic_all_keys_fail", func(t *testing.T) {
			gw.Provider.Key(poolKeys[0], scripted.Seq(scripted.Say(echo("mock")), scripted.RateLimited(5*time.Second))).
				Key(poolKeys[1], scripted.RateLimited(3*time.Second))
			got := ask(t)
			require.Equal(t, []string{poolKeys[0], poolKeys[0], poolKeys[1]}, gw.Provider.Keys())
			require.Equal(t, []string{"temporary", "temporary"}, gw.States(t, s.provider))
			require.Contains(t, got.Body, "all configured keys are rate-limited")
			if stream {
				require.Equal(t, http.StatusOK, got.Status)
				require.Contains(t, got.Body, s.fails)
				return
			}
			require.Equal(t, http.StatusTooManyRequests, got.Status)
			require.Equal(t, "3", got.Header.Get("Retry-After"))
			require.Equal(t, "rate_limited", got.Header.Get("X-Keyturn-Error"))
		})
	})
}
