package dialect

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/internal/dialect/turn"
	"github.com/keyturn/keyturn/sse"
)

// toy is the smallest dialect that there can be: the recipe of CONTRIBUTING.md, followed. A request is {"ask": …, "tools": [names],
// "did": [results]}; a stream has events {"say": …}, {"call": {"id", "name", "arguments"}}, {"error": …} and {"end": true}.
type toy struct{}

func (toy) Name() string                     { return "toy" }
func (toy) Matches(path string) bool         { return strings.HasSuffix(path, "/toy") }
func (toy) IsStream(contentType string) bool { return relay.IsEventStream(contentType) }
func (toy) ErrorBody(e Error) []byte {
	return append(rawjson.AppendString([]byte(`{"oops":`), e.Message), '}')
}

func (toy) Open(r Request, o Options) Session {
	if !rawjson.IsObject(r.Body) || !rawjson.Valid(r.Body) || len(o.Tools) == 0 {
		return nil
	}
	s := &toySession{}
	var names []byte
	for _, t := range o.Tools {
		if s.names.Offer(t.Name, t, 0) {
			names = rawjson.AppendString(rawjson.Separate(names), t.Name)
		}
	}
	var e rawjson.Edits
	e.Set(r.Body, rawjson.Whole(r.Body), "tools", append(append([]byte{'['}, names...), ']'))
	s.request = e.Apply(nil, r.Body)
	s.relay.Init(s)
	s.begin()
	return s
}

// toySession is one response in it. The client sees nothing of Keyturn's calls.
type toySession struct {
	names   turn.Names
	relay   relay.Relay
	request []byte
	results []byte // of the turn's calls, joined by commas
	end     []byte // the event that ends the turn, while there are calls to run
	turn    Turn
	over    bool
	plain   []byte // the answer where nothing streams
}

func (s *toySession) begin() {
	s.turn, s.end, s.results, s.over = Turn{Cut: true}, nil, nil, false
	s.relay.Begin()
}

// Block says what becomes of an event.
func (s *toySession) Block(ev *sse.Event) {
	at := rawjson.Whole(ev.Data)
	if !ev.Dispatched || !rawjson.Valid(ev.Data) {
		s.relay.Aside(ev)
		return
	}
	call, called := rawjson.Lookup(ev.Data, at, "call")
	switch _, failed := rawjson.Lookup(ev.Data, at, "error"); {
	case failed && s.relay.Holding():
		s.turn.Failure = &Failure{Error: Error{Message: rawjson.Text(ev.Data, at, "error")}, Body: bytes.Clone(ev.Data)}
		s.turn.Cut = false
		s.relay.Put(ev)
		s.relay.Fail()
	case called && s.names.Owner(rawjson.Text(ev.Data, call, "name")) == turn.Keyturn:
		c := Call{ID: rawjson.Text(ev.Data, call, "id"), Name: rawjson.Text(ev.Data, call, "name"), Arguments: []byte(rawjson.Text(ev.Data, call, "arguments"))}
		c.Tool, _ = s.names.Own(c.Name)
		s.turn.Calls = append(s.turn.Calls, c)
	case rawjson.Text(ev.Data, at, "say") != "" || called:
		s.relay.Release()
		s.relay.Put(ev)
	default:
		s.over, s.turn.Cut = !ev.Truncated, ev.Truncated
		if s.end = bytes.Clone(ev.Data); len(s.turn.Calls) == 0 {
			s.relay.Put(ev)
		}
	}
}

func (s *toySession) GiveUp() bool { return true }

func (s *toySession) Request() []byte { return s.request }
func (s *toySession) Model() string   { return "" }
func (s *toySession) Streams() bool   { return true }
func (s *toySession) Reads() bool     { return true }
func (s *toySession) Body() []byte    { return s.plain }

func (s *toySession) Write(dst, p []byte) ([]byte, State) {
	dst = s.relay.Write(dst, p)
	switch {
	case s.turn.Failure != nil:
		return dst, Failing
	case s.over:
		return dst, Over
	}
	return dst, Going
}

func (s *toySession) End(dst []byte) ([]byte, Turn) {
	s.relay.Close(dst)
	return s.relay.End(), s.turn
}

func (s *toySession) Whole(body []byte) Turn {
	s.plain = body
	return Turn{}
}

