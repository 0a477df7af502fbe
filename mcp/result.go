package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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
	ResultType string          `json:"resultType"`
	Content    json.RawMessage `json:"content"`
	Structured json.RawMessage `json:"structuredContent"`
	IsError    json.RawMessage `json:"isError"`
}

// wireContent is the wire form of ContentBlock.
type wireContent struct {
	Type        string `json:"type"`
	Text        string `json:"text"`
	Data        string `json:"data"`
	MIME        string `json:"mimeType"`
	URI         string `json:"uri"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Resource    *struct {
		URI  string `json:"uri"`
		MIME string `json:"mimeType"`
		Text string `json:"text"`
		Blob string `json:"blob"`
	} `json:"resource"`
}

// maxBlocks bounds the pieces of a result.
const maxBlocks = 10_000

// parseResult reads the result of a tools/call. Its errors repeat nothing of it. A piece that cannot be read costs itself: in its place stands a text
// that says so, for the model to read.
func parseResult(raw json.RawMessage) (*Result, error) {
	var wire callResult
	if json.Unmarshal(raw, &wire) != nil {
		return nil, errors.New("the result is not a CallToolResult")
	}
	if wire.ResultType == "input_required" {
		// 2026-07-28, SEP-2322. Keyturn declares no capability that would allow it.
		return nil, errors.New("the tool asks for input, which cannot be given")
	}
	r := &Result{IsError: strings.Trim(string(wire.IsError), `"`) == "true"}
	if present(wire.Structured) {
		r.Structured = wire.Structured
	}
	for i, block := range blocks(wire.Content) {
		if i == maxBlocks {
			r.Content = append(r.Content, note("the rest of the content is left out: it has more than %d pieces", maxBlocks))
			break
		}
		r.Content = append(r.Content, parseContent(block))
	}
	return r, nil
}

// blocks are the pieces of a content, which some servers send alone, without the list around it.
func blocks(raw json.RawMessage) (found []json.RawMessage) {
	switch {
	case !present(raw):
	case raw[0] != '[' || json.Unmarshal(raw, &found) != nil:
		found = []json.RawMessage{raw}
	}
	return found
}

// note is a text in place of what is not there.
func note(format string, args ...any) Content {
	return Content{Kind: Text, Text: "[" + fmt.Sprintf(format, args...) + "]"}
}

func parseContent(raw json.RawMessage) Content {
	var wire wireContent
	var text string
	if raw[0] != '{' || json.Unmarshal(raw, &wire) != nil {
		if present(raw) && json.Unmarshal(raw, &text) == nil {
			return Content{Kind: Text, Text: text}
		}
		return note("a piece of the result cannot be read")
	}
	switch wire.Type {
	case "text":
		return Content{Kind: Text, Text: wire.Text}
	case "image":
		return media(Image, wire.Data, wire.MIME)
	case "audio":
		return media(Audio, wire.Data, wire.MIME)
	case "resource_link":
		return Content{Kind: Link, URI: wire.URI, Name: wire.Name, MIME: wire.MIME, Text: wire.Description}
	case "resource":
		if wire.Resource == nil {
			return note("a resource without its contents")
		}
		res := wire.Resource
		data, _, ok := decode(res.Blob)
		if !ok {
			return note("a resource whose data cannot be read")
		}
		return Content{Kind: Resource, URI: res.URI, MIME: res.MIME, Text: res.Text, Data: data}
	}
	return Content{Kind: Other, Text: string(raw)}
}

// present reports whether a field was there and not null.
func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }
