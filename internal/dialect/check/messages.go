package check

import (
	"encoding/json"
	"strings"
)

// Messages holds the rules of Anthropic Messages' streams against one: those that its API reference states ("Streaming messages")
// and those that its libraries fail without. The error joins everything that is wrong; a stream that ends with an error event may
// leave blocks open.
func Messages(stream []byte) error {
	var m messages
	events, err := read(stream)
	if err != nil {
		return err
	}
	for _, ev := range events {
		m.event(ev)
	}
	m.end()
	return m.err()
}

type messages struct {
	problems
	started bool // message_start came
	usage   object
	blocks  []*block
	delta   object // message_delta
	stopped bool   // message_stop came
	failed  bool   // an error event came
}

// block is one block of the message's content.
type block struct {
	kind  string
	open  bool
	input strings.Builder // of a call, as its deltas bring it
}

func (m *messages) event(ev event) {
	var o object
	if err := json.Unmarshal(ev.data, &o); err != nil || o == nil {
		m.at(ev, "the data is not a JSON object")
		return
	}
	kind := o.text("type")
	switch {
	case ev.name == "":
		m.at(ev, "it has no event field; clients read over it")
	case ev.name != kind:
		m.at(ev, "the event's name is not its type, %q", kind)
	}
	if m.stopped || m.failed {
		m.at(ev, "the stream was over")
	}
	switch kind {
	case "ping":
		return
	case "error":
		m.failed = true
		if e := o.object("error"); e.text("type") == "" || e.text("message") == "" {
			m.at(ev, "the error has no type or no message")
		}
		return
	case "message_start":
		m.start(ev, o.object("message"))
		return
	}
	if !m.started {
		m.at(ev, "message_start must come first")
	}
	switch kind {
	case "content_block_start":
		m.blockStart(ev, o)
	case "content_block_delta":
		m.blockDelta(ev, o)
	case "content_block_stop":
		if b := m.block(ev, o); b != nil {
			m.blockStop(ev, b)
		}
	case "message_delta":
		m.messageDelta(ev, o)
	case "message_stop":
		m.stopped = true
		if m.delta == nil {
			m.at(ev, "no message_delta came")
		}
	}
}

func (m *messages) start(ev event, message object) {
	if m.started {
		m.at(ev, "there was one already")
		return
	}
	m.started = true
	m.usage = message.object("usage")
	if message.text("type") != "message" || message.text("role") != "assistant" || message.text("id") == "" || message.text("model") == "" {
		m.at(ev, "the message lacks its type, role, id or model")
	}
	if !same(message["content"], json.RawMessage(`[]`)) {
		m.at(ev, "the message has content already")
	}
	if message.text("stop_reason") != "" {
		m.at(ev, "the message has a stop_reason already")
	}
	if m.usage.number("output_tokens") < 0 || m.usage.number("input_tokens") < 0 {
		m.at(ev, "usage has no input_tokens or no output_tokens")
	}
}

func (m *messages) blockStart(ev event, o object) {
	if n := o.number("index"); n != len(m.blocks) {
		m.at(ev, "index is %d, must be %d", n, len(m.blocks))
	}
	if m.delta != nil {
		m.at(ev, "message_delta has ended the content")
	}
	b := &block{kind: o.object("content_block").text("type"), open: true}
	if b.kind == "" {
		m.at(ev, "content_block has no type")
	}
	m.blocks = append(m.blocks, b)
}

// block is the open block that an event is about; nil, and a problem, if there is none.
func (m *messages) block(ev event, o object) *block {
	n := o.number("index")
	if n < 0 || n >= len(m.blocks) {
		m.at(ev, "index is %d, and there are %d blocks", n, len(m.blocks))
		return nil
	}
	if !m.blocks[n].open {
		m.at(ev, "block %d has ended", n)
		return nil
	}
	return m.blocks[n]
}

// deltaOf says which kinds of blocks a kind of delta may change, by the end of their names. Others clients read over.
var deltaOf = map[string]string{
	"text_delta": "text", "citations_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking",
	"input_json_delta": "tool_use", "compaction_delta": "compaction",
}

func (m *messages) blockDelta(ev event, o object) {
	b := m.block(ev, o)
	if b == nil {
		return
	}
	delta := o.object("delta")
	kind := delta.text("type")
	if kind == "" {
		m.at(ev, "delta has no type")
	}
	if of, known := deltaOf[kind]; known && !strings.HasSuffix(b.kind, of) {
		m.at(ev, "%s does not belong into a block of type %s", kind, b.kind)
	}
	b.input.WriteString(delta.text("partial_json"))
}

func (m *messages) blockStop(ev event, b *block) {
	b.open = false
	if s := b.input.String(); s != "" && !json.Valid([]byte(s)) && m.delta == nil {
		m.at(ev, "the input of the call is not JSON")
	}
}

func (m *messages) messageDelta(ev event, o object) {
	if m.delta != nil {
		m.at(ev, "there was one already")
	}
	m.delta = o
	for i, b := range m.blocks {
		if b.open {
			m.at(ev, "block %d has not ended", i)
		}
	}
	reason := o.object("delta").text("stop_reason")
	calls := false
	for _, b := range m.blocks {
		calls = calls || b.kind == "tool_use"
	}
	switch {
	case reason == "":
		m.at(ev, "no stop_reason")
	case reason == "tool_use" && !calls:
		m.at(ev, "stop_reason is tool_use, and there is no such block")
	}
	usage := o.object("usage")
	if usage.number("output_tokens") < 0 {
		m.at(ev, "usage has no output_tokens")
	}
	for name := range usage {
		if n := usage.number(name); n >= 0 && n < m.usage.number(name) {
			m.at(ev, "usage has %s %d, less than message_start's %d", name, n, m.usage.number(name))
		}
	}
}

func (m *messages) end() {
	switch {
	case m.failed, m.stopped:
	case !m.started:
		m.all("the stream has no message_start")
	default:
		m.all("the stream ended without message_stop")
	}
}
