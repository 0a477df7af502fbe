package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/mcp"
)

// A timer of the mock clock that fires after it was stopped waits for a reader for ever; the real one does not.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/coder/quartz.(*Timer).fire.func2"))
}

// session is a dialect of its own, as small as one can be: a turn's stream is lines, "call NAME ARGS", "own NAME" (a tool of the
// client's), "fail", and anything else is text. What the client gets is those texts and a line for each thing that Session is
// told.
type session struct {
	request string
	turn    dialect.Turn
	results []string
	shown   bool
	budget  int // turns that Continue allows; 0: any
	last    bool
	schema  string // of each tool
}

func (s *session) Request() []byte { return []byte(s.request) }
func (s *session) Model() string   { return "m" }
func (s *session) Streams() bool   { return true }
func (s *session) Reads() bool     { return true }
func (s *session) Body() []byte    { return []byte("body of " + s.request) }

func (s *session) Write(dst, p []byte) ([]byte, dialect.State) {
	for line := range strings.Lines(string(p)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "call":
			c := dialect.Call{ID: fmt.Sprint("c", len(s.turn.Calls)), Name: f[1], Tool: tool(f[1]), Arguments: []byte(strings.Join(f[2:], " "))}
			c.Tool.Schema = []byte(s.schema)
			s.turn.Calls = append(s.turn.Calls, c)
		case f[0] == "own":
			s.turn.Mixed = true
		case f[0] == "fail" && !s.shown:
			s.turn.Failure = &dialect.Failure{Error: dialect.Error{Code: f[1]}}
			return dst, dialect.Failing
		default:
			s.shown = true
			dst = append(dst, line...)
		}
	}
	return dst, dialect.Going
}

func tool(name string) dialect.Tool {
	if strings.HasPrefix(name, "unknown") {
		return dialect.Tool{}
	}
	return dialect.Tool{Name: name, Server: "s", Tool: name}
}

func (s *session) End(dst []byte) ([]byte, dialect.Turn) {
	t := s.turn
	t.Usage = dialect.Usage{Input: 10, Output: 1}
	s.turn, s.shown = dialect.Turn{}, false
	s.results = make([]string, len(t.Calls))
	return dst, t
}

func (s *session) Whole(body []byte) dialect.Turn {
	s.Write(nil, body)
	_, t := s.End(nil)
	return t
}

func (s *session) Settle(dst []byte, i int, r dialect.Result) []byte {
	text := ""
	for _, p := range r.Parts {
		text += p.Text
	}
	if r.Error != nil {
		text = fmt.Sprintf("error %d: %s", r.Error.Kind, r.Error.Message)
	}
	s.results[i] = text
	return append(dst, fmt.Sprintf("settled %d\n", i)...)
}

func (s *session) Continue(last bool) bool {
	if s.budget--; s.budget == 0 {
		return false
	}
	s.request = strings.Join(s.results, "|")
	s.last = last
	if last {
		s.request += " last"
	}
	return true
}
func (s *session) Finish(dst []byte) []byte { return append(dst, "finished\n"...) }
func (s *session) Again()                   {}
func (s *session) Relay(dst []byte) []byte  { return append(dst, "relayed\n"...) }
func (s *session) Fail(dst []byte, e dialect.Error) []byte {
	return append(dst, "failed "+e.Code+": "+e.Message+"\n"...)
}
func (s *session) KeepAlive(dst []byte) []byte               { return append(dst, ":\n"...) }
func (s *session) Explain(int, []byte) (dialect.Error, bool) { return dialect.Error{}, false }

// provider answers the turns after the first in order; the last answer repeats.
type provider struct {
	mu      sync.Mutex // protects the fields below
	answers []answer
	got     []string // the bodies of requests
	heads   []http.Header
	paths   []string
}

