package scripted

import "strings"

// responseEvent is any event of a Responses stream; each type uses some of the members ("Streaming events").
type responseEvent struct {
	Type           string          `json:"type"`
	SequenceNumber int             `json:"sequence_number"`
	Response       *responseObject `json:"response,omitempty"`
	Error          *openAIError    `json:"error,omitempty"`
	ItemID         string          `json:"item_id,omitempty"`
	OutputIndex    *int            `json:"output_index,omitempty"`
	ContentIndex   *int            `json:"content_index,omitempty"`
	SummaryIndex   *int            `json:"summary_index,omitempty"`
	Item           any             `json:"item,omitempty"`
	Part           any             `json:"part,omitempty"`
	Delta          *string         `json:"delta,omitempty"`
	Text           *string         `json:"text,omitempty"`
	Refusal        *string         `json:"refusal,omitempty"`
	Name           string          `json:"name,omitempty"`
	Arguments      *string         `json:"arguments,omitempty"`
	Input          *string         `json:"input,omitempty"`
	Logprobs       *[]struct{}     `json:"logprobs,omitempty"`
	Obfuscation    string          `json:"obfuscation,omitempty"`
}

// flatError is the error event as OpenAI's reference documents it.
type flatError struct {
	Type           string  `json:"type"`
	Code           *string `json:"code"`
	Message        string  `json:"message"`
	Param          *string `json:"param"`
	SequenceNumber int     `json:"sequence_number"`
}

// responsesStream is the stream as OpenAI sends it: it ends with response.completed, without [DONE].
func (x *exchange) responsesStream(t turn, yield func([]byte) bool) {
	s := &responsesStream{x: x, yield: yield, pad: x.obfuscates()}
	begun := x.responseObject()
	if !s.send(responseEvent{Type: "response.created", Response: &begun}) ||
		!s.send(responseEvent{Type: "response.in_progress", Response: &begun}) {
		return
	}
	said, end := t.ended()
	var output []any
	items := itemsOf(said)
	for i, parts := range items {
		s.index = i
		status := "completed"
		if i == len(items)-1 {
			switch end.kind {
			case partIncomplete:
				status = "incomplete"
			case partBroken:
				status = unfinished
			default:
			}
		}
		item, ok := s.item(parts, status)
		if !ok {
			return
		}
		if item != nil {
			output = append(output, item)
		}
	}
	s.end(output, end)
}

// unfinished is the status of an item that is broken off: nothing says that it is done.
const unfinished = ""

// responsesStream sends the events of one response.
type responsesStream struct {
	x      *exchange
	yield  func([]byte) bool
	pad    bool // deltas are padded
	number int  // of the next event
	index  int  // of the item that is being said
	tally  tally
}

// send sends an event with its number, and returns false when no more are wanted.
func (s *responsesStream) send(e responseEvent) bool {
	e.SequenceNumber = s.number
	s.number++
	return s.yield(event(e.Type, e))
}

// item says an item and returns it as it is when it is done; nil if it is left unfinished.
func (s *responsesStream) item(parts []Part, status string) (item any, ok bool) {
	if !s.send(responseEvent{Type: "response.output_item.added", OutputIndex: &s.index, Item: s.x.item(s.index, parts, "in_progress")}) {
		return nil, false
	}
	for i, p := range parts {
		done := status != unfinished || i < len(parts)-1
		if parts[i].text, ok = s.part(i, p, done); !ok {
			return nil, false
		}
		parts[i].deltas = nil // read
		s.tally.add(p, len(parts[i].text))
	}
	if status == unfinished {
		return nil, true
	}
	item = s.x.item(s.index, parts, status)
	return item, s.send(responseEvent{Type: "response.output_item.done", OutputIndex: &s.index, Item: item})
}

// part says one part of an item and returns its text.
func (s *responsesStream) part(i int, p Part, done bool) (text string, ok bool) {
	switch p.kind {
	case partText, partRefusal:
		return s.words(i, p, done)
	case partThought:
		return s.thought(p, done)
	case partSearch:
		return p.text, s.search(done)
	case partCall:
		text, ok = s.deltas(p, responseEvent{Type: "response.function_call_arguments.delta", ItemID: s.x.idOf("fc_", s.index)})
		return text, ok && (!done || s.send(responseEvent{
			Type: "response.function_call_arguments.done", ItemID: s.x.idOf("fc_", s.index), OutputIndex: &s.index,
			Name: p.name, Arguments: &text,
		}))
	case partCustom:
		text, ok = s.deltas(p, responseEvent{Type: "response.custom_tool_call_input.delta", ItemID: s.x.idOf("ctc_", s.index)})
		return text, ok && (!done || s.send(responseEvent{
			Type: "response.custom_tool_call_input.done", ItemID: s.x.idOf("ctc_", s.index), OutputIndex: &s.index, Input: &text,
		}))
	default:
		return "", true // a thought that nobody may read
	}
}

