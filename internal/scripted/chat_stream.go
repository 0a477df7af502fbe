package scripted

import "encoding/json"

// chatStream sends the chunks of one chat completion.
type chatStream struct {
	x       *exchange
	yield   func([]byte) bool
	pad     bool
	usage   bool // every chunk has the member, null until the last
	choices int
	calls   int  // said so far, in each choice
	opened  bool // the chunk with the role has begun the only call
	tally   tally
}

// chatStream is the stream as OpenAI sends it: the role first, the choices by turns, the usage last if
// stream_options.include_usage asks for it, then [DONE].
func (x *exchange) chatStream(t turn, yield func([]byte) bool) {
	var options struct {
		Usage bool `json:"include_usage"`
	}
	x.fields.decode("stream_options", &options)
	s := &chatStream{x: x, yield: yield, pad: x.obfuscates(), usage: options.Usage, choices: x.choices()}
	said, end := t.ended()
	if !s.begin(said) {
		return
	}
	for i, p := range said {
		if !s.part(i, p) {
			return
		}
	}
	if end.kind == partBroken || end.kind == partFailed { // OpenAI closes the stream after the error, without [DONE]
		yield(event("", map[string]any{"error": end.problem.openAI()}))
		return
	}
	if !s.each(x.chatFinish(said, end), func(int) chatDelta { return chatDelta{} }) {
		return
	}
	if s.usage {
		c := x.chatObject("chat.completion.chunk")
		c.Usage = x.chatUsage(s.tally, s.choices)
		if !yield(event("", c)) {
			return
		}
	}
	yield([]byte("data: [DONE]\n\n"))
}

// each sends a chunk for each choice.
func (s *chatStream) each(finish *string, delta func(choice int) chatDelta) bool {
	for i := range s.choices {
		d := delta(i)
		c := s.x.chatObject("chat.completion.chunk", chatChoice{Index: i, Delta: &d, FinishReason: finish})
		if s.usage {
			c.Usage = json.RawMessage("null")
		}
		if s.pad {
			if said, ok := d.said(); ok {
				c.Obfuscation = padding(said)
			}
		}
		if !s.yield(event("", c)) {
			return false
		}
	}
	return true
}

// said is what a delta adds; ok is false if it adds nothing that tokens are made of.
func (d chatDelta) said() (said string, ok bool) {
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
func (s *chatStream) begin(said []Part) bool {
	null := (*string)(nil)
	if s.opened = len(said) == 1 && said[0].called(); s.opened {
		return s.each(nil, func(choice int) chatDelta {
			return chatDelta{Role: "assistant", Content: null, ToolCalls: []chatCall{s.opening(choice, 0, said[0])}, Refusal: null}
		})
	}
	var content any = new("")
	if len(said) > 0 && said[0].kind != partText {
		content = null
	}
	return s.each(nil, func(int) chatDelta { return chatDelta{Role: "assistant", Content: content, Refusal: null} })
}

// opening is the first piece of a call: everything but its arguments.
func (s *chatStream) opening(choice, i int, p Part) chatCall {
	c, _ := s.x.chatCall(choice, i, p)
	c.Index = new(s.calls)
	if c.Function != nil {
		c.Function.Arguments = ""
	} else {
		c.Custom.Input = ""
	}
	return c
}

// part says one part.
func (s *chatStream) part(i int, p Part) bool {
	if p.called() {
		return s.call(i, p)
	}
	for d := range p.said() {
		s.tally.add(p, len(d))
		var delta chatDelta
		switch p.kind {
		case partText:
			delta.Content = &d
		case partRefusal:
			delta.Refusal = &d
		case partThought:
			delta.ReasoningContent = d
		default:
			continue // the dialect has no word for it
		}
		if !s.each(nil, func(int) chatDelta { return delta }) {
			return false
		}
	}
	return true
}

func (s *chatStream) call(i int, p Part) bool {
	if !s.opened && !s.each(nil, func(choice int) chatDelta { return chatDelta{ToolCalls: []chatCall{s.opening(choice, i, p)}} }) {
		return false
	}
	index := s.calls
	s.calls++
	for d := range p.said() {
		s.tally.add(p, len(d))
		piece := chatCall{Index: &index}
		if p.kind == partCustom {
			piece.Custom = &chatCustom{Input: d}
		} else {
			piece.Function = &chatFunction{Arguments: d}
		}
		if !s.each(nil, func(int) chatDelta { return chatDelta{ToolCalls: []chatCall{piece}} }) {
			return false
		}
	}
	return true
}
