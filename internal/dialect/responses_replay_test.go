package dialect_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// replays are the ways in which libraries send a response's output back.
var replays = []string{"whole", "without output", "by reference", "by reference, twice", "without ids", "without most ids", "one text", "without calls", "without calls and ids", "without calls and reasoning"}

// replayed is a response's output as a client sends it back, in one of these ways.
func replayed(t testing.TB, how string, output []json.RawMessage) (items []string) {
	t.Helper()
	var said strings.Builder
	for _, raw := range output {
		var item map[string]any
		require.NoError(t, json.Unmarshal(raw, &item))
		if strings.HasPrefix(how, "without calls") && item["type"] == "mcp_call" { // Codex, opencode, Mastra and others
			continue
		}
		switch how {
		case "without calls and ids": // Codex, of which reasoning has none either
			delete(item, "id")
		case "without calls and reasoning": // Vercel's ai where the provider does not store
			if item["type"] == "reasoning" {
				continue
			}
		case "without output": // @openai/agents
			delete(item, "output")
		case "by reference", "by reference, twice": // Vercel's ai where the provider stores; some give a call's result another reference
			item = map[string]any{"type": "item_reference", "id": item["id"]}
		case "without ids", "without most ids": // Vercel's ai where it does not
			switch {
			case item["type"] == "message":
				item = map[string]any{"role": "assistant", "content": textOf(item)}
			case item["type"] != "reasoning":
				delete(item, "id")
			case how == "without ids":
				continue
			}
		case "one text": // clients that take output_text
			said.WriteString(textOf(item))
			continue
		}
		b, err := json.Marshal(item)
		require.NoError(t, err)
		items = append(items, string(b))
		if how == "by reference, twice" && strings.HasPrefix(fmt.Sprint(item["id"]), "mcp") {
			items = append(items, string(b))
		}
	}
	if said.String() != "" {
		items = append(items, fmt.Sprintf(`{"type":"message","role":"assistant","content":[{"type":"output_text","text":%q}]}`, said.String()+"\n"))
	}
	return items
}

// textOf is what an item of type message says.
func textOf(item map[string]any) (said string) {
	parts, _ := item["content"].([]any)
	for _, p := range parts {
		text, _ := p.(map[string]any)["text"].(string)
		said += text
	}
	return said
}

// inputOf is a request's input in short: the ids of the model's items, or their call ids in parentheses, references with an @, and
// the results of calls.
func inputOf(t *testing.T, request []byte) string {
	t.Helper()
	var r struct {
		Input []struct {
			anyItem
			Output json.RawMessage
		}
	}
	require.NoError(t, json.Unmarshal(request, &r), string(request))
	var short []string
	for _, i := range r.Input {
		switch {
		case i.Type == "item_reference":
			short = append(short, "@"+i.ID)
		case strings.HasSuffix(i.Type, "_output"):
			short = append(short, i.CallID+"="+strings.ReplaceAll(strings.Trim(string(i.Output), `"`), " ", "_"))
		case i.ID != "":
			short = append(short, i.ID)
		case i.CallID != "":
			short = append(short, "("+i.CallID+")")
		default:
			short = append(short, cmp.Or(i.Role, i.Type))
		}
	}
	return strings.Join(short, " ")
}

// answered plays a scenario and returns its request's input, as items, and the output that the client has.
func answered(t testing.TB, name string, hidden bool, m dialect.Memory) (input []string, output []json.RawMessage) {
	t.Helper()
	sc := readScenario(t, filepath.Join("testdata", "responses", name+".txtar"))
	sc.options.Hidden = hidden
	got := sc.run(t, scenarioDialect{dialect: dialect.Responses}, m, func(b []byte) [][]byte { return [][]byte{b} }, false)
	var r struct{ Input json.RawMessage }
	require.NoError(t, json.Unmarshal(sc.request(), &r))
	var items []json.RawMessage
	if json.Unmarshal(r.Input, &items) != nil {
		items = []json.RawMessage{[]byte(`{"role":"user","content":` + string(r.Input) + `}`)}
	}
	for _, i := range items {
		input = append(input, string(i))
	}
	var final struct{ Output []json.RawMessage }
	require.NoError(t, json.Unmarshal(terminalOf(got["client.sse"]), &final))
	return input, final.Output
}

