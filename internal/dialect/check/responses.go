package check

import (
	"encoding/json"
	"slices"
	"strings"
)

// Responses holds the rules of OpenAI Responses' streams against one: those that its API reference states ("Streaming events") and
// those that its libraries fail without. The error joins everything that is wrong; a stream that ends with an error event may
// leave items unfinished.
func Responses(stream []byte) error {
	r := responses{byIndex: map[int]*item{}, ids: map[string]bool{}}
	events, err := read(stream)
	if err != nil {
		return err
	}
	for _, ev := range events {
		r.event(ev)
	}
	r.end()
	return r.err()
}

type responses struct {
	problems
	next     int // sequence_number
	id       string
	settings object // of the first response object
	created  bool
	terminal string // kind of the event that ended the response
	failed   bool   // an error event came
	done     bool   // [DONE] came
	items    []*item
	byIndex  map[int]*item
	ids      map[string]bool
}

// item is one output item as the stream tells it.
type item struct {
	index    int
	added    object
	done     json.RawMessage
	stage    string         // of an mcp_call: the last of its own events
	texts    map[string]int // kind of delta and its content's index: where in said
	said     []string
	finished []bool
}

// responsesEvents are all types that clients know. One that they do not know ends the stream in openai-node.
var responsesEvents = strings.Fields(`created queued in_progress completed failed incomplete output_item.added output_item.done
content_part.added content_part.done output_text.delta output_text.done output_text.annotation.added refusal.delta refusal.done
function_call_arguments.delta function_call_arguments.done custom_tool_call_input.delta custom_tool_call_input.done
reasoning_summary_part.added reasoning_summary_part.done reasoning_summary_text.delta reasoning_summary_text.done
reasoning_text.delta reasoning_text.done mcp_list_tools.in_progress mcp_list_tools.completed mcp_list_tools.failed
mcp_call.in_progress mcp_call.completed mcp_call.failed mcp_call_arguments.delta mcp_call_arguments.done
web_search_call.in_progress web_search_call.searching web_search_call.completed
file_search_call.in_progress file_search_call.searching file_search_call.completed
code_interpreter_call.in_progress code_interpreter_call.interpreting code_interpreter_call.completed
code_interpreter_call_code.delta code_interpreter_call_code.done
image_generation_call.in_progress image_generation_call.generating image_generation_call.partial_image image_generation_call.completed
shell_call_command.added shell_call_command.delta shell_call_command.done shell_call_output_content.delta shell_call_output_content.done
audio.delta audio.done audio.transcript.delta audio.transcript.done compaction.compacting`)

func (r *responses) event(ev event) {
	if string(ev.data) == "[DONE]" {
		if r.done {
			r.at(ev, "[DONE] came before")
		}
		r.done = true
		return
	}
	var o object
	if err := json.Unmarshal(ev.data, &o); err != nil || o == nil {
		r.at(ev, "the data is not a JSON object")
		return
	}
	kind := o.text("type")
	if ev.name != "" && ev.name != kind {
		r.at(ev, "the event's name is not its type, %q", kind)
	}
	ev.name = kind
	r.comesLate(ev)
	if n := o.number("sequence_number"); n != r.next {
		r.at(ev, "sequence_number is %s, not %d", o["sequence_number"], r.next)
	}
	r.next++
	if string(o["error"]) == "null" {
		r.at(ev, "error is null: a client takes it for an error")
	}
	short, known := strings.CutPrefix(kind, "response.")
	switch {
	case kind == "error":
		r.failed = true
		return
	case kind == "keepalive":
		return
	case !known || !slices.Contains(responsesEvents, short):
		r.at(ev, "clients do not know this type")
		return
	case !r.created && short != "created":
		r.at(ev, "it comes before response.created")
	}
	switch short {
	case "created", "queued", "in_progress", "completed", "failed", "incomplete":
		r.lifecycle(ev, short, o.object("response"))
	case "output_item.added":
		r.added(ev, o)
	default:
		r.about(ev, short, o)
	}
}

