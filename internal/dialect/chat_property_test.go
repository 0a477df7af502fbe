package dialect_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
)

// chatProvider makes streams at random, as some provider could send them.
type chatProvider struct {
	*rand.Rand
	said string // content of all turns
	mail int    // the client's calls of the turn
	own  int    // Keyturn's calls
	odd  bool   // calls of the client's are not numbered as OpenAI does: as long as there are no others, that passes
}

func (p *chatProvider) one(list ...string) string { return list[p.IntN(len(list))] }

// turn is the stream of a turn. Each way of numbering calls that a provider has stays the same for a turn.
func (p *chatProvider) turn(n int, calls bool) string {
	p.mail, p.own = 0, 0
	var b strings.Builder
	usage := p.one("", `,"usage":null`)
	emit := func(delta, finish string) {
		if p.IntN(8) == 0 {
			b.WriteString(p.one(": hm\n\n", ":\n\n", ": a\n: b\n\n"))
		}
		data := fmt.Sprintf(`{"id":"c%d","object":"chat.completion.chunk","created":%d,"model":"m%d","choices":[{"index":0,"delta":%s,"finish_reason":%s}]%s,"obfuscation":"%s"}`,
			n, n, n, delta, finish, usage, strings.Repeat("x", p.IntN(4)))
		if p.IntN(10) == 0 {
			data = strings.Replace(data, `,"choices"`, ",\ndata:\"choices\"", 1)
		}
		b.WriteString(p.one("data: ", "data:") + data + "\n\n")
	}
	text := func() {
		for range p.IntN(4) {
			word := p.one("a ", "bé ", `\u003c`, `\ud83d\ude00`, `\"`)
			p.said += word
			emit(`{"content":"`+word+`"}`, "null")
		}
	}
	emit(p.one(`{"role":"assistant","content":""}`, `{"role":"assistant"}`, `{"role":"assistant","content":null,"refusal":null}`), "null")
	text()
	style, whole := p.IntN(4), p.IntN(2) == 0
	if calls {
		var open []string // first pieces, then the rest, of calls in order
		for i := range 1 + p.IntN(4) {
			name := p.one(chatForecast, "bmcp_files_read_file", "send_mail", "bmc")
			if strings.HasPrefix(name, "bmcp_") {
				p.own++
			} else {
				p.mail++
				p.odd = p.odd || style > 0
			}
			index := [...]string{fmt.Sprintf(`"index":%d,`, i), fmt.Sprintf(`"index":%d,`, i+1), `"index":0,`, ""}[style]
			id := fmt.Sprintf("call_%d_%d", n, i)
			args := []string{`{\"i\":`, fmt.Sprint(i), `}`}
			if whole {
				open = append(open, `{`+index+`"id":"`+id+`","type":"function","function":{"name":"`+name+`","arguments":"`+strings.Join(args, "")+`"}}`)
				continue
			}
			open = append(open, `{`+index+`"id":"`+id+`","type":"function","function":{"name":"`+name+`","arguments":""}}`)
			for _, a := range args {
				open = append(open, `{`+index+`"function":{"arguments":"`+a+`"}}`)
			}
		}
		for len(open) > 0 {
			k := 1 + p.IntN(len(open))
			delta := `{"tool_calls":[` + strings.Join(open[:k], ",") + `]}`
			if p.IntN(4) == 0 {
				p.said += "beside "
				delta = `{"content":"beside ","tool_calls":[` + strings.Join(open[:k], ",") + `]}`
			}
			open = open[k:]
			if len(open) == 0 && p.IntN(3) == 0 {
				emit(delta, p.one(`"tool_calls"`, `"stop"`))
				return b.String() + p.end(n)
			}
			emit(delta, "null")
		}
	}
	if p.IntN(6) == 0 && p.own > 0 && p.mail == 0 {
		return b.String() + p.end(n) // no finish_reason
	}
	reason := `"stop"`
	if calls {
		reason = p.one(`"tool_calls"`, `"stop"`)
	}
	emit(p.one(`{}`, `{"content":""}`), reason)
	return b.String() + p.end(n)
}