const notKept = `Error:_the_call's_result_is_not_available_any_more`

// TestResponsesReplays is about what clients' libraries make of a response when they send it back.
func TestResponsesReplays(t *testing.T) {
	for _, tc := range []struct {
		file, how string
		hidden    bool
		forgotten bool // before the next request
		want      string
	}{
		{file: "replay", how: "whole", want: `user rs_10 fc_11 msg_12 fc_13 call_11=rain call_13=a\nb\nc fc_20 call_20=sun msg_30`},
		{file: "replay", how: "without output", want: `user rs_10 fc_11 msg_12 fc_13 call_11=rain call_13=a\nb\nc fc_20 call_20=sun msg_30`},
		{file: "replay", how: "without output", forgotten: true, want: `user rs_10 fc_11 msg_12 fc_13 call_11=` + notKept + ` call_13=` + notKept + ` fc_20 call_20=` + notKept + ` msg_30`},
		{file: "tool_errors", how: "without output", want: `user fc_10 fc_11 fc_12 fc_13 fc_14 call_10=no_such_city call_11=Error:_the_tool_failed_and_does_not_say_why call_12=Error:_bad_params call_13=Error:_the_server_cannot_be_reached call_14= msg_20`},
		{file: "tool_errors", how: "without output", forgotten: true, want: `user fc_10 fc_11 fc_12 fc_13 fc_14 call_10=no_such_city call_11=Error:_the_tool_failed_and_does_not_say_why call_12=Error:_bad_params call_13=Error:_the_server_cannot_be_reached call_14=` + notKept + ` msg_20`},
		{file: "images", how: "without output", want: `user fc_10 call_10=[{"type":"input_text","text":"see"},{"type":"input_image","image_url":"data:image/png;base64,UE5HIGJ5dGVz"},{"type":"input_file","filename":"report.pdf","file_data":"data:application/pdf;base64,JVBERg=="}] msg_20`},
		{file: "replay_mixed", how: "without output", want: `user rs_10 fc_11 fc_12 fc_13 call_11=rain call_13=content call_12=sent`},

		{file: "replay", how: "by reference", want: `user @rs_10 fc_11 @msg_12 fc_13 call_11=rain call_13=a\nb\nc fc_20 call_20=sun @msg_30`},
		{file: "replay", how: "by reference, twice", want: `user @rs_10 fc_11 @msg_12 fc_13 call_11=rain call_13=a\nb\nc fc_20 call_20=sun @msg_30`},
		{file: "replay", how: "by reference", forgotten: true, want: `user @rs_10 @fc_11 @msg_12 @fc_13 call_11=` + notKept + ` call_13=` + notKept + ` @fc_20 call_20=` + notKept + ` @msg_30`},
		{file: "replay_mixed", how: "by reference", want: `user @rs_10 fc_11 @fc_12 fc_13 call_11=rain call_13=content call_12=sent`},
		{file: "replay_mixed", how: "by reference, twice", forgotten: true, want: `user @rs_10 @fc_11 @fc_12 @fc_13 call_11=` + notKept + ` call_13=` + notKept + ` call_12=sent`},

		{file: "replay", how: "without calls", want: `user rs_10 fc_11 msg_12 fc_13 call_11=rain call_13=a\nb\nc fc_20 call_20=sun msg_30`},
		{file: "replay", how: "without calls", forgotten: true, want: `user rs_10 msg_12 msg_30`},
		{file: "replay", how: "without calls and ids", want: `user reasoning fc_11 assistant fc_13 call_11=rain call_13=a\nb\nc fc_20 call_20=sun assistant`},
		{file: "replay", how: "without calls and reasoning", want: `user (call_11) msg_12 (call_13) call_11=rain call_13=a\nb\nc (call_20) call_20=sun msg_30`},
		{file: "replay", how: "one text", want: `user (call_11) (call_13) call_11=rain call_13=a\nb\nc (call_20) call_20=sun assistant`},
		{file: "replay_mixed", how: "without calls", want: `user rs_10 fc_11 fc_12 fc_13 call_11=rain call_13=content call_12=sent`},
		{file: "replay_mixed", how: "without calls and ids", want: `user reasoning fc_11 (call_12) fc_13 call_11=rain call_13=content call_12=sent`},
		{file: "replay_mixed", how: "without calls and reasoning", want: `user (call_11) fc_12 (call_13) call_11=rain call_13=content call_12=sent`},

		{file: "hidden", how: "whole", hidden: true, want: `user rs_10 fc_11 fc_12 call_11=rain call_12=file msg_20 fc_21 call_21=sun msg_30`},
		{file: "hidden", how: "by reference", hidden: true, want: `user @rs_10 fc_11 fc_12 call_11=rain call_12=file @msg_20 fc_21 call_21=sun @msg_30`},
		{file: "hidden", how: "by reference", hidden: true, forgotten: true, want: `user @rs_10 @msg_20 @msg_30`},
		{file: "hidden", how: "without most ids", hidden: true, want: `user rs_10 fc_11 fc_12 call_11=rain call_12=file assistant fc_21 call_21=sun assistant`},
		{file: "hidden", how: "without ids", hidden: true, want: `user (call_11) (call_12) call_11=rain call_12=file assistant (call_21) call_21=sun assistant`},
		{file: "hidden", how: "without ids", hidden: true, forgotten: true, want: `user assistant assistant`},
		{file: "hidden", how: "one text", hidden: true, want: `user (call_11) (call_12) call_11=rain call_12=file (call_21) call_21=sun assistant`},
		{file: "five_turns", how: "without ids", hidden: true, want: `user assistant fc_11 call_11=r1 fc_20 call_20=r2 assistant fc_31 call_31=r3 fc_40 call_40=r4 assistant`},
		{file: "five_turns", how: "one text", hidden: true, want: `user fc_11 call_11=r1 fc_20 call_20=r2 fc_31 call_31=r3 fc_40 call_40=r4 assistant`},
		{file: "hidden_mixed", how: "by reference", hidden: true, want: `user @rs_10 fc_11 @fc_12 fc_13 call_11=rain call_13=content call_12=sent`},
		{file: "hidden_mixed", how: "by reference", hidden: true, forgotten: true, want: `user @rs_10 @fc_12 call_12=sent`},
		{file: "hidden_mixed", how: "without most ids", hidden: true, want: `user rs_10 fc_11 (call_12) fc_13 call_11=rain call_13=content call_12=sent`},
		{file: "hidden_mixed", how: "without ids", hidden: true, want: `user (call_11) (call_12) (call_13) call_11=rain call_13=content call_12=sent`},
	} {
		name := tc.file + ", " + tc.how
		if tc.forgotten {
			name += ", forgotten"
		}
		t.Run(name, func(t *testing.T) {
			m := scenarioMemory{}
			input, output := answered(t, tc.file, tc.hidden, m)
			input = append(input, replayed(t, tc.how, output)...)
			if strings.HasSuffix(tc.file, "_mixed") {
				input = append(input, `{"type":"function_call_output","call_id":"call_12","output":"sent"}`)
			}
			input = append(input, `{"role":"user","content":"And now?"}`)
			if tc.forgotten {
				clear(m)
			}
			s := openReplay(input, "", m, tc.hidden)
			require.Equal(t, tc.want+" user", inputOf(t, s.Request()))
			require.NoError(t, validResponses(s.Request()))
		})
	}
}

