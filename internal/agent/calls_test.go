package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/mcp"
)

// keeper keeps the results that it is told.
type keeper struct {
	*session
	got []dialect.Result
}

func (k *keeper) Settle(dst []byte, i int, r dialect.Result) []byte {
	k.got = append(k.got, r)
	return k.session.Settle(dst, i, r)
}

// resultOf runs one call that has this outcome.
func resultOf(t *testing.T, limit int64, res *mcp.Result, err error) dialect.Result {
	t.Helper()
	r := newRig(t, answer{body: "done\n"})
	r.limits.ResultBytes = limit
	r.call = func(context.Context, string, string, json.RawMessage) (*mcp.Result, error) { return res, err }
	k := &keeper{session: &session{}}
	r.session = k
	r.run(t, "call a {}")
	require.Len(t, k.got, 1)
	return k.got[0]
}

func TestResults(t *testing.T) {
	data := []byte("0123456789")
	text := func(s string) dialect.Part { return dialect.Part{Text: s} }
	for _, tc := range []struct {
		name string
		res  mcp.Result
		want []dialect.Part
	}{
		{"nothing", mcp.Result{}, nil},
		{"text", mcp.Result{Content: []mcp.Content{{Text: "a"}, {Text: "b"}}}, []dialect.Part{text("a"), text("b")}},
		{"structured alone", mcp.Result{Structured: json.RawMessage(`{"a":1}`)}, []dialect.Part{text(`{"a":1}`)}},
		{"structured beside text", mcp.Result{Content: []mcp.Content{{Text: "a"}}, Structured: json.RawMessage(`{"a":1}`)}, []dialect.Part{text("a")}},
		{"structured, too long", mcp.Result{Structured: json.RawMessage(`"` + strings.Repeat("a", 118) + `"`)}, []dialect.Part{
			text(`"` + strings.Repeat("a", 99) + "\n[cut: 20 of 120 bytes are left out, the limit is 100]"),
		}},
		{"image", mcp.Result{Content: []mcp.Content{{Kind: mcp.Image, Data: data, MIME: "image/png"}}}, []dialect.Part{
			{Kind: dialect.ImagePart, Text: "image image/png, 10 bytes", Data: data, MIME: "image/png"},
		}},
		{"audio", mcp.Result{Content: []mcp.Content{{Kind: mcp.Audio, Data: data, MIME: "audio/wav"}}}, []dialect.Part{
			{Kind: dialect.AudioPart, Text: "audio audio/wav, 10 bytes", Data: data, MIME: "audio/wav"},
		}},
		{"resource with text", mcp.Result{Content: []mcp.Content{{Kind: mcp.Resource, URI: "x:y", Text: "a"}}}, []dialect.Part{text("a")}},
		{"resource with bytes", mcp.Result{Content: []mcp.Content{{Kind: mcp.Resource, URI: "x:y", MIME: "a/b", Data: data}}}, []dialect.Part{
			{Kind: dialect.FilePart, Text: "file x:y, a/b, 10 bytes", Data: data, MIME: "a/b", Name: "x:y"},
		}},
		{"link", mcp.Result{Content: []mcp.Content{{Kind: mcp.Link, URI: "x:y", Name: "n"}}}, []dialect.Part{text("n x:y")}},
		{"a kind that came later", mcp.Result{Content: []mcp.Content{{Kind: mcp.Other, Text: `{"type":"new"}`}}}, []dialect.Part{text(`{"type":"new"}`)}},
		{"an image that is too large", mcp.Result{Content: []mcp.Content{{Text: strings.Repeat("a", 60)}, {Kind: mcp.Image, Data: data, MIME: "image/png"}}}, []dialect.Part{
			text(strings.Repeat("a", 60)), text("[left out: image image/png, 10 bytes; the limit is 100 bytes]"),
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, dialect.Result{Parts: tc.want}, resultOf(t, 100, &tc.res, nil))
		})
	}
	require.True(t, resultOf(t, 100, &mcp.Result{IsError: true, Content: []mcp.Content{{Text: "no"}}}, nil).IsError)
}

// TestResultIsBounded holds that no kind of content brings the model more than the limit and a few words: what describes bytes is
// the server's own too, and so is how many pieces there are.
func TestResultIsBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, c := range map[string]mcp.Content{
		"text": {Text: long}, "data": {Kind: mcp.Image, Data: []byte(long)}, "mime": {Kind: mcp.Audio, MIME: long}, "name": {Kind: mcp.Image, Name: long},
		"uri": {Kind: mcp.Resource, URI: long, Data: []byte("x")}, "link": {Kind: mcp.Link, URI: long}, "other": {Kind: mcp.Other, Text: long},
	} {
		t.Run(name, func(t *testing.T) {
			size := 0
			for _, p := range resultOf(t, 1000, &mcp.Result{Content: []mcp.Content{c, c}}, nil).Parts {
				size += len(p.Text) + len(p.Data) + len(p.MIME) + len(p.Name)
			}
			require.Less(t, size, 1000+2*300)
		})
	}
	got := resultOf(t, 1000, &mcp.Result{Content: make([]mcp.Content, 100_000)}, nil)
	require.Len(t, got.Parts, 1001)
	require.Equal(t, "[left out: 99000 more pieces]", got.Parts[1000].Text)
}

