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
	Role        string     `json:"role"`
	Content     string     `json:"content"`
	Refusal     *string    `json:"refusal"`
	Annotations []struct{} `json:"annotations"`
}

type chatDelta struct {
	Role    string          `json:"role,omitempty"`
	Content *string         `json:"content,omitempty"`
	Refusal json.RawMessage `json:"refusal,omitempty"`
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

func (x *exchange) chatUsage(text int) json.RawMessage {
	var u chatUsage
	u.PromptTokens, u.CompletionTokens = x.usage(text)
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return encode(u)
}

func (x *exchange) chatWhole(t turn) any {
	text := t.text()
	c := x.chatObject("chat.completion", chatChoice{
		Message: &chatMessage{Role: "assistant", Content: text, Annotations: []struct{}{}}, FinishReason: new("stop"),
	})
	c.Usage = x.chatUsage(len(text))
	return c
}

// chatStream is the stream as OpenAI sends it: the role first, the usage last if stream_options.include_usage asks for it, then
// [DONE].
func (x *exchange) chatStream(t turn, yield func([]byte) bool) {
	var options struct {
		Usage bool `json:"include_usage"`
	}
	x.fields.decode("stream_options", &options)
	pad := x.obfuscates()
	send := func(delta chatDelta, finish *string) bool {
		c := x.chatObject("chat.completion.chunk", chatChoice{Delta: &delta, FinishReason: finish})
		if options.Usage {
			c.Usage = json.RawMessage("null")
		}
		if pad && delta.Content != nil {
			c.Obfuscation = padding(*delta.Content)
		}
		return yield(event("", c))
	}
	if !send(chatDelta{Role: "assistant", Content: new(""), Refusal: json.RawMessage("null")}, nil) {
		return
	}
	length := 0
	for d := range t.deltas {
		length += len(d)
		if !send(chatDelta{Content: &d}, nil) {
			return
		}
	}
	if t.failure != nil { // OpenAI closes the stream after the error, without [DONE]
		yield(event("", map[string]any{"error": t.failure.openAI()}))
		return
	}
	if !send(chatDelta{}, new("stop")) {
		return
	}
	if options.Usage {
		c := x.chatObject("chat.completion.chunk")
		c.Usage = x.chatUsage(length)
		if !yield(event("", c)) {
			return
		}
	}
	yield([]byte("data: [DONE]\n\n"))
}