type answer struct {
	status int
	kind   string
	body   string
	pieces []string // in place of body: each is read alone
	breaks bool     // after the pieces the connection breaks
	hangs  bool     // after the body, until the request is given up
	err    error
	header map[string]string
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.got = append(p.got, string(b))
	p.heads = append(p.heads, r.Header)
	p.paths = append(p.paths, r.Host+r.URL.RequestURI())
	a := p.answers[min(len(p.got), len(p.answers))-1]
	p.mu.Unlock()
	if a.err != nil {
		return nil, a.err
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.kind == "" {
		a.kind = "text/event-stream"
	}
	resp := &http.Response{StatusCode: a.status, Header: http.Header{"Content-Type": {a.kind}}, Body: io.NopCloser(strings.NewReader(a.body))}
	for k, v := range a.header {
		resp.Header.Set(k, v)
	}
	if len(a.pieces) > 0 {
		resp.Body = &inPieces{rest: a.pieces, breaks: a.breaks}
	}
	if a.hangs {
		resp.Body = &hanging{Reader: strings.NewReader(a.body), ctx: r.Context()}
	}
	return resp, nil
}

type inPieces struct {
	rest   []string
	breaks bool
}

func (p *inPieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 && p.breaks {
		return 0, io.ErrUnexpectedEOF
	}
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[0])
	p.rest = p.rest[1:]
	return n, nil
}
func (*inPieces) Close() error { return nil }

type hanging struct {
	io.Reader
	ctx context.Context
}

func (h *hanging) Read(p []byte) (int, error) {
	if n, err := h.Reader.Read(p); err == nil {
		return n, nil
	}
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}
func (h *hanging) Close() error { return nil }

// rig runs one response.
type rig struct {
	*provider
	clock   *quartz.Mock
	call    func(ctx context.Context, server, tool string, args json.RawMessage) (*mcp.Result, error)
	session dialect.Session
	origin  agent.Origin
	limits  agent.Limits
	emit    func(p []byte) error
	again   bool // a turn that failed is run again
	judged  []string
	report  agent.Report // of the response that has ended

	mu  sync.Mutex // protects out
	out strings.Builder
}

func newRig(t *testing.T, answers ...answer) *rig {
	r := &rig{
		provider: &provider{answers: answers}, clock: quartz.NewMock(t), session: &session{},
		origin: agent.Origin{Dialect: dialect.Responses, Pool: "p", Client: "alice", Path: "/v1/x?y=1", Authority: "api.example.com", RequestID: "request-1"},
		limits: agent.Limits{Turns: 10, Calls: 50, Time: 10 * time.Minute, ResultBytes: 1 << 20, MaxBody: 1 << 20},
	}
	r.call = func(_ context.Context, _, tool string, args json.RawMessage) (*mcp.Result, error) {
		return &mcp.Result{Content: []mcp.Content{{Text: tool + string(args)}}}, nil
	}
	r.emit = func(p []byte) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.out.Write(p)
		return nil
	}
	return r
}

func (r *rig) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

func (r *rig) agent(t *testing.T) *agent.Agent {
	t.Helper()
	a, err := agent.New(agent.Config{
		Call: func(ctx context.Context, server, tool string, args json.RawMessage) (*mcp.Result, error) {
			return r.call(ctx, server, tool, args)
		},
		Loopback: r.provider, Clock: r.clock,
	})
	require.NoError(t, err)
	return a
}

// Emit, FirstFailed and LaterFailed make the rig the response's sink and its keys.
func (r *rig) Emit(p []byte) error { return r.emit(p) }

func (r *rig) FirstFailed(f *dialect.Failure) bool {
	r.judged = append(r.judged, "first:"+f.Code)
	return r.again
}

func (r *rig) LaterFailed(key string, f *dialect.Failure) bool {
	r.judged = append(r.judged, key+":"+f.Code)
	return r.again
}

// stream runs a response that streams, whose first turn is this.
func (r *rig) stream(ctx context.Context, a *agent.Agent, first string) error {
	r.origin.Began = r.clock.Now()
	resp := agent.Begin(r.session, &r.origin, r.limits)
	defer func() { r.report = resp.Report() }()
	out, failed := resp.Write(nil, []byte(first))
	out, more := resp.End(out)
	r.out.Write(out)
	if fails := strings.HasPrefix(first, "fail") || strings.Contains(first, `"slow"`); failed != fails {
		return fmt.Errorf("the first turn failed: %v, want %v", failed, fails)
	}
	if !more {
		return nil
	}
	instead, err := a.Finish(ctx, resp, r, r)
	if instead != nil {
		panic("an answer in place of a stream")
	}
	return err
}

// whole runs a response that does not stream, whose first answer is this.
func (r *rig) whole(ctx context.Context, a *agent.Agent, first string) (*agent.ErrorAnswer, error) {
	if s, ok := r.session.(*session); ok {
		r.session = unstreamed{s}
	}
	r.origin.Began = r.clock.Now()
	resp := agent.Begin(r.session, &r.origin, r.limits)
	defer func() { r.report = resp.Report() }()
	if !resp.Whole([]byte(first)) {
		return nil, nil
	}
	return a.Finish(ctx, resp, r, nil)
}

