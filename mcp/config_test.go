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
		{"no name", []mcp.Server{url(mcp.Server{})}, `[0].name: found ""; write a name of at most 32 letters`},
		{"an underscore", []mcp.Server{url(mcp.Server{Name: "a_b"})}, `[0].name: found "a_b"; write a name of at most 32 letters`},
		{"a long name", []mcp.Server{url(mcp.Server{Name: strings.Repeat("a", 33)})}, "write a name of at most 32 letters"},
		{"twice", []mcp.Server{url(mcp.Server{Name: "a"}), url(mcp.Server{Name: "a"})}, `[1].name: the name a is taken by servers[0]`},
		{"nowhere", []mcp.Server{{Name: "a"}}, "[0]: does not say how the server is reached"},
		{"two places", []mcp.Server{url(mcp.Server{Name: "a", Command: []string{"x"}})}, "[0]: names both url and command; keep one"},
		{"a file", []mcp.Server{{Name: "a", URL: "file:///etc"}}, "[0].url: found no address of http or https"},
		{"not a URL", []mcp.Server{{Name: "a", URL: "http://%zz"}}, "[0].url: found no URL"},
		{"a password", []mcp.Server{{Name: "a", URL: "https://me:secret@h/"}}, "[0].url: found credentials in the URL"},
		{"a fragment", []mcp.Server{{Name: "a", URL: "https://h/#x"}}, "[0].url: found a fragment"},
		{"a transport", []mcp.Server{url(mcp.Server{Name: "a", Transport: "grpc"})}, `[0].transport: found "grpc"; write http or sse`},
		{"an environment for nobody", []mcp.Server{url(mcp.Server{Name: "a", Env: []string{"A=b"}})}, "[0].env: belongs to a server with command"},
		{"a header's name", []mcp.Server{url(mcp.Server{Name: "a", Headers: map[string]string{"a b": "secret"}})}, `[0].headers.a b: cannot be the name of a header`},
		{"a header's value", []mcp.Server{url(mcp.Server{Name: "a", Headers: map[string]string{"A": "secret\r\nB: c"}})}, "[0].headers.A: the value here has a line break"},
		{"the protocol's header", []mcp.Server{url(mcp.Server{Name: "a", Headers: map[string]string{"mcp-session-id": "secret"}})}, "[0].headers.mcp-session-id: is a header that the transport sets itself"},
		{"headers for a command", []mcp.Server{{Name: "a", Command: []string{"x"}, Headers: map[string]string{"A": "secret"}}}, "[0].headers: belongs to a server with url"},
		{"a transport for a command", []mcp.Server{{Name: "a", Command: []string{"x"}, Transport: "sse"}}, "[0].transport: belongs to a server with url"},
		{"no program", []mcp.Server{{Name: "a", Command: []string{""}}}, "[0].command: names no program"},
		{"a variable", []mcp.Server{{Name: "a", Command: []string{"x"}, Env: []string{"A=b", "secret"}}}, "[0].env[1]: write NAME=value"},
		{"an empty pattern", []mcp.Server{url(mcp.Server{Name: "a", Allow: []string{""}})}, "[0].allow: found an empty pattern"},
		{"all denied", []mcp.Server{url(mcp.Server{Name: "a", Deny: []string{"**"}})}, "[0].deny: denies every tool"},
		{"a line for a shell", []mcp.Server{{Name: "a", Command: []string{"npx some"}}}, "[0].command: is one word with spaces in it"},
		{"a header twice", []mcp.Server{url(mcp.Server{Name: "a", Headers: map[string]string{"X-A": "secret", "x-a": "secret"}})}, "[0].headers.x-a: is given twice"},
		{"too many tools", []mcp.Server{url(mcp.Server{Name: "a", MaxTools: 10_001})}, "[0].max_tools: found 10001; write at most 10000"},
		{"a slow refresh", []mcp.Server{url(mcp.Server{Name: "a", Refresh: 25 * time.Hour})}, "[0].refresh: found 25h; write at most 24h"},
		{"a large result", []mcp.Server{url(mcp.Server{Name: "a", MaxResultBytes: 1 << 30})}, "[0].max_result_bytes: found 1GiB; write at most 128MiB"},
		{"negative", []mcp.Server{url(mcp.Server{Name: "a", Timeout: -time.Second})}, "[0].timeout: found -1s; write at least 1ms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := mcp.New(mcp.Config{Servers: tc.servers})
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "secret")
		})
	}
	_, err := mcp.New(mcp.Config{Servers: []mcp.Server{{Name: "A"}, {Name: "b", URL: "x"}}})
	require.ErrorContains(t, err, `[0].name: found "A"`)
	require.ErrorContains(t, err, `[0]: does not say how`)
	require.ErrorContains(t, err, `[1].url: found no address`)
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
