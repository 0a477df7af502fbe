package mcp

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/wire"
)

// maxServerName bounds the name of a server, in bytes, so that the names of its tools have room beside it.
const maxServerName = 32

var (
	serverName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // token, RFC 9110 section 5.6.2
)

// reservedHeaders are set by the protocol, or by HTTP itself.
var reservedHeaders = append([]string{
	"accept", "content-length", "content-type", "host", "last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id",
}, wire.HopByHop...)

// validate returns every problem of the servers, joined, each with its path.
func validate(servers []Server) error {
	var problems []error
	seen := map[string]int{}
	for i, s := range servers {
		at := fmt.Sprintf("servers[%d] %q", i, s.Name)
		if first, ok := seen[s.Name]; ok {
			problems = append(problems, fmt.Errorf("%s: servers[%d] has this name too", at, first))
		} else {
			seen[s.Name] = i
		}
		for _, problem := range s.problems() {
			problems = append(problems, fmt.Errorf("%s: %w", at, problem))
		}
	}
	return errors.Join(problems...)
}

func (s Server) problems() (found []error) {
	add := func(format string, args ...any) { found = append(found, fmt.Errorf(format, args...)) }
	switch {
	case !serverName.MatchString(s.Name):
		add("name: a-z, 0-9 and inner hyphens are wanted")
	case len(s.Name) > maxServerName:
		add("name: %d bytes, at most %d are wanted", len(s.Name), maxServerName)
	}
	switch {
	case s.URL == "" && len(s.Command) == 0:
		add("url or command is needed")
	case s.URL != "" && len(s.Command) > 0:
		add("url and command exclude each other")
	case s.URL != "":
		found = append(found, s.urlProblems()...)
	default:
		found = append(found, s.commandProblems()...)
	}
	if slices.Contains(s.Allow, "") || slices.Contains(s.Deny, "") {
		add("allow, deny: a pattern is empty")
	}
	if s.Timeout < 0 || s.Refresh < 0 || s.MaxTools < 0 || s.MaxResultBytes < 0 {
		add("timeout, refresh, max_tools, max_result_bytes: negative")
	}
	return found
}

func (s Server) urlProblems() (found []error) {
	add := func(format string, args ...any) { found = append(found, fmt.Errorf(format, args...)) }
	// The error of url.Parse repeats the URL, which may hold a secret.
	switch u, err := url.Parse(s.URL); {
	case err != nil:
		add("url: not a URL")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		add("url: http://host or https://host is wanted")
	case u.User != nil:
		add("url: it holds a credential; send it in a header")
	case u.Fragment != "":
		add("url: it has a fragment, which is never sent")
	}
	if s.Transport != "" && s.Transport != streamable && s.Transport != sseOnly {
		add("transport: %q, want %q or %q", s.Transport, streamable, sseOnly)
	}
	if len(s.Env) > 0 {
		add("env: is for command only")
	}
	for name, value := range s.Headers {
		switch {
		case !headerName.MatchString(name):
			add("headers: %q is not a header name", name)
		case slices.Contains(reservedHeaders, strings.ToLower(name)):
			add("headers: %s belongs to the protocol", name)
		case strings.ContainsAny(value, "\r\n\x00"):
			add("headers: the value of %s has a line break or a zero byte", name)
		}
	}
	return found
}

func (s Server) commandProblems() (found []error) {
	add := func(format string, args ...any) { found = append(found, fmt.Errorf(format, args...)) }
	if s.Command[0] == "" {
		add("command: the program is empty")
	}
	if s.Transport != "" {
		add("transport: is for url only")
	}
	if len(s.Headers) > 0 {
		add("headers: are for url only")
	}
	for i, pair := range s.Env {
		if name, _, ok := strings.Cut(pair, "="); !ok || name == "" || strings.ContainsRune(pair, 0) {
			add("env[%d]: NAME=value is wanted", i) // without the pair: it may hold a secret
		}
	}
	return found
}
