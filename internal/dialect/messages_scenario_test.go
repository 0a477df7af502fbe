package dialect_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
	messagesrules "github.com/keyturn/keyturn/internal/scripted/messages"
	"github.com/keyturn/keyturn/internal/scripted/talk"
	"github.com/keyturn/keyturn/sse"
)

func TestMessagesScenarios(t *testing.T) {
	runScenarios(t, scenarioDialect{
		dialect: dialect.Messages, check: check.Messages, valid: validMessages, whole: wholeMessages, final: finalMessages,
		next: nextMessages, without: withoutMessages,
	})
}

// TestMessagesUnused holds that the stream of a request whose tools are not called is the provider's, byte for byte.
func TestMessagesUnused(t *testing.T) {
	for _, name := range []string{"plain", "plain_oddly", "client_calls", "tool_choice_none", "tool_choice_client"} {
		sc := readScenario(t, filepath.Join("testdata", "messages", name+".txtar"))
		require.Equal(t, string(sc.sections["1.sse"]), string(sc.sections["client.sse"]))
	}
}

// validMessages says what the provider would refuse of a conversation.
func validMessages(request []byte) error {
	told := talk.Hear(talk.Messages, request)
	return errors.Join(told.Err, refused(messagesrules.RefuseBudget(told)), refused(messagesrules.RefuseConversation(told, "compaction", "acme_note")))
}

// messageOf is the message that a client makes of a stream, as Anthropic's libraries do; nil if it did not end.
func messageOf(stream []byte) map[string]any {
	var message map[string]any
	inputs := map[int]string{}
	over, broken := false, false
	d := sse.NewDecoder(sse.Limits{}, func(ev *sse.Event) error {
		if !ev.Dispatched {
			return nil
		}
		var o struct {
			Type    string
			Message map[string]any
			Index   int
			Block   map[string]any `json:"content_block"`
			Delta   map[string]any
			Usage   map[string]any
		}
		dec := json.NewDecoder(bytes.NewReader(ev.Data))
		dec.UseNumber()
		if dec.Decode(&o) != nil {
			broken = true
			return nil
		}
		content, _ := message["content"].([]any)
		block := func() map[string]any { return content[o.Index].(map[string]any) }
		extend := func(name string) {
			s, _ := block()[name].(string)
			block()[name] = s + o.Delta[name].(string)
		}
		switch o.Type {
		case "message_start":
			message = o.Message
		case "content_block_start":
			message["content"] = append(content, o.Block)
		case "content_block_delta":
			switch o.Delta["type"] {
			case "text_delta":
				extend("text")
			case "thinking_delta":
				extend("thinking")
			case "signature_delta":
				extend("signature")
			case "input_json_delta":
				inputs[o.Index] += o.Delta["partial_json"].(string)
				var input any
				in := json.NewDecoder(strings.NewReader(inputs[o.Index]))
				in.UseNumber()
				if in.Decode(&input) == nil {
					block()["input"] = input
				}
			case "compaction_delta":
				block()["content"], block()["encrypted_content"] = o.Delta["content"], o.Delta["encrypted_content"]
			case "citations_delta":
				list, _ := block()["citations"].([]any)
				block()["citations"] = append(list, o.Delta["citation"])
			}
		case "message_delta":
			maps.Copy(message, o.Delta)
			usage := message["usage"].(map[string]any)
			maps.Copy(usage, o.Usage)
		case "message_stop":
			over = true
		case "error":
			broken = true
		}
		return nil
	})
	if _, err := d.Write(stream); err != nil || d.Close() != nil || !over || broken {
		return nil
	}
	for _, input := range inputs {
		if input != "" && !json.Valid([]byte(input)) {
			return nil // an answer without streaming cannot have it
		}
	}
	return message
}

func wholeMessages(stream []byte) ([]byte, bool) {
	m := messageOf(stream)
	if m == nil {
		return nil, false
	}
	b, err := json.Marshal(m)
	return b, err == nil
}

func finalMessages(stream []byte) []byte {
	b, _ := wholeMessages(stream)
	return b
}

// nextMessages is the client's next request: the messages of then come after the answer that it got, which it sends back whole.
func nextMessages(t *testing.T, request, stream, then []byte) []byte {
	var all map[string]json.RawMessage
	var messages, more []json.RawMessage
	require.NoError(t, json.Unmarshal(request, &all))
	require.NoError(t, json.Unmarshal(all["messages"], &messages))
	require.NoError(t, json.Unmarshal(then, &more))
	content, err := json.Marshal(messageOf(stream)["content"])
	require.NoError(t, err)
	answer := slices.Concat([]byte(`{"role":"assistant","content":`), content, []byte(`}`))
	all["messages"], err = json.Marshal(append(append(messages, answer), more...))
	require.NoError(t, err)
	b, err := json.Marshal(all)
	require.NoError(t, err)
	return b
}

func withoutMessages(request []byte) []byte {
	return bytes.Replace(request, []byte(`"stream":true`), []byte(`"stream":false`), 1)
}
