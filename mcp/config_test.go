package mcp_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/mcp"
	"github.com/stretchr/testify/require"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	url := func(s mcp.Server) mcp.Server {
		s.URL = "https://mcp.example/mcp"
		return s
	}
	for _, tc := range []struct {
		name    string
		servers []mcp.Server
		want    string
	}{
		{"no name", []mcp.Server{url(mcp.Server{})}, `servers[0] "": name: a-z, 0-9 and inner hyphens are wanted`},
		{"an underscore", []mcp.Server{url(mcp.Server{Name: "a_b"})}, `servers[0] "a_b": name: a-z, 0-9 and inner hyphens are wanted`},
		{"a long name", []mcp.Server{url(mcp.Server{Name: strings.Repeat("a", 33)})}, "33 bytes, at most 32 are wanted"},
		{"twice", []mcp.Server{url(mcp.Server{Name: "a"}), url(mcp.Server{Name: "a"})}, `servers[1] "a": servers[0] has this name too`},
		{"nowhere", []mcp.Server{{Name: "a"}}, "url or command is needed"},
		{"two places", []mcp.Server{url(mcp.Server{Name: "a", Command: []string{"x"}})}, "url and command exclude each other"},
		{"a file", []mcp.Server{{Name: "a", URL: "file:///etc"}}, "url: http://host or https://host is wanted"},
		{"not a URL", []mcp.Server{{Name: "a", URL: "http://%zz"}}, "url: not a URL"},
		{"a password", []mcp.Server{{Name: "a", URL: "https://me:secret@h/"}}, "url: it holds a credential"},
		{"a fragment", []mcp.Server{{Name: "a", URL: "https://h/#x"}}, "url: it has a fragment"},
		{"a transport", []mcp.Server{url(mcp.Server{Name: "a", Transport: "grpc"})}, `transport: "grpc", want "http" or "sse"`},
		{"an environment for nobody", []mcp.Server{url(mcp.Server{Name: "a", Env: []string{"A=b"}})}, "env: is for command only"},
		{"a header's name", []mcp.Server{url(mcp.Server{Name: "a", Headers: map[string]string{"a b": "secret"}})}, `headers: "a b" is not a header name`},
		{"a header's value", []mcp.Server{url(mcp.Server{Name: "a", Headers: map[string]string{"A": "secret\r\nB: c"}})}, "headers: the value of A has a line break"},
		{"the protocol's header", []mcp.Server{url(mcp.Server{Name: "a", Headers: map[string]string{"mcp-session-id": "secret"}})}, "headers: mcp-session-id belongs to the protocol"},
		{"headers for a command", []mcp.Server{{Name: "a", Command: []string{"x"}, Headers: map[string]string{"A": "secret"}}}, "headers: are for url only"},
		{"a transport for a command", []mcp.Server{{Name: "a", Command: []string{"x"}, Transport: "sse"}}, "transport: is for url only"},
		{"no program", []mcp.Server{{Name: "a", Command: []string{""}}}, "command: the program is empty"},
		{"a variable", []mcp.Server{{Name: "a", Command: []string{"x"}, Env: []string{"A=b", "secret"}}}, "env[1]: NAME=value is wanted"},
		{"an empty pattern", []mcp.Server{url(mcp.Server{Name: "a", Deny: []string{""}})}, "allow, deny: a pattern is empty"},
		{"negative", []mcp.Server{url(mcp.Server{Name: "a", Timeout: -time.Second})}, "negative"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := mcp.New(mcp.Config{Servers: tc.servers})
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "secret")
		})
	}
	_, err := mcp.New(mcp.Config{Servers: []mcp.Server{{Name: "A"}, {Name: "b", URL: "x"}}})
	require.ErrorContains(t, err, `servers[0] "A": name`)
	require.ErrorContains(t, err, `servers[0] "A": url or command`)
	require.ErrorContains(t, err, `servers[1] "b": url`)
}

// TestServerHidesSecrets prints a server in every way.
func TestServerHidesSecrets(t *testing.T) {
	t.Parallel()
	for _, s := range []mcp.Server{
		{Name: "docs", URL: "https://mcp.example/mcp?key=sk-secret", Headers: map[string]string{"Authorization": "Bearer sk-secret"}},
		{Name: "docs", Command: []string{"server", "--token=sk-secret"}, Env: []string{"TOKEN=sk-secret"}},
	} {
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("server", s), slog.Any("servers", []mcp.Server{s}))
		data, err := json.Marshal(s)
		require.NoError(t, err)
		for _, printed := range []string{
			fmt.Sprint(s), fmt.Sprintf("%+v %#v %d %s %q", s, s, s, &s, []mcp.Server{s}), log.String(), string(data),
		} {
			require.NotContains(t, printed, "secret")
			require.Contains(t, printed, "docs")
		}
	}
}