func (s *toySession) Settle(dst []byte, i int, r Result) []byte {
	s.results = rawjson.AppendString(rawjson.Separate(s.results), s.turn.Calls[i].ID+": "+r.Parts[0].Text)
	return dst
}

func (s *toySession) Continue(bool) bool {
	var e rawjson.Edits
	e.Set(s.request, rawjson.Whole(s.request), "did", append(append([]byte{'['}, s.results...), ']'))
	s.request = e.Apply(nil, s.request)
	s.begin()
	return true
}

func (s *toySession) Finish(dst []byte) []byte {
	s.relay.To(dst)
	s.relay.Event("", s.end)
	return s.relay.Out()
}

func (s *toySession) Again()                            { s.begin() }
func (s *toySession) Relay(dst []byte) []byte           { return s.relay.HandOver(dst) }
func (s *toySession) KeepAlive(dst []byte) []byte       { return s.relay.KeepAlive(dst, ": wait\n\n") }
func (s *toySession) Explain(int, []byte) (Error, bool) { return Error{}, false }
func (s *toySession) Fail(dst []byte, e Error) []byte {
	s.relay.Interrupt(dst)
	s.relay.Event("", toy{}.ErrorBody(e))
	return s.relay.Out()
}

// TestAddingADialect follows CONTRIBUTING.md: a line in the table, and whoever uses package dialect has the dialect.
func TestAddingADialect(t *testing.T) {
	before := all
	all = append(all[:len(all):len(all)], toy{})
	t.Cleanup(func() { all = before })

	d := Of("/v1/toy?stream=true")
	require.Equal(t, "toy", Name(d))
	require.True(t, d.IsStream("text/event-stream; charset=utf-8"))
	require.JSONEq(t, `{"oops":"no key is left"}`, string(ErrorBody(d, Error{Message: "no key is left"})))
	require.Equal(t, "/v1/toy/1", UpstreamPath("/v1/toy/1", nil), "its clients name no earlier response")

	const (
		request = `{"ask":"weather?"}`
		fails   = "data: {\"error\":\"quota\"}\n\n"
		first   = "data: {\"say\":\"Let me see. \"}\n\ndata: {\"call\":{\"id\":\"a\",\"name\":\"bmcp_weather\",\"arguments\":\"{}\"}}\n\ndata: {\"end\":true}\n\n"
		second  = ": wait\n\ndata: {\"say\":\"Rain.\"}\n\ndata: {\"call\":{\"id\":\"b\",\"name\":\"theirs\"}}\n\ndata: {\"end\":true}\n\n"
		client  = "data: {\"say\":\"Let me see. \"}\n\n: wait\n\ndata: {\"say\":\"Rain.\"}\n\ndata: {\"call\":{\"id\":\"b\",\"name\":\"theirs\"}}\n\ndata: {\"end\":true}\n\n"
	)
	for _, end := range []string{"\n", "\r\n"} {
		for n := 1; n <= len(second); n++ {
			s := d.Open(Request{Path: "/v1/toy", Body: []byte(request)}, Options{Tools: []Tool{{Name: "bmcp_weather", Server: "weather", Tool: "get"}}})
			require.JSONEq(t, `{"ask":"weather?","tools":["bmcp_weather"]}`, string(s.Request()))
			var out []byte
			write := func(stream string) Turn {
				for b := []byte(strings.ReplaceAll(stream, "\n", end)); len(b) > 0; b = b[min(n, len(b)):] {
					out, _ = s.Write(out, b[:min(n, len(b))])
				}
				var came Turn
				out, came = s.End(out)
				return came
			}
			require.NotNil(t, write(fails).Failure)
			s.Again()
			calls := write(first).Calls
			require.Len(t, calls, 1)
			require.Equal(t, "weather", calls[0].Tool.Server)
			out = s.Settle(out, 0, Result{Parts: []Part{{Text: "rain"}}})
			require.True(t, s.Continue(false))
			require.JSONEq(t, `{"ask":"weather?","tools":["bmcp_weather"],"did":["a: rain"]}`, string(s.Request()))
			came := write(second)
			require.Empty(t, came.Calls)
			require.False(t, came.Cut)
			require.Equal(t, client, strings.ReplaceAll(string(out), "\r\n", "\n"), "pieces of %d", n)
			require.True(t, json.Valid(s.Request()))
		}
	}
}
