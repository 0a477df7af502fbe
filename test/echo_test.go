package test

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/test/gateway"
)

const echoedKey = "sk-echoed-0123456789abcdef"

// originHeaders are what would open the gateway's origin to others, or change it for good.
var originHeaders = map[string]string{
	"Access-Control-Allow-Origin": "https://evil.example", "Access-Control-Allow-Credentials": "true", "Access-Control-Expose-Headers": "*", "Alt-Svc": `h3="evil.example:443"; ma=31536000`,
	"Strict-Transport-Security": "max-age=31536000; includeSubDomains", "Clear-Site-Data": `"*"`, "Public-Key-Pins": "x", "Nel": "{}", "Report-To": "{}", "Set-Cookie": "a=b; Path=/",
	"Service-Worker-Allowed": "/", "Accept-Ch": "Sec-CH-UA",
}

// echoing is a provider that repeats the key, in every header that comes to mind and in its body.
func echoing(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		for _, name := range []string{
			"X-Request-Id", "Request-Id", "Server-Timing", "Www-Authenticate", "X-Echo", "Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key",
			"Proxy-Authorization", "Cookie", "Set-Cookie", "Link", "X-Ratelimit-Reset", "Openai-Organization", "Content-Language", "Trailer-Not",
		} {
			w.Header().Add(name, "the key is "+key+".")
		}
		w.Header().Add("X-Basic", "Basic "+base64.StdEncoding.EncodeToString([]byte("user:"+key)))
		if strings.Contains(key, "echoed") { // the client's own is looked for as it is
			w.Header().Add("X-Escaped", "%73k-"+key[3:])
		}
		w.Header().Add("X-Basic-Bearer", base64.RawURLEncoding.EncodeToString([]byte("Bearer "+key)))
		w.Header().Add("X-Hex", hex.EncodeToString([]byte("Bearer "+key)))
		w.Header().Add("X-Upper", strings.ToUpper(key))
		w.Header().Add("X-Url", url.QueryEscape("Bearer "+key))
		w.Header()["x-"+key] = []string{"it is in the name"}
		for name, value := range originHeaders {
			w.Header().Add(name, value)
		}
		w.Header().Add("X-Twice", "harmless")
		w.Header().Add("X-Twice", key)
		w.Header().Set("X-Kept", "sk-echoed-012345, and no more")
		q := r.URL.Query()
		var status int
		_, _ = fmt.Sscan(q.Get("status"), &status)
		body := fmt.Sprintf(`{"error":{"message":"you sent \"%s\"","type":"invalid_request_error"}}`, key)
		if status == http.StatusOK {
			body = fmt.Sprintf(`{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m","output":[{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"you sent %s","annotations":[]}]}],"tools":[],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}`, key)
		}
		switch q.Get("form") {
		case "stream":
			w.Header().Set("Content-Type", "text/event-stream")
			created := `{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":1,"status":"in_progress","model":"m","output":[]}}`
			text := fmt.Sprintf("event: response.created\ndata: %s\n\nevent: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"you sent %s\"}\n\n"+
				"event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":2,\"response\":%s}\n\n", created, key, body)
			half := strings.Index(text, key) + 5
			_, _ = io.WriteString(w, text[:half])
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond) // the provider's, so that Envoy reads the halves apart
			_, _ = io.WriteString(w, text[half:])
		case "gzip":
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(status)
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, body)
			_ = z.Close()
		case "chunked":
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Trailer", "X-Trailer")
			w.WriteHeader(status)
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, body)
			w.Header().Set("X-Trailer", key)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestAProviderThatEchoesTheKey holds that no client reads a pool's key, where the provider repeats what it was sent.
