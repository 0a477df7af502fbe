package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Result is what a tool answered.
type Result struct {
	Content    []Content
	Structured json.RawMessage // structuredContent, as the server sent it; nil: none
	IsError    bool            // the tool says that it failed; Content says how, for the model to read
}

// Kind is the kind of a Content.
type Kind uint8

// The kinds of content, https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result
const (
	Text     Kind = iota // Text
	Image                // Data, MIME
	Audio                // Data, MIME
	Link                 // a resource that the client may fetch: URI, Name, MIME, and its description as Text
	Resource             // a resource itself: URI, MIME, and Text or Data
	Other                // a kind that came after this program: the whole of it as JSON in Text
)

var contentNames = [...]string{"text", "image", "audio", "resource_link", "resource", "other"}

// String returns the kind as MCP names it.
func (k Kind) String() string {
	if int(k) < len(contentNames) {
		return contentNames[k]
	}
	return "unknown"
}

// Content is one piece of a Result. Fields that its kind does not name are empty.
type Content struct {
	Kind Kind
	Text string
	Data []byte // decoded from base64
	MIME string
	URI  string
	Name string
}

// callResult is the wire form of CallToolResult.
type callResult struct {
	ResultType string            `json:"resultType"`
	Content    []json.RawMessage `json:"content"`
	Structured json.RawMessage   `json:"structuredContent"`
	IsError    bool              `json:"isError"`
}

// wireContent is the wire form of ContentBlock.
type wireContent struct {
	Type        string `json:"type"`
	Text        string `json:"text"`
	Data        []byte `json:"data"`
	MIME        string `json:"mimeType"`
	URI         string `json:"uri"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Resource    *struct {
		URI  string `json:"uri"`
		MIME string `json:"mimeType"`
		Text string `json:"text"`
		Blob []byte `json:"blob"`
	} `json:"resource"`
}

// parseResult reads the result of a tools/call. Its errors repeat nothing of it.
func parseResult(raw json.RawMessage) (*Result, error) {
	var wire callResult
	if json.Unmarshal(raw, &wire) != nil {
		return nil, errors.New("the result is not a CallToolResult")
	}
	if wire.ResultType == "input_required" {
		// 2026-07-28, SEP-2322. Keyturn declares no capability that would allow it.
		return nil, errors.New("the tool asks for input, which cannot be given")
	}
	r := &Result{IsError: wire.IsError}
	if present(wire.Structured) {
		r.Structured = wire.Structured
	}
	for i, block := range wire.Content {
		c, err := parseContent(block)
		if err != nil {
			return nil, fmt.Errorf("content[%d]: %w", i, err)
		}
		r.Content = append(r.Content, c)
	}
	return r, nil
}

func parseContent(raw json.RawMessage) (Content, error) {
	var wire wireContent
	if json.Unmarshal(raw, &wire) != nil {
		return Content{}, errors.New("not a content block")
	}
	switch wire.Type {
	case "text":
		return Content{Kind: Text, Text: wire.Text}, nil
	case "image":
		return Content{Kind: Image, Data: wire.Data, MIME: wire.MIME}, nil
	case "audio":
		return Content{Kind: Audio, Data: wire.Data, MIME: wire.MIME}, nil
	case "resource_link":
		return Content{Kind: Link, URI: wire.URI, Name: wire.Name, MIME: wire.MIME, Text: wire.Description}, nil
	case "resource":
		if wire.Resource == nil {
			return Content{}, errors.New("a resource without its contents")
		}
		res := wire.Resource
		return Content{Kind: Resource, URI: res.URI, MIME: res.MIME, Text: res.Text, Data: res.Blob}, nil
	}
	return Content{Kind: Other, Text: string(raw)}, nil
}

// present reports whether a field was there and not null.
func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }
