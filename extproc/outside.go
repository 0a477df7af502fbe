package extproc

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/mcp"
)

// outside is where a Server's tools and later turns go: the catalogue and Envoy's loopback listener, or a test's own.
type outside struct {
	tools    func(ctx context.Context, servers []string) []mcp.Tool
	advice   func(servers []string) []mcp.Instructions
	call     func(ctx context.Context, server, tool string, arguments json.RawMessage) (*mcp.Result, error)
	loopback http.RoundTripper
	close    func()
}

func (cfg *Config) outside() *outside {
	if cfg.Catalogue == nil || cfg.Loopback == "" {
		return nil
	}
	transport := agent.NewTransport(cfg.Loopback)
	return &outside{
		tools: cfg.Catalogue.Tools, advice: cfg.Catalogue.Instructions,
		call:     cfg.Catalogue.Call,
		loopback: transport, close: transport.CloseIdleConnections,
	}
}
