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
	Background         bool            `json:"background"`
	CompletedAt        *int64          `json:"completed_at"`
	Error              *responseError  `json:"error"`
	IncompleteDetails  *struct{}       `json:"incomplete_details"`
	Instructions       json.RawMessage `json:"instructions"`
	MaxOutputTokens    json.RawMessage `json:"max_output_tokens"`
	MaxToolCalls       json.RawMessage `json:"max_tool_calls"`
	Model              string          `json:"model"`
	Output             []outputItem    `json:"output"`
	ParallelToolCalls  json.RawMessage `json:"parallel_tool_calls"`
	PreviousResponseID json.RawMessage `json:"previous_response_id"`
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

type outputItem struct {
	ID      string       `json:"id"`
	Type    string       `json:"type"`
	Status  string       `json:"status"`
	Content []outputText `json:"content"`
	Role    string       `json:"role"`
}

type outputText struct {
	Type        string     `json:"type"`
	Annotations []struct{} `json:"annotations"`
	Logprobs    []struct{} `json:"logprobs"`
	Text        string     `json:"text"`
}

// responseEvent is any event of a Responses stream; each type uses some of the members ("Streaming events").
type responseEvent struct {
	Type           string          `json:"type"`
	SequenceNumber int             `json:"sequence_number"`
	Response       *responseObject `json:"response,omitempty"`
	Error          *openAIError    `json:"error,omitempty"`
	ItemID         string          `json:"item_id,omitempty"`
	OutputIndex    *int            `json:"output_index,omitempty"`
	ContentIndex   *int            `json:"content_index,omitempty"`
	Item           *outputItem     `json:"item,omitempty"`
	Part           *outputText     `json:"part,omitempty"`
	Delta          *string         `json:"delta,omitempty"`
	Text           *string         `json:"text,omitempty"`
	Logprobs       *[]struct{}     `json:"logprobs,omitempty"`
	Obfuscation    string          `json:"obfuscation,omitempty"`
}

// responseObject is the response before the model has said anything, with the request's settings as the client sent them.
func (x *exchange) responseObject() responseObject {
	f := &x.fields
	return responseObject{
		ID: x.id("resp_"), Object: "response", CreatedAt: x.req.Time.Unix(), Status: "in_progress", Model: x.model(),
		AccessPrograms: accessPrograms{Cyber: "standard"}, Output: []outputItem{}, ServiceTier: "default",
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

// completed is the response with what the model said.
func (x *exchange) completed(text string) responseObject {
	r := x.responseObject()
	u := &responseUsage{}
	u.InputTokens, u.OutputTokens = x.usage(len(text))
	u.TotalTokens = u.InputTokens + u.OutputTokens
	r.Status, r.CompletedAt, r.Usage = "completed", &r.CreatedAt, u
	r.Output = []outputItem{x.message(text)}
	return r
}

func (x *exchange) message(text string) outputItem {
	return outputItem{
		ID: x.id("msg_"), Type: "message", Status: "completed", Role: "assistant", Content: []outputText{outputPart(text)},
	}
}

func outputPart(text string) outputText {
	return outputText{Type: "output_text", Annotations: []struct{}{}, Logprobs: []struct{}{}, Text: text}
}

func (x *exchange) responsesWhole(t turn) any { return x.completed(t.text()) }

// responsesStream is the stream as OpenAI sends it: it ends with response.completed, without [DONE].
func (x *exchange) responsesStream(t turn, yield func([]byte) bool) {
	number := 0
	send := func(e responseEvent) bool {
		e.SequenceNumber = number
		number++
		return yield(event(e.Type, e))
	}
	begun, zero := x.responseObject(), new(int)
	item, empty := x.message(""), outputPart("")
	id := item.ID
	item.Status, item.Content = "in_progress", []outputText{}
	if !send(responseEvent{Type: "response.created", Response: &begun}) ||
		!send(responseEvent{Type: "response.in_progress", Response: &begun}) ||
		!send(responseEvent{Type: "response.output_item.added", OutputIndex: zero, Item: &item}) ||
		!send(responseEvent{Type: "response.content_part.added", ItemID: id, OutputIndex: zero, ContentIndex: zero, Part: &empty}) {
		return
	}
	pad := x.obfuscates()
	text := make([]byte, 0, 64)
	for d := range t.deltas {
		text = append(text, d...)
		e := responseEvent{
			Type: "response.output_text.delta", ItemID: id, OutputIndex: zero, ContentIndex: zero, Delta: &d, Logprobs: &[]struct{}{},
		}
		if pad {
			e.Obfuscation = padding(d)
		}
		if !send(e) {
			return
		}
	}
	if t.failure != nil {
		x.responsesFailure(*t.failure, begun, send)
		return
	}
	done := x.completed(string(text))
	said := &done.Output[0]
	part := &said.Content[0]
	_ = send(responseEvent{
		Type: "response.output_text.done", ItemID: id, OutputIndex: zero, ContentIndex: zero, Text: &part.Text, Logprobs: &[]struct{}{},
	}) &&
		send(responseEvent{Type: "response.content_part.done", ItemID: id, OutputIndex: zero, ContentIndex: zero, Part: part}) &&
		send(responseEvent{Type: "response.output_item.done", OutputIndex: zero, Item: said}) &&
		send(responseEvent{Type: "response.completed", Response: &done})
}

// responsesFailure ends a stream with the nested error event, then response.failed.
func (x *exchange) responsesFailure(pr Problem, failed responseObject, send func(responseEvent) bool) {
	code := "server_error"
	if pr.Status == http.StatusTooManyRequests {
		code = "rate_limit_exceeded"
	}
	e := pr.openAI()
	failed.Status, failed.Error = "failed", &responseError{Code: code, Message: pr.Message}
	_ = send(responseEvent{Type: "error", Error: &e}) &&
		send(responseEvent{Type: "response.failed", Response: &failed})
}

// obfuscates says whether deltas are padded: unless stream_options.include_obfuscation is false.
func (x *exchange) obfuscates() bool {
	var o struct {
		Include *bool `json:"include_obfuscation"`
	}
	return !x.fields.decode("stream_options", &o) || o.Include == nil || *o.Include
}
