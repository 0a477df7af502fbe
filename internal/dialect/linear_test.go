package dialect_test

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// growing is a list that another side may make as long as it likes, and what is done with it.
type growing struct {
	name string
	// of makes ready for n elements, and returns what is to be measured.
	of func(n int) func()
}

// Work on what another side has sent grows as that does, whichever of its lists is long: twice as many elements may cost 2.3 times as
// much (bytes of JSON looked at, bytes allocated), and eight times as many 40 times the
// processor's time, which is less exact. Quadratic work costs 4 and 64 times as much.
func testLinear(t *testing.T, all []growing) {
	if race { // it costs time by itself; make test runs this package without it
		return
	}
	const (
		n       = 500
		most    = 2.3
		surely  = 40.0
		leading = 64 << 10 // what does not grow
	)
	for _, g := range all {
		t.Run(g.name, func(t *testing.T) {
			few, many := measure(g.of(n)), measure(g.of(8*n)) // doubled thrice, since buffers grow in steps
			require.Less(t, float64(many.looked)/float64(max(few.looked, leading)), most*most*most, "bytes looked at: %d, then %d", few.looked, many.looked)
			require.Less(t, float64(many.allocated)/float64(max(few.allocated, leading)), most*most*most, "bytes allocated: %d, then %d", few.allocated, many.allocated)
			short, long := time.Duration(0), time.Duration(0)
			for range 6 { // the collector works on this thread too
				short, long = timed(g.of(2*n)), timed(g.of(16*n))
				if float64(long) < surely*float64(max(short, leastTime)) {
					return
				}
			}
			require.Fail(t, "more than linear", "time: %v, then %v", short, long)
		})
	}
}

type cost struct{ looked, allocated int }

func measure(f func()) (c cost) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.looked = rawjson.CountWork(f)
	runtime.ReadMemStats(&after)
	c.allocated = int(after.TotalAlloc - before.TotalAlloc)
	return c
}

// leastTime is what can be measured.
const leastTime = 200 * time.Microsecond

// timed is the lesser processor time of two.
func timed(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	least := time.Hour
	for range 2 {
		before := threadTime()
		f()
		least = min(least, threadTime()-before)
	}
	return least
}

// threadTime is what this thread has had of the processor, however busy that is.
func threadTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		panic("no processor time")
	}
	return time.Duration(ts.Nano())
}

// times joins n elements with commas; # in one is its number.
func times(n int, element string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strings.ReplaceAll(element, "#", strconv.Itoa(i)))
	}
	return b.String()
}

// opens is the work of opening a request.
func opens(d dialect.Dialect, o dialect.Options, body func(n int) string) func(n int) func() {
	return func(n int) func() {
		b := []byte(body(n))
		return func() { openWith(d, b, o) }
	}
}

// opened is a table row for each memory: none, one that knows nothing, and the two ways in which calls are shown.
func opened(name string, d dialect.Dialect, body func(n int) string) (rows []growing) {
	for _, o := range []struct {
		name string
		dialect.Options
	}{
		{"", dialect.Options{}},
		{" with memory", dialect.Options{Memory: scenarioMemory{}}},
		{" hidden", dialect.Options{Memory: scenarioMemory{}, Hidden: true}},
	} {
		o.Tools, o.ModelName = scenarioTools(), scenarioModelName
		rows = append(rows, growing{name + o.name, opens(d, o.Options, body)})
	}
	return rows
}

// within is a body with a list of n elements in it, where % stands.
func within(format, element string) func(n int) string {
	return func(n int) string { return strings.Replace(format, "%", times(n, element), 1) }
}

