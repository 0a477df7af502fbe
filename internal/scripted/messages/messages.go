// Package messages says turns in Anthropic's Messages, and knows what Anthropic refuses there.
package messages

import (
	"encoding/json"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// object is the object of the Messages API ("Messages" in Anthropic's API reference).
type object struct {
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
	Usage        usage        `json:"usage"`
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

// tokenCounts are the usage of the event at a message's end; usage is that of the message itself.
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

type usage struct {
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

// Exchange is an exchange whose provider remembers which calls came after a thought.
type Exchange interface {
	talk.Answering
	Thinks(toolUse string)
}

// exchange says a turn in Messages.
type exchange struct{ Exchange }

// Dialect is Messages.
func Dialect(t Exchange) talk.Dialect {
	x := exchange{t}
	return talk.Dialect{Whole: x.whole, Stream: x.stream, Lead: 3}
}

func (x exchange) object() object {
	t := x.Usage(talk.Tally{})
	return object{
		ID: x.ID("msg_"), Type: "message", Role: "assistant", Model: x.ModelName(), Content: []any{},
		Usage: usage{
			tokenCounts: tokenCounts{InputTokens: t.In - t.Cached, CacheReadInputTokens: t.Cached, OutputTokens: 1}, ServiceTier: "standard",
		},
	}
}

// tokensOf is the usage at the end. Anthropic counts cached tokens beside input_tokens, not in them.
func (x exchange) tokensOf(said []talk.Part, n talk.Tally) tokenCounts {
	t := x.Usage(n)
	c := tokenCounts{InputTokens: t.In - t.Cached, CacheReadInputTokens: t.Cached, OutputTokens: t.Out}
	if t.Reasoning > 0 {
		c.OutputTokensDetails = &thinkingTokens{ThinkingTokens: t.Reasoning}
	}
	for _, p := range said {
		if p.Kind == talk.PartSearch {
			if c.ServerToolUse == nil {
				c.ServerToolUse = &serverToolUse{}
			}
			c.ServerToolUse.WebSearchRequests++
		}
	}
	return c
}

// stopReason is why the model stopped, in the words of Anthropic.
func stopReason(said []talk.Part, end talk.Part) (reason string, details *stopDetails) {
	reason = "end_turn"
	for _, p := range said {
		switch {
		case p.Kind == talk.PartRefusal:
			reason, details = "refusal", &stopDetails{Type: "refusal"}
		case p.Called():
			reason = "tool_use"
		}
	}
	if end.Kind == talk.PartIncomplete {
		switch end.Text {
		case "max_output_tokens":
			return "max_tokens", nil
		case "content_filter":
			return "refusal", &stopDetails{Type: "refusal"}
		}
		return end.Text, nil
	}
	return reason, details
}

// blocks are the i-th part of a turn as it stands in a message. Only a search has two.
func (x exchange) blocks(i int, p talk.Part, thoughts *binding) []any {
	switch p.Kind {
	case talk.PartThought:
		return []any{thinkingBlock{Type: "thinking", Thinking: p.Text, Signature: thoughts.sign(p.Text)}}
	case talk.PartRedacted:
		return []any{redactedBlock{Type: "redacted_thinking", Data: thoughts.sign("")}}
	case talk.PartCall, talk.PartCustom:
		return []any{toolUseBlock{Type: "tool_use", ID: x.IDOf("toolu_", i), Name: p.Name, Input: p.Input(), Caller: caller{"direct"}}}
	case talk.PartSearch:
		id := x.IDOf("srvtoolu_", i)
		return []any{
			toolUseBlock{
				Type: "server_tool_use", ID: id, Name: p.Name, Caller: caller{"direct"}, Input: talk.Encode(map[string]string{"query": p.Text}),
			},
			searchResultBlock{
				Type: "web_search_tool_result", ToolUseID: id, Caller: caller{"direct"}, Content: []searchResult{{
					Type: "web_search_result", Title: "A page", URL: "https://example.com/", EncryptedContent: x.Seal(id),
				}},
			},
		}
	default:
		return []any{textBlock{Type: "text", Text: p.Text}}
	}
}

func (x exchange) whole(t talk.Turn) any {
	said, end := t.Ended()
	m := x.object()
	thoughts := x.binding(said)
	var n talk.Tally
	for i, p := range said {
		p.Text, p.Deltas = p.All(), nil
		n.Add(p, len(p.Text))
		blocks := x.blocks(i, p, thoughts)
		x.spoke(thoughts, blocks)
		m.Content = append(m.Content, blocks...)
	}
	reason, details := stopReason(said, end)
	m.StopReason, m.StopDetails = &reason, details
	m.Usage.tokenCounts = x.tokensOf(said, n)
	return m
}
