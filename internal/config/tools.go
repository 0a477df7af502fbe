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

// PoolTools says which tools a pool gives to models, and how far a response may go with them.
type PoolTools struct {
	// Servers are names of Tools.Servers, each once; at least one. Their order is that of the tools.
	Servers []string
	// Present is how clients see the calls: "mcp_call" (as items of that type, in the dialect that has them) or "hidden".
	Present string
	// Turns is the largest number of requests to the provider for one of the client's, that one included. At least 2.
	Turns int
	// Calls is the largest number of calls for one request of the client's. Never zero.
	Calls int
	// Time bounds the time in which calls run, from the client's request on. Never zero.
	Time time.Duration
	// ResultBytes is the largest result of one call that a model gets. Never zero.
	ResultBytes int64
	// DefinitionBytes is how much the definitions of the tools may add to a request. Never zero.
	DefinitionBytes int64
	// Memory is how long is kept what the client's next request needs and the client cannot send. Zero: nothing is kept.
	Memory time.Duration
	// MemoryBytes bounds what is kept so, for the pool. Never zero.
	MemoryBytes int64
}
