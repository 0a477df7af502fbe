package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// identifier is a name that stands in paths, logs and metrics.
func identifier(private bool) scalar[string] {
	s := pattern("name", "a name of at most 63 letters, digits, '.', '_' and '-', which begins with a letter or digit",
		`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`, private)
	fits := s.parse
	s.parse = func(v string) (string, wrong) {
		if secretStart.MatchString(v) {
			return "", "what stands here looks like a key itself, and names appear in logs; write another name"
		}
		return fits(v)
	}
	return s
}

const socket = "unix:"

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// address is a place to listen: "unix:PATH" or "host:port".
type address struct {
	numeric bool // Envoy listens on addresses only and looks up no names
	sockets bool // nothing but a Unix socket will do
}

func (a address) of() scalar[string] {
	want := "unix:PATH or host:port"
	re := `^(unix:.+|.+:[0-9]+)$`
	switch {
	case a.sockets:
		want, re = "unix:PATH", `^unix:.+$`
	case a.numeric:
		want = "unix:PATH or address:port"
	}
	s := text(want, want, a.check)
	s.schema = map[string]any{"type": "string", "pattern": re}
	return s
}

func (a address) check(s string) wrong {
	path, isSocket := strings.CutPrefix(s, socket)
	if isSocket {
		switch {
		case path == "" || strings.ContainsRune(path, 0):
			return "found no path behind unix:; write unix:PATH"
		case strings.HasPrefix(path, "//"):
			return "found unix://; write unix:PATH, with one slash or none"
		case a.sockets && path[0] == '@':
			return "found an abstract socket, which has no mode to keep other users of the machine out; write unix:PATH"
		}
		return ""
	}
	if a.sockets {
		return wrong("found " + shown(s) + "; write unix:PATH: only a Unix socket keeps other users of the machine out")
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return wrong("found " + shown(s) + "; write host:port, such as 127.0.0.1:9000, [::1]:9000, or unix:PATH")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 || strconv.Itoa(n) != port {
		return wrong(fmt.Sprintf("found the port %s; write a number from 0 to 65535", shown(port)))
	}
	_, notIP := netip.ParseAddr(host)
	switch {
	case host == "":
		return wrong(fmt.Sprintf("found no host before the port; write 127.0.0.1:%s for this machine, or 0.0.0.0:%s for every network", port, port))
	case notIP == nil:
		return ""
	case a.numeric:
		return wrong(fmt.Sprintf("found the host %s; write its address, such as 127.0.0.1:%s: Envoy does not look up names to listen on", shown(host), port))
	case !hostName.MatchString(host):
		return wrong("found the host " + shown(host) + "; write a name or an address")
	}
	return ""
}

// inner is what Envoy.Inner may be when it is no socket.
const inner = "internal"

// innerAddress is "internal" or "unix:PATH".
func innerAddress() scalar[string] {
	const want = "internal or unix:PATH"
	s := text(want, want, func(s string) wrong {
		if s == inner {
			return ""
		}
		if !strings.HasPrefix(s, socket) {
			return wrong("found " + shown(s) + "; write " + want + ": whoever reaches this listener spends the pools' keys")
		}
		return address{sockets: true}.check(s)
	})
	s.schema = map[string]any{"type": "string", "pattern": "^(internal|unix:.+)$"}
	return s
}

// attach is what envoy.attach may be. Its second word was cluster before the filter left the upstream chain.
func attach() scalar[string] {
	s := choice("listener", "route")
	of := s.parse
	s.parse = func(v string) (string, wrong) {
		if v == "cluster" {
			return "", "found cluster: a filter in a provider's cluster lets clients crash Envoy, and is gone; write listener, or route for routes that stand among others (CHANGELOG.md tells how to move)"
		}
		return of(v)
	}
	return s
}

// local says whether only this machine can reach an address that check accepted.
func local(s string) bool {
	if strings.HasPrefix(s, socket) {
		return true
	}
	host, _, err := net.SplitHostPort(s)
	ip, notIP := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || notIP == nil && ip.Unmap().IsLoopback())
}

