package dialect_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

const benchRequest = `{"model":"gpt-5-mini","input":"Hello","stream":true}`

// responsesDeltas is a stream of n deltas, and what the first turn of one with a call is.
func responsesDeltas(n int) (first, then []byte) {
	var b bytes.Buffer
	seq := 0
	event := func(kind, rest string) {
		fmt.Fprintf(&b, "event: response.%[1]s\ndata: {\"type\":\"response.%[1]s\",\"sequence_number\":%[2]d,%[3]s}\n\n", kind, seq, rest)
		seq++
	}
	response := func(status, output string) string {
		return `"response":{"id":"resp_1","object":"response","created_at":1764000000,"status":"` + status + `","model":"gpt-5-mini","output":[` + output + `],"tools":[],"usage":null}`
	}
	call := `{"id":"fc_1","type":"function_call","status":"completed","arguments":"{}","call_id":"call_1","name":"bmcp_weather_get_forecast"}`
	event("created", response("in_progress", ""))
	event("output_item.added", `"output_index":0,"item":{"id":"fc_1","type":"function_call","status":"in_progress","arguments":"","call_id":"call_1","name":"bmcp_weather_get_forecast"}`)
	event("output_item.done", `"output_index":0,"item":`+call)
	event("completed", response("completed", call))
	first = bytes.Clone(b.Bytes())
	b.Reset()
	seq = 0
	event("created", response("in_progress", ""))
	event("output_item.added", `"output_index":0,"item":{"id":"msg_68d0f3a2b1c48191a7e5","type":"message","status":"in_progress","content":[],"role":"assistant"}`)
	for i := range n {
		event("output_text.delta", fmt.Sprintf(`"item_id":"msg_68d0f3a2b1c48191a7e5","output_index":0,"content_index":0,"delta":" word%d","logprobs":[],"obfuscation":"Xk3jQ9"`, i))
	}
	message := `{"id":"msg_68d0f3a2b1c48191a7e5","type":"message","status":"completed","content":[],"role":"assistant"}`
	event("output_item.done", `"output_index":0,"item":`+message)
	event("completed", response("completed", message))
	return first, b.Bytes()
}

// BenchmarkResponsesWrite is a stream of 1,000 deltas in chunks of 1 KB: as it comes in a first turn, and with its numbers changed
// in a second.
func BenchmarkResponsesWrite(b *testing.B) {
	first, deltas := responsesDeltas(1000)
	for _, second := range []bool{false, true} {
		b.Run(map[bool]string{false: "raw", true: "spliced"}[second], func(b *testing.B) {
			b.SetBytes(int64(len(deltas)))
			b.ReportAllocs()
			dst := make([]byte, 0, 64<<10)
			for b.Loop() {
				b.StopTimer()
				s := openWith(dialect.Responses, []byte(benchRequest), dialect.Options{Tools: scenarioTools()})
				if second {
					s.Write(nil, first)
					_, turn := s.End(nil)
					require.Len(b, turn.Calls, 1)
					s.Settle(nil, 0, dialect.Result{})
					require.True(b, s.Continue(false))
				}
				b.StartTimer()
				for p := deltas; len(p) > 0; {
					n := min(1024, len(p))
					dst, _ = s.Write(dst[:0], p[:n])
					p = p[n:]
				}
			}
		})
	}
}

func BenchmarkResponsesOpen(b *testing.B) {
	item := `{"role":"user","content":"` + strings.Repeat(`Say \"hello\" to everybody. `, 36) + `"}`
	request := []byte(`{"model":"gpt-5-mini","input":[` + strings.Repeat(item+",", 100) + item + `],"stream":true,"tools":[]}`)
	b.SetBytes(int64(len(request)))
	b.ReportAllocs()
	for b.Loop() {
		openWith(dialect.Responses, request, dialect.Options{Tools: scenarioTools()})
	}
}
