package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesOfCredentials(t *testing.T) {
	for _, name := range []string{
		"authorization", "Authorization", "X-API-Key", "api-key", "apikey", "x-auth-token", "x-goog-api-key", "Ocp-Apim-Subscription-Key", "cookie",
		"DOCS_TOKEN", "GITHUB_PERSONAL_ACCESS_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "CLIENT_SECRET", "KEY_1", "SECRETS", "x-jwt", "GOOGLE_CREDENTIALS",
	} {
		require.True(t, credentialName.MatchString(name), name)
	}
	for _, name := range []string{
		"x-team", "user-agent", "MAX_TOKENS", "KEYCLOAK_URL", "TOKENIZER", "REGION", "HOME", "x-cookies-allowed", "SECRETARY", "PATH", "keyboard", "",
	} {
		require.False(t, credentialName.MatchString(name), name)
	}
}

func TestHeaderValues(t *testing.T) {
	for _, tc := range []struct{ value, want string }{
		{"Bearer abc", ""},
		{"a=b; c=d", ""},
		{"a\tb", ""},
		{"", "an empty text"},
		{"two\nlines", "more than one line"},
		{"two\r\nlines", "more than one line"},
		{"zero\x00", "a character that no header can carry"},
		{"für", "a character that no header can carry"},
		{" a", "a space at its beginning or end"},
		{"a\t", "a space at its beginning or end"},
		{`"a"`, "in quotes"},
		{`'a'`, "in quotes"},
		{`"`, ""},
	} {
		got := badHeader(tc.value, false)
		require.Contains(t, string(got), tc.want, "%q", tc.value)
		require.Equal(t, tc.want == "", got == "", "%q", tc.value)
	}
}
