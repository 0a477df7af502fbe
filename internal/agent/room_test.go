package agent_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
)

// talk is a turn that calls a tool and one that only talks, in the words of a dialect.
type talk struct {
	dialect     dialect.Dialect
	request     string
	calls, says string
	check       func([]byte) error
	fails       string // a turn that fails before it shows anything
	ends        string // how the stream ends that had no room

	wholeCalls, wholeSays string // the first two as answers that are no streams
	text, callID          string // of them
}

const roomMessage = "the later turns of this response are more than this gateway sends on in one response; ask for less at a time"

func stream(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		kind, _, _ := strings.Cut(strings.TrimPrefix(e, `{"type":"`), `"`)
		if strings.HasPrefix(e, `{"type":"`) {
			fmt.Fprintf(&b, "event: %s\n", kind)
		}
		fmt.Fprintf(&b, "data: %s\n\n", e)
	}
	return b.String()
}

func wholeResponse(id, item string) string {
	return fmt.Sprintf(`{"id":%q,"object":"response","created_at":1,"status":"completed","model":"m","output":[%s],"tools":[],"usage":{"input_tokens":10,"output_tokens":2,"total_tokens":12}}`, id, item)
}

func wholeChat(message, reason string) string {
	return fmt.Sprintf(`{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":%s,"finish_reason":%q}],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}`, message, reason)
}

func wholeMessage(block, reason string) string {
	return fmt.Sprintf(`{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[%s],"stop_reason":%q,"stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":2}}`, block, reason)
}

func talks() map[string]talk {
	chunk := func(delta, reason string) string {
		return `{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":` + delta + `,"finish_reason":` + reason + `}]}`
	}
	response := func(number int, kind, rest string) string {
		return fmt.Sprintf(`{"type":%q,"sequence_number":%d,%s}`, kind, number, rest)
	}
	whole := func(id, status, output string) string {
		return fmt.Sprintf(`"response":{"id":%q,"object":"response","created_at":1,"status":%q,"model":"m","output":[%s],"tools":[],"usage":null}`, id, status, output)
	}
	const call = `{"id":"fc_1","type":"function_call","status":"completed","call_id":"call_1","name":"bmcp_demo_echo","arguments":"{}"}`
	const text = `{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"done","annotations":[]}]}`
	return map[string]talk{
		"responses": {
			dialect: dialect.Responses, request: `{"model":"m","input":"hi","stream":true}`, check: check.Responses,
			calls: stream(
				response(0, "response.created", whole("resp_1", "in_progress", "")),
				response(1, "response.output_item.added", `"output_index":0,"item":`+strings.Replace(strings.Replace(call, "completed", "in_progress", 1), "{}", "", 1)),
				response(2, "response.function_call_arguments.done", `"output_index":0,"item_id":"fc_1","arguments":"{}"`),
				response(3, "response.output_item.done", `"output_index":0,"item":`+call),
				response(4, "response.completed", whole("resp_1", "completed", call)),
			),
			says: stream(
				response(0, "response.created", whole("resp_2", "in_progress", "")),
				response(1, "response.output_item.added", `"output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}`),
				response(2, "response.content_part.added", `"output_index":0,"content_index":0,"item_id":"msg_1","part":{"type":"output_text","text":"","annotations":[]}`),
				response(3, "response.output_text.delta", `"output_index":0,"content_index":0,"item_id":"msg_1","delta":"done"`),
				response(4, "response.output_text.done", `"output_index":0,"content_index":0,"item_id":"msg_1","text":"done"`),
				response(5, "response.content_part.done", `"output_index":0,"content_index":0,"item_id":"msg_1","part":{"type":"output_text","text":"done","annotations":[]}`),
				response(6, "response.output_item.done", `"output_index":0,"item":`+text),
				response(7, "response.completed", whole("resp_2", "completed", text)),
			),
			fails:      "data: " + `{"type":"error","sequence_number":0,"code":"rate_limit_exceeded","message":"slow","param":null}` + "\n\n",
			wholeCalls: wholeResponse("resp_1", call), wholeSays: wholeResponse("resp_2", text), text: `"done"`, callID: "call_1",
			ends: `"error":{"type":"api_error","code":"response_too_large","message":"` + roomMessage + `","param":null}}` + "\n\n",
		},
		"chat": {
			dialect: dialect.Chat, request: `{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}`, check: check.Chat,
			calls: stream(
				chunk(`{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"bmcp_demo_echo","arguments":"{}"}}]}`, "null"),
				chunk(`{}`, `"tool_calls"`), "[DONE]",
			),
			says: stream(
				chunk(`{"role":"assistant","content":"let"}`, "null"), chunk(`{"content":" me see"}`, "null"), chunk(`{}`, `"stop"`), "[DONE]",
			),
			fails:      "data: " + `{"error":{"message":"slow","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}}` + "\n\n",
			wholeCalls: wholeChat(`{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"bmcp_demo_echo","arguments":"{}"}}]}`, "tool_calls"),
			wholeSays:  wholeChat(`{"role":"assistant","content":"let me see"}`, "stop"), text: "me see", callID: "call_1",
			ends: `data: {"error":{"message":"` + roomMessage + `","type":"api_error","param":null,"code":"response_too_large"}}` + "\n\ndata: [DONE]\n\n",
		},
		"messages": {
			dialect: dialect.Messages, request: `{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"hi"}],"stream":true}`, check: check.Messages,
			calls: stream(
				`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}`,
				`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"toolu_1","name":"bmcp_demo_echo","input":{}}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}`,
				`{"type":"content_block_stop","index":0}`,
				`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":2}}`,
				`{"type":"message_stop"}`,
			),
			says: stream(
				`{"type":"message_start","message":{"id":"msg_2","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}`,
				`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"let me"}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" see"}}`,
				`{"type":"content_block_stop","index":0}`,
				`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}`,
				`{"type":"message_stop"}`,
			),
			fails:      "event: error\n" + `data: {"type":"error","error":{"type":"overloaded_error","message":"slow"}}` + "\n\n",
			wholeCalls: wholeMessage(`{"type":"tool_use","id":"toolu_1","name":"bmcp_demo_echo","input":{}}`, "tool_use"),
			wholeSays:  wholeMessage(`{"type":"text","text":"let me see"}`, "end_turn"), text: " see", callID: "toolu_1",
			ends: "event: error\n" + `data: {"type":"error","error":{"type":"api_error","message":"` + roomMessage + `"}}` + "\n\n",
		},
	}
}

