// Package talk has the words that the scripted dialects share: what a request tells, what a model says to it, and errors.
package talk

import (
	"encoding/json"
	"strings"
)

// Told is what a request says, as far as its sense matters here. Each dialect uses some of the members.
type Told struct {
	Err   error          `json:"-"` // the body is no object of the right shape
	Tools []DeclaredTool `json:"-"` // of RawTools

	Model      string            `json:"model"`
	RawTools   []json.RawMessage `json:"tools"`
	ToolChoice json.RawMessage   `json:"tool_choice"`
	Parallel   *bool             `json:"parallel_tool_calls"`
	Stream     bool              `json:"stream"`

	// Responses.
	Input           json.RawMessage `json:"input"`
	Previous        string          `json:"previous_response_id"`
	Store           *bool           `json:"store"`
	MaxOutputTokens *int64          `json:"max_output_tokens"`
	Reasoning       json.RawMessage `json:"reasoning"`
	Items           []Item          `json:"-"` // what the model reads: the stored ones, then those of Input
	Own             []Item          `json:"-"` // those of Input alone

	// Chat Completions and Messages.
	Messages      []messageTold   `json:"messages"`
	StreamOptions json.RawMessage `json:"stream_options"`
	MaxTokens     *int64          `json:"max_tokens"`
	System        json.RawMessage `json:"system"`
	Thinking      *thinkingTold   `json:"thinking"`
}

type thinkingTold struct {
	Type         string `json:"type"`
	BudgetTokens int64  `json:"budget_tokens"`
	Binding      struct {
		Mismatch string `json:"prefix_mismatch_behavior"`
	} `json:"block_binding"`
}

// Thinks reports whether thoughts were asked for on Messages.
func (t *Told) Thinks() bool {
	return t.Thinking != nil && t.Thinking.Type != "" && t.Thinking.Type != "disabled"
}

// DeclaredTool is a tool of any dialect.
type DeclaredTool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`   // Responses
	InputSchema json.RawMessage `json:"input_schema"` // Messages
	Function    *DeclaredTool   `json:"function"`     // Chat Completions
	Custom      *DeclaredTool   `json:"custom"`
}

// Callable reports whether the client, and not the provider, runs the tool.
func (t DeclaredTool) Callable() bool {
	return t.Type == "" || t.Type == "function" || t.Type == "custom"
}

// Item is an item of the input of Responses.
type Item struct {
	Raw       json.RawMessage `json:"-"`
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	CallID    string          `json:"call_id"`
	Name      string          `json:"name"`
	Arguments string          `json:"arguments"`
	Text      string          `json:"input"` // of a custom tool's call
	Role      string          `json:"role"`
	Content   json.RawMessage `json:"content"`
	Output    json.RawMessage `json:"output"`
	Encrypted *string         `json:"encrypted_content"`
}

// messageTold is a message of Chat Completions or Messages.
type messageTold struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	Reasoning  string          `json:"reasoning_content"`
	ToolCalls  []callTold      `json:"tool_calls"`
	ToolCallID string          `json:"tool_call_id"`
}

type callTold struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
	Custom struct {
		Name  string `json:"name"`
		Input string `json:"input"`
	} `json:"custom"`
}

// Block is a part of a content, in any dialect.
type Block struct {
	Raw       json.RawMessage `json:"-"`
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
	ToolUseID string          `json:"tool_use_id"`
	IsError   bool            `json:"is_error"`
	Content   json.RawMessage `json:"content"`
	Thinking  string          `json:"thinking"`
	Signature string          `json:"signature"`
	Data      string          `json:"data"`
}

// Hear reads a body. What it cannot read is left out, and err says why.
func Hear(e Endpoint, body []byte) *Told {
	t := &Told{}
	t.Err = json.Unmarshal(body, t)
	for _, raw := range t.RawTools {
		var tool DeclaredTool
		if err := json.Unmarshal(raw, &tool); err != nil && t.Err == nil {
			t.Err = err
		}
		for _, inner := range []*DeclaredTool{tool.Function, tool.Custom} {
			if inner != nil {
				inner.Type = tool.Type
				tool = *inner
				break
			}
		}
		t.Tools = append(t.Tools, tool)
	}
	if e == Responses {
		var err error
		if t.Own, err = Items(t.Input); err != nil && t.Err == nil {
			t.Err = err
		}
		t.Items = t.Own
	}
	return t
}

// Items reads the input of Responses, which may be a string.
func Items(input json.RawMessage) ([]Item, error) {
	if len(input) == 0 || string(input) == "null" {
		return nil, nil
	}
	if input[0] == '"' {
		raw := Encode(map[string]any{"role": "user", "content": input})
		return []Item{{Raw: raw, Type: "message", Role: "user", Content: input}}, nil
	}
	var raws []json.RawMessage
	if err := json.Unmarshal(input, &raws); err != nil {
		return nil, err
	}
	items := make([]Item, len(raws))
	for i, raw := range raws {
		if err := json.Unmarshal(raw, &items[i]); err != nil {
			return nil, err
		}
		items[i].Raw = raw
		if items[i].Type == "" {
			items[i].Type = "message"
		}
	}
	return items, nil
}

// Blocks reads a content, which may be a string. What it cannot read is no block.
func Blocks(content json.RawMessage) []Block {
	var text string
	if json.Unmarshal(content, &text) == nil {
		if string(content) == "null" || len(content) == 0 {
			return nil
		}
		return []Block{{Raw: Encode(map[string]any{"type": "text", "text": text}), Type: "text", Text: text}}
	}
	var raws []json.RawMessage
	_ = json.Unmarshal(content, &raws)
	blocks := make([]Block, len(raws))
	for i, raw := range raws {
		_ = json.Unmarshal(raw, &blocks[i])
		blocks[i].Raw = raw
	}
	return blocks
}

// Words is the text of a content, and how many images it has.
func Words(content json.RawMessage) (text string, images int) {
	var words []string
	for _, b := range Blocks(content) {
		switch b.Type {
		case "text", "input_text", "output_text":
			words = append(words, b.Text)
		case "image", "input_image", "image_url":
			images++
		}
	}
	return strings.Join(words, "\n"), images
}

// Choice is what tool_choice means, in any dialect.
func (t *Told) Choice() ToolChoice {
	var word string
	if len(t.ToolChoice) == 0 || string(t.ToolChoice) == "null" {
		return ToolChoice{Mode: "auto"}
	}
	if json.Unmarshal(t.ToolChoice, &word) == nil {
		return ToolChoice{Mode: word}
	}
	var c struct {
		Type, Name, Mode string
		Function, Custom struct{ Name string }
		Tools            []DeclaredTool
		Allowed          struct {
			Mode  string
			Tools []DeclaredTool
		} `json:"allowed_tools"` // Chat Completions
		DisableParallel bool `json:"disable_parallel_tool_use"` // Messages
	}
	_ = json.Unmarshal(t.ToolChoice, &c)
	choice := ToolChoice{Mode: c.Type, alone: c.DisableParallel}
	switch c.Type {
	case "any":
		choice.Mode = "required"
	case "tool", "function", "custom":
		choice.Mode, choice.Names = "named", []string{c.Name + c.Function.Name + c.Custom.Name}
	case "allowed_tools":
		choice.Mode = c.Mode + c.Allowed.Mode
		for _, tool := range append(c.Tools, c.Allowed.Tools...) {
			name := tool.Name
			if tool.Function != nil {
				name = tool.Function.Name
			}
			if name != "" {
				choice.Names = append(choice.Names, name)
			}
		}
	}
	return choice
}
