package scripted

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"
)

// messageEvent is any event of a Messages stream; each type uses some of the members ("Streaming messages").
type messageEvent struct {
	Type         string         `json:"type"`
	Message      *messageObject `json:"message,omitempty"`
	Index        *int           `json:"index,omitempty"`
	ContentBlock any            `json:"content_block,omitempty"`
	Delta        *messageDelta  `json:"delta,omitempty"`
	Usage        *tokenCounts   `json:"usage,omitempty"`
}

type messageDelta struct {
	Type        string  `json:"type,omitempty"`
	Text        *string `json:"text,omitempty"`
	Thinking    *string `json:"thinking,omitempty"`
	Signature   *string `json:"signature,omitempty"`
	PartialJSON *string `json:"partial_json,omitempty"`
	*messageEnd
}

type messageEnd struct {
	StopReason   string       `json:"stop_reason"`
	StopSequence *string      `json:"stop_sequence"`
	StopDetails  *stopDetails `json:"stop_details"`
	Container    *struct{}    `json:"container"`
}

// messageStream sends the events of one message.
type messageStream struct {
	yield    func([]byte) bool
	x        *exchange
	thoughts *binding
	index    int  // of the next block
	pinged   bool // the ping that comes after the first block's start
	tally    tally
}

// messagesStream is the stream as Anthropic documents it. The name on the event line is mandatory for its clients.
func (x *exchange) messagesStream(t turn, yield func([]byte) bool) {
	said, end := t.ended()
	s := &messageStream{x: x, yield: yield, thoughts: x.binding(said)}
	start := x.messageObject()
	if !s.send(messageEvent{Type: "message_start", Message: &start}) {
		return
	}
	broken := end.kind == partBroken || end.kind == partFailed
	for i, p := range said {
		if !s.part(i, p, !broken || i < len(said)-1) {
			return
		}
	}
	if broken {
		yield(event("error", end.problem.anthropic(x)))
		return
	}
	u := x.messageTokens(said, s.tally)
	last := &messageEnd{}
	last.StopReason, last.StopDetails = stopReason(said, end)
	_ = s.send(messageEvent{Type: "message_delta", Delta: &messageDelta{messageEnd: last}, Usage: &u}) &&
		s.send(messageEvent{Type: "message_stop"})
}

func (s *messageStream) send(e messageEvent) bool { return s.yield(event(e.Type, e)) }

// part says one part. Unless it is to be done, its last block is left open.
func (s *messageStream) part(i int, p Part, done bool) bool {
	begun := p
	begun.deltas = nil
	if p.kind != partSearch { // its result comes whole
		begun.text = ""
	}
	blocks := s.x.blocks(i, begun, s.thoughts)
	for n, block := range blocks {
		index := s.index
		s.index++
		if !s.send(messageEvent{Type: "content_block_start", Index: &index, ContentBlock: emptied(block)}) || !s.ping() {
			return false
		}
		if n == 0 {
			var ok bool
			if p.text, ok = s.deltas(p, index); !ok {
				return false
			}
		}
		if (done || n < len(blocks)-1) && !s.send(messageEvent{Type: "content_block_stop", Index: &index}) {
			return false
		}
	}
	p.deltas = nil
	s.tally.add(p, len(p.text))
	s.x.spoke(s.thoughts, s.x.blocks(i, p, s.thoughts))
	return true
}

func (s *messageStream) ping() bool {
	if s.pinged {
		return true
	}
	s.pinged = true
	return s.send(messageEvent{Type: "ping"})
}

// emptied is a block as it begins: what deltas bring is not in it.
func emptied(block any) any {
	switch b := block.(type) {
	case thinkingBlock:
		b.Signature = ""
		return b
	case toolUseBlock:
		b.Input = json.RawMessage("{}")
		return b
	}
	return block
}

// deltas says the pieces of a part's first block and returns its text.
func (s *messageStream) deltas(p Part, index int) (text string, ok bool) {
	switch p.kind {
	case partRedacted:
		return "", true
	case partThought:
		text, ok = s.pieces(index, p.said(), func(d *string) messageDelta { return messageDelta{Type: "thinking_delta", Thinking: d} })
		return text, ok && s.delta(index, messageDelta{Type: "signature_delta", Signature: new(s.thoughts.sign(text))})
	case partCall:
		return s.json(index, p.text)
	case partCustom:
		_, ok = s.json(index, string(p.input()))
		return p.text, ok
	case partSearch:
		_, ok = s.json(index, string(encode(map[string]string{"query": p.text})))
		return p.text, ok
	default:
		return s.pieces(index, p.said(), func(d *string) messageDelta { return messageDelta{Type: "text_delta", Text: d} })
	}
}

// json says an input, after the empty piece that Anthropic begins it with.
func (s *messageStream) json(index int, input string) (text string, ok bool) {
	if !s.delta(index, messageDelta{Type: "input_json_delta", PartialJSON: new("")}) {
		return "", false
	}
	return s.pieces(index, slices.Values(fragments(input)), func(d *string) messageDelta {
		return messageDelta{Type: "input_json_delta", PartialJSON: d}
	})
}

func (s *messageStream) pieces(index int, said iter.Seq[string], as func(*string) messageDelta) (text string, ok bool) {
	var b strings.Builder
	for d := range said {
		b.WriteString(d)
		if !s.delta(index, as(&d)) {
			return "", false
		}
	}
	return b.String(), true
}

func (s *messageStream) delta(index int, d messageDelta) bool {
	return s.send(messageEvent{Type: "content_block_delta", Index: &index, Delta: &d})
}
