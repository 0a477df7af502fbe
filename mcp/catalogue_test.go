package mcp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/mcp"
	"github.com/stretchr/testify/require"
)

// wire is a server of bytes: it answers each method with what it holds, and keeps what it was sent.
type wire struct {
	*httptest.Server
	stream  bool              // answers are event streams
	results map[string]string // by method

	mu   sync.Mutex
	sent map[string][]string // params by method
	seen []http.Header
}

func newWire(t *testing.T, stream bool, results map[string]string) *wire {
	t.Helper()
	w := &wire{stream: stream, results: results, sent: map[string][]string{}}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var msg struct {
		ID     json.RawMessage
		Method string
		Params json.RawMessage
	}
	_ = json.Unmarshal(body, &msg)
	w.mu.Lock()
	w.sent[msg.Method] = append(w.sent[msg.Method], string(msg.Params))
	w.seen = append(w.seen, r.Header.Clone())
	w.mu.Unlock()
	result, ok := w.results[msg.Method]
	switch {
	case r.Method == http.MethodGet:
		rw.WriteHeader(http.StatusMethodNotAllowed)
	case msg.ID == nil:
		rw.WriteHeader(http.StatusAccepted)
	case !ok:
		rw.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(rw, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, msg.ID)
	case w.stream:
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(rw, "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\r\n\r\n", msg.ID, result)
	default:
		rw.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(rw, `{"result":%s,"id":%s,"jsonrpc":"2.0"}`, result, msg.ID)
	}
}

func (w *wire) params(method string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent[method])
}

const initialized = `{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"wire","version":"1"}}`

// TestBytes checks that schemas and structured content come as the bytes that the server sent, and arguments go as those of the caller.
func TestBytes(t *testing.T) {
	t.Parallel()
	const schema = `{"type":"object",  "properties":{"z":{"$ref":"#/$defs/n"},"a":{"enum":["<&>","\u00e9"]}},"$defs":{"n":{"oneOf":[{"type":"integer","maximum":9007199254740993},{"type":"null"}]}},"required":["z"]}`
	const structured = `{"z":9007199254740993,  "a":{"y":1.0,"b":1e400}}`
	for _, stream := range []bool{true, false} {
		t.Run(fmt.Sprintf("stream %t", stream), func(t *testing.T) {
			t.Parallel()
			w := newWire(t, stream, map[string]string{
				"initialize": initialized,
				"tools/list": `{"tools":[{"name":"x","inputSchema":` + schema + `}]}`,
				"tools/call": `{"content":[{"type":"new","a":1}],"structuredContent":` + structured + `}`,
			})
			c := connected(t, mcp.Server{URL: w.URL, Headers: map[string]string{"Authorization": "Bearer sk-secret", "x-org": "7"}})
			require.Equal(t, schema, string(c.Tools(t.Context(), []string{"demo"})[0].Schema))
			r, err := c.Call(t.Context(), "demo", "x", json.RawMessage(` {"z":9007199254740993,"a":"<"} `))
			require.NoError(t, err)
			require.Equal(t, structured, string(r.Structured))
			require.Equal(t, []mcp.Content{{Kind: mcp.Other, Text: `{"type":"new","a":1}`}}, r.Content)
			_, err = c.Call(t.Context(), "demo", "x", nil)
			require.NoError(t, err)
			_, err = c.Call(t.Context(), "demo", "x", json.RawMessage("null"))
			require.NoError(t, err)
			calls := w.params("tools/call")
			require.Len(t, calls, 3)
			require.Contains(t, calls[0], `"z":9007199254740993`)
			require.JSONEq(t, `{"name":"x","arguments":{"z":9007199254740993,"a":"<"}}`, calls[0])
			require.JSONEq(t, `{"name":"x","arguments":{}}`, calls[1])
			require.JSONEq(t, `{"name":"x","arguments":{}}`, calls[2])
			for _, args := range []string{`[1]`, `"x"`, `{"a":`, `{} {}`} {
				_, err = c.Call(t.Context(), "demo", "x", json.RawMessage(args))
				require.Equal(t, &mcp.Error{Kind: mcp.Arguments, Server: "demo", Tool: "x"}, failure(t, err))
			}
			require.Len(t, w.params("tools/call"), 3)
			_, err = c.Call(t.Context(), "demo", "x", json.RawMessage(`" {\"z\":1}"`))
			require.NoError(t, err)
			require.JSONEq(t, `{"name":"x","arguments":{"z":1}}`, w.params("tools/call")[3])

			require.JSONEq(t, `{"name":"keyturn","version":"unknown"}`, field(t, w.params("initialize")[0], "clientInfo"))
			require.JSONEq(t, `{}`, field(t, w.params("initialize")[0], "capabilities"))
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, h := range w.seen {
				require.Equal(t, "Bearer sk-secret", h.Get("Authorization"))
				require.Equal(t, "7", h.Get("X-Org"))
			}
			require.Equal(t, "2025-06-18", w.seen[len(w.seen)-1].Get("Mcp-Protocol-Version"))
		})
	}
}

