package mcp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/mcp"
)

// rogue is a server that answers as it likes. What on does not answer, it answers well.
type rogue struct {
	*httptest.Server
	on    func(w http.ResponseWriter, r *http.Request, m sent) (answered bool)
	lists atomic.Int64
	gone  chan struct{} // closed at the end of the test
}

// sent is a message of the client's; GET has none.
type sent struct {
	ID     json.RawMessage
	Method string
	Params struct{ Cursor string }
}

func newRogue(t *testing.T, on func(w http.ResponseWriter, r *http.Request, m sent) bool) *rogue {
	t.Helper()
	g := &rogue{on: on, gone: make(chan struct{})}
	g.Server = httptest.NewServer(g)
	t.Cleanup(func() {
		close(g.gone)
		g.Close()
	})
	return g
}

func (g *rogue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m sent
	body, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(body, &m)
	if m.Method == "tools/list" {
		g.lists.Add(1)
	}
	switch {
	case g.on(w, r, m):
	case r.Method == http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case m.ID == nil || m.Method == "":
		w.WriteHeader(http.StatusAccepted)
	case m.Method == "initialize":
		result(w, m, initialized)
	case m.Method == "tools/list":
		result(w, m, `{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}`)
	case m.Method == "tools/call":
		result(w, m, `{"content":[{"type":"text","text":"hello"}]}`)
	default:
		answer(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"error":{"code":-32601,"message":"no such method"}}`)
	}
}

func answer(w http.ResponseWriter, message string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, message)
}

func result(w http.ResponseWriter, m sent, value string) {
	answer(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":`+value+`}`)
}

// events begins an event stream.
func events(w http.ResponseWriter) func(data string) {
	w.Header().Set("Content-Type", "text/event-stream")
	return func(data string) {
		_, _ = io.WriteString(w, "data: "+data+"\n\n")
		_ = http.NewResponseController(w).Flush()
	}
}

// watched makes a catalogue of one server, and what it writes into its log.
func watched(t *testing.T, s mcp.Server) (*mcp.Catalogue, *safeBuffer) {
	t.Helper()
	log := &safeBuffer{}
	s.Name = "demo"
	return open(t, mcp.Config{Log: slog.New(slog.NewTextHandler(log, nil)), Servers: []mcp.Server{s}}), log
}

// TestStormOfRequests has a server ask all the time and take no answer. Few answers are on their way, and the tools work.
func TestStormOfRequests(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"ping", "elicitation/create", "sampling/createMessage", "roots/list", "unheard/of"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			var pending, most atomic.Int64
			stormed := make(chan struct{})
			var g *rogue
			g = newRogue(t, func(w http.ResponseWriter, r *http.Request, m sent) bool {
				switch {
				case r.Method == http.MethodGet:
					send := events(w)
					for n := range 3000 {
						send(fmt.Sprintf(`{"jsonrpc":"2.0","id":"s%d","method":%q,"params":{"message":"m"}}`, n, method))
					}
					close(stormed)
					<-g.gone
					return true
				case m.Method == "" && m.ID != nil: // an answer, which is not taken
					now := pending.Add(1)
					for {
						if old := most.Load(); now <= old || most.CompareAndSwap(old, now) {
							break
						}
					}
					select {
					case <-r.Context().Done():
					case <-g.gone:
					}
					pending.Add(-1)
					return true
				}
				return false
			})
			c, log := watched(t, mcp.Server{URL: g.URL, Transport: "http"})
			<-stormed
			up(t, c)
			echo(t, c)
			require.LessOrEqual(t, most.Load(), int64(16))
			require.Eventually(t, func() bool {
				return strings.Contains(log.String(), `msg="MCP server goes beyond a limit" server=demo limit="too many requests at the same time; some get no answer" most=16`)
			}, patience, interval)
			require.Equal(t, 1, strings.Count(log.String(), "beyond a limit"))
		})
	}
}