// unstreamed is the session of a client that asked for no stream.
type unstreamed struct{ *session }

func (unstreamed) Streams() bool { return false }

func (r *rig) run(t *testing.T, first string) string {
	t.Helper()
	require.NoError(t, r.stream(t.Context(), r.agent(t), first))
	return r.text()
}

func TestTurns(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers []answer
		first   string
		limits  func(*agent.Limits)
		out     string
		got     []string
		calls   int
	}{
		{
			name: "one call", answers: []answer{{body: "the answer\n"}}, first: "call add {}",
			out: "settled 0\nthe answer\n", got: []string{"add{}"}, calls: 1,
		},
		{
			name: "three turns", answers: []answer{{body: "well\ncall b {\"n\":1}\n"}, {body: "done\n"}}, first: "call a {}",
			out: "settled 0\nwell\nsettled 0\ndone\n", got: []string{"a{}", `b{"n":1}`}, calls: 2,
		},
		{
			name: "mixed ends with the turn", first: "call a {}\nown b", answers: []answer{{}},
			out: "settled 0\nfinished\n", calls: 1,
		},
		{
			name: "no such tool", answers: []answer{{body: "sorry\n"}}, first: "call unknown {}",
			out: "settled 0\nsorry\n", got: []string{`error 0: there is no tool called "unknown"; the tools that there are stand in the request`}, calls: 1,
		},
		{
			name: "arguments are not JSON", answers: []answer{{body: "sorry\n"}}, first: "call a {",
			out: "settled 0\nsorry\n", got: []string{"error 0: the arguments of a are not JSON; call it again with a JSON object"}, calls: 1,
		},
		{
			name: "the last turn may call nothing", answers: []answer{{body: "call a {}\n"}, {body: "enough\n"}}, first: "call a {}",
			limits: func(l *agent.Limits) { l.Turns = 3 },
			out:    "settled 0\nsettled 0\nenough\n", got: []string{"a{}", "a{} last"}, calls: 2,
		},
		{
			name: "calls are used up", answers: []answer{{body: "call c {}\ncall d {}\n"}, {body: "enough\n"}}, first: "call a {}",
			limits: func(l *agent.Limits) { l.Calls = 2 }, calls: 3,
			got: []string{"a{}", "c{}|error 0: no more calls of tools are allowed in this response (2 were); answer with what is known last"},
		},
		{
			name: "a result that is too long", answers: []answer{{body: "ok\n"}}, first: `call a {"x":"ääääää"}`,
			limits: func(l *agent.Limits) { l.ResultBytes = 10 },
			out:    "settled 0\nok\n", got: []string{"a{\"x\":\"ä\n[cut: 12 of 21 bytes are left out, the limit is 10]"}, calls: 1,
		},
		{
			name: "the next turn is refused", answers: []answer{{
				status: 429, kind: "application/json", body: `{"error":{"code":"rate_limit_exceeded","message":"all configured keys are rate-limited","type":"rate_limit_error"}}`,
			}},
			first: "call a {}", out: "settled 0\nfailed rate_limit_exceeded: all configured keys are rate-limited\n", got: []string{"a{}"}, calls: 1,
		},
		{
			name: "the next turn cannot be sent", answers: []answer{{err: errors.New("no such socket")}}, first: "call a {}",
			out: "settled 0\nfailed server_error: the next turn could not be sent: Envoy's loopback listener does not answer; the operator finds the reason in Keyturn's log\n", got: []string{"a{}"}, calls: 1,
		},
		{
			name: "the next turn is no stream", answers: []answer{{kind: "text/html", body: "<html>"}}, first: "call a {}",
			out: "settled 0\nfailed server_error: the provider answered the next turn with status 200 and no error that can be read\n", got: []string{"a{}"}, calls: 1,
		},
		{
			name: "the request is as large as may be", answers: []answer{{body: "done\n"}}, first: "call a {}", limits: func(l *agent.Limits) { l.MaxBody = 3 },
			out: "settled 0\ndone\n", got: []string{"a{}"}, calls: 1,
		},
		{
			name: "the request grows too large", answers: []answer{{}}, first: "call a {}", limits: func(l *agent.Limits) { l.MaxBody = 2 },
			out: "settled 0\nfailed request_too_large: the conversation with the results of the tools outgrew the largest request that this gateway sends; ask for less at a time\n", calls: 1,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.answers...)
			if tc.limits != nil {
				tc.limits(&r.limits)
			}
			out := r.run(t, tc.first)
			if tc.out != "" {
				require.Equal(t, tc.out, out)
			}
			require.Equal(t, tc.got, r.got)
			require.Equal(t, tc.calls, r.report.Calls)
			if len(r.heads) > 0 {
				require.Equal(t, "2", r.heads[0].Get("X-Keyturn-Turn"))
				require.Equal(t, "p", r.heads[0].Get("X-Keyturn-Pool"))
				require.Equal(t, "alice", r.heads[0].Get("X-Keyturn-Client"))
				require.Equal(t, "request-1", r.heads[0].Get("X-Request-Id"))
				require.Equal(t, "m", r.heads[0].Get("X-Keyturn-Model"))
				require.Equal(t, "api.example.com/v1/x?y=1", r.paths[0])
			}
		})
	}
}

