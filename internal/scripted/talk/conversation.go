package talk

import (
	"encoding/json"
	"slices"
	"strings"
)

// Conversation is what a model is told by a request, whatever the dialect.
type Conversation struct {
	// Endpoint, Model and Stream are those of Request.
	Endpoint Endpoint
	Model    string
	Stream   bool
	// Tools are the tools that the client runs, in the request's order.
	Tools []Tool
	// Choice is tool_choice; Parallel says that a turn may have more than one call.
	Choice   ToolChoice
	Parallel bool
	// Turns is how often the model has spoken: runs of what it said between what it was told.
	Turns int
	// Results are all results of tools, in order; Latest are those since the model spoke last.
	Results, Latest []ToolResult
	// LastUserText is the text of the last message of the user's; Images is the number of images in all of them.
	LastUserText string
	Images       int
	// Thoughts counts the thoughts of earlier turns that were replayed; Thinking says that thoughts were asked for.
	Thoughts int
	Thinking bool
}

// Tool is a tool that the model may call.
type Tool struct {
	Name, Description string
	// Schema is the JSON Schema of its arguments; nil for a custom tool.
	Schema json.RawMessage
	// Custom says that its argument is free text.
	Custom bool
}

// ToolChoice is what the request says of calling tools.
type ToolChoice struct {
	// Mode is auto, none, required or named.
	Mode string
	// Names are the tools that may be called; empty: all of them.
	Names []string

	alone bool // Messages: calls may not be parallel
}

// ToolResult is what a tool answered.
type ToolResult struct {
	// CallID, Name and Arguments are those of the call; Name is "" if the request does not hold it.
	CallID, Name, Arguments string
	// Text is the result's text, its parts divided by newlines; Images is the number of its images.
	Text   string
	Images int
	// IsError is Anthropic's is_error; the other dialects have no word for it.
	IsError bool
}

// Tool finds the first tool whose name ends with suffix, among those that may be called.
func (c Conversation) Tool(suffix string) (tool Tool, ok bool) {
	for _, t := range c.Tools {
		if strings.HasSuffix(t.Name, suffix) && c.Choice.Allows(t.Name) {
			return t, true
		}
	}
	return Tool{}, false
}

// Allows reports whether the tool of that name may be called.
func (c ToolChoice) Allows(name string) bool {
	return c.Mode != "none" && (len(c.Names) == 0 || slices.Contains(c.Names, name))
}

// Conversation is what the request says, without regard to the dialect.
func (t *Told) Conversation(e Endpoint) Conversation {
	r := reading{calls: map[string]ToolResult{}}
	r.c = Conversation{
		Endpoint: e, Model: t.Model, Stream: t.Stream, Choice: t.Choice(), Parallel: t.Parallel == nil || *t.Parallel,
		Thinking: t.Thinks(),
	}
	r.c.Parallel = r.c.Parallel && !r.c.Choice.alone
	for _, tool := range t.Tools {
		if !tool.Callable() {
			continue
		}
		schema := tool.Parameters
		if schema == nil {
			schema = tool.InputSchema
		}
		r.c.Tools = append(r.c.Tools, Tool{
			Name: tool.Name, Description: tool.Description, Schema: schema, Custom: e != Messages && tool.Type == "custom",
		})
	}
	switch e {
	case Responses:
		r.c.Thinking = len(t.Reasoning) > 0 && string(t.Reasoning) != "null"
		r.responses(t.Items)
	case Chat:
		r.chat(t.Messages)
	case Messages:
		r.messages(t.Messages)
	default:
	}
	return r.c
}

// reading goes through a conversation in its order.
type reading struct {
	c     Conversation
	calls map[string]ToolResult // by call id, still without a result
	spoke bool                  // the model spoke last
}

// model notes that the model says something.
func (r *reading) model() {
	if !r.spoke {
		r.c.Turns++
		r.c.Latest = nil
	}
	r.spoke = true
}

func (r *reading) call(id, name, arguments string) {
	r.model()
	r.calls[id] = ToolResult{CallID: id, Name: name, Arguments: arguments}
}

func (r *reading) result(id string, content json.RawMessage, isError bool) {
	r.spoke = false
	result := r.calls[id]
	result.CallID, result.IsError = id, isError
	result.Text, result.Images = Words(content)
	r.c.Results = append(r.c.Results, result)
	r.c.Latest = append(r.c.Latest, result)
}

func (r *reading) user(content json.RawMessage) {
	r.spoke = false
	text, images := Words(content)
	r.c.LastUserText = text
	r.c.Images += images
}

func (r *reading) responses(items []Item) {
	for _, i := range items {
		switch {
		case i.Type == "message" && i.Role == "user":
			r.user(i.Content)
		case i.Type == "message" && i.Role != "assistant": // developer, system
		case i.Type == "function_call":
			r.call(i.CallID, i.Name, i.Arguments)
		case i.Type == "custom_tool_call":
			r.call(i.CallID, i.Name, i.Text)
		case strings.HasSuffix(i.Type, "_output"):
			r.result(i.CallID, i.Output, false)
		case i.Type == "reasoning":
			r.c.Thoughts++
			r.model()
		default:
			r.model()
		}
	}
}

func (r *reading) chat(messages []messageTold) {
	for _, m := range messages {
		switch m.Role {
		case "user":
			r.user(m.Content)
		case "tool":
			r.result(m.ToolCallID, m.Content, false)
		case "assistant":
			if m.Reasoning != "" {
				r.c.Thoughts++
			}
			r.model()
			for _, c := range m.ToolCalls {
				r.call(c.ID, c.Function.Name+c.Custom.Name, c.Function.Arguments+c.Custom.Input)
			}
		}
	}
}

func (r *reading) messages(messages []messageTold) {
	for _, m := range messages {
		words := false
		for _, b := range Blocks(m.Content) {
			switch {
			case b.Type == "tool_result":
				r.result(b.ToolUseID, b.Content, b.IsError)
			case m.Role == "user":
				words = words || b.Type == "text" || b.Type == "image"
			case b.Type == "tool_use":
				r.call(b.ID, b.Name, string(b.Input))
			case b.Type == "thinking" || b.Type == "redacted_thinking":
				r.c.Thoughts++
				r.model()
			default:
				r.model()
			}
		}
		if words {
			r.user(m.Content)
		}
	}
}
