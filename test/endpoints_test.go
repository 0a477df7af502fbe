package test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// endpointKeys are the keys of the pools openai and anthropic.
var endpointKeys = map[string][]string{
	"openai":    {"openai-long-key-0", "openai-long-key-1"},
	"anthropic": {"anthropic-long-key-0", "anthropic-long-key-1"},
}

// TestEndpoints is about what is not one of the three dialects' own requests.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{
		{Keys: endpointKeys["openai"], Groups: []string{"org", "org"}},
		{Name: "sockets", Keys: endpointKeys["openai"], Settings: map[string]any{"websocket": true}},
		{Provider: "anthropic", Keys: endpointKeys["anthropic"]},
	}})
	for _, tc := range []struct {
		name string
		run  func(*testing.T, *gateway.Gateway)
	}{
		{"failover", failoverElsewhere},
		{"exhaustion", exhaustionElsewhere},
		{"gzip", compressedAnswers},
		{"upload", upload},
		{"refused upload", refusedUpload},
		{"download", download},
		{"websocket", webSocket},
	} {
		t.Run(tc.name, func(t *testing.T) {
			gw.Reset(t)
			for _, keys := range endpointKeys {
				gw.Provider.Key(keys[0], good).Key(keys[1], good)
			}
			tc.run(t, gw)
		})
	}
}

func failoverElsewhere(t *testing.T, gw *gateway.Gateway) {
	deleted := scripted.Status(http.StatusOK, `{"deleted":true}`)
	for _, tc := range []struct {
		pool, method, path, body string
		answer                   scripted.Answer
		want                     string // in the body
	}{
		{"openai", "GET", "/v1/models", "", good, `"scripted-1-mini"`},
		{"openai", "HEAD", "/v1/models", "", good, ""},
		{"openai", "GET", "/openai/v1/models/org%2Fmodel?x=1", "", scripted.Status(200, `{"id":"org/model"}`), "org/model"},
		{"openai", "DELETE", "/v1/models/ft:mine", "", deleted, "deleted"},
		{"openai", "POST", "/v1/embeddings", `{"model":"e","input":["a","b"]}`, good, `"embedding"`},
		{"openai", "POST", "/v1/moderations", `{"input":"a"}`, scripted.Status(200, `{"results":[]}`), "results"},
		{"anthropic", "POST", "/v1/messages/count_tokens", `{"model":"m","messages":[]}`, good, "input_tokens"},
		{"anthropic", "GET", "/anthropic/v1/models", "", good, `"has_more"`},
		{"anthropic", "HEAD", "/anthropic/v1/models", "", good, ""},
		{"anthropic", "DELETE", "/anthropic/v1/things/1", "", deleted, "deleted"},
	} {
		for _, failure := range []scripted.Answer{scripted.RateLimited(time.Minute), scripted.EmptyStatus(429), scripted.Unauthorized(), forbidden} {
			t.Run(tc.method+" "+tc.path+" "+failure.String(), func(t *testing.T) {
				gw.Reset(t)
				keys := endpointKeys[tc.pool]
				gw.Provider.Key(keys[0], failure).Key(keys[1], tc.answer)
				headers := []string{}
				if tc.pool == "anthropic" {
					headers = append(headers, "Anthropic-Version", "2023-06-01")
				}
				var body io.Reader
				if tc.body != "" {
					body = strings.NewReader(tc.body)
				}
				resp := gw.Do(t, gw.Request(t, tc.method, tc.path, body, headers...))
				require.Equal(t, http.StatusOK, resp.Status, resp.Body)
				require.Equal(t, keys, gw.Provider.Keys())
				require.Contains(t, resp.Body, tc.want)
				for _, q := range gw.Provider.Requests() {
					require.Equal(t, tc.method, q.Method)
					require.Equal(t, tc.body, string(q.Body), "each attempt has the whole body")
					require.Equal(t, strings.TrimPrefix(tc.path, "/"+tc.pool), q.Path)
				}
			})
		}
	}
}