// TestTalk holds that a turn's request says which conversation the first one's body named.
func TestTalk(t *testing.T) {
	r := newRig(t, answer{body: "done"})
	r.origin.Talk = 1<<64 - 1
	r.run(t, "call a {}")
	require.Equal(t, "18446744073709551615", r.heads[0].Get("X-Keyturn-Talk"))
}

// TestUnsaidHeaders holds that a turn's request says nothing of what is not known, or too long to be said.
func TestUnsaidHeaders(t *testing.T) {
	r := newRig(t, answer{body: "done"})
	r.origin.Client, r.origin.RequestID = "", ""
	r.session = &named{&session{}, strings.Repeat("m", 1<<10)}
	r.run(t, "call a {}")
	require.NotContains(t, r.heads[0], "X-Keyturn-Client")
	require.NotContains(t, r.heads[0], "X-Request-Id")
	require.NotContains(t, r.heads[0], "X-Keyturn-Talk")
	require.Len(t, r.heads[0].Get("X-Keyturn-Model"), 1<<10)
	for _, model := range []string{"", strings.Repeat("m", 1<<10+1)} {
		r := newRig(t, answer{body: "done"})
		r.session = &named{&session{}, model}
		r.run(t, "call a {}")
		require.NotContains(t, r.heads[0], "X-Keyturn-Model")
	}
}

// named is a session of this model.
type named struct {
	*session
	model string
}

func (n *named) Model() string { return n.model }

// TestEveryLimitEnds holds that a model that never stops calling is stopped by each limit alone.
func TestEveryLimitEnds(t *testing.T) {
	for name, limit := range map[string]func(*agent.Limits){
		"turns": func(l *agent.Limits) { l.Turns = 4 },
		"calls": func(l *agent.Limits) { l.Calls = 3 },
		"time":  func(l *agent.Limits) { l.Time = 30 * time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, answer{body: "call a {}\n"})
			r.limits = agent.Limits{Turns: 1000, Calls: 1000, Time: 1000 * time.Hour, ResultBytes: 1 << 20, MaxBody: 1 << 20}
			limit(&r.limits)
			r.call = func(context.Context, string, string, json.RawMessage) (*mcp.Result, error) {
				r.clock.Advance(10 * time.Second)
				return &mcp.Result{}, nil
			}
			turns := 0
			r.answers = []answer{{body: "call a {}\n"}}
			loop := &stopper{session: &session{}, turns: &turns}
			r.session = loop
			r.run(t, "call a {}")
			require.True(t, loop.last, "the model was told to stop")
			require.Less(t, turns, 8)
		})
	}
}

// TestModelThatNeverStops holds that the response ends whatever the model does after it was told to call nothing.
func TestModelThatNeverStops(t *testing.T) {
	r := newRig(t, answer{body: "call a {}\n"})
	r.limits.Turns = 3
	require.Equal(t, "settled 0\nsettled 0\nsettled 0\nfinished\n", r.run(t, "call a {}"))
	require.Equal(t, []string{"a{}", "a{} last"}, r.got)

	ran := 0
	counting := func(context.Context, string, string, json.RawMessage) (*mcp.Result, error) {
		ran++
		return &mcp.Result{}, nil
	}
	r = newRig(t, answer{body: "call a {}\ncall b {}\n"})
	r.limits.Turns, r.call = 2, counting
	require.Equal(t, "settled 0\nsettled 0\nsettled 1\nfinished\n", r.run(t, "call a {}"), "each call has its result")
	require.Equal(t, 1, ran, "what is forbidden does not run")

	r = newRig(t, answer{kind: "application/json", body: "call a {}\ncall b {}"})
	r.limits.Calls, r.call = 1, counting
	got, err := r.whole(t.Context(), r.agent(t), "call a {}")
	require.NoError(t, err)
	require.Nil(t, got)
	require.Equal(t, []string{" last"}, r.got)
	require.Equal(t, 3, r.report.Calls)
	require.Equal(t, 2, ran)
}

// TestTimeIsOver holds that no call begins when the time for them is over.
func TestTimeIsOver(t *testing.T) {
	r := newRig(t, answer{body: "enough\n"})
	r.limits.Time = 1
	r.call = func(context.Context, string, string, json.RawMessage) (*mcp.Result, error) {
		t.Error("a call began")
		return &mcp.Result{}, nil
	}
	first := &late{&session{}, func() { r.clock.Advance(1).MustWait(t.Context()) }}
	r.session = first
	require.Equal(t, "settled 0\nsettled 1\nenough\n", r.run(t, "call a {}\ncall b {}"))
	require.Equal(t, 2, strings.Count(r.got[0], "the time for tools is used up (1ns)"))
	require.True(t, first.last)
}

// late is a session whose turns take their time.
type late struct {
	*session
	takes func()
}

func (l *late) End(dst []byte) ([]byte, dialect.Turn) {
	l.takes()
	return l.session.End(dst)
}

// TestRunAgainIsNoTurnMore holds that a turn which is run again takes nothing from those that the response may have.
func TestRunAgainIsNoTurnMore(t *testing.T) {
	r := newRig(t, answer{body: "call a {}\n"}, answer{body: "call b {}\n"}, answer{body: "done\n"})
	r.limits.Turns, r.again = 3, true
	require.Equal(t, "settled 0\nsettled 0\ndone\n", r.run(t, "fail rate_limit_exceeded"))
	require.Equal(t, []string{"", "a{}", "b{} last"}, r.got)
}

// TestCut holds that a later turn whose stream lacks its end is a problem, and that the first turn's is the client's to see.
func TestCut(t *testing.T) {
	r := newRig(t, answer{body: "do\n"})
	r.session = &shaped{&session{}, func(turn *dialect.Turn) { turn.Cut = len(turn.Calls) == 0 }}
	require.Equal(t, "settled 0\ndo\nfailed server_error: the provider's answer broke off; try again\n", r.run(t, "call a {}"))
	require.Equal(t, 2, r.report.Turns)

	r = newRig(t, answer{kind: "application/json", body: "do"})
	r.session = cutWhole{unstreamed{&session{}}}
	got, err := r.whole(t.Context(), r.agent(t), "call a {}")
	require.NoError(t, err)
	require.Nil(t, got, "a whole answer is not cut")

	r = newRig(t)
	r.session = &shaped{&session{}, func(turn *dialect.Turn) { turn.Cut = true }}
	require.Equal(t, "do\n", r.run(t, "do\n"))
}

// cutWhole says of each answer that is no stream that it was cut.
type cutWhole struct{ unstreamed }

func (c cutWhole) Whole(body []byte) dialect.Turn {
	turn := c.unstreamed.Whole(body)
	turn.Cut = true
	return turn
}

// stopper is a session whose model obeys when it may call no more tools.
type stopper struct {
	*session
	turns *int
}

func (s *stopper) End(dst []byte) ([]byte, dialect.Turn) {
	dst, t := s.session.End(dst)
	if *s.turns++; s.last {
		t.Calls = nil
	}
	return dst, t
}

func TestFailuresWithinA200(t *testing.T) {
	t.Run("another key", func(t *testing.T) {
		r := newRig(t, answer{body: "fail insufficient_quota\n", header: map[string]string{"X-Keyturn-Used-Name": "k1"}}, answer{body: "fine\n"})
		r.again = true
		require.Equal(t, "fine\n", r.run(t, "fail rate_limit_exceeded"))
		require.Equal(t, []string{"first:rate_limit_exceeded", "k1:insufficient_quota"}, r.judged)
		require.Equal(t, []string{"", ""}, r.got, "the same request again")
	})
	t.Run("not the key's", func(t *testing.T) {
		r := newRig(t, answer{})
		require.Equal(t, "relayed\n", r.run(t, "fail content_policy"))
	})
	t.Run("for ever", func(t *testing.T) {
		r := newRig(t, answer{body: "fail rate_limit_exceeded\n", header: map[string]string{"X-Keyturn-Used-Name": "k1"}})
		r.again = true
		require.Equal(t, "relayed\n", r.run(t, "fail rate_limit_exceeded"))
		require.Len(t, r.got, 16)
	})
	t.Run("nobody knows whose", func(t *testing.T) { // a listener on the way has removed what the answer used
		r := newRig(t, answer{body: "fail rate_limit_exceeded\n"})
		r.again = true
		require.Equal(t, "relayed\n", r.run(t, "fail rate_limit_exceeded"))
		require.Equal(t, []string{"first:rate_limit_exceeded"}, r.judged, "only the first turn's key")
	})
}

