package extproc

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/keyturn/keyturn/mcp"
)

// Outside is where the tools and the later turns of a test's server go.
type Outside struct {
	Tools    []mcp.Tool
	Call     func(ctx context.Context, server, tool string, arguments json.RawMessage) (*mcp.Result, error)
	Loopback http.RoundTripper
}

// NewWith makes a Server with tools of a test's own: sockets would not stand still in a synctest bubble.
func NewWith(cfg Config, o Outside) (*Server, error) {
	return newServer(cfg, &outside{
		tools: func(context.Context, []string) []mcp.Tool { return o.Tools },
		call:  o.Call, loopback: o.Loopback, close: func() {},
	})
}
