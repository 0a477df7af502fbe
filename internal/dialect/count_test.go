package dialect_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

func openCounted(body string, o dialect.Options) dialect.Session {
	o.Count = true
	return dialect.Chat.Open(dialect.Request{Path: "/v1/chat/completions", Body: []byte(body)}, o)
}

// TestChatIsCountedWithoutTools holds that a stream whose client does not ask for its tokens is counted, and that the client has the stream that
// the provider would have sent: calls of its own tools too, whatever their names.
func TestChatIsCountedWithoutTools(t *testing.T) {
	null := func(chunk string) string { return strings.TrimSuffix(chunk, "}\n\n") + `,"usage":null}` + "\n\n" }
	usage := `data: {"id":"c1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}` + "\n\n"
	call := chatChunk(`{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"bmcp_mine","arguments":"{}"}}]}`, "")
	for name, chunks := range map[string][]string{
		"text":   {chatChunk(`{"role":"assistant"}`, ""), chatChunk(`{"content":"a"}`, ""), chatChunk(`{"content":"b"}`, ""), chatFinish("stop")},
		"a call": {chatChunk(`{"role":"assistant","content":null}`, ""), call, chatFinish("tool_calls")},
	} {
		t.Run(name, func(t *testing.T) {
			sent, want := "", ""
			for _, c := range chunks {
				sent, want = sent+null(c), want+c
			}
			sent, want = sent+usage+chatDone, want+chatDone
			for _, cut := range everyCut(sent) {
				s := openCounted(`{"model":"m","messages":[],"stream":true}`, dialect.Options{})
				require.JSONEq(t, `{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}`, string(s.Request()))
				require.True(t, s.Reads())
				client, turn := play(t, s, nil, cut)
				require.Equal(t, want, string(client))
				require.Equal(t, dialect.Usage{Input: 1, Output: 2}, turn.Usage)
				require.Empty(t, turn.Calls)
			}
		})
	}
}

// TestChatNeedNotBeCounted holds that requests pass as they are where there is nothing to gain, or where the answer could not be read.
func TestChatNeedNotBeCounted(t *testing.T) {
	for name, body := range map[string]string{
		"no stream": `{"model":"m","messages":[]}`, "the client asks": `{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}`,
		"several choices": `{"model":"m","messages":[],"stream":true,"n":2}`, "odd options": `{"model":"m","messages":[],"stream":true,"stream_options":1}`,
		"options twice": `{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":false,"include_usage":false}}`, "no JSON": `{"model":`,
	} {
		require.Nil(t, openCounted(body, dialect.Options{}), name)
	}
	require.Nil(t, openCounted(`{"model":"m","messages":[],"stream":true}`, dialect.Options{NoUsage: true}), "the provider refuses it")
	require.NotNil(t, openCounted(`{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":false}}`, dialect.Options{NoUsage: true}), "the client has the field itself")
}
