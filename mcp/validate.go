package mcp

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/setting"
	"github.com/keyturn/keyturn/internal/wire"
)

// Bounds of a Server's settings, both ends included.
const (
	MinTimeout = time.Millisecond
	MaxTimeout = time.Hour

	MinRefresh = time.Second
	MaxRefresh = 24 * time.Hour

	MaxTools  = 10_000    // of one server
	MaxResult = 128 << 20 // bytes of an answer to one call
)

// NamePattern is what the name of a server is, so that the names of its tools, which have at most 64 letters, digits, '_' and '-', have room beside it.
const NamePattern = `^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`

// NameWanted says so in words.
const NameWanted = "a name of at most 32 letters a-z, digits and '-', which begins and ends with a letter or digit"

// HeaderPattern is what the name of a header is (token, RFC 9110 section 5.6.2), within what is sensible.
const HeaderPattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$"

var (
	serverName = regexp.MustCompile(NamePattern)
	headerName = regexp.MustCompile(HeaderPattern)
)

// reserved are patterns of the headers that HTTP, or the transport of MCP, decides.
var reserved = append([]string{"host", "content-*", "proxy-*", "accept", "accept-encoding", "mcp-*", "last-event-id"}, wire.HopByHop...)

// Validate returns every problem of the servers, joined, each by its path in the list: "[0].url". It repeats nothing that may be secret.
func Validate(servers []Server) error {
	var found setting.Problems
	seen := map[string]int{}
	for i, s := range servers {
		at := setting.Item("", i)
		found.AddWithin(at, s.check())
		if first, twice := seen[s.Name]; twice && s.Name != "" {
			p := found.Add(setting.Within(at, "name"), "the name %s is taken by servers[%d]; give each server its own", s.Name, first)
			p.Beside = setting.Within(setting.Item("", first), "name")
		} else {
			seen[s.Name] = i
		}
	}
	return found.Err()
}

func (s Server) check() (found setting.Problems) {
	if !serverName.MatchString(s.Name) {
		found.Add("name", "found %q; write %s", s.Name, NameWanted)
	}
	switch {
	case s.URL == "" && len(s.Command) == 0:
		found.Add("", "does not say how the server is reached; write url: URL, or command: [PROGRAM, ARGUMENT]")
	case s.URL != "" && len(s.Command) > 0:
		found.Add("", "names both url and command; keep one")
	case s.URL != "":
		s.checkURL(&found)
	default:
		s.checkCommand(&found)
	}
	if slices.Contains(s.Allow, "") {
		found.Add("allow", "found an empty pattern; remove it")
	}
	if slices.ContainsFunc(s.Deny, func(p string) bool { return strings.Trim(p, "*") == "" }) {
		found.Add("deny", "denies every tool; write fewer, or remove the server")
	}
	s = s.withDefaults()
	setting.Range(&found, "max_tools", s.MaxTools, 1, MaxTools, strconv.Itoa)
	setting.Range(&found, "max_result_bytes", s.MaxResultBytes, 1, MaxResult, setting.Bytes)
	setting.Range(&found, "timeout", s.Timeout, MinTimeout, MaxTimeout, setting.Duration)
	setting.Range(&found, "refresh", s.Refresh, MinRefresh, MaxRefresh, setting.Duration)
	return found
}

// belongs notes that a setting is for the other kind of server.
func belongs(found *setting.Problems, name, to string, given bool) {
	if given {
		found.Add(name, "belongs to a server with %s; remove it", to)
	}
}

func (s Server) checkURL(found *setting.Problems) {
	// The error of url.Parse repeats the URL, which may hold a secret.
	const wanted = "write an absolute URL such as https://mcp.example.com/mcp"
	switch u, err := url.Parse(s.URL); {
	case err != nil:
		found.Add("url", "found no URL; %s", wanted)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		found.Add("url", "found no address of http or https; %s", wanted)
	case u.User != nil:
		found.Add("url", "found credentials in the URL; send them in headers")
	case u.Fragment != "":
		found.Add("url", "found a fragment in the URL; remove it")
	}
	if s.Transport != "" && s.Transport != streamable && s.Transport != sseOnly {
		found.Add("transport", "found %q; write %s or %s", s.Transport, streamable, sseOnly)
	}
	belongs(found, "env", "command", len(s.Env) > 0)
	lower := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		at := setting.Within("headers", name)
		if why := BadHeader(name); why != "" {
			found.Add(at, "%s", why)
		}
		if strings.ContainsAny(s.Headers[name], "\r\n\x00") {
			found.Add(at, "the value here has a line break or a zero byte; write it again")
		}
		if key := strings.ToLower(name); lower[key] {
			found.Add(at, "is given twice, since headers know no case; remove one")
		} else {
			lower[key] = true
		}
	}
}

// BadHeader says why no setting may give a server a header of this name; "": it may.
func BadHeader(name string) string {
	switch {
	case !headerName.MatchString(name):
		return "cannot be the name of a header; write a name such as authorization"
	case slices.ContainsFunc(reserved, func(pattern string) bool { return match(pattern, strings.ToLower(name)) }):
		return "is a header that the transport sets itself; remove it"
	}
	return ""
}

func (s Server) checkCommand(found *setting.Problems) {
	switch program := s.Command[0]; {
	case program == "":
		found.Add("command", "names no program; write it as the first word")
	case len(s.Command) == 1 && strings.ContainsAny(program, " \t"):
		found.Add("command", "is one word with spaces in it, and no shell reads it; write a list of words, such as [npx, -y, some-mcp-server]")
	}
	belongs(found, "transport", "url", s.Transport != "")
	belongs(found, "headers", "url", len(s.Headers) > 0)
	for i, pair := range s.Env {
		if name, _, ok := strings.Cut(pair, "="); !ok || name == "" || strings.ContainsRune(pair, 0) {
			found.Add(setting.Item("env", i), "write NAME=value, without a zero byte") // without the pair: it may hold a secret
		}
	}
}
