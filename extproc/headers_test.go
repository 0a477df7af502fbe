package extproc

import (
	"strings"
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

func TestSplitQuery(t *testing.T) {
	for _, tc := range []struct {
		path, clean string
		found       []string
	}{
		{"/v1/x", "/v1/x", nil},
		{"/v1/x?", "/v1/x?", nil},
		{"/v1/x?key=secret", "/v1/x", []string{"secret"}},
		{"/v1/x?a=1&key=secret&b=2", "/v1/x?a=1&b=2", []string{"secret"}},
		{"/v1/x?monkey=1", "/v1/x?monkey=1", nil},
		{"/v1/x?key=a&key=b", "/v1/x", []string{"a", "b"}},
		{"/v1/x?%6bey=secret", "/v1/x", []string{"secret"}},
		{"/v1/x?%6B%65%79=sec%20ret&a", "/v1/x?a", []string{"sec ret"}},
		{"/v1/x?%256bey=secret", "/v1/x", []string{"secret"}},
		{"/v1/x?KEY=secret", "/v1/x", []string{"secret"}},
		{"/v1/x?api-version=1&api-key=secret", "/v1/x?api-version=1", []string{"secret"}},
		{"/v1/x?access_token=secret", "/v1/x", []string{"secret"}},
		{"/v1/x?a=1;key=secret;b=2", "/v1/x?a=1;b=2", []string{"secret"}},
		{"/v1/x?key", "/v1/x", nil},
		{"/v1/x?key=%zz", "/v1/x", []string{"%zz"}},
		{"/v1/x?metadata[key]=a&limit=2", "/v1/x?metadata[key]=a&limit=2", nil},
		{"/v1/x?a=%2&b=+", "/v1/x?a=%2&b=+", nil},
	} {
		clean, found := splitQuery(tc.path, func(string) bool { return false })
		require.Equal(t, tc.clean, clean, tc.path)
		require.Equal(t, tc.found, found, tc.path)
		same, found := splitQuery(tc.path, func(string) bool { return true })
		require.Equal(t, tc.path, same)
		require.Equal(t, tc.found, found, tc.path)
	}
	clean, _ := splitQuery("/x?key=dummy&key=own&a=1", func(c string) bool { return c == "own" })
	require.Equal(t, "/x?key=own&a=1", clean)
}

func TestProtocols(t *testing.T) {
	for _, tc := range []struct {
		header      string
		stay, found string
	}{
		{"realtime", "realtime", ""},
		{"realtime, openai-insecure-api-key.sk-1, openai-beta.realtime-v1", "realtime, openai-beta.realtime-v1", "sk-1"},
		{"realtime,openai-insecure-api-key.a.b-c,openai-organization.org-1,openai-project.p", "realtime", "a.b-c"},
		{"OpenAI-Insecure-API-Key.sk-1", "", "sk-1"},
		{"xai-client-secret.s", "", "s"},
		{"token, abc", "", "abc"},
		{"json, bearer, abc, v2", "json, v2", "abc"},
		{"x-keyturn-key.gw, authorization, bearer, abc", "", "abc"},
		{"token, token, abc, v2", "v2", "abc"},
		{"jwt, abc", "", "abc"},
		{"Access_Token, abc", "", "abc"},
		{"SK-abc, realtime", "realtime", "SK-abc"},
		{"gsk_abc, realtime", "realtime", "gsk_abc"},
		{"base64url.bearer.authorization.k8s.io.abc, v4.channel.k8s.io", "v4.channel.k8s.io", "abc"},
		{"graphql-ws, eyJhbGciOi", "graphql-ws", "eyJhbGciOi"},
		{"realtime, x-keyturn-key.gw-1", "realtime", ""},
		{"", "", ""},
		{" , ,", "", ""},
	} {
		m := &message{headers: []header{{name: []byte("sec-websocket-protocol"), value: []byte(tc.header)}}}
		stay, found := m.protocols(func(string) bool { return false })
		require.Equal(t, tc.stay, strings.Join(stay, ", "), tc.header)
		require.Equal(t, tc.found, strings.Join(found, ", "), tc.header)
	}
	m := &message{headers: []header{
		{name: []byte("sec-websocket-protocol"), value: []byte("realtime, openai-insecure-api-key.own")},
		{name: []byte("sec-websocket-protocol"), value: []byte("openai-organization.org, x-keyturn-key.gw")},
	}}
	stay, found := m.protocols(func(string) bool { return true })
	require.Equal(t, "realtime, openai-insecure-api-key.own, openai-organization.org", strings.Join(stay, ", "), "a client's own stays, and the gateway's does not")
	require.Equal(t, []string{"own"}, found)
}

func TestClientCredential(t *testing.T) {
	b := &bound{byok: true, header: "x-custom-key", placeholders: map[string]bool{"dummy": true}}
	head := func(name, value string) header { return header{name: []byte(name), value: []byte(value)} }
	for _, tc := range []struct {
		headers []header
		want    string
	}{
		{[]header{head("authorization", "Bearer abc")}, "abc"},
		{[]header{head("authorization", "bearer  abc ")}, "abc"},
		{[]header{head("authorization", "Basic dXNlcg==")}, "Basic dXNlcg=="},
		{[]header{head("authorization", "   ")}, ""},
		{[]header{head("x-api-key", "abc")}, "abc"},
		{[]header{head("api-key", "abc")}, "abc"},
		{[]header{head("x-goog-api-key", "abc")}, "abc"},
		{[]header{head("ocp-apim-subscription-key", "abc")}, "abc"},
		{[]header{head("x-custom-key", "abc")}, "abc"},
		{[]header{head("x-other", "abc")}, ""},
		{[]header{head("x-litellm-api-key", "abc")}, ""},
		{[]header{head("authorization", "Bearer dummy"), head("x-api-key", "own")}, "own"},
		{[]header{head("authorization", "Bearer dummy"), head("authorization", "Bearer own")}, "own"},
		{[]header{head("authorization", "Bearer dummy, Bearer own")}, "own"},
		{[]header{head("x-api-key", "dummy"), head("authorization", "bearer dummy")}, ""},
		{[]header{head(":path", "/v1/x?key=own")}, "own"},
		{[]header{head(":path", "/v1/x?%6bey=own")}, "own"},
		{[]header{head(":path", "/v1/x?key=dummy")}, ""},
		{[]header{head("sec-websocket-protocol", "realtime, openai-insecure-api-key.own")}, "own"},
		{[]header{head("sec-websocket-protocol", "realtime, openai-insecure-api-key.dummy")}, ""},
	} {
		require.Equal(t, tc.want, string(b.ownCredential(&message{headers: tc.headers})), "%s", tc.headers)
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
