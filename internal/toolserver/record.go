package toolserver

import (
	"context"
	"encoding/json"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// Call is one call of a tool that reached the server.
type Call struct {
	Name      string
	Arguments json.RawMessage
	Meta      map[string]any // _meta
	Done      bool           // the tool has ended
	Canceled  bool           // because the client cancelled it
}

type record struct{ Call }

// Calls returns the calls of a tool so far, in the order of their arrival; "": of every tool.
func (s *Server) Calls(name string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Call
	for _, r := range s.records {
		if name == "" || r.Name == name {
			found = append(found, r.Call)
		}
	}
	return found
}

// recorded returns the handler of a tool, with its calls recorded.
func (s *Server) recorded(name string, run handler) sdk.ToolHandler {
	return func(ctx context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		r := &record{Call{Name: name, Arguments: req.Params.Arguments, Meta: req.Params.Meta}}
		s.mu.Lock()
		s.records = append(s.records, r)
		s.mu.Unlock()
		result, err := run(ctx, req)
		s.mu.Lock()
		r.Done, r.Canceled = true, ctx.Err() != nil
		s.mu.Unlock()
		return result, err
	}
}
