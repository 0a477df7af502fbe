package extproc

import (
	"strings"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/keyturn/keyturn/keypool"
)

func TestPaths(t *testing.T) {
	for _, tc := range []struct {
		path   string
		model  string
		stored bool
	}{
		{"/v1/responses", "", false},
		{"/v1/responses/", "", false},
		{"/v1/responses/resp_1?include=x", "", true},
		{"/v1/responses/resp_1/cancel", "", true},
		{"/v1/chat/completions", "", false},
		{"/v1/chat/completions/chatcmpl-1", "", true},
		{"/v1/messages", "", false},
		{"/v1/messages/batches", "", true},
		{"/v1/messages/count_tokens", "", false},
		{"/v1/files", "", true},
		{"/v1/models/gpt-4o", "", false},
		{"/openai/deployments/gpt-4o/chat/completions?api-version=1", "gpt-4o", false},
		{"/v1beta/models/gemini-pro:generateContent", "gemini-pro", false},
		{"/v1beta/models/a/b:generateContent", "", false},
		{"", "", false},
	} {
		require.Equal(t, tc.model, model(tc.path), tc.path)
		require.Equal(t, tc.stored, stored(tc.path), tc.path)
	}
}

func TestWithoutKey(t *testing.T) {
	for in, want := range map[string]string{
		"/v1/x":                    "/v1/x",
		"/v1/x?key=secret":         "/v1/x",
		"/v1/x?a=1&key=secret&b=2": "/v1/x?a=1&b=2",
		"/v1/x?monkey=1":           "/v1/x?monkey=1",
		"/v1/x?key=a&key=b":        "/v1/x",
	} {
		require.Equal(t, want, withoutKey(in), in)
	}
}

func TestClientCredential(t *testing.T) {
	for _, tc := range []struct{ name, value, want string }{
		{"authorization", "Bearer abc", "abc"},
		{"authorization", "bearer  abc ", "abc"},
		{"authorization", "Basic dXNlcg==", "Basic dXNlcg=="},
		{"authorization", "   ", ""},
		{"x-api-key", "abc", "abc"},
		{"api-key", "abc", "abc"},
		{"x-goog-api-key", "abc", "abc"},
		{"x-other", "abc", ""},
	} {
		m := &message{headers: []header{{name: []byte(tc.name), value: []byte(tc.value)}}}
		require.Equal(t, tc.want, string(m.clientCredential()), "%s: %s", tc.name, tc.value)
	}
}

// FuzzExchange plays any messages in any order: never a panic, at most one reply for each, none after an error or the end, and
// no reply to an answer holds a key.
func FuzzExchange(f *testing.F) {
	f.Add([]byte{0, 2}, "/v1/responses", "429", `{"error":{"code":"insufficient_quota"}}`, "retry-after", "3")
	f.Add([]byte{0, 1, 4, 3}, "/v1/files/x?key=1", "401", "", "upgrade", "websocket")
	f.Add([]byte{10, 12, 3, 3}, "/v1/messages", "400", "[", "content-length", "-1")
	pool, err := keypool.New([]string{"k0-long-key", "k1-long-key"}, quartz.NewReal())
	require.NoError(f, err)
	metrics, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
	require.NoError(f, err)
	pools, err := newPoolSet([]Pool{{Keys: pool, Clusters: []string{"c"}, Header: "authorization", Scheme: "Bearer", Provider: "gemini"}}, metrics)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, order []byte, path, status, body, name, value string) {
		x := &exchange{}
		x.reset(pools, []string{"", promiseBuffered, promiseStreamed}[len(order)%3], defaultMaxBody)
		defer x.finish()
		kinds := []kind{requestHeaders, requestBody, responseHeaders, responseBody, requestTrailers, responseTrailers, unknownMessage}
		for _, o := range order {
			m := &message{
				kind: kinds[int(o>>1)%len(kinds)], end: o&1 == 1, body: []byte(body), cluster: []byte("c"),
				headers: []header{{[]byte(":path"), []byte(path)}, {[]byte(":status"), []byte(status)}, {[]byte(name), []byte(value)}},
			}
			out, _, err := x.handle(m, time.Now())
			if err != nil || x.done {
				break
			}
			if out != nil && m.kind != requestHeaders {
				require.False(t, strings.Contains(string(out.wire), "long-key") && !strings.Contains(path+body+value+name, "long-key"))
			}
		}
	})
}