// TestCallErrors holds that the model reads what the server said, in the kind that the dialects know.
func TestCallErrors(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want dialect.ToolError
	}{
		{&mcp.Error{Kind: mcp.Protocol, Code: -32602, Message: "no such city"}, dialect.ToolError{Kind: dialect.ProtocolError, Code: -32602, Message: "no such city"}},
		{&mcp.Error{Kind: mcp.HTTP, Status: 503}, dialect.ToolError{Kind: dialect.HTTPError, Code: 503, Message: "503"}},
		{&mcp.Error{Kind: mcp.Refused, Status: 401}, dialect.ToolError{Kind: dialect.HTTPError, Code: 401, Message: "401"}},
		{&mcp.Error{Kind: mcp.Unreachable}, dialect.ToolError{Kind: dialect.HTTPError}},
		{&mcp.Error{Kind: mcp.Timeout}, dialect.ToolError{Message: "no answer in time"}},
		{fmt.Errorf("a bug with secrets"), dialect.ToolError{Message: "the tool could not be called"}},
	} {
		got := resultOf(t, 100, nil, tc.err)
		require.Contains(t, got.Error.Message, tc.want.Message)
		require.NotContains(t, got.Error.Message, "secrets")
		got.Error.Message, tc.want.Message = "", ""
		require.Equal(t, tc.want, *got.Error)
	}
}

// limited is a session whose client has a limit of its own for calls.
type limited struct {
	*session
	most int
}

func (l *limited) End(dst []byte) ([]byte, dialect.Turn) {
	dst, t := l.session.End(dst)
	t.MaxCalls = l.most
	return dst, t
}

func TestClientsOwnLimit(t *testing.T) {
	for most, want := range map[int]int32{0: 3, 1: 1, 2: 2, 5: 3, -1: 0} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			r := newRig(t, answer{body: "done\n"})
			var ran atomic.Int32
			r.call = func(context.Context, string, string, json.RawMessage) (*mcp.Result, error) {
				ran.Add(1)
				return &mcp.Result{}, nil
			}
			s := &limited{&session{}, most}
			r.session = s
			r.run(t, "call a {}\ncall b {}\ncall c {}\n")
			require.Equal(t, want, ran.Load())
			require.Equal(t, 3-int(want), strings.Count(r.got[0], "no more calls of tools are allowed"))
			require.Equal(t, want < 3, s.last, "a model that asks for more is told to stop")
		})
	}
}

// TestManyCallsWait holds that a turn's calls run at the same time, but not without a bound, and that all are settled.
func TestManyCallsWait(t *testing.T) {
	r := newRig(t, answer{body: "done\n"})
	var now, most atomic.Int32
	sixteen := make(chan struct{})
	var once sync.Once
	r.call = func(context.Context, string, string, json.RawMessage) (*mcp.Result, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m; m = most.Load() {
			if most.CompareAndSwap(m, n) {
				break
			}
		}
		if n == 16 {
			once.Do(func() { close(sixteen) })
		}
		<-sixteen
		return &mcp.Result{}, nil
	}
	out := r.run(t, strings.Repeat("call a {}\n", 40))
	require.Equal(t, 40, strings.Count(out, "settled"))
	require.Equal(t, int32(16), most.Load())
}

// TestPanics holds that a bug in a call or in a turn is raised where the response is, and does not end the process.
func TestPanics(t *testing.T) {
	bug := func(context.Context, string, string, json.RawMessage) (*mcp.Result, error) { panic("a bug") }
	raised := func(t *testing.T, run func()) {
		t.Helper()
		defer func() {
			err, ok := recover().(error)
			require.True(t, ok)
			require.ErrorContains(t, err, "a bug")
			require.ErrorContains(t, err, "agent_test", "its own stack")
		}()
		run()
	}
	t.Run("in a call of a stream", func(t *testing.T) {
		r := newRig(t, answer{})
		r.call = bug
		raised(t, func() { _ = r.stream(t.Context(), r.agent(t), "call a {}") })
	})
	t.Run("in a call", func(t *testing.T) {
		r := newRig(t, answer{})
		r.call = bug
		raised(t, func() { _, _ = r.whole(t.Context(), r.agent(t), "call a {}") })
	})
	t.Run("in a turn", func(t *testing.T) {
		r := newRig(t)
		a, err := agent.New(agent.Config{Call: r.call, Loopback: buggy{}, Clock: r.clock})
		require.NoError(t, err)
		r.call = func(context.Context, string, string, json.RawMessage) (*mcp.Result, error) { return &mcp.Result{}, nil }
		raised(t, func() { _ = r.stream(t.Context(), a, "call a {}") })
	})
}

// TestArgumentsThatDidNotCome holds that they are not taken for {}, but of a tool that takes none.
func TestArgumentsThatDidNotCome(t *testing.T) {
	for schema, runs := range map[string]bool{
		``: false, `{"type":"object"}`: true, `{"type":"object","properties":{}}`: true, `{"type":"object","properties":{},"additionalProperties":false}`: true,
		`{"type":"object","properties":{"x":{"type":"number"}}}`: false, `{"type":"object","additionalProperties":{"type":"string"}}`: false,
		`{"type":"object","required":["x"]}`: false, `{"type":"object","$ref":"#/$defs/a"}`: false, `{"anyOf":[{}]}`: false,
	} {
		t.Run(schema, func(t *testing.T) {
			r := newRig(t, answer{body: "done\n"})
			ran := ""
			r.call = func(_ context.Context, _, _ string, args json.RawMessage) (*mcp.Result, error) {
				ran = string(args)
				return &mcp.Result{}, nil
			}
			k := &keeper{session: &session{schema: schema}}
			r.session = k
			r.run(t, "call a ")
			require.Len(t, k.got, 1)
			if runs {
				require.Equal(t, "{}", ran)
				return
			}
			require.Empty(t, ran)
			require.Contains(t, k.got[0].Error.Message, "did not come")
		})
	}
}
