package dialect_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// TestOffers: tools go in where they are offered for the model and the number of the client's tools.
func TestOffers(t *testing.T) {
	clients := map[dialect.Dialect][2]string{ // requests, without and with tools of the client's
		dialect.Responses: {`{"model":"m","input":"a"}`, `{"model":"m","input":"a","tools":[{"type":"function","name":"f"}]}`},
		dialect.Chat:      {`{"model":"m","messages":[]}`, `{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"f"}}]}`},
		dialect.Messages:  {`{"model":"m","max_tokens":9,"messages":[]}`, `{"model":"m","max_tokens":9,"messages":[],"tools":[{"name":"f","input_schema":{"type":"object"}}]}`},
	}
	for d, requests := range clients {
		for has, request := range requests {
			for _, offered := range []bool{false, true} {
				s := openWith(d, []byte(request), dialect.Options{Tools: scenarioTools(), Offers: func(model string, tools int) bool {
					require.Equal(t, "m", model)
					require.Equal(t, has, tools)
					return offered
				}})
				require.Equal(t, offered, s != nil && strings.Contains(string(s.Request()), "bmcp_"), "%s %s", d.Name(), request)
			}
		}
	}
}

// TestInstructions: what tools' servers say of their use stands after the client's own instructions, in all turns, and clients do not read it.
func TestInstructions(t *testing.T) {
	for _, tc := range []struct {
		dialect       dialect.Dialect
		request, want string
	}{
		{dialect.Responses, `{"input":"a"}`, `"instructions":"Use it."`},
		{dialect.Responses, `{"input":"a","instructions":null}`, `"instructions":"Use it."`},
		{dialect.Responses, `{"input":"a","instructions":"Be \"brief\"."}`, `"instructions":"Be \"brief\".\n\nUse it."`},
		{dialect.Responses, `{"input":"a","instructions":[]}`, `"instructions":[]`},
		{dialect.Chat, `{"messages":[]}`, `"messages":[{"role":"system","content":"Use it."}]`},
		{dialect.Chat, `{"messages":[ {"role":"user","content":"a"}]}`, `"messages":[ {"role":"system","content":"Use it."},{"role":"user","content":"a"}]`},
		{dialect.Chat, `{"messages":[{"role":"system","content":"Be."},{"role":"user","content":"a"}]}`, `[{"role":"system","content":"Be.\n\nUse it."},{"role":"user","content":"a"}]`},
		{dialect.Chat, `{"messages":[{"role":"developer","content":[{"type":"text","text":"Be."}]}]}`, `[{"role":"developer","content":[{"type":"text","text":"Be."},{"type":"text","text":"Use it."}]}]`},
		{dialect.Messages, `{"max_tokens":9,"messages":[]}`, `"system":"Use it."`},
		{dialect.Messages, `{"max_tokens":9,"messages":[],"system":"Be."}`, `"system":"Be.\n\nUse it."`},
		{dialect.Messages, `{"max_tokens":9,"messages":[],"system":[{"type":"text","text":"Be.","cache_control":{"type":"ephemeral"}}]}`, `"cache_control":{"type":"ephemeral"}},{"type":"text","text":"Use it."}]`},
	} {
		o := dialect.Options{Tools: scenarioTools(), Memory: scenarioMemory{}, Instructions: "Use it."}
		s := openWith(tc.dialect, []byte(tc.request), o)
		require.Contains(t, string(s.Request()), tc.want)
		require.True(t, json.Valid(s.Request()))
		o.Offers = func(string, int) bool { return false }
		s = openWith(tc.dialect, []byte(tc.request), o)
		require.False(t, s != nil && strings.Contains(string(s.Request()), "Use it."), "there are no tools")
	}

	// Responses tell a response's instructions.
	for _, own := range []string{`null`, `"Be."`} {
		s := openWith(dialect.Responses, []byte(`{"input":"a","instructions":`+own+`}`), dialect.Options{Tools: scenarioTools(), Instructions: "Use it."})
		s.Whole([]byte(`{"id":"r","status":"completed","instructions":"Be.\n\nUse it.","output":[{"type":"function_call","id":"fc_n","call_id":"n","name":"bmcp_files_read_file","arguments":"{}"}]}`))
		s.Settle(nil, 0, dialect.Result{})
		require.True(t, s.Continue(false))
		require.Contains(t, string(s.Request()), "Use it.")
		s.Whole([]byte(`{"id":"r2","status":"completed","instructions":"Be.\n\nUse it.","output":[]}`))
		require.Contains(t, string(s.Body()), `"instructions":`+own)
		require.NotContains(t, string(s.Body()), "Use it.")
	}
}

// TestInstructionsLast: a conversation in Messages keeps those that it began with, as it does its tools: thoughts are bound to them.
func TestInstructionsLast(t *testing.T) {
	o := dialect.Options{Tools: scenarioTools(), Memory: scenarioMemory{}, Instructions: "Use it."}
	request := func(messages string) []byte { return []byte(`{"max_tokens":9,"messages":[` + messages + `]}`) }
	s := openWith(dialect.Messages, request(ask), o)
	s.Whole([]byte(`{"type":"message","id":"msg_1","role":"assistant","content":[` + says("Well.") + `],"stop_reason":"end_turn","usage":{}}`))
	o.Instructions = "Use it otherwise."
	went := string(openWith(dialect.Messages, request(ask+`,{"role":"assistant","content":"Well."},`+more), o).Request())
	require.Contains(t, went, `"system":"Use it."`)
}
