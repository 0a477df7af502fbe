package test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestKeyless: a pool whose provider needs no key serves, with tools too; no credential reaches the provider, and nothing fails over.
func TestKeyless(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{
		Tools: true,
		Pools: []gateway.Pool{{Name: "local", Provider: "ollama", Settings: map[string]any{"keys": nil}}, {Keys: poolKeys[:1]}},
	})
	ask := func(t *testing.T, path, body string) gateway.Response {
		t.Helper()
		got := gw.Post(t, "/local"+path, body, "Authorization", "Bearer "+clientKey, "X-Api-Key", clientKey, "Openai-Organization", "org")
		for _, r := range gw.Provider.Requests() {
			for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Openai-Organization"} {
				require.Empty(t, r.Header.Values(name), name)
			}
			require.Equal(t, path, r.Path)
		}
		return got
	}
	for _, stream := range []bool{true, false} {
		for _, s := range speeches {
			t.Run(fmt.Sprintf("tool/%s/stream=%t", s.name, stream), func(t *testing.T) {
				gw.Provider.Reset()
				gw.Provider.Default(scripted.Func(func(r scripted.Request) scripted.Answer {
					if len(r.Results()) == 0 {
						return scripted.Say(echo("keyless"))
					}
					return scripted.Say(scripted.Text("done"))
				}))
				got := ask(t, s.path, s.body(stream, "hi"))
				require.Equal(t, http.StatusOK, got.Status, got.Body)
				require.Contains(t, got.Body, "done")
				require.Len(t, gw.Provider.Requests(), 2)
				if stream {
					require.NoError(t, s.check([]byte(got.Body)))
				}
			})
		}
	}
	for _, failure := range []scripted.Answer{scripted.RateLimited(time.Minute), scripted.Status(401, `{"error":"unauthorized"}`)} {
		gw.Provider.Reset()
		gw.Provider.Default(failure)
		for range 2 { // it is nobody's fault, so the next request goes there too
			got := ask(t, "/v1/chat/completions", chatBody(false))
			require.Contains(t, []int{401, 429}, got.Status)
		}
		require.Len(t, gw.Provider.Requests(), 2)
	}
	gw.Provider.Reset()
	gw.Provider.Default(scripted.OK("hello"))
	require.Equal(t, http.StatusOK, gw.Get(t, "/local/v1/models", "Authorization", "Bearer "+clientKey).Status, "other endpoints pass")
	require.Empty(t, gw.Provider.Requests()[0].Header.Values("Authorization"))

	require.Equal(t, http.StatusOK, gw.Admin(t, http.MethodGet, "/readyz").Status)
	require.Equal(t, []string{"valid"}, gw.States(t, "openai"))
	require.Positive(t, gw.Metric(t, "keyturn_attempts_total", `provider="local"`, `outcome="ok"`))
	require.EqualValues(t, 4, gw.Metric(t, "keyturn_attempts_total", `provider="local"`, `outcome="surfaced"`))
	for _, line := range gw.Logged(t, "attempt", 12) {
		require.Equal(t, "local", line["pool"])
		require.NotContains(t, line, "key_name")
	}

	// Keys may come, and go again, while it runs.
	served := func() string {
		gw.Provider.Reset()
		gw.Provider.Default(scripted.OK("hello"))
		require.Equal(t, http.StatusOK, gw.Post(t, "/local/v1/chat/completions", chatBody(false)).Status)
		return gw.Provider.Requests()[0].Header.Get("Authorization")
	}
	gw.WriteKey(t, "local", 0, poolKeys[1])
	changeConfig(t, gw, func(pool map[string]any) { pool["keys"] = []any{map[string]any{"name": "mine", "file": "local-0.key"}} })
	gw.Eventually(t, "the key is used", func() bool { return served() == "Bearer "+poolKeys[1] })
	require.Equal(t, []string{"valid"}, gw.States(t, "local"))
	changeConfig(t, gw, func(pool map[string]any) { delete(pool, "keys") })
	gw.Eventually(t, "it is used no more", func() bool { return served() == "" })
	require.Equal(t, http.StatusNotFound, gw.Admin(t, http.MethodGet, "/api/v1/pools/local").Status, "there is no key to see")
}
