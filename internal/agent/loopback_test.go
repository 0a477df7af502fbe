package agent_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/agent"
)

// buggy is a loopback that panics.
type buggy struct{}

func (buggy) RoundTrip(*http.Request) (*http.Response, error) { panic("a bug") }

// TestRepeatedHeaders holds what a turn's request has of the client's and what it has not.
func TestRepeatedHeaders(t *testing.T) {
	var o agent.Origin
	for _, name := range []string{
		":path", "", "host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect", "accept-encoding", "content-encoding",
		"proxy-authorization", "cookie", "x-request-id", "traceparent", "x-keyturn-turn", "x-envoy-attempt-count", "x-forwarded-for", "idempotency-key", "digest",
	} {
		o.Repeat(name, "no")
	}
	require.Nil(t, o.Header)
	o.Repeat("openai-beta", "a")
	o.Repeat("openai-beta", "b")
	o.Repeat("authorization", "Bearer own")
	require.Equal(t, http.Header{"Openai-Beta": {"a", "b"}, "Authorization": {"Bearer own"}}, o.Header)
}

// seen is a request as the loopback listener got it.
type seen struct{ host, uri, body, agent, model, turn, beta string }

// serve listens on a socket as Envoy does, and closes with the test.
func serve(t *testing.T, answer http.HandlerFunc) (address string, requests func() []seen, connections func() int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "kt") // t.TempDir is too long a path for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	var mu sync.Mutex // protects all and opened
	var all []seen
	opened := 0
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has left
		}
		mu.Lock()
		all = append(all, seen{r.Host, r.RequestURI, string(b), r.UserAgent(), r.Header.Get("X-Keyturn-Model"), r.Header.Get("X-Keyturn-Turn"), strings.Join(r.Header["Openai-Beta"], ",")})
		mu.Unlock()
		answer(w, r)
	}))
	s.Listener.Close()
	s.Listener = l
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if state == http.StateNew {
			opened++
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return "unix:" + filepath.Join(dir, "s"),
		func() []seen { mu.Lock(); defer mu.Unlock(); return all },
		func() int { mu.Lock(); defer mu.Unlock(); return opened }
}

// overSocket is an agent whose turns go to address.
func overSocket(t *testing.T, r *rig, address string, log io.Writer) *agent.Agent {
	t.Helper()
	transport := agent.NewTransport(address)
	t.Cleanup(transport.CloseIdleConnections)
	a, err := agent.New(agent.Config{Call: r.call, Loopback: transport, Clock: r.clock, Log: slog.New(slog.NewTextHandler(log, nil))})
	require.NoError(t, err)
	return a
}

// TestSocket holds what a turn's request is on the wire, and that turns one after another use one connection: answers are read to
// their end.
func TestSocket(t *testing.T) {
	for path, uri := range map[string]string{
		"/v1/responses?a=b":   "/v1/responses?a=b",
		"/v1/%2F/a:b;c=d?%zz": "/v1/%2F/a:b;c=d?%zz",
		"//v1/responses":      "http://api.example.com//v1/responses",
	} {
		t.Run(path, func(t *testing.T) {
			n := 0
			address, requests, connections := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "Text/Event-Stream; charset=utf-8")
				if n++; n < 5 {
					fmt.Fprint(w, "call a {}\n")
					return
				}
				fmt.Fprint(w, "done\n")
			})
			r := newRig(t)
			r.origin.Path = path
			r.origin.Repeat("openai-beta", "x=1")
			require.NoError(t, r.stream(t.Context(), overSocket(t, r, address, io.Discard), "call a {}"))
			require.Equal(t, strings.Repeat("settled 0\n", 5)+"done\n", r.text())
			require.Equal(t, 1, connections())
			require.Len(t, requests(), 5)
			require.Equal(t, seen{host: "api.example.com", uri: uri, body: "a{}", model: "m", turn: "2", beta: "x=1"}, requests()[0])
		})
	}
}