func TestResponsesRequestsAreLinear(t *testing.T) {
	const input, tools = `{"model":"m","input":[%]}`, `{"model":"m","input":"x","tools":[%]}`
	own := `{"type":"mcp_call","id":"mcp_fc_#.call_#","server_label":"demo","name":"w","arguments":"{}","output":"o"}`
	rows := [][2]string{
		{"numbers", `0`},
		{"objects", `{}`},
		{"messages", `{"role":"user","content":"hello #"}`},
		{"answers", `{"role":"assistant","content":"hello #"}`},
		{"parts", `{"role":"assistant","content":[{"type":"output_text","text":"hello #"}]}`},
		{"references", `{"type":"item_reference","id":"msg_#"}`},
		{"bare references", `{"id":"a"}`},
		{"references to own calls", `{"type":"item_reference","id":"mcp_fc_#.call_#"}`},
		{"the same reference", `{"type":"item_reference","id":"mcp-FB11"}`},
		{"references to lost calls", `{"type":"item_reference","id":"mcp-AAcall_#"}`},
		{"own calls", own},
		{"own calls of one turn", strings.ReplaceAll(own, ".call", ".+call")},
		{"calls", `{"type":"function_call","id":"fc_#","call_id":"call_#","name":"f","arguments":"{}"}`},
		{"results", `{"type":"function_call_output","call_id":"call_#","output":"x"}`},
		{"calls and results", `{"type":"function_call","call_id":"call_#","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"call_#","output":"x"}`},
		{"reasoning", `{"type":"reasoning","id":"rs_#","summary":[]}`},
		{"additional tools", `{"type":"additional_tools","tools":[{"type":"function","name":"f#"}]}`},
	}
	var all []growing
	for _, r := range rows {
		all = append(all, opened(r[0], dialect.Responses, within(input, r[1]))...)
		all = append(all, opened(r[0]+" after a response", dialect.Responses, within(`{"model":"m","previous_response_id":"resp_1","input":[%]}`, r[1]))...)
	}
	for _, r := range [][3]string{
		{"tools", tools, `{"type":"function","name":"f#","parameters":{}}`},
		{"tools in a namespace", `{"model":"m","input":"x","tools":[{"type":"namespace","name":"n","tools":[%]}]}`, `{"type":"function","name":"f#"}`},
		{"allowed tools", `{"model":"m","input":"x","tool_choice":{"type":"allowed_tools","mode":"auto","tools":[%]}}`, `{"type":"function","name":"bmcp_demo_weather"}`},
		{"foreign allowed tools", `{"model":"m","input":"x","tool_choice":{"type":"allowed_tools","mode":"auto","tools":[%]}}`, `{"type":"function","name":"f#"}`},
		{"include", `{"model":"o3","store":false,"input":"x","include":[%]}`, `"x#"`},
		{"members", `{"model":"m","input":"x","z":0,%}`, `"a#":1`},
		{"parts of a message", `{"model":"m","input":[{"role":"user","content":[%]}]}`, `{"type":"input_text","text":"#"}`},
		{"parts of an answer", `{"model":"m","input":[{"role":"assistant","content":[%]}]}`, `{"type":"output_text","text":"#"}`},
		{"texts of an error", `{"model":"m","input":[{"type":"mcp_call","id":"mcp-ABfc","error":{"type":"mcp_tool_execution_error","content":[%]}}]}`, `{"type":"text","text":"#"}`},
		{"members of an item", `{"model":"m","input":[{"role":"user","content":"x",%}]}`, `"a#":1`},
	} {
		all = append(all, opened(r[0], dialect.Responses, within(r[1], r[2]))...)
	}
	all = append(all, opened("depth", dialect.Responses, deep(`{"model":"m","input":[{"role":"user","content":[%]}]}`, `[`, `]`))...)
	all = append(all, opened("namespaces in namespaces", dialect.Responses, deep(`{"model":"m","input":"x","tools":[%]}`, `{"type":"namespace","name":"n","tools":[`, `]}`))...)
	testLinear(t, all)
}

// deep is a body with n values within each other.
func deep(format, begin, end string) func(n int) string {
	return func(n int) string {
		return strings.Replace(format, "%", strings.Repeat(begin, n)+strings.Repeat(end, n), 1)
	}
}

