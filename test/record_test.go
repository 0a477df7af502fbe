package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
	"github.com/keyturn/keyturn/test/sdks"
)

// recorded waits for the records of n requests of a pool that began since then, the oldest first.
func recorded(t *testing.T, gw *gateway.Gateway, pool string, since time.Time, n int) []admin.Turn {
	t.Helper()
	q := url.Values{"pool": {pool}, "from": {since.Format(time.RFC3339Nano)}, "limit": {"1000"}}
	var page struct{ Turns []admin.Turn }
	gw.Eventually(t, fmt.Sprintf("%d records of %s", n, pool), func() bool {
		resp := gw.Admin(t, http.MethodGet, "/api/v1/turns?"+q.Encode())
		require.Equal(t, http.StatusOK, resp.Status, resp.Body)
		require.NoError(t, json.Unmarshal([]byte(resp.Body), &page))
		return len(page.Turns) >= n
	})
	require.Len(t, page.Turns, n)
	slices.Reverse(page.Turns)
	return page.Turns
}

// usageOf is what an SDK's object says was used, in the words of records.
func usageOf(t *testing.T, api string, object []byte) (u admin.Usage) {
	t.Helper()
	var o struct {
		Usage struct {
			InputTokens              int64 `json:"input_tokens"`
			OutputTokens             int64 `json:"output_tokens"`
			CacheReadInputTokens     int64 `json:"cache_read_input_tokens"`
			CacheCreationInputTokens int64 `json:"cache_creation_input_tokens"`
			InputTokensDetails       struct {
				CachedTokens int64 `json:"cached_tokens"`
			} `json:"input_tokens_details"`
			OutputTokensDetails struct {
				ReasoningTokens int64 `json:"reasoning_tokens"`
				ThinkingTokens  int64 `json:"thinking_tokens"`
			} `json:"output_tokens_details"`
			PromptTokens        int64 `json:"prompt_tokens"`
			CompletionTokens    int64 `json:"completion_tokens"`
			PromptTokensDetails struct {
				CachedTokens int64 `json:"cached_tokens"`
			} `json:"prompt_tokens_details"`
			CompletionTokensDetails struct {
				ReasoningTokens int64 `json:"reasoning_tokens"`
			} `json:"completion_tokens_details"`
		} `json:"usage"`
	}
	require.NoError(t, json.Unmarshal(object, &o), "%s", object)
	s := o.Usage
	switch api {
	case "responses":
		u = admin.Usage{Input: s.InputTokens, Output: s.OutputTokens, CacheRead: s.InputTokensDetails.CachedTokens, Reasoning: s.OutputTokensDetails.ReasoningTokens}
	case "chat":
		u = admin.Usage{Input: s.PromptTokens, Output: s.CompletionTokens, CacheRead: s.PromptTokensDetails.CachedTokens, Reasoning: s.CompletionTokensDetails.ReasoningTokens}
	case "messages": // whose input tokens are those that the cache did not have
		u = admin.Usage{Input: s.InputTokens + s.CacheReadInputTokens + s.CacheCreationInputTokens, Output: s.OutputTokens, CacheRead: s.CacheReadInputTokens, CacheWrite: s.CacheCreationInputTokens, Reasoning: s.OutputTokensDetails.ThinkingTokens}
	}
	u.State = "complete"
	return u
}