func field(t *testing.T, object, name string) string {
	t.Helper()
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(object), &fields))
	return string(fields[name])
}

// TestEndless refuses a list whose pages never end.
func TestEndless(t *testing.T) {
	t.Parallel()
	w := newWire(t, false, map[string]string{"initialize": initialized, "tools/list": `{"tools":[{"name":"x"}],"nextCursor":"again"}`})
	c := open(t, mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: w.URL}}})
	require.Empty(t, c.Tools(t.Context(), []string{"demo"}))
	require.Equal(t, "protocol", c.Status()[0].LastError)
	require.GreaterOrEqual(t, len(w.params("tools/list")), 2)
}

func TestPages(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		opts := kind.opts
		opts.PageSize = 3
		ts := serve(t, opts)
		c := connected(t, mcp.Server{URL: address(ts, kind.path), Transport: kind.transport})
		require.Equal(t, all, names(c.Tools(t.Context(), []string{"demo"})), kind.name)
		require.Equal(t, 4, ts.Lists())
	}
}

// TestPatterns offers what the patterns let through, and refuses to call the rest.
func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		allow, deny []string
		want        []string
	}{
		{"none", nil, nil, all},
		{"allow", []string{"e*", "add"}, nil, []string{"add", "echo"}},
		{"deny", nil, []string{"*e*", "add", "big", "count"}, []string{"fail"}},
		{"deny beats allow", []string{"*"}, []string{"s*", "r*", "w*", "i*"}, []string{"add", "big", "count", "echo", "fail"}},
		{"nothing is left", []string{"x"}, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, toolserver.Options{})
			c := open(t, mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: ts.URL, Allow: tc.allow, Deny: tc.deny}}})
			require.Equal(t, tc.want, names(c.Tools(t.Context(), []string{"demo"})))
			require.Equal(t, len(tc.want), c.Status()[0].Tools)
			for _, name := range all {
				_, err := c.Call(t.Context(), "demo", name, json.RawMessage(`{"seconds":0,"bytes":1}`))
				if slices.Contains(tc.want, name) {
					require.NoError(t, err)
					continue
				}
				require.Equal(t, &mcp.Error{Kind: mcp.NotFound, Server: "demo", Tool: name}, failure(t, err))
			}
			for _, call := range ts.Calls("") {
				require.Contains(t, tc.want, call.Name)
			}
		})
	}
}

