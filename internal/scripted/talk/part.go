package talk

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// Part is one thing that a model says in an answer: words, a thought, a call of a tool, or how the answer ends. What a dialect has
// no word for is left out: a hosted search has none in Chat Completions.
type Part struct {
	Kind    PartKind
	Name    string
	Text    string
	Deltas  iter.Seq[string] // the text in the script's own pieces; read once. Nil: cut by this package
	Count   int              // of deltas
	Problem Problem
}

// PartKind is what a Part is.
type PartKind uint8

// The kinds of parts.
const (
	PartText PartKind = iota
	PartRefusal
	PartThought
	PartRedacted
	PartCall
	PartCustom
	PartSearch
	PartIncomplete // an ending, as are the two that follow
	PartFailed
	PartBroken
)

// Text is words for the user. On Responses, texts and refusals that follow one another are the contents of one message.
func Text(text string) Part { return Part{Kind: PartText, Text: text} }

// Refuse is the model's refusal: a refusal in OpenAI's APIs, words and stop_reason refusal in Anthropic's.
func Refuse(text string) Part { return Part{Kind: PartRefusal, Text: text} }

// Think is a thought: a reasoning item with summary and encrypted_content on Responses, a thinking block with its signature on
// Messages, reasoning_content on Chat Completions as DeepSeek, vLLM and others have it.
func Think(text string) Part { return Part{Kind: PartThought, Text: text} }

// RedactedThinking is a thought that nobody may read: a redacted_thinking block, or a reasoning item without a summary.
func RedactedThinking() Part { return Part{Kind: PartRedacted} }

// Call calls a function with arguments in JSON. Calls that follow one another are parallel. Arguments that are no JSON are sent as
// they are, except where a dialect needs an object, in an answer without a stream: there they are {}.
func Call(name, argsJSON string) Part { return Part{Kind: PartCall, Name: name, Text: argsJSON} }

// Custom calls a custom tool with free text. Anthropic's API has none: there it is a tool with the member input.
func Custom(name, input string) Part { return Part{Kind: PartCustom, Name: name, Text: input} }

// Hosted is a search of the web by the provider itself: a web_search_call item on Responses, server_tool_use and
// web_search_tool_result blocks on Messages.
func Hosted(query string) Part { return Part{Kind: PartSearch, Name: "web_search", Text: query} }

// Incomplete ends the answer early; the part before it is the one that was cut. Reasons are those of Responses:
// max_output_tokens, content_filter. Another one, such as pause_turn, goes out as it is.
func Incomplete(reason string) Part { return Part{Kind: PartIncomplete, Text: reason} }

// Failed ends a Responses stream with response.failed alone. The other dialects have no such thing: there it is Broken.
func Failed(pr Problem) Part { return Part{Kind: PartFailed, Problem: pr} }

// Broken ends a stream in the middle of the part before it, with the dialect's error event; on Responses response.failed follows.
// Where no stream was asked for, pr is the answer.
func Broken(pr Problem) Part { return Part{Kind: PartBroken, Problem: pr} }

func (p Part) ending() bool { return p.Kind >= PartIncomplete }

// Called reports whether the client has to answer the part with a result.
func (p Part) Called() bool { return p.Kind == PartCall || p.Kind == PartCustom }

// Thinks reports whether the part is a thought, readable or not.
func (p Part) Thinks() bool { return p.Kind == PartThought || p.Kind == PartRedacted }

// Said are the pieces in which the part is streamed.
func (p Part) Said() iter.Seq[string] {
	switch {
	case p.Deltas != nil:
		return p.Deltas
	case p.Called():
		return slices.Values(Fragments(p.Text))
	}
	return slices.Values(pieces(p.Text))
}

// size is about how many events the part is streamed in.
func (p Part) size() int {
	switch {
	case p.Deltas != nil:
		return p.Count
	case p.Called():
		return len(Fragments(p.Text))
	case p.Kind == PartSearch:
		return 3
	}
	return len(pieces(p.Text))
}

// Input is a call's arguments as an object.
func (p Part) Input() json.RawMessage {
	if p.Kind == PartCall {
		if strings.HasPrefix(strings.TrimSpace(p.Text), "{") && json.Valid([]byte(p.Text)) {
			return json.RawMessage(p.Text)
		}
		return json.RawMessage("{}")
	}
	return Encode(map[string]string{"input": p.Text})
}

// All is the whole text of a part.
func (p Part) All() string {
	if p.Deltas == nil {
		return p.Text
	}
	var b strings.Builder
	for d := range p.Deltas {
		b.WriteString(d)
	}
	return b.String()
}

// Fragments cuts the arguments of a call as models stream them: without regard to names and values, but not within a character.
func Fragments(text string) []string {
	size := min(max(4, len(text)/8), 16<<10)
	var fs []string
	for text != "" {
		n := min(size, len(text))
		for n < len(text) && !utf8.RuneStart(text[n]) {
			n++
		}
		fs = append(fs, text[:n])
		text = text[n:]
	}
	return fs
}

// pieces cuts a text after spaces into up to 64 pieces, and more where a piece would pass 16 KiB.
func pieces(text string) []string {
	const most = 16 << 10
	size := min(max(1, len(text)/64), most)
	var ps []string
	for text != "" {
		n := len(text)
		if n > size {
			if space := strings.IndexByte(text[size:], ' '); space >= 0 {
				n = size + space + 1
			}
		}
		if n > most {
			n = most
			for n > most-utf8.UTFMax && !utf8.RuneStart(text[n]) {
				n--
			}
		}
		ps = append(ps, text[:n])
		text = text[n:]
	}
	return ps
}
