package dialect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// sloppy is a provider that streams what its model called in one of the ways in which providers do, most of which are wrong.
type sloppy struct {
	*rand.Rand
	calls []modelCall
	exact bool // whatever the stream is, it says clearly what the model called
	bytes.Buffer
}

type modelCall struct{ name, args string }

func (p *sloppy) one(list ...string) string { return list[p.IntN(len(list))] }

// model decides what the model calls.
func (p *sloppy) model() {
	for i := range 1 + p.IntN(4) {
		args := fmt.Sprintf(`{"n":%d}`, i)
		switch p.IntN(6) {
		case 0:
			args = fmt.Sprintf(`{"a":{"a":{"n":%d}},"s":"{\"}\\"}`, i)
		case 1:
			args = fmt.Sprintf(`{"s":"ü\n{}","n":[%d]}`, i)
		}
		p.calls = append(p.calls, modelCall{p.one(chatForecast, "bmcp_files_read_file"), args})
	}
}

// cutUp parts a text at random.
func (p *sloppy) cutUp(s string) (pieces []string) {
	for len(s) > 0 {
		n := 1 + p.IntN(len(s))
		for n < len(s) && s[n]&0xc0 == 0x80 {
			n++
		}
		pieces, s = append(pieces, s[:n]), s[n:]
	}
	return pieces
}

// pieces are the arguments as the provider sends them.
func (p *sloppy) pieces(args string) []string {
	pieces := p.cutUp(args)
	switch p.IntN(7) {
	case 0: // all so far
		for i := 1; i < len(pieces); i++ {
			pieces[i] = pieces[i-1] + pieces[i]
		}
	case 1:
		pieces = append([]string{"{}"}, pieces...)
	case 2:
		pieces = append(pieces, args)
	case 3:
		pieces = []string{args}
	case 4:
		pieces = append(pieces, p.cutUp(args)...)
	case 5:
		pieces = append([]string{""}, pieces...)
	}
	return pieces
}

// orders mixes lists, each of which keeps its order, or puts one after the other.
func (p *sloppy) orders(lists [][]string, mixed bool) (all []string) {
	for !mixed && len(lists) > 0 {
		all, lists = append(all, lists[0]...), lists[1:]
	}
	for lists = slices.DeleteFunc(lists, func(l []string) bool { return len(l) == 0 }); len(lists) > 0; {
		i := p.IntN(len(lists))
		all, lists[i] = append(all, lists[i][0]), lists[i][1:]
		lists = slices.DeleteFunc(lists, func(l []string) bool { return len(l) == 0 })
	}
	return all
}

func (p *sloppy) data(data string) { fmt.Fprintf(p, "data: %s\n\n", data) }

// chat is a stream of Chat Completions. Pieces are told apart by their number, by an id, or by coming one call after the other.
func (p *sloppy) chat() {
	told := p.one("number", "id", "order")
	ids := p.one("first", "all", "none")
	switch told {
	case "number":
		ids = p.one("first", "all", "none", "new", "same")
	case "id":
		ids = "all"
	}
	names := p.one("first", "all")
	numbers := "right"
	if told != "number" {
		numbers = p.one("zero", "none")
	}
	p.exact = told != "order" && !(told == "id" && names == "all")
	reason, empty := p.one("tool_calls", "stop"), p.one(`null`, `""`)
	chunk := func(delta, reason string) string {
		return `{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":` + delta + `,"finish_reason":` + reason + `}]}`
	}
	var lists [][]string
	fresh := 0
	for i, c := range p.calls {
		var list []string
		for n, args := range p.pieces(c.args) {
			var m []string
			switch numbers {
			case "right":
				m = append(m, fmt.Sprintf(`"index":%d`, i))
			case "zero":
				m = append(m, `"index":0`)
			}
			switch fresh++; {
			case ids == "new":
				m = append(m, fmt.Sprintf(`"id":"call_new_%d"`, fresh))
			case ids == "same":
				m = append(m, `"id":"call_same"`)
			case ids == "all" || ids == "first" && n == 0:
				m = append(m, fmt.Sprintf(`"id":"call_%d"`, i))
			}
			var f []string
			if names == "all" || n == 0 {
				f = append(f, `"name":"`+c.name+`"`)
			}
			quoted, _ := json.Marshal(args)
			f = append(f, `"arguments":`+string(quoted))
			m = append(m, p.one(`"type":"function"`, `"custom":null`, `"type":"function"`), `"function":{`+strings.Join(f, ",")+`}`)
			list = append(list, chunk(`{"tool_calls":[{`+strings.Join(m, ",")+`}]}`, empty))
		}
		lists = append(lists, list)
	}
	p.data(chunk(`{"role":"assistant","content":""}`, empty))
	for _, data := range p.orders(lists, told != "order" && p.IntN(2) == 0) {
		p.data(data)
	}
	p.data(chunk(`{}`, `"`+reason+`"`))
	p.WriteString(chatDone)
}

