package test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/test/gateway"
)

// leaks is what a client sends that no provider may see, by header. Every value has the word leaked in it.
var leaks = map[string]string{
	"Authorization":       "Bearer leaked-authorization",
	"X-Api-Key":           "leaked-x-api-key",
	"Api-Key":             "leaked-api-key",
	"X-Goog-Api-Key":      "leaked-x-goog-api-key",
	"Proxy-Authorization": "Basic leaked-proxy-authorization",
	"Cookie":              "session=leaked-cookie",

	"Openai-Organization":    "org-leaked",
	"Openai-Project":         "proj_leaked",
	"Anthropic-Workspace-Id": "wrkspc_leaked",

	"X-Keyturn-Turn":    "leaked-turn",
	"X-Keyturn-Cluster": "leaked-cluster",
	"X-Keyturn-Retry":   "leaked-retry",
	"X-Keyturn-Key":     "leaked-key",
	"X-Keyturn-Client":  "leaked-client",
	"X-Keyturn-Pool":    "leaked-pool",
	"X-Keyturn-Id":      "leaked-id",
	"X-Keyturn-Start":   "leaked-start",
	"X-Keyturn-Retries": "leaked-retries",
	"X-Keyturn-Model":   "leaked-model",
	"X-Keyturn-Other":   "leaked-other",

	"X-Envoy-Max-Retries":            "0",
	"X-Envoy-Retry-On":               "leaked-5xx",
	"X-Envoy-Retriable-Header-Names": "leaked-names",
	"X-Envoy-Original-Path":          "/leaked",
	"X-Envoy-Upstream-Alt-Stat-Name": "leaked",
	"X-Envoy-Other":                  "leaked",

	"X-Forwarded-For":         "192.0.2.7",
	"X-Forwarded-Host":        "leaked.example",
	"X-Forwarded-Proto":       "https",
	"X-Forwarded-Client-Cert": "By=leaked",
	"X-Forwarded-Other":       "leaked",
	"X-Request-Id":            "leaked-request-id",
}

// requireKept fails when something that is the client's or the gateway's own business has reached the provider.
func requireKept(t *testing.T, q scripted.Request, credentialHeader string) {
	t.Helper()
	require.NotContains(t, q.Path, "leaked")
	for name, values := range q.Header {
		require.NotRegexp(t, "^X-(Keyturn|Envoy|Forwarded)-", name)
		for _, v := range values {
			require.NotContains(t, v, "leaked", name)
		}
		if leaks[name] != "" {
			require.Equal(t, credentialHeader, name)
			require.Len(t, values, 1)
		}
	}
}

// requireHidden fails when a client was told something about the account behind a key, or about Keyturn.
func requireHidden(t *testing.T, h http.Header) {
	t.Helper()
	for name := range h {
		require.NotRegexp(t, "(?i)^(set-cookie|x-keyturn-.*|.*organization.*|openai-project)$", name)
		require.False(t, wire.IsLimit([]byte(strings.ToLower(name))), name)
	}
}

func secretKeys(pool string) []string {
	return []string{"sk-" + pool + "-0-secret-0001", "sk-" + pool + "-1-secret-0002"}
}

// secrecyPools are pools of four providers, with keys of their own. A key that was limited is back at once.
func secrecyPools() []gateway.Pool {
	var pools []gateway.Pool
	for _, p := range []gateway.Pool{
		{Name: "openai"},
		{Name: "anthropic", Provider: "anthropic"},
		{Name: "azure", Provider: "azure"},
		{Name: "gemini", Provider: "gemini"},
		{Name: "kept", Settings: map[string]any{"keep_ratelimit_headers": true}},
		{Name: "own", Settings: map[string]any{"byok": "allow"}},
	} {
		p.Keys = secretKeys(p.Name)
		if p.Settings == nil {
			p.Settings = map[string]any{}
		}
		p.Settings["cooldown"] = map[string]any{"default": "1ms", "min": "1ms"}
		pools = append(pools, p)
	}
	return pools
}