// deltas says a part's pieces, each in an event like e.
func (s *responsesStream) deltas(p Part, e responseEvent) (text string, ok bool) {
	e.OutputIndex = &s.index
	var b strings.Builder
	for d := range p.said() {
		b.WriteString(d)
		e.Delta = &d
		if s.pad {
			e.Obfuscation = padding(d)
		}
		if !s.send(e) {
			return "", false
		}
	}
	return b.String(), true
}

func (s *responsesStream) words(i int, p Part, done bool) (text string, ok bool) {
	about := responseEvent{ItemID: s.x.idOf("msg_", s.index), OutputIndex: &s.index, ContentIndex: &i}
	added, delta, said, ended := about, about, about, about
	kind := "response.refusal."
	if p.kind == partText {
		kind = "response.output_text."
		delta.Logprobs, said.Logprobs = &[]struct{}{}, &[]struct{}{}
	}
	added.Type, added.Part = "response.content_part.added", contentPart(p.kind, "")
	delta.Type, said.Type = kind+"delta", kind+"done"
	if !s.send(added) {
		return "", false
	}
	if text, ok = s.deltas(p, delta); !ok || !done {
		return text, ok
	}
	if p.kind == partText {
		said.Text = &text
	} else {
		said.Refusal = &text
	}
	ended.Type, ended.Part = "response.content_part.done", contentPart(p.kind, text)
	return text, s.send(said) && s.send(ended)
}

// thought says the summary of a reasoning item.
func (s *responsesStream) thought(p Part, done bool) (text string, ok bool) {
	about := responseEvent{ItemID: s.x.idOf("rs_", s.index), OutputIndex: &s.index, SummaryIndex: new(int)}
	added, delta, said, ended := about, about, about, about
	added.Type, added.Part = "response.reasoning_summary_part.added", summaryText{Type: "summary_text"}
	delta.Type, said.Type = "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done"
	if !s.send(added) {
		return "", false
	}
	if text, ok = s.deltas(p, delta); !ok || !done {
		return text, ok
	}
	said.Text = &text
	ended.Type, ended.Part = "response.reasoning_summary_part.done", summaryText{Type: "summary_text", Text: text}
	return text, s.send(said) && s.send(ended)
}

func (s *responsesStream) search(done bool) bool {
	for _, step := range []string{"in_progress", "searching", "completed"} {
		if step == "completed" && !done {
			break
		}
		e := responseEvent{Type: "response.web_search_call." + step, ItemID: s.x.idOf("ws_", s.index), OutputIndex: &s.index}
		if !s.send(e) {
			return false
		}
	}
	return true
}

// end ends the stream. Breaking off, it sends the error event, then response.failed.
func (s *responsesStream) end(output []any, end Part) {
	r := s.x.ended(output, end, s.tally)
	s.x.keep(&r)
	if end.kind == partBroken {
		r.Output = []any{}
		if !s.error(end.problem) {
			return
		}
	}
	if s.send(responseEvent{Type: "response." + r.Status, Response: &r}) && s.x.a.framing.Done {
		s.yield([]byte("data: [DONE]\n\n"))
	}
}

func (s *responsesStream) error(pr Problem) bool {
	e := pr.openAI()
	if !s.x.a.framing.FlatErrors {
		return s.send(responseEvent{Type: "error", Error: &e})
	}
	flat := flatError{Type: "error", Code: e.Code, Message: e.Message, Param: e.Param, SequenceNumber: s.number}
	s.number++
	return s.yield(event("error", flat))
}

// obfuscates says whether deltas are padded: unless stream_options.include_obfuscation is false.
func (x *exchange) obfuscates() bool {
	var o struct {
		Include *bool `json:"include_obfuscation"`
	}
	return !x.fields.decode("stream_options", &o) || o.Include == nil || *o.Include
}
