package dialect_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// TestRefusedOf holds what is made of providers' words; each is from a public report or the provider's documentation.
func TestRefusedOf(t *testing.T) {
	const forecast, read = "bmcp_weather_get_forecast", "bmcp_files_read_file"
	for _, tc := range []struct {
		says string
		more string // of the request
		want dialect.Without
	}{
		{says: `{"error":{"message":"registry.ollama.ai/library/gemma3:latest does not support tools"}}`, want: dialect.Without{Tools: true}},
		{says: `{"error":{"message":"Function calling with a response mime type: 'application/json' is unsupported"}}`, want: dialect.Without{Tools: true}},
		{says: `{"error":{"message":"json mode cannot be combined with tool/function calling"}}`, want: dialect.Without{Tools: true}},
		{says: `{"object":"error","message":"\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set"}`, want: dialect.Without{Tools: true}},
		{says: `{"message":"This model doesn't support tool use in streaming mode."}`, want: dialect.Without{Tools: true}},
		{says: `{"error":{"message":"deepseek-reasoner does not support Function Calling"}}`, want: dialect.Without{Tools: true}},
		{says: `{"error":{"message":"Unrecognized request argument supplied: stream_options"}}`, want: dialect.Without{Usage: true}},
		{says: `{"detail":[{"type":"extra_forbidden","loc":["body","stream_options","include_usage"]}]}`, want: dialect.Without{Usage: true}},
		{says: `{"error":{"message":"Unknown parameter: 'stream_options'"}}`, more: `,"stream_options":{"include_usage":true}`},
		{says: `{"error":{"message":"Invalid schema for function 'bmcp_files_read_file': array schema missing items"}}`, want: dialect.Without{Named: []string{read}}},
		{says: `{"error":{"message":"tools.0.custom.input_schema: input_schema does not support oneOf"}}`, want: dialect.Without{Named: []string{forecast}}},
		{says: `{"error":{"message":"Invalid value at 'tools[0].function_declarations[1].parameters'"}}`, want: dialect.Without{Named: []string{read}}},
		{says: `{"error":{"message":"tools[0].function.name is wrong"}}`, more: `,"tools":[` + chatMail + `]`},
		{says: `{"error":{"message":"tools[1].function.name is wrong"}}`, more: `,"tools":[` + chatMail + `]`, want: dialect.Without{Named: []string{forecast}}},
		{says: `{"error":{"message":"this model does not support tools"}}`, more: `,"tools":[` + chatMail + `]`},
		{says: `{"error":{"message":"Invalid 'tools': array too long. Expected an array with maximum length 2"}}`, more: `,"tools":[` + chatMail + `]`, want: dialect.Without{Tools: true}},
		{says: `{"error":{"message":"An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."}}`},
		{says: `{"error":{"message":"messages with role 'tool' must be a response to a preceding message"}}`},
		{says: `{"error":{"message":"This model's maximum context length is 4097 tokens (2000 in the messages, 3000 in the functions)"}}`},
		{says: `{"error":{"message":"temperature must be at most 2"}}`},
		{says: `<html>`},
		{says: ``},
	} {
		t.Run(tc.says, func(t *testing.T) {
			s := openWith(dialect.Chat, []byte(`{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true`+tc.more+`}`), dialect.Options{Tools: scenarioTools()})
			require.Equal(t, tc.want, dialect.RefusedOf(s, scenarioTools(), []byte(tc.says)))
		})
	}
}

func TestWithout(t *testing.T) {
	w := dialect.Without{Named: []string{"a"}}.And(dialect.Without{Usage: true, Named: []string{"a", "b"}})
	require.Equal(t, dialect.Without{Usage: true, Named: []string{"a", "b"}}, w)
	tools := []dialect.Tool{{Name: "a"}, {Name: "c"}}
	require.Equal(t, []dialect.Tool{{Name: "c"}}, w.From(tools))
	require.Equal(t, "a", tools[0].Name, "the list is others' too")
	w.Tools = true
	require.Empty(t, w.From(tools))
}

func TestForm(t *testing.T) {
	for request, want := range map[string]string{
		`{}`: "---", `{"stream":true}`: "--s", `{"response_format":{"type":"json_object"}}`: "o--", `{"response_format":{"type":"text"}}`: "---",
		`{"text":{"format":{"type":"json_schema"}},"prediction":{"type":"content"}}`: "op-", `{"output_config":{"format":{"type":"json_schema"}}}`: "o--", `{"prediction":null}`: "---",
	} {
		require.Equal(t, want, dialect.Form([]byte(request)), request)
	}
}