// exhaustionElsewhere: without a dialect of its own, a path's errors have the form of the pool's provider.
func exhaustionElsewhere(t *testing.T, gw *gateway.Gateway) {
	for _, keys := range endpointKeys {
		for _, key := range keys {
			gw.Provider.Key(key, scripted.RateLimited(time.Minute))
		}
	}
	for _, tc := range []struct {
		path      string
		anthropic bool
	}{
		{"/v1/embeddings", false},
		{"/openai/v1/models", false},
		{"/anthropic/v1/models", true},
		{"/v1/messages/count_tokens", true},
		{"/openai/v1/messages", true}, // the path's dialect comes first
	} {
		resp := gw.Post(t, tc.path, `{}`)
		require.Equal(t, http.StatusTooManyRequests, resp.Status, tc.path)
		require.Equal(t, "60", resp.Header.Get("Retry-After"), tc.path)
		require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
		typ, _, message := problemOf(t, resp.Body, tc.anthropic)
		require.Equal(t, "rate_limit_error", typ)
		require.Contains(t, message, "all configured keys are rate-limited")
	}
	resp := gw.Do(t, gw.Request(t, http.MethodHead, "/v1/models", nil))
	require.Equal(t, http.StatusTooManyRequests, resp.Status)
	require.Empty(t, resp.Body)
}

func compressedAnswers(t *testing.T, gw *gateway.Gateway) {
	zip := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := io.WriteString(w, text)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return b.String()
	}
	zipped := func(status int, text string) scripted.Answer {
		return scripted.Status(status, zip(text)).Header("Content-Encoding", "gzip").Header("Content-Type", "application/json")
	}
	keys := endpointKeys["openai"]
	gw.Provider.Key(keys[0], zipped(401, `{"error":{"code":"invalid_api_key"}}`)).Key(keys[1], zipped(200, `{"ok":true}`))
	resp := gw.Get(t, "/v1/models", "Accept-Encoding", "gzip, br")
	require.Equal(t, keys, gw.Provider.Keys())
	require.Equal(t, "gzip", resp.Header.Get("Content-Encoding"), "what comes encoded all the same passes so")
	require.Equal(t, zip(`{"ok":true}`), resp.Body)
	for _, q := range gw.Provider.Requests() {
		require.Equal(t, []string{"identity"}, q.Header.Values("Accept-Encoding"), "errors are read on every path")
	}

	gw.Provider.Reset()
	resp = gw.Post(t, "/v1/responses", `{}`, "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", resp.Header.Get("Content-Encoding"), "a provider that compresses unasked")
	require.Equal(t, zip(`{"ok":true}`), resp.Body)
	require.Equal(t, []string{"identity"}, gw.Provider.Requests()[0].Header.Values("Accept-Encoding"), "bodies are read")
}

// fileBytes is the size of a file that nobody should hold whole.
const fileBytes = 50 << 20

func upload(t *testing.T, gw *gateway.Gateway) {
	sum := sha256.New()
	_, err := io.Copy(sum, scripted.Content(fileBytes))
	require.NoError(t, err)
	gw.Operate(t, "openai", "key0", "disable")
	before := gw.Metric(t, "process_resident_memory_bytes")
	for _, length := range []int64{fileBytes, -1} { // with a content-length, and in chunks
		gw.Provider.Reset()
		file, client := io.Pipe()
		arrived := make(chan struct{})
		go func() {
			content := scripted.Content(fileBytes)
			_, err := io.CopyN(client, content, 1<<20)
			<-arrived
			if err == nil {
				_, err = io.Copy(client, content)
			}
			client.CloseWithError(err)
		}()
		req := gw.Request(t, http.MethodPost, "/v1/files", file, "Content-Type", "application/octet-stream")
		req.ContentLength = length
		answered := make(chan gateway.Response, 1)
		go func() {
			resp, err := gw.TryDo(req)
			if err != nil {
				resp.Body = err.Error()
			}
			answered <- resp
		}()
		gw.Eventually(t, "the provider reads while the client still sends", func() bool { return gw.Provider.Open() == 1 })
		close(arrived)
		resp := <-answered
		require.Equal(t, http.StatusOK, resp.Status, resp.Body)
		require.Equal(t, endpointKeys["openai"][1:], gw.Provider.Keys())
		q := gw.Provider.Requests()[0]
		require.Equal(t, hex.EncodeToString(sum.Sum(nil)), q.SHA256)
		require.True(t, q.Whole)
		var answer struct{ Bytes int64 }
		require.NoError(t, json.Unmarshal([]byte(resp.Body), &answer))
		require.EqualValues(t, fileBytes, answer.Bytes)
	}
	require.Less(t, gw.Metric(t, "process_resident_memory_bytes")-before, 16e6, "keyturn never sees the file")
}

