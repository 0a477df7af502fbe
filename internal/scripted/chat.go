package scripted

import "encoding/json"

// chatObject is a chat completion or, with deltas for messages, a chunk of one ("The chat completion object" and "The chat
// completion chunk object" in OpenAI's API reference).
type chatObject struct {
	ID                string          `json:"id"`
	Object            string          `json:"object"`
	Created           int64           `json:"created"`
	Model             string          `json:"model"`
	ServiceTier       string          `json:"service_tier"`
	SystemFingerprint string          `json:"system_fingerprint"`
	Choices           []chatChoice    `json:"choices"`
	Usage             json.RawMessage `json:"usage,omitempty"` // null in the chunks before the one that has it
	Obfuscation       string          `json:"obfuscation,omitempty"`
}

type chatChoice struct {
	Index        int          `json:"index"`
	Message      *chatMessage `json:"message,omitempty"`
	Delta        *chatDelta   `json:"delta,omitempty"`
	Logprobs     *struct{}    `json:"logprobs"`
	FinishReason *string      `json:"finish_reason"`
}

type chatMessage struct {
	Role             string     `json:"role"`
	Content          *string    `json:"content"`
	ReasoningContent string     `json:"reasoning_content,omitempty"`
	ToolCalls        []chatCall `json:"tool_calls,omitempty"`
	Refusal          *string    `json:"refusal"`
	Annotations      []struct{} `json:"annotations"`
}

// chatDelta is what a chunk adds. Content and Refusal are absent, null or a *string.
type chatDelta struct {
	Role             string     `json:"role,omitempty"`
	Content          any        `json:"content,omitempty"`
	ReasoningContent string     `json:"reasoning_content,omitempty"`
	ToolCalls        []chatCall `json:"tool_calls,omitempty"`
	Refusal          any        `json:"refusal,omitempty"`
}

// chatCall is a call or, with its index, a piece of one: the first has all members, the others index and arguments.
type chatCall struct {
	Index    *int          `json:"index,omitempty"`
	ID       string        `json:"id,omitempty"`
	Type     string        `json:"type,omitempty"`
	Function *chatFunction `json:"function,omitempty"`
	Custom   *chatCustom   `json:"custom,omitempty"`
}

type chatFunction struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

type chatCustom struct {
	Name  string `json:"name,omitempty"`
	Input string `json:"input"`
}

type chatUsage struct {
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

func (x *exchange) chatObject(kind string, choices ...chatChoice) chatObject {
	return chatObject{
		ID: x.id("chatcmpl-"), Object: kind, Created: x.req.Time.Unix(), Model: x.model(), ServiceTier: "default",
		SystemFingerprint: "fp_scripted", Choices: append([]chatChoice{}, choices...),
	}
}

func (x *exchange) chatUsage(n tally, choices int) json.RawMessage {
	t := x.usage(n)
	var u chatUsage
	u.PromptTokens, u.CompletionTokens = t.in, t.out*choices
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	u.PromptTokensDetails.CachedTokens = t.cached
	u.CompletionTokensDetails.ReasoningTokens = t.reasoning * choices
	return encode(u)
}

// choices is the request's n, 1 to 128.
func (x *exchange) choices() int {
	n := 1
	x.fields.decode("n", &n)
	return min(max(1, n), 128)
}

// chatID is the id of the i-th part's call in a choice.
func (x *exchange) chatID(choice, i int) string { return x.idOf("call_", choice<<16|i) }

// chatFinish is why the model stopped. OpenAI says stop where tool_choice named the tool that was called.
func (x *exchange) chatFinish(said []Part, end Part) *string {
	var named struct {
		Type string `json:"type"`
	}
	x.fields.decode("tool_choice", &named)
	reason := "stop"
	for _, p := range said {
		if p.called() && named.Type != "function" && named.Type != "custom" {
			reason = "tool_calls"
		}
	}
	if end.kind == partIncomplete {
		if reason = end.text; reason == "max_output_tokens" {
			reason = "length"
		}
	}
	return &reason
}

// chatCall is the whole call of a part; ok is false for the other parts.
func (x *exchange) chatCall(choice, i int, p Part) (c chatCall, ok bool) {
	c.ID = x.chatID(choice, i)
	switch p.kind {
	case partCall:
		c.Type, c.Function = "function", &chatFunction{Name: p.name, Arguments: p.text}
	case partCustom:
		c.Type, c.Custom = "custom", &chatCustom{Name: p.name, Input: p.text}
	default:
		return chatCall{}, false
	}
	return c, true
}

// add lets a message say a part.
func (m *chatMessage) add(p Part) {
	join := func(to **string) {
		if *to == nil {
			*to = new("")
		}
		**to += p.text
	}
	switch p.kind {
	case partText:
		join(&m.Content)
	case partRefusal:
		join(&m.Refusal)
	case partThought:
		m.ReasoningContent += p.text
	default:
	}
}

func (x *exchange) chatWhole(t turn) any {
	said, end := t.ended()
	c := x.chatObject("chat.completion")
	var n tally
	for choice := range x.choices() {
		m := &chatMessage{Role: "assistant", Annotations: []struct{}{}}
		for i := range said {
			p := said[i]
			if p.deltas != nil { // it can be read only once
				p.text, p.deltas = p.all(), nil
				said[i] = p
			}
			if call, ok := x.chatCall(choice, i, p); ok {
				m.ToolCalls = append(m.ToolCalls, call)
			}
			m.add(p)
			if choice == 0 {
				n.add(p, len(p.text))
			}
		}
		if m.Content == nil && m.Refusal == nil && m.ToolCalls == nil {
			m.Content = new("")
		}
		c.Choices = append(c.Choices, chatChoice{Index: choice, Message: m, FinishReason: x.chatFinish(said, end)})
	}
	c.Usage = x.chatUsage(n, x.choices())
	return c
}