func TestChatRequestsAreLinear(t *testing.T) {
	const format, tools = `{"model":"m","messages":[%]}`, `{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[%]}`
	var all []growing
	for _, r := range [][3]string{
		{"numbers", format, `0`},
		{"objects", format, `{}`},
		{"messages", format, `{"role":"user","content":"hello #"}`},
		{"answers", format, `{"role":"assistant","content":"hello #"}`},
		{"answers in parts", format, `{"role":"assistant","content":[{"type":"text","text":"hello #"}]}`},
		{"calls", format, `{"role":"assistant","content":null,"tool_calls":[{"id":"call_#","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"call_#","content":"x"}`},
		{"parts of a message", `{"model":"m","messages":[{"role":"user","content":[%]}]}`, `{"type":"text","text":"#"}`},
		{"parts of an answer", `{"model":"m","messages":[{"role":"assistant","content":[%]}]}`, `{"type":"text","text":"#"}`},
		{"calls of an answer", `{"model":"m","messages":[{"role":"assistant","tool_calls":[%]}]}`, `{"id":"call_#","type":"function","function":{"name":"f","arguments":"{}"}}`},
		{"tools", tools, `{"type":"function","function":{"name":"f#"}}`},
		{"allowed tools", `{"model":"m","messages":[],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[%]}}}`, `{"type":"function","function":{"name":"f#"}}`},
		{"members", `{"model":"m","messages":[],%}`, `"a#":1`},
		{"stream options", `{"model":"m","messages":[],"stream":true,"stream_options":{%}}`, `"a#":1`},
	} {
		all = append(all, opened(r[0], dialect.Chat, within(r[1], r[2]))...)
	}
	all = append(all, opened("depth", dialect.Chat, deep(`{"model":"m","messages":[{"role":"user","content":[%]}]}`, `[`, `]`))...)
	testLinear(t, all)
}

