package dialect_test

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/sse"
)

// TestMessagesLibrary lets Anthropic's library put together what clients get in the scenarios. It fails on a block out of its place.
func TestMessagesLibrary(t *testing.T) {
	files, err := filepath.Glob("testdata/messages/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		sc := readScenario(t, path)
		want := messageOf(sc.sections["client.sse"])
		if sc.options.Wrong != "" || want == nil || sc.name == "compaction" { // which the library knows in its beta only
			continue
		}
		t.Run(sc.name, func(t *testing.T) {
			var got anthropic.Message
			d := sse.NewDecoder(sse.Limits{}, func(ev *sse.Event) error {
				var e anthropic.MessageStreamEventUnion
				switch string(ev.Type) { // those that the library's stream hands on
				case "message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta", "content_block_stop":
					if err := json.Unmarshal(ev.Data, &e); err != nil {
						return err
					}
					return got.Accumulate(e)
				}
				return nil
			})
			_, err := d.Write(sc.sections["client.sse"])
			require.NoError(t, err)
			require.Len(t, got.Content, len(want["content"].([]any)))
			require.Equal(t, want["stop_reason"], string(got.StopReason))
			usage := want["usage"].(map[string]any)
			require.Equal(t, usage["output_tokens"].(json.Number).String(), strconv.FormatInt(got.Usage.OutputTokens, 10))
			require.Equal(t, usage["input_tokens"].(json.Number).String(), strconv.FormatInt(got.Usage.InputTokens, 10))
			var message struct{ Content, Usage json.RawMessage }
			require.NoError(t, json.Unmarshal([]byte(got.RawJSON()), &message))
			content, err := json.Marshal(want["content"])
			require.NoError(t, err)
			require.JSONEq(t, string(content), string(message.Content))
			all, err := json.Marshal(usage)
			require.NoError(t, err)
			require.JSONEq(t, string(all), string(message.Usage))
		})
	}
}
