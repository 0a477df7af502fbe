package main

import (
	"slices"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/mcp"
)

// toolServers is what the configuration says about MCP servers, in the words of package mcp.
func toolServers(cfg *config.Config) []mcp.Server {
	var servers []mcp.Server
	for _, s := range cfg.Tools.Servers {
		m := mcp.Server{
			Name: s.Name, Transport: s.Transport, Command: s.Command, Headers: s.Headers, Allow: s.Allow, Deny: s.Deny, Timeout: s.Timeout, Refresh: s.Refresh,
			MaxTools: s.MaxTools,
		}
		if s.URL != nil {
			m.URL = s.URL.String()
		}
		for name, value := range s.Env {
			m.Env = append(m.Env, name+"="+value)
		}
		slices.Sort(m.Env)
		servers = append(servers, m)
	}
	return servers
}

// poolTools is what the configuration says about a pool's tools, in the words of package extproc.
func poolTools(t *config.PoolTools) *extproc.Tools {
	if t == nil {
		return nil
	}
	out := &extproc.Tools{
		Servers: t.Servers, Hidden: t.Present == "hidden", Turns: t.Turns, Calls: t.Calls, Time: t.Time, ResultBytes: t.ResultBytes,
		DefinitionBytes: t.DefinitionBytes,
		Memory:          t.Memory, MemoryBytes: t.MemoryBytes,
	}
	if t.Memory == 0 {
		out.Memory = -1 // remember nothing
	}
	return out
}