func TestMessagesRequestsAreLinear(t *testing.T) {
	const format, tools = `{"model":"m","max_tokens":9,"messages":[%]}`, `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"tools":[%]}`
	var all []growing
	for _, r := range [][3]string{
		{"numbers", format, `0`},
		{"objects", format, `{}`},
		{"messages", format, `{"role":"user","content":"hello #"}`},
		{"answers", format, `{"role":"assistant","content":"hello #"}`},
		{"turns", format, `{"role":"user","content":"hello #"},{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"s#"},{"type":"text","text":"hello #"}]}`},
		{"calls", format, `{"role":"assistant","content":[{"type":"tool_use","id":"toolu_#","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_#","content":"x"}]}`},
		{"parts of a message", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[%]}]}`, `{"type":"text","text":"#"}`},
		{"images", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[%]}]}`, `{"type":"image","source":{"type":"url","url":"#"}}`},
		{"blocks of an answer", `{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[%]}]}`, `{"type":"text","text":"#"}`},
		{"calls of an answer", `{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[%]}]}`, `{"type":"tool_use","id":"toolu_#","name":"f","input":{}}`},
		{"thoughts of an answer", `{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[%]}]}`, `{"type":"thinking","thinking":"#","signature":"#"}`},
		{"results", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[%]}]}`, `{"type":"tool_result","tool_use_id":"toolu_#","content":"x"}`},
		{"tools", tools, `{"name":"f#","input_schema":{"type":"object"}}`},
		{"members", `{"model":"m","messages":[],%}`, `"a#":1`},
		{"members of a block", `{"model":"m","messages":[{"role":"user","content":[{"type":"image",%}]}]}`, `"a#":1`},
	} {
		all = append(all, opened(r[0], dialect.Messages, within(r[1], r[2]))...)
	}
	all = append(all, opened("depth", dialect.Messages, deep(`{"model":"m","messages":[{"role":"user","content":[%]}]}`, `[`, `]`))...)
	all = append(all, opened("objects in objects", dialect.Messages, deep(`{"model":"m","messages":[{"role":"user","content":[{"type":"image","source":%0}]}]}`, `{"a":`, `}`))...)
	testLinear(t, all)
}

// wholes is the work on answers that do not stream: that of the first turn, with all that follows from it.
func wholes(d dialect.Dialect, request string, o dialect.Options, body func(n int) string) func(n int) func() {
	o.Tools, o.ModelName = scenarioTools(), scenarioModelName
	return func(n int) func() {
		b := []byte(body(n))
		return func() {
			if o.Memory != nil {
				o.Memory = scenarioMemory{}
			}
			s := openWith(d, []byte(request), o)
			for range 2 { // the second turn meets what the first has left
				turn := s.Whole(b)
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

// answers is a table row for each way in which calls are shown.
func answers(name string, d dialect.Dialect, request string, body func(n int) string) []growing {
	return []growing{
		{name, wholes(d, request, dialect.Options{}, body)},
		{name + " with memory", wholes(d, request, dialect.Options{Memory: scenarioMemory{}}, body)},
		{name + " hidden", wholes(d, request, dialect.Options{Memory: scenarioMemory{}, Hidden: true}, body)},
	}
}

func TestResponsesAnswersAreLinear(t *testing.T) {
	const request, format = `{"model":"m","input":"x"}`, `{"id":"resp_1","status":"completed","output":[%]}`
	const own = `{"type":"function_call","id":"fc_#","call_id":"call_#","name":"bmcp_demo_weather","arguments":"{}","status":"completed"}`
	const theirs = `{"type":"function_call","id":"fd_#","call_id":"cald_#","name":"f","arguments":"{}","status":"completed"}`
	var all []growing
	for _, r := range [][3]string{
		{"numbers", format, `0`},
		{"messages", format, `{"type":"message","id":"msg_#","role":"assistant","content":[{"type":"output_text","text":"x"}]}`},
		{"calls", format, own},
		{"calls of the client's", format, theirs},
		{"calls of both", format, own + `,` + theirs},
		{"calls with one id", format, strings.ReplaceAll(own, "#", "1")},
		{"calls without ids", format, `{"type":"function_call","name":"bmcp_demo_weather","arguments":"{}"}`},
		{"answered calls", format, theirs + `,{"type":"function_call_output","id":"o_#","call_id":"cald_#","output":"x"}`},
		{"annotations", `{"id":"resp_1","output":[` + own + `,{"type":"message","id":"m","content":[{"type":"output_text","text":"x","annotations":[%]}]}]}`, `{"type":"url_citation","url":"#"}`},
		{"tools", `{"id":"resp_1","tools":[%],"output":[]}`, `{"type":"function","name":"bmcp_demo_weather"}`},
		{"usage", `{"id":"resp_1","usage":{"a":1,%},"output":[` + own + `]}`, `"a#":1`},
		{"usage details", `{"id":"resp_1","usage":{"a":{"a":1,%}},"output":[` + own + `]}`, `"a#":1`},
		{"members", `{"id":"resp_1","output":[` + own + `],"b":1,%}`, `"a#":1`},
		{"members of an item", `{"id":"resp_1","output":[{"type":"function_call","id":"f","call_id":"c","name":"bmcp_demo_weather","arguments":"{}",%}]}`, `"a#":1`},
		{"errors", `{"error":{"message":"x",%}}`, `"a#":1`},
	} {
		all = append(all, answers(r[0], dialect.Responses, request, within(r[1], r[2]))...)
	}
	all = append(all, answers("depth of usage", dialect.Responses, request, deep(`{"id":"resp_1","output":[`+own+`],"usage":%0}`, `{"a":`, `}`))...)
	all = append(all, growing{"ids that were taken", func(n int) func() { // each by an item of the turn before
		taken, again := strings.Builder{}, strings.Builder{}
		id := "fc"
		for i := range min(n, 2000) {
			if i > 0 {
				taken.WriteByte(',')
				again.WriteByte(',')
			}
			taken.WriteString(`{"type":"reasoning","id":"` + id + strconv.Itoa(i) + `"},{"type":"reasoning","id":"fc_2_` + strconv.Itoa(i) + `"}`)
			again.WriteString(`{"type":"reasoning","id":"fc"}`)
		}
		return func() {
			s := openResponses(request, nil)
			s.Whole([]byte(`{"id":"r","output":[{"type":"reasoning","id":"fc"},{"type":"reasoning","id":"fc_2"},` + taken.String() + `,` + strings.ReplaceAll(own, "#", "1") + `]}`))
			s.Settle(nil, 0, dialect.Result{})
			s.Continue(false)
			s.Whole([]byte(`{"id":"r","output":[` + again.String() + `]}`))
		}
	}})
	testLinear(t, all)
}

func TestChatAnswersAreLinear(t *testing.T) {
	const request, format = `{"model":"m","messages":[{"role":"user","content":"x"}]}`, `{"id":"c","choices":[{"message":{"role":"assistant",@},"finish_reason":"tool_calls"}]}`
	const own = `{"id":"call_#","type":"function","function":{"name":"bmcp_demo_weather","arguments":"{}"}}`
	const call = `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"bmcp_demo_weather","arguments":"{}"}}]`
	const theirs = `{"id":"cald_#","type":"function","function":{"name":"f","arguments":"{}"}}`
	var all []growing
	for _, r := range [][3]string{
		{"calls", `"tool_calls":[%]`, own},
		{"calls of the client's", `"tool_calls":[%]`, theirs},
		{"calls of both", `"tool_calls":[%]`, own + `,` + theirs},
		{"calls with one id", `"tool_calls":[%]`, strings.ReplaceAll(own, "#", "1")},
		{"numbers", `"tool_calls":[%]`, `0`},
		{"numbers as content", call + `,"content":[%]`, `0`},
		{"parts", call + `,"content":[%]`, `{"type":"text","text":"#"}`},
		{"annotations", call + `,"annotations":[%]`, `{"type":"url_citation","index":#}`},
		{"reasoning details", call + `,"reasoning_details":[%]`, `{"type":"reasoning.text","text":"#","index":#}`},
		{"members of the message", call + `,%`, `"a#":"x"`},
		{"lists of the message", call + `,%`, `"a#":[1]`},
	} {
		all = append(all, answers(r[0], dialect.Chat, request, within(strings.Replace(format, "@", r[1], 1), r[2]))...)
	}
	for _, r := range [][3]string{
		{"choices", `{"id":"c","choices":[%]}`, `{"index":#,"message":{"role":"assistant","content":"x"}}`},
		{"log probabilities", `{"id":"c","choices":[{"logprobs":{"content":[%]},"message":{"role":"assistant",` + call + `}}]}`, `{"token":"#","logprob":-1}`},
		{"usage", `{"id":"c","choices":[{"message":{"role":"assistant",` + call + `}}],"usage":{"a":1,%}}`, `"a#":1`},
		{"members", `{"id":"c","choices":[{"message":{"role":"assistant",` + call + `}}],%}`, `"a#":1`},
	} {
		all = append(all, answers(r[0], dialect.Chat, request, within(r[1], r[2]))...)
	}
	testLinear(t, all)
}

