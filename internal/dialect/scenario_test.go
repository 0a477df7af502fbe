package dialect_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// A scenario is one response to a client: testdata/<dialect>/<name>.txtar. All dialects have the same ones. Its sections:
//
//	options.json         see scenarioOptions; may be missing
//	request.json         the client's request
//	1.sse, 2.sse …       the provider's answer to each turn
//	1.failing.sse …      an answer to a turn that fails before it shows anything; without a 1.sse it is relayed
//	1.results.json …     what the turn's calls come to: [{"text": "…"}, …], see scenarioResult
//	2.fail.json          in the place of a turn's answer: Fail with {"type", "code", "message"}
//	then.json            what the client adds to its next request, in the form that the dialect's adapter wants
//
// and, written by go test -update:
//
//	turns.json           what Session said of each turn
//	upstream.1.json …    each turn's request, byte for byte; "passes" if Open returns nil
//	client.sse           what the client gets
//	upstream.then.json   the client's next request, as the provider gets it
var (
	update = flag.Bool("update", false, "write what scenarios expect anew")
	every  = flag.Bool("every", false, "cut every stream at every byte, which takes minutes")
)

// scenarioNames are the scenarios that every dialect has at the least.
var scenarioNames = []string{
	"plain", "one_call", "text_before_call", "parallel_2", "parallel_4", "five_turns", "mixed", "client_calls", "reasoning", "refusal",
	"incomplete", "failed", "error_first", "cut_off", "broken_json", "comments", "no_final_blank_line", "no_event_lines", "hidden",
	"unknown_tool", "bad_arguments", "tool_errors", "images", "token_budget", "last_turn", "replay", "replay_mixed",
}

// everywhere are the scenarios whose streams are cut at every place; those of the others at every ninth, which are not the same in all.
var everywhere = []string{"one_call", "mixed", "reasoning", "hidden", "comments", "error_first", "broken_json", "failed", "no_event_lines"}

// scenarioDialect is what scenarios need to know of a dialect.
type scenarioDialect struct {
	dialect dialect.Dialect
	// check holds the dialect's rules against what a client got.
	check func(stream []byte) error
	// valid says what is wrong with the conversation in a request to the provider.
	valid func(request []byte) error
	// whole is the answer without streaming that a turn's stream means; false when it means none.
	whole func(stream []byte) ([]byte, bool)
	// final is what a client makes of a stream: the same as Body without streaming. It may be compared as JSON.
	final func(stream []byte) []byte
	// next is the client's next request after its first and what it got; then is the scenario's section.
	next func(t *testing.T, request, stream, then []byte) []byte
	// without turns streaming off in a request.
	without func(request []byte) []byte
}

type scenarioOptions struct {
	Hidden bool   `json:"hidden"`
	Usage  string `json:"usage"`    // how tokens are counted: sum, last or ""
	NoTool bool   `json:"no_tools"` // none is offered
	Last   int    `json:"last"`     // Continue is told that the turn after this one is the last
	Trim   int    `json:"trim"`     // bytes that the last turn's stream lacks at its end
	Wrong  string `json:"wrong"`    // what the check must complain of
	Order  []int  `json:"order"`    // in which calls are settled
	Alive  bool   `json:"alive"`    // a keep-alive goes out before calls are settled
	Alone  bool   `json:"alone"`    // the stream says what an answer without streaming cannot
}

type scenarioResult struct {
	Text    string `json:"text"`
	Texts   []string
	Image   string `json:"image"` // its bytes, a PNG
	File    string `json:"file"`  // its bytes, a PDF
	IsError bool   `json:"is_error"`
	Error   *struct {
		Kind    dialect.ToolErrorKind `json:"kind"`
		Code    int                   `json:"code"`
		Message string                `json:"message"`
	} `json:"error"`
}

func (r scenarioResult) result() dialect.Result {
	out := dialect.Result{IsError: r.IsError}
	if r.Error != nil {
		out.Error = &dialect.ToolError{Kind: r.Error.Kind, Code: r.Error.Code, Message: r.Error.Message}
		return out
	}
	for _, s := range append(r.Texts, r.Text) {
		if s != "" {
			out.Parts = append(out.Parts, dialect.Part{Text: s})
		}
	}
	if r.Image != "" {
		out.Parts = append(out.Parts, dialect.Part{
			Kind: dialect.ImagePart, Data: []byte(r.Image), MIME: "image/png", Text: fmt.Sprintf("image image/png, %d bytes", len(r.Image)),
		})
	}
	if r.File != "" {
		out.Parts = append(out.Parts, dialect.Part{
			Kind: dialect.FilePart, Data: []byte(r.File), MIME: "application/pdf", Name: "report.pdf",
			Text: fmt.Sprintf("file report.pdf, application/pdf, %d bytes", len(r.File)),
		})
	}
	return out
}

