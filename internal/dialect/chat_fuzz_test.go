package dialect_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// chatSeeds are the sections of all scenarios whose name has an ending.
func chatSeeds(f *testing.F, ending string) (seeds [][]byte) {
	files, err := filepath.Glob("testdata/chat/*.txtar")
	require.NoError(f, err)
	for _, path := range files {
		b, err := os.ReadFile(path)
		require.NoError(f, err)
		for _, section := range txtar.Parse(b).Files {
			if strings.HasSuffix(section.Name, ending) {
				seeds = append(seeds, section.Data)
			}
		}
	}
	require.NotEmpty(f, seeds)
	return seeds
}

// However the streams of two turns are cut, the client gets the same, and the turns come to the same.
func FuzzChatStream(f *testing.F) {
	for _, seed := range chatSeeds(f, ".sse") {
		f.Add(seed, uint(7), true)
	}
	for _, stream := range chatVendors {
		f.Add([]byte(stream), uint(3), false)
	}
	f.Fuzz(func(t *testing.T, stream []byte, at uint, usage bool) {
		request := chatRequest(`,"tools":[` + chatMail + `],"max_tokens":50`)
		if !usage {
			request = strings.Replace(request, "true}", "false}", 1)
		}
		run := func(cut func([]byte) [][]byte) (client []byte, turns []any) {
			s := openChat(t, request, scenarioMemory{})
			for range 3 {
				for _, p := range cut(stream) {
					client, _ = s.Write(client, p)
				}
				var turn dialect.Turn
				client, turn = s.End(client)
				turns = append(turns, told(turn))
				if turn.Failure != nil {
					client = s.Relay(client)
					break
				}
				if len(turn.Calls) == 0 {
					break
				}
				for i := range turn.Calls {
					client = s.Settle(client, i, dialect.Result{})
				}
				if turn.Mixed || !s.Continue(false) {
					client = s.Finish(client)
					break
				}
				require.True(t, json.Valid(s.Request()), "%s", s.Request())
			}
			return client, turns
		}
		whole := func(b []byte) [][]byte { return [][]byte{b} }
		client, turns := run(whole)
		for _, cut := range []func([]byte) [][]byte{
			func(b []byte) (all [][]byte) {
				for i := range b {
					all = append(all, b[i:i+1])
				}
				return all
			},
			func(b []byte) [][]byte { i := int(at % uint(len(b)+1)); return [][]byte{b[:i], b[i:]} },
		} {
			got, gotTurns := run(cut)
			require.Equal(t, string(client), string(got))
			require.Equal(t, turns, gotTurns)
		}
	})
}

// Whatever a client sends, what goes to the provider is JSON if that was.
func FuzzChatOpen(f *testing.F) {
	for _, seed := range chatSeeds(f, ".json") {
		f.Add(seed)
	}
	f.Add([]byte(`{"messages":[],"tools":[{"type":"function","function":{"name":"` + chatForecast + `"}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		memory := scenarioMemory{}
		s := openWith(dialect.Chat, body, dialect.Options{Tools: scenarioTools(), Memory: memory})
		if s == nil {
			return
		}
		require.True(t, json.Valid(s.Request()))
		stream := chatPieces(`{"index":0,"id":"a","function":{"name":"`+chatForecast+`","arguments":"{}"}}`) + chatFinish("tool_calls")
		_, turn := play(t, s, nil, [][]byte{[]byte(stream)})
		switch {
		case !bytes.Contains(body, []byte("bmcp_")) && !bytes.Contains(body, []byte(`\u`)):
			require.Len(t, turn.Calls, 1)
		case len(turn.Calls) == 0: // the client has a tool of that name itself, and the call is its own
			return
		}
		if s.Continue(true) {
			require.True(t, json.Valid(s.Request()))
		}
	})
}

// Whatever a provider answers without a stream, the client's answer and the next request are JSON if it was.
func FuzzChatWhole(f *testing.F) {
	for _, seed := range chatSeeds(f, ".sse") {
		if b, ok := wholeChat(seed); ok {
			f.Add(b)
		}
	}
	f.Add([]byte(`{"choices":[{"message":{"content":null,"tool_calls":[{"id":"","function":{"name":"` + chatForecast + `","arguments":{"a":1}}},{"custom":{}}],"audio":{"id":"a"}},"logprobs":{"content":[1]}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := openChat(t, `{"messages":[],"max_tokens":50}`, scenarioMemory{})
		for range 3 {
			turn := s.Whole(body)
			if turn.Failure != nil {
				s.Relay(nil)
				require.Equal(t, string(body), string(s.Body()))
				return
			}
			if len(turn.Calls) > 0 {
				s.Settle(nil, 0, dialect.Result{})
			}
			if len(turn.Calls) == 0 || turn.Mixed || !s.Continue(false) {
				if len(turn.Calls) > 0 {
					s.Finish(nil)
				}
				require.Equal(t, json.Valid(body), json.Valid(s.Body()), "%s", s.Body())
				return
			}
			require.True(t, json.Valid(s.Request()), "%s", s.Request())
		}
	})
}
