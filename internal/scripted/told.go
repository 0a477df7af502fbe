package scripted

import (
	"encoding/json"
	"strings"
)

// told is what a request says, as far as its sense matters here. Each dialect uses some of the members.
type told struct {
	err   error      // the body is no object of the right shape
	tools []toolTold // of Tools

	Model      string            `json:"model"`
	Tools      []json.RawMessage `json:"tools"`
	ToolChoice json.RawMessage   `json:"tool_choice"`
	Parallel   *bool             `json:"parallel_tool_calls"`
	Stream     bool              `json:"stream"`

	// Responses.
	Input           json.RawMessage `json:"input"`
	Previous        string          `json:"previous_response_id"`
	Conversation    json.RawMessage `json:"conversation"`
	Store           *bool           `json:"store"`
	MaxOutputTokens *int64          `json:"max_output_tokens"`
	Reasoning       json.RawMessage `json:"reasoning"`
	items           []itemTold      // what the model reads: the stored ones, then those of Input
	own             []itemTold      // those of Input alone

	// Chat Completions and Messages.
	Messages      []messageTold   `json:"messages"`
	StreamOptions json.RawMessage `json:"stream_options"`
	MaxTokens     *int64          `json:"max_tokens"`
	System        json.RawMessage `json:"system"`
	Thinking      *thinkingTold   `json:"thinking"`
}

type thinkingTold struct {
	Type    string `json:"type"`
	Binding struct {
		Mismatch string `json:"prefix_mismatch_behavior"`
	} `json:"block_binding"`
}

// thinks reports whether thoughts were asked for on Messages.
func (t *told) thinks() bool {
	return t.Thinking != nil && t.Thinking.Type != "" && t.Thinking.Type != "disabled"
}

// toolTold is a tool of any dialect.
type toolTold struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`   // Responses
	InputSchema json.RawMessage `json:"input_schema"` // Messages
	Function    *toolTold       `json:"function"`     // Chat Completions
	Custom      *toolTold       `json:"custom"`
}

// callable reports whether the client, and not the provider, runs the tool.
func (t toolTold) callable() bool { return t.Type == "" || t.Type == "function" || t.Type == "custom" }

// itemTold is an item of the input of Responses.
type itemTold struct {
	raw       json.RawMessage
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

// blockTold is a part of a content, in any dialect.
type blockTold struct {
	raw       json.RawMessage
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

// hear reads a body. What it cannot read is left out, and err says why.
func hear(e Endpoint, body []byte) *told {
	t := &told{}
	t.err = json.Unmarshal(body, t)
	for _, raw := range t.Tools {
		var tool toolTold
		if err := json.Unmarshal(raw, &tool); err != nil && t.err == nil {
			t.err = err
		}
		for _, inner := range []*toolTold{tool.Function, tool.Custom} {
			if inner != nil {
				inner.Type = tool.Type
				tool = *inner
				break
			}
		}
		t.tools = append(t.tools, tool)
	}
	if e == Responses {
		var err error
		if t.own, err = itemsTold(t.Input); err != nil && t.err == nil {
			t.err = err
		}
		t.items = t.own
	}
	return t
}

// itemsTold reads the input of Responses, which may be a string.
func itemsTold(input json.RawMessage) ([]itemTold, error) {
	if len(input) == 0 || string(input) == "null" {
		return nil, nil
	}
	if input[0] == '"' {
		raw := encode(map[string]any{"role": "user", "content": input})
		return []itemTold{{raw: raw, Type: "message", Role: "user", Content: input}}, nil
	}
	var raws []json.RawMessage
	if err := json.Unmarshal(input, &raws); err != nil {
		return nil, err
	}
	items := make([]itemTold, len(raws))
	for i, raw := range raws {
		if err := json.Unmarshal(raw, &items[i]); err != nil {
			return nil, err
		}
		items[i].raw = raw
		if items[i].Type == "" {
			items[i].Type = "message"
		}
	}
	return items, nil
}

// blocksTold reads a content, which may be a string. What it cannot read is no block.
func blocksTold(content json.RawMessage) []blockTold {
	var text string
	if json.Unmarshal(content, &text) == nil {
		if string(content) == "null" || len(content) == 0 {
			return nil
		}
		return []blockTold{{raw: encode(map[string]any{"type": "text", "text": text}), Type: "text", Text: text}}
	}
	var raws []json.RawMessage
	_ = json.Unmarshal(content, &raws)
	blocks := make([]blockTold, len(raws))
	for i, raw := range raws {
		_ = json.Unmarshal(raw, &blocks[i])
		blocks[i].raw = raw
	}
	return blocks
}

// wordsTold is the text of a content, and how many images it has.
func wordsTold(content json.RawMessage) (text string, images int) {
	var words []string
	for _, b := range blocksTold(content) {
		switch b.Type {
		case "text", "input_text", "output_text":
			words = append(words, b.Text)
		case "image", "input_image", "image_url":
			images++
		}
	}
	return strings.Join(words, "\n"), images
}

// choice is what tool_choice means, in any dialect.
func (t *told) choice() ToolChoice {
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
		Tools            []toolTold
		Allowed          struct {
			Mode  string
			Tools []toolTold
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