// comesLate judges whether an event comes after what ends the stream.
func (r *responses) comesLate(ev event) {
	switch {
	case r.done:
		r.at(ev, "it comes after [DONE]")
	case r.terminal != "":
		r.at(ev, "it comes after the response's end")
	case r.failed && ev.name != "response.failed":
		r.at(ev, "it comes after an error")
	}
}

// lifecycle judges an event that has the whole response.
func (r *responses) lifecycle(ev event, short string, response object) {
	if response == nil {
		r.at(ev, "it has no response")
		return
	}
	if short == "created" {
		if r.created {
			r.at(ev, "it came before")
		}
		r.created = true
	}
	if r.settings == nil {
		r.settings, r.id = response, response.text("id")
	}
	if id := response.text("id"); id != r.id || id == "" {
		r.at(ev, "the response's id is %q, not %q", id, r.id)
	}
	for _, name := range []string{
		"created_at", "previous_response_id", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens", "max_tool_calls", "store",
		"conversation",
	} {
		if !same(response[name], r.settings[name]) {
			r.at(ev, "%s is not what the first event said", name)
		}
	}
	status := response.text("status")
	switch short {
	case "completed", "failed", "incomplete":
		if status != short {
			r.at(ev, "status is %q", status)
		}
		r.terminal = short
		r.finish(ev, response)
	case "created", "in_progress":
		if status != "in_progress" && status != "queued" {
			r.at(ev, "status is %q", status)
		}
	}
}

// finish compares the response at the end with what the stream told.
func (r *responses) finish(ev event, response object) {
	var output []json.RawMessage
	if err := json.Unmarshal(response["output"], &output); err != nil {
		r.at(ev, "output is not an array")
		return
	}
	for _, i := range r.items {
		if i.done == nil && r.terminal != "failed" {
			r.at(ev, "output item %d has no output_item.done", i.index)
		}
	}
	if len(output) != len(r.items) {
		if r.terminal == "failed" && len(output) < len(r.items) {
			return // what was not finished may be missing
		}
		r.at(ev, "output has %d items, the stream told of %d", len(output), len(r.items))
		return
	}
	for n, raw := range output {
		if i := r.byIndex[n]; i != nil && i.done != nil && !same(raw, i.done) {
			r.at(ev, "output[%d] is not what output_item.done had", n)
		}
	}
	usage := response.object("usage")
	if total := usage.number("total_tokens"); total >= 0 && total != usage.number("input_tokens")+usage.number("output_tokens") {
		r.at(ev, "usage: total_tokens is not the sum of the others")
	}
	reason := response.object("incomplete_details").text("reason")
	if r.terminal == "incomplete" && reason == "" {
		r.at(ev, "incomplete_details has no reason")
	}
}

func (r *responses) added(ev event, o object) {
	i := &item{index: o.number("output_index"), added: o.object("item"), texts: map[string]int{}}
	switch id := i.added.text("id"); {
	case i.added == nil:
		r.at(ev, "it has no item")
		return
	case id == "":
		r.at(ev, "the item has no id")
	case r.ids[id]:
		r.at(ev, "the item's id %q was used before", id)
	default:
		r.ids[id] = true
	}
	if i.index != len(r.items) {
		r.at(ev, "output_index is %d, not %d", i.index, len(r.items))
	}
	if i.added.text("type") == "mcp_call" && i.added.text("status") != "in_progress" {
		r.at(ev, "an mcp_call begins with status %q", i.added.text("status"))
	}
	r.items = append(r.items, i)
	r.byIndex[i.index] = i
}

