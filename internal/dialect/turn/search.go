package turn

import (
	"cmp"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// This file has the two tools that may stand in the place of many: one finds tools by words, the other calls one by its name.

// Names of the two. No server's tool has such a name: see mcp.ModelName.
const (
	SearchTool = OwnPrefix + "_search"
	CallTool   = OwnPrefix + "_call"
)

// searchServer is the server that they belong to, for whoever asks.
const searchServer = "tools"

// Bounds of a search, whatever the model asks for.
const (
	maxQuery       = 1 << 10  // bytes that are read of it
	maxQueryWords  = 16       // of those that are looked for
	maxFound       = 10       // tools
	maxFoundBytes  = 32 << 10 // of their definitions
	maxDescription = 1 << 10  // bytes of one
)

// SearchTools are the two, as models are told of them.
func SearchTools() []Tool {
	return []Tool{
		{
			Name: SearchTool, Server: searchServer, Tool: "search",
			Description: "Finds tools by words of their names and descriptions. Returns names, descriptions and the schemas of their arguments. Tools that are found are called with " + CallTool + ".",
			Schema:      []byte(`{"type":"object","properties":{"query":{"type":"string","description":"Words that say what the tool is to do"}},"required":["query"]}`),
		},
		{
			Name: CallTool, Server: searchServer, Tool: "call",
			Description: "Calls a tool that " + SearchTool + " has found, by its name, with arguments as its schema wants them.",
			Schema:      []byte(`{"type":"object","properties":{"name":{"type":"string","description":"Name of the tool"},"arguments":{"type":"object","description":"Arguments of the tool"}},"required":["name"]}`),
		},
	}
}

// Meant is a call as the model meant it: of the tool that it names, where it called CallTool or a tool that a search has found. The result of a
// search is known.
func (o *Options) Meant(c Call) Call {
	if len(o.Catalogue) == 0 {
		return c
	}
	args := Object(c.Arguments)
	at := rawjson.Whole(args)
	switch c.Tool.Name {
	case SearchTool:
		c.Known = search(o.Catalogue, rawjson.Text(args, at, "query"))
	case CallTool:
		name := rawjson.Text(args, at, "name")
		tool, ok := named(o.Catalogue, name)
		if !ok {
			c.Known = &Result{Error: &ToolError{Kind: ExecutionError, Message: "there is no tool of that name; find one with " + SearchTool}}
			return c
		}
		c.Tool, c.Arguments = tool, nil
		if v, ok := rawjson.Lookup(args, at, "arguments"); ok && !rawjson.IsNull(v.Of(args)) {
			c.Arguments = v.Of(args)
		}
	case "":
		c.Tool, _ = named(o.Catalogue, c.Name)
	}
	return c
}

// named is the tool of that name, as models know it.
func named(tools []Tool, name string) (Tool, bool) {
	if i := slices.IndexFunc(tools, func(t Tool) bool { return t.Name == name }); i >= 0 {
		return tools[i], true
	}
	return Tool{}, false
}

// search finds the tools in whose names and descriptions most of the words stand.
func search(tools []Tool, query string) *Result {
	words := strings.FieldsFunc(strings.ToLower(query[:min(len(query), maxQuery)]), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r < 0x80
	})
	words = words[:min(len(words), maxQueryWords)]
	type hit struct {
		tool  Tool
		score int
	}
	var hits []hit
	for _, t := range tools {
		name, description := strings.ToLower(t.Name), strings.ToLower(t.Description)
		score := 0
		for _, w := range words {
			if strings.Contains(name, w) {
				score += 3
			}
			if strings.Contains(description, w) {
				score++
			}
		}
		if score > 0 {
			hits = append(hits, hit{t, score})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(b.score, a.score) })
	if len(hits) == 0 {
		return &Result{Parts: []Part{{Text: "No tool has any of these words in its name or description; try others."}}}
	}
	b := []byte{'['}
	for i, h := range hits[:min(len(hits), maxFound)] {
		description := h.tool.Description
		if len(description) > maxDescription {
			description = strings.ToValidUTF8(description[:maxDescription], "") + "…"
		}
		schema := h.tool.Schema
		if !IsObject(schema) {
			schema = []byte("{}")
		}
		if i > 0 && len(b)+len(description)+len(schema) > maxFoundBytes {
			break
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = rawjson.AppendString(append(b, `{"name":`...), h.tool.Name)
		b = rawjson.AppendString(append(b, `,"description":`...), description)
		b = append(append(append(b, `,"parameters":`...), schema...), '}')
	}
	return &Result{Parts: []Part{{Text: string(append(b, ']'))}}}
}
