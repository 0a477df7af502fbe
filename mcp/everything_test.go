package mcp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/mcp"
	"github.com/keyturn/keyturn/test/sdks"
)

// everything returns Node and the program of @modelcontextprotocol/server-everything, in the version of testdata/npm. Both are installed
// once, into the cache of the repository.
func everything(t *testing.T) (command []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	folder, err := filepath.Abs("testdata/npm")
	require.NoError(t, err)
	rt, err := sdks.NodePackages(ctx, folder)
	require.NoError(t, err)
	return []string{rt.Interpreter, filepath.Join(rt.Packages, "@modelcontextprotocol/server-everything/dist/index.js")}
}

// node is a running server-everything, over streamable HTTP.
type node struct {
	cmd  *exec.Cmd
	port int
}

func startNode(t *testing.T, program []string, port int) *node {
	t.Helper()
	n := &node{cmd: exec.Command(program[0], program[1], "streamableHttp"), port: port}
	n.cmd.Env = append(os.Environ(), "PORT="+strconv.Itoa(port))
	require.NoError(t, n.cmd.Start())
	t.Cleanup(n.kill)
	require.Eventually(t, func() bool {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, 20*time.Millisecond)
	return n
}

func (n *node) kill() {
	if n.cmd.ProcessState == nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
	}
}

func (n *node) signal(t *testing.T, s syscall.Signal) { require.NoError(t, n.cmd.Process.Signal(s)) }

// freePort returns a port on which nobody listens.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().(*net.TCPAddr).Port
}

// gate stands before a server and answers in its place when it is told to.
type gate struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc] // nil: the server answers
}