func TestMessagesAnswersAreLinear(t *testing.T) {
	const request = `{"model":"m","max_tokens":9000,"messages":[{"role":"user","content":"x"}]}`
	const format = `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[%],"stop_reason":"tool_use","usage":{"output_tokens":1}}`
	const own = `{"type":"tool_use","id":"toolu_#","name":"bmcp_demo_weather","input":{}}`
	const theirs = `{"type":"tool_use","id":"tooly_#","name":"f","input":{}}`
	var all []growing
	for _, r := range [][3]string{
		{"numbers", format, `0`},
		{"texts", format, `{"type":"text","text":"#"}`},
		{"thoughts", format, `{"type":"thinking","thinking":"#","signature":"#"}`},
		{"calls", format, own},
		{"calls of the client's", format, theirs},
		{"calls of both", format, own + `,` + theirs},
		{"calls with one id", format, strings.ReplaceAll(own, "#", "1")},
		{"calls that are not run", strings.Replace(format, "tool_use", "max_tokens", 1), own},
		{"citations", strings.Replace(format, "%", own+`,{"type":"text","text":"x","citations":[%]}`, 1), `{"type":"page_location","title":"#"}`},
		{"usage", strings.Replace(strings.Replace(format, "%", own, 1), `"output_tokens":1`, `"output_tokens":1,%`, 1), `"a#":1`},
		{"members", strings.Replace(strings.Replace(format, "%", own, 1), `"id":"msg_1"`, `"id":"msg_1",%`, 1), `"a#":1`},
		{"members of a block", strings.Replace(format, "%", `{"type":"tool_use","id":"toolu_1","name":"bmcp_demo_weather","input":{},%}`, 1), `"a#":1`},
	} {
		all = append(all, answers(r[0], dialect.Messages, request, within(r[1], r[2]))...)
	}
	testLinear(t, all)
}

