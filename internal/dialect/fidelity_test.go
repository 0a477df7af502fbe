package dialect_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// talking is a dialect's words for what these tests say.
type talking struct {
	dialect dialect.Dialect
	request func(tools, more string) string // tools are the client's
	tool    string                          // one of the client's
	must    string                          // the model must call a tool
	named   string                          // one of Keyturn's
	call    string                          // a turn that calls one
	says    func(text, model string) string // a turn that says something
}

func talkings() map[string]talking {
	chatCall := chatChunk(`{"role":"assistant","tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"bmcp_files_read_file","arguments":"{}"}}]}`, "") + chatFinish("tool_calls") + chatDone
	return map[string]talking{
		"chat": {
			dialect: dialect.Chat,
			request: func(tools, more string) string {
				return `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}],"tools":[` + tools + `]` + more + `}`
			},
			tool: chatMail, must: `"required"`, named: `{"type":"function","function":{"name":"bmcp_files_read_file"}}`, call: chatCall,
			says: func(text, model string) string {
				return strings.ReplaceAll(chatChunk(`{"role":"assistant","content":"`+text+`"}`, "")+chatFinish("stop")+chatDone, `"model":"m"`, `"model":"`+model+`"`)
			},
		},
		"messages": {
			dialect: dialect.Messages,
			request: func(tools, more string) string {
				return `{"model":"m","max_tokens":99,"stream":true,"messages":[{"role":"user","content":"hi"}],"tools":[` + tools + `]` + more + `}`
			},
			tool: `{"name":"send_mail","input_schema":{"type":"object"}}`, must: `{"type":"any"}`, named: `{"type":"tool","name":"bmcp_files_read_file"}`,
			call: messageStream("m", `{"type":"tool_use","id":"toolu_1","name":"bmcp_files_read_file","input":{}}`, "tool_use"),
			says: func(text, model string) string {
				return messageStream(model, `{"type":"text","text":"`+text+`"}`, "end_turn")
			},
		},
		"responses": {
			dialect: dialect.Responses,
			request: func(tools, more string) string {
				return `{"model":"m","stream":true,"input":"hi","tools":[` + tools + `]` + more + `}`
			},
			tool: `{"type":"function","name":"send_mail"}`, must: `"required"`, named: `{"type":"function","name":"bmcp_files_read_file"}`,
			call: responseOf("m", `{"id":"fc_1","type":"function_call","status":"completed","call_id":"call_1","name":"bmcp_files_read_file","arguments":"{}"}`),
			says: func(text, model string) string {
				return responseOf(model, `{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"`+text+`","annotations":[]}]}`)
			},
		},
	}
}

func eventOf(kind, rest string) string {
	return fmt.Sprintf("event: %[1]s\ndata: {\"type\":\"%[1]s\"%[2]s}\n\n", kind, rest)
}

func messageStream(model, block, reason string) string {
	return eventOf("message_start", `,"message":{"id":"msg_1","type":"message","role":"assistant","model":"`+model+`","content":[],"stop_reason":null,"usage":{"input_tokens":1,"output_tokens":1}}`) +
		eventOf("content_block_start", `,"index":0,"content_block":`+block) + eventOf("content_block_stop", `,"index":0`) +
		eventOf("message_delta", `,"delta":{"stop_reason":"`+reason+`","stop_sequence":null},"usage":{"output_tokens":1}`) + eventOf("message_stop", "")
}

func responseOf(model, item string) string {
	object := func(status, output string) string {
		return `,"response":{"id":"resp_1","object":"response","status":"` + status + `","model":"` + model + `","output":[` + output + `]}`
	}
	return eventOf("response.created", `,"sequence_number":0`+object("in_progress", "")) +
		eventOf("response.output_item.added", `,"sequence_number":1,"output_index":0,"item":`+item) +
		eventOf("response.output_item.done", `,"sequence_number":2,"output_index":0,"item":`+item) +
		eventOf("response.completed", `,"sequence_number":3`+object("completed", item))
}

// open begins a session.
func (k *talking) open(t *testing.T, request string) dialect.Session {
	t.Helper()
	s := openWith(k.dialect, []byte(request), dialect.Options{Tools: scenarioTools(), ModelName: scenarioModelName, Memory: scenarioMemory{}})
	require.NotNil(t, s)
	return s
}