// refused is what the provider says.
func refused(pr *talk.Problem) error {
	if pr == nil {
		return nil
	}
	return errors.New(pr.Message)
}

func openWith(d dialect.Dialect, body []byte, o dialect.Options) dialect.Session {
	return d.Open(dialect.Request{Body: body}, o)
}

// scenarioTools are the tools that Keyturn offers in scenarios.
func scenarioTools() []dialect.Tool {
	tool := func(server, name, what, schema string) dialect.Tool {
		return dialect.Tool{Name: "bmcp_" + server + "_" + name, Server: server, Tool: name, Description: what, Schema: []byte(schema)}
	}
	return []dialect.Tool{
		tool("weather", "get_forecast", "Forecast for a city",
			`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`),
		tool("files", "read_file", "Reads a file", `{"type":"object","properties":{"path":{"type":"string"}}}`),
	}
}

func scenarioModelName(server, tool string) string { return "bmcp_" + server + "_" + tool }

// scenarioMemory is a memory that forgets nothing.
type scenarioMemory map[string][]byte

func (m scenarioMemory) Get(key string) ([]byte, bool) { v, ok := m[key]; return v, ok }
func (m scenarioMemory) Put(key string, value []byte)  { m[key] = slices.Clone(value) }

// scenario is a file's content.
type scenario struct {
	name     string
	options  scenarioOptions
	sections map[string][]byte
	file     *txtar.Archive
	path     string
}

// runScenarios runs a dialect's scenarios: each whole, byte by byte, and cut in two at many places, with LF and CRLF; and without
// streaming, where the answer must be what the stream came to.
func runScenarios(t *testing.T, d scenarioDialect) {
	dir := filepath.Join("testdata", d.dialect.Name())
	for _, name := range scenarioNames {
		require.FileExists(t, filepath.Join(dir, name+".txtar"))
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	require.NoError(t, err)
	for _, path := range files {
		sc := readScenario(t, path)
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			sc.test(t, d)
		})
	}
}

func readScenario(t testing.TB, path string) *scenario {
	t.Helper()
	file, err := txtar.ParseFile(path)
	require.NoError(t, err)
	sc := &scenario{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), sections: map[string][]byte{}, file: file, path: path}
	for _, f := range file.Files {
		sc.sections[f.Name] = f.Data
	}
	if o := sc.sections["options.json"]; o != nil {
		d := json.NewDecoder(bytes.NewReader(o))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&sc.options))
	}
	return sc
}

func (sc *scenario) test(t *testing.T, d scenarioDialect) {
	whole := func(b []byte) [][]byte { return [][]byte{b} }
	memory := scenarioMemory{}
	got := sc.run(t, d, memory, whole, false)
	if then := sc.sections["then.json"]; then != nil {
		next := d.next(t, sc.request(), got["client.sse"], then)
		s := openWith(d.dialect, next, sc.opts(memory))
		got["upstream.then.json"] = next
		if s != nil {
			got["upstream.then.json"] = bytes.Clone(s.Request())
		}
	}
	sc.expect(t, got)
	for name, b := range got {
		if strings.HasPrefix(name, "upstream.") && len(b) > len("passes") {
			require.NoError(t, d.valid(b), name)
		}
	}
	sc.checked(t, d, got["client.sse"])
	sc.cuts(t, d, got)
	sc.wholes(t, d, got)
}

// checked puts what the client got through the dialect's rules.
func (sc *scenario) checked(t *testing.T, d scenarioDialect, client []byte) {
	err := d.check(client)
	if sc.options.Wrong == "" {
		require.NoError(t, err)
		return
	}
	require.ErrorContains(t, err, sc.options.Wrong)
}