// remembered is a memory that has something under every key that begins so.
type remembered struct {
	scenarioMemory
	value map[string]string
}

func (m remembered) Get(key string) ([]byte, bool) {
	for begin, value := range m.value {
		if strings.HasPrefix(key, begin) {
			return []byte(value), true
		}
	}
	return m.scenarioMemory.Get(key)
}

// TestRememberedIsLinear holds that what memory has of a request's items, answers and calls is put back in linear time: something of each
// of them, or much of one that the request names again and again.
func TestRememberedIsLinear(t *testing.T) {
	const hidden = `{"type":"function_call","id":"fc_h","call_id":"h","name":"x","arguments":"{}"},{"type":"function_call_output","call_id":"h","output":"y"}`
	responses := map[string]string{
		"responses/item/": `{"before":[` + hidden + `],"after":[` + hidden + `]}`,
		"responses/call/": `{"before":[` + hidden + `],"outputs":[{"type":"function_call_output","call_id":"h","output":"y"}]}`,
		"responses/own/":  `{"call":{"type":"function_call","call_id":"c","name":"x","arguments":"{}"},"output":"` + strings.Repeat("x", 1000) + `"}`,
		"responses/end/":  `{"id":"last"}`,
		"responses/text/": `{"gaps":[{"at":0,"items":[` + hidden + `]},{"at":2,"items":[` + hidden + `]}],"reasons":false}`,
	}
	chat := map[string]string{"chat/": `{"before":[{"role":"assistant","content":"b","a1":"` + strings.Repeat("x", 1000) + `"}],"message":{"content":"m"}}`}
	messages := map[string]string{
		"messages/turns/": `{"shown":"x","size":5,"turns":[{"content":[{"type":"text","text":"hello"}],"results":[{"type":"tool_result","tool_use_id":"t","content":"x"}]}]}`,
		"messages/call/":  `{"turns":"x"}`, "messages/begun/": `{"tools":"x"}`, "messages/tools/": `{"list":[{"name":"bmcp_demo_weather"}]}`,
	}
	var all []growing
	add := func(name string, d dialect.Dialect, value map[string]string, body func(n int) string) {
		for _, hides := range []bool{false, true} {
			o := dialect.Options{
				Tools: scenarioTools(), ModelName: scenarioModelName, Hidden: hides, Memory: remembered{scenarioMemory{}, value},
			}
			all = append(all, growing{name + map[bool]string{true: " hidden"}[hides], opens(d, o, body)})
		}
	}
	for _, r := range [][2]string{
		{"references", `{"type":"item_reference","id":"msg_#"}`},
		{"the same item", `{"type":"message","role":"assistant","id":"msg_1","content":"x"}`},
		{"calls", `{"type":"function_call","id":"fc_#","call_id":"c#","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c#","output":"x"}`},
		{"results alone", `{"type":"function_call_output","call_id":"c#","output":"x"}`},
		{"the same result", `{"type":"function_call_output","call_id":"c1","output":"x"}`},
		{"own calls", `{"type":"mcp_call","id":"mcp_a#.c#","server_label":"demo","name":"w","arguments":"{}"}`},
		{"the same own call", `{"type":"mcp_call","id":"mcp-ABac","server_label":"demo","name":"w","arguments":"{}"}`},
		{"answers", `{"role":"user","content":"x"},{"role":"assistant","content":"hello"}`},
		{"parts of one answer", `{"role":"assistant","content":"hello"}`},
	} {
		add("responses: "+r[0], dialect.Responses, responses, within(`{"model":"m","input":[%]}`, r[1]))
		add("responses after one: "+r[0], dialect.Responses, responses, within(`{"model":"m","previous_response_id":"r","input":[%]}`, r[1]))
	}
	for _, r := range [][2]string{
		{"answers", `{"role":"user","content":"x"},{"role":"assistant","content":"hello"}`},
		{"the same call", `{"role":"assistant","tool_calls":[{"id":"call_abcdefghijklmnop0123","type":"function","function":{"name":"f","arguments":"{}"}}]}`},
	} {
		add("chat: "+r[0], dialect.Chat, chat, within(`{"model":"m","messages":[%]}`, r[1]))
	}
	add("chat: members", dialect.Chat, chat, within(`{"model":"m","messages":[{"role":"assistant","content":"x",%}]}`, `"a1":"y"`))
	for _, r := range [][2]string{
		{"answers", `{"role":"user","content":"x"},{"role":"assistant","content":"hello"}`},
		{"parts of an answer", `{"role":"assistant","content":"h"}`},
		{"empty answers", `{"role":"assistant","content":""}`},
		{"calls", `{"role":"assistant","content":[{"type":"tool_use","id":"t#","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t#","content":"x"}]}`},
	} {
		add("messages: "+r[0], dialect.Messages, messages, within(`{"model":"m","max_tokens":9,"messages":[%]}`, r[1]))
	}
	testLinear(t, all)
}

