package mcp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/mcp"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
)

const (
	ledgerEnv = "KEYTURN_TEST_LEDGER"
	secretEnv = "KEYTURN_TEST_PROVIDER_KEY"
	givenEnv  = "KEYTURN_TEST_GIVEN"
)

// beChild is the test binary as an MCP server.
func beChild(how string) {
	s := toolserver.New(toolserver.Options{})
	switch how {
	case "deaf": // it never reads
		select {}
	case "mortal": // its tools end it
		mortal()
		return
	case "stubborn": // it does not end when it should
		signal.Ignore(syscall.SIGTERM)
		defer func() { select {} }()
	case "noisy":
		fmt.Println("Welcome to the server!")
		_, _ = io.WriteString(os.Stderr, strings.Repeat("starting\n", 1_000_000))
		for _, line := range []string{`[MCP] listening`, `{ id: 7, level: 'info' }`, `{"level":"info"}`, `[{"jsonrpc":"2.0","method":"ping","id":1}]`, ``, `"text"`, `7`} {
			fmt.Println(line)
		}
	case "first initialize", "refuses initialize", "pings", "poor", "parent", "large": // see raw_test.go
		rawChild(how)
		return
	case "environment":
		s.Add("secret_"+os.Getenv(secretEnv), "")
		s.Add("given_"+os.Getenv(givenEnv), "")
	}
	s.Add("pid_"+strconv.Itoa(os.Getpid()), "")
	if err := s.Stdio(context.Background()); err != nil {
		log.Print(err)
	}
}

// mortal serves a tool that writes a line into a file and dies before it answers, and one that stops the process.
func mortal() {
	s := sdk.NewServer(&sdk.Implementation{Name: "mortal", Version: "1"}, nil)
	tool := func(name string) *sdk.Tool {
		return &sdk.Tool{Name: name, InputSchema: json.RawMessage(`{"type":"object"}`)}
	}
	s.AddTool(tool("pid_"+strconv.Itoa(os.Getpid())), nil)
	s.AddTool(tool("freeze"), func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {}
	})
	s.AddTool(tool("work"), func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		f, err := os.OpenFile(os.Getenv(ledgerEnv), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.WriteString("ran\n")
		}
		if err != nil {
			log.Print(err)
		}
		os.Exit(3)
		return nil, nil
	})
	_ = s.Run(context.Background(), &sdk.StdioTransport{})
}

// child is the configuration of such a server.
func child(how string, env ...string) mcp.Server {
	return mcp.Server{Command: []string{os.Args[0]}, Env: append(env, childEnv+"="+how, "GORACE=atexit_sleep_ms=0")}
}

// pid returns the process that serves.
func pid(t *testing.T, c *mcp.Catalogue) int {
	t.Helper()
	for _, name := range names(c.Tools(t.Context(), []string{"demo"})) {
		if digits, ok := strings.CutPrefix(name, "pid_"); ok {
			n, err := strconv.Atoi(digits)
			require.NoError(t, err)
			return n
		}
	}
	return 0
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, patience, interval)
}

func TestChild(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"tools", "noisy"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := connected(t, child(how))
			echo(t, c)
			process := pid(t, c)
			require.NoError(t, c.Close())
			gone(t, process)
		})
	}
}

func TestChildKilled(t *testing.T) {
	t.Parallel()
	c := connected(t, child("tools"))
	first := pid(t, c)
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	require.Eventually(t, func() bool { p := pid(t, c); return p != 0 && p != first }, patience, interval)
	echo(t, c)
	gone(t, first)
}

// TestChildDiesInCall lets the server die while its tool runs. The tool has an effect, so it must not run again.
func TestChildDiesInCall(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/ledger"
	c := connected(t, child("mortal", ledgerEnv+"="+file))
	for n := 1; n <= 3; n++ {
		up(t, c)
		_, err := text(t.Context(), c, "work", "")
		require.Equal(t, &mcp.Error{Kind: mcp.Unreachable, Server: "demo", Tool: "work", Ran: true, Program: "ended: exit status 3"}, failure(t, err))
		ran, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("ran\n", n), string(ran))
	}
}

