package dialect_test

import (
	"bytes"
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

// provider writes streams as OpenAI does.
type provider struct {
	bytes.Buffer
	seq   int
	turn  int
	items []string
}

func (p *provider) event(kind, rest string) {
	fmt.Fprintf(p, "event: response.%[1]s\ndata: {\"type\":\"response.%[1]s\",\"sequence_number\":%[2]d,%[3]s}\n\n", kind, p.seq, rest)
	p.seq++
}

func (p *provider) response(kind, status string) {
	usage := "null"
	if status == "completed" {
		usage = fmt.Sprintf(`{"input_tokens":%d,"output_tokens":7,"total_tokens":%d,"tool_usage":{"x":1}}`, p.turn, p.turn+7)
	}
	p.event(kind, fmt.Sprintf(`"response":{"id":"resp_%d","status":%q,"created_at":%d,"output":[%s],"tools":[{"type":"function","name":"send_mail"},`+
		`{"type":"function","name":"bmcp_weather_get_forecast"},{"type":"function","name":"bmcp_files_read_file"}],"usage":%s}`,
		p.turn, status, p.turn, strings.Join(p.items, ","), usage))
}

// item writes one item of a kind, and its events.
func (p *provider) item(kind string) {
	n := len(p.items)
	begin, delta, end, prefix := "", "", "", "it"
	switch kind {
	case "message":
		begin, delta, end = `"type":"message","role":"assistant","content":[]`, "output_text", `"type":"message","role":"assistant","content":[{"type":"output_text","text":"a"}]`
	case "reasoning":
		begin, end = `"type":"reasoning","summary":[]`, `"type":"reasoning","summary":[],"encrypted_content":"gAAA"`
	case "web_search_call":
		begin, end = `"type":"web_search_call","status":"in_progress"`, `"type":"web_search_call","status":"completed"`
	default:
		prefix = "fc"
		call := fmt.Sprintf(`"type":"function_call","call_id":"call_%d_%d","name":%q`, p.turn, n, kind)
		begin, delta, end = call+`,"arguments":"","status":"in_progress"`, "function_call_arguments", call+`,"arguments":"aa","status":"completed"`
	}
	id := fmt.Sprintf(`%s_%d_%d`, prefix, p.turn, n)
	p.event("output_item.added", fmt.Sprintf(`"output_index":%d,"item":{"id":%q,%s}`, n, id, begin))
	if delta != "" {
		for range 2 {
			p.event(delta+".delta", fmt.Sprintf(`"item_id":%q,"output_index":%d,"content_index":0,"delta":"a"`, id, n))
		}
	}
	if delta == "function_call_arguments" {
		p.event(delta+".done", fmt.Sprintf(`"arguments":"aa","item_id":%q,"output_index":%d,"content_index":0,"name":%q`, id, n, kind))
	}
	done := fmt.Sprintf(`{"id":%q,%s}`, id, end)
	p.event("output_item.done", fmt.Sprintf(`"output_index":%d,"item":%s`, n, done))
	p.items = append(p.items, done)
}

// randomTurn is a turn's stream. Later turns call less.
func randomTurn(r *rand.Rand, turn int) (stream []byte, body json.RawMessage) {
	p := &provider{turn: turn}
	p.response("created", "in_progress")
	kinds := []string{"message", "reasoning", "web_search_call", "bmcp_files_read_file", "bmcp_weather_get_forecast", "bmcp_gone"}
	if r.IntN(6) == 0 {
		kinds = append(kinds, "send_mail")
	}
	for range r.IntN(6) {
		kind := kinds[r.IntN(len(kinds))]
		if turn > 4 {
			kind = "message"
		}
		p.item(kind)
	}
	p.response("completed", "completed")
	return p.Bytes(), terminalOf(p.Bytes())
}

// forgetful is what is left of a memory that has forgotten some.
func forgetful(r *rand.Rand, m scenarioMemory) scenarioMemory {
	left := maps.Clone(m)
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if r.IntN(2) == 0 {
			delete(left, key)
		}
	}
	return left
}

