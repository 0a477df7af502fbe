package dialect_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// openAIStream is a stream of n words, as OpenAI sends it.
func openAIStream(id string, n int, usage bool) []byte {
	chunk := func(delta, finish string) string {
		end := ""
		if usage {
			end = `,"usage":null`
		}
		return `data: {"id":"` + id + `","object":"chat.completion.chunk","created":1764000001,"model":"gpt-5-mini-2025-08-07","service_tier":"default",` +
			`"system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":` + delta + `,"logprobs":null,"finish_reason":` + finish + `}]` + end + `,"obfuscation":"` +
			strings.Repeat("x", len(delta)%11) + `"}` + "\n\n"
	}
	var b strings.Builder
	b.WriteString(chunk(`{"role":"assistant","content":"","refusal":null}`, "null"))
	for i := range n {
		fmt.Fprint(&b, chunk(fmt.Sprintf(`{"content":" word%d"}`, i), "null"))
	}
	b.WriteString(chunk(`{}`, `"stop"`))
	b.WriteString(chatDone)
	return []byte(b.String())
}

func chatOneCall(t testing.TB, s dialect.Session) {
	t.Helper()
	_, _ = s.Write(nil, []byte(chatPieces(`{"index":0,"id":"a","function":{"name":"`+chatForecast+`","arguments":"{}"}}`)+chatFinish("tool_calls")))
	_, turn := s.End(nil)
	require.Len(t, turn.Calls, 1)
	s.Settle(nil, 0, dialect.Result{})
	require.True(t, s.Continue(false))
}

// A chunk like the one before costs no memory but that of the text that is kept.
func TestChatDeltasAllocateNothing(t *testing.T) {
	asks := chatRequest("")
	for _, tc := range []struct {
		name, request string
		turn          int
	}{
		{"first turn", asks, 1},
		{"usage is withheld", strings.Replace(asks, "true}", "false}", 1), 1},
		{"second turn", asks, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openChat(t, tc.request, nil)
			if tc.turn == 2 {
				chatOneCall(t, s)
			}
			stream := openAIStream("chatcmpl-x", 3000, true)
			out := make([]byte, 0, len(stream))
			out, _ = s.Write(out, stream[:len(stream)/4])
			rest := stream[len(stream)/4 : len(stream)-2000]
			at := 0
			allocs := testing.AllocsPerRun(200, func() {
				out, _ = s.Write(out[:0], rest[at:at+1024])
				at += 1024
			})
			require.LessOrEqual(t, allocs, 1.0)
		})
	}
}

func BenchmarkChatStream(b *testing.B) {
	asks := chatRequest("")
	for _, bc := range []struct {
		name, request string
		turn          int
	}{
		{"same", asks, 1},
		{"usage withheld", strings.Replace(asks, "true}", "false}", 1), 1},
		{"second turn", asks, 2},
	} {
		b.Run(bc.name, func(b *testing.B) {
			stream := openAIStream("chatcmpl-x", 1000, true)
			out := make([]byte, 0, 2*len(stream))
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				s := openChat(b, bc.request, nil)
				if bc.turn == 2 {
					chatOneCall(b, s)
				}
				b.StartTimer()
				for at := 0; at < len(stream); at += 1024 {
					out, _ = s.Write(out[:0], stream[at:min(at+1024, len(stream))])
				}
				out, _ = s.End(out[:0])
			}
		})
	}
}

// Chunks that differ from one to the next are read member by member.
func BenchmarkChatStreamOfCalls(b *testing.B) {
	var deltas []string
	for i := range 500 {
		deltas = append(deltas, fmt.Sprintf(`{"index":0,"function":{"arguments":"%d"}}`, i), fmt.Sprintf(`{"index":1,"function":{"arguments":"%d"}}`, i))
	}
	stream := []byte(chatPieces(append([]string{`{"index":0,"id":"a","function":{"name":"` + chatForecast + `","arguments":""}}`, `{"index":1,"id":"b","function":{"name":"send_mail","arguments":""}}`}, deltas...)...))
	out := make([]byte, 0, 2*len(stream))
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s := openChat(b, chatRequest(""), nil)
		b.StartTimer()
		for at := 0; at < len(stream); at += 1024 {
			out, _ = s.Write(out[:0], stream[at:min(at+1024, len(stream))])
		}
	}
}

func BenchmarkChatOpen(b *testing.B) {
	messages := strings.Repeat(`{"role":"user","content":"`+strings.Repeat("some words ", 90)+`"},{"role":"assistant","content":"`+strings.Repeat("an answer ", 10)+`"},`, 90)
	body := []byte(`{"model":"m","stream":true,"messages":[` + strings.TrimSuffix(messages, ",") + `]}`)
	for _, bc := range []struct {
		name   string
		memory dialect.Memory
	}{{"no memory", nil}, {"memory", scenarioMemory{}}} {
		b.Run(bc.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				require.NotNil(b, openWith(dialect.Chat, body, dialect.Options{Tools: scenarioTools(), Memory: bc.memory}))
			}
		})
	}
}
