package extproc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWithin holds where a location of the provider's leads through the gateway; "" = it would lead past it.
func TestWithin(t *testing.T) {
	for _, tc := range []struct{ asked, sent, authority, location, want string }{
		{"/openai/v1/x/", "/v1/x/", "api.example.com", "https://api.example.com/v1/x", "/openai/v1/x"},
		{"/openai/v1/x/?a=1", "/v1/x/", "api.example.com", "https://api.example.com/v1/x?b=2#c", "/openai/v1/x?b=2#c"},
		{"/v1/x/", "/v1/x/", "api.example.com", "/v1/x", "/v1/x"},
		{"/openai/v1/x/", "/v1/x/", "api.example.com", "../y", "/openai/v1/y"},
		{"/openai/v1/x/", "/v1/x/", "api.example.com", "?page=2", "/openai/v1/x/?page=2"},
		{"/openai/v1/x", "/base/v1/x", "api.example.com", "/base/v1/y", "/openai/v1/y"},
		{"/openai/v1/x", "/base/v1/x", "api.example.com", "/v1/y", ""},
		{"/openai/v1/x", "/base/v1/x", "api.example.com", "/base2/v1/y", ""},
		{"/database/v1/x", "/base/v1/x", "api.example.com", "/base/v1/y", "/database/v1/y"},
		{"/chat", "/v1/completions", "api.example.com", "/v1/completions/", "/chat/"},
		{"/chat", "/v1/completions", "api.example.com", "/v1/completions", "/chat"},
		{"/openai/v1/x", "/v1/x", "API.example.com:443", "http://api.EXAMPLE.com:80/v1/y", "/openai/v1/y"},
		{"/openai/v1/x", "/v1/x", "127.0.0.1:8000", "http://127.0.0.1:8000/v1/y", "/openai/v1/y"},
		{"/openai/v1/x", "/v1/x", "127.0.0.1:8000", "http://127.0.0.1:8001/v1/y", ""},
		{"/openai/v1/x", "/v1/x", "api.example.com", "//api.example.com/v1/y", "/openai/v1/y"},
		{"/openai/v1/a%2Fb", "/v1/a%2Fb", "api.example.com", "/v1/a%2Fc", "/openai/v1/a%2Fc"},

		{"/openai/v1/x", "/v1/x", "api.example.com", "https://evil.example/v1/x", ""},
		{"/openai/v1/x", "/v1/x", "api.example.com", "//evil.example/v1/x", ""},
		{"/v1/x", "/v1/x", "api.example.com", "https://api.example.com//evil.example/x", ""},
		{"/v1/x", "/v1/x", "api.example.com", "https://api.example.com/.//evil.example/x", ""},
		{"/openai/v1/x", "/v1/x", "api.example.com", "/../../admin", "/openai/admin"},
		{"/openai/v1/x", "/v1/x", "api.example.com", `/\evil.example`, "/openai/%5Cevil.example"},
		{"/openai/v1/x", "/v1/x", "api.example.com", `\\evil.example`, "/openai/v1/%5C%5Cevil.example"},
		{"/openai/v1/x", "/v1/x", "api.example.com", "https://user:pass@api.example.com/v1/x", ""},
		{"/openai/v1/x", "/v1/x", "api.example.com", "ftp://api.example.com/v1/x", ""},
		{"/openai/v1/x", "/v1/x", "api.example.com", "javascript:alert(1)", ""},
		{"/openai/v1/x", "/v1/x", "api.example.com", "https://api.example.com.evil.example/", ""},
		{"/openai/v1/x", "/v1/x", "api.example.com", "https://[::1", ""},
		{"/openai/v1/x", "/v1/x", "", "https:///v1/x", ""},
		{"/openai/v1/x", "/v1/x", "api.example.com", "%zz", ""},
	} {
		x := &exchange{asked: []byte(tc.asked), path: tc.sent, authority: []byte(tc.authority)}
		place, host := x.within(tc.location)
		require.Equal(t, tc.want, place, "%+v", tc)
		require.NotEmpty(t, host)
	}
}