// TestOrder lists several servers, one of which is down.
func TestOrder(t *testing.T) {
	t.Parallel()
	a, b, gone := serve(t, toolserver.Options{}), serve(t, toolserver.Options{Stateless: true}), serve(t, toolserver.Options{})
	require.NoError(t, gone.Close())
	c := open(t, mcp.Config{Servers: []mcp.Server{
		{Name: "b", URL: b.URL, Allow: []string{"weather", "add"}}, {Name: "a", URL: a.URL, Allow: []string{"echo"}}, {Name: "gone", URL: gone.URL},
	}})
	listed := func(servers ...string) (found []string) {
		for _, t := range c.Tools(t.Context(), servers) {
			found = append(found, t.Server+"/"+t.Name)
		}
		return found
	}
	require.Equal(t, []string{"b/add", "b/weather", "a/echo"}, listed("b", "gone", "a"))
	require.Equal(t, []string{"a/echo", "b/add", "b/weather"}, listed("a", "b"))
	require.Equal(t, []string{"a/echo"}, listed("a", "nobody", "a"))
	require.Empty(t, listed())
	status := c.Status()
	require.Equal(t, []string{"b", "a", "gone"}, []string{status[0].Name, status[1].Name, status[2].Name})
	require.Equal(t, []int{2, 1, 0}, []int{status[0].Tools, status[1].Tools, status[2].Tools})
	require.Equal(t, []string{"", "", "unreachable"}, []string{status[0].LastError, status[1].LastError, status[2].LastError})
	_, err := c.Call(t.Context(), "nobody", "echo", nil)
	require.Equal(t, &mcp.Error{Kind: mcp.NotFound, Server: "nobody", Tool: "echo"}, failure(t, err))
}

// TestSetServers reloads while calls run: what did not change stays connected, what is removed finishes its calls.
func TestSetServers(t *testing.T) {
	t.Parallel()
	ts := serve(t, toolserver.Options{})
	stays := mcp.Server{Name: "stays", URL: ts.URL}
	goes := mcp.Server{Name: "goes", URL: ts.URL}
	c := open(t, mcp.Config{Servers: []mcp.Server{stays, goes}})
	require.Len(t, c.Tools(t.Context(), []string{"stays", "goes"}), 2*len(all))
	lists := ts.Lists()

	answers := make(chan error, 1)
	go func() {
		_, err := c.Call(context.Background(), "goes", "sleep", json.RawMessage(`{"seconds":0.5}`))
		answers <- err
	}()
	require.Eventually(t, func() bool { return len(ts.Calls("sleep")) == 1 }, patience, interval)
	stays.Allow = []string{"echo"}
	require.NoError(t, c.SetServers([]mcp.Server{stays}))
	require.Equal(t, []string{"echo"}, names(c.Tools(t.Context(), []string{"goes", "stays"})))
	require.Equal(t, lists, ts.Lists(), "the session stays")
	_, err := c.Call(t.Context(), "goes", "echo", nil)
	require.Equal(t, mcp.NotFound, failure(t, err).Kind)
	require.NoError(t, <-answers)
	require.False(t, ts.Calls("sleep")[0].Canceled)

	stays.Headers = map[string]string{"Authorization": "Bearer another"}
	require.NoError(t, c.SetServers([]mcp.Server{stays}))
	require.Equal(t, []string{"echo"}, names(c.Tools(t.Context(), []string{"stays"})))
	require.Equal(t, lists+1, ts.Lists(), "another credential is another session")

	require.Error(t, c.SetServers([]mcp.Server{{Name: "BAD"}}))
	require.Len(t, c.Status(), 1)
	require.NoError(t, c.SetServers(nil))
	require.Empty(t, c.Status())
}

// TestRedirect follows a redirect on the same host, as from /mcp to /mcp/, and takes the credential nowhere else.
func TestRedirect(t *testing.T) {
	t.Parallel()
	ts := serve(t, toolserver.Options{})
	var stolen atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	defer thief.Close()
	var to atomic.Value
	to.Store("/mcp/")
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mcp" {
			http.Redirect(w, r, to.Load().(string), http.StatusTemporaryRedirect)
			return
		}
		r.URL.Path = toolserver.Path
		ts.ServeHTTP(w, r)
	}))
	defer front.Close()
	s := mcp.Server{Name: "demo", URL: front.URL + "/mcp", Transport: "http", Headers: map[string]string{"Authorization": "Bearer sk-secret"}}
	c := open(t, mcp.Config{Servers: []mcp.Server{s}})
	up(t, c)
	echo(t, c)

	to.Store(thief.URL + "/mcp")
	s.Headers = map[string]string{"Authorization": "Bearer sk-other"}
	require.NoError(t, c.SetServers([]mcp.Server{s}))
	require.Empty(t, c.Tools(t.Context(), []string{"demo"}))
	require.Equal(t, "http", c.Status()[0].LastError)
	require.Zero(t, stolen.Load())
}

