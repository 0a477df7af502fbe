package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// others are the keys of the pools that are fallen back to.
var others = []string{"s0-long-key", "s1-long-key"}

// falling is a gateway whose pools openai and anthropic fall back to second and router, at another provider.
type falling struct {
	*gateway.Gateway
	second *scripted.Provider
}

func startFalling(t *testing.T, cfg gateway.Config, fallback map[string]any) *falling {
	t.Helper()
	f := &falling{second: scripted.New(cfg.Provider)}
	server, err := f.second.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	to := func(name string, models map[string]any) map[string]any {
		all := map[string]any{"to": []string{name}, "models": models}
		for k, v := range fallback {
			all[k] = v
		}
		return map[string]any{"fallback": all, "deadline": "10s"}
	}
	cfg.Pools = []gateway.Pool{
		{Provider: "openai", Keys: poolKeys, Base: "/first", Settings: to("second", map[string]any{"gpt-4o-mini": "my\"deployment\""})},
		{Provider: "anthropic", Keys: poolKeys, Base: "/first", Settings: to("router", map[string]any{"claude-sonnet-4-5": "anthropic/claude"})},
		{Name: "second", Provider: "azure", Keys: others, Upstream: server.URL, Base: "/elsewhere/openai"},
		{Name: "router", Provider: "openrouter", Keys: others, Upstream: server.URL, Base: "/elsewhere/openai"},
	}
	f.Gateway = gateway.Start(t, cfg)
	return f
}

func (f *falling) reset(t *testing.T) {
	t.Helper()
	f.Gateway.Reset(t)
	f.second.Reset()
	for _, k := range poolKeys {
		f.Provider.Key(k, scripted.RateLimited(20*time.Second))
	}
	f.second.Key(others[0], scripted.OK(said)).Key(others[1], scripted.OK(said))
}

// sentOn holds that what the second provider got was for it: nothing in it tells of the first.
func (f *falling) sentOn(t *testing.T, s speech, n int) []scripted.Request {
	t.Helper()
	requests := f.second.Requests()
	require.Len(t, requests, n)
	for _, r := range requests {
		require.Equal(t, "/elsewhere/openai"+s.path, r.Path)
		require.NotContains(t, r.Host, strings.TrimPrefix(f.ProviderURL, "http://"))
		require.Contains(t, []string{`my"deployment"`, "anthropic/claude"}, r.Model)
		require.Contains(t, others, r.Key)
		for name, values := range r.Header {
			require.NotContains(t, strings.ToLower(name), "x-keyturn")
			require.NotContains(t, strings.ToLower(name), "x-envoy")
			for _, v := range values {
				for _, k := range poolKeys {
					require.NotContains(t, v, k)
				}
				require.NotContains(t, v, strings.TrimPrefix(f.ProviderURL, "http://"), name)
				require.NotContains(t, v, "/first")
			}
		}
	}
	return requests
}

