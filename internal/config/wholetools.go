package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The checks of tools that need more than one field.

func (r *reader) wholeToolServer(path string, s *ToolServer) {
	hasURL, hasCommand := r.given(within(path, "url")), r.given(within(path, "command"))
	switch {
	case hasURL && hasCommand:
		r.refuse(path, "names both url and command; keep one")
		return
	case !hasURL && !hasCommand && !r.strays[path]:
		r.refuse(path, "does not say how the server is reached; write url: URL, or command: [PROGRAM, ARGUMENT]")
		return
	}
	for _, f := range []struct{ name, of string }{{"transport", "url"}, {"headers", "url"}, {"env", "command"}} {
		if at := within(path, f.name); r.given(at) && hasURL != (f.of == "url") {
			r.refuse(at, "belongs to a server with %s; remove it", f.of)
		}
	}
	if len(s.Command) > 0 {
		r.program(within(path, "command"), s)
	}
	if slices.ContainsFunc(s.Deny, func(p string) bool { return strings.Trim(p, "*") == "" }) && !r.failed(within(path, "deny")) {
		r.refuse(within(path, "deny"), "denies every tool; write fewer, or remove the server")
	}
	if s.URL != nil {
		r.headers(path, s)
	}
}

// program looks at the first word of a command.
func (r *reader) program(at string, s *ToolServer) {
	switch program := s.Command[0]; {
	case program == "":
		r.refuse(at, "names no program; write it as the first word")
	case len(s.Command) == 1 && strings.ContainsAny(program, " \t"):
		r.refuse(at, "is one word with spaces in it, and no shell reads it; write a list of words, such as [npx, -y, some-mcp-server]")
	case strings.Contains(program, "/"):
		s.Command[0] = r.in(program)
	}
}

// headers puts names into lower case and a bare token behind its scheme.
func (r *reader) headers(path string, s *ToolServer) {
	lower, secret := map[string]string{}, ""
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		at, value := within(within(path, "headers"), name), s.Headers[name]
		key := strings.ToLower(name)
		if _, twice := lower[key]; twice {
			r.refuse(at, "is given twice, since headers know no case; remove one")
		}
		if key == "authorization" && !strings.Contains(value, " ") {
			value = "Bearer " + value
		}
		if credentialName.MatchString(name) {
			secret = key
		}
		lower[key] = value
	}
	if len(lower) > 0 {
		s.Headers = lower
	}
	if secret != "" && plaintext(s.URL) {
		r.warn(within(path, "url"), "%s is sent to %s without encryption; write https, unless something on the way encrypts", secret, s.URL.Host)
	}
}

// wholeTools joins the servers with the pools that name them.
func (r *reader) wholeTools(c *Config) {
	names, used := map[string]string{}, map[string]bool{}
	var known []string
	for i, s := range c.Tools.Servers {
		at := fmt.Sprintf("tools.servers[%d]", i)
		if other := names[s.Name]; other != "" && s.Name != "" {
			r.refuse(within(at, "name"), "the name %s is taken by %s; give each server its own", s.Name, other)
			continue
		}
		names[s.Name] = at
		known = append(known, s.Name)
	}
	for i, p := range c.Pools {
		if p.Tools == nil {
			continue
		}
		at := fmt.Sprintf("pools[%d].tools", i)
		if !local(c.Listen) && !r.failed("listen") {
			r.refuse(at, "tools need Keyturn beside its Envoy, whose loopback socket the next turns go through, and listen is %s; "+
				"write listen: unix:PATH or 127.0.0.1:PORT, or remove the tools", c.Listen)
		}
		for j, name := range p.Tools.Servers {
			one := fmt.Sprintf("%s.servers[%d]", at, j)
			used[name] = true
			if names[name] == "" && !r.failed(one) && !r.failed("tools") && !r.strays[""] {
				r.refuse(one, "%s", unknownServer(name, known))
			}
		}
	}
	for i, s := range c.Tools.Servers {
		if !used[s.Name] {
			r.warn(fmt.Sprintf("tools.servers[%d]", i), "no pool uses %s; write tools: {servers: [%s]} in one, or remove it", s.Name, s.Name)
		}
	}
}

func unknownServer(name string, known []string) string {
	if len(known) == 0 {
		return fmt.Sprintf("there is no server %s; add it to tools.servers", shown(name))
	}
	if near, ok := nearest(name, known); ok {
		return fmt.Sprintf("there is no server %s; did you mean %s? (tools.servers has %s)", shown(name), near, either(known))
	}
	return fmt.Sprintf("there is no server %s; write %s, or add it to tools.servers", shown(name), either(known))
}
