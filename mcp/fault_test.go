package mcp_test

import (
	"context"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/mcp"
	"github.com/stretchr/testify/require"
)

// kinds are the ways in which a server may speak HTTP.
var kinds = []struct {
	name      string
	opts      toolserver.Options
	transport string
	path      string
}{
	{"sessions", toolserver.Options{}, "", ""},
	{"sessions, JSON", toolserver.Options{JSON: true}, "http", ""},
	{"stateless", toolserver.Options{Stateless: true}, "", ""},
	{"stateless, JSON", toolserver.Options{Stateless: true, JSON: true}, "", ""},
	{"SSE", toolserver.Options{}, "sse", toolserver.SSEPath},
	{"SSE, found out", toolserver.Options{}, "", toolserver.SSEPath},
}

// address returns the URL of a server for one of the kinds.
func address(ts *toolserver.Server, path string) string {
	if path == "" {
		return ts.URL
	}
	return "http://" + ts.Addr() + path
}

// TestFaults has one call answered wrongly, on every transport. Whatever happens, the tool count, which has an effect, runs once at most, the
// tool echo, which only reads, may run again, and the next call works.
func TestFaults(t *testing.T) {
	t.Parallel()
	call := func(f toolserver.Fault) toolserver.Fault {
		f.Method = "tools/call"
		return f
	}
	for _, tc := range []struct {
		name   string
		fault  toolserver.Fault
		stream bool // it makes sense on streamable HTTP only

		want   *mcp.Error // of count; nil: it works
		runs   int        // of count
		reread bool       // echo works
	}{
		{name: "401", fault: call(toolserver.Fault{Status: 401}), runs: 1, reread: true},
		{name: "403", fault: call(toolserver.Fault{Status: 403}), runs: 1, reread: true},
		{name: "404", fault: call(toolserver.Fault{Status: 404}), runs: 1, reread: true},
		{name: "429", fault: call(toolserver.Fault{Status: 429}), want: &mcp.Error{Kind: mcp.HTTP, Status: 429, RetryAfter: 7 * time.Second}},
		{name: "500", fault: call(toolserver.Fault{Status: 500}), want: &mcp.Error{Kind: mcp.HTTP, Status: 500, Ran: true}},
		{name: "503", fault: call(toolserver.Fault{Status: 503}), want: &mcp.Error{Kind: mcp.HTTP, Status: 503, Ran: true}},
		{name: "HTML", fault: call(toolserver.Fault{HTML: true}), stream: true, want: &mcp.Error{Kind: mcp.Protocol, Ran: true}, reread: true},
		{name: "2 MB", fault: call(toolserver.Fault{Bytes: 2 << 20}), stream: true, want: &mcp.Error{Kind: mcp.TooLarge, Ran: true}},
		{name: "cut off", fault: call(toolserver.Fault{Cut: true}), stream: true, want: &mcp.Error{Kind: mcp.Unreachable, Ran: true}, reread: true},
		{name: "closed before", fault: call(toolserver.Fault{Gone: true}), want: &mcp.Error{Kind: mcp.Unreachable, Ran: true}, reread: true},
		{name: "closed after", fault: call(toolserver.Fault{Drop: true}), stream: true, want: &mcp.Error{Kind: mcp.Unreachable, Ran: true}, runs: 1, reread: true},
		{name: "hung", fault: call(toolserver.Fault{Hang: true}), want: &mcp.Error{Kind: mcp.Timeout, Ran: true}},
	} {
		for _, kind := range kinds {
			if tc.stream && kind.path != "" {
				continue
			}
			t.Run(tc.name+"/"+kind.name, func(t *testing.T) {
				t.Parallel()
				ts := serve(t, kind.opts)
				const timeout = 5 * time.Second
				clk := quartz.NewMock(t)
				c := open(t, mcp.At(clk, mcp.Config{Servers: []mcp.Server{{
					Name: "demo", URL: address(ts, kind.path), Transport: kind.transport, Timeout: timeout, MaxResultBytes: 1 << 20,
				}}}))
				up(t, c)
				faulty := func(tool, args string) error {
					ts.Next(1, tc.fault)
					if !tc.fault.Hang {
						_, err := text(t.Context(), c, tool, args)
						return err
					}
					used, failed := ts.Faults()+1, make(chan error, 1)
					go func() {
						_, err := text(context.Background(), c, tool, args)
						failed <- err
					}()
					require.Eventually(t, func() bool { return ts.Faults() == used }, patience, interval)
					clk.Advance(timeout).MustWait(t.Context())
					return <-failed
				}

				err := faulty("count", "")
				if tc.want == nil {
					require.NoError(t, err)
				} else {
					want := *tc.want
					want.Server, want.Tool = "demo", "count"
					require.Equal(t, &want, failure(t, err))
				}
				require.Len(t, ts.Calls("count"), tc.runs)
				got, err := text(t.Context(), c, "count", "")
				require.NoError(t, err)
				require.Equal(t, string(rune('1'+tc.runs)), got)

				err = faulty("echo", `{"text":"hello"}`)
				require.Equal(t, tc.reread, err == nil, "%v", err)
				echo(t, c)
			})
		}
	}
}

// TestForgotten restarts a server in place: it knows no session. The tool has an effect, and still the call is made again.
func TestForgotten(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, kind.opts)
			c := connected(t, mcp.Server{URL: address(ts, kind.path), Transport: kind.transport})
			for n := range 3 {
				got, err := text(t.Context(), c, "count", "")
				require.NoError(t, err)
				require.Equal(t, string(rune('1'+n)), got)
				ts.Forget()
			}
			echo(t, c)
		})
	}
}

// TestRefusedForLong has every request refused for a while: the tools are not offered, the calls say why, and all comes back by itself.
func TestRefusedForLong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault toolserver.Fault
		want  *mcp.Error
	}{
		{"401", toolserver.Fault{Status: 401}, &mcp.Error{Kind: mcp.Refused, Status: 401}},
		{"404", toolserver.Fault{Status: 404}, &mcp.Error{Kind: mcp.NotFound, Status: 404}},
		{"HTML", toolserver.Fault{HTML: true}, &mcp.Error{Kind: mcp.Protocol}},
		{"500", toolserver.Fault{Status: 500}, &mcp.Error{Kind: mcp.HTTP, Status: 500}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, toolserver.Options{})
			ts.Next(1000, tc.fault)
			c := open(t, mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: ts.URL, Transport: "http"}}})
			require.Empty(t, c.Tools(t.Context(), []string{"demo"}))
			_, err := text(t.Context(), c, "count", "")
			want := *tc.want
			want.Server, want.Tool = "demo", "count"
			require.Equal(t, &want, failure(t, err))
			require.Equal(t, tc.want.Kind.String(), c.Status()[0].LastError)
			require.False(t, c.Status()[0].Connected)

			ts.Heal()
			up(t, c)
			echo(t, c)
			require.True(t, c.Status()[0].Connected)
		})
	}
}
