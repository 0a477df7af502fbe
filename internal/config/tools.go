package config

import (
	"net/url"
	"time"
)

// Tools are the MCP servers whose tools pools may give to models.
type Tools struct {
	// Servers are the MCP servers, in the file's order. Empty: no pool has tools.
	Servers []ToolServer
}

// ToolServer is one MCP server: one that is reached at a URL, or a command that speaks on its standard input and output. Exactly one
// of URL and Command is set.
type ToolServer struct {
	// Name is unique, and a part of the names that models and clients see of the tools: a-z, 0-9 and inner hyphens, at most 32.
	Name string
	// URL is where the server answers: http or https, a host, perhaps a path and a query. Nil: Command.
	URL *url.URL
	// Transport of a URL is "http" (streamable HTTP), "sse" (HTTP+SSE, the older one), or "" for whichever the server speaks.
	Transport string
	// Command is the program and its arguments. A program that is named with a slash is already joined to the folder of the file;
	// another is looked up in PATH. Empty: URL.
	Command []string
	// Env are variables for the environment of Command. They may be secret.
	Env map[string]string `json:"-" yaml:"-"`
	// Headers go with each request to URL, by their names in lower case. They may be secret.
	Headers map[string]string `json:"-" yaml:"-"`
	// Allow and Deny are patterns over the tools' own names, in which "*" stands for any text. A tool is offered when one of Allow
	// matches and none of Deny does. Allow is never empty.
	Allow, Deny []string
	// MaxTools is the largest number of tools that are offered, of those that Allow and Deny let through. Never zero.
	MaxTools int
	// Timeout bounds one call. Never zero.
	Timeout time.Duration
	// Refresh is the age at which the list of tools is fetched again, unless the server names another. Never zero.
	Refresh time.Duration
}