// TestStormOfChanges has a server say all the time that its list changed: the list is fetched once, and once more when some time has passed.
func TestStormOfChanges(t *testing.T) {
	t.Parallel()
	stormed := make(chan struct{})
	var g *rogue
	g = newRogue(t, func(w http.ResponseWriter, r *http.Request, _ sent) bool {
		if r.Method != http.MethodGet {
			return false
		}
		send := events(w)
		for range 5000 {
			send(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
			send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}`)
			send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`)
		}
		close(stormed)
		<-g.gone
		return true
	})
	begun := time.Now()
	c, _ := watched(t, mcp.Server{URL: g.URL, Transport: "http"})
	<-stormed
	up(t, c)
	echo(t, c)
	require.LessOrEqual(t, g.lists.Load(), 2+int64(time.Since(begun)/time.Second))
}

// TestNobodyReads has a server answer a notification with a stream that never ends: it is closed.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	var g *rogue
	g = newRogue(t, func(w http.ResponseWriter, r *http.Request, m sent) bool {
		if m.Method != "notifications/initialized" {
			return false
		}
		events(w)(`{"jsonrpc":"2.0","method":"notifications/progress"}`)
		select {
		case <-r.Context().Done():
			close(closed)
		case <-g.gone:
		}
		return true
	})
	c, _ := watched(t, mcp.Server{URL: g.URL, Transport: "http"})
	<-closed
	up(t, c)
	echo(t, c)
}

// TestTooManyTools offers as many tools as max_tools allows, of those that the patterns let through.
func TestTooManyTools(t *testing.T) {
	t.Parallel()
	g := newRogue(t, func(w http.ResponseWriter, _ *http.Request, m sent) bool {
		if m.Method != "tools/list" {
			return false
		}
		tools := make([]string, 300)
		for n := range tools {
			tools[n] = fmt.Sprintf(`{"name":"tool%03d","inputSchema":{"type":"object"}}`, n)
		}
		result(w, m, `{"tools":[`+strings.Join(tools, ",")+`]}`)
		return true
	})
	s := mcp.Server{URL: g.URL, Transport: "http"}
	c, log := watched(t, s)
	up(t, c)
	require.Len(t, c.Tools(t.Context(), []string{"demo"}), 128)
	require.Contains(t, log.String(), `msg="MCP server goes beyond a limit" server=demo limit="more tools than max_tools; the last by name are left out" most=128 left_out=172`)
	s.Name, s.MaxTools, s.Allow = "demo", 3, []string{"tool1*"}
	require.NoError(t, c.SetServers([]mcp.Server{s}))
	require.Equal(t, []string{"tool100", "tool101", "tool102"}, names(c.Tools(t.Context(), []string{"demo"})))
	_, err := c.Call(t.Context(), "demo", "tool103", nil)
	require.Equal(t, mcp.NotFound, failure(t, err).Kind)
	require.Equal(t, int64(1), g.lists.Load())
}

// TestLargeLists has definitions of megabytes, and pages that do not end: what is fetched and kept has bounds.
func TestLargeLists(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	for _, tc := range []struct {
		name  string
		page  func(n int64) string // the n-th answer to tools/list, from 1
		tools []string
		error string
		lists int64 // at most
	}{
		{"large tools", func(int64) string {
			return `{"tools":[{"name":"a","description":"` + long + `"},{"name":"` + long + `"},{"name":"b"},{"name":"c","inputSchema":{"x":"` + long + `"}}]}`
		}, []string{"b"}, "", 1},
		{"large pages", func(n int64) string {
			return fmt.Sprintf(`{"tools":[{"name":"a%d","description":"%s"}],"nextCursor":"%d"}`, n, long, n)
		}, nil, "too_large", 8},
		{"small pages", func(n int64) string {
			return fmt.Sprintf(`{"tools":[{"name":"a%d"}],"nextCursor":"%d"}`, n, n)
		}, nil, "protocol", 1001},
		{"a long cursor", func(int64) string { return `{"tools":[],"nextCursor":"` + long + `"}` }, nil, "protocol", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var g *rogue
			g = newRogue(t, func(w http.ResponseWriter, _ *http.Request, m sent) bool {
				if m.Method == "tools/list" {
					result(w, m, tc.page(g.lists.Load()))
				}
				return m.Method == "tools/list"
			})
			c := open(t, mcp.At(quartz.NewMock(t), mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: g.URL, Transport: "http"}}}))
			require.Eventually(t, func() bool {
				st := c.Status()[0]
				return st.Connected || st.LastError != ""
			}, patience, interval)
			require.LessOrEqual(t, g.lists.Load(), tc.lists)
			require.Equal(t, tc.error, c.Status()[0].LastError)
			require.Equal(t, tc.tools, names(c.Tools(t.Context(), []string{"demo"})))
		})
	}
}