// TestSocketErrors holds what the client and the operator read when the listener is not there, breaks off or says something else,
// and that a connection is used again where the answer was read to its end.
func TestSocketErrors(t *testing.T) {
	run := func(t *testing.T, address string) (out, log string) {
		t.Helper()
		var b strings.Builder
		r := newRig(t)
		require.NoError(t, r.stream(t.Context(), overSocket(t, r, address, &b), "call a {}"))
		return r.text(), b.String()
	}
	t.Run("not there", func(t *testing.T) {
		out, log := run(t, "unix:/nowhere/socket")
		require.Contains(t, out, "failed server_error: the next turn could not be sent")
		require.Contains(t, log, "dial unix /nowhere/socket")
	})
	t.Run("something else listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				fmt.Fprint(c, "220 a secret banner\r\n")
			}
		}()
		out, log := run(t, l.Addr().String())
		require.Contains(t, out, "failed server_error: the next turn could not be sent")
		require.NotContains(t, out+log, "banner")
	})
	t.Run("breaks off", func(t *testing.T) {
		address, _, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "begins\n")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		out, _ := run(t, address)
		require.Equal(t, "settled 0\nbegins\nfailed server_error: the provider's answer broke off; try again\n", out)
	})
	t.Run("no JSON", func(t *testing.T) {
		address, _, connections := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, strings.Repeat("<html>", 1000), http.StatusServiceUnavailable)
		})
		r := newRig(t)
		a := overSocket(t, r, address, io.Discard)
		for range 3 {
			r.session = &session{}
			require.NoError(t, r.stream(t.Context(), a, "call a {}"))
			_, err := r.whole(t.Context(), a, "call a {}")
			require.NoError(t, err)
		}
		require.Equal(t, strings.Repeat("settled 0\nfailed server_error: the provider answered the next turn with status 503 and no error that can be read\n", 3), r.text())
		require.Equal(t, 1, connections())
	})
	t.Run("an error without an end", func(t *testing.T) {
		address, _, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		})
		out, _ := run(t, address)
		require.Contains(t, out, "failed rate_limit_exceeded: the provider answered the next turn with status 429")
	})
}

// TestClientLeavesSocket holds that a request under way is given up when the client leaves, whether it is on its way, waits for
// the answer's head, or streams.
func TestClientLeavesSocket(t *testing.T) {
	for _, head := range []bool{false, true} {
		t.Run(fmt.Sprintf("head=%v", head), func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			heard := make(chan struct{})
			address, _, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if head {
					w.Header().Set("Content-Type", "text/event-stream")
					fmt.Fprint(w, "begins\n")
					_ = http.NewResponseController(w).Flush()
				}
				leave()
				<-r.Context().Done()
				close(heard)
			})
			for _, streams := range []bool{true, false} {
				r := newRig(t)
				a := overSocket(t, r, address, io.Discard)
				var err error
				if streams {
					err = r.stream(ctx, a, "call a {}")
				} else {
					_, err = r.whole(ctx, a, "call a {}")
				}
				require.ErrorIs(t, err, context.Canceled)
			}
			<-heard
		})
	}
}

// hesitant is a body that often has nothing to read yet.
type hesitant struct {
	io.Reader
	reads int
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.reads++; h.reads%4 != 0 {
		return 0, nil
	}
	return h.Reader.Read(p[:1])
}
func (h *hesitant) Close() error { return nil }

type hesitates struct{ body string }

func (h hesitates) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: &hesitant{Reader: strings.NewReader(h.body)}}, nil
}

// TestEmptyReads holds that reads which bring nothing use nothing up.
func TestEmptyReads(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := newRig(t)
	a, err := agent.New(agent.Config{Call: r.call, Loopback: hesitates{"done"}, Clock: r.clock})
	require.NoError(t, err)
	require.NoError(t, r.stream(ctx, a, "call a {}"))
	require.Equal(t, "settled 0\ndone", r.text())
}

// TestLeavingIsNoProblem holds that the error that a client's leaving makes of a turn is never told as one of the provider's.
func TestLeavingIsNoProblem(t *testing.T) {
	for range 200 {
		ctx, leave := context.WithCancel(t.Context())
		r := newRig(t)
		r.provider.answers = []answer{{err: errors.New("context canceled")}}
		a, err := agent.New(agent.Config{Call: r.call, Loopback: leaving{r.provider, leave}, Clock: r.clock})
		require.NoError(t, err)
		require.ErrorIs(t, r.stream(ctx, a, "call a {}"), context.Canceled)
		require.NotContains(t, r.text(), "failed")
	}
}

// leaving is a client that leaves as soon as a turn begins.
type leaving struct {
	*provider
	leave func()
}

func (l leaving) RoundTrip(r *http.Request) (*http.Response, error) {
	l.leave()
	return l.provider.RoundTrip(r)
}

func TestModelOf(t *testing.T) {
	require.Equal(t, "a b\n/é", agent.ModelOf("a%20b%0A%2F%C3%A9"))
	require.Empty(t, agent.ModelOf("%zz"))
}