// openReplay opens a request with these items. Settings are further members.
func openReplay(input []string, settings string, m dialect.Memory, hidden bool) dialect.Session {
	return openWith(dialect.Responses, []byte(`{"model":"m"`+settings+`,"input":[`+strings.Join(input, ",")+`]}`),
		dialect.Options{Tools: scenarioTools(), ModelName: scenarioModelName, Memory: m, Hidden: hidden})
}

// TestResponsesEdited holds that a result which the client has changed stays so.
func TestResponsesEdited(t *testing.T) {
	for _, file := range []string{"replay", "images"} {
		m := scenarioMemory{}
		input, output := answered(t, file, false, m)
		for _, raw := range output {
			var item map[string]any
			require.NoError(t, json.Unmarshal(raw, &item))
			if item["output"] != nil {
				item["output"] = "cleared"
			}
			b, err := json.Marshal(item)
			require.NoError(t, err)
			input = append(input, string(b))
		}
		short := inputOf(t, openReplay(input, "", m, false).Request())
		require.Equal(t, strings.Count(short, "="), strings.Count(short, "=cleared"), short)
	}
}

const asked, wondered = `{"role":"user","content":"a"}`, `{"role":"user","content":"b"}`

// hides is a response that calls a tool, unseen by the client, and then says a text. It is made by the settings and input of a request.
func hides(t *testing.T, input []string, settings string, m dialect.Memory, call, said string) {
	t.Helper()
	s := openReplay(input, settings, m, true)
	turn := s.Whole([]byte(`{"id":"resp_` + call + `","status":"completed","output":[{"type":"function_call","id":"fc_` + call + `","call_id":"` + call +
		`","name":"bmcp_files_read_file","arguments":"{}","status":"completed"}]}`))
	require.Len(t, turn.Calls, 1)
	s.Settle(nil, 0, dialect.Result{Parts: []dialect.Part{{Text: call}}})
	require.True(t, s.Continue(false))
	turn = s.Whole([]byte(`{"id":"resp_2` + call + `","status":"completed","output":[{"type":"message","id":"msg_` + call +
		`","role":"assistant","status":"completed","content":[{"type":"output_text","text":"` + said + `"}]}]}`))
	require.Empty(t, turn.Calls)
	require.Contains(t, string(s.Body()), said)
}