// TestStrangeAnswers has a call answered with what is no answer to it. The call ends at once, and the next one works.
func TestStrangeAnswers(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	for _, tc := range []struct {
		name string
		send func(w http.ResponseWriter, id string)
		want mcp.Error
	}{
		{"another id", func(w http.ResponseWriter, _ string) { answer(w, `{"jsonrpc":"2.0","id":"other","result":{}}`) }, mcp.Error{Kind: mcp.Protocol, Ran: true}},
		{"the id as text", func(w http.ResponseWriter, id string) { answer(w, `{"jsonrpc":"2.0","id":"`+id+`","result":{}}`) }, mcp.Error{Kind: mcp.Protocol, Ran: true}},
		{"a request", func(w http.ResponseWriter, id string) { answer(w, `{"jsonrpc":"2.0","id":`+id+`,"method":"ping"}`) }, mcp.Error{Kind: mcp.Protocol, Ran: true}},
		{"a batch", func(w http.ResponseWriter, id string) { answer(w, `[{"jsonrpc":"2.0","id":`+id+`,"result":{}}]`) }, mcp.Error{Kind: mcp.Protocol, Ran: true}},
		{"deep", func(w http.ResponseWriter, id string) { answer(w, `{"jsonrpc":"2.0","id":`+id+`,"result":`+deep+`}`) }, mcp.Error{Kind: mcp.Protocol, Ran: true}},
		{"deep, in a stream", func(w http.ResponseWriter, id string) {
			events(w)(`{"jsonrpc":"2.0","id":` + id + `,"result":` + deep + `}`)
		}, mcp.Error{Kind: mcp.Unreachable, Ran: true}},
		{"another id, in a stream", func(w http.ResponseWriter, _ string) {
			events(w)(`{"jsonrpc":"2.0","id":"other","result":{}}`)
		}, mcp.Error{Kind: mcp.Unreachable, Ran: true}},
		{"an error for no id", func(w http.ResponseWriter, _ string) {
			answer(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"no luck"}}`)
		}, mcp.Error{Kind: mcp.Protocol, Code: -32603, Message: "no luck", Ran: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var strange atomic.Bool
			strange.Store(true)
			g := newRogue(t, func(w http.ResponseWriter, _ *http.Request, m sent) bool {
				if m.Method != "tools/call" || !strange.Swap(false) {
					return false
				}
				tc.send(w, string(m.ID))
				return true
			})
			c, _ := watched(t, mcp.Server{URL: g.URL, Transport: "http", Timeout: patience})
			up(t, c)
			_, err := text(context.Background(), c, "echo", "")
			want := tc.want
			want.Server, want.Tool = "demo", "echo"
			require.Equal(t, &want, failure(t, err))
			echo(t, c)
		})
	}
}

// TestMute has a server that does not answer what it does not know: it is asked in the older way.
func TestMute(t *testing.T) {
	t.Parallel()
	for _, headers := range []bool{false, true} {
		t.Run(fmt.Sprintf("headers %t", headers), func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{})
			var g *rogue
			g = newRogue(t, func(w http.ResponseWriter, r *http.Request, m sent) bool {
				if m.Method != "server/discover" {
					return false
				}
				if headers {
					events(w)(`{"jsonrpc":"2.0","method":"notifications/progress"}`)
				}
				close(asked)
				select {
				case <-r.Context().Done():
				case <-g.gone:
				}
				return true
			})
			clk := quartz.NewMock(t)
			c := open(t, mcp.At(clk, mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: g.URL, Transport: "http"}}}))
			<-asked
			clk.Advance(3 * time.Second).MustWait(t.Context())
			up(t, c)
			echo(t, c)
		})
	}
}

// TestLargeHello has a server answer initialize with megabytes.
func TestLargeHello(t *testing.T) {
	t.Parallel()
	g := newRogue(t, func(w http.ResponseWriter, _ *http.Request, m sent) bool {
		if m.Method == "initialize" {
			result(w, m, strings.TrimSuffix(initialized, "}")+`,"instructions":"`+strings.Repeat("x", 2<<20)+`"}`)
		}
		return m.Method == "initialize"
	})
	c, _ := watched(t, mcp.Server{URL: g.URL, Transport: "http"})
	require.Eventually(t, func() bool { return c.Status()[0].LastError == "too_large" }, patience, interval)
}

// TestWithoutTools connects to a server that has none, however it says so.
func TestWithoutTools(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusOK, http.StatusNotFound} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			g := newRogue(t, func(w http.ResponseWriter, _ *http.Request, m sent) bool {
				if m.Method == "tools/list" {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(status)
					_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"error":{"code":-32601,"message":"no tools"}}`)
				}
				return m.Method == "tools/list"
			})
			c, log := watched(t, mcp.Server{URL: g.URL, Transport: "http"})
			require.Eventually(t, func() bool { return c.Status()[0].Connected }, patience, interval)
			require.Empty(t, c.Tools(t.Context(), []string{"demo"}))
			require.NotContains(t, log.String(), "WARN")
		})
	}
}

