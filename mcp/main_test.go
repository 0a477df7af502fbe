package mcp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/mcp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// childEnv makes the test binary an MCP server on stdin and stdout; it holds how that server behaves.
const childEnv = "KEYTURN_TEST_MCP_CHILD"

func TestMain(m *testing.M) {
	if how := os.Getenv(childEnv); how != "" {
		beChild(how)
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	patience = time.Minute
	interval = 5 * time.Millisecond
)

// serve starts a tool server.
func serve(t *testing.T, opts toolserver.Options) *toolserver.Server {
	t.Helper()
	ts := toolserver.New(opts)
	require.NoError(t, ts.Listen("127.0.0.1:0"))
	t.Cleanup(func() { require.NoError(t, ts.Close()) })
	return ts
}

// open makes a catalogue, which is closed at the end of the test.
func open(t *testing.T, cfg mcp.Config) *mcp.Catalogue {
	t.Helper()
	c, err := mcp.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// connected makes a catalogue of one server, named demo, and waits until it is connected.
func connected(t *testing.T, s mcp.Server) *mcp.Catalogue {
	t.Helper()
	s.Name = "demo"
	c := open(t, mcp.Config{Servers: []mcp.Server{s}})
	up(t, c)
	return c
}

// up waits until the server demo has tools.
func up(t *testing.T, c *mcp.Catalogue) {
	t.Helper()
	require.Eventually(t, func() bool { return len(c.Tools(t.Context(), []string{"demo"})) > 0 }, patience, interval)
}

// down waits until it has none.
func down(t *testing.T, c *mcp.Catalogue) {
	t.Helper()
	require.Eventually(t, func() bool { return len(c.Tools(t.Context(), []string{"demo"})) == 0 }, patience, interval)
}

// text calls a tool of the server demo, and returns the text of its answer.
func text(ctx context.Context, c *mcp.Catalogue, tool, args string) (string, error) {
	r, err := c.Call(ctx, "demo", tool, json.RawMessage(args))
	if err != nil {
		return "", err
	}
	if r.IsError || len(r.Content) != 1 {
		return "", fmt.Errorf("IsError %t, %d pieces of content", r.IsError, len(r.Content))
	}
	return r.Content[0].Text, nil
}

// echo has the tool echo answer.
func echo(t *testing.T, c *mcp.Catalogue) {
	t.Helper()
	got, err := text(t.Context(), c, "echo", `{"text":"hello"}`)
	require.NoError(t, err)
	require.Equal(t, "hello", got)
}

// failure returns the Error of a call.
func failure(t *testing.T, err error) *mcp.Error {
	t.Helper()
	var e *mcp.Error
	require.True(t, errors.As(err, &e), "%v", err)
	return e
}

func names(tools []mcp.Tool) (found []string) {
	for _, t := range tools {
		found = append(found, t.Name)
	}
	return found
}