// TestKeepAlive holds that a client hears something every 10 s while a tool runs and while the next turn thinks.
func TestKeepAlive(t *testing.T) {
	r := newRig(t, answer{body: "late\n"})
	release := make(chan struct{})
	r.call = func(context.Context, string, string, json.RawMessage) (*mcp.Result, error) {
		<-release
		return &mcp.Result{}, nil
	}
	trap := r.clock.Trap().NewTimer("agent", "keepalive")
	defer trap.Close()
	reset := r.clock.Trap().TimerReset("agent", "keepalive")
	defer reset.Close()
	done := make(chan error, 1)
	a := r.agent(t)
	go func() { done <- r.stream(t.Context(), a, "call slow {}") }()
	trap.MustWait(t.Context()).MustRelease(t.Context())
	for range 6 {
		r.clock.Advance(10 * time.Second).MustWait(t.Context())
		reset.MustWait(t.Context()).MustRelease(t.Context())
	}
	close(release)
	for range 2 { // the settled call, and the next turn's text
		reset.MustWait(t.Context()).MustRelease(t.Context())
	}
	require.NoError(t, <-done)
	require.Equal(t, strings.Repeat(":\n", 6)+"settled 0\nlate\n", r.text())
}

// mute is a session that may say nothing at first, as after half a line.
type mute struct {
	*session
	times int
}

func (m *mute) KeepAlive(dst []byte) []byte {
	if m.times--; m.times >= 0 {
		return dst
	}
	return m.session.KeepAlive(dst)
}

// TestNothingToSay holds that keep-alives go on after one that could not be said.
func TestNothingToSay(t *testing.T) {
	r := newRig(t, answer{body: "late\n"})
	release := make(chan struct{})
	r.call = func(context.Context, string, string, json.RawMessage) (*mcp.Result, error) {
		<-release
		return &mcp.Result{}, nil
	}
	r.session = &mute{&session{}, 2}
	reset := r.clock.Trap().TimerReset("agent", "keepalive")
	defer reset.Close()
	begun := r.clock.Trap().NewTimer("agent", "keepalive")
	defer begun.Close()
	done := make(chan error, 1)
	a := r.agent(t)
	go func() { done <- r.stream(t.Context(), a, "call slow {}") }()
	begun.MustWait(t.Context()).MustRelease(t.Context())
	for range 4 {
		r.clock.Advance(10 * time.Second).MustWait(t.Context())
		reset.MustWait(t.Context()).MustRelease(t.Context())
	}
	close(release)
	for range 2 {
		reset.MustWait(t.Context()).MustRelease(t.Context())
	}
	require.NoError(t, <-done)
	require.Equal(t, ":\n:\nsettled 0\nlate\n", r.text())
}

// TestKeepAliveCannotBeSent holds that the response ends with the first keep-alive that cannot be sent, while a tool runs and while a turn
// thinks.
func TestKeepAliveCannotBeSent(t *testing.T) {
	for name, slow := range map[string]bool{"a tool runs": true, "a turn thinks": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, answer{body: "", hangs: true})
			if slow {
				r.call = func(ctx context.Context, _, _ string, _ json.RawMessage) (*mcp.Result, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}
			}
			gone := errors.New("gone")
			r.emit = func(p []byte) error {
				if string(p) == ":\n" {
					return gone
				}
				return nil
			}
			reset := r.clock.Trap().TimerReset("agent", "keepalive")
			defer reset.Close()
			begun := r.clock.Trap().NewTimer("agent", "keepalive")
			defer begun.Close()
			done := make(chan error, 1)
			a := r.agent(t)
			go func() { done <- r.stream(t.Context(), a, "call a {}") }()
			begun.MustWait(t.Context()).MustRelease(t.Context())
			if !slow { // the result is shown
				reset.MustWait(t.Context()).MustRelease(t.Context())
			}
			r.clock.Advance(10 * time.Second).MustWait(t.Context())
			reset.MustWait(t.Context()).MustRelease(t.Context())
			require.ErrorIs(t, <-done, gone)
		})
	}
}

