package messages

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// streamEvent is any event of a Messages stream; each type uses some of the members ("Streaming messages").
type streamEvent struct {
	Type         string       `json:"type"`
	Message      *object      `json:"message,omitempty"`
	Index        *int         `json:"index,omitempty"`
	ContentBlock any          `json:"content_block,omitempty"`
	Delta        *deltaObject `json:"delta,omitempty"`
	Usage        *tokenCounts `json:"usage,omitempty"`
}

type deltaObject struct {
	Type        string  `json:"type,omitempty"`
	Text        *string `json:"text,omitempty"`
	Thinking    *string `json:"thinking,omitempty"`
	Signature   *string `json:"signature,omitempty"`
	PartialJSON *string `json:"partial_json,omitempty"`
	*endObject
}

type endObject struct {
	StopReason   string       `json:"stop_reason"`
	StopSequence *string      `json:"stop_sequence"`
	StopDetails  *stopDetails `json:"stop_details"`
	Container    *struct{}    `json:"container"`
}

// stream sends the events of one message.
type stream struct {
	yield    func([]byte) bool
	x        exchange
	thoughts *binding
	index    int  // of the next block
	pinged   bool // the ping that comes after the first block's start
	tally    talk.Tally
}

// stream is the stream as Anthropic documents it. The name on the event line is mandatory for its clients.
func (x exchange) stream(t talk.Turn, yield func([]byte) bool) {
	said, end := t.Ended()
	s := &stream{x: x, yield: yield, thoughts: x.binding(said)}
	start := x.object()
	if !s.send(streamEvent{Type: "message_start", Message: &start}) {
		return
	}
	broken := end.Kind == talk.PartBroken || end.Kind == talk.PartFailed
	for i, p := range said {
		if !s.part(i, p, !broken || i < len(said)-1) {
			return
		}
	}
	if broken {
		yield(talk.Event("error", end.Problem.Anthropic(x.RequestID())))
		return
	}
	u := x.tokensOf(said, s.tally)
	last := &endObject{}
	last.StopReason, last.StopDetails = stopReason(said, end)
	_ = s.send(streamEvent{Type: "message_delta", Delta: &deltaObject{endObject: last}, Usage: &u}) &&
		s.send(streamEvent{Type: "message_stop"})
}

func (s *stream) send(e streamEvent) bool { return s.yield(talk.Event(e.Type, e)) }

// part says one part. Unless it is to be done, its last block is left open.
func (s *stream) part(i int, p talk.Part, done bool) bool {
	begun := p
	begun.Deltas = nil
	if p.Kind != talk.PartSearch { // its result comes whole
		begun.Text = ""
	}
	blocks := s.x.blocks(i, begun, s.thoughts)
	for n, block := range blocks {
		index := s.index
		s.index++
		if !s.send(streamEvent{Type: "content_block_start", Index: &index, ContentBlock: emptied(block)}) || !s.ping() {
			return false
		}
		if n == 0 {
			var ok bool
			if p.Text, ok = s.deltas(p, index); !ok {
				return false
			}
		}
		if (done || n < len(blocks)-1) && !s.send(streamEvent{Type: "content_block_stop", Index: &index}) {
			return false
		}
	}
	p.Deltas = nil
	s.tally.Add(p, len(p.Text))
	s.x.spoke(s.thoughts, s.x.blocks(i, p, s.thoughts))
	return true
}

func (s *stream) ping() bool {
	if s.pinged {
		return true
	}
	s.pinged = true
	return s.send(streamEvent{Type: "ping"})
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
func (s *stream) deltas(p talk.Part, index int) (text string, ok bool) {
	switch p.Kind {
	case talk.PartRedacted:
		return "", true
	case talk.PartThought:
		text, ok = s.pieces(index, p.Said(), func(d *string) deltaObject { return deltaObject{Type: "thinking_delta", Thinking: d} })
		return text, ok && s.delta(index, deltaObject{Type: "signature_delta", Signature: new(s.thoughts.sign(text))})
	case talk.PartCall:
		return s.json(index, p.Text)
	case talk.PartCustom:
		_, ok = s.json(index, string(p.Input()))
		return p.Text, ok
	case talk.PartSearch:
		_, ok = s.json(index, string(talk.Encode(map[string]string{"query": p.Text})))
		return p.Text, ok
	default:
		return s.pieces(index, p.Said(), func(d *string) deltaObject { return deltaObject{Type: "text_delta", Text: d} })
	}
}

// json says an input, after the empty piece that Anthropic begins it with.
func (s *stream) json(index int, input string) (text string, ok bool) {
	if !s.delta(index, deltaObject{Type: "input_json_delta", PartialJSON: new("")}) {
		return "", false
	}
	return s.pieces(index, slices.Values(talk.Fragments(input)), func(d *string) deltaObject {
		return deltaObject{Type: "input_json_delta", PartialJSON: d}
	})
}

func (s *stream) pieces(index int, said iter.Seq[string], as func(*string) deltaObject) (text string, ok bool) {
	var b strings.Builder
	for d := range said {
		b.WriteString(d)
		if !s.delta(index, as(&d)) {
			return "", false
		}
	}
	return b.String(), true
}

func (s *stream) delta(index int, d deltaObject) bool {
	return s.send(streamEvent{Type: "content_block_delta", Index: &index, Delta: &d})
}
