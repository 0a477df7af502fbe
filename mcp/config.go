package mcp

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// The defaults of a Server.
const (
	DefaultTimeout        = 60 * time.Second
	DefaultMaxTools       = 128 // as many as a request to OpenAI may have
	DefaultMaxResultBytes = 16 << 20
	DefaultRefresh        = 5 * time.Minute
)

// Config is what a Catalogue is made of.
type Config struct {
	Servers       []Server
	Log           *slog.Logger         // nil discards; it never gets arguments, results, header values or what a server says
	MeterProvider metric.MeterProvider // nil: no metrics
	Version       string               // of this program, told to the servers; "": unknown

	clock clock // nil: the machine's
}

// Server is one MCP server: reached by URL, or started by Command. Printed, logged or marshalled, it does not show its secrets.
type Server struct {
	Name      string            // the label that clients and models see: a-z, 0-9 and inner hyphens, at most 32 bytes; unique
	URL       string            // http or https
	Transport string            // of a URL: "http" is streamable HTTP, "sse" the older HTTP+SSE; "" tries the first, then the second
	Command   []string          // program and arguments of a server that speaks on its stdin and stdout
	Env       []string          // added to the few variables that Command gets (PATH, HOME, …), as NAME=value
	Headers   map[string]string // sent with each request to URL
	Allow     []string          // patterns of the tools that are offered, by their own names; * stands for any text; empty: all
	Deny      []string          // patterns of those that are not; beats Allow

	Timeout        time.Duration // of one call, with everything that it waits for; 0: DefaultTimeout
	MaxTools       int           // most tools that are offered, the first by name; 0: DefaultMaxTools
	MaxResultBytes int64         // largest answer to one call, in bytes on the wire; 0: DefaultMaxResultBytes
	Refresh        time.Duration // age at which the list of tools is fetched again, unless the server names one; 0: DefaultRefresh
}

// The values of Server.Transport.
const (
	streamable = "http" // https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
	sseOnly    = "sse"  // https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse
)

// withDefaults returns the server with its zeros filled in.
func (s Server) withDefaults() Server {
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	if s.MaxTools == 0 {
		s.MaxTools = DefaultMaxTools
	}
	if s.MaxResultBytes == 0 {
		s.MaxResultBytes = DefaultMaxResultBytes
	}
	if s.Refresh == 0 {
		s.Refresh = DefaultRefresh
	}
	return s
}

// sameSession reports whether a session made for s serves o as well: the server, its credential and its limits are the same.
func (s Server) sameSession(o Server) bool {
	if len(s.Headers) != len(o.Headers) {
		return false
	}
	for name, value := range s.Headers {
		if other, ok := o.Headers[name]; !ok || other != value {
			return false
		}
	}
	return s.URL == o.URL && s.Transport == o.Transport && slices.Equal(s.Command, o.Command) && slices.Equal(s.Env, o.Env) &&
		s.MaxResultBytes == o.MaxResultBytes
}

// offers reports whether the patterns let a tool through.
func (s Server) offers(tool string) bool {
	matches := func(pattern string) bool { return match(pattern, tool) }
	return !slices.ContainsFunc(s.Deny, matches) && (len(s.Allow) == 0 || slices.ContainsFunc(s.Allow, matches))
}

// clone returns a copy that shares nothing with s.
func (s Server) clone() Server {
	s.Command, s.Env = slices.Clone(s.Command), slices.Clone(s.Env)
	s.Allow, s.Deny = slices.Clone(s.Allow), slices.Clone(s.Deny)
	headers := make(map[string]string, len(s.Headers))
	maps.Copy(headers, s.Headers)
	s.Headers = headers
	return s
}

// where says where the server is, without the parts of a URL or a command line that may hold a secret.
func (s Server) where() string {
	if len(s.Command) > 0 {
		return "command " + s.Command[0]
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return "?"
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// String returns the name and where the server is, without secrets.
func (s Server) String() string { return s.Name + "(" + s.where() + ")" }

// Format prints what String returns, whatever the verb: %+v would show the headers.
func (s Server) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue returns what String returns.
func (s Server) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON writes the name, where the server is, and the names of its headers.
func (s Server) MarshalJSON() ([]byte, error) {
	names := make([]string, 0, len(s.Headers))
	for name := range s.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	return json.Marshal(struct{ Name, Where, Headers string }{s.Name, s.where(), strings.Join(names, ", ")})
}
