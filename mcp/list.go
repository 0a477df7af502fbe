package mcp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
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

	task bool // it can only be called as a task, which Keyturn does not
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
	large int             // and because they are too large
	tasks int             // and because they can only be called as tasks
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
	Execution struct {
		Task string `json:"taskSupport"`
	} `json:"execution"`
}

// trimTool is what the SDK needs of a tool: it reads the x-mcp-header annotations of the schema (SEP-2243). A schema without them stays here, since
// the SDK keeps what it gets as maps, of many times the size.
type trimTool struct {
	Name   string          `json:"name"`
	Schema json.RawMessage `json:"inputSchema"`
}

// noArguments is the schema of a tool that names none.
const noArguments = `{"type":"object","properties":{}}`

// headerAnnotation has an argument sent as a header too.
const headerAnnotation = "x-mcp-header"

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
		if len(one) > maxTool {
			p.large++
			continue
		}
		t, ok := parseTool(server, one)
		switch {
		case !ok:
			p.bad++
			continue
		case t.task:
			p.tasks++
			continue
		}
		p.tools = append(p.tools, t)
		seen := trimTool{t.Name, json.RawMessage(noArguments)}
		if bytes.Contains(t.Schema, []byte(headerAnnotation)) {
			seen.Schema = t.Schema
		}
		trimmed = append(trimmed, seen)
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
	if json.Unmarshal(raw, &wire) != nil || wire.Name == "" || len(wire.Name) > maxName {
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
		ReadOnly: wire.Annotations.ReadOnly, Idempotent: wire.Annotations.Idempotent, task: wire.Execution.Task == "required",
	}, true
}

// order sorts tools by name and leaves out all but the first of each name.
func order(tools []Tool) []Tool {
	slices.SortStableFunc(tools, func(a, b Tool) int { return cmp.Compare(a.Name, b.Name) })
	return slices.CompactFunc(tools, func(a, b Tool) bool { return a.Name == b.Name })
}

// list fetches the whole list of tools, sorted, and how long it is good for (0: the server does not say).
func (s *session) list(ctx context.Context) (tools []Tool, ttl time.Duration, failure *Error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	seen := map[string]bool{}
	var bad, large, tasks int
	left := int64(listBytes)
	for cursor := ""; ; {
		p, size, failure := s.page(ctx, end, cursor, left)
		if failure != nil {
			return nil, 0, failure
		}
		tools = append(tools, p.tools...)
		bad, large, tasks, left = bad+p.bad, large+p.large, tasks+p.tasks, left-size
		if p.ttl > 0 && (ttl == 0 || p.ttl < ttl) {
			ttl = p.ttl
		}
		if cursor = p.next; cursor == "" {
			break
		}
		if seen[cursor] || len(seen) == maxPages || len(tools) > maxTools || len(cursor) > maxCursor {
			return nil, 0, &Error{Kind: Protocol, Message: fmt.Sprintf("the list of tools does not end: %d pages, %d tools", len(seen)+1, len(tools))}
		}
		seen[cursor], s.cursors[cursor] = true, true
	}
	if len(s.cursors) > maxPages { // as many as the SDK has pages in memory; a new session begins without them
		s.deaf.Store(true)
	}
	if bad > 0 {
		s.tap.limits.leftOut(s.cfg.Name, "definitions of tools that are not valid", slog.Int("tools", bad))
	}
	if large > 0 {
		s.tap.limits.beyond(s.cfg.Name, "definitions of tools that are too large; they are left out", slog.Int("tools", large), slog.Int("most_bytes", maxTool))
	}
	if tasks > 0 {
		s.tap.limits.leftOut(s.cfg.Name, "tools that can only be called as tasks", slog.Int("tools", tasks))
	}
	return order(tools), ttl, nil
}

// page fetches one page, of at most left bytes, and returns how many it had. end ends ctx.
func (s *session) page(ctx context.Context, end context.CancelCauseFunc, cursor string, left int64) (p page, size int64, failure *Error) {
	f := &flight{list: true, limit: left, end: end}
	known, err := s.cs.ListTools(withFlight(ctx, f), &sdk.ListToolsParams{Cursor: cursor})
	s.landed(ctx, f)
	got := f.facts()
	if err != nil {
		failure, _ := judge(s.circumstances(ctx, err, got))
		if failure.Code == jsonrpc.CodeMethodNotFound {
			return p, 0, nil // it has resources or prompts, and no tools
		}
		failure.Ran = false
		return p, 0, failure
	}
	if p, err = parsePage(s.cfg.Name, got.result); err != nil {
		return p, 0, &Error{Kind: Protocol, Message: err.Error()}
	}
	valid := make(map[string]bool, len(known.Tools))
	for _, t := range known.Tools {
		valid[t.Name] = true
	}
	fit := p.tools[:0]
	for _, t := range p.tools {
		if valid[t.Name] {
			fit = append(fit, t)
		} else {
			p.bad++ // its x-mcp-header annotations are not valid: clients must refuse it (SEP-2243)
		}
	}
	p.tools = fit
	return p, int64(len(got.result)), nil
}