// TestResponsesByText is about which texts find what was hidden.
func TestResponsesByText(t *testing.T) {
	said := func(text string) string { return `{"role":"assistant","content":"` + text + `"}` }
	user := func(content string) string { return `{"role":"user","content":` + content + `}` }
	for _, tc := range []struct {
		name     string
		settings string
		next     []string
		further  string // the next request's settings
		want     string
	}{
		{"the same", "", []string{asked, said("Done so.")}, "", "user fc_c call"},
		{"space around the text", "", []string{asked, said(" Done so.\\n\\n")}, "", "user fc_c call"},
		{"in parts", "", []string{asked, `{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Done"},{"type":"output_text","text":" so."}]}`}, "", "user fc_c call"},
		{"in two messages", "", []string{asked, said("Done"), said("so.")}, "", "user fc_c call assistant"},
		{"the question as a list", "", []string{user(`[{"type":"input_text","text":"a"}]`), said("Done so.")}, "", "user fc_c call"},
		{"another text", "", []string{asked, said("Done.")}, "", ""},
		{"another question", "", []string{wondered, said("Done so.")}, "", ""},
		{"another's question", "", []string{`{"role":"developer","content":"a"}`, said("Done so.")}, "", ""},
		{"an image with the question", "", []string{user(`[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"x"}]`), said("Done so.")}, "", ""},
		{"something before", "", []string{wondered, said("x"), asked, said("Done so.")}, "", ""},
		{"something after", "", []string{asked, said("Done so."), wondered, said("Done so.")}, "", "user fc_c call user assistant"},
		{"more said", "", []string{asked, said("Done so."), said("Really.")}, "", ""},
		{"a call with it", "", []string{asked, said("Done so."), `{"type":"function_call","call_id":"x","name":"f","arguments":"{}"}`, `{"type":"function_call_output","call_id":"x","output":""}`}, "", ""},
		{"with reasoning", "", []string{asked, `{"type":"reasoning","id":"rs_1","summary":[]}`, said("Done so.")}, "", "user rs_1 fc_c call"},
		{"the same instructions", `,"instructions":"i","user":"u"`, []string{asked, said("Done so.")}, `,"user":"u","instructions":"i"`, "user fc_c call"},
		{"other instructions", `,"instructions":"i"`, []string{asked, said("Done so.")}, `,"instructions":"j"`, ""},
		{"another user", `,"user":"u"`, []string{asked, said("Done so.")}, `,"user":"v"`, ""},
		{"another user, by the newer name", `,"safety_identifier":"u"`, []string{asked, said("Done so.")}, `,"safety_identifier":"v"`, ""},
		{"what the provider has stored", "", []string{asked, said("Done so.")}, `,"previous_response_id":"resp_1"`, ""},
		{"nothing of the model's", "", []string{asked}, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := scenarioMemory{}
			hides(t, []string{asked}, tc.settings, m, "c", "Done so.")
			got := inputOf(t, openReplay(append(tc.next, wondered), tc.further, m, true).Request())
			if tc.want == "" {
				require.NotContains(t, got, "fc_c")
				return
			}
			require.True(t, strings.HasPrefix(got, strings.Replace(tc.want, "call", "c=c assistant", 1)), got)
		})
	}
}