func newGate(t *testing.T, port int) *gate {
	t.Helper()
	to, err := url.Parse(fmt.Sprintf("http://127.0.0.1:%d", port))
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	g := &gate{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := g.answer.Load(); answer != nil {
			(*answer)(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// instead has the gate answer; nil opens it.
func (g *gate) instead(f http.HandlerFunc) {
	if f == nil {
		g.answer.Store(nil)
		return
	}
	g.answer.Store(&f)
}

// greet has the server's tool echo answer.
func greet(t *testing.T, c *mcp.Catalogue) {
	t.Helper()
	got, err := text(t.Context(), c, "echo", `{"message":"hello"}`)
	require.NoError(t, err)
	require.Equal(t, "Echo: hello", got)
}

// tour looks at what the server's tools answer.
func tour(t *testing.T, c *mcp.Catalogue) {
	t.Helper()
	tools := c.Tools(t.Context(), []string{"demo"})
	require.Subset(t, names(tools), []string{"echo", "get-sum", "get-structured-content", "get-tiny-image", "get-resource-links", "get-resource-reference"})
	for _, tool := range tools {
		require.Equal(t, "bmcp_demo_"+tool.Name, tool.ModelName)
		require.True(t, json.Valid(tool.Schema), tool.Name)
	}
	greet(t, c)
	call := func(tool, args string) *mcp.Result {
		r, err := c.Call(t.Context(), "demo", tool, json.RawMessage(args))
		require.NoError(t, err)
		return r
	}
	kinds := func(r *mcp.Result) (found []mcp.Kind) {
		for _, c := range r.Content {
			found = append(found, c.Kind)
		}
		return found
	}
	require.Contains(t, call("get-sum", `{"a":19,"b":23}`).Content[0].Text, "42")
	pictured := call("get-tiny-image", "")
	require.Equal(t, []mcp.Kind{mcp.Text, mcp.Image, mcp.Text}, kinds(pictured))
	require.Equal(t, "image/png", pictured.Content[1].MIME)
	require.True(t, bytes.HasPrefix(pictured.Content[1].Data, []byte("\x89PNG\r\n")))
	require.JSONEq(t, call("get-structured-content", `{"location":"Chicago"}`).Content[0].Text,
		string(call("get-structured-content", `{"location":"Chicago"}`).Structured))
	links := call("get-resource-links", `{"count":2}`)
	require.Equal(t, []mcp.Kind{mcp.Text, mcp.Link, mcp.Link}, kinds(links))
	require.NotEmpty(t, links.Content[1].URI)
	require.Contains(t, kinds(call("get-resource-reference", `{"resourceType":"Text","resourceId":1}`)), mcp.Resource)

	// Wrong arguments are for the model to mend, however the server says so.
	r, err := c.Call(t.Context(), "demo", "get-sum", json.RawMessage(`{"a":"x"}`))
	if err != nil {
		require.Equal(t, mcp.Protocol, failure(t, err).Kind)
	} else {
		require.True(t, r.IsError)
	}
}

// hung has a call of the server demo, which is stopped, run out of time: only this call's is short, since a machine may be busy.
func hung(t *testing.T, c *mcp.Catalogue, s mcp.Server) {
	t.Helper()
	hurried := s
	hurried.Timeout = 300 * time.Millisecond
	require.NoError(t, c.SetServers([]mcp.Server{hurried}))
	_, err := text(t.Context(), c, "echo", `{"message":"hello"}`)
	require.Equal(t, mcp.Timeout, failure(t, err).Kind)
	require.NoError(t, c.SetServers([]mcp.Server{s}))
}

func TestEverything(t *testing.T) {
	t.Parallel()
	program := everything(t)
	port := freePort(t)
	n := startNode(t, program, port)
	g := newGate(t, port)
	s := mcp.Server{Name: "demo", URL: g.URL + "/mcp", MaxResultBytes: 1 << 20}
	c := open(t, mcp.Config{Servers: []mcp.Server{s}})
	up(t, c)
	tour(t, c)

	fault := func(kind mcp.ErrorKind, instead http.HandlerFunc) {
		t.Helper()
		g.instead(instead)
		_, err := text(t.Context(), c, "echo", `{"message":"hello"}`)
		require.Equal(t, kind, failure(t, err).Kind, "%v", err)
		g.instead(nil)
		up(t, c)
		require.Eventually(t, func() bool { _, err := text(t.Context(), c, "echo", `{"message":"hello"}`); return err == nil }, patience, interval)
	}
	fault(mcp.Refused, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	fault(mcp.Protocol, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html>sign in</html>"))
	})
	fault(mcp.TooLarge, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(bytes.Repeat([]byte(" "), 2<<20))
	})

	n.signal(t, syscall.SIGSTOP)
	hung(t, c, s)
	n.signal(t, syscall.SIGCONT)
	require.Eventually(t, func() bool { _, err := text(t.Context(), c, "echo", `{"message":"hello"}`); return err == nil }, patience, interval)

	n.kill()
	down(t, c)
	_, err := text(t.Context(), c, "echo", `{"message":"hello"}`)
	require.Equal(t, mcp.Unreachable, failure(t, err).Kind)
	n = startNode(t, program, port)
	up(t, c)
	tour(t, c)

	// Restarted, before anybody notices: the server answers 400 for a session that it does not know.
	n.kill()
	startNode(t, program, port)
	require.Eventually(t, func() bool { _, err := text(t.Context(), c, "echo", `{"message":"hello"}`); return err == nil }, patience, interval)
}

func TestEverythingChild(t *testing.T) {
	t.Parallel()
	program := everything(t)
	c := connected(t, mcp.Server{Command: append(program, "stdio"), MaxResultBytes: 1 << 20})
	tour(t, c)

	_, err := text(t.Context(), c, "echo", `{"message":"`+strings.Repeat("x", 2_000_000)+`"}`)
	require.Equal(t, &mcp.Error{Kind: mcp.TooLarge, Server: "demo", Tool: "echo", Ran: true}, failure(t, err))
	require.Eventually(t, func() bool { _, err := text(t.Context(), c, "echo", `{"message":"hello"}`); return err == nil }, patience, interval)

	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := text(ctx, c, "trigger-long-running-operation", `{"duration":60,"steps":60}`)
		failed <- err
	}()
	greet(t, c) // beside it
	cancel()
	require.Equal(t, mcp.Canceled, failure(t, <-failed).Kind)
	greet(t, c)
	require.NoError(t, c.Close())
}

// TestEverythingChildDies kills and stops the program that speaks on its standard input and output.
func TestEverythingChildDies(t *testing.T) {
	t.Parallel()
	program := everything(t)
	file := filepath.Join(t.TempDir(), "pid")
	sh := `echo $$ > "$0.new" && mv "$0.new" "$0" && exec "$@"`
	s := mcp.Server{Name: "demo", Command: append([]string{"/bin/sh", "-c", sh, file}, append(program, "stdio")...)}
	c := connected(t, s)
	process := func() int {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		require.NoError(t, err)
		return n
	}
	for range 2 { // restarted, and again
		greet(t, c)
		first := process()
		require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
		require.Eventually(t, func() bool { return process() != first }, patience, interval)
		up(t, c)
	}
	greet(t, c)

	require.NoError(t, syscall.Kill(process(), syscall.SIGSTOP))
	hung(t, c, s)
	require.NoError(t, syscall.Kill(process(), syscall.SIGCONT))
	require.Eventually(t, func() bool { _, err := text(t.Context(), c, "echo", `{"message":"hello"}`); return err == nil }, patience, interval)
	last := process()
	require.NoError(t, c.Close())
	gone(t, last)
}
