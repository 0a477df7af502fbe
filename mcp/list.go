package mcp

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// Tool is one tool of a server.
type Tool struct {
	Server      string
	Name        string // its own name, at its server
	ModelName   string // the name that a model sees; see the function ModelName
	Title       string
	Description string
	Schema      json.RawMessage // of its arguments, a JSON object, as the server sent it; not to be changed
	ReadOnly    bool            // it says that it changes nothing
	Idempotent  bool            // it says that a second call with the same arguments changes nothing more
}

// repeatable reports whether a second run does no harm.
func (t Tool) repeatable() bool { return t.ReadOnly || t.Idempotent }

// page is one page of a list of tools.
type page struct {
	tools []Tool
	trim  json.RawMessage // the page with what the SDK needs of it, and nothing that it could stumble over
	next  string          // cursor; "": the last page
	ttl   time.Duration   // how long the list is good for; 0: the server does not say
	bad   int             // tools that are left out, because they cannot be read
}

// wirePage is the wire form of ListToolsResult.
type wirePage struct {
	Tools []json.RawMessage `json:"tools"`
	Next  string            `json:"nextCursor"`
	TTL   float64           `json:"ttlMs"` // 2026-07-28, SEP-2549
}

// wireTool is the wire form of Tool.
type wireTool struct {
	Name        string          `json:"name"`
	Title       string          `json:"title"`
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"inputSchema"`
	Annotations struct {
		Title      string `json:"title"`
		ReadOnly   bool   `json:"readOnlyHint"`
		Idempotent bool   `json:"idempotentHint"`
	} `json:"annotations"`
}

// trimTool is what the SDK needs of a tool: it reads the x-mcp-header annotations of the schema (SEP-2243).
type trimTool struct {
	Name   string          `json:"name"`
	Schema json.RawMessage `json:"inputSchema"`
}

// noArguments is the schema of a tool that names none.
const noArguments = `{"type":"object","properties":{}}`

// maxTTL bounds what a server may say about how long its list is good for.
const maxTTL = 24 * time.Hour

// parsePage reads a result of tools/list. A tool that cannot be read is left out; the others are not its fault.
func parsePage(server string, raw json.RawMessage) (page, error) {
	var wire wirePage
	if json.Unmarshal(raw, &wire) != nil {
		return page{}, errors.New("the result is not a ListToolsResult")
	}
	p := page{next: wire.Next}
	if wire.TTL > 0 {
		p.ttl = min(maxTTL, max(time.Second, time.Duration(min(wire.TTL, 1e9))*time.Millisecond))
	}
	trimmed := make([]trimTool, 0, len(wire.Tools))
	for _, one := range wire.Tools {
		t, ok := parseTool(server, one)
		if !ok {
			p.bad++
			continue
		}
		p.tools = append(p.tools, t)
		trimmed = append(trimmed, trimTool{t.Name, t.Schema})
	}
	var err error
	p.trim, err = json.Marshal(struct {
		Tools []trimTool `json:"tools"`
		Next  string     `json:"nextCursor,omitempty"`
	}{trimmed, wire.Next})
	return p, err
}

func parseTool(server string, raw json.RawMessage) (Tool, bool) {
	var wire wireTool
	if json.Unmarshal(raw, &wire) != nil || wire.Name == "" {
		return Tool{}, false
	}
	switch {
	case !present(wire.Schema):
		wire.Schema = json.RawMessage(noArguments)
	case wire.Schema[0] != '{':
		return Tool{}, false
	}
	return Tool{
		Server: server, Name: wire.Name, ModelName: ModelName(server, wire.Name),
		Title: cmp.Or(wire.Title, wire.Annotations.Title), Description: wire.Description, Schema: wire.Schema,
		ReadOnly: wire.Annotations.ReadOnly, Idempotent: wire.Annotations.Idempotent,
	}, true
}

// order sorts tools by name and leaves out all but the first of each name.
func order(tools []Tool) []Tool {
	slices.SortStableFunc(tools, func(a, b Tool) int { return cmp.Compare(a.Name, b.Name) })
	return slices.CompactFunc(tools, func(a, b Tool) bool { return a.Name == b.Name })
}