// TestFallback holds that what a pool cannot serve goes on with another: its body, its stream, its tools and its later turns.
func TestFallback(t *testing.T) {
	t.Parallel()
	f := startFalling(t, gateway.Config{Tools: true, Provider: scripted.Config{Strict: true}}, nil)
	for _, s := range speeches {
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/stream=%t", s.name, stream), func(t *testing.T) {
				f.reset(t)
				ask := func(t *testing.T, want string) {
					t.Helper()
					got := s.ask(t, f.Gateway, stream, "hi")
					require.Equal(t, http.StatusOK, got.Status, got.Body)
					if stream {
						require.NoError(t, s.check([]byte(got.Body)))
						want = s.end
					}
					require.Contains(t, got.Body, want)
				}
				t.Run("the last key fails", func(t *testing.T) {
					ask(t, said)
					require.Equal(t, poolKeys, f.Provider.Keys())
					require.Equal(t, others[:1], f.second.Keys())
					f.sentOn(t, s, 1)
				})
				t.Run("no key is left on arrival, and one of the others fails", func(t *testing.T) {
					f.Provider.Reset()
					f.second.Reset()
					f.second.Key(others[0], scripted.RateLimited(20*time.Second))
					ask(t, said)
					require.Zero(t, f.Provider.Count())
					f.sentOn(t, s, 2)
				})
				t.Run("tools", func(t *testing.T) {
					f.reset(t)
					f.second.Key(others[0], scripted.Seq(scripted.Say(echo("mock")), scripted.RateLimited(20*time.Second))).
						Key(others[1], afterTools("done", echo("wrong")))
					ask(t, "done")
					require.Equal(t, poolKeys, f.Provider.Keys())
					requests := f.sentOn(t, s, 3)
					require.Equal(t, "mock", requests[2].Results()[0].Text)
				})
				t.Run("the first is overloaded", func(t *testing.T) {
					f.reset(t)
					f.Provider.Key(poolKeys[0], scripted.Overloaded(503))
					ask(t, said)
					require.Equal(t, 1, f.Provider.Count())
					require.Equal(t, "valid", f.States(t, s.provider)[0])
					f.sentOn(t, s, 1)
				})
				t.Run("the first breaks off", func(t *testing.T) {
					f.reset(t)
					f.Provider.Key(poolKeys[0], scripted.ResetNow())
					ask(t, said)
					require.Equal(t, []string{"valid", "valid", "valid"}, f.States(t, s.provider))
					f.sentOn(t, s, 1)
				})
				t.Run("nobody is left", func(t *testing.T) {
					f.reset(t)
					f.second.Key(others[0], scripted.RateLimited(9*time.Second)).Key(others[1], scripted.RateLimited(30*time.Second))
					got := s.ask(t, f.Gateway, stream, "hi")
					require.Equal(t, http.StatusTooManyRequests, got.Status, got.Body)
					require.Equal(t, "9", got.Header.Get("Retry-After"))
					got = s.ask(t, f.Gateway, stream, "hi")
					require.Equal(t, http.StatusTooManyRequests, got.Status, got.Body)
					require.Contains(t, []string{"8", "9"}, got.Header.Get("Retry-After"))
					require.Equal(t, 3, f.Provider.Count())
				})
			})
		}
	}
	for _, reason := range []string{"exhausted", "overloaded", "unreachable"} {
		require.Positive(t, f.Metric(t, "keyturn_fallbacks_total", `provider="openai"`, `reason="`+reason+`"`))
	}

	t.Run("state of the first provider's", func(t *testing.T) {
		f.reset(t)
		got := f.Post(t, "/v1/responses", `{"model":"gpt-4o-mini","input":[{"type":"reasoning","encrypted_content":"abc"}]}`)
		require.Equal(t, http.StatusTooManyRequests, got.Status, got.Body)
		require.Equal(t, "fallback_impossible", got.Header.Get("X-Keyturn-Error"))
		require.NotEmpty(t, got.Header.Get("Retry-After"))
		require.Contains(t, got.Body, "encrypted_content")
		require.Zero(t, f.second.Count())
		got = f.Get(t, "/v1/responses/resp_1")
		require.Equal(t, http.StatusTooManyRequests, got.Status, got.Body)
		require.Zero(t, f.second.Count())
	})
	t.Run("what is of no dialect stays", func(t *testing.T) {
		f.reset(t)
		got := f.Post(t, "/v1/embeddings", `{"model":"gpt-4o-mini","input":"x"}`)
		require.Equal(t, http.StatusTooManyRequests, got.Status, got.Body)
		require.Zero(t, f.second.Count())
	})
	t.Run("forged headers", func(t *testing.T) {
		f.reset(t)
		f.Provider.Key(poolKeys[0], scripted.OK(said).Header("x-keyturn-retry", "1").Header("x-keyturn-cluster", "second").Header("x-envoy-ratelimited", "true"))
		got := f.Post(t, "/v1/responses", `{"model":"gpt-4o-mini","input":"hi"}`, "x-keyturn-pool", "second", "x-keyturn-id", "a", "x-keyturn-cluster", "second",
			"x-envoy-attempt-count", "7", "x-keyturn-retries", "0", "x-envoy-upstream-rq-per-try-timeout-ms", "1", "x-keyturn-turn", "2")
		require.Equal(t, http.StatusOK, got.Status, got.Body)
		require.Zero(t, f.second.Count())
		require.Equal(t, 1, f.Provider.Count())
	})
	t.Run("large bodies, with codings and in chunks", func(t *testing.T) {
		f.reset(t)
		text := strings.Repeat("a word, ", 1<<17)
		want := strings.Replace(fmt.Sprintf(`{"input":%q,"model":"gpt-4o-mini","tool_choice":"none"}`, text), "gpt-4o-mini", `my\"deployment\"`, 1)
		sum := sha256.Sum256([]byte(want))
		body := strings.Replace(want, `my\"deployment\"`, "gpt-4o-mini", 1)
		var packed bytes.Buffer
		w := scripted.Encode("gzip", &packed)
		_, err := w.Write([]byte(body))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		for i, req := range []*http.Request{
			f.Request(t, http.MethodPost, "/v1/responses", strings.NewReader(body)),
			f.Request(t, http.MethodPost, "/v1/responses", struct{ *strings.Reader }{strings.NewReader(body)}),
			f.Request(t, http.MethodPost, "/v1/responses", &packed, "content-encoding", "gzip"),
		} {
			got := f.Do(t, req)
			require.Equal(t, http.StatusOK, got.Status, got.Body)
			r := f.second.Requests()[i]
			require.Equal(t, hex.EncodeToString(sum[:]), r.SHA256)
			require.Empty(t, r.Header.Get("Content-Encoding"))
		}
	})
}

// TestFallbackWait holds that a provider that does not answer in time, or not at all, is left, and that no key is blamed for it.
func TestFallbackWait(t *testing.T) {
	t.Parallel()
	f := startFalling(t, gateway.Config{}, map[string]any{"wait": "300ms", "on": []string{"unreachable"}})
	f.reset(t)
	s := speeches[1]
	for _, hang := range []scripted.Answer{scripted.Hang(), scripted.OK("late").After(2 * time.Second)} {
		f.reset(t)
		f.Provider.Key(poolKeys[0], hang)
		got := s.ask(t, f.Gateway, true, "hi")
		require.Equal(t, http.StatusOK, got.Status, got.Body)
		require.Contains(t, got.Body, s.end)
		require.Equal(t, []string{"valid", "valid", "valid"}, f.States(t, "openai"))
		f.sentOn(t, s, 1)
	}
	// A stream that has begun takes as long as it takes.
	f.reset(t)
	f.Provider.Key(poolKeys[0], scripted.Chunks(4, 200*time.Millisecond))
	got := s.ask(t, f.Gateway, true, "hi")
	require.Equal(t, http.StatusOK, got.Status, got.Body)
	require.Contains(t, got.Body, s.end)
	require.Zero(t, f.second.Count())
	// What is no reason stays.
	f.reset(t)
	got = s.ask(t, f.Gateway, true, "hi")
	require.Equal(t, http.StatusTooManyRequests, got.Status, got.Body)
	require.Zero(t, f.second.Count())
}
