package dialect_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// chatHistory plays a response that says "One " before a call of Keyturn's and then last, and returns what was remembered.
func chatHistory(t *testing.T, request, id, last string, m scenarioMemory) {
	t.Helper()
	s := openChat(t, request, m)
	first := chatChunk(`{"role":"assistant","content":"One "}`, "") + chatPieces(`{"index":0,"id":"`+id+`","function":{"name":"`+chatForecast+`","arguments":"{}"}}`) + chatFinish("tool_calls")
	_, turn := play(t, s, nil, [][]byte{[]byte(first)})
	require.Len(t, turn.Calls, 1)
	settleAll(t, s, turn, nil)
	_, turn = play(t, s, nil, [][]byte{[]byte(last)})
	if len(turn.Calls) > 0 {
		settleAll(t, s, turn, nil)
	}
}

// chatMessages are the messages of a request, one a line.
func chatMessages(t *testing.T, s dialect.Session) string {
	t.Helper()
	require.NoError(t, validChat(s.Request()))
	var r struct{ Messages []json.RawMessage }
	require.NoError(t, json.Unmarshal(s.Request(), &r))
	var list []string
	for _, m := range r.Messages {
		list = append(list, string(m))
	}
	return strings.Join(list, "\n")
}

const (
	hiddenCall   = `{"role":"assistant","content":"One ","tool_calls":[{"id":"a","type":"function","function":{"name":"` + chatForecast + `","arguments":"{}"}}]}`
	hiddenResult = `{"role":"tool","tool_call_id":"a","content":"r"}`
	user         = `{"role":"user","content":"hi"}`
)

func TestChatRemembersByText(t *testing.T) {
	first := `{"messages":[` + user + `],"model":"m","stream":true}`
	last := chatChunk(`{"content":"two <é>."}`, "") + chatFinish("stop") + chatDone
	found := user + "\n" + hiddenCall + "\n" + hiddenResult + "\n"
	for _, tc := range []struct {
		name, user, echo string
		more             string // members of the next request
		want             string // of what was user and echo
	}{
		{name: "as it was", echo: `{"role":"assistant","content":"One two <é>."}`, want: found + `{"role":"assistant","content":"two <é>."}`},
		{name: "other members, order and escapes", echo: `{ "refusal":null, "content":"One two <\u00e9>." , "name":"x", "role":"assistant" }`, want: found + `{ "refusal":null, "content":"two <é>." , "name":"x", "role":"assistant" }`},
		{name: "space around", echo: `{"role":"assistant","content":" One two <é>.\n"}`, want: found + `{"role":"assistant","content":"two <é>."}`},
		{
			name: "as a part", echo: `{"role":"assistant","content":[{"type":"text","text":"One two <é>.","cache_control":{"type":"ephemeral"}}]}`,
			want: found + `{"role":"assistant","content":[{"type":"text","text":"two <é>.","cache_control":{"type":"ephemeral"}}]}`,
		},
		{name: "as two parts", echo: `{"role":"assistant","content":[{"type":"text","text":"One "},{"type":"text","text":"two <é>."}]}`, want: found + `{"role":"assistant","content":"two <é>."}`},
		{
			name: "the user's as a part", user: `{"content":[{"type":"text","text":"hi"}],"role":"user"}`, echo: `{"role":"assistant","content":"One two <é>."}`,
			want: strings.Replace(found, user, `{"content":[{"type":"text","text":"hi"}],"role":"user"}`, 1) + `{"role":"assistant","content":"two <é>."}`,
		},
		{name: "another model", more: `,"model":"n"`, echo: `{"role":"assistant","content":"One two <é>."}`, want: found + `{"role":"assistant","content":"two <é>."}`},
		{name: "another text", echo: `{"role":"assistant","content":"One two three."}`},
		{name: "another conversation", user: `{"role":"user","content":"ho"}`, echo: `{"role":"assistant","content":"One two <é>."}`},
		{name: "another user", more: `,"user":"bob"`, echo: `{"role":"assistant","content":"One two <é>."}`},
		{name: "another role", echo: `{"role":"user","content":"One two <é>."}`},
		{name: "in two messages", echo: `{"role":"assistant","content":"One "},{"role":"assistant","content":"two <é>."}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := scenarioMemory{}
			chatHistory(t, first, "a", last, m)
			require.Len(t, m, 1)
			if tc.user == "" {
				tc.user = user
			}
			next := `{"messages":[` + tc.user + `,` + tc.echo + `,{"role":"user","content":"and?"}]` + tc.more + `}`
			if tc.want == "" {
				tc.want = tc.user + "\n" + strings.ReplaceAll(tc.echo, `},{`, "}\n{")
			}
			s := openChat(t, next, m)
			require.Equal(t, tc.want+"\n"+`{"role":"user","content":"and?"}`, chatMessages(t, s))
			s = openChat(t, next, scenarioMemory{})
			require.NotContains(t, chatMessages(t, s), "tool_call", "what was forgotten is left out")
		})
	}
}

// Two responses of a conversation have hidden turns, and so has a third request's history.
func TestChatRemembersAConversation(t *testing.T) {
	m := scenarioMemory{}
	stop := chatFinish("stop") + chatDone
	chatHistory(t, `{"messages":[`+user+`],"stream":true}`, "a", chatChunk(`{"content":"two."}`, "")+stop, m)
	second := `{"messages":[` + user + `,{"role":"assistant","content":"One two."},{"role":"user","content":"and?"}`
	chatHistory(t, second+`],"stream":true}`, "b", chatChunk(`{"content":"two."}`, "")+stop, m)
	require.Len(t, m, 2)
	s := openChat(t, second+`,{"role":"assistant","content":"One two."},{"role":"user","content":"so?"}],"stream":true}`, m)
	want := strings.Join([]string{
		user, hiddenCall, hiddenResult, `{"role":"assistant","content":"two."}`, `{"role":"user","content":"and?"}`,
		strings.Replace(hiddenCall, `"a"`, `"b"`, 1), strings.Replace(hiddenResult, `"a"`, `"b"`, 1), `{"role":"assistant","content":"two."}`, `{"role":"user","content":"so?"}`,
	}, "\n")
	require.Equal(t, want, chatMessages(t, s))
}

func TestChatRemembersByCalls(t *testing.T) {
	const unique, common = "call_9dKq2LmX7vTz4Rw8", "functions.send_mail:0"
	theirs := func(id string) string {
		return `{"id":"` + id + `","type":"function","function":{"name":"send_mail","arguments":"{ }"}}`
	}
	own := `{"id":"b","type":"function","function":{"name":"bmcp_files_read_file","arguments":"{}"}}`
	for _, tc := range []struct {
		name, id, user, content string
		lost                    bool
		want                    string // content of the last turn
	}{
		{"unique id", unique, user, `"One two."`, false, `"two."`},
		{"unique id in a changed conversation", unique, `{"role":"user","content":"shortened"}`, `"One two."`, false, `"two."`},
		{"the text is left out", unique, user, `null`, false, `null`},
		{"the text is another", unique, user, `"Two"`, false, `"Two"`},
		{"common id", common, user, `"One two."`, false, `"two."`},
		{"common id without text", common, user, `""`, false, `""`},
		{"common id in another conversation", common, `{"role":"user","content":"ho"}`, `"One two."`, true, ""},
		{"an id of another call", "call_XXXX2LmX7vTz4Rw8", user, `"One two."`, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := scenarioMemory{}
			said := tc.id
			if said != common {
				said = unique
			}
			last := chatChunk(`{"content":"two."}`, "") + chatPieces(`{"index":0,"id":"b","function":{"name":"bmcp_files_read_file","arguments":"{}"}},{"index":1,"id":"`+said+`","function":{"name":"send_mail","arguments":"{}"}}`) +
				chatFinish("tool_calls") + chatDone
			chatHistory(t, `{"messages":[`+user+`],"stream":true,"tools":[`+chatMail+`]}`, "a", last, m)
			require.Len(t, m, 1)
			result := `{"role":"tool","tool_call_id":"` + tc.id + `","content":"sent"}`
			echo := func(content, calls string) string {
				return `{"role":"assistant","content":` + content + `,"tool_calls":[` + calls + `]}`
			}
			s := openChat(t, `{"messages":[`+tc.user+`,`+echo(tc.content, theirs(tc.id))+`,`+result+`],"tools":[`+chatMail+`]}`, m)
			want := []string{tc.user, echo(tc.content, theirs(tc.id)), result}
			if !tc.lost {
				want = []string{
					tc.user, hiddenCall, hiddenResult, echo(tc.want, own+","+theirs(tc.id)), `{"role":"tool","tool_call_id":"b","content":"r"}`, result,
				}
			}
			require.Equal(t, strings.Join(want, "\n"), chatMessages(t, s))
		})
	}
}

// Also where no tools go in, the provider gets its conversation back.
func TestChatRecallsWithoutTools(t *testing.T) {
	m := scenarioMemory{}
	chatHistory(t, `{"messages":[`+user+`],"stream":true}`, "a", chatChunk(`{"content":"two."}`, "")+chatFinish("stop"), m)
	next := `{"messages":[` + user + `,{"role":"assistant","content":"One two."}],"tool_choice":"none"}`
	s := openWith(dialect.Chat, []byte(next), dialect.Options{Tools: scenarioTools(), Memory: m})
	require.NotNil(t, s)
	require.False(t, s.Reads())
	require.Equal(t, user+"\n"+hiddenCall+"\n"+hiddenResult+"\n"+`{"role":"assistant","content":"two."}`, chatMessages(t, s))
	require.NotContains(t, string(s.Request()), `"tools"`)
	for key := range m {
		m[key] = []byte(`{"before":[`)
	}
	require.Nil(t, openWith(dialect.Chat, []byte(next), dialect.Options{Memory: m}), "what cannot be read is as good as forgotten")
}

// What is remembered is there before the client has the end of the answer.
func TestChatRemembersInTime(t *testing.T) {
	for _, end := range []string{chatFinish("stop") + chatDone, chatFinish("stop")} {
		m := scenarioMemory{}
		s := openChat(t, chatRequest(""), m)
		_, turn := play(t, s, nil, [][]byte{[]byte(chatPieces(`{"index":0,"id":"a","function":{"name":"`+chatForecast+`","arguments":"{}"}}`) + chatFinish("tool_calls"))})
		settleAll(t, s, turn, nil)
		var client []byte
		for _, b := range []byte(chatChunk(`{"content":"x"}`, "") + end) {
			client, _ = s.Write(client[:0], []byte{b})
			require.False(t, strings.Contains(string(client), `"stop"`) && len(m) == 0)
		}
		client, _ = s.End(client[:0])
		require.Len(t, m, 1)
		require.Equal(t, !strings.HasSuffix(end, chatDone), strings.Contains(string(client), `"stop"`))
	}
}
