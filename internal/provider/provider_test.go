package provider

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range All {
		require.Regexp(t, `^[a-z]+$`, p.Name)
		require.False(t, seen[p.Name], p.Name)
		seen[p.Name] = true
		require.True(t, p.Header != "" && p.Header == strings.ToLower(p.Header), p.Name)
		require.NotEmpty(t, p.Telemetry, p.Name)
		require.NotEqual(t, p.Upstream == "", p.Example == "", "%s: an upstream, or an example of one", p.Name)
		u, err := url.Parse(p.Upstream + p.Example)
		require.NoError(t, err)
		require.NotEmpty(t, u.Host, p.Name)
		require.False(t, strings.HasSuffix(u.Path, "/"), p.Name)
		require.NotContains(t, u.Path, "/v1", "%s: clients' own paths begin with it", p.Name)
		for _, d := range p.Dialects {
			known := []string{dialect.Responses.Name(), dialect.Chat.Name(), dialect.Messages.Name()}
			require.Contains(t, known, string(d), p.Name)
		}
		for _, f := range []Failure{p.WrongKey, p.Forbidden, p.Limited} {
			if f.Status == 0 {
				require.Equal(t, Failure{}, f, p.Name)
				continue
			}
			require.GreaterOrEqual(t, f.Status, 400, p.Name)
			require.True(t, json.Valid([]byte(f.Body)), "%s: %s", p.Name, f.Body)
			require.Regexp(t, `^https://`, f.Source, p.Name)
		}
		if !p.Keyless && p.Name != "compatible" {
			require.NotZero(t, p.WrongKey.Status, p.Name)
			require.Equal(t, 429, p.Limited.Status, p.Name)
		}
		of, known := Named(p.Name)
		require.True(t, known)
		require.Equal(t, p, of)
	}
	_, known := Named("other")
	require.False(t, known)
	require.Equal(t, []string{"anthropic"}, Names(func(p Provider) bool { return p.Native(Messages) }))
	require.Equal(t, []string{"ollama", "vllm"}, Names(func(p Provider) bool { return p.Keyless }))
	require.Len(t, Names(nil), len(All))
}

// TestBases holds that an upstream is understood as the provider documents it, and what a client then writes.
func TestBases(t *testing.T) {
	for _, tc := range []struct{ provider, path, trimmed, after string }{
		{provider: "openai", path: "", trimmed: "", after: "/v1"},
		{provider: "openai", path: "/v1", trimmed: "", after: "/v1"},
		{provider: "openai", path: "/proxy/v1", trimmed: "/proxy", after: "/v1"},
		{provider: "anthropic", path: "/v1", trimmed: "", after: ""},
		{provider: "groq", path: "/openai/v1", trimmed: "/openai", after: "/v1"},
		{provider: "gemini", path: "", trimmed: "", after: "/v1beta/openai"},
		{provider: "gemini", path: "/v1beta/openai", trimmed: "/v1beta/openai", after: ""},
		{provider: "azure", path: "", trimmed: "", after: "/openai/v1"},
		{provider: "azure", path: "/openai/v1", trimmed: "/openai", after: "/v1"},
		{provider: "azure", path: "/openai", trimmed: "/openai", after: "/v1"},
		{provider: "compatible", path: "/api/v3", trimmed: "/api/v3", after: "/v1"},
		{provider: "compatible", path: "/xv1", trimmed: "/xv1", after: "/v1"},
	} {
		p, ok := Named(tc.provider)
		require.True(t, ok)
		trimmed := Trimmed(tc.path)
		require.Equal(t, tc.trimmed, trimmed, "%s %s", tc.provider, tc.path)
		require.Equal(t, tc.after, p.After(trimmed), "%s %s", tc.provider, tc.path)
	}
}