// TestRecordsAgreeWithSDKs holds that the recorded tokens are what the SDK itself says was used: whole and streamed, where another key served,
// and summed up where Keyturn ran tools.
func TestRecordsAgreeWithSDKs(t *testing.T) {
	sum := map[string]any{"tools": map[string]any{"usage": "sum"}} // as records have it
	gw := gateway.Start(t, gateway.Config{
		Pools: []gateway.Pool{{Provider: "openai", Keys: poolKeys[:2], Settings: sum}, {Provider: "anthropic", Keys: poolKeys[:2], Settings: sum}},
		Tools: true,
	})
	plain := scripted.OK(said).Usage(110, 22).UsageDetails(40, 7)
	scenarios := []struct {
		name   string
		script func()
		turns  int
		tries  int
		calls  int
	}{
		{"one key", func() { gw.Provider.Key(poolKeys[0], plain) }, 1, 1, 0},
		{"another key", func() { gw.Provider.Key(poolKeys[0], scripted.RateLimited(time.Minute)).Key(poolKeys[1], plain) }, 1, 2, 0},
		{"tools", func() {
			gw.Provider.Key(poolKeys[0], scripted.Func(func(r scripted.Request) scripted.Answer {
				if len(r.Results()) == 0 {
					return scripted.Say(echo("one"), echo("two")).Usage(50, 5).UsageDetails(10, 2)
				}
				return plain
			}))
		}, 2, 2, 2},
	}
	names := []string{"openai-go 3", "anthropic-sdk-go 1"}
	if *everySDK {
		names = append(names, "openai-python 3", "openai-node 7", "anthropic-sdk-python 2", "anthropic-sdk-typescript 1")
	}
	for _, c := range sdkClients {
		if !slices.Contains(names, c.Name) {
			continue
		}
		t.Run(strings.ReplaceAll(c.Name, " ", "_"), func(t *testing.T) {
			var client asker = c.in
			if c.in == nil {
				client = sdks.Start(t, c.Client)
			}
			for _, api := range c.apis {
				pool, base := "openai", "/openai/v1"
				if api == "messages" {
					pool, base = "anthropic", "/anthropic"
				}
				for _, mode := range []string{"plain", "stream"} {
					for _, s := range scenarios {
						t.Run(api+" "+mode+" "+s.name, func(t *testing.T) {
							r := sdks.Request{API: api, Mode: mode, BaseURL: gw.URL + base, Key: "sk-any", Model: "gpt-4o-mini", Users: []string{"hi"}}
							if api == "chat" && mode == "stream" && c.Language == sdks.Node { // the others' programs ask for it
								r.Options = map[string]any{"stream_options": map[string]any{"include_usage": true}}
							}
							var reply sdks.Reply
							var got admin.Turn
							for try := 0; try == 0 || got.Ending == "cancelled" && mode == "stream" && try < 5; try++ { // it may hang up before the last byte
								gw.Reset(t)
								s.script()
								since := time.Now()
								reply = client.Ask(t, r)
								require.Nil(t, reply.Error)
								require.Len(t, reply.Answers, 1)
								got = recorded(t, gw, pool, since, 1)[0]
							}
							require.Equal(t, usageOf(t, api, reply.Answers[0].Object), got.Usage, "%+v", got)
							require.Equal(t, "whole", got.Ending)
							require.Empty(t, got.ErrorClass)
							require.Empty(t, got.Missing)
							require.Equal(t, http.StatusOK, got.Status)
							require.Equal(t, mode == "stream", got.Stream)
							require.Equal(t, api, got.Dialect)
							require.Equal(t, "gpt-4o-mini", got.Asked)
							require.Equal(t, s.turns, got.Turns)
							require.Len(t, got.Attempts, s.tries)
							require.Len(t, got.Calls, s.calls)
							require.NotEmpty(t, got.UserAgent)
							require.Positive(t, got.Overhead)
							require.Less(t, got.Overhead, got.Duration)
						})
					}
				}
			}
		})
	}
}

