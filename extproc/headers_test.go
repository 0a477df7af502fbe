package extproc

import (
	"testing"

	"github.com/stretchr/testify/require"
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

func TestJoined(t *testing.T) {
	m := &message{headers: []header{
		{name: []byte("retry-after"), value: []byte("20")}, {name: []byte("x"), value: []byte("y")}, {name: []byte("retry-after"), value: []byte("40")},
	}}
	require.Equal(t, "20, 40", m.joined("retry-after"))
	require.Equal(t, "y", m.joined("x"))
	require.Empty(t, m.joined("z"))
}
