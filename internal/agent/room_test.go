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
	ends        string // how the stream ends that had no room
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
				s := talk.dialect.Open(dialect.Request{Body: []byte(talk.request)}, dialect.Options{
					Tools: []dialect.Tool{{Name: "bmcp_demo_echo", Server: "demo", Tool: "echo", Schema: []byte(`{"type":"object"}`)}},
				})
				require.NotNil(t, s)
				first, _ := s.Write(nil, []byte(talk.calls))
				first, turn := s.End(first)
				require.Len(t, turn.Calls, 1)
				r.response.Session, r.response.Origin.Dialect = s, talk.dialect
				emit := r.response.Emit
				r.response.Emit = func(p []byte) error {
					emitted++
					if err := emit(p); err != nil || emitted != most {
						return err
					}
					return agent.ErrNoRoom
				}
				require.NoError(t, r.agent(t).Stream(t.Context(), r.response, turn))
				return string(first) + r.text(), emitted
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
		r.response.Emit = func([]byte) error { return agent.ErrNoRoom }
		require.ErrorIs(t, r.agent(t).Stream(t.Context(), r.response, r.first("call a {}")), agent.ErrNoRoom)
	})
	t.Run("an error of its own is another", func(t *testing.T) {
		r, gone := newRig(t, answer{body: "well\n"}), errors.New("gone")
		r.response.Emit = func([]byte) error { return gone }
		require.ErrorIs(t, r.agent(t).Stream(t.Context(), r.response, r.first("call a {}")), gone)
	})
}
