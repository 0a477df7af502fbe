package check_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/check"
)

// goodMessages is a stream in which all is well; the cases change a piece of it.
const goodMessages = `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":9,"output_tokens":1}}}

event: ping
data: {"type": "ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm."}}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"Sg=="}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: acme
data: {"type":"acme"}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":7}    }

event: message_stop
data: {"type":"message_stop"}

`

const anError = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"no\"}}\n\n"

func TestMessages(t *testing.T) {
	require.NoError(t, check.Messages([]byte(goodMessages)))
	begin, _, _ := strings.Cut(goodMessages, "event: content_block_stop")
	require.NoError(t, check.Messages([]byte(begin+anError)), "an error leaves blocks open")
	require.NoError(t, check.Messages([]byte(anError)), "an error may come first")

	start, _, _ := strings.Cut(goodMessages, "\n\n")
	start += "\n\n"
	delta := goodMessages[strings.Index(goodMessages, "event: message_delta"):strings.Index(goodMessages, "event: message_stop")]
	for _, tc := range []struct {
		name     string
		old, new string // in goodMessages
		want     string
	}{
		{"nothing", goodMessages, "", "no message_start"},
		{"only comments", goodMessages, ": hello\n\n", "no message_start"},
		{"no message_start", start, "", "event 2 (content_block_start): message_start must come first"},
		{"two of them", start, start + start, "event 2 (message_start): there was one already"},
		{"no id", `"id":"msg_1",`, ``, "lacks its type, role, id or model"},
		{"content at the start", `"content":[]`, `"content":[{}]`, "has content already"},
		{"stop_reason at the start", `"stop_reason":null`, `"stop_reason":"end_turn"`, "has a stop_reason already"},
		{"no usage at the start", `,"usage":{"input_tokens":9,"output_tokens":1}`, ``, "no input_tokens or no output_tokens"},
		{"no JSON", `{"type": "ping"}`, `{"type": "ping"`, "event 2 (ping): the data is not a JSON object"},
		{"no object", `{"type": "ping"}`, `null`, "not a JSON object"},
		{"no event field", "event: ping\n", "", "event 2 (): it has no event field"},
		{"another name", "event: ping", "event: pong", `the event's name is not its type, "ping"`},
		{"a gap", `"index":1,"content_block"`, `"index":2,"content_block"`, "event 5 (content_block_start): index is 2, must be 1"},
		{"an index twice", `"index":1,"content_block"`, `"index":0,"content_block"`, "index is 0, must be 1"},
		{"a block without a type", `{"type":"tool_use",`, `{`, "content_block has no type"},
		{"a delta of no block", `"index":1,"delta"`, `"index":2,"delta"`, "index is 2, and there are 2 blocks"},
		{"a delta after its block", `"index":1,"delta"`, `"index":0,"delta"`, "block 0 has ended"},
		{"a delta of another kind", `"signature_delta"`, `"text_delta"`, "text_delta does not belong into a block of type thinking"},
		{"a delta without a type", `"type":"signature_delta",`, ``, "delta has no type"},
		{"a stop too many", `{"type":"content_block_stop","index":1}`, `{"type":"content_block_stop","index":0}`, "block 0 has ended"},
		{"a block that does not end", "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n", "", "(message_delta): block 1 has not ended"},
		{"input that is no JSON", `"{}"`, `"{"`, "the input of the call is not JSON"},
		{"two ends", delta, delta + delta, "(message_delta): there was one already"},
		{"no end", delta, "", "(message_stop): no message_delta came"},
		{"no stop_reason", `"stop_reason":"tool_use",`, ``, "no stop_reason"},
		{"a call that is hidden", `"tool_use","id"`, `"server_tool_use","id"`, "stop_reason is tool_use, and there is no such block"},
		{"no usage", `"output_tokens":7`, ``, "usage has no output_tokens"},
		{"usage of the last turn alone", `"output_tokens":7`, `"output_tokens":7,"input_tokens":4`, "usage has input_tokens 4, less than message_start's 9"},
		{"no message_stop", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", "", "the stream ended without message_stop"},
		{"no blank line at the end", "{\"type\":\"message_stop\"}\n\n", "{\"type\":\"message_stop\"}\n", "the stream ended without message_stop"},
		{"more after the end", "{\"type\":\"message_stop\"}\n\n", "{\"type\":\"message_stop\"}\n\n" + anError, "event 13 (error): the stream was over"},
		{"more after an error", start, start + anError, "event 3 (ping): the stream was over"},
		{"an error without a type", goodMessages, strings.Replace(anError, "api_error", "", 1), "no type or no message"},
		{"a block after the end", "event: message_stop", "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"text\"}}\n\nevent: message_stop", "message_delta has ended the content"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stream := strings.Replace(goodMessages, tc.old, tc.new, 1)
			require.NotEqual(t, goodMessages, stream)
			require.ErrorContains(t, check.Messages([]byte(stream)), tc.want)
		})
	}
}
