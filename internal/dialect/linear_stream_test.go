package dialect_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/dialect"
)

// streams is the work on a stream: that of the first turn, with all that follows from it. Stream makes what the provider sends of n.
func streams(d dialect.Dialect, request string, o dialect.Options, stream func(n int) string) func(n int) func() {
	o.Tools, o.ModelName = scenarioTools(), scenarioModelName
	return func(n int) func() {
		b := []byte(stream(n))
		return func() {
			if o.Memory != nil {
				o.Memory = scenarioMemory{}
			}
			s := openWith(d, []byte(request), o)
			var out []byte
			for range 2 { // the second turn meets what the first has left
				for p := b; len(p) > 0; p = p[min(len(p), 16<<10):] {
					out, _ = s.Write(out[:0], p[:min(len(p), 16<<10)])
				}
				_, turn := s.End(nil)
				for i := range turn.Calls {
					s.Settle(nil, i, dialect.Result{})
				}
				if len(turn.Calls) == 0 {
					return
				}
				if turn.Mixed {
					s.Finish(nil)
					return
				}
				s.Continue(false)
			}
			s.Finish(nil)
		}
	}
}

// streamed is a table row for each way in which calls are shown.
func streamed(name string, d dialect.Dialect, request string, stream func(n int) string) []growing {
	return []growing{
		{name, streams(d, request, dialect.Options{}, stream)},
		{name + " hidden", streams(d, request, dialect.Options{Memory: scenarioMemory{}, Hidden: true}, stream)},
	}
}

// eventsOf is n events between others; # in them is the number.
func eventsOf(before, each, after string) func(n int) string {
	return func(n int) string {
		var b strings.Builder
		b.WriteString(before)
		for i := range n {
			b.WriteString(strings.ReplaceAll(each, "#", strconv.Itoa(i)))
		}
		b.WriteString(after)
		return b.String()
	}
}

// inOne is one event with a list of n elements where % stands, between others.
func inOne(before, event, element, after string) func(n int) string {
	return func(n int) string { return before + strings.Replace(event, "%", times(n, element), 1) + after }
}

func data(lines ...string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("data: " + l + "\n\n")
	}
	return b.String()
}

func TestResponsesStreamsAreLinear(t *testing.T) {
	const request = `{"model":"m","input":"x","stream":true}`
	const own = `{"type":"function_call","id":"fc_#","call_id":"call_#","name":"bmcp_demo_weather","arguments":"{}","status":"completed"}`
	begin := data(`{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","status":"in_progress"}}`)
	item := func(item string) string {
		return data(`{"type":"response.output_item.added","sequence_number":1,"output_index":#,"item":`+item+`}`, `{"type":"response.output_item.done","sequence_number":2,"output_index":#,"item":`+item+`}`)
	}
	one := strings.ReplaceAll(item(own), "#", "0")
	end := data(`{"type":"response.completed","sequence_number":9,"response":{"id":"resp_1","status":"completed","output":[]}}`)
	var all []growing
	for _, r := range []struct {
		name   string
		stream func(n int) string
	}{
		{"deltas", eventsOf(begin, data(`{"type":"response.output_text.delta","sequence_number":#,"item_id":"m","output_index":0,"delta":"x"}`), end)},
		{"deltas of a call", eventsOf(begin+strings.ReplaceAll(data(`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":`+own+`}`), "#", "0"),
			data(`{"type":"response.function_call_arguments.delta","sequence_number":#,"item_id":"fc_0","output_index":0,"delta":"x"}`), one+end)},
		{"calls", eventsOf(begin, item(own), end)},
		{"items", eventsOf(begin, item(`{"type":"message","id":"msg_#","content":[]}`), end)},
		{"items after a call", eventsOf(begin+one, strings.ReplaceAll(item(`{"type":"message","id":"msg_#","content":[]}`), `"output_index":#`, `"output_index":1`), end)},
		{"errors held", eventsOf(begin+data(`{"type":"error","code":"rate_limit_exceeded"}`), data(`{"type":"error","code":"x"}`), "")},
		{"comments", eventsOf(begin, ": x\n\n", end)},
		{"comments within", eventsOf(begin+one, ": x\n\n", end)},
		{"lifecycle", eventsOf("", begin, end)},
		{"ends", eventsOf(begin, end, "")},
		{"ends after a call", eventsOf(begin+one, end, "")},
		{"unknown events", eventsOf(begin+one, data(`{"type":"response.x","output_index":0}`), end)},
		{"events of no object", eventsOf(begin+one, data(`x`), end)},
		{"lines of one event", func(n int) string { return begin + one + strings.Repeat("data: \n", n) + "\n" + end }},
		{"output at the end", inOne(begin, data(`{"type":"response.completed","response":{"id":"resp_1","status":"completed","output":[%]}}`), own, "")},
		{"tools", inOne("", data(`{"type":"response.created","response":{"id":"r","tools":[%]}}`), `{"type":"function","name":"bmcp_demo_weather"}`, one+end)},
		{"members of an event", inOne(begin+one, data(`{"type":"response.x","output_index":0,%}`), `"a#":1`, end)},
		{"names of a call's end", inOne(begin+one, data(`{"type":"response.function_call_arguments.done","item_id":"fc_0","output_index":0,%}`), `"name":1`, end)},
	} {
		all = append(all, streamed(r.name, dialect.Responses, request, r.stream)...)
	}
	testLinear(t, all)
}