// refusedUpload: an upload fails over like any other request, unless it is larger than what Envoy can send again.
func refusedUpload(t *testing.T, gw *gateway.Gateway) {
	keys := endpointKeys["openai"]
	for _, length := range []int64{6, -1} {
		gw.Reset(t)
		gw.Provider.Key(keys[0], scripted.RateLimited(time.Minute))
		req := gw.Request(t, http.MethodPost, "/v1/files", io.MultiReader(strings.NewReader("a file")))
		req.ContentLength = length
		resp := gw.Do(t, req)
		require.Equal(t, http.StatusOK, resp.Status, resp.Body)
		require.Equal(t, keys, gw.Provider.Keys())
		require.Equal(t, "a file", string(gw.Provider.Requests()[1].Body))
		require.Equal(t, []string{"temporary", "valid"}, gw.States(t, "openai"))
	}
	gw.Reset(t)
	gw.Provider.Key(keys[0], scripted.Unauthorized())
	req := gw.Request(t, http.MethodPost, "/v1/files", scripted.Content(fileBytes))
	req.ContentLength = fileBytes
	resp := gw.Do(t, req)
	require.Equal(t, http.StatusServiceUnavailable, resp.Status, resp.Body)
	require.Equal(t, "retry_impossible", resp.Header.Get("X-Keyturn-Error"))
	require.Equal(t, keys[:1], gw.Provider.Keys())
	require.Equal(t, []string{"permanent", "valid"}, gw.States(t, "openai"))
	resp = gw.Post(t, "/v1/files", "a file")
	require.Equal(t, http.StatusOK, resp.Status, "the next one has another key")
}

func download(t *testing.T, gw *gateway.Gateway) {
	keys := endpointKeys["openai"]
	before := gw.Metric(t, "process_resident_memory_bytes")
	for _, answer := range []scripted.Answer{scripted.Download(fileBytes), scripted.Download(fileBytes).Chunked()} {
		gw.Reset(t)
		gw.Provider.Key(keys[0], answer)
		resp, err := gw.Client.Do(gw.Request(t, http.MethodGet, "/v1/files/file-1/content", nil))
		require.NoError(t, err)
		got, want := sha256.New(), sha256.New()
		n, err := io.Copy(got, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.EqualValues(t, fileBytes, n)
		_, err = io.Copy(want, scripted.Content(fileBytes))
		require.NoError(t, err)
		require.Equal(t, want.Sum(nil), got.Sum(nil))
		require.Equal(t, keys[:1], gw.Provider.Keys())
	}
	require.Less(t, gw.Metric(t, "process_resident_memory_bytes")-before, 16e6, "keyturn never sees the file")
}

func webSocket(t *testing.T, gw *gateway.Gateway) {
	gw.Operate(t, "openai", "key0", "disable")
	gw.Operate(t, "sockets", "key0", "disable")
	for _, path := range []string{"/v1/responses", "/openai/v1/responses/?model=m"} { // or failing over would end at the handshake
		resp, conn := upgrade(t, gw, path)
		require.Equal(t, http.StatusUpgradeRequired, resp.Status, resp.Body)
		requireGatewayError(t, path, resp, "websocket_off")
		require.NoError(t, conn.Close())
	}
	require.Empty(t, gw.Provider.Requests())
	for _, path := range []string{"/sockets/v1/responses", "/sockets/v1/responses?model=m"} {
		gw.Provider.Reset()
		conn, resp, err := websocket.Dial(t.Context(), gw.URL+path, &websocket.DialOptions{
			HTTPClient: gw.Client, HTTPHeader: http.Header{"Authorization": {"Bearer " + clientKey}, "X-Keyturn-Retry": {"1"}},
		})
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
		conn.SetReadLimit(1 << 20)
		for _, text := range []string{"hello", strings.Repeat("long ", 50_000), `{"type":"response.create"}`} {
			require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(text)))
			_, echo, err := conn.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, text, string(echo))
		}
		require.NoError(t, conn.Close(websocket.StatusNormalClosure, ""))
		require.NoError(t, gw.Provider.WaitIdle(t.Context()))
		require.Equal(t, endpointKeys["openai"][1:], gw.Provider.Keys())
		require.NotContains(t, gw.Provider.Requests()[0].Header, "X-Keyturn-Retry")
	}
}
