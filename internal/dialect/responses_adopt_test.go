package dialect_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
)

// TestResponsesIDsDiffer is about providers that make the items of the response at the end anew (vLLM): they are those that events told of.
func TestResponsesIDsDiffer(t *testing.T) {
	message := func(id string) string {
		return fmt.Sprintf(`{"id":%q,"type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Let me look. ","annotations":[]}]}`, id)
	}
	call := func(id, callID string) string {
		return fmt.Sprintf(`{"type":"function_call","arguments":"{\"x\":1}","call_id":%q,"name":"bmcp_files_read_file","id":%q,"status":"completed"}`, callID, id)
	}
	for name, output := range map[string]string{
		"all":                  message("other") + "," + call("other_fc", "other_call"),
		"only the call's id":   message("m1") + "," + call("fc1", "other_call"),
		"the message left out": call("other_fc", "other_call"),
		"the call left out":    message("other"),
		"none left":            "",
		"none differ":          message("m1") + "," + call("fc1", "c1"),
	} {
		t.Run(name, func(t *testing.T) {
			s := openResponses(`{"model":"m","input":"a","stream":true}`, scenarioMemory{})
			out, turn := play(t, s, nil, [][]byte{[]byte("data: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r\",\"status\":\"in_progress\",\"output\":[]}}\n\n" +
				"data: {\"type\":\"response.output_item.added\",\"sequence_number\":1,\"output_index\":0,\"item\":{\"id\":\"m1\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[]}}\n\n" +
				"data: {\"type\":\"response.output_item.done\",\"sequence_number\":2,\"output_index\":0,\"item\":" + message("m1") + "}\n\n" +
				"data: {\"type\":\"response.output_item.added\",\"sequence_number\":3,\"output_index\":1,\"item\":{\"id\":\"fc1\",\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"bmcp_files_read_file\",\"arguments\":\"\",\"status\":\"in_progress\"}}\n\n" +
				"data: {\"type\":\"response.output_item.done\",\"sequence_number\":4,\"output_index\":1,\"item\":" + call("fc1", "c1") + "}\n\n" +
				"data: {\"type\":\"response.completed\",\"sequence_number\":5,\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[" + output + "]}}\n\n")})
			require.Len(t, turn.Calls, 1)
			require.Equal(t, `{"x":1}`, string(turn.Calls[0].Arguments))
			out = s.Settle(out, 0, dialect.Result{Parts: []dialect.Part{{Text: "r"}}})
			require.True(t, s.Continue(false))
			require.Equal(t, 1, strings.Count(string(s.Request()), "Let me look"), "%s", s.Request())
			require.Equal(t, 1, strings.Count(string(s.Request()), `"function_call"`))
			out, _ = play(t, s, out, [][]byte{[]byte("data: {\"type\":\"response.completed\",\"sequence_number\":0,\"response\":{\"id\":\"r2\",\"status\":\"completed\",\"output\":[]}}\n\n")})
			_, last, _ := strings.Cut(string(out), "response.completed")
			require.Equal(t, 1, strings.Count(last, "Let me look"), last)
			require.Equal(t, 1, strings.Count(last, `"mcp_call"`), last)
			require.NoError(t, check.Responses(out))
		})
	}
}