func TestChatStreamsAreLinear(t *testing.T) {
	const request = `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}`
	piece := func(calls string) string {
		return data(`{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[` + calls + `]}}]}`)
	}
	const own, theirs = `{"index":#,"id":"call_#","function":{"name":"bmcp_demo_weather","arguments":"{}"}}`, `{"index":#,"id":"cald_#","function":{"name":"f","arguments":"{}"}}`
	one := strings.ReplaceAll(piece(own), "#", "0")
	chunk := func(delta string) string { return data(`{"id":"c","choices":[{"index":0,"delta":{` + delta + `}}]}`) }
	finish := data(`{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`)
	end := finish + data(`[DONE]`)
	var all []growing
	for _, r := range []struct {
		name   string
		stream func(n int) string
	}{
		{"deltas", eventsOf("", chunk(`"content":"x"`), end)},
		{"deltas with a call", eventsOf(one, chunk(`"content":"x"`), end)},
		{"members", eventsOf(one, chunk(`"a#":"x"`), end)},
		{"members of one delta", inOne(one, chunk(`%`), `"a#":"x"`, end)},
		{"calls", eventsOf("", piece(own), end)},
		{"calls of the client's", eventsOf("", piece(theirs), end)},
		{"calls of both", eventsOf("", piece(own)+piece(theirs), end)},
		{"calls in one delta", inOne("", piece(`%`), own, end)},
		{"calls of both in one delta", inOne("", piece(`%`), own+`,`+theirs, end)},
		{"pieces of a call", eventsOf(one, piece(`{"index":0,"function":{"arguments":"x"}}`), end)},
		{"pieces in one delta", inOne("", piece(`%`), `{"index":0,"id":"call_0","function":{"name":"bmcp_demo_weather","arguments":"x"}}`, end)},
		{"pieces without a name", inOne("", piece(`%`), `{"index":0,"function":{"arguments":""}}`, end)},
		{"pieces of names", eventsOf(piece(`{"index":0,"id":"a","function":{"name":"b"}}`), piece(`{"index":0,"function":{"name":"m"}}`), end)},
		{"pieces without index", eventsOf(one, piece(`{"function":{"name":"bmcp_demo_weather","arguments":"x"}}`), end)},
		{"calls not yet named", eventsOf("", piece(`{"index":#,"id":"a#","function":{"name":"b"}}`), end)},
		{"reasoning details", eventsOf(one, chunk(`"reasoning_details":[{"type":"reasoning.text","index":#,"text":"x"}]`), end)},
		{"thinking blocks", eventsOf(one, chunk(`"thinking_blocks":[{"type":"thinking","thinking":"x"}]`), end)},
		{"annotations", inOne(one, chunk(`"annotations":[%]`), `{"type":"url_citation","url":"#"}`, end)},
		{"finishes", eventsOf("", finish, end)},
		{"finishes after a call", eventsOf(one, finish, end)},
		{"finishes that say something", eventsOf(one, data(`{"id":"c","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}`), end)},
		{"usage", eventsOf(one+finish, data(`{"id":"c","choices":[],"usage":{"completion_tokens":1}}`), end)},
		{"comments", eventsOf("", ": x\n\n", end)},
		{"comments at the end", eventsOf(finish, ": x\n\n", end)},
		{"comments after a call", eventsOf(one+finish, ": x\n\n", end)},
		{"done", eventsOf(one, data(`[DONE]`), "")},
		{"events of no object", eventsOf(one, data(`x`), end)},
		{"errors", eventsOf(data(`{"error":{"code":429}}`), data(`{"error":{"code":429}}`), "")},
		{"log probabilities", eventsOf(one, data(`{"id":"c","choices":[{"index":0,"delta":{},"logprobs":{"content":[{"token":"#"}]}}]}`), end)},
	} {
		all = append(all, streamed(r.name, dialect.Chat, request, r.stream)...)
	}
	testLinear(t, all)
}

