package chat

import (
	"encoding/json"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// stream sends the chunks of one chat completion.
type stream struct {
	x       exchange
	yield   func([]byte) bool
	pad     bool
	usage   bool // every chunk has the member, null until the last
	choices int
	calls   int  // said so far, in each choice
	opened  bool // the chunk with the role has begun the only call
	tally   talk.Tally
}

// stream is the stream as OpenAI sends it: the role first, the choices by turns, the usage last if
// stream_options.include_usage asks for it, then [DONE].
func (x exchange) stream(t talk.Turn, yield func([]byte) bool) {
	var options struct {
		Usage bool `json:"include_usage"`
	}
	x.Member("stream_options", &options)
	s := &stream{x: x, yield: yield, pad: talk.Obfuscates(x), usage: options.Usage, choices: x.choices()}
	said, end := t.Ended()
	if !s.begin(said) {
		return
	}
	for i, p := range said {
		if !s.part(i, p) {
			return
		}
	}
	if end.Kind == talk.PartBroken || end.Kind == talk.PartFailed { // OpenAI closes the stream after the error, without [DONE]
		yield(talk.Event("", map[string]any{"error": end.Problem.OpenAI()}))
		return
	}
	if !s.each(x.finish(said, end), func(int) deltaObject { return deltaObject{} }) {
		return
	}
	if s.usage {
		c := x.object("chat.completion.chunk")
		c.Usage = x.usage(s.tally, s.choices)
		if !yield(talk.Event("", c)) {
			return
		}
	}
	yield([]byte("data: [DONE]\n\n"))
}

// each sends a chunk for each choice.
func (s *stream) each(finish *string, delta func(choice int) deltaObject) bool {
	for i := range s.choices {
		d := delta(i)
		c := s.x.object("chat.completion.chunk", choiceObject{Index: i, Delta: &d, FinishReason: finish})
		if s.usage {
			c.Usage = json.RawMessage("null")
		}
		if s.pad {
			if said, ok := d.said(); ok {
				c.Obfuscation = talk.Padding(said)
			}
		}
		if !s.yield(talk.Event("", c)) {
			return false
		}
	}
	return true
}

// said is what a delta adds; ok is false if it adds nothing that tokens are made of.
func (d deltaObject) said() (said string, ok bool) {
	for _, c := range d.ToolCalls {
		if c.Function != nil {
			return c.Function.Arguments, true
		}
		if c.Custom != nil {
			return c.Custom.Input, true
		}
	}
	for _, member := range []any{d.Content, d.Refusal} {
		if s, isString := member.(*string); isString && s != nil {
			return *s, true
		}
	}
	return d.ReasoningContent, d.ReasoningContent != ""
}

// begin sends the role. A turn that is one call and nothing else begins it in the same chunk.
func (s *stream) begin(said []talk.Part) bool {
	null := (*string)(nil)
	if s.opened = len(said) == 1 && said[0].Called(); s.opened {
		return s.each(nil, func(choice int) deltaObject {
			return deltaObject{Role: "assistant", Content: null, ToolCalls: []call{s.opening(choice, 0, said[0])}, Refusal: null}
		})
	}
	var content any = new("")
	if len(said) > 0 && said[0].Kind != talk.PartText {
		content = null
	}
	return s.each(nil, func(int) deltaObject { return deltaObject{Role: "assistant", Content: content, Refusal: null} })
}

// opening is the first piece of a call: everything but its arguments.
func (s *stream) opening(choice, i int, p talk.Part) call {
	c, _ := s.x.call(choice, i, p)
	c.Index = new(s.calls)
	if c.Function != nil {
		c.Function.Arguments = ""
	} else {
		c.Custom.Input = ""
	}
	return c
}

// part says one part.
func (s *stream) part(i int, p talk.Part) bool {
	if p.Called() {
		return s.call(i, p)
	}
	for d := range p.Said() {
		s.tally.Add(p, len(d))
		var delta deltaObject
		switch p.Kind {
		case talk.PartText:
			delta.Content = &d
		case talk.PartRefusal:
			delta.Refusal = &d
		case talk.PartThought:
			delta.ReasoningContent = d
		default:
			continue // the dialect has no word for it
		}
		if !s.each(nil, func(int) deltaObject { return delta }) {
			return false
		}
	}
	return true
}

func (s *stream) call(i int, p talk.Part) bool {
	if !s.opened && !s.each(nil, func(choice int) deltaObject { return deltaObject{ToolCalls: []call{s.opening(choice, i, p)}} }) {
		return false
	}
	index := s.calls
	s.calls++
	for d := range p.Said() {
		s.tally.Add(p, len(d))
		piece := call{Index: &index}
		if p.Kind == talk.PartCustom {
			piece.Custom = &custom{Input: d}
		} else {
			piece.Function = &function{Arguments: d}
		}
		if !s.each(nil, func(int) deltaObject { return deltaObject{ToolCalls: []call{piece}} }) {
			return false
		}
	}
	return true
}