// TestInstructions returns what servers say about the use of their tools, cut where it is too long.
func TestInstructions(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 8<<10)
	talks := func(text string) *rogue {
		return newRogue(t, func(w http.ResponseWriter, _ *http.Request, m sent) bool {
			if m.Method == "initialize" {
				result(w, m, strings.TrimSuffix(initialized, "}")+`,"instructions":"`+text+`"}`)
			}
			return m.Method == "initialize"
		})
	}
	brief, wordy, silent := talks("Echo first."), talks(long), talks("")
	gone := serve(t, toolserver.Options{})
	require.NoError(t, gone.Close())
	c := open(t, mcp.Config{Servers: []mcp.Server{
		{Name: "brief", URL: brief.URL},
		{Name: "wordy", URL: wordy.URL},
		{Name: "silent", URL: silent.URL},
		{Name: "gone", URL: gone.URL},
		{Name: "denied", URL: brief.URL, Allow: []string{"another"}},
	}})
	require.Eventually(t, func() bool {
		up := 0
		for _, st := range c.Status() {
			if st.Connected {
				up++
			}
		}
		return up == 4
	}, patience, interval)
	require.Equal(t, []mcp.Instructions{{Server: "wordy", Text: long[:8<<10]}, {Server: "brief", Text: "Echo first."}},
		c.Instructions([]string{"wordy", "gone", "silent", "denied", "brief", "unknown"}))
}

// TestDrip has a server answer a byte at a time, without end: the call ends in its time, and what it waited for is closed.
func TestDrip(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"application/json", "text/event-stream"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dripped, closed := make(chan struct{}), make(chan struct{})
			g := newRogue(t, func(w http.ResponseWriter, r *http.Request, m sent) bool {
				if m.Method != "tools/call" {
					return false
				}
				w.Header().Set("Content-Type", kind)
				for n := 0; r.Context().Err() == nil; n++ {
					_, _ = io.WriteString(w, " ")
					_ = http.NewResponseController(w).Flush()
					if n == 100 {
						close(dripped)
						<-r.Context().Done()
					}
				}
				close(closed)
				return true
			})
			const timeout = 5 * time.Second
			clk := quartz.NewMock(t)
			c := open(t, mcp.At(clk, mcp.Config{Servers: []mcp.Server{{Name: "demo", URL: g.URL, Transport: "http", Timeout: timeout}}}))
			up(t, c)
			failed := make(chan error, 1)
			go func() {
				_, err := text(context.Background(), c, "echo", "")
				failed <- err
			}()
			<-dripped
			clk.Advance(timeout).MustWait(t.Context())
			require.Equal(t, &mcp.Error{Kind: mcp.Timeout, Server: "demo", Tool: "echo", Ran: true}, failure(t, <-failed))
			<-closed
		})
	}
}
