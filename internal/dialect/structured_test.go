package dialect_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
)

// checks hold clients' rules against what they get.
var checks = map[string]func([]byte) error{"chat": check.Chat, "messages": check.Messages, "responses": check.Responses}

// speech is a turn of a model that says a text and, unless it is the last, calls a tool of Keyturn's; as a stream and as a whole answer.
type speech struct{ stream, whole string }

func speeches(name string) (first, last speech) {
	const before, after = `{\"a\":0}`, `{\"a\":1}`
	switch name {
	case "chat":
		message := func(text, calls, reason string) string {
			return `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"` + text + `"` + calls + `},"finish_reason":"` + reason + `"}]}`
		}
		const call = `"id":"call_1","type":"function","function":{"name":"bmcp_files_read_file","arguments":"{}"}`
		return speech{
				chatChunk(`{"role":"assistant","content":"`+before+`"}`, "") + chatChunk(`{"tool_calls":[{"index":0,`+call+`}]}`, "") + chatFinish("tool_calls") + chatDone,
				message(before, `,"tool_calls":[{`+call+`}]`, "tool_calls"),
			}, speech{
				chatChunk(`{"role":"assistant","content":"`+after+`"}`, "") + chatFinish("stop") + chatDone, message(after, "", "stop"),
			}
	case "messages":
		text := func(s string) string { return `{"type":"text","text":"` + s + `"}` }
		const call = `{"type":"tool_use","id":"toolu_1","name":"bmcp_files_read_file","input":{}}`
		block := func(n int, s string) string {
			return eventOf("content_block_start", fmt.Sprintf(`,"index":%d,"content_block":%s`, n, s)) + eventOf("content_block_stop", fmt.Sprintf(`,"index":%d`, n))
		}
		message := func(reason, content string) string {
			return `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[` + content + `],"stop_reason":"` + reason + `","usage":{"input_tokens":1,"output_tokens":1}}`
		}
		stream := messageStream("m", text(before), "tool_use")
		at := strings.Index(stream, "event: message_delta")
		return speech{stream[:at] + block(1, call) + stream[at:], message("tool_use", text(before)+","+call)},
			speech{messageStream("m", text(after), "end_turn"), message("end_turn", text(after))}
	}
	say := func(s string) string {
		return `{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"` + s + `","annotations":[]}]}`
	}
	items := func(list ...string) speech {
		object := func(status, output string) string {
			return `{"id":"resp_1","object":"response","status":"` + status + `","model":"m","output":[` + output + `]}`
		}
		var s strings.Builder
		s.WriteString(eventOf("response.created", `,"sequence_number":0,"response":`+object("in_progress", "")))
		for n, item := range list {
			for k, of := range []string{"added", "done"} {
				s.WriteString(eventOf("response.output_item."+of, fmt.Sprintf(`,"sequence_number":%d,"output_index":%d,"item":%s`, 1+2*n+k, n, item)))
			}
		}
		all := object("completed", strings.Join(list, ","))
		return speech{s.String() + eventOf("response.completed", fmt.Sprintf(`,"sequence_number":%d,"response":%s`, 1+2*len(list), all)), all}
	}
	return items(`{"id":"rs_1","type":"reasoning","summary":[]}`, say(before), `{"id":"fc_1","type":"function_call","status":"completed","call_id":"call_1","name":"bmcp_files_read_file","arguments":"{}"}`),
		items(say(after))
}

// structuredRequest is a request for a JSON document.
func structuredRequest(name string, stream bool) string {
	return fmt.Sprintf(map[string]string{
		"chat":      `{"model":"m","stream":%t,"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_object"}}`,
		"messages":  `{"model":"m","max_tokens":99,"stream":%t,"messages":[{"role":"user","content":"hi"}],"output_config":{"format":{"type":"json_schema","schema":{}}}}`,
		"responses": `{"model":"m","stream":%t,"input":"hi","text":{"format":{"type":"json_object"}}}`,
	}[name], stream)
}

// What a client gets that has asked for a JSON document is one, though the model said another before it called a tool. The provider has all of
// both in the next turn, and a turn that fails on the way is run again, since the client has nothing of it.
func TestStructuredOutputIsOneDocument(t *testing.T) {
	for name, k := range talkings() {
		first, last := speeches(name)
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/stream %t", name, stream), func(t *testing.T) {
				s := k.open(t, structuredRequest(name, stream))
				var client []byte
				play := func(a speech) (turn dialect.Turn) {
					if !stream {
						return s.Whole([]byte(a.whole))
					}
					client, turn = playOne(s, client, []byte(a.stream))
					return turn
				}
				turn := play(first)
				require.Len(t, turn.Calls, 1)
				require.NotContains(t, string(client), `a\":`, "what was said before the call is held back")
				client = s.Settle(client, 0, dialect.Result{Parts: []dialect.Part{{Text: "r"}}})
				require.True(t, s.Continue(false))
				require.Contains(t, string(s.Request()), `{\"a\":0}`, "the provider is told what it said")
				require.Empty(t, play(last).Calls)
				if !stream {
					client = s.Body()
					require.True(t, json.Valid(client))
				} else {
					require.NoError(t, checks[name](client))
				}
				got := string(client)
				require.NotContains(t, got, `{\"a\":0}`)
				require.Contains(t, got, `{\"a\":1}`)
				if name == "responses" {
					require.Contains(t, got, `"type":"mcp_call"`)
					require.Contains(t, got, `"type":"reasoning"`)
				}
			})
		}
	}
}

// A turn that is too long to be held back passes, and so does what follows.
func TestStructuredOutputIsBounded(t *testing.T) {
	for name, k := range talkings() {
		t.Run(name, func(t *testing.T) {
			first, last := speeches(name)
			s := k.open(t, structuredRequest(name, true))
			long := strings.Repeat("x", 5<<20)
			var client []byte
			client, turn := playOne(s, client, []byte(strings.Replace(first.stream, `{\"a\":0}`, long, 1)))
			require.Len(t, turn.Calls, 1)
			require.True(t, strings.Contains(string(client), long))
			client = s.Settle(client, 0, dialect.Result{})
			require.True(t, s.Continue(false))
			client, turn = playOne(s, client, []byte(last.stream))
			require.Empty(t, turn.Calls)
			require.NoError(t, checks[name](client))
		})
	}
}
