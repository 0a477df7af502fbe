package dialect_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
)

// TestMessagesConversation plays conversations of several requests with a provider that thinks: what a request has must begin with all
// that the provider had and said before, and its tools must be the same, whatever the client does to what it sends back, and
// whatever becomes of the tools that are offered.
func TestMessagesConversation(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := &conversation{rng: rand.New(rand.NewPCG(seed, 5)), memory: scenarioMemory{}, streams: seed%3 != 0, truth: []said{}}
			for range 6 {
				c.request(t)
			}
			require.Positive(t, c.hidden, "nothing was hidden: the conversation proves nothing")
		})
	}
}

// conversation is a client and a provider, each with the messages that it knows.
type conversation struct {
	rng     *rand.Rand
	memory  scenarioMemory
	streams bool
	client  []map[string]any
	truth   []said // the provider's
	tools   string
	ids     int
	hidden  int
}

func (c *conversation) id(kind string) string {
	c.ids++
	return fmt.Sprintf("%s_%04d", kind, c.ids)
}

// request plays one request of the client's and the whole response.
func (c *conversation) request(t *testing.T) {
	c.speak()
	offered := scenarioTools()
	if len(c.client) > 1 {
		offered = offered[:c.rng.IntN(3)] // tools come and go
	}
	s := openWith(dialect.Messages, c.body(t), dialect.Options{Tools: offered, Memory: c.memory})
	require.NotNil(t, s)
	require.True(t, s.Reads())
	var out []byte
	for n := 1; ; n++ {
		c.received(t, s.Request())
		stream := c.turn(n < 4)
		var turn dialect.Turn
		if c.streams {
			at := c.rng.IntN(len(stream))
			out, turn = play(t, s, out, [][]byte{stream[:at], stream[at:]})
		} else {
			body, ok := wholeMessages(stream)
			require.True(t, ok)
			turn = s.Whole(body)
		}
		c.truth = append(c.truth, normal(t, "assistant", messageOf(stream)["content"])...)
		for i, call := range turn.Calls {
			c.hidden++
			require.Equal(t, call.Tool.Name != "", slices.ContainsFunc(offered, func(o dialect.Tool) bool { return o.Name == call.Name }))
			out = s.Settle(out, i, dialect.Result{Parts: []dialect.Part{{Text: "result of " + call.ID}}})
		}
		if len(turn.Calls) == 0 {
			break
		}
		if turn.Mixed || !s.Continue(false) {
			out = s.Finish(out)
			break
		}
	}
	answer := map[string]any{}
	if c.streams {
		require.NoError(t, check.Messages(out))
		answer = messageOf(out)
	} else {
		require.NoError(t, json.Unmarshal(s.Body(), &answer))
	}
	c.hear(answer["content"].([]any))
}

// speak is what the client says next: the results of its calls, if it has any to answer, and a text.
func (c *conversation) speak() {
	var content []any
	if len(c.client) > 0 {
		for _, b := range c.client[len(c.client)-1]["content"].([]any) {
			if b := b.(map[string]any); b["type"] == "tool_use" {
				content = append(content, map[string]any{"type": "tool_result", "tool_use_id": b["id"], "content": "noon"})
			}
		}
	}
	if len(content) == 0 || c.rng.IntN(2) == 0 {
		content = append(content, map[string]any{"type": "text", "text": fmt.Sprintf("Question <%d> & more", len(c.client))})
	}
	c.client = append(c.client, map[string]any{"role": "user", "content": content})
}

// hear takes the answer as the client keeps it: texts without a letter are left out, as the API wants.
func (c *conversation) hear(content []any) {
	content = slices.DeleteFunc(content, func(b any) bool {
		s, isText := b.(map[string]any)["text"].(string)
		return isText && strings.TrimSpace(s) == ""
	})
	if len(content) > 0 {
		c.client = append(c.client, map[string]any{"role": "assistant", "content": content})
	}
}