// turns plays turns of a response to its end, and returns what the client gets and the requests of the turns.
func (k *talking) turns(t *testing.T, s dialect.Session, last bool, streams ...string) (client []byte, requests []string) {
	t.Helper()
	for i, stream := range streams {
		requests = append(requests, string(s.Request()))
		var turn dialect.Turn
		client, turn = playOne(s, client, []byte(stream))
		if i == len(streams)-1 {
			require.Empty(t, turn.Calls)
			break
		}
		require.NotEmpty(t, turn.Calls)
		for n := range turn.Calls {
			client = s.Settle(client, n, dialect.Result{Parts: []dialect.Part{{Text: "r"}}})
		}
		require.True(t, s.Continue(last && i == len(streams)-2))
	}
	return client, requests
}

// What a client wants called is called, in each turn, as long as it has tools of its own that can be; where it has none, the model need not
// call for ever.
func TestChoiceStaysWhileTheClientHasTools(t *testing.T) {
	for name, k := range talkings() {
		for _, tc := range []struct {
			name, tool, choice string
			last               bool
			want               string // tool_choice of the second turn
			own                bool   // Keyturn's tools are in it
		}{
			{"required, with tools", k.tool, k.must, false, k.must, true},
			{"required, without", "", k.must, false, freely(name), true},
			{"Keyturn's own", k.tool, k.named, false, freely(name), true},
			{"required, with tools, at last", k.tool, k.must, true, k.must, false},
			{"required, without, at last", "", k.must, true, never(name), true},
		} {
			t.Run(name+"/"+tc.name, func(t *testing.T) {
				s := k.open(t, k.request(tc.tool, `,"tool_choice":`+tc.choice))
				_, requests := k.turns(t, s, tc.last, k.call, k.says("hello", "m"))
				require.Contains(t, requests[1], `"tool_choice":`+tc.want)
				require.Equal(t, tc.own, strings.Contains(requests[1], `"description":"Reads a file"`), requests[1])
			})
		}
	}
}

func freely(dialect string) string {
	if dialect == "messages" {
		return `{"type":"auto"}`
	}
	return `"auto"`
}

func never(dialect string) string {
	if dialect == "messages" {
		return `{"type":"none"}`
	}
	return `"none"`
}

// A response has one model, whatever served its turns.
func TestOneModelOfAResponse(t *testing.T) {
	for name, k := range talkings() {
		t.Run(name, func(t *testing.T) {
			s := k.open(t, k.request("", ""))
			client, _ := k.turns(t, s, false, k.call, k.says("hello", "another"))
			require.Contains(t, string(client), "hello")
			require.Contains(t, string(client), `"model":"m"`)
			require.NotContains(t, string(client), "another")
		})
	}
}

// Whatever says that the provider is at work reaches the client before the turn shows anything: the client would give up else.
func TestSignsOfLifeBeforeContent(t *testing.T) {
	for name, k := range talkings() {
		t.Run(name, func(t *testing.T) {
			s := k.open(t, k.request("", ""))
			first, rest, _ := strings.Cut(k.says("hello", "m"), "\n\n")
			if name == "chat" {
				first, rest = strings.TrimSpace(chatChunk(`{"role":"assistant","content":""}`, "")), k.says("hello", "m")
			}
			out, _ := s.Write(nil, []byte(first+"\n\n"))
			require.Empty(t, out, "what tells nothing waits")
			out, _ = s.Write(nil, []byte(": PROCESSING\n\n"))
			require.Equal(t, ": PROCESSING\n\n", string(out))
			switch name {
			case "messages":
				out, _ = s.Write(nil, []byte(eventOf("ping", "")))
				require.Empty(t, out, "the first of them")
				out, _ = s.Write(nil, []byte(eventOf("ping", "")))
				require.Equal(t, ": keyturn\n\n", string(out))
			case "responses":
				out, _ = s.Write(nil, []byte(eventOf("keepalive", `,"sequence_number":1`)))
				require.Empty(t, out)
				out, _ = s.Write(nil, []byte(eventOf("keepalive", `,"sequence_number":1`)))
				require.Equal(t, ": keyturn\n\n", string(out))
			}
			out, _ = s.Write(nil, []byte(rest))
			require.True(t, strings.HasPrefix(string(out), first), string(out))
			require.Contains(t, string(out), "hello")
		})
	}
}

// Annotations tell of places in the text, which is all turns' together.
func TestAnnotationsMoveWithTheirText(t *testing.T) {
	k := talkings()["chat"]
	note := func(start, end int) string {
		return fmt.Sprintf(`{"type":"url_citation","url_citation":{"start_index":%d,"end_index":%d,"url":"u","title":"t"}}`, start, end)
	}
	turns := []string{
		chatChunk(`{"role":"assistant","content":"Ä look.","annotations":[`+note(0, 1)+`]}`, "") + k.call,
		chatChunk(`{"role":"assistant","content":"Found"}`, "") + chatChunk(`{"annotations":[`+note(0, 5)+`,`+note(1, 2)+`]}`, "") + k.call,
		chatChunk(`{"role":"assistant","content":"it."}`, "") + chatChunk(`{"annotations":[`+note(0, 3)+`,{"x":1},null]}`, "") + chatFinish("stop") + chatDone,
	}
	client, _ := k.turns(t, k.open(t, k.request("", "")), false, turns...)
	a, ok := assembled(client)
	require.True(t, ok)
	require.Equal(t, "Ä look.\n\nFound\n\nit.", a.Choices[0].Message["content"])
	for _, want := range []string{note(0, 1), note(9, 14) + "," + note(10, 11), note(16, 19) + `,{"x":1},null`} {
		require.Contains(t, string(client), want)
	}

	s := k.open(t, strings.Replace(k.request("", ""), `"stream":true`, `"stream":false`, 1))
	whole := func(content, notes, calls, finish string) []byte {
		return []byte(`{"id":"c1","model":"m","choices":[{"index":0,"message":{"role":"assistant","annotations":[` + notes + `],"content":"` + content + `"` + calls + `},"finish_reason":"` + finish + `"}]}`)
	}
	turn := s.Whole(whole("Ä look.", note(0, 1), `,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"bmcp_files_read_file","arguments":"{}"}}]`, "tool_calls"))
	settleAll(t, s, turn, nil)
	s.Whole(whole("Found", note(0, 5), "", "stop"))
	require.Contains(t, string(s.Body()), `"annotations":[`+note(0, 1)+`,`+note(9, 14)+`]`)
	require.Contains(t, string(s.Body()), `Ä look.\n\nFound`)
}

// Some gateways answer a request for a stream with JSON. Such answers are turns as well.
func TestWholeAnswersToRequestsForStreams(t *testing.T) {
	for name, answers := range map[string][2]string{
		"chat": {
			`{"id":"c1","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"bmcp_files_read_file","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`,
			`{"id":"c2","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}`,
		},
		"messages": {
			`{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"tool_use","id":"toolu_1","name":"bmcp_files_read_file","input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":1}}`,
			`{"id":"msg_2","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`,
		},
		"responses": {
			`{"id":"resp_1","object":"response","status":"completed","model":"m","output":[{"id":"fc_1","type":"function_call","status":"completed","call_id":"call_1","name":"bmcp_files_read_file","arguments":"{}"}]}`,
			`{"id":"resp_2","object":"response","status":"completed","model":"m","output":[{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"hello","annotations":[]}]}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := talkings()[name]
			s := k.open(t, k.request("", ""))
			turn := s.Whole([]byte(answers[0]))
			require.Len(t, turn.Calls, 1)
			require.Empty(t, s.Settle(nil, 0, dialect.Result{Parts: []dialect.Part{{Text: "r"}}}))
			require.True(t, s.Continue(false))
			require.Contains(t, string(s.Request()), `"r"`)
			require.Empty(t, s.Whole([]byte(answers[1])).Calls)
			require.Contains(t, string(s.Body()), "hello")
			require.NotContains(t, string(s.Body()), "bmcp_files_read_file")
			require.Contains(t, string(s.Body()), map[string]string{"chat": `"c1"`, "messages": `"msg_1"`, "responses": `"resp_1"`}[name])
		})
	}
}

// A byte order mark stands at the beginning of what a client gets, or nowhere.
func TestByteOrderMarksOfLaterTurns(t *testing.T) {
	const bom = "\xef\xbb\xbf"
	for name, k := range talkings() {
		t.Run(name, func(t *testing.T) {
			client, _ := k.turns(t, k.open(t, k.request("", "")), false, bom+k.call, bom+k.says("hello", "m"))
			require.Equal(t, -1, strings.LastIndex(string(client[1:]), bom), string(client))
			require.Contains(t, string(client), "hello")
		})
	}
}