// TestTime holds that calls are cut short when the time is over, and the model answers with what it has.
func TestTime(t *testing.T) {
	r := newRig(t, answer{body: "enough\n"})
	r.limits.Time = time.Minute
	begun := make(chan struct{})
	r.call = func(ctx context.Context, _, _ string, _ json.RawMessage) (*mcp.Result, error) {
		close(begun)
		<-ctx.Done()
		return nil, &mcp.Error{Kind: mcp.Canceled, Message: "canceled"}
	}
	done := make(chan error, 1)
	a := r.agent(t)
	go func() { done <- r.stream(t.Context(), a, "call slow {}") }()
	<-begun
	for len(r.text()) == 0 || !strings.Contains(r.text(), "settled") {
		r.clock.Advance(10 * time.Second).MustWait(t.Context())
	}
	require.NoError(t, <-done)
	require.Equal(t, []string{"error 0: the time for tools is used up (1m0s); answer with what is known last"}, r.got)
}

// TestClientLeaves holds that the tool and the turn hear of it, and that nothing is left running.
func TestClientLeaves(t *testing.T) {
	t.Run("while a tool runs", func(t *testing.T) {
		r := newRig(t, answer{})
		ctx, leave := context.WithCancel(t.Context())
		heard := make(chan struct{})
		r.call = func(ctx context.Context, _, _ string, _ json.RawMessage) (*mcp.Result, error) {
			leave()
			<-ctx.Done()
			close(heard)
			return nil, ctx.Err()
		}
		require.ErrorIs(t, r.stream(ctx, r.agent(t), "call slow {}"), context.Canceled)
		<-heard
		require.Empty(t, r.got)
	})
	t.Run("while a turn streams", func(t *testing.T) {
		r := newRig(t, answer{body: "begins\n", hangs: true})
		ctx, leave := context.WithCancel(t.Context())
		emit := r.emit
		r.emit = func(p []byte) error {
			if strings.Contains(string(p), "begins") {
				leave()
			}
			return emit(p)
		}
		require.ErrorIs(t, r.stream(ctx, r.agent(t), "call a {}"), context.Canceled)
	})
	t.Run("and cannot be written to", func(t *testing.T) {
		r := newRig(t, answer{body: "begins\n", hangs: true})
		gone := errors.New("gone")
		r.emit = func(p []byte) error {
			if strings.Contains(string(p), "begins") {
				return gone
			}
			return nil
		}
		require.ErrorIs(t, r.stream(t.Context(), r.agent(t), "call a {}"), gone)
	})
}

// TestParallel holds that the calls of a turn run at the same time, and are settled as they end.
func TestParallel(t *testing.T) {
	r := newRig(t, answer{body: "done\n"})
	var all sync.WaitGroup
	all.Add(4)
	r.call = func(_ context.Context, _, tool string, _ json.RawMessage) (*mcp.Result, error) {
		all.Done()
		all.Wait() // none ends before all have begun
		return &mcp.Result{Content: []mcp.Content{{Text: tool}}}, nil
	}
	out := r.run(t, "call a {}\ncall b {}\ncall c {}\ncall d {}\n")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	require.Equal(t, []string{"done", "settled 0", "settled 1", "settled 2", "settled 3"}, lines)
	require.Equal(t, []string{"a|b|c|d"}, r.got)
}

func TestWhole(t *testing.T) {
	run := func(t *testing.T, r *rig, first string) *agent.ErrorAnswer {
		t.Helper()
		a, err := r.whole(t.Context(), r.agent(t), first)
		require.NoError(t, err)
		return a
	}
	json := "application/json"
	t.Run("three turns", func(t *testing.T) {
		r := newRig(t, answer{kind: json, body: "call b {}"}, answer{kind: json, body: "done"})
		require.Nil(t, run(t, r, "call a {}"))
		require.Equal(t, []string{"a{}", "b{}"}, r.got)
		require.Equal(t, "body of b{}", string(r.session.Body()))
		require.Equal(t, dialect.Usage{Input: 30, Output: 3}, r.report.Usage)
		require.Equal(t, 3, r.report.Turns)
	})
	t.Run("the true status", func(t *testing.T) {
		r := newRig(t, answer{
			status: 429, kind: json, body: `{"error":{}}`,
			header: map[string]string{
				"Retry-After": "3", "Set-Cookie": "x", "X-Keyturn-Error": "rate_limited", "X-Keyturn-Used-Name": "k1",
				"X-Should-Retry": "true", "X-Provider": "p", "Openai-Organization": "o", "Keep-Alive": "timeout=5", "X-Envoy-Upstream-Service-Time": "3",
			},
		})
		got := run(t, r, "call a {}")
		require.Equal(t, 429, got.Status)
		require.Equal(t, `{"error":{}}`, string(got.Body))
		require.Equal(t, http.Header{"Content-Type": {json}, "Retry-After": {"3"}, "X-Keyturn-Error": {"rate_limited"}, "X-Should-Retry": {"false"}, "X-Provider": {"p"}}, got.Header)
		require.Equal(t, "k1", r.report.Key)
	})
	t.Run("unreachable", func(t *testing.T) {
		got := run(t, newRig(t, answer{err: errors.New("x")}), "call a {}")
		require.Equal(t, 502, got.Status)
		require.Contains(t, string(got.Body), "loopback listener does not answer")
	})
	t.Run("at the limit", func(t *testing.T) {
		const most = len("body of a{}")
		for body, status := range map[string]int{"done": 0, strings.Repeat("x", most): 0, strings.Repeat("x", most+1): 502} {
			r := newRig(t, answer{kind: json, body: body})
			r.limits.MaxBody = int64(most)
			got := run(t, r, "call a {}")
			if status == 0 {
				require.Nil(t, got, "an answer of %d bytes", len(body))
				continue
			}
			require.Equal(t, status, got.Status)
			require.Equal(t, "server_error", got.Header.Get("X-Keyturn-Error"))
			require.Contains(t, string(got.Body), "larger than this gateway reads")
		}
	})
	t.Run("the response outgrows the limit", func(t *testing.T) { // which none of its answers does
		for _, first := range []string{"call a {}", "call a {}\nown b"} {
			r := newRig(t, answer{kind: json, body: "done"})
			r.limits.MaxBody = int64(len("body of "))
			got := run(t, r, first)
			if strings.Contains(first, "own") {
				require.Nil(t, got, "exactly the limit")
				continue
			}
			require.Equal(t, 502, got.Status)
			require.Contains(t, string(got.Body), "larger than this gateway reads")
		}
	})
	t.Run("the request grows too large", func(t *testing.T) {
		r := newRig(t, answer{kind: json, body: "done"})
		r.limits.MaxBody = 2
		got := run(t, r, "call a {}")
		require.Equal(t, 413, got.Status)
		require.Equal(t, "request_too_large", got.Header.Get("X-Keyturn-Error"))
		require.Empty(t, r.got)
	})
	t.Run("breaks off", func(t *testing.T) {
		r := newRig(t, answer{kind: json, pieces: []string{"do", "ne"}, breaks: true})
		got := run(t, r, "call a {}")
		require.Equal(t, 502, got.Status)
		require.Contains(t, string(got.Body), "broke off")
	})
	t.Run("failures within a 200", func(t *testing.T) {
		r := newRig(t, answer{kind: json, body: "fail insufficient_quota", header: map[string]string{"X-Keyturn-Used-Name": "k1"}}, answer{kind: json, body: "done"})
		r.again = true
		require.Nil(t, run(t, r, "fail rate_limit_exceeded"))
		require.Equal(t, []string{"first:rate_limit_exceeded", "k1:insufficient_quota"}, r.judged)
		require.Equal(t, []string{"", ""}, r.got, "the same request again")
		r = newRig(t)
		require.Nil(t, run(t, r, "fail content_policy"), "it is the client's to read")
		require.Empty(t, r.got)
	})
	t.Run("the client leaves", func(t *testing.T) {
		r := newRig(t, answer{kind: json, hangs: true})
		ctx, leave := context.WithCancel(t.Context())
		r.call = func(context.Context, string, string, json0) (*mcp.Result, error) {
			leave()
			return &mcp.Result{}, nil
		}
		_, err := r.whole(ctx, r.agent(t), "call a {}")
		require.ErrorIs(t, err, context.Canceled)
	})
}

type json0 = json.RawMessage
