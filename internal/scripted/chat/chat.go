// Package chat says turns in Chat Completions, and knows what OpenAI refuses there.
package chat

import (
	"encoding/json"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// object is a chat completion or, with deltas for messages, a chunk of one ("The chat completion object" and "The chat
// completion chunk object" in OpenAI's API reference).
type object struct {
	ID                string          `json:"id"`
	Object            string          `json:"object"`
	Created           int64           `json:"created"`
	Model             string          `json:"model"`
	ServiceTier       string          `json:"service_tier"`
	SystemFingerprint string          `json:"system_fingerprint"`
	Choices           []choiceObject  `json:"choices"`
	Usage             json.RawMessage `json:"usage,omitempty"` // null in the chunks before the one that has it
	Obfuscation       string          `json:"obfuscation,omitempty"`
}

type choiceObject struct {
	Index        int          `json:"index"`
	Message      *message     `json:"message,omitempty"`
	Delta        *deltaObject `json:"delta,omitempty"`
	Logprobs     *struct{}    `json:"logprobs"`
	FinishReason *string      `json:"finish_reason"`
}

type message struct {
	Role             string     `json:"role"`
	Content          *string    `json:"content"`
	ReasoningContent string     `json:"reasoning_content,omitempty"`
	ToolCalls        []call     `json:"tool_calls,omitempty"`
	Refusal          *string    `json:"refusal"`
	Annotations      []struct{} `json:"annotations"`
}

// deltaObject is what a chunk adds. Content and Refusal are absent, null or a *string.
type deltaObject struct {
	Role             string `json:"role,omitempty"`
	Content          any    `json:"content,omitempty"`
	ReasoningContent string `json:"reasoning_content,omitempty"`
	ToolCalls        []call `json:"tool_calls,omitempty"`
	Refusal          any    `json:"refusal,omitempty"`
}

// call is a call or, with its index, a piece of one: the first has all members, the others index and arguments.
type call struct {
	Index    *int      `json:"index,omitempty"`
	ID       string    `json:"id,omitempty"`
	Type     string    `json:"type,omitempty"`
	Function *function `json:"function,omitempty"`
	Custom   *custom   `json:"custom,omitempty"`
}

type function struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

type custom struct {
	Name  string `json:"name,omitempty"`
	Input string `json:"input"`
}

type usage struct {
	PromptTokens        int `json:"prompt_tokens"`
	CompletionTokens    int `json:"completion_tokens"`
	TotalTokens         int `json:"total_tokens"`
	PromptTokensDetails struct {
		CachedTokens int `json:"cached_tokens"`
		AudioTokens  int `json:"audio_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionTokensDetails struct {
		ReasoningTokens          int `json:"reasoning_tokens"`
		AudioTokens              int `json:"audio_tokens"`
		AcceptedPredictionTokens int `json:"accepted_prediction_tokens"`
		RejectedPredictionTokens int `json:"rejected_prediction_tokens"`
	} `json:"completion_tokens_details"`
}

// exchange says a turn in Chat Completions.
type exchange struct{ talk.Answering }

// Dialect is Chat Completions.
func Dialect(a talk.Answering) talk.Dialect {
	x := exchange{a}
	return talk.Dialect{Whole: x.whole, Stream: x.stream, Lead: 1}
}

func (x exchange) object(kind string, choices ...choiceObject) object {
	return object{
		ID: x.ID("chatcmpl-"), Object: kind, Created: x.Created(), Model: x.ModelName(), ServiceTier: "default",
		SystemFingerprint: "fp_scripted", Choices: append([]choiceObject{}, choices...),
	}
}

func (x exchange) usage(n talk.Tally, choices int) json.RawMessage {
	t := x.Usage(n)
	var u usage
	u.PromptTokens, u.CompletionTokens = t.In, t.Out*choices
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	u.PromptTokensDetails.CachedTokens = t.Cached
	u.CompletionTokensDetails.ReasoningTokens = t.Reasoning * choices
	return talk.Encode(u)
}

// choices is the request's n, 1 to 128.
func (x exchange) choices() int {
	n := 1
	x.Member("n", &n)
	return min(max(1, n), 128)
}

// callID is the id of the i-th part's call in a choice.
func (x exchange) callID(choice, i int) string { return x.IDOf("call_", choice<<16|i) }

// finish is why the model stopped. OpenAI says stop where tool_choice named the tool that was called.
func (x exchange) finish(said []talk.Part, end talk.Part) *string {
	var named struct {
		Type string `json:"type"`
	}
	x.Member("tool_choice", &named)
	reason := "stop"
	for _, p := range said {
		if p.Called() && named.Type != "function" && named.Type != "custom" {
			reason = "tool_calls"
		}
	}
	if end.Kind == talk.PartIncomplete {
		if reason = end.Text; reason == "max_output_tokens" {
			reason = "length"
		}
	}
	return &reason
}

// call is the whole call of a part; ok is false for the other parts.
func (x exchange) call(choice, i int, p talk.Part) (c call, ok bool) {
	c.ID = x.callID(choice, i)
	switch p.Kind {
	case talk.PartCall:
		c.Type, c.Function = "function", &function{Name: p.Name, Arguments: p.Text}
	case talk.PartCustom:
		c.Type, c.Custom = "custom", &custom{Name: p.Name, Input: p.Text}
	default:
		return call{}, false
	}
	return c, true
}

// add lets a message say a part.
func (m *message) add(p talk.Part) {
	join := func(to **string) {
		if *to == nil {
			*to = new("")
		}
		**to += p.Text
	}
	switch p.Kind {
	case talk.PartText:
		join(&m.Content)
	case talk.PartRefusal:
		join(&m.Refusal)
	case talk.PartThought:
		m.ReasoningContent += p.Text
	default:
	}
}

func (x exchange) whole(t talk.Turn) any {
	said, end := t.Ended()
	c := x.object("chat.completion")
	var n talk.Tally
	for choice := range x.choices() {
		m := &message{Role: "assistant", Annotations: []struct{}{}}
		for i := range said {
			p := said[i]
			if p.Deltas != nil { // it can be read only once
				p.Text, p.Deltas = p.All(), nil
				said[i] = p
			}
			if call, ok := x.call(choice, i, p); ok {
				m.ToolCalls = append(m.ToolCalls, call)
			}
			m.add(p)
			if choice == 0 {
				n.Add(p, len(p.Text))
			}
		}
		if m.Content == nil && m.Refusal == nil && m.ToolCalls == nil {
			m.Content = new("")
		}
		c.Choices = append(c.Choices, choiceObject{Index: choice, Message: m, FinishReason: x.finish(said, end)})
	}
	c.Usage = x.usage(n, x.choices())
	return c
}