// maxSocketPath is how many bytes the path of a socket may have: sun_path of unix(7), less its end.
const maxSocketPath = 107

// socketAt joins a socket's path to the folder of the configuration. used says whether its length
// matters. An abstract socket ("unix:@name") has no folder.
func (r *reader) socketAt(path string, s *string, used bool) {
	name, isSocket := strings.CutPrefix(*s, socket)
	if !isSocket {
		return
	}
	if !strings.HasPrefix(name, "@") {
		name = r.in(name)
	}
	if used && len(name) > maxSocketPath {
		r.refuse(path, "the socket's path has %d bytes, and the system takes at most %d; write a shorter one", len(name), maxSocketPath)
	}
	*s = socket + name
}

// baseURL is an http or https URL to which paths are appended.
type baseURL struct{}

func (baseURL) read(r *reader, path string, n *yaml.Node, into **url.URL) {
	const want = "an absolute URL such as https://api.example.com"
	s := text("URL", want, func(s string) wrong {
		u, err := url.Parse(s)
		switch {
		case err != nil || !hasHost(u):
			return wrong("found " + shownURL(s) + "; write " + want)
		case u.User != nil:
			return "found credentials in the URL; remove them: keys by reference only, under keys"
		case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
			return "found a query or fragment in the URL; write the base URL alone"
		}
		return ""
	})
	var written string
	s.read(r, path, n, &written)
	if written == "" {
		return
	}
	u, _ := url.Parse(written) // the check did
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	u.Host, u.Scheme = strings.ToLower(u.Host), strings.ToLower(u.Scheme)
	*into = u
}

func hasHost(u *url.URL) bool {
	port, err := strconv.Atoi(u.Port())
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.Opaque == "" &&
		(u.Port() == "" && !strings.HasSuffix(u.Host, ":") || err == nil && port > 0 && port <= 65535)
}

// shownURL is shown, but for a URL that may hold a password.
func shownURL(s string) string {
	if strings.Contains(s, "@") {
		return "a text with an @ (not shown)"
	}
	return shown(s)
}

func (baseURL) show(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.String()
}

func (baseURL) describe(*url.URL) description {
	return description{word: "URL", schema: map[string]any{"type": "string", "pattern": "^https?://[^/?#@]+(/[^?#]*)?$"}}
}

// endpoint is the URL of a server, kept to the letter: a slash at its end may matter, and a query too.
type endpoint struct{}

func (endpoint) read(r *reader, path string, n *yaml.Node, into **url.URL) {
	const want = "an absolute URL such as https://mcp.example.com/mcp"
	var parsed *url.URL
	s := text("URL", want, func(s string) wrong {
		u, err := url.Parse(s)
		switch {
		case err != nil || !hasHost(u):
			return wrong("found " + shownURL(s) + "; write " + want)
		case u.User != nil:
			return "found credentials in the URL; remove them: keys by reference only, under headers"
		case strings.Contains(s, "#"):
			return "found a fragment in the URL; remove it"
		}
		for name, values := range u.Query() {
			if credentialName.MatchString(name) || slices.ContainsFunc(values, looksSecret) {
				return "found a key in the URL's query; remove it: keys by reference only, under headers"
			}
		}
		parsed = u
		return ""
	})
	var written string
	s.read(r, path, n, &written)
	if parsed != nil {
		parsed.Host = strings.ToLower(parsed.Host)
		*into = parsed
	}
}

func (endpoint) show(u *url.URL) string { return baseURL{}.show(u) }

func (endpoint) describe(*url.URL) description {
	return description{word: "URL", schema: map[string]any{"type": "string", "pattern": `^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+([/?][^#]*)?$`}}
}

// plaintext says whether what is sent to u can be read on the way.
func plaintext(u *url.URL) bool {
	return u.Scheme == "http" && !local(net.JoinHostPort(u.Hostname(), "0"))
}

// somewhere is a path that need not exist yet.
func somewhere(want string) scalar[string] {
	return text("path", want, func(s string) wrong {
		if s == "" || strings.ContainsRune(s, 0) {
			return wrong("found no path; write " + want)
		}
		return ""
	})
}
