package dialect

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// TestMove holds that a request for another provider has the other model and every other byte as it was, and that what only the first provider
// has is found wherever it stands.
func TestMove(t *testing.T) {
	t.Parallel()
	rename := func(model string) string {
		if model == "gpt" {
			return "my \"gpt\""
		}
		return model
	}
	for _, tc := range []struct {
		name         string
		d            Dialect
		body         string
		moved        string // "": as it was
		model, bound string
	}{
		{name: "the model", d: Responses, body: ` {"input":"a\u0041", "model" :  "gpt","x":{"model":"gpt"} } `, moved: ` {"input":"a\u0041", "model" :  "my \"gpt\"","x":{"model":"gpt"} } `, model: `my "gpt"`},
		{name: "an escaped name", d: Chat, body: `{"mod\u0065l":"gpt"}`, moved: `{"mod\u0065l":"my \"gpt\""}`, model: `my "gpt"`},
		{name: "another model", d: Messages, body: `{"model":"other"}`, model: "other"},
		{name: "twice", d: Chat, body: `{"model":"gpt","model":"gpt"}`},
		{name: "no JSON", d: Chat, body: `{"model":"gpt"`},
		{name: "a list", d: Chat, body: `[{"model":"gpt"}]`},
		{name: "empty", d: Chat},
		{name: "a response before", d: Responses, body: `{"previous_response_id":"resp_1"}`, bound: "previous_response_id"},
		{name: "none before", d: Responses, body: `{"previous_response_id":null,"conversation":null,"prompt":null,"background":false}`},
		{name: "twice, one null", d: Responses, body: `{"previous_response_id":null,"previous_response_id":"resp_1"}`, bound: "previous_response_id"},
		{name: "a conversation", d: Responses, body: `{"conversation":{"id":"conv_1"}}`, bound: "conversation"},
		{name: "a prompt", d: Responses, body: `{"prompt":{"id":"pmpt_1"}}`, bound: "prompt"},
		{name: "in the background", d: Responses, body: `{"background":true}`, bound: "background"},
		{name: "reasoning", d: Responses, body: `{"input":[{"type":"message","content":"hi"},{"type":"reasoning","encrypted_content":"x"}]}`, bound: "encrypted_content"},
		{name: "reasoning in the open", d: Responses, body: `{"input":[{"type":"reasoning","encrypted_content":null,"summary":[]}],"include":["reasoning.encrypted_content"]}`},
		{name: "an item", d: Responses, body: `{"input":[{"id":"msg_1","type":"item_reference"}]}`, bound: "item_reference"},
		{name: "a file", d: Responses, body: `{"input":[{"content":[{"type":"input_file","file_id":"file-1"}]}]}`, bound: "file_id"},
		{name: "a file in a result", d: Responses, body: `{"input":[{"type":"function_call_output","output":[{"type":"input_image","file_id":"file-1"}]}]}`, bound: "file_id"},
		{name: "a store", d: Responses, body: `{"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}`, bound: "vector_store_ids"},
		{name: "a tool with such a parameter", d: Responses, body: `{"tools":[{"type":"function","parameters":{"properties":{"file_id":{"type":"string"},"container":{"type":"string"}}}}]}`},
		{name: "words in a text", d: Responses, body: `{"input":"{\"previous_response_id\":\"resp_1\",\"file_id\":\"x\"}"}`},
		{name: "metadata", d: Responses, body: `{"metadata":{"conversation":"c","prompt":"p"}}`},
		{name: "a file in a chat", d: Chat, body: `{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]}`, bound: "file_id"},
		{name: "a sound in a chat", d: Chat, body: `{"messages":[{"role":"assistant","audio":{"id":"audio_1"}}]}`, bound: "audio"},
		{name: "how a sound is to be", d: Chat, body: `{"audio":{"voice":"alloy"},"messages":[{"role":"assistant","audio":null}]}`},
		{name: "a container", d: Messages, body: `{"container":"c_1"}`, bound: "container"},
		{name: "a file in messages", d: Messages, body: `{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]}`, bound: "file_id"},
		{name: "a search", d: Messages, body: `{"messages":[{"content":[{"type":"web_search_tool_result","content":[{"encrypted_content":"x"}]}]}]}`, bound: "encrypted_content"},
		{name: "a thought", d: Messages, body: `{"messages":[{"content":[{"type":"thinking","thinking":"x","signature":"abc"}]}]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			moved, model, bound := Move(tc.d, []byte(tc.body), rename)
			if tc.moved == "" {
				tc.moved = tc.body
			}
			require.Equal(t, tc.moved, string(moved))
			require.Equal(t, tc.model, model)
			require.Equal(t, tc.bound, bound)
		})
	}
}

// TestMoveIsLinear holds that a hostile request is looked at a few times, however deep it is. It counts, so it runs alone.
func TestMoveIsLinear(t *testing.T) { //nolint:paralleltest // see above
	for _, body := range [][]byte{
		[]byte(`{"input":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`),
		[]byte(`{"input":` + strings.Repeat(`{"a":`, 900) + "1" + strings.Repeat("}", 900) + `}`),
		[]byte(`{"input":[` + string(bytes.TrimSuffix(bytes.Repeat([]byte(`{"type":"message","content":[{"text":"x"}]},`), 50000), []byte(","))) + `]}`),
	} {
		var bound string
		looked := rawjson.CountWork(func() { _, _, bound = Move(Responses, body, func(m string) string { return m }) })
		require.Empty(t, bound)
		require.Less(t, looked, 12*len(body))
	}
}
