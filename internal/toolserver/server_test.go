package toolserver_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/internal/toolserver"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// childEnv makes the test binary the server on stdin and stdout.
const childEnv = "KEYTURN_TEST_TOOLSERVER"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := toolserver.New(toolserver.Options{}).Stdio(context.Background()); err != nil {
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T) *toolserver.Server {
	t.Helper()
	s, err := toolserver.Start("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func connect(t *testing.T, transport sdk.Transport) *sdk.ClientSession {
	t.Helper()
	c, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), transport, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func call(t *testing.T, c *sdk.ClientSession, name string, args string) *sdk.CallToolResult {
	t.Helper()
	r, err := c.CallTool(t.Context(), &sdk.CallToolParams{Name: name, Arguments: json.RawMessage(args)})
	require.NoError(t, err)
	return r
}

// TestTools calls every tool, on every transport, with the SDK's own client.
func TestTools(t *testing.T) {
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	for _, tc := range []struct {
		name      string
		transport func(s *toolserver.Server) sdk.Transport
	}{
		{"streamable HTTP", func(s *toolserver.Server) sdk.Transport {
			return &sdk.StreamableClientTransport{Endpoint: s.URL, HTTPClient: client}
		}},
		{"SSE", func(s *toolserver.Server) sdk.Transport {
			return &sdk.SSEClientTransport{Endpoint: "http://" + s.Addr() + toolserver.SSEPath, HTTPClient: client}
		}},
		{"stdio", func(*toolserver.Server) sdk.Transport {
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), childEnv+"=1")
			return &sdk.CommandTransport{Command: child}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := start(t)
			c := connect(t, tc.transport(s))
			for _, one := range []struct {
				tool, args, want string
				isError          bool
			}{
				{"add", `{"a":1.5,"b":2}`, "3.5", false},
				{"add", `{"a":"x"}`, "the arguments do not fit the tool's schema", true},
				{"weather", `{"city":"Nice"}`, "Nice: sunny, 7 °C", false},
				{"weather", `{"city":""}`, "which city?", true},
				{"echo", `{"text":"hello"}`, "hello", false},
				{"fail", `{"message":"no luck"}`, "no luck", true},
				{"big", `{"bytes":3}`, "xxx", false},
				{"big", `{"bytes":-1}`, "0 to 67108864 bytes", true},
				{"count", `{}`, "1", false},
				{"count", `{}`, "2", false},
				{"sleep", `{"seconds":0.01}`, "awake", false},
			} {
				r := call(t, c, one.tool, one.args)
				require.Equal(t, one.isError, r.IsError, one.tool)
				require.Equal(t, one.want, r.Content[0].(*sdk.TextContent).Text)
			}
			require.Equal(t, "image/png", call(t, c, "image", `{}`).Content[1].(*sdk.ImageContent).MIMEType)
			require.Len(t, call(t, c, "resource", `{}`).Content, 3)
			require.NotNil(t, call(t, c, "structured", `{}`).StructuredContent)
			if tc.name == "stdio" {
				return // the calls are recorded elsewhere
			}
			require.Len(t, s.Calls("count"), 2)
			require.Len(t, s.Calls(""), 14)
			require.JSONEq(t, `{"text":"hello"}`, string(s.Calls("echo")[0].Arguments))
			require.True(t, s.Calls("echo")[0].Done)
		})
	}
}

// TestProgress lets a call tell of its progress, and be cancelled.
func TestProgress(t *testing.T) {
	s := start(t)
	progress := make(chan float64, 100)
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, req *sdk.ProgressNotificationClientRequest) { progress <- req.Params.Progress },
	})
	web := &http.Client{Transport: &http.Transport{}}
	defer web.CloseIdleConnections()
	c, err := client.Connect(t.Context(), &sdk.StreamableClientTransport{Endpoint: s.URL, HTTPClient: web}, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		params := &sdk.CallToolParams{Name: "sleep", Arguments: map[string]any{"seconds": 60}}
		params.SetProgressToken("p")
		_, err := c.CallTool(ctx, params)
		failed <- err
	}()
	require.InDelta(t, 0.25, <-progress, 0)
	require.InDelta(t, 0.5, <-progress, 0)
	cancel()
	require.Error(t, <-failed)
	require.Eventually(t, func() bool { return s.Calls("sleep")[0].Canceled }, time.Second, time.Millisecond)
}

// TestFaults asks plainly, since a client would make something of each.
func TestFaults(t *testing.T) {
	s := start(t)
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	post := func(method string) (status int, body string, err error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader(`{"jsonrpc":"2.0","id":5,"method":"`+method+`"}`))
		require.NoError(t, err)
		resp, err := web.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(data), err
	}
	s.Next(2, toolserver.Fault{Method: "tools/call", Status: 429})
	s.Next(1, toolserver.Fault{HTML: true})
	s.Next(1, toolserver.Fault{Bytes: 10 << 20})
	status, body, err := post("ping")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Contains(t, body, "<!doctype html>")
	status, _, err = post("tools/call")
	require.NoError(t, err)
	require.Equal(t, 429, status)
	_, body, err = post("ping")
	require.NoError(t, err)
	require.True(t, json.Valid([]byte(body)))
	require.Greater(t, len(body), 10<<20)
	s.Next(1, toolserver.Fault{Cut: true})
	_, body, err = post("ping")
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(body, `"resu`), body)
	for _, f := range []toolserver.Fault{{Gone: true}, {Drop: true}} {
		s.Next(1, f)
		_, _, err = post("ping")
		require.Error(t, err)
	}
	s.Heal()
	status, _, err = post("tools/call")
	require.NoError(t, err)
	require.NotEqual(t, 429, status)
}

func TestStartRefuses(t *testing.T) {
	s := start(t)
	_, err := toolserver.Start(s.Addr())
	require.ErrorContains(t, err, "tool server: ")
}
