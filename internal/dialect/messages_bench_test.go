package dialect_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// deltas is a turn that has begun, and n deltas of its text after it.
func deltas(n int) (begin, text []byte) {
	var w turnWriter
	w.start("msg_1")
	w.event("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`)
	begin, w.b = w.b, nil
	for i := range n {
		w.event("content_block_delta", fmt.Sprintf(`,"index":0,"delta":{"type":"text_delta","text":" word %d, and more \"words\""}%s`, i, strings.Repeat(" ", i%7)))
	}
	return begin, w.b
}

// later is a session in its second turn, in which the client's indexes are not the provider's.
func later(tb testing.TB) dialect.Session {
	tb.Helper()
	s := openWith(dialect.Messages, []byte(`{"messages":[],"stream":true}`), dialect.Options{Tools: scenarioTools()})
	var w turnWriter
	w.start("msg_0")
	w.block(`{"type":"text","text":"Look."}`)
	w.call("toolu_1", "bmcp_files_read_file", `{}`)
	w.stop("tool_use", 9)
	_, turn := s.Write(nil, w.b)
	require.Equal(tb, dialect.Over, turn)
	_, ended := s.End(nil)
	require.Len(tb, ended.Calls, 1)
	s.Settle(nil, 0, dialect.Result{})
	require.True(tb, s.Continue(false))
	return s
}

func BenchmarkMessagesStream(b *testing.B) {
	begin, text := deltas(1000)
	for _, bm := range []struct {
		name string
		open func() dialect.Session
	}{
		{"first", func() dialect.Session {
			return openWith(dialect.Messages, []byte(`{"messages":[],"stream":true}`), dialect.Options{Tools: scenarioTools()})
		}},
		{"later", func() dialect.Session { return later(b) }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			dst := make([]byte, 0, 4096)
			for b.Loop() {
				b.StopTimer()
				s := bm.open()
				s.Write(nil, begin)
				b.StartTimer()
				for p := range chunks(text, 1024) {
					s.Write(dst[:0], p)
				}
			}
		})
	}
}

// A chunk of many deltas costs no allocations, but for what is kept of the text.
func TestMessagesStreamAllocs(t *testing.T) {
	begin, text := deltas(200)
	for _, open := range []func() dialect.Session{
		func() dialect.Session {
			return openWith(dialect.Messages, []byte(`{"messages":[],"stream":true}`), dialect.Options{Tools: scenarioTools()})
		},
		func() dialect.Session { return later(t) },
	} {
		s := open()
		s.Write(nil, begin)
		dst := make([]byte, 0, 2*len(text))
		for range 20 {
			s.Write(dst[:0], text) // what is kept has grown
		}
		require.LessOrEqual(t, testing.AllocsPerRun(10, func() { s.Write(dst[:0], text) }), 4.0)
	}
}

// longRequest is a conversation of about 100 KB.
func longRequest() []byte {
	var b strings.Builder
	b.WriteString(`{"model":"m","max_tokens":1000,"stream":true,"tools":[{"name":"get_time","input_schema":{"type":"object"}}],"messages":[`)
	for i := range 100 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"role":"user","content":[{"type":"text","text":"Question %d: %s"}]},{"role":"assistant","content":[{"type":"text","text":"%s\n\"%d\""}]}`,
			i, strings.Repeat("why and how ", 40), strings.Repeat("so it is. ", 40), i)
	}
	b.WriteString(`,{"role":"user","content":"And?"}]}`)
	return []byte(b.String())
}

func BenchmarkMessagesOpen(b *testing.B) {
	body := longRequest()
	for _, bm := range []struct {
		name   string
		memory dialect.Memory
	}{{"alone", nil}, {"memory", scenarioMemory{}}} {
		b.Run(bm.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				openWith(dialect.Messages, body, dialect.Options{Tools: scenarioTools(), Memory: bm.memory})
			}
		})
	}
}