func (p *chatProvider) end(n int) string {
	usage := fmt.Sprintf(`data: {"id":"c%d","object":"chat.completion.chunk","created":%d,"model":"m%d","choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":1,"total_tokens":%d}}`+"\n\n", n, n, n, n, n+1)
	return p.one(usage+chatDone, usage+chatDone, usage+": bye\n\n"+chatDone)
}

// comments are blocks of a stream that need not wait for those before them.
var comments = regexp.MustCompile(`(?m)^(:.*\n)+\n`)

// Whatever turns a response has, the client sees one response, nothing of Keyturn's, and the provider a valid conversation; however the
// streams are cut.
func TestChatPropertiesOfRandomResponses(t *testing.T) {
	for seed := range uint64(500) {
		p := &chatProvider{Rand: rand.New(rand.NewPCG(seed, 5))}
		var streams []string
		hidden, mixed, shown, tokens := 0, false, 0, 0
		for n := 1; ; n++ {
			calls := p.IntN(4) > 0 && n < 6
			streams = append(streams, p.turn(n, calls))
			tokens = n + 1 // the last turn's
			shown += p.mail
			if p.own > 0 {
				hidden++
			}
			if mixed = p.own > 0 && p.mail > 0; p.own == 0 || mixed {
				break
			}
		}
		run := func(cut func([]byte) [][]byte) (string, scenarioMemory) {
			m := scenarioMemory{}
			s := openChat(t, chatRequest(`,"tools":[`+chatMail+`]`), m)
			var client []byte
			for i, stream := range streams {
				var turn dialect.Turn
				client, turn = play(t, s, client, cut([]byte(stream)))
				last := i == len(streams)-1
				require.Equal(t, last && mixed, turn.Mixed, "seed %d", seed)
				require.Equal(t, last && !mixed, len(turn.Calls) == 0, "seed %d", seed)
				if len(turn.Calls) > 0 {
					client = settleAll(t, s, turn, client)
				}
			}
			return string(client), m
		}
		want, m := run(func(b []byte) [][]byte { return [][]byte{b} })
		if hidden > 0 {
			require.NotContains(t, want, "bmcp_", "seed %d", seed)
			require.Equal(t, 1, strings.Count(want, `"role"`), "seed %d", seed)
			require.Contains(t, want, fmt.Sprintf(`"total_tokens":%d}`, tokens), "seed %d", seed)
			require.Len(t, m, 1, "seed %d", seed)
		}
		if hidden > 0 && !p.odd {
			require.NoError(t, check.Chat([]byte(want)), "seed %d: %s", seed, want)
			a, ok := assembled([]byte(want))
			require.True(t, ok)
			calls, _ := a.Choices[0].Message["tool_calls"].([]map[string]any)
			require.Len(t, calls, shown, "seed %d", seed)
			said, _ := a.Choices[0].Message["content"].(string)
			require.Equal(t, strings.NewReplacer(`\u003c`, "<", `\ud83d\ude00`, "😀", `\"`, `"`).Replace(p.said), strings.ReplaceAll(said, "\n\n", ""), "seed %d", seed)
		}
		if hidden == 0 && !strings.Contains(streams[0], `"bmc"`) { // a name that may become Keyturn's is held until it cannot
			require.Equal(t, comments.ReplaceAllString(streams[0], ""), comments.ReplaceAllString(want, ""), "seed %d", seed)
			require.Len(t, want, len(streams[0]), "seed %d", seed)
		}
		for range 3 {
			got, _ := run(func(b []byte) (pieces [][]byte) {
				for len(b) > 0 {
					k := 1 + p.IntN(min(len(b), 200))
					pieces, b = append(pieces, b[:k]), b[k:]
				}
				return pieces
			})
			require.Equal(t, want, got, "seed %d", seed)
		}
	}
}
