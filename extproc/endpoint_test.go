package extproc

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/provider"
)

func TestSegments(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/responses?x=/../y":      "v1|responses",
		"//v1///responses/":          "v1|responses",
		"/v1%2Fresponses":            "v1|responses",
		"/v1%252Fresponses":          "v1|responses",
		"/v1/models/org%2Fmodel":     "v1|models|org|model",
		"/v1/responses;a=b/x;c":      "v1|responses|x",
		"/v1\\responses%5cx":         "v1|responses|x",
		"/v1/%zz/100%25":             "v1|%zz|100%",
		"/v1/a..b/...":               "v1|a..b|...",
		"/%20v1%20/x":                "v1|x",
		"":                           "",
		"/":                          "",
		"*":                          "*",
		"/v1/responses#/../../admin": "v1|responses",
		"/v1/a%3fb/c%23d;e":          "v1|a|c",
		"/v1/%ue9/%u00e9/%E2%82%AC":  "v1|%ue9|é|€",
	} {
		got, ok := segments(path)
		require.True(t, ok, path)
		require.Equal(t, want, strings.Join(got, "|"), path)
	}
	for _, path := range []string{
		"/v1/../x", "/v1/./x", "/v1/%2e%2e/x", "/v1/..%2fx", "/v1/x%2f..", "/..;/x", "/v1/..%5cx", "/v1/%252e%252e%252fx", "/v1/x%00", "/v1/%2e%2e%3bx/y", "/v1/.. /x", "/v1/..%20/x",
		"/v1/..%23/x", "/v1/..%3fa/x", "/v1/%c0%ae%c0%ae/x", "/v1/%c1%9cx", "/v1/%e0%80%ae/x", "/v1/%u002e%u002e/x", "/v1/.%09./x", "/v1/ad%0amin", "/v1/\xef\xbc\x8e\xef\xbc\x8e/x", "/v1/%EF%BC%8E%EF%BC%8E%EF%BC%8Fx",
		"/v1/%25252525252525252525252e./x", "/v1/%25%32%65%25%32%65/x", "/v1/%7f", "/v1/a%u002fb%u002f..", "/v1/%ff",
	} {
		_, ok := segments(path)
		require.False(t, ok, path)
	}
}

// ways are spellings of a path that servers take for the same.
func ways(path string) []string {
	all := []string{path, path + "/", path + "/x", path + ";a=b", path + ".json", path + "%20", path + "%2f", strings.ToUpper(path), "/" + path, strings.ReplaceAll(path, "/", "//"), strings.ReplaceAll(path, "_", "-")}
	var escaped strings.Builder
	for _, c := range []byte(path) {
		if c == '/' {
			escaped.WriteString("/")
			continue
		}
		escaped.WriteString("%" + string("0123456789ABCDEF"[c>>4]) + string("0123456789abcdef"[c&15]))
	}
	return append(all, escaped.String(), "/"+strings.ReplaceAll(path[1:], "/", "%2f"), strings.ReplaceAll(path, "/", `\`), strings.Replace(escaped.String(), "%", "%25", 1))
}

// TestReserved: by no spelling does a client get at what mints credentials or manages an organisation.
func TestReserved(t *testing.T) {
	e := newEndpoints("/base/path", nil)
	for _, r := range provider.Reserved {
		require.NotEmpty(t, r.Source)
		for _, lead := range []string{"", "/v1", "/api/v1", "/base/path", "/base/path/v1beta", "/openai/v1", "/openai", "/v1/v1", "/x/v1", "/client/v4"} {
			for _, path := range ways(lead + "/" + strings.ReplaceAll(strings.Join(r.Segments, "/"), "*", "any")) {
				s, ok := segments(path)
				require.False(t, ok && e.serve(s), "%s", path)
			}
		}
	}
	for _, path := range []string{
		"/v1/responses", "/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens", "/v1/files/file-1/content", "/v1/realtime", "/v1/realtime/calls", "/v1/models/keys", "/v1/models/org/admin",
		"/openai/deployments/admin/chat/completions", "/v1beta/models/gemini:generateContent", "/v1/projects/p/locations/l/publishers/google/models/m:generateContent", "/v1/embeddings", "/v1/fine_tuning/jobs",
		"/v1/conversations/organization/items", "/v1/keyswords", "/openai/deployments/v1/chat/completions", "/v1/usages", "/v1/models/v1/chat", "/v1/adminx", "/", "/v1", "/model/m/converse", "/v1/fine_tuning/checkpoints/c",
	} {
		s, ok := segments(path)
		require.True(t, ok && e.serve(s), path)
	}
}

func TestPathsOfAPool(t *testing.T) {
	e := newEndpoints("/api", []string{"/v1/responses", "/v1/files/*/content", "/v1/realtime/client_secrets", "/v1/organization/usage"})
	for path, want := range map[string]bool{
		"/api/v1/responses": true, "/v1/responses": true, "/api/v1/responses/resp_1/cancel": true, "/api/V1/Responses": true, "/api/v1%2fresponses": true, "/api/v1/responses?x": true,
		"/api/v1/responsesx": false, "/api/v1": false, "/api/v1/files/a": false, "/api/v1/files/a/content": true, "/api/v1/realtime": false, "/api/v1/realtime/client_secrets": true,
		"/api/v1/organization": false, "/api/v1/organization/usage/completions": true, "/api/v1/organization/users": false, "/": false, "/api/api/v1/responses": false,
	} {
		s, ok := segments(path)
		require.True(t, ok)
		require.Equal(t, want, e.serve(s), path)
	}
	for _, all := range []string{"/", "/v1", "/*", "/*/*"} {
		s, _ := segments("/v1/realtime/client_secrets")
		require.False(t, newEndpoints("", []string{all}).serve(s), "%s names nothing that is reserved", all)
	}
	for path, right := range map[string]bool{"/v1/responses": true, "/": true, "/v1/files/*/content": true, "v1": false, "": false, "/v1?x": false, "/v1/../x": false, "/v1/fi*": false, "/v1//x": false, "/v1/%66iles": false} {
		require.Equal(t, right, badPath(path) == "", path)
	}
}

// TestPathsAreLinear: what a client writes costs no more than its length.
func TestPathsAreLinear(t *testing.T) {
	e := newEndpoints("/base", []string{"/v1", "/v1/*/x"})
	for _, piece := range []string{"/a", "%2f", "%", "/%2e", ";x", "%25", "/*", "/v1", "\\"} {
		work := func(n int) time.Duration {
			path := "/" + strings.Repeat(piece, n)
			begin := time.Now()
			for range 20 {
				s, _ := segments(path)
				e.serve(s)
				splitQuery(path+"?"+strings.ReplaceAll(path, "/", "&key="), func(string) bool { return false })
			}
			return time.Since(begin)
		}
		work(1000)
		small, large := min(work(1000), work(1000)), min(work(16_000), work(16_000))
		require.Less(t, large, 100*small+100*time.Millisecond, piece)
	}
}
