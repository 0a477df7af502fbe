package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/setting"
	"github.com/keyturn/keyturn/mcp"
)

// The checks of tools that need more than one field.

func (r *reader) wholeToolServer(path string, s *ToolServer) {
	if len(s.Command) > 0 && strings.Contains(s.Command[0], "/") {
		s.Command[0] = r.in(s.Command[0])
	}
	if s.URL != nil {
		r.headers(path, s)
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
	var known []string
	for _, s := range c.Tools.Servers {
		if s.Name != "" && !slices.Contains(known, s.Name) {
			known = append(known, s.Name)
		}
	}
	r.judged("tools.servers", setting.Of(mcp.Validate(c.ToolServers())))
	used := map[string]bool{}
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
			if !slices.Contains(known, name) && !r.failed(one) && !r.failed("tools") && !r.strays[""] {
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