func TestSecrecy(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Pools: secrecyPools(), Secrets: []string{"leaked-authorization", "leaked-x-api-key", "leaked-proxy-authorization", "leaked-query"}})
	for _, p := range []string{"openai", "anthropic", "azure", "gemini", "kept", "own"} {
		gw.Provider.Key(secretKeys(p)[0], scripted.RateLimited(time.Millisecond)).Key(secretKeys(p)[1], good)
	}
	t.Run("requests", func(t *testing.T) { secrecyOfRequests(t, gw) })
	t.Run("pools", func(t *testing.T) { secrecyOfPools(t, gw) })
	t.Run("responses", func(t *testing.T) { secrecyOfResponses(t, gw) })
	t.Run("forged retries", func(t *testing.T) { forgedRetries(t, gw) })
	t.Run("byok", func(t *testing.T) { secrecyOfOwnKeys(t, gw) })

	// EnvoyAdmin, Metrics and Admin look for the keys themselves; the end of the gateway looks into the logs.
	require.Contains(t, gw.EnvoyAdmin(t, "/config_dump"), "keyturn-processor")
	gw.EnvoyAdmin(t, "/stats")
	gw.EnvoyAdmin(t, "/clusters")
	gw.Metrics(t)
	gw.Admin(t, http.MethodGet, "/api/v1/pools")
	gw.Eventually(t, "records", func() bool { return strings.Contains(gw.Admin(t, http.MethodGet, "/api/v1/turns").Body, `"id"`) })
	for _, path := range []string{"/api/v1/turns?limit=1000", "/api/v1/spend?by=client,session,model,key"} {
		records := gw.Admin(t, http.MethodGet, path)
		require.Equal(t, http.StatusOK, records.Status, records.Body)
		for _, secret := range []string{"leaked-authorization", "leaked-x-api-key", "leaked-api-key", "leaked-x-goog", "leaked-cookie", "leaked-proxy", "leaked-query", "leaked-client"} {
			require.NotContains(t, records.Body, secret, path)
		}
	}
	b, err := os.ReadFile(filepath.Join(gw.Dir, "access.log"))
	require.NoError(t, err)
	require.NotContains(t, string(b), "leaked")
}

func secrecyOfRequests(t *testing.T, gw *gateway.Gateway) {
	headers := []string{"User-Agent", "test/1", "Idempotency-Key", "kept", "Session_id", "kept", "Accept", "*/*"}
	for name, value := range leaks {
		headers = append(headers, name, value)
	}
	for _, tc := range []struct{ pool, method, path, providerPath, header, credential string }{
		{"openai", "POST", "/openai/v1/responses?x=1", "/v1/responses?x=1", "Authorization", "Bearer %s"},
		{"openai", "POST", "/v1/chat/completions", "/v1/chat/completions", "Authorization", "Bearer %s"},
		{"openai", "GET", "/v1/models", "/v1/models", "Authorization", "Bearer %s"},
		{"anthropic", "POST", "/v1/messages", "/v1/messages", "X-Api-Key", "%s"},
		{"azure", "POST", "/azure/openai/deployments/d/chat/completions?api-version=1", "/openai/deployments/d/chat/completions?api-version=1", "Api-Key", "%s"},
		{"gemini", "POST", "/gemini/v1beta/openai/chat/completions?key=leaked-query&x=1", "/v1beta/openai/chat/completions?x=1", "Authorization", "Bearer %s"},
		{"gemini", "POST", "/gemini/v1beta/openai/chat/completions?key=leaked-query", "/v1beta/openai/chat/completions", "Authorization", "Bearer %s"},
		{"openai", "POST", "/openai/v1/files", "/v1/files", "Authorization", "Bearer %s"},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			gw.Reset(t)
			body := `{"model":"m","messages":[],"max_tokens":1}`
			if tc.method == http.MethodGet {
				body = ""
			}
			gw.Do(t, gw.Request(t, tc.method, tc.path, strings.NewReader(body), headers...))
			got := gw.Provider.Requests()
			require.Equal(t, secretKeys(tc.pool)[:len(got)], gw.Provider.Keys())
			if tc.providerPath == "/v1/files" { // it stays with the first key's organisation
				require.Len(t, got, 1)
			} else {
				require.Len(t, got, 2)
			}
			for _, q := range got {
				requireKept(t, q, tc.header)
				require.Equal(t, tc.providerPath, q.Path)
				require.Equal(t, fmt.Sprintf(tc.credential, q.Key), q.Header.Get(tc.header))
				names := slices.Sorted(maps.Keys(q.Header))
				names = slices.DeleteFunc(names, func(n string) bool { return n == "Content-Length" || n == "Accept-Encoding" })
				want := []string{"Accept", "Content-Type", "Idempotency-Key", "Session_id", "User-Agent", tc.header}
				slices.Sort(want)
				require.Equal(t, want, names, "what a provider gets beside the client's own")
			}
		})
	}
}