func TestAProviderThatEchoesTheKey(t *testing.T) {
	t.Parallel()
	provider := echoing(t)
	gw := gateway.Start(t, gateway.Config{
		Tools: true,
		Pools: []gateway.Pool{
			{Name: "plain", Keys: []string{echoedKey}, Upstream: provider, Settings: map[string]any{"tools": nil}},
			{Name: "tools", Keys: []string{echoedKey + "-2"}, Upstream: provider},
			{Name: "own", Keys: []string{echoedKey + "-3"}, Upstream: provider, Settings: map[string]any{"tools": nil, "byok": "allow"}},
		},
		Secrets: []string{"sk-the-clients-own-key"},
	})
	for _, tc := range []struct {
		name, path, own string
		body            bool // it is read
	}{
		{"an answer that is not read", "/plain/v1/embeddings?status=200", "", false},
		{"an error", "/plain/v1/responses?status=400", "", true},
		{"an error, compressed", "/plain/v1/responses?status=400&form=gzip", "", true},
		{"an error without a length", "/plain/v1/responses?status=400&form=chunked", "", true},
		{"a refused key", "/plain/v1/responses?status=403", "", true},
		{"an upload", "/plain/v1/files?status=400", "", true},
		{"an error that is not read", "/plain/v1/responses?status=500", "", false},
		{"trailers", "/plain/v1/responses?status=200&form=chunked", "", false},
		{"whole, with tools", "/tools/v1/responses?status=200", "", true},
		{"whole, with tools, without a length", "/tools/v1/responses?status=200&form=chunked", "", true},
		{"a stream with tools", "/tools/v1/responses?status=200&form=stream", "", true},
		{"an error, with tools", "/tools/v1/responses?status=400", "", true},
		{"the client's own key", "/own/v1/responses?status=200", "sk-the-clients-own-key", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := `{"model":"m","input":"hi"}`
			if strings.Contains(tc.path, "form=stream") {
				body = `{"model":"m","input":"hi","stream":true}`
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gw.URL+tc.path, strings.NewReader(body))
			require.NoError(t, err)
			req.Header.Set("Content-Type", "application/json")
			if tc.own != "" {
				req.Header.Set("Authorization", "Bearer "+tc.own)
			}
			resp := gw.Do(t, req)
			for name, values := range resp.Header {
				for _, v := range values {
					for _, key := range []string{"echoed-0123456789", "ECHOED-0123456789", hex.EncodeToString([]byte("sk-echoed")), base64.StdEncoding.EncodeToString([]byte("Bearer sk-echoed-01"))[12:], "the-clients-own-key", base64.StdEncoding.EncodeToString([]byte("user:sk-echoed-01"))[8:]} {
						require.NotContains(t, v, key, name)
					}
				}
			}
			for name := range resp.Header {
				require.NotContains(t, strings.ToLower(name), "echoed", "in a name")
				require.NotContains(t, originHeaders, name)
			}
			require.Equal(t, "sk-echoed-012345, and no more", resp.Header.Get("X-Kept"), "what holds no key stays")
			if !tc.body {
				return
			}
			require.NotContains(t, resp.Body, echoedKey)
			require.Contains(t, resp.Body, "you sent ")
			if !strings.Contains(tc.path, "form=stream") {
				require.True(t, json.Valid([]byte(resp.Body)), resp.Body)
			}
		})
	}
	require.Positive(t, gw.Metric(t, "keyturn_key_pool_echoes_total", `provider="plain"`, `part="header"`))
	require.Positive(t, gw.Metric(t, "keyturn_key_pool_echoes_total", `provider="tools"`, `part="body"`))
	require.Contains(t, gw.Log(), "the provider's answer holds a key of the pool")
	access, err := os.ReadFile(filepath.Join(gw.Dir, "access.log"))
	require.NoError(t, err)
	require.NotContains(t, string(access), "sk-echoed-0123456789")
}

// TestOwnCredentials: where a pool leaves a client its own credential, an empty one is none, and the gateway's cookies stay with the gateway.
func TestOwnCredentials(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Name: "own", Keys: []string{"sk-pool-of-byok-0001"}, Settings: map[string]any{"byok": "allow"}}}})
	for _, tc := range []struct{ name, header, value, key string }{
		{"empty", "Authorization", "Bearer", "sk-pool-of-byok-0001"},
		{"empty, with a space", "Authorization", "bearer ", "sk-pool-of-byok-0001"},
		{"empty key", "X-Api-Key", " ", "sk-pool-of-byok-0001"},
		{"own", "Authorization", "Bearer sk-the-clients", "sk-the-clients"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			gw.Reset(t)
			gw.Provider.Key("sk-pool-of-byok-0001", good).Key("sk-the-clients", good)
			resp := gw.Do(t, gw.Request(t, http.MethodPost, "/own/v1/embeddings", strings.NewReader(`{}`), tc.header, tc.value, "Cookie", "gw=leaked-cookie"))
			require.Equal(t, http.StatusOK, resp.Status, resp.Body)
			require.Equal(t, []string{tc.key}, gw.Provider.Keys())
			require.Empty(t, gw.Provider.Requests()[0].Header.Get("Cookie"))
		})
	}
}
