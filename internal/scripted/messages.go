package scripted

import "encoding/json"

// messageObject is the object of the Messages API ("Messages" in Anthropic's API reference).
type messageObject struct {
	ID           string       `json:"id"`
	Type         string       `json:"type"`
	Role         string       `json:"role"`
	Model        string       `json:"model"`
	Content      []any        `json:"content"`
	Container    *struct{}    `json:"container"`
	Diagnostics  *struct{}    `json:"diagnostics"`
	StopReason   *string      `json:"stop_reason"`
	StopSequence *string      `json:"stop_sequence"`
	StopDetails  *stopDetails `json:"stop_details"`
	Usage        messageUsage `json:"usage"`
}

// stopDetails say why the model refused.
type stopDetails struct {
	Type        string  `json:"type"`
	Category    *string `json:"category"`
	Explanation *string `json:"explanation"`
}

// The blocks of a message's content.
type (
	textBlock struct {
		Type      string    `json:"type"`
		Text      string    `json:"text"`
		Citations *struct{} `json:"citations,omitempty"`
	}
	thinkingBlock struct {
		Type      string `json:"type"`
		Thinking  string `json:"thinking"`
		Signature string `json:"signature"`
	}
	redactedBlock struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	toolUseBlock struct {
		Type   string          `json:"type"`
		ID     string          `json:"id"`
		Name   string          `json:"name"`
		Input  json.RawMessage `json:"input"`
		Caller caller          `json:"caller"`
	}
	searchResultBlock struct {
		Type      string         `json:"type"`
		ToolUseID string         `json:"tool_use_id"`
		Content   []searchResult `json:"content"`
		Caller    caller         `json:"caller"`
	}
	searchResult struct {
		Type             string  `json:"type"`
		Title            string  `json:"title"`
		URL              string  `json:"url"`
		EncryptedContent string  `json:"encrypted_content"`
		PageAge          *string `json:"page_age"`
	}
	caller struct {
		Type string `json:"type"`
	}
)

// tokenCounts are the usage of the event at a message's end; messageUsage is that of the message itself.
type tokenCounts struct {
	InputTokens              int             `json:"input_tokens"`
	CacheCreationInputTokens int             `json:"cache_creation_input_tokens"`
	CacheReadInputTokens     int             `json:"cache_read_input_tokens"`
	OutputTokens             int             `json:"output_tokens"`
	OutputTokensDetails      *thinkingTokens `json:"output_tokens_details"`
	ServerToolUse            *serverToolUse  `json:"server_tool_use"`
}

type thinkingTokens struct {
	ThinkingTokens int `json:"thinking_tokens"`
}

type serverToolUse struct {
	WebFetchRequests  int `json:"web_fetch_requests"`
	WebSearchRequests int `json:"web_search_requests"`
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

func (x *exchange) messageObject() messageObject {
	t := x.usage(tally{})
	return messageObject{
		ID: x.id("msg_"), Type: "message", Role: "assistant", Model: x.model(), Content: []any{},
		Usage: messageUsage{
			tokenCounts: tokenCounts{InputTokens: t.in - t.cached, CacheReadInputTokens: t.cached, OutputTokens: 1}, ServiceTier: "standard",
		},
	}
}

// messageTokens is the usage at the end. Anthropic counts cached tokens beside input_tokens, not in them.
func (x *exchange) messageTokens(said []Part, n tally) tokenCounts {
	t := x.usage(n)
	c := tokenCounts{InputTokens: t.in - t.cached, CacheReadInputTokens: t.cached, OutputTokens: t.out}
	if t.reasoning > 0 {
		c.OutputTokensDetails = &thinkingTokens{ThinkingTokens: t.reasoning}
	}
	for _, p := range said {
		if p.kind == partSearch {
			if c.ServerToolUse == nil {
				c.ServerToolUse = &serverToolUse{}
			}
			c.ServerToolUse.WebSearchRequests++
		}
	}
	return c
}

// stopReason is why the model stopped, in the words of Anthropic.
func stopReason(said []Part, end Part) (reason string, details *stopDetails) {
	reason = "end_turn"
	for _, p := range said {
		switch {
		case p.kind == partRefusal:
			reason, details = "refusal", &stopDetails{Type: "refusal"}
		case p.called():
			reason = "tool_use"
		}
	}
	if end.kind == partIncomplete {
		switch end.text {
		case "max_output_tokens":
			return "max_tokens", nil
		case "content_filter":
			return "refusal", &stopDetails{Type: "refusal"}
		}
		return end.text, nil
	}
	return reason, details
}

// blocks are the i-th part of a turn as it stands in a message. Only a search has two.
func (x *exchange) blocks(i int, p Part, thoughts *binding) []any {
	switch p.kind {
	case partThought:
		return []any{thinkingBlock{Type: "thinking", Thinking: p.text, Signature: thoughts.sign(p.text)}}
	case partRedacted:
		return []any{redactedBlock{Type: "redacted_thinking", Data: thoughts.sign("")}}
	case partCall, partCustom:
		return []any{toolUseBlock{Type: "tool_use", ID: x.idOf("toolu_", i), Name: p.name, Input: p.input(), Caller: caller{"direct"}}}
	case partSearch:
		id := x.idOf("srvtoolu_", i)
		return []any{
			toolUseBlock{
				Type: "server_tool_use", ID: id, Name: p.name, Caller: caller{"direct"}, Input: encode(map[string]string{"query": p.text}),
			},
			searchResultBlock{
				Type: "web_search_tool_result", ToolUseID: id, Caller: caller{"direct"}, Content: []searchResult{{
					Type: "web_search_result", Title: "A page", URL: "https://example.com/", EncryptedContent: x.p.seal(id),
				}},
			},
		}
	default:
		return []any{textBlock{Type: "text", Text: p.text}}
	}
}

func (x *exchange) messagesWhole(t turn) any {
	said, end := t.ended()
	m := x.messageObject()
	thoughts := x.binding(said)
	var n tally
	for i, p := range said {
		p.text, p.deltas = p.all(), nil
		n.add(p, len(p.text))
		blocks := x.blocks(i, p, thoughts)
		x.spoke(thoughts, blocks)
		m.Content = append(m.Content, blocks...)
	}
	reason, details := stopReason(said, end)
	m.StopReason, m.StopDetails = &reason, details
	m.Usage.tokenCounts = x.messageTokens(said, n)
	return m
}