// messages is a stream of Messages.
func (p *sloppy) messages() {
	numbers := p.one("right", "right", "zero")
	again := p.IntN(4) == 0
	p.exact = true
	p.data(`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}`)
	var lists [][]string
	for i, c := range p.calls {
		index := i
		if numbers == "zero" {
			index = 0
		}
		pieces := p.pieces(c.args)
		begin, list := `{}`, []string(nil)
		if p.IntN(4) == 0 {
			begin, pieces = c.args, nil
		}
		list = append(list, fmt.Sprintf(`{"type":"content_block_start","index":%d,"content_block":{"type":"tool_use","id":"toolu_%d","name":%q,"input":%s}}`, index, i, c.name, begin))
		for _, args := range pieces {
			quoted, _ := json.Marshal(args)
			list = append(list, fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":{"type":"input_json_delta","partial_json":%s}}`, index, quoted))
		}
		list = append(list, fmt.Sprintf(`{"type":"content_block_stop","index":%d}`, index))
		if again { // whole once more
			list = append(list, list...)
		}
		lists = append(lists, list)
	}
	for _, data := range p.orders(lists, numbers == "right" && !again && p.IntN(2) == 0) {
		p.data(data)
	}
	p.data(`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":5}}`)
	p.data(`{"type":"message_stop"}`)
}

// responses is a stream of Responses. The response at its end has the items once more, perhaps with other ids, or without some.
func (p *sloppy) responses() {
	p.exact = true
	seq := 0
	event := func(kind, rest string) string {
		seq++
		return fmt.Sprintf(`{"type":"response.%s","sequence_number":%d,%s}`, kind, seq, rest)
	}
	ids, lacks, quiet := p.one("same", "item", "call", "both"), p.IntN(4) == 0, p.IntN(6) == 0
	var output []string
	var lists [][]string
	reasoning := p.IntN(2)
	if reasoning > 0 {
		item := `{"id":"rs_1","type":"reasoning","summary":[]}`
		lists = append(lists, []string{event("output_item.added", `"output_index":0,"item":`+item), event("output_item.done", `"output_index":0,"item":`+item)})
		if !lacks {
			output = append(output, strings.Replace(item, "rs_1", p.one("rs_1", "rs_other"), 1))
		}
	}
	for i, c := range p.calls {
		at := i + reasoning
		args, _ := json.Marshal(c.args)
		item := func(id, call, args, status string) string {
			return fmt.Sprintf(`{"id":%q,"type":"function_call","call_id":%q,"name":%q,"arguments":%s,"status":%q}`, id, call, c.name, args, status)
		}
		id, call := fmt.Sprintf("fc_%d", i), fmt.Sprintf("call_%d", i)
		list := []string{event("output_item.added", fmt.Sprintf(`"output_index":%d,"item":%s`, at, item(id, call, `""`, "in_progress")))}
		for _, piece := range p.pieces(c.args) {
			quoted, _ := json.Marshal(piece)
			list = append(list, event("function_call_arguments.delta", fmt.Sprintf(`"output_index":%d,"item_id":%q,"delta":%s`, at, id, quoted)))
		}
		if p.IntN(2) == 0 {
			list = append(list, event("function_call_arguments.done", fmt.Sprintf(`"output_index":%d,"item_id":%q,"arguments":%s`, at, id, args)))
		}
		done := item(id, call, string(args), "completed")
		if p.IntN(4) == 0 {
			done = item(id, call, `""`, "completed")
		}
		list = append(list, event("output_item.done", fmt.Sprintf(`"output_index":%d,"item":%s`, at, done)))
		if p.IntN(4) == 0 {
			list = append(list, list[len(list)-1])
		}
		if quiet {
			list = nil
		}
		if ids == "item" || ids == "both" {
			id = "fc_other_" + id
		}
		if ids == "call" || ids == "both" {
			call = "call_other_" + call
		}
		lists, output = append(lists, list), append(output, item(id, call, string(args), "completed"))
	}
	if p.IntN(4) == 0 && !quiet {
		output = output[:p.IntN(len(output)+1)]
	}
	response := func(status string, output ...string) string {
		return fmt.Sprintf(`"response":{"id":"resp_1","object":"response","model":"m","status":%q,"output":[%s]}`, status, strings.Join(output, ","))
	}
	p.data(event("created", response("in_progress")))
	for _, data := range p.orders(lists, p.IntN(2) == 0) {
		p.data(data)
	}
	p.data(event("completed", response("completed", output...)))
}

// calledOnce holds that each call that the model made is there once at most, with the model's arguments, and nothing else that could be run.
func calledOnce(t *testing.T, p *sloppy, calls []dialect.Call, whole bool) {
	t.Helper()
	left := slices.Clone(p.calls)
	for _, c := range calls {
		if !turn.IsObject(c.Arguments) {
			continue // the agent does not run it
		}
		i := slices.IndexFunc(left, func(m modelCall) bool { return m.name == c.Name && sameJSON(t, m.args, string(c.Arguments)) })
		require.GreaterOrEqual(t, i, 0, "%s %s is no call that the model made and that has not run yet: %v\n%s", c.Name, c.Arguments, p.calls, p.String())
		left = slices.Delete(left, i, i+1)
	}
	if whole && p.exact {
		require.Empty(t, left, "not run, and the stream says clearly what it is\n%s", p.String())
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	require.NoError(t, json.Unmarshal([]byte(a), &x))
	require.NoError(t, json.Unmarshal([]byte(b), &y))
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}

// playSloppy plays a stream in pieces at random, whole or cut off.
func playSloppy(t *testing.T, seed uint64, d dialect.Dialect, cut bool) {
	t.Helper()
	p := &sloppy{Rand: rand.New(rand.NewPCG(seed, 1))}
	p.model()
	request := `{"model":"m","max_tokens":1000,"messages":[{"role":"user","content":"a"}],"stream":true}`
	switch d {
	case dialect.Chat:
		p.chat()
	case dialect.Messages:
		p.messages()
	default:
		request = `{"model":"m","input":"a","stream":true}`
		p.responses()
	}
	stream := p.Bytes()
	if cut {
		stream = stream[:p.IntN(len(stream))]
	}
	s := openWith(d, []byte(request), dialect.Options{Tools: scenarioTools(), Memory: scenarioMemory{}})
	require.NotNil(t, s)
	var pieces [][]byte
	for rest := stream; len(rest) > 0; {
		n := 1 + p.IntN(min(len(rest), 300))
		pieces, rest = append(pieces, rest[:n]), rest[n:]
	}
	_, cameTo := play(t, s, nil, pieces)
	calledOnce(t, p, cameTo.Calls, !cut)
	for i := range cameTo.Calls {
		s.Settle(nil, i, dialect.Result{Parts: []dialect.Part{{Text: "r"}}})
	}
	if len(cameTo.Calls) > 0 && !cameTo.Mixed {
		require.True(t, s.Continue(false))
		require.True(t, json.Valid(s.Request()))
		for _, c := range p.calls { // the conversation has no more of a call than the model made of it
			quoted, _ := json.Marshal(c.args)
			require.LessOrEqual(t, bytes.Count(s.Request(), quoted), 1+bytes.Count(p.Bytes(), quoted))
		}
	}
}

// TestCallsRunOnceOrNotAtAll is the property that no provider's way of streaming runs a tool twice, or with arguments that the model did not
// write.
func TestCallsRunOnceOrNotAtAll(t *testing.T) {
	for _, d := range []dialect.Dialect{dialect.Responses, dialect.Chat, dialect.Messages} {
		t.Run(d.Name(), func(t *testing.T) {
			for seed := range uint64(3000) {
				for _, cut := range []bool{false, true} {
					if playSloppy(t, seed, d, cut); t.Failed() {
						t.Fatalf("seed %d, cut %t", seed, cut)
					}
				}
			}
		})
	}
}

func FuzzCallsRunOnce(f *testing.F) {
	f.Add(uint64(1), uint8(0), false)
	f.Add(uint64(2), uint8(1), true)
	f.Add(uint64(3), uint8(2), true)
	f.Fuzz(func(t *testing.T, seed uint64, which uint8, cut bool) {
		playSloppy(t, seed, []dialect.Dialect{dialect.Responses, dialect.Chat, dialect.Messages}[which%3], cut)
	})
}
