// Package responses says turns in Responses, and knows what OpenAI refuses there.
package responses

import (
	"encoding/json"
	"net/http"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// object is the object of the Responses API ("The response object" in OpenAI's API reference).
type object struct {
	ID                 string          `json:"id"`
	Object             string          `json:"object"`
	CreatedAt          int64           `json:"created_at"`
	Status             string          `json:"status"`
	AccessPrograms     accessPrograms  `json:"access_programs"`
	Background         json.RawMessage `json:"background"`
	CompletedAt        *int64          `json:"completed_at"`
	Error              *failure        `json:"error"`
	IncompleteDetails  *incompleteness `json:"incomplete_details"`
	Instructions       json.RawMessage `json:"instructions"`
	MaxOutputTokens    json.RawMessage `json:"max_output_tokens"`
	MaxToolCalls       json.RawMessage `json:"max_tool_calls"`
	Model              string          `json:"model"`
	Output             []any           `json:"output"`
	ParallelToolCalls  json.RawMessage `json:"parallel_tool_calls"`
	PreviousResponseID json.RawMessage `json:"previous_response_id"`
	Conversation       *Named          `json:"conversation,omitempty"`
	PromptCacheKey     json.RawMessage `json:"prompt_cache_key"`
	Reasoning          json.RawMessage `json:"reasoning"`
	SafetyIdentifier   json.RawMessage `json:"safety_identifier"`
	ServiceTier        string          `json:"service_tier"`
	Store              json.RawMessage `json:"store"`
	Temperature        json.RawMessage `json:"temperature"`
	Text               json.RawMessage `json:"text"`
	ToolChoice         json.RawMessage `json:"tool_choice"`
	Tools              json.RawMessage `json:"tools"`
	TopLogprobs        json.RawMessage `json:"top_logprobs"`
	TopP               json.RawMessage `json:"top_p"`
	Truncation         json.RawMessage `json:"truncation"`
	Usage              *usage          `json:"usage"`
	User               json.RawMessage `json:"user"`
	Metadata           json.RawMessage `json:"metadata"`
}

type accessPrograms struct {
	Cyber string `json:"cyber"`
}

type incompleteness struct {
	Reason string `json:"reason"`
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type usage struct {
	InputTokens        int `json:"input_tokens"`
	InputTokensDetails struct {
		CachedTokens     int `json:"cached_tokens"`
		CacheWriteTokens int `json:"cache_write_tokens"`
	} `json:"input_tokens_details"`
	OutputTokens        int `json:"output_tokens"`
	OutputTokensDetails struct {
		ReasoningTokens int `json:"reasoning_tokens"`
	} `json:"output_tokens_details"`
	TotalTokens int `json:"total_tokens"`
}

// Exchange is an exchange whose provider keeps responses.
type Exchange interface {
	talk.Answering
	// Keep keeps a response that has come to its end, if the provider keeps any.
	Keep(k *Kept)
}

// exchange says a turn in Responses.
type exchange struct{ Exchange }

// Dialect is Responses.
func Dialect(k Exchange) talk.Dialect {
	x := exchange{k}
	return talk.Dialect{Whole: x.whole, Stream: x.stream, Lead: 4}
}

// object is the response before the model has said anything, with the request's settings as the client sent them.
func (x exchange) object() object {
	return object{
		ID: x.ID("resp_"), Object: "response", CreatedAt: x.Created(), Status: "in_progress", Model: x.ModelName(),
		AccessPrograms: accessPrograms{Cyber: "standard"}, Output: []any{}, ServiceTier: "default",
		Background:         x.Echo("background", "false"),
		Conversation:       ConversationID(x),
		Instructions:       x.Echo("instructions", "null"),
		MaxOutputTokens:    x.Echo("max_output_tokens", "null"),
		MaxToolCalls:       x.Echo("max_tool_calls", "null"),
		ParallelToolCalls:  x.Echo("parallel_tool_calls", "true"),
		PreviousResponseID: x.Echo("previous_response_id", "null"),
		PromptCacheKey:     x.Echo("prompt_cache_key", "null"),
		Reasoning:          x.Echo("reasoning", `{"effort":null,"summary":null}`),
		SafetyIdentifier:   x.Echo("safety_identifier", "null"),
		Store:              x.Echo("store", "true"),
		Temperature:        x.Echo("temperature", "1.0"),
		Text:               x.Echo("text", `{"format":{"type":"text"},"verbosity":"medium"}`),
		ToolChoice:         x.Echo("tool_choice", `"auto"`),
		Tools:              x.Echo("tools", "[]"),
		TopLogprobs:        x.Echo("top_logprobs", "0"),
		TopP:               x.Echo("top_p", "1.0"),
		Truncation:         x.Echo("truncation", `"disabled"`),
		User:               x.Echo("user", "null"),
		Metadata:           x.Echo("metadata", "{}"),
	}
}

// ended is the response with what the model said.
func (x exchange) ended(output []any, end talk.Part, n talk.Tally) object {
	r := x.object()
	t := x.Usage(n)
	u := &usage{InputTokens: t.In, OutputTokens: t.Out, TotalTokens: t.In + t.Out}
	u.InputTokensDetails.CachedTokens, u.OutputTokensDetails.ReasoningTokens = t.Cached, t.Reasoning
	r.Output = append(r.Output, output...)
	r.Usage = u
	switch end.Kind {
	case talk.PartIncomplete:
		r.Status, r.IncompleteDetails = "incomplete", &incompleteness{Reason: end.Text}
	case talk.PartFailed, talk.PartBroken:
		r.failed(end.Problem)
		r.Usage = nil
	default:
		r.Status, r.CompletedAt = "completed", &r.CreatedAt
	}
	return r
}

func (r *object) failed(pr talk.Problem) {
	code := "server_error"
	if pr.Status == http.StatusTooManyRequests {
		code = "rate_limit_exceeded"
	}
	r.Status, r.Error = "failed", &failure{Code: code, Message: pr.Message}
}

// ConversationID repeats the request's conversation, which may be an id or an object.
func ConversationID(a talk.Answering) *Named {
	var raw json.RawMessage
	if !a.Member("conversation", &raw) || string(raw) == "null" {
		return nil
	}
	var c Named
	if json.Unmarshal(raw, &c.ID) != nil && json.Unmarshal(raw, &c) != nil {
		return nil
	}
	return &c
}

// whole is the response as an object. One that is to be made in the background has not begun yet.
func (x exchange) whole(t talk.Turn) any {
	said, end := t.Ended()
	var output []any
	var n talk.Tally
	items := itemsOf(said)
	for i, parts := range items {
		for j := range parts {
			parts[j].Text, parts[j].Deltas = parts[j].All(), nil
			n.Add(parts[j], len(parts[j].Text))
		}
		status := "completed"
		if end.Kind == talk.PartIncomplete && i == len(items)-1 {
			status = "incomplete"
		}
		output = append(output, x.item(i, parts, status))
	}
	r := x.ended(output, end, n)
	x.keep(&r)
	if string(r.Background) == "true" {
		r = x.object()
		r.Status = "queued"
	}
	return r
}

// Kept is one response.
type Kept struct {
	ID, Previous, Thread string
	Input, Output        []json.RawMessage
	Object               json.RawMessage
	Stored               bool // store was not false: it can be asked for, and gone on from
	Background           bool
	Size                 int64
}

// keep hands a response that has come to its end to the provider.
func (x exchange) keep(r *object) {
	if r.Status == "failed" {
		return
	}
	t := x.Told()
	k := &Kept{
		ID: r.ID, Previous: t.Previous, Object: talk.Encode(r),
		Stored: string(r.Store) != "false", Background: string(r.Background) == "true",
	}
	if r.Conversation != nil {
		k.Thread = r.Conversation.ID
	}
	for _, item := range t.Own {
		k.Input = append(k.Input, item.Raw)
	}
	for _, item := range r.Output {
		k.Output = append(k.Output, talk.Encode(item))
	}
	x.Keep(k)
}

// Named is an object that only says which one is meant.
type Named struct {
	ID string `json:"id"`
}
