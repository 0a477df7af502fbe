package dialect_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// messagesSections are sections of the scenarios, by the end of their names.
func messagesSections(f *testing.F, suffix string) (all [][]byte) {
	f.Helper()
	files, err := filepath.Glob("testdata/messages/*.txtar")
	require.NoError(f, err)
	for _, path := range files {
		a, err := txtar.ParseFile(path)
		require.NoError(f, err)
		for _, s := range a.Files {
			if strings.HasSuffix(s.Name, suffix) {
				all = append(all, s.Data)
			}
		}
	}
	require.NotEmpty(f, all)
	return all
}

// FuzzMessagesOpen opens any request, with a memory that has something of every conversation in the scenarios. What goes to the
// provider is JSON if the client's was.
func FuzzMessagesOpen(f *testing.F) {
	for _, b := range messagesSections(f, ".json") {
		f.Add(b, []byte(`{"tools":"x","turns":[{"content":[],"results":[{}]}],"shown":"","list":[{}]}`))
	}
	f.Fuzz(func(t *testing.T, body, remembered []byte) {
		for _, m := range []dialect.Memory{nil, scenarioMemory{}, constantMemory(remembered)} {
			s := openWith(dialect.Messages, body, dialect.Options{Tools: scenarioTools(), Memory: m})
			if s == nil {
				continue
			}
			require.True(t, json.Valid(s.Request()))
			s.Explain(400, body)
			turn := s.Whole([]byte(`{"type":"message","content":[{"type":"tool_use","id":"i","name":"bmcp_files_read_file"},{"type":"tool_use","id":"j","name":"x"}],"stop_reason":"tool_use"}`))
			for i := range turn.Calls {
				s.Settle(nil, i, dialect.Result{})
			}
			if len(turn.Calls) > 0 && s.Continue(true) {
				require.True(t, json.Valid(s.Request()))
				s.Whole([]byte(`{"type":"message","content":[],"stop_reason":"end_turn"}`))
			}
		}
	})
}

// constantMemory has one value for all keys.
type constantMemory []byte

func (m constantMemory) Get(string) ([]byte, bool) { return m, true }
func (m constantMemory) Put(string, []byte)        {}

// FuzzMessagesStream reads any two streams as two turns: what comes of them does not depend on where they are cut.
func FuzzMessagesStream(f *testing.F) {
	var last []byte
	for _, b := range messagesSections(f, ".sse") {
		f.Add(b, last, uint16(len(b)/2))
		f.Add(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")), b, uint16(len(b)/3))
		last = b
	}
	f.Fuzz(func(t *testing.T, first, second []byte, cut uint16) {
		want := playTwo(t, first, second, func(b []byte) [][]byte { return [][]byte{b} })
		at := int(cut)
		require.Equal(t, want, playTwo(t, first, second, func(b []byte) [][]byte { return [][]byte{b[:min(at, len(b))], b[min(at, len(b)):]} }))
		if len(first)+len(second) < 4096 {
			require.Equal(t, want, playTwo(t, first, second, bytewise))
		}
	})
}

func bytewise(b []byte) (pieces [][]byte) {
	for i := range b {
		pieces = append(pieces, b[i:i+1])
	}
	return pieces
}

// twoTurns is what came of two streams.
type twoTurns struct {
	client   []byte
	requests string
	turns    [2]dialect.Turn
	failed   int
}

func playTwo(t *testing.T, first, second []byte, cut func([]byte) [][]byte) (out twoTurns) {
	s := openWith(dialect.Messages, []byte(`{"max_tokens":1000,"messages":[{"role":"user","content":"Hi"}],"stream":true}`),
		dialect.Options{Tools: scenarioTools(), Memory: scenarioMemory{}})
	for n, stream := range [][]byte{first, second} {
		var turn dialect.Turn
		out.client, turn = play(t, s, out.client, cut(stream))
		out.turns[n] = turn
		if turn.Failure != nil {
			out.failed++
			if n == 1 {
				out.client = s.Relay(out.client)
				break
			}
			s.Again()
			continue
		}
		if len(turn.Calls) == 0 {
			break
		}
		for i := range turn.Calls {
			out.client = s.Settle(out.client, i, dialect.Result{Parts: []dialect.Part{{Text: "r"}}})
		}
		if turn.Mixed || n == 1 || !s.Continue(false) {
			out.client = s.Finish(out.client)
			break
		}
		require.True(t, json.Valid(s.Request()), "%s", s.Request())
		out.requests += string(s.Request())
	}
	out.client = s.Fail(out.client, dialect.Error{Type: "api_error", Message: "m"})
	return out
}

// FuzzMessagesWhole reads any answer that does not stream.
func FuzzMessagesWhole(f *testing.F) {
	for _, b := range messagesSections(f, ".sse") {
		if body, ok := wholeMessages(b); ok {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := openWith(dialect.Messages, []byte(`{"max_tokens":1000,"messages":[]}`), dialect.Options{Tools: scenarioTools(), Memory: scenarioMemory{}})
		for range 3 {
			turn := s.Whole(body)
			switch {
			case turn.Failure != nil:
				s.Relay(nil)
				require.Equal(t, string(body), string(s.Body()))
				return
			case len(turn.Calls) == 0:
				require.Equal(t, json.Valid(body), json.Valid(s.Body()))
				return
			}
			if turn.Mixed || !s.Continue(false) {
				s.Finish(nil)
				require.True(t, json.Valid(s.Body()))
				return
			}
			require.True(t, json.Valid(s.Request()))
		}
	})
}