// secrecyOfPools: whatever turns at the same time, a pool's requests carry that pool's keys.
func secrecyOfPools(t *testing.T, gw *gateway.Gateway) {
	gw.Reset(t)
	const each, workers = 10, 4
	pools := []string{"openai", "anthropic", "azure", "gemini"}
	failed := make(chan error, len(pools)*workers*each)
	var work sync.WaitGroup
	for _, pool := range pools {
		for range workers {
			work.Go(func() {
				for range each {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gw.URL+"/"+pool+"/v1/chat/completions",
						strings.NewReader(`{"model":"`+pool+`","messages":[]}`))
					if err == nil {
						var resp gateway.Response
						if resp, err = gw.TryDo(req); err == nil && resp.Status != http.StatusOK {
							err = fmt.Errorf("%s: %d %s", pool, resp.Status, resp.Body)
						}
					}
					if err != nil {
						failed <- err
					}
				}
			})
		}
	}
	work.Wait()
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
	turned := 0
	for _, q := range gw.Provider.Requests() {
		require.Contains(t, secretKeys(q.Model), q.Key)
		if q.Key == secretKeys(q.Model)[0] {
			turned++
		}
	}
	require.Greater(t, turned, each, "the keys were turned all the while")
}

func secrecyOfResponses(t *testing.T, gw *gateway.Gateway) {
	tell := func(a scripted.Answer) scripted.Answer {
		return a.HeaderExtra().Forged().Header("X-Keyturn-Error", "forged").Header("X-Keyturn-Turn", "forged").Header("X-Keyturn-Other", "forged").
			Header("X-Keyturn-Used-Name", "forged").Header("X-Keyturn-Used-Key", "forged").Header("X-Keyturn-Used-Pool", "forged")
	}
	for _, tc := range []struct {
		name, method, path, body string
		answer                   scripted.Answer
		status                   int
	}{
		{"whole", "POST", "/v1/responses", `{"model":"m"}`, good, 200},
		{"stream", "POST", "/v1/responses", `{"model":"m","stream":true}`, good, 200},
		{"messages", "POST", "/v1/messages", `{"model":"m"}`, good, 200},
		{"no dialect", "GET", "/v1/models", "", good, 200},
		{"caller's fault", "POST", "/v1/responses", `{}`, scripted.Fail(scripted.Problem{Status: 400, Type: "invalid_request_error", Message: "no"}), 400},
		{"not found", "GET", "/v1/responses/resp_1", "", scripted.Status(404, `{}`), 404},
		{"server error", "POST", "/v1/chat/completions", `{}`, scripted.ServerError(500), 500},
		{"upload", "POST", "/v1/files", `x`, good, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			gw.Reset(t)
			for _, pool := range []string{"openai", "anthropic"} {
				gw.Provider.Key(secretKeys(pool)[0], tell(tc.answer))
			}
			resp := gw.Do(t, gw.Request(t, tc.method, tc.path, strings.NewReader(tc.body)))
			require.Equal(t, tc.status, resp.Status, resp.Body)
			requireHidden(t, resp.Header)
			require.Equal(t, "42", resp.Header.Get("Openai-Processing-Ms"), "what tells nothing passes")
			require.NotEmpty(t, resp.Header.Get("X-Request-Id")+resp.Header.Get("Request-Id"))
			require.Regexp(t, "^req_", resp.Header.Get("X-Request-Id")+resp.Header.Get("Request-Id"), "the provider's own")
			require.Equal(t, 1, gw.Provider.Count())
		})
	}

	t.Run("exhausted", func(t *testing.T) {
		gw.Reset(t)
		for _, key := range secretKeys("openai") {
			gw.Provider.Key(key, tell(scripted.RateLimited(time.Minute)))
		}
		resp := gw.Post(t, "/v1/responses", `{}`)
		require.Equal(t, http.StatusTooManyRequests, resp.Status)
		require.Equal(t, []string{"rate_limited"}, resp.Header.Values("X-Keyturn-Error"), "Keyturn's own")
		resp.Header.Del("X-Keyturn-Error")
		requireHidden(t, resp.Header)
		require.Equal(t, 2, gw.Provider.Count(), "x-envoy-ratelimited did not keep the first from being turned")
	})

	t.Run("limits kept", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Key(secretKeys("kept")[0], tell(good))
		resp := gw.Post(t, "/kept/v1/responses", `{}`)
		require.Equal(t, "9999", resp.Header.Get("X-Ratelimit-Remaining-Requests"))
		require.Equal(t, "49", resp.Header.Get("Anthropic-Ratelimit-Requests-Remaining"))
		for name := range resp.Header {
			if strings.HasPrefix(name, "X-Ratelimit-") || strings.HasPrefix(name, "Anthropic-Ratelimit-") {
				resp.Header.Del(name)
			}
		}
		requireHidden(t, resp.Header)
	})
}