// TestChildHung has a process that neither reads nor ends.
func TestChildHung(t *testing.T) {
	t.Parallel()
	const timeout = 5 * time.Second
	clk := quartz.NewMock(t)
	s := child("mortal")
	s.Name, s.Timeout = "demo", timeout
	c := open(t, mcp.At(clk, mcp.Config{Servers: []mcp.Server{s}}))
	up(t, c)
	first := pid(t, c)
	trap := clk.Trap().AfterFunc("timeout")
	defer trap.Close()
	hang := func(tool, args string, hung func() bool) *mcp.Error {
		t.Helper()
		failed := make(chan error, 1)
		go func() {
			_, err := text(context.Background(), c, tool, args)
			failed <- err
		}()
		set := trap.MustWait(t.Context())
		require.Equal(t, timeout, set.Duration)
		set.MustRelease(t.Context())
		require.Eventually(t, hung, patience, interval)
		clk.Advance(timeout).MustWait(t.Context())
		return failure(t, <-failed)
	}
	stopped := func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", first))
		return err == nil && strings.Contains(string(stat), ") T ")
	}
	require.Equal(t, &mcp.Error{Kind: mcp.Timeout, Server: "demo", Tool: "freeze", Ran: true}, hang("freeze", "", stopped))
	trap.MustWait(t.Context()).MustRelease(t.Context()) // the list that asks whether the server is still there
	// More than a pipe holds: the write itself hangs.
	require.Equal(t, mcp.Timeout, hang("work", `{"text":"`+strings.Repeat("x", 1<<20)+`"}`, stopped).Kind)
	trap.Close()
	require.NoError(t, c.Close())
	gone(t, first)
}

func TestChildStubborn(t *testing.T) {
	t.Parallel()
	c := connected(t, child("stubborn"))
	process := pid(t, c)
	require.NoError(t, c.Close())
	gone(t, process)
}

func TestChildDeaf(t *testing.T) {
	t.Parallel()
	c := open(t, mcp.Config{Servers: []mcp.Server{func() mcp.Server { s := child("deaf"); s.Name = "demo"; return s }()}})
	require.Empty(t, c.Tools(t.Context(), []string{"demo"}))
	require.NoError(t, c.Close())
}

func TestChildMissing(t *testing.T) {
	t.Parallel()
	c := open(t, mcp.Config{Servers: []mcp.Server{{Name: "demo", Command: []string{"/nonexistent/program"}}}})
	_, err := text(t.Context(), c, "echo", "")
	require.Equal(t, &mcp.Error{Kind: mcp.Unreachable, Server: "demo", Tool: "echo", Program: "cannot be started: no such file or directory"}, failure(t, err))
	require.Equal(t, `MCP server "demo", tool "echo": the server's program cannot be started: no such file or directory`, err.Error())
}

// TestChildTooLarge has answers over the limit: the smaller one costs the call, the larger one the session too.
func TestChildTooLarge(t *testing.T) {
	t.Parallel()
	s := child("large")
	s.MaxResultBytes = 1 << 20
	c := connected(t, s)
	first := pid(t, c)
	echo := func(t *testing.T, c *mcp.Catalogue) {
		got, err := text(t.Context(), c, "big", `{"bytes":1000000}`)
		require.NoError(t, err)
		require.Len(t, got, 1_000_000)
	}
	_, err := text(t.Context(), c, "big", `{"bytes":2097152}`)
	require.Equal(t, &mcp.Error{Kind: mcp.TooLarge, Server: "demo", Tool: "big", Ran: true}, failure(t, err))
	echo(t, c)
	require.Equal(t, first, pid(t, c))
	_, err = text(t.Context(), c, "big", `{"bytes":9437184}`)
	require.Equal(t, &mcp.Error{Kind: mcp.TooLarge, Server: "demo", Tool: "big", Ran: true}, failure(t, err))
	echo(t, c)
	up(t, c)
	require.NotEqual(t, first, pid(t, c))
}

// TestChildEnvironment passes what was given, and nothing of ours that may be secret.
func TestChildEnvironment(t *testing.T) {
	t.Setenv(secretEnv, "sk-very-secret")
	c := connected(t, child("environment", givenEnv+"=yes"))
	require.Contains(t, names(c.Tools(t.Context(), []string{"demo"})), "secret_")
	require.Contains(t, names(c.Tools(t.Context(), []string{"demo"})), "given_yes")
}