// cuts runs the scenario again with its streams cut in many ways.
func (sc *scenario) cuts(t *testing.T, d scenarioDialect, want map[string][]byte) {
	single := func(b []byte) (pieces [][]byte) {
		for i := range b {
			pieces = append(pieces, b[i:i+1])
		}
		return pieces
	}
	for _, crlf := range []bool{false, true} {
		sc.same(t, want, sc.run(t, d, scenarioMemory{}, single, crlf))
		longest := 0
		for name := range sc.sections {
			if strings.HasSuffix(name, ".sse") && name != "client.sse" {
				b, _ := sc.stream(name, crlf)
				longest = max(longest, len(b))
			}
		}
		step := 9 // for the tests' own time
		if !crlf && slices.Contains(everywhere, sc.name) {
			step = 1
		}
		switch {
		case *every:
			step = 1
		case race:
			step = max(step, longest/25)
		}
		for at := len(sc.name) % step; at < longest; at += step { // the streams are framed alike, so each begins elsewhere
			sc.same(t, want, sc.run(t, d, scenarioMemory{}, func(b []byte) [][]byte {
				i := min(at, len(b))
				return [][]byte{b[:i], b[i:]}
			}, crlf))
		}
	}
}

func (sc *scenario) same(t *testing.T, want, got map[string][]byte) {
	for name, b := range got {
		if name == "client.sse" {
			b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
		}
		if !bytes.Equal(want[name], b) { // require.Equal alone is slow
			require.Equal(t, string(want[name]), string(b), name)
		}
	}
}

// wholes runs the scenario without streaming.
func (sc *scenario) wholes(t *testing.T, d scenarioDialect, want map[string][]byte) {
	s := openWith(d.dialect, d.without(sc.request()), sc.opts(scenarioMemory{}))
	if s == nil || sc.options.Trim > 0 || sc.options.Alone {
		return
	}
	for n := 1; ; n++ {
		body, ok := d.whole(sc.sections[fmt.Sprintf("%d.sse", n)])
		if !ok {
			return // such a turn has no form without a stream
		}
		turn := s.Whole(body)
		if turn.Failure != nil {
			require.Empty(t, s.Relay(nil))
			break
		}
		if len(turn.Calls) == 0 {
			break
		}
		if sc.sections[fmt.Sprintf("%d.fail.json", n+1)] != nil {
			return // a stream's own
		}
		for i, r := range sc.results(t, n, len(turn.Calls)) {
			require.Empty(t, s.Settle(nil, i, r.result()))
		}
		if turn.Mixed || !s.Continue(sc.options.Last == n) {
			require.Empty(t, s.Finish(nil))
			break
		}
		require.JSONEq(t, string(d.without(want[fmt.Sprintf("upstream.%d.json", n+1)])), string(s.Request()))
	}
	require.JSONEq(t, string(d.final(want["client.sse"])), string(s.Body()))
}

func (sc *scenario) request() []byte {
	return bytes.TrimSuffix(sc.sections["request.json"], []byte("\n"))
}

func (sc *scenario) opts(m dialect.Memory) dialect.Options {
	o := dialect.Options{Tools: scenarioTools(), Hidden: sc.options.Hidden, ModelName: scenarioModelName, Memory: m}
	o.Counting = map[string]dialect.Counting{"sum": dialect.SumOfTurns, "last": dialect.LastTurn}[sc.options.Usage]
	if sc.options.NoTool {
		o.Tools = nil
	}
	return o
}

func (sc *scenario) results(t testing.TB, turn, calls int) []scenarioResult {
	var results []scenarioResult
	require.NoError(t, json.Unmarshal(sc.sections[fmt.Sprintf("%d.results.json", turn)], &results), "results of turn %d", turn)
	require.Len(t, results, calls, "results of turn %d", turn)
	return results
}

// stream is a turn's stream as the provider sends it.
func (sc *scenario) stream(name string, crlf bool) ([]byte, bool) {
	b, ok := sc.sections[name]
	if _, more := sc.sections[strings.Replace(name, name[:1], string(name[0]+1), 1)]; !more {
		b = b[:len(b)-min(sc.options.Trim, len(b))]
	}
	if crlf {
		b = bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
	}
	return b, ok
}