// body is the client's request, written in a way of its own each time.
func (c *conversation) body(t *testing.T) []byte {
	var messages []any
	for i, m := range c.client {
		content := slices.Clone(m["content"].([]any))
		if i == len(c.client)-1 {
			last := maps.Clone(content[len(content)-1].(map[string]any))
			last["cache_control"] = map[string]any{"type": "ephemeral"}
			content[len(content)-1] = last
		}
		first := content[0].(map[string]any)
		switch {
		case len(content) == 1 && first["type"] == "text" && first["cache_control"] == nil && c.rng.IntN(2) == 0:
			messages = append(messages, map[string]any{"role": m["role"], "content": first["text"]})
		case m["role"] == "assistant" && c.rng.IntN(4) == 0:
			for _, b := range content {
				messages = append(messages, map[string]any{"role": "assistant", "content": []any{b}})
			}
		default:
			messages = append(messages, map[string]any{"role": m["role"], "content": content})
		}
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(c.rng.IntN(2) == 0)
	require.NoError(t, e.Encode(map[string]any{
		"model": "m", "max_tokens": 100000, "messages": messages, "stream": c.streams,
		"tools": []any{map[string]any{"name": "get_time", "input_schema": map[string]any{"type": "object"}}},
	}))
	return []byte(b.String())
}

// received holds a request against what the provider knows.
func (c *conversation) received(t *testing.T, request []byte) {
	require.NoError(t, validMessages(request))
	var r struct {
		Messages []map[string]any
		Tools    json.RawMessage
	}
	require.NoError(t, json.Unmarshal(request, &r))
	got := []said{}
	for _, m := range r.Messages {
		got = append(got, normal(t, m["role"].(string), m["content"])...)
	}
	require.GreaterOrEqual(t, len(got), len(c.truth))
	require.Equal(t, c.truth, got[:len(c.truth)])
	if c.tools == "" {
		c.tools = string(r.Tools)
	}
	require.Equal(t, c.tools, string(r.Tools))
	c.truth = got
}

// said is one block as the provider understands it. Messages of one role, one after the other, are one to it.
type said struct {
	role  string
	block map[string]any
}

func normal(t *testing.T, role string, content any) (all []said) {
	if s, ok := content.(string); ok {
		content = []any{map[string]any{"type": "text", "text": s}}
	}
	b, err := json.Marshal(content)
	require.NoError(t, err)
	var blocks []map[string]any
	require.NoError(t, json.Unmarshal(b, &blocks))
	for _, b := range blocks {
		delete(b, "cache_control")
		if s, isText := b["text"].(string); !isText || strings.TrimSpace(s) != "" {
			all = append(all, said{role, b})
		}
	}
	return all
}

// turn is the stream of a turn: thinking, texts, and calls if it may call.
func (c *conversation) turn(calls bool) []byte {
	var w turnWriter
	w.start(c.id("msg"))
	if c.rng.IntN(2) == 0 {
		w.block(`{"type":"thinking","thinking":"","signature":""}`, `{"type":"thinking_delta","thinking":"Hm \u2026 "}`,
			`{"type":"thinking_delta","thinking":"\"so\""}`, `{"type":"signature_delta","signature":"`+c.id("sig")+`=="}`)
	}
	reason := "end_turn"
	for range 1 + c.rng.IntN(3) {
		kind := c.rng.IntN(5)
		if c.hidden == 0 {
			kind = 1
		}
		switch {
		case kind == 0 && calls:
			reason = "tool_use"
			w.call(c.id("toolu"), "get_time", `{"city": `, `"Oslo"}`)
		case kind <= 2 && calls:
			reason = "tool_use"
			w.call(c.id("toolu"), "bmcp_weather_get_forecast", `{"city":`, ` "Ber`, `gen"}`)
		case kind == 3:
			w.block(`{"type":"text","text":""}`, `{"type":"text_delta","text":"\n\n"}`)
		default:
			w.block(`{"type":"text","text":""}`, `{"type":"text_delta","text":"Text `+c.id("t")+` <"}`, `{"type":"text_delta","text":"\u00e9\/>\n"}`)
		}
	}
	if !w.text { // an answer without a letter cannot be sent back
		w.block(`{"type":"text","text":""}`, `{"type":"text_delta","text":"Well `+c.id("t")+`."}`)
	}
	w.stop(reason, 10+c.rng.IntN(50))
	return w.b
}

// turnWriter writes a stream.
type turnWriter struct {
	b     []byte
	index int
	text  bool
}

func (w *turnWriter) event(kind, rest string) {
	w.b = fmt.Appendf(w.b, "event: %s\ndata: {\"type\":%q%s}\n\n", kind, kind, rest)
}

func (w *turnWriter) start(id string) {
	w.event("message_start", fmt.Sprintf(`,"message":{"id":%q,"type":"message","role":"assistant","model":"m-1","content":[],"stop_reason":null,"usage":{"input_tokens":9,"output_tokens":1}}`, id))
}

func (w *turnWriter) block(begin string, deltas ...string) {
	w.text = w.text || strings.Contains(begin, `"text"`) && !strings.Contains(strings.Join(deltas, ""), `"\n\n"`)
	w.event("content_block_start", fmt.Sprintf(`,"index":%d,"content_block":%s`, w.index, begin))
	for _, d := range deltas {
		w.event("content_block_delta", fmt.Sprintf(`,"index":%d,"delta":%s`, w.index, d))
	}
	w.event("content_block_stop", fmt.Sprintf(`,"index":%d`, w.index))
	w.index++
}

func (w *turnWriter) call(id, name string, parts ...string) {
	var deltas []string
	for _, p := range parts {
		b, _ := json.Marshal(p)
		deltas = append(deltas, `{"type":"input_json_delta","partial_json":`+string(b)+`}`)
	}
	w.block(fmt.Sprintf(`{"type":"tool_use","id":%q,"name":%q,"input":{}}`, id, name), deltas...)
}

func (w *turnWriter) stop(reason string, output int) {
	w.event("message_delta", fmt.Sprintf(`,"delta":{"stop_reason":%q,"stop_sequence":null},"usage":{"output_tokens":%d}`, reason, output))
	w.event("message_stop", "")
}
