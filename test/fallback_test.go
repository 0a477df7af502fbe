package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
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
		maps.Copy(all, fallback)
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

// TestFallbackChain holds that a chain of pools is followed to its end, by requests that a client sends many of at once, by HTTP/1 and HTTP/2, and
// what becomes of it when Keyturn dies in between.
func TestFallbackChain(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gone := "http://" + closed.Addr().String()
	require.NoError(t, closed.Close())
	last := scripted.New(scripted.Config{})
	server, err := last.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	last.Default(scripted.OK(said))
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{
		{Provider: "openai", Keys: poolKeys, Upstream: gone, Settings: map[string]any{
			"byok": map[string]any{"allow": map[string]any{"placeholders": []string{"dummy"}}}, "fallback": map[string]any{"to": []string{"azure"}, "models": map[string]any{"gpt": "my-gpt"}},
		}},
		{Provider: "azure", Keys: poolKeys, Base: "/openai", Settings: map[string]any{"fallback": map[string]any{"to": []string{"local", "groq"}, "models": map[string]any{"my-gpt": "llama"}}}},
		{Name: "local", Provider: "vllm", Keys: []string{}, Upstream: server.URL, Settings: map[string]any{"keys": nil, "fallback": map[string]any{"to": []string{"groq"}, "on": []string{"overloaded"}}}},
		{Provider: "groq", Keys: []string{"g0-long-key"}, Base: "/groq"},
	}})
	reset := func(t *testing.T) {
		t.Helper()
		gw.Reset(t)
		last.Reset()
		gw.Provider.Key("g0-long-key", scripted.OK("from groq"))
		for _, k := range poolKeys {
			gw.Provider.Key(k, scripted.RateLimited(30*time.Second))
		}
	}
	const chat = "/v1/chat/completions"
	body := `{"model":"gpt","messages":[{"role":"user","content":"hi"}]}`

	t.Run("to its end", func(t *testing.T) {
		reset(t)
		got := gw.Post(t, chat, body, "authorization", "Bearer dummy")
		require.Equal(t, http.StatusOK, got.Status, got.Body)
		require.Contains(t, got.Body, said)
		require.Equal(t, poolKeys, gw.Provider.Keys())
		requests := last.Requests()
		require.Len(t, requests, 1)
		require.Equal(t, "llama", requests[0].Model)
		require.Empty(t, requests[0].Key)
		require.Equal(t, chat, requests[0].Path)
		require.Equal(t, "/openai"+chat, gw.Provider.Requests()[0].Path)
		require.Equal(t, "my-gpt", gw.Provider.Requests()[0].Model)
	})
	t.Run("one without keys is overloaded", func(t *testing.T) {
		reset(t)
		last.Default(scripted.Overloaded(503))
		t.Cleanup(func() { last.Default(scripted.OK(said)) })
		got := gw.Post(t, chat, body)
		require.Equal(t, http.StatusOK, got.Status, got.Body)
		require.Contains(t, got.Body, "from groq")
		requests := gw.Provider.Requests()
		require.Equal(t, "/groq"+chat, requests[len(requests)-1].Path)
		require.Equal(t, "llama", requests[len(requests)-1].Model)
	})
	t.Run("a path that names the model", func(t *testing.T) {
		reset(t)
		got := gw.Post(t, "/azure/deployments/my-gpt/chat/completions?api-version=1", `{"messages":[]}`)
		require.Equal(t, http.StatusOK, got.Status, got.Body)
		require.Equal(t, "/deployments/llama/chat/completions?api-version=1", last.Requests()[0].Path)
	})
	t.Run("a client's own key stays", func(t *testing.T) {
		reset(t)
		got := gw.Post(t, chat, body, "authorization", "Bearer sk-own-of-client")
		require.Equal(t, http.StatusServiceUnavailable, got.Status, got.Body)
		require.Equal(t, "provider_unreachable", got.Header.Get("X-Keyturn-Error"))
		require.Zero(t, gw.Provider.Count()+last.Count())
	})
	t.Run("many at once", func(t *testing.T) {
		reset(t)
		plain := new(http.Protocols)
		plain.SetUnencryptedHTTP2(true)
		clients := []*http.Client{gw.Client, {Transport: &http.Transport{Protocols: plain}}}
		failed := make(chan error, 200)
		for i := range 200 {
			req := gw.Request(t, http.MethodPost, chat, strings.NewReader(body))
			go func() {
				resp, err := clients[i%2].Do(req)
				if err == nil {
					b, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK || !strings.Contains(string(b), said) {
						err = fmt.Errorf("%d: %s", resp.StatusCode, b)
					}
				}
				failed <- err
			}()
		}
		for range 200 {
			require.NoError(t, <-failed)
		}
		for _, r := range last.Requests() {
			require.Equal(t, "llama", r.Model)
		}
	})
	t.Run("Keyturn dies while the first is asked", func(t *testing.T) {
		reset(t)
		arrived, release := make(chan struct{}), make(chan struct{})
		gw.Provider.Key(poolKeys[0], scripted.Func(func(scripted.Request) scripted.Answer {
			close(arrived)
			<-release
			return scripted.RateLimited(30 * time.Second)
		}))
		answered := make(chan gateway.Response, 1)
		req := gw.Request(t, http.MethodPost, "/azure"+chat, strings.NewReader(strings.Replace(body, "gpt", "my-gpt", 1)))
		go func() {
			got, _ := gw.TryDo(req)
			answered <- got
		}()
		<-arrived
		gw.KillProcessor(t)
		close(release)
		got := <-answered
		require.NotEqual(t, http.StatusOK, got.Status)
		require.Zero(t, last.Count())
		gw.StartProcessor(t)
		gw.Provider.Key(poolKeys[0], scripted.RateLimited(30*time.Second))
		gw.Eventually(t, "it serves again", func() bool { return gw.Post(t, chat, body).Status == http.StatusOK })
	})
}