// TestRememberedAnswersAreLinear holds the same of one answer with many calls.
func TestRememberedAnswersAreLinear(t *testing.T) {
	rows := []growing{{"messages", func(n int) func() {
		n = min(n, 2000) // an answer of more blocks is not read
		content := times(n, `{"type":"tool_use","id":"own#","name":"bmcp_demo_weather","input":{}},{"type":"tool_use","id":"t#","name":"f","input":{}}`)
		shown := `[` + times(n, `{"type":"tool_use","id":"t#","name":"f","input":{}}`) + `]`
		results := `[` + times(n, `{"type":"tool_result","tool_use_id":"t#","content":"x"}`) + `]`
		body := []byte(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":` + shown + `},{"role":"user","content":` + results + `}]}`)
		changed := []byte(strings.Replace(string(body), `"content":"x"},`, `"content":"y"},`, 1))
		memory := scenarioMemory{}
		o := dialect.Options{Tools: scenarioTools(), ModelName: scenarioModelName, Memory: memory}
		s := openWith(dialect.Messages, []byte(`{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`), o)
		turn := s.Whole([]byte(`{"id":"i","type":"message","role":"assistant","model":"m","content":[` + content + `],"stop_reason":"tool_use","usage":{}}`))
		for i := range turn.Calls {
			s.Settle(nil, i, dialect.Result{})
		}
		s.Finish(nil)
		return func() {
			openWith(dialect.Messages, body, o)
			openWith(dialect.Messages, changed, o)
		}
	}}}
	testLinear(t, rows)
}