// TestRecordsOfEndings holds that whatever becomes of a request, its record says what is known.
func TestRecordsOfEndings(t *testing.T) {
	gw := gateway.Start(t, gateway.Config{
		Pools: []gateway.Pool{{Provider: "openai", Keys: poolKeys[:2]}, {Provider: "anthropic", Keys: poolKeys[:2]}, {Name: "gone", Upstream: "http://127.0.0.1:1"}},
		Top:   map[string]any{"record": map[string]any{"tell": true}},
	})
	const message = `{"model":"claude-sonnet-4-5","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}`
	one := func(t *testing.T, pool string, since time.Time) admin.Turn { return recorded(t, gw, pool, since, 1)[0] }

	t.Run("cut", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Default(scripted.ResetMidBody(scripted.Chunks(20, 20*time.Millisecond).Usage(110, 22)))
		since := time.Now()
		resp, err := gw.TryDo(gw.Request(t, http.MethodPost, "/anthropic/v1/messages", strings.NewReader(message)))
		require.Error(t, err, "the client sees it: %v", resp)
		got := one(t, "anthropic", since)
		require.Equal(t, "broken", got.Ending)
		require.Contains(t, []string{"provider_reset", "provider_protocol_error"}, got.ErrorClass, "as Envoy calls it")
		require.NotEqual(t, "complete", got.Usage.State)
	})
	t.Run("cancelled", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Default(scripted.HangMidBody(scripted.Chunks(20, 0).Usage(110, 22)))
		since := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := gw.Client.Do(gw.Request(t, http.MethodPost, "/anthropic/v1/messages", strings.NewReader(message)).WithContext(ctx))
		require.NoError(t, err)
		_, err = resp.Body.Read(make([]byte, 1))
		require.NoError(t, err)
		cancel()
		require.NoError(t, resp.Body.Close())
		got := one(t, "anthropic", since)
		require.Equal(t, "cancelled", got.Ending)
		require.Empty(t, got.ErrorClass)
		require.NotEqual(t, "complete", got.Usage.State)
		require.Empty(t, got.Missing)
	})
	t.Run("no key left", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Key(poolKeys[0], scripted.RateLimited(time.Minute)).Key(poolKeys[1], scripted.RateLimited(time.Minute))
		since := time.Now()
		require.Equal(t, http.StatusTooManyRequests, gw.Post(t, "/v1/responses", `{"model":"m"}`).Status)
		got := one(t, "openai", since)
		require.Equal(t, "rate_limit", got.ErrorClass)
		require.Equal(t, "whole", got.Ending, "the provider has answered")
		require.Len(t, got.Attempts, 2)
		require.Equal(t, "turned", got.Attempts[0].Outcome)
		require.Equal(t, "exhausted", got.Attempts[1].Outcome)
		require.Equal(t, 429, got.Attempts[1].Status)
		require.InDelta(t, 60, got.Attempts[1].Wait, 5)
		require.Empty(t, got.Key)

		since = time.Now()
		require.Equal(t, http.StatusTooManyRequests, gw.Post(t, "/v1/responses", `{"model":"m"}`).Status)
		got = one(t, "openai", since)
		require.Equal(t, "refused", got.Ending, "no provider was asked")
		require.Equal(t, "rate_limited", got.ErrorClass)
		require.Zero(t, got.Attempts[0].Status)
	})
	t.Run("provider not there", func(t *testing.T) {
		since := time.Now()
		gw.Post(t, "/gone/v1/responses", `{"model":"m"}`)
		got := one(t, "gone", since)
		require.Equal(t, "refused", got.Ending)
		require.Equal(t, "provider_unreachable", got.ErrorClass)
	})
	t.Run("compressed unasked", func(t *testing.T) {
		gw.Reset(t)
		body := zipped(t, `{"id":"resp_1","object":"response","model":"m","output":[],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}`)
		gw.Provider.Key(poolKeys[0], scripted.Status(200, body).Header("Content-Encoding", "gzip").Header("Content-Type", "application/json"))
		since := time.Now()
		require.Equal(t, http.StatusOK, gw.Post(t, "/v1/responses", `{"model":"m"}`).Status)
		got := one(t, "openai", since)
		require.Contains(t, []string{"unknown", "complete"}, got.Usage.State, "not half")
		if got.Usage.State == "complete" {
			require.EqualValues(t, 3, got.Usage.Input)
		}
	})
	t.Run("what a client learns, and what an operator asks", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Key(poolKeys[0], scripted.RateLimited(time.Minute)).Key(poolKeys[1], good)
		resp := gw.Post(t, "/v1/responses", `{"model":"m"}`, "X-Keyturn-Request", "forged", "X-Keyturn-Id", "forged", "session_id", "conversation-1",
			"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		id := resp.Header.Get("X-Keyturn-Request")
		require.Regexp(t, "^[0-9a-f-]{36}$", id)
		require.Equal(t, "2", resp.Header.Get("X-Keyturn-Attempts"))
		var got admin.Turn
		gw.Eventually(t, "the record of "+id, func() bool {
			a := gw.Admin(t, http.MethodGet, "/api/v1/turns/"+id)
			return a.Status == http.StatusOK && json.Unmarshal([]byte(a.Body), &got) == nil
		})
		require.Equal(t, id, got.ID)
		require.Equal(t, "conversation-1", got.Session)
		require.Equal(t, "0af7651916cd43dd8448eb211c80319c", got.TraceID)
		require.Equal(t, []string{"key0", "key1"}, []string{got.Attempts[0].Key, got.Attempts[1].Key})

		keyturn := func(args ...string) string {
			cmd := exec.CommandContext(t.Context(), gateway.Keyturn(t), append(args, "-c", gw.ConfigFile())...)
			var wrong bytes.Buffer
			cmd.Stderr = &wrong
			out, err := cmd.Output()
			require.NoError(t, err, wrong.String())
			return string(out)
		}
		require.Contains(t, keyturn("turns", "--session", "conversation-1"), id)
		require.Contains(t, keyturn("turns", id), "rate_limit")
		require.Contains(t, keyturn("turns", "--json", id), `"session": "conversation-1"`)
		require.NotContains(t, keyturn("turns", "--session", "another"), id)
		require.Regexp(t, `(?m)^openai +m`, keyturn("spend"))
		require.Contains(t, keyturn("spend", "--json", "--by", "key", "--every", "day"), `"key": "key1"`)
	})
	t.Run("a client's own id is nobody's", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Key(poolKeys[0], good)
		since := time.Now()
		for range 3 {
			gw.Post(t, "/v1/responses", `{"model":"m"}`, "X-Keyturn-Id", "same", "X-Keyturn-Parent", "same", "X-Keyturn-Turn", "2")
		}
		ids := map[string]bool{}
		for _, turn := range recorded(t, gw, "openai", since, 3) {
			require.NotEqual(t, "same", turn.ID)
			require.Equal(t, 1, turn.Attempts[0].Turn)
			ids[turn.ID] = true
		}
		require.Len(t, ids, 3)
	})
}

// TestFollow shows records as they come, and that a stop of keyturn ends who follows.
func TestFollow(t *testing.T) {
	gw := gateway.Start(t, gateway.Config{})
	gw.Provider.Default(good)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gw.AdminURL+"/api/v1/turns?follow&pool=openai", nil)
	require.NoError(t, err)
	resp, err := gw.Client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	events := make(chan string)
	go func() {
		defer close(events)
		var all strings.Builder
		b := make([]byte, 64<<10)
		for {
			n, err := resp.Body.Read(b)
			all.Write(b[:n])
			for strings.Contains(all.String(), "\n\n") {
				event, rest, _ := strings.Cut(all.String(), "\n\n")
				all.Reset()
				all.WriteString(rest)
				events <- event
			}
			if err != nil {
				return
			}
		}
	}()
	require.Equal(t, ": turns follow", <-events)
	gw.Post(t, "/v1/responses", `{"model":"m"}`)
	event := <-events
	require.True(t, strings.HasPrefix(event, "event: turn\ndata: {"), event)
	gw.StopProcessor(t)
	for { // it ends
		if _, more := <-events; !more {
			break
		}
	}
}