// TestResponsesRandom merges random conversations: whatever the model does, the client gets one response that keeps the rules,
// the same without streaming; the provider gets conversations that are whole, and the client's next request is one again.
func TestResponsesRandom(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		hidden := seed%2 == 0
		m := scenarioMemory{}
		o := dialect.Options{Tools: scenarioTools(), Hidden: hidden, Memory: m, ModelName: scenarioModelName}
		request := []byte(`{"model":"m","stream":true,"input":[{"role":"user","content":"a"}],"tools":[{"type":"function","name":"send_mail"}]}`)
		stream, whole := openWith(dialect.Responses, request, o), openWith(dialect.Responses, withoutResponses(request), o)
		var client []byte
		pieces := func(b []byte) (out [][]byte) {
			for len(b) > 0 {
				n := 1 + r.IntN(len(b))
				out, b = append(out, b[:n]), b[n:]
			}
			return out
		}
		var turn dialect.Turn
		for n := 1; ; n++ {
			b, body := randomTurn(r, n)
			client, turn = play(t, stream, client, pieces(b))
			same := whole.Whole(body)
			require.Equal(t, turn, same, "seed %d", seed)
			if len(turn.Calls) == 0 {
				break
			}
			for i, c := range turn.Calls {
				result := scenarioResult{Text: c.ID, IsError: r.IntN(4) == 0}.result()
				client = stream.Settle(client, i, result)
				whole.Settle(nil, i, result)
			}
			if turn.Mixed || !stream.Continue(false) {
				client = stream.Finish(client)
				whole.Finish(nil)
				break
			}
			require.True(t, whole.Continue(false))
			require.NoError(t, validResponses(stream.Request()), "seed %d", seed)
			require.Equal(t, string(withoutResponses(stream.Request())), string(whole.Request()))
		}
		require.NoError(t, check.Responses(client), "seed %d\n%s", seed, client)
		require.JSONEq(t, string(terminalOf(client)), string(whole.Body()), "seed %d", seed)
		require.NotContains(t, string(terminalOf(client)), `"name":"bmcp_files_read_file"`, "an own tool is shown")

		// The next request, with the results of the client's own calls.
		var final struct{ Output []json.RawMessage }
		require.NoError(t, json.Unmarshal(whole.Body(), &final))
		items := []string{}
		for _, raw := range final.Output {
			var i anyItem
			require.NoError(t, json.Unmarshal(raw, &i))
			if i.Type == "function_call" {
				items = append(items, fmt.Sprintf(`{"type":"function_call_output","call_id":%q,"output":"x"}`, i.CallID))
			}
		}
		items = append(items, `{"role":"user","content":"b"}`)
		seen := !hidden || len(final.Output) > 0 // else the client has nothing that hidden items could be found by
		next := nextResponses(t, request, client, []byte(`{"items":[`+strings.Join(items, ",")+`]}`))
		s := openWith(dialect.Responses, next, o)
		require.NoError(t, validResponses(s.Request()), "seed %d\n%s", seed, s.Request())
		for _, how := range replays {
			if !hidden && (how == "without ids" || how == "without most ids") {
				continue // nobody replays mcp_call items so
			}
			theirs := items[:len(items)-1]
			if how == "one text" && len(theirs) > 0 {
				continue // nobody leaves calls out and answers them
			}
			input := append(append([]string{asked}, replayed(t, how, final.Output)...), theirs...)
			input = append(input, wondered)
			again := openReplay(input, "", m, hidden).Request()
			require.NoError(t, validResponses(again), "seed %d, %s\n%s", seed, how, again)
			partly := openReplay(input, "", forgetful(r, m), hidden).Request()
			require.NoError(t, validResponses(partly), "seed %d, %s, and half of it forgotten\n%s", seed, how, partly)
			if by := strings.HasPrefix(how, "by"); (hidden || strings.HasPrefix(how, "without calls")) && !turn.Mixed && (bytes.Contains(whole.Body(), []byte(`"output_text"`)) || seen && by) {
				had := bytes.Count(stream.Request(), []byte(`"function_call_output"`)) + len(theirs)
				require.Equal(t, had, bytes.Count(again, []byte(`"function_call_output"`)), "seed %d, %s\n%s", seed, how, again)
			}
		}
		if !turn.Mixed && seen { // the very conversation that the last turn had, then its output and what is new
			var had, has struct{ Input []json.RawMessage }
			require.NoError(t, json.Unmarshal(stream.Request(), &had))
			require.NoError(t, json.Unmarshal(s.Request(), &has))
			require.GreaterOrEqual(t, len(has.Input), len(had.Input), "seed %d", seed)
			for i, item := range had.Input {
				require.JSONEq(t, string(item), string(has.Input[i]), "seed %d, input[%d]", seed, i)
			}
		}
	}
}

// TestResponsesShuffled feeds streams whose events are missing, doubled or out of order: nothing breaks, and where they are cut
// makes no difference.
func TestResponsesShuffled(t *testing.T) {
	streams, _ := responsesSeeds(t)
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 2))
		events := bytes.SplitAfter(streams[r.IntN(len(streams))], []byte("\n\n"))
		more := bytes.SplitAfter(streams[r.IntN(len(streams))], []byte("\n\n"))
		for range 1 + r.IntN(4) {
			i, j := r.IntN(len(events)), r.IntN(len(events))
			switch r.IntN(4) {
			case 0:
				events[i], events[j] = events[j], events[i]
			case 1:
				events[i] = events[j]
			case 2:
				events[i] = nil
			case 3:
				events[i] = more[r.IntN(len(more))]
			}
		}
		stream := bytes.Join(events, nil)
		open := func() dialect.Session {
			return openWith(dialect.Responses, []byte(`{"stream":true,"input":"a"}`),
				dialect.Options{Tools: scenarioTools(), Hidden: seed%2 == 0, Memory: scenarioMemory{}})
		}
		want, turns := playTwice(open(), stream, 0)
		for _, cut := range []int{1, 7, 1024} {
			got, same := playTwice(open(), stream, cut)
			require.Equal(t, string(want), string(got), "seed %d", seed)
			require.Equal(t, turns, same, "seed %d", seed)
		}
	}
}