// run plays the scenario, each stream cut into pieces. It returns the sections that it makes.
func (sc *scenario) run(t testing.TB, d scenarioDialect, m dialect.Memory, cut func([]byte) [][]byte, crlf bool) map[string][]byte {
	s := openWith(d.dialect, sc.request(), sc.opts(m))
	if s == nil {
		b, _ := sc.stream("1.sse", crlf)
		return map[string][]byte{"upstream.1.json": []byte("passes"), "client.sse": b}
	}
	out := map[string][]byte{"upstream.1.json": bytes.Clone(s.Request())}
	client := make([]byte, 0, len(sc.sections["client.sse"])*9/8) // of which cuts are many
	var turns []any
	for n := 1; ; n++ {
		if e := sc.sections[fmt.Sprintf("%d.fail.json", n)]; e != nil {
			var fail dialect.Error
			require.NoError(t, json.Unmarshal(e, &fail))
			client = s.Fail(client, fail)
			break
		}
		if b, ok := sc.stream(fmt.Sprintf("%d.failing.sse", n), crlf); ok {
			var turn dialect.Turn
			client, turn = play(t, s, client, cut(b))
			require.NotNil(t, turn.Failure)
			turns = append(turns, told(turn))
			if sc.sections[fmt.Sprintf("%d.sse", n)] == nil {
				client = s.Relay(client)
				break
			}
			s.Again()
		}
		b, ok := sc.stream(fmt.Sprintf("%d.sse", n), crlf)
		require.True(t, ok, "the scenario has no answer to turn %d", n)
		var turn dialect.Turn
		client, turn = play(t, s, client, cut(b))
		require.Nil(t, turn.Failure)
		turns = append(turns, told(turn))
		if len(turn.Calls) == 0 {
			break
		}
		if sc.options.Alive {
			client = s.KeepAlive(client)
		}
		if next := sc.sections[fmt.Sprintf("%d.fail.json", n+1)]; next != nil && sc.sections[fmt.Sprintf("%d.results.json", n)] == nil {
			continue
		}
		results := sc.results(t, n, len(turn.Calls))
		for i := range results {
			if len(sc.options.Order) == len(results) {
				i = sc.options.Order[i]
			}
			client = s.Settle(client, i, results[i].result())
		}
		if turn.Mixed || !s.Continue(sc.options.Last == n) {
			client = s.Finish(client)
			break
		}
		out[fmt.Sprintf("upstream.%d.json", n+1)] = bytes.Clone(s.Request())
	}
	b, err := json.MarshalIndent(turns, "", "  ")
	require.NoError(t, err)
	out["turns.json"], out["client.sse"] = b, client
	return out
}

// play writes a turn's stream in pieces.
func play(t testing.TB, s dialect.Session, client []byte, pieces [][]byte) ([]byte, dialect.Turn) {
	t.Helper()
	state := dialect.Going
	for _, p := range pieces {
		p := bytes.Clone(p)
		client, state = s.Write(client, p)
		clear(p) // it is the caller's again
	}
	client, turn := s.End(client)
	require.Equal(t, state == dialect.Failing, turn.Failure != nil && state != dialect.Going)
	return client, turn
}

// told is a turn in the form of turns.json.
func told(turn dialect.Turn) any {
	type call struct{ ID, Name, Server, Tool, Arguments string }
	out := struct {
		Calls    []call `json:",omitempty"`
		Mixed    bool   `json:",omitempty"`
		MaxCalls int    `json:",omitempty"`
		Failure  any    `json:",omitempty"`
		Cut      bool   `json:",omitempty"`
		Model    string
		Reason   string
		Usage    dialect.Usage
	}{Mixed: turn.Mixed, MaxCalls: turn.MaxCalls, Cut: turn.Cut, Model: turn.Model, Reason: turn.Reason, Usage: turn.Usage}
	for _, c := range turn.Calls {
		out.Calls = append(out.Calls, call{c.ID, c.Name, c.Tool.Server, c.Tool.Tool, string(c.Arguments)})
	}
	if f := turn.Failure; f != nil {
		out.Failure = struct {
			Status              int
			Type, Code, Message string
			Body                string
		}{f.Status, f.Type, f.Code, f.Message, string(f.Body)}
	}
	return out
}

// expect compares what came with the file, or writes the file.
func (sc *scenario) expect(t *testing.T, got map[string][]byte) {
	if *update {
		kept := sc.file.Files[:0]
		for _, f := range sc.file.Files {
			if !made(f.Name) {
				kept = append(kept, f)
			}
		}
		names := make([]string, 0, len(got))
		for name := range got {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			kept = append(kept, txtar.File{Name: name, Data: lineEnded(got[name])})
		}
		sc.file.Files = kept
		require.NoError(t, os.WriteFile(sc.path, txtar.Format(sc.file), 0o644))
		return
	}
	for name, b := range sc.sections {
		if made(name) {
			require.Equal(t, string(b), string(lineEnded(got[name])), name)
		}
	}
	for name := range got {
		require.Contains(t, sc.sections, name, "run go test -update and read what it wrote")
	}
}

func made(name string) bool {
	return strings.HasPrefix(name, "upstream.") || name == "turns.json" || name == "client.sse"
}

// lineEnded is a section's text: txtar ends each with a line end.
func lineEnded(b []byte) []byte {
	if len(b) > 0 && b[len(b)-1] != '\n' {
		return append(bytes.Clone(b), '\n')
	}
	return b
}
