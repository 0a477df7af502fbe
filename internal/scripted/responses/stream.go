package responses

import (
	"strings"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// streamEvent is any event of a Responses stream; each type uses some of the members ("Streaming events").
type streamEvent struct {
	Type           string            `json:"type"`
	SequenceNumber int               `json:"sequence_number"`
	Response       *object           `json:"response,omitempty"`
	Error          *talk.OpenAIError `json:"error,omitempty"`
	ItemID         string            `json:"item_id,omitempty"`
	OutputIndex    *int              `json:"output_index,omitempty"`
	ContentIndex   *int              `json:"content_index,omitempty"`
	SummaryIndex   *int              `json:"summary_index,omitempty"`
	Item           any               `json:"item,omitempty"`
	Part           any               `json:"part,omitempty"`
	Delta          *string           `json:"delta,omitempty"`
	Text           *string           `json:"text,omitempty"`
	Refusal        *string           `json:"refusal,omitempty"`
	Name           string            `json:"name,omitempty"`
	Arguments      *string           `json:"arguments,omitempty"`
	Input          *string           `json:"input,omitempty"`
	Logprobs       *[]struct{}       `json:"logprobs,omitempty"`
	Obfuscation    string            `json:"obfuscation,omitempty"`
}

// flatError is the error event as OpenAI's reference documents it.
type flatError struct {
	Type           string  `json:"type"`
	Code           *string `json:"code"`
	Message        string  `json:"message"`
	Param          *string `json:"param"`
	SequenceNumber int     `json:"sequence_number"`
}

// stream is the stream as OpenAI sends it: it ends with response.completed, without [DONE].
func (x exchange) stream(t talk.Turn, yield func([]byte) bool) {
	s := &stream{x: x, yield: yield, pad: talk.Obfuscates(x)}
	begun := x.object()
	if !s.send(streamEvent{Type: "response.created", Response: &begun}) ||
		!s.send(streamEvent{Type: "response.in_progress", Response: &begun}) {
		return
	}
	said, end := t.Ended()
	var output []any
	items := itemsOf(said)
	for i, parts := range items {
		s.index = i
		status := "completed"
		if i == len(items)-1 {
			switch end.Kind {
			case talk.PartIncomplete:
				status = "incomplete"
			case talk.PartBroken:
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

// stream sends the events of one response.
type stream struct {
	x      exchange
	yield  func([]byte) bool
	pad    bool // deltas are padded
	number int  // of the next event
	index  int  // of the item that is being said
	tally  talk.Tally
}

// send sends an event with its number, and returns false when no more are wanted.
func (s *stream) send(e streamEvent) bool {
	e.SequenceNumber = s.number
	s.number++
	return s.yield(talk.Event(e.Type, e))
}

// item says an item and returns it as it is when it is done; nil if it is left unfinished.
func (s *stream) item(parts []talk.Part, status string) (item any, ok bool) {
	if !s.send(streamEvent{Type: "response.output_item.added", OutputIndex: &s.index, Item: s.x.item(s.index, parts, "in_progress")}) {
		return nil, false
	}
	for i, p := range parts {
		done := status != unfinished || i < len(parts)-1
		if parts[i].Text, ok = s.part(i, p, done); !ok {
			return nil, false
		}
		parts[i].Deltas = nil // read
		s.tally.Add(p, len(parts[i].Text))
	}
	if status == unfinished {
		return nil, true
	}
	item = s.x.item(s.index, parts, status)
	return item, s.send(streamEvent{Type: "response.output_item.done", OutputIndex: &s.index, Item: item})
}

// part says one part of an item and returns its text.
func (s *stream) part(i int, p talk.Part, done bool) (text string, ok bool) {
	switch p.Kind {
	case talk.PartText, talk.PartRefusal:
		return s.words(i, p, done)
	case talk.PartThought:
		return s.thought(p, done)
	case talk.PartSearch:
		return p.Text, s.search(done)
	case talk.PartCall:
		text, ok = s.deltas(p, streamEvent{Type: "response.function_call_arguments.delta", ItemID: s.x.IDOf("fc_", s.index)})
		return text, ok && (!done || s.send(streamEvent{
			Type: "response.function_call_arguments.done", ItemID: s.x.IDOf("fc_", s.index), OutputIndex: &s.index,
			Name: p.Name, Arguments: &text,
		}))
	case talk.PartCustom:
		text, ok = s.deltas(p, streamEvent{Type: "response.custom_tool_call_input.delta", ItemID: s.x.IDOf("ctc_", s.index)})
		return text, ok && (!done || s.send(streamEvent{
			Type: "response.custom_tool_call_input.done", ItemID: s.x.IDOf("ctc_", s.index), OutputIndex: &s.index, Input: &text,
		}))
	default:
		return "", true // a thought that nobody may read
	}
}

// deltas says a part's pieces, each in an event like e.
func (s *stream) deltas(p talk.Part, e streamEvent) (text string, ok bool) {
	e.OutputIndex = &s.index
	var b strings.Builder
	for d := range p.Said() {
		b.WriteString(d)
		e.Delta = &d
		if s.pad {
			e.Obfuscation = talk.Padding(d)
		}
		if !s.send(e) {
			return "", false
		}
	}
	return b.String(), true
}

func (s *stream) words(i int, p talk.Part, done bool) (text string, ok bool) {
	about := streamEvent{ItemID: s.x.IDOf("msg_", s.index), OutputIndex: &s.index, ContentIndex: &i}
	added, delta, said, ended := about, about, about, about
	kind := "response.refusal."
	if p.Kind == talk.PartText {
		kind = "response.output_text."
		delta.Logprobs, said.Logprobs = &[]struct{}{}, &[]struct{}{}
	}
	added.Type, added.Part = "response.content_part.added", contentPart(p.Kind, "")
	delta.Type, said.Type = kind+"delta", kind+"done"
	if !s.send(added) {
		return "", false
	}
	if text, ok = s.deltas(p, delta); !ok || !done {
		return text, ok
	}
	if p.Kind == talk.PartText {
		said.Text = &text
	} else {
		said.Refusal = &text
	}
	ended.Type, ended.Part = "response.content_part.done", contentPart(p.Kind, text)
	return text, s.send(said) && s.send(ended)
}

// thought says the summary of a reasoning item.
func (s *stream) thought(p talk.Part, done bool) (text string, ok bool) {
	about := streamEvent{ItemID: s.x.IDOf("rs_", s.index), OutputIndex: &s.index, SummaryIndex: new(int)}
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

func (s *stream) search(done bool) bool {
	for _, step := range []string{"in_progress", "searching", "completed"} {
		if step == "completed" && !done {
			break
		}
		e := streamEvent{Type: "response.web_search_call." + step, ItemID: s.x.IDOf("ws_", s.index), OutputIndex: &s.index}
		if !s.send(e) {
			return false
		}
	}
	return true
}

// end ends the stream. Breaking off, it sends the error event, then response.failed.
func (s *stream) end(output []any, end talk.Part) {
	r := s.x.ended(output, end, s.tally)
	s.x.keep(&r)
	if end.Kind == talk.PartBroken {
		r.Output = []any{}
		if !s.error(end.Problem) {
			return
		}
	}
	if s.send(streamEvent{Type: "response." + r.Status, Response: &r}) && s.x.Framing().Done {
		s.yield([]byte("data: [DONE]\n\n"))
	}
}

func (s *stream) error(pr talk.Problem) bool {
	e := pr.OpenAI()
	if !s.x.Framing().FlatErrors {
		return s.send(streamEvent{Type: "error", Error: &e})
	}
	flat := flatError{Type: "error", Code: e.Code, Message: e.Message, Param: e.Param, SequenceNumber: s.number}
	s.number++
	return s.yield(talk.Event("error", flat))
}