func TestMessagesStreamsAreLinear(t *testing.T) {
	const request = `{"model":"m","max_tokens":9000,"messages":[{"role":"user","content":"x"}],"stream":true}`
	begin := data(`{"type":"message_start","message":{"id":"msg_1","model":"m","usage":{"input_tokens":1}}}`)
	block := func(b string) string {
		return data(`{"type":"content_block_start","index":#,"content_block":`+b+`}`, `{"type":"content_block_stop","index":#}`)
	}
	const own, theirs = `{"type":"tool_use","id":"toolu_#","name":"bmcp_demo_weather","input":{}}`, `{"type":"tool_use","id":"tooly_#","name":"f","input":{}}`
	one := strings.ReplaceAll(block(own), "#", "0")
	open := data(`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`)
	stop := data(`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1}}`)
	end := stop + data(`{"type":"message_stop"}`)
	var all []growing
	for _, r := range []struct {
		name   string
		stream func(n int) string
	}{
		{"deltas", eventsOf(begin+one+open, data(`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"x"}}`), end)},
		{"rare deltas", eventsOf(begin+one+open, data(`{"type":"content_block_delta","index":1,"delta":{"text":"x","type":"text_delta"}}`), end)},
		{"citations", eventsOf(begin+one+open, data(`{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"type":"x"}}}`), end)},
		{"blocks", eventsOf(begin+one, strings.ReplaceAll(block(`{"type":"text","text":"x"}`), `"index":#`, `"index":1#`), end)},
		{"calls", eventsOf(begin, block(own), end)},
		{"calls of the client's", eventsOf(begin, block(theirs), end)},
		{"calls of both", eventsOf(begin, block(own)+block(theirs), end)},
		{"stops of the first of many", func(n int) string {
			return eventsOf(begin, block(`{"type":"text","text":"x"}`), "")(n) + strings.Repeat(data(`{"type":"content_block_stop","index":0}`), n) + end
		}},
		{"begins", eventsOf("", begin, one+end)},
		{"ends", eventsOf(begin+one, stop, end)},
		{"ends without calls", eventsOf(begin, stop, end)},
		{"stops", eventsOf(begin+one+stop, data(`{"type":"message_stop"}`), "")},
		{"pings", eventsOf(begin+one, data(`{"type":"ping"}`), end)},
		{"comments", eventsOf(begin+one, ": x\n\n", end)},
		{"comments first", eventsOf("", ": x\n\n", begin+end)},
		{"errors", eventsOf(begin, data(`{"type":"error","error":{"type":"overloaded_error"}}`), "")},
		{"usage", inOne(begin+one, data(`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1,%}}`), `"a#":1`, data(`{"type":"message_stop"}`))},
		{"members of a block", inOne(begin, data(`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"bmcp_demo_weather",%}}`), `"a#":1`, end)},
	} {
		all = append(all, streamed(r.name, dialect.Messages, request, r.stream)...)
	}
	testLinear(t, all)
}
