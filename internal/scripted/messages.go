package scripted

// messageObject is the object of the Messages API ("Messages" in Anthropic's API reference).
type messageObject struct {
	ID           string         `json:"id"`
	Type         string         `json:"type"`
	Role         string         `json:"role"`
	Model        string         `json:"model"`
	Content      []contentBlock `json:"content"`
	Container    *struct{}      `json:"container"`
	Diagnostics  *struct{}      `json:"diagnostics"`
	StopReason   *string        `json:"stop_reason"`
	StopSequence *string        `json:"stop_sequence"`
	StopDetails  *struct{}      `json:"stop_details"`
	Usage        messageUsage   `json:"usage"`
}

type contentBlock struct {
	Type      string    `json:"type"`
	Text      string    `json:"text"`
	Citations *struct{} `json:"citations"`
}

// tokenCounts are the usage of the event at a message's end; messageUsage is that of the message itself.
type tokenCounts struct {
	InputTokens              int       `json:"input_tokens"`
	CacheCreationInputTokens int       `json:"cache_creation_input_tokens"`
	CacheReadInputTokens     int       `json:"cache_read_input_tokens"`
	OutputTokens             int       `json:"output_tokens"`
	OutputTokensDetails      *struct{} `json:"output_tokens_details"`
	ServerToolUse            *struct{} `json:"server_tool_use"`
}

type messageUsage struct {
	tokenCounts
	CacheCreation cacheCreation `json:"cache_creation"`
	ServiceTier   string        `json:"service_tier"`
	InferenceGeo  *string       `json:"inference_geo"`
	Speed         *string       `json:"speed"`
}

type cacheCreation struct {
	Ephemeral5m int `json:"ephemeral_5m_input_tokens"`
	Ephemeral1h int `json:"ephemeral_1h_input_tokens"`
}

// messageEvent is any event of a Messages stream; each type uses some of the members ("Streaming messages").
type messageEvent struct {
	Type         string         `json:"type"`
	Message      *messageObject `json:"message,omitempty"`
	Index        *int           `json:"index,omitempty"`
	ContentBlock *contentBlock  `json:"content_block,omitempty"`
	Delta        *messageDelta  `json:"delta,omitempty"`
	Usage        *tokenCounts   `json:"usage,omitempty"`
}

type messageDelta struct {
	Type string  `json:"type,omitempty"`
	Text *string `json:"text,omitempty"`
	*messageEnd
}

type messageEnd struct {
	StopReason   string    `json:"stop_reason"`
	StopSequence *string   `json:"stop_sequence"`
	StopDetails  *struct{} `json:"stop_details"`
	Container    *struct{} `json:"container"`
}

func (x *exchange) messageObject() messageObject {
	in, _ := x.usage(0)
	return messageObject{
		ID: x.id("msg_"), Type: "message", Role: "assistant", Model: x.model(), Content: []contentBlock{},
		Usage: messageUsage{tokenCounts: tokenCounts{InputTokens: in, OutputTokens: 1}, ServiceTier: "standard"},
	}
}

func (x *exchange) messagesWhole(t turn) any {
	text := t.text()
	m := x.messageObject()
	m.Content = append(m.Content, contentBlock{Type: "text", Text: text})
	m.StopReason = new("end_turn")
	_, m.Usage.OutputTokens = x.usage(len(text))
	return m
}

// messagesStream is the stream as Anthropic documents it. The name on the event line is mandatory for its clients.
func (x *exchange) messagesStream(t turn, yield func([]byte) bool) {
	send := func(e messageEvent) bool { return yield(event(e.Type, e)) }
	start, zero := x.messageObject(), new(int)
	if !send(messageEvent{Type: "message_start", Message: &start}) ||
		!send(messageEvent{Type: "content_block_start", Index: zero, ContentBlock: &contentBlock{Type: "text"}}) ||
		!send(messageEvent{Type: "ping"}) {
		return
	}
	length := 0
	for d := range t.deltas {
		length += len(d)
		if !send(messageEvent{Type: "content_block_delta", Index: zero, Delta: &messageDelta{Type: "text_delta", Text: &d}}) {
			return
		}
	}
	if t.failure != nil {
		yield(event("error", t.failure.anthropic(x)))
		return
	}
	var u tokenCounts
	u.InputTokens, u.OutputTokens = x.usage(length)
	_ = send(messageEvent{Type: "content_block_stop", Index: zero}) &&
		send(messageEvent{Type: "message_delta", Delta: &messageDelta{messageEnd: &messageEnd{StopReason: "end_turn"}}, Usage: &u}) &&
		send(messageEvent{Type: "message_stop"})
}
