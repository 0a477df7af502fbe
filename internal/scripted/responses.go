package scripted

import (
	"encoding/json"
	"net/http"
)

// responseObject is the object of the Responses API ("The response object" in OpenAI's API reference).
type responseObject struct {
	ID                 string          `json:"id"`
	Object             string          `json:"object"`
	CreatedAt          int64           `json:"created_at"`
	Status             string          `json:"status"`
	AccessPrograms     accessPrograms  `json:"access_programs"`
	Background         json.RawMessage `json:"background"`
	CompletedAt        *int64          `json:"completed_at"`
	Error              *responseError  `json:"error"`
	IncompleteDetails  *incompleteness `json:"incomplete_details"`
	Instructions       json.RawMessage `json:"instructions"`
	MaxOutputTokens    json.RawMessage `json:"max_output_tokens"`
	MaxToolCalls       json.RawMessage `json:"max_tool_calls"`
	Model              string          `json:"model"`
	Output             []any           `json:"output"`
	ParallelToolCalls  json.RawMessage `json:"parallel_tool_calls"`
	PreviousResponseID json.RawMessage `json:"previous_response_id"`
	Conversation       *named          `json:"conversation,omitempty"`
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
	Usage              *responseUsage  `json:"usage"`
	User               json.RawMessage `json:"user"`
	Metadata           json.RawMessage `json:"metadata"`
}

type accessPrograms struct {
	Cyber string `json:"cyber"`
}

type incompleteness struct {
	Reason string `json:"reason"`
}

// named is an object that only says which one is meant.
type named struct {
	ID string `json:"id"`
}

type responseError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type responseUsage struct {
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

// responseObject is the response before the model has said anything, with the request's settings as the client sent them.
func (x *exchange) responseObject() responseObject {
	f := &x.fields
	return responseObject{
		ID: x.id("resp_"), Object: "response", CreatedAt: x.req.Time.Unix(), Status: "in_progress", Model: x.model(),
		AccessPrograms: accessPrograms{Cyber: "standard"}, Output: []any{}, ServiceTier: "default",
		Background:         f.echo("background", "false"),
		Conversation:       x.conversationID(),
		Instructions:       f.echo("instructions", "null"),
		MaxOutputTokens:    f.echo("max_output_tokens", "null"),
		MaxToolCalls:       f.echo("max_tool_calls", "null"),
		ParallelToolCalls:  f.echo("parallel_tool_calls", "true"),
		PreviousResponseID: f.echo("previous_response_id", "null"),
		PromptCacheKey:     f.echo("prompt_cache_key", "null"),
		Reasoning:          f.echo("reasoning", `{"effort":null,"summary":null}`),
		SafetyIdentifier:   f.echo("safety_identifier", "null"),
		Store:              f.echo("store", "true"),
		Temperature:        f.echo("temperature", "1.0"),
		Text:               f.echo("text", `{"format":{"type":"text"},"verbosity":"medium"}`),
		ToolChoice:         f.echo("tool_choice", `"auto"`),
		Tools:              f.echo("tools", "[]"),
		TopLogprobs:        f.echo("top_logprobs", "0"),
		TopP:               f.echo("top_p", "1.0"),
		Truncation:         f.echo("truncation", `"disabled"`),
		User:               f.echo("user", "null"),
		Metadata:           f.echo("metadata", "{}"),
	}
}

// ended is the response with what the model said.
func (x *exchange) ended(output []any, end Part, n tally) responseObject {
	r := x.responseObject()
	t := x.usage(n)
	u := &responseUsage{InputTokens: t.in, OutputTokens: t.out, TotalTokens: t.in + t.out}
	u.InputTokensDetails.CachedTokens, u.OutputTokensDetails.ReasoningTokens = t.cached, t.reasoning
	r.Output = append(r.Output, output...)
	r.Usage = u
	switch end.kind {
	case partIncomplete:
		r.Status, r.IncompleteDetails = "incomplete", &incompleteness{Reason: end.text}
	case partFailed, partBroken:
		r.failed(end.problem)
		r.Usage = nil
	default:
		r.Status, r.CompletedAt = "completed", &r.CreatedAt
	}
	return r
}

func (r *responseObject) failed(pr Problem) {
	code := "server_error"
	if pr.Status == http.StatusTooManyRequests {
		code = "rate_limit_exceeded"
	}
	r.Status, r.Error = "failed", &responseError{Code: code, Message: pr.Message}
}

// conversationID repeats the request's conversation, which may be an id or an object.
func (x *exchange) conversationID() *named {
	raw, ok := x.fields.values["conversation"]
	if !ok || string(raw) == "null" {
		return nil
	}
	var c named
	if json.Unmarshal(raw, &c.ID) != nil && json.Unmarshal(raw, &c) != nil {
		return nil
	}
	return &c
}

// responsesWhole is the response as an object. One that is to be made in the background has not begun yet.
func (x *exchange) responsesWhole(t turn) any {
	said, end := t.ended()
	var output []any
	var n tally
	items := itemsOf(said)
	for i, parts := range items {
		for j := range parts {
			parts[j].text, parts[j].deltas = parts[j].all(), nil
			n.add(parts[j], len(parts[j].text))
		}
		status := "completed"
		if end.kind == partIncomplete && i == len(items)-1 {
			status = "incomplete"
		}
		output = append(output, x.item(i, parts, status))
	}
	r := x.ended(output, end, n)
	x.keep(&r)
	if string(r.Background) == "true" {
		r = x.responseObject()
		r.Status = "queued"
	}
	return r
}