// TestEndpointElsewhere has an SSE server send the messages to another host.
func TestEndpointElsewhere(t *testing.T) {
	t.Parallel()
	var stolen atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	defer thief.Close()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "event: endpoint\ndata: %s/messages\n\n", thief.URL)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer front.Close()
	c := open(t, mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: front.URL, Transport: "sse", Headers: map[string]string{"Authorization": "sk-secret"}}}})
	require.Empty(t, c.Tools(t.Context(), []string{"demo"}))
	require.Zero(t, stolen.Load())
	require.NoError(t, c.Close())
}

// TestSmallLimit has an answer just within the limit, and one just over it, on every transport. The session survives.
func TestSmallLimit(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, kind.opts)
			c := connected(t, mcp.Server{URL: address(ts, kind.path), Transport: kind.transport, MaxResultBytes: 10_000})
			since := c.Status()[0].Since
			got, err := text(t.Context(), c, "big", `{"bytes":9500}`)
			require.NoError(t, err)
			require.Equal(t, strings.Repeat("x", 9500), got)
			_, err = text(t.Context(), c, "big", `{"bytes":10001}`)
			require.Equal(t, &mcp.Error{Kind: mcp.TooLarge, Server: "demo", Tool: "big", Ran: true}, failure(t, err))
			echo(t, c)
			require.Equal(t, since, c.Status()[0].Since)
			require.Equal(t, 1, ts.Lists())
		})
	}
}

// TestParallel makes many calls at once on one session.
func TestParallel(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, kind.opts)
			c := connected(t, mcp.Server{URL: address(ts, kind.path), Transport: kind.transport})
			const calls = 200
			answers := make(chan error, calls)
			for n := range calls {
				go func() {
					want := fmt.Sprint(n)
					got, err := text(context.Background(), c, "echo", `{"text":"`+want+`"}`)
					if err == nil && got != want {
						err = fmt.Errorf("%q, want %q", got, want)
					}
					answers <- err
				}()
			}
			for range calls {
				require.NoError(t, <-answers)
			}
			require.Equal(t, 1, ts.Lists())
		})
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	ts := serve(t, toolserver.Options{})
	c := connected(t, mcp.Server{URL: ts.URL})
	r, err := c.Call(t.Context(), "demo", "fail", json.RawMessage(`{"message":"no luck"}`))
	require.NoError(t, err)
	require.Equal(t, &mcp.Result{IsError: true, Content: []mcp.Content{{Kind: mcp.Text, Text: "no luck"}}}, r)
	r, err = c.Call(t.Context(), "demo", "resource", nil)
	require.NoError(t, err)
	require.Equal(t, []mcp.Content{
		{Kind: mcp.Resource, URI: "demo://notes/1", MIME: "text/plain", Text: "a note"},
		{Kind: mcp.Resource, URI: "demo://blobs/1", MIME: "application/octet-stream", Data: []byte{0, 1, 2}},
		{Kind: mcp.Link, URI: "demo://notes/2", MIME: "text/plain", Name: "another note", Text: "to be fetched"},
	}, r.Content)
	r, err = c.Call(t.Context(), "demo", "structured", nil)
	require.NoError(t, err)
	require.Equal(t, `{"z":1,"a":{"big":9007199254740993}}`, string(r.Structured))
	r, err = c.Call(t.Context(), "demo", "image", nil)
	require.NoError(t, err)
	require.Equal(t, mcp.Image, r.Content[1].Kind)
}
