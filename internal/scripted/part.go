package scripted

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
	kind    partKind
	name    string
	text    string
	deltas  iter.Seq[string] // the text in the script's own pieces; read once. Nil: cut by this package
	count   int              // of deltas
	problem Problem
}

type partKind uint8

const (
	partText partKind = iota
	partRefusal
	partThought
	partRedacted
	partCall
	partCustom
	partSearch
	partIncomplete // an ending, as are the two that follow
	partFailed
	partBroken
)

// Text is words for the user. On Responses, texts and refusals that follow one another are the contents of one message.
func Text(text string) Part { return Part{kind: partText, text: text} }

// Refuse is the model's refusal: a refusal in OpenAI's APIs, words and stop_reason refusal in Anthropic's.
func Refuse(text string) Part { return Part{kind: partRefusal, text: text} }

// Think is a thought: a reasoning item with summary and encrypted_content on Responses, a thinking block with its signature on
// Messages, reasoning_content on Chat Completions as DeepSeek, vLLM and others have it.
func Think(text string) Part { return Part{kind: partThought, text: text} }

// RedactedThinking is a thought that nobody may read: a redacted_thinking block, or a reasoning item without a summary.
func RedactedThinking() Part { return Part{kind: partRedacted} }

// Call calls a function with arguments in JSON. Calls that follow one another are parallel. Arguments that are no JSON are sent as
// they are, except where a dialect needs an object, in an answer without a stream: there they are {}.
func Call(name, argsJSON string) Part { return Part{kind: partCall, name: name, text: argsJSON} }

// Custom calls a custom tool with free text. Anthropic's API has none: there it is a tool with the member input.
func Custom(name, input string) Part { return Part{kind: partCustom, name: name, text: input} }

// Hosted is a search of the web by the provider itself: a web_search_call item on Responses, server_tool_use and
// web_search_tool_result blocks on Messages.
func Hosted(query string) Part { return Part{kind: partSearch, name: "web_search", text: query} }

// Incomplete ends the answer early; the part before it is the one that was cut. Reasons are those of Responses:
// max_output_tokens, content_filter. Another one, such as pause_turn, goes out as it is.
func Incomplete(reason string) Part { return Part{kind: partIncomplete, text: reason} }

// Failed ends a Responses stream with response.failed alone. The other dialects have no such thing: there it is Broken.
func Failed(pr Problem) Part { return Part{kind: partFailed, problem: pr} }

// Broken ends a stream in the middle of the part before it, with the dialect's error event; on Responses response.failed follows.
// Where no stream was asked for, pr is the answer.
func Broken(pr Problem) Part { return Part{kind: partBroken, problem: pr} }

// Say is a model that says these parts, whatever it is asked. What follows an ending is not said. A provider that is strict
// (Config.Strict) leaves out calls that the request forbids: all with tool_choice none, and all but the first where calls may
// not be parallel.
func Say(parts ...Part) Answer {
	parts = slices.Clone(parts)
	return Answer{name: "say", render: func(x *exchange) response { return x.good(turn{parts: parts}) }}
}

// ErrorFirst is a stream under 200 that has said nothing yet when it breaks off with pr: a key that is found out of quota late.
// Where no stream was asked for, pr is the answer.
func ErrorFirst(pr Problem) Answer {
	a := Say(Broken(pr))
	a.name = "error first"
	return a
}

func (p Part) ending() bool { return p.kind >= partIncomplete }

// called reports whether the client has to answer the part with a result.
func (p Part) called() bool { return p.kind == partCall || p.kind == partCustom }

// thinks reports whether the part is a thought, readable or not.
func (p Part) thinks() bool { return p.kind == partThought || p.kind == partRedacted }

// said are the pieces in which the part is streamed.
func (p Part) said() iter.Seq[string] {
	switch {
	case p.deltas != nil:
		return p.deltas
	case p.called():
		return slices.Values(fragments(p.text))
	}
	return slices.Values(pieces(p.text))
}

// size is about how many events the part is streamed in.
func (p Part) size() int {
	switch {
	case p.deltas != nil:
		return p.count
	case p.called():
		return len(fragments(p.text))
	case p.kind == partSearch:
		return 3
	}
	return len(pieces(p.text))
}

// input is a call's arguments as an object.
func (p Part) input() json.RawMessage {
	if p.kind == partCall {
		if strings.HasPrefix(strings.TrimSpace(p.text), "{") && json.Valid([]byte(p.text)) {
			return json.RawMessage(p.text)
		}
		return json.RawMessage("{}")
	}
	return encode(map[string]string{"input": p.text})
}

// all is the whole text of a part.
func (p Part) all() string {
	if p.deltas == nil {
		return p.text
	}
	var b strings.Builder
	for d := range p.deltas {
		b.WriteString(d)
	}
	return b.String()
}

// fragments cuts the arguments of a call as models stream them: without regard to names and values, but not within a character.
func fragments(text string) []string {
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
