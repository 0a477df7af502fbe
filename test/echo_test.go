package test

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/test/gateway"
)

const echoedKey = "sk-echoed-0123456789abcdef"

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
	url := echoing(t)
	gw := gateway.Start(t, gateway.Config{
		Tools: true,
		Pools: []gateway.Pool{
			{Name: "plain", Keys: []string{echoedKey}, Upstream: url, Settings: map[string]any{"tools": nil}},
			{Name: "tools", Keys: []string{echoedKey + "-2"}, Upstream: url},
			{Name: "own", Keys: []string{echoedKey + "-3"}, Upstream: url, Settings: map[string]any{"tools": nil, "byok": "allow"}},
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
					for _, key := range []string{"echoed-0123456789", "the-clients-own-key", base64.StdEncoding.EncodeToString([]byte("user:sk-echoed-01"))[8:]} {
						require.NotContains(t, v, key, name)
					}
				}
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