// TestResponsesByTextLong is about several responses of one conversation, and of others with the same words.
func TestResponsesByTextLong(t *testing.T) {
	m := scenarioMemory{}
	const said = `{"role":"assistant","content":"Done."}`
	hides(t, []string{asked}, "", m, "c1", "Done.")
	hides(t, []string{asked, said, asked}, "", m, "c2", "Done.")
	hides(t, []string{asked, said, asked, said, asked}, "", m, "c3", "Done.")
	hides(t, []string{wondered, said, asked}, "", m, "d", "Done.")
	got := inputOf(t, openReplay([]string{asked, said, asked, said, asked, said, asked}, "", m, true).Request())
	require.Equal(t, "user fc_c1 c1=c1 assistant user fc_c2 c2=c2 assistant user fc_c3 c3=c3 assistant user", got)

	// A text as the whole input is the same conversation as the item that it means.
	s := openWith(dialect.Responses, []byte(`{"input":"a"}`), dialect.Options{Tools: scenarioTools(), Memory: m, Hidden: true})
	s.Whole([]byte(`{"id":"r","status":"completed","output":[{"type":"function_call","id":"fc_n","call_id":"n","name":"bmcp_files_read_file","arguments":"{}"}]}`))
	s.Settle(nil, 0, dialect.Result{})
	require.True(t, s.Continue(false))
	s.Whole([]byte(`{"id":"r2","status":"completed","output":[{"type":"message","id":"msg_n","role":"assistant","content":[{"type":"output_text","text":"New."}]}]}`))
	got = inputOf(t, openReplay([]string{asked, `{"role":"assistant","content":"New."}`, asked}, "", m, true).Request())
	require.Equal(t, "user fc_n n= assistant user", got)

	// A pool that shows calls now looks too, and what a shared store brings may be damaged.
	require.Contains(t, string(openReplay([]string{asked, said, asked}, "", m, false).Request()), "fc_c1")
	for key := range m {
		m[key] = []byte(`{"gaps":[1,{"items":[]},{"at":-7,"items":{}}],"call":7}`)
	}
	require.Equal(t, "user assistant user", inputOf(t, openReplay([]string{asked, said, asked}, "", m, true).Request()))
}

// TestResponsesExplainsReferences is about calls that the client only names, and that nobody has any longer.
func TestResponsesExplainsReferences(t *testing.T) {
	refusal := func(id string) []byte {
		return []byte(`{"error":{"message":"Item with id '` + id + `' not found.","type":"invalid_request_error","param":"input","code":null}}`)
	}
	reference := func(id string) string { return `{"type":"item_reference","id":"` + id + `"}` }
	for _, tc := range []struct {
		name, named string
		settings    string
		asks        string // the id that the provider is asked for
	}{
		{"the provider stored the call", "mcp-FB11", "", "fc_1"},
		{"the second of a turn", "mcp-VB11", "", "fc_1"},
		{"the call had no id", "mcp-BA1", "", "mcp-BA1"},
		{"without tools", "mcp-BA1", `,"tool_choice":"none"`, "mcp-BA1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, m := range []dialect.Memory{nil, scenarioMemory{}} {
				s := openReplay([]string{asked, reference(tc.named), reference("msg_1")}, tc.settings, m, false)
				require.NotNil(t, s)
				require.Contains(t, string(s.Request()), reference(tc.asks))
				e, ok := s.Explain(404, refusal(tc.asks))
				require.True(t, ok)
				require.Equal(t, "conversation_state_lost", e.Code)
				require.Contains(t, e.Message, "send the items themselves in place of references")
				_, ok = s.Explain(404, refusal("msg_1"))
				require.False(t, ok, "the client's own fault")
				_, ok = s.Explain(500, refusal(tc.asks))
				require.False(t, ok)
			}
		})
	}
	// Other references, and the provider's own MCP calls, are none of Keyturn's.
	require.Nil(t, openReplay([]string{asked, reference("mcp_0123"), reference("fc_1")}, `,"tool_choice":"none"`, scenarioMemory{}, false))
	// The type may be left out.
	require.Contains(t, string(openReplay([]string{asked, `{"id":"mcp-FB11"}`}, "", nil, false).Request()), reference("fc_1"))
}
