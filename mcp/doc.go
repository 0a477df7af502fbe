// Package mcp holds sessions to MCP servers, a catalogue of their tools, and calls of those tools.
//
// It stands on the official Go SDK (github.com/modelcontextprotocol/go-sdk) and adds what that leaves out: sessions that are replaced after an
// answer that ended them, servers that restart, hang or answer something that is not MCP, the tools as the bytes that the server sent, limits in
// bytes and time, and the knowledge whether a failed call may have run. Protocol: https://modelcontextprotocol.io/specification.
package mcp