// forgedRetries: neither a client nor a provider can make Envoy try again, or keep it from that.
func forgedRetries(t *testing.T, gw *gateway.Gateway) {
	for _, tc := range []struct {
		name   string
		answer scripted.Answer
		hits   int
	}{
		{"on a good answer", good.Header("X-Keyturn-Retry", "1"), 1},
		{"on a stream", scripted.Chunks(3, 0).Header("X-Keyturn-Retry", "1"), 1},
		{"on a server error", scripted.ServerError(500).Header("X-Keyturn-Retry", "1"), 1},
		{"on an empty answer", scripted.EmptyStatus(503).Header("X-Keyturn-Retry", "1"), 1},
		{"twice", good.Header("X-Keyturn-Retry", "1").Header("X-Keyturn-Retry", "2"), 1},
		{"against a turn", scripted.RateLimited(time.Minute).Header("X-Envoy-Ratelimited", "true").Header("X-Keyturn-Retry", "0"), 2},
	} {
		for _, pool := range []string{"openai", "own"} {
			t.Run(tc.name+" "+pool, func(t *testing.T) {
				gw.Reset(t)
				gw.Provider.Key(secretKeys(pool)[0], tc.answer).Key(secretKeys(pool)[1], good).Key("own-key", tc.answer)
				headers, keys := []string{"X-Keyturn-Retry", "1", "X-Keyturn-Turn", "2", "X-Keyturn-Cluster", "anthropic"}, secretKeys(pool)[:tc.hits]
				if pool == "own" {
					headers, keys = append(headers, "Authorization", "Bearer own-key"), []string{"own-key"}
				}
				resp := gw.Post(t, "/"+pool+"/v1/responses", `{"stream":true}`, headers...)
				require.Equal(t, keys, gw.Provider.Keys())
				require.Empty(t, resp.Header.Values("X-Keyturn-Retry"))
				lines := gw.Logged(t, "attempt", 1)
				require.NotContains(t, lines[len(lines)-1], "turn")
			})
		}
	}
}

// secrecyOfOwnKeys: a client's own key passes to the provider, what belongs to the gateway does not.
func secrecyOfOwnKeys(t *testing.T, gw *gateway.Gateway) {
	gw.Reset(t)
	gw.Provider.Key("own-key", good.Header("X-Keyturn-Error", "forged").Header("X-Keyturn-Other", "forged"))
	headers := []string{}
	for name, value := range leaks {
		if strings.HasPrefix(name, "X-") && name != "X-Api-Key" && name != "X-Goog-Api-Key" {
			headers = append(headers, name, value)
		}
	}
	since := time.Now()
	resp := gw.Post(t, "/own/v1/responses", `{}`, append(headers, "Authorization", "Bearer own-key")...)
	require.Equal(t, http.StatusOK, resp.Status)
	requireHidden(t, resp.Header)
	require.Len(t, gw.Provider.Requests(), 1)
	requireKept(t, gw.Provider.Requests()[0], "Authorization")
	require.Equal(t, "Bearer own-key", gw.Provider.Requests()[0].Header.Get("Authorization"))
	require.Regexp(t, "^byok:[0-9a-f]{32}$", recorded(t, gw, "own", since, 1)[0].Client, "a client without a name is known by its credential's fingerprint")
}

// TestSecrecyWithoutTheFilter: without Keyturn's filter no request finds a provider, whatever cluster the client names.
func TestSecrecyWithoutTheFilter(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Pools: secrecyPools()[:2], Edit: func(rendered []byte) []byte {
		var doc any
		require.NoError(t, yaml.Unmarshal(rendered, &doc))
		require.Equal(t, 1, removeKeyturn(doc))
		edited, err := yaml.Marshal(doc)
		require.NoError(t, err)
		return edited
	}})
	gw.Provider.Default(good)
	for _, path := range []string{"/v1/responses", "/openai/v1/files", "/v1/messages", "/anthropic/v1/models"} {
		resp := gw.Post(t, path, `{}`, "Authorization", leaks["Authorization"], "X-Keyturn-Cluster", "openai")
		require.GreaterOrEqual(t, resp.Status, 400)
	}
	require.Zero(t, gw.Provider.Count())
}

// removeKeyturn removes Keyturn's filter from the lists of filters that have it, and returns from how many.
func removeKeyturn(v any) int {
	n := 0
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			n += removeKeyturn(e)
		}
	case map[string]any:
		for k, e := range v {
			if filters, ok := e.([]any); ok && k == "http_filters" {
				v[k] = slices.DeleteFunc(filters, func(f any) bool {
					is := f.(map[string]any)["name"] == "keyturn"
					if is {
						n++
					}
					return is
				})
				continue
			}
			n += removeKeyturn(e)
		}
	}
	return n
}