// TestNoRoom holds that a response that may send no more ends with the dialect's error, wherever that happens, and that what the
// client has until then is a stream that the error fits.
func TestNoRoom(t *testing.T) {
	for name, talk := range talks() {
		t.Run(name, func(t *testing.T) {
			run := func(t *testing.T, most int) (out string, emitted int) {
				t.Helper()
				// Each event comes alone, so that there is an end after each.
				r := newRig(t, answer{pieces: strings.SplitAfter(talk.says, "\n\n"), header: map[string]string{"X-Keyturn-Used-Name": "k1"}})
				r.session, r.origin.Dialect = talk.open(t, true), talk.dialect
				emit := r.emit
				r.emit = func(p []byte) error {
					emitted++
					if err := emit(p); err != nil || emitted != most {
						return err
					}
					return agent.ErrNoRoom
				}
				require.NoError(t, r.stream(t.Context(), r.agent(t), talk.calls))
				return r.text(), emitted
			}
			whole, pieces := run(t, 0)
			require.NoError(t, talk.check([]byte(whole)))
			require.NotContains(t, whole, roomMessage)
			require.Greater(t, pieces, 2)
			for most := 1; most < pieces; most++ {
				out, emitted := run(t, most)
				require.Equal(t, most+1, emitted, "the error alone comes after")
				require.True(t, strings.HasSuffix(out, talk.ends), "after piece %d:\n%s", most, out)
				require.NoError(t, talk.check([]byte(out)), "after piece %d:\n%s", most, out)
			}
		})
	}
	t.Run("not even for the error", func(t *testing.T) {
		r := newRig(t, answer{body: "well\n"})
		r.emit = func([]byte) error { return agent.ErrNoRoom }
		require.ErrorIs(t, r.stream(t.Context(), r.agent(t), "call a {}"), agent.ErrNoRoom)
	})
	t.Run("an error of its own is another", func(t *testing.T) {
		r, gone := newRig(t, answer{body: "well\n"}), errors.New("gone")
		r.emit = func([]byte) error { return gone }
		require.ErrorIs(t, r.stream(t.Context(), r.agent(t), "call a {}"), gone)
	})
}