// about judges an event about an item.
func (r *responses) about(ev event, short string, o object) {
	i := r.byIndex[o.number("output_index")]
	switch {
	case i == nil:
		r.at(ev, "output_index %s is of no item", o["output_index"])
		return
	case i.done != nil:
		r.at(ev, "item %d is done", i.index)
		return
	case short == "output_item.done":
		r.itemDone(ev, i, o)
		return
	case o.text("item_id") != i.added.text("id"):
		r.at(ev, "item_id is %q, not %q", o.text("item_id"), i.added.text("id"))
	}
	kind, what, _ := strings.Cut(short, ".")
	if kind == "mcp_call" || kind == "mcp_call_arguments" {
		r.mcpCall(ev, i, short)
	}
	if kind == "function_call_arguments" && i.added.text("type") != "function_call" {
		r.at(ev, "item %d is no function_call", i.index)
	}
	part := kind + " " + string(o["content_index"]) + string(o["summary_index"]) + string(o["command_index"])
	switch what {
	case "delta":
		n, ok := i.texts[part]
		if !ok {
			n = len(i.said)
			i.texts[part], i.said, i.finished = n, append(i.said, ""), append(i.finished, false)
		}
		if i.finished[n] {
			r.at(ev, "the text is done")
		}
		i.said[n] += o.text("delta")
	case "done":
		n, ok := i.texts[part]
		if !ok {
			return
		}
		i.finished[n] = true
		for _, name := range []string{"text", "arguments", "refusal", "input", "code"} {
			if whole, has := o[name]; has && o.text(name) != i.said[n] {
				r.at(ev, "%s is %s, the deltas said %q", name, whole, i.said[n])
			}
		}
	}
}

// mcpCall holds the order of an mcp_call's events.
func (r *responses) mcpCall(ev event, i *item, short string) {
	if i.added.text("type") != "mcp_call" {
		r.at(ev, "item %d is no mcp_call", i.index)
	}
	want := map[string][]string{
		"mcp_call.in_progress":     {""},
		"mcp_call_arguments.delta": {"mcp_call.in_progress", "mcp_call_arguments.delta"},
		"mcp_call_arguments.done":  {"mcp_call.in_progress", "mcp_call_arguments.delta"},
		"mcp_call.completed":       {"mcp_call.in_progress", "mcp_call_arguments.done", "mcp_call_arguments.delta"},
		"mcp_call.failed":          {"mcp_call.in_progress", "mcp_call_arguments.done", "mcp_call_arguments.delta"},
	}[short]
	if !slices.Contains(want, i.stage) {
		r.at(ev, "it comes after %q", i.stage)
	}
	i.stage = short
}

func (r *responses) itemDone(ev event, i *item, o object) {
	i.done = o["item"]
	item := o.object("item")
	for _, name := range []string{"id", "type", "call_id", "name", "server_label"} {
		if !same(item[name], i.added[name]) {
			r.at(ev, "the item's %s is %s, and was %s when it was added", name, item[name], i.added[name])
		}
	}
	if n, ok := i.texts["function_call_arguments "]; ok && item.text("arguments") != i.said[n] {
		r.at(ev, "the item's arguments are not what the deltas said")
	}
	if item.text("type") != "mcp_call" {
		return
	}
	if n, ok := i.texts["mcp_call_arguments "]; ok && item.text("arguments") != i.said[n] {
		r.at(ev, "the item's arguments are not what the deltas said")
	}
	status := item.text("status")
	if wants := map[string]string{"completed": "mcp_call.completed", "failed": "mcp_call.failed"}[status]; wants != "" && i.stage != wants {
		r.at(ev, "status is %q after %q", status, i.stage)
	}
	if failed := len(item["error"]) > 0 && string(item["error"]) != "null"; failed != (status == "failed") {
		r.at(ev, "status is %q with the error %s", status, item["error"])
	}
}

func (r *responses) end() {
	switch {
	case r.terminal == "" && !r.failed:
		r.all("the stream ends without response.completed, failed or incomplete")
	case !r.created && !r.failed:
		r.all("the stream has no response.created")
	}
}
