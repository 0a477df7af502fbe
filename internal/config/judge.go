package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/provider"
	"github.com/keyturn/keyturn/internal/setting"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// Each setting has one judge: the package that uses it. It names the setting by its path; here it gets its file and line.

// judged notes what the judge of what stands at path has found, but for what only follows from a problem that was noted before.
func (r *reader) judged(path string, found []*setting.Problem) {
	var all []problem
	for _, p := range found {
		at, beside := setting.Within(path, p.Path), ""
		if p.Beside != "" {
			beside = setting.Within(path, p.Beside)
		}
		if r.follows(path, at) || beside != "" && r.follows(path, beside) {
			continue
		}
		if !r.given(at) && beside != "" && r.given(beside) {
			at = beside
		}
		all = append(all, r.at(at, p.Text))
	}
	for _, p := range all {
		r.add(p)
	}
}

// follows says whether a problem with the value at path, within what stands at judged, may come of one that was noted before.
func (r *reader) follows(judged, path string) bool {
	if r.failed(path) {
		return true
	}
	for ; path != judged && path != ""; path = above(path) {
		if r.refused[path] {
			return true
		}
	}
	return false
}

// KeyPool is what the file says about the keys of a pool, in the words of package keypool.
func (c *Config) KeyPool(p *Pool) keypool.Config {
	kc := keypool.Config{Name: p.Name, Policy: p.Policy, Choose: p.Choose.Choose, Headroom: p.Headroom, Cooldown: p.Cooldown, ReviveAfter: p.ReviveAfter, Secret: []byte(c.Fingerprint)}
	for _, k := range p.Keys {
		kc.Keys = append(kc.Keys, keypool.KeyConfig{Name: k.Name, Secret: k.Secret, Group: k.Group, Tier: k.Tier, Weight: k.Weight})
	}
	return kc
}

// Processor is what the file says about requests to a pool with these keys, in the words of package extproc.
func (p *Pool) Processor(keys *keypool.Pool) extproc.Pool {
	row, _ := provider.Named(p.Provider)
	e := extproc.Pool{
		Keys: keys, Name: p.Name, Provider: p.Provider, Telemetry: row.Telemetry, AnthropicErrors: row.Native(provider.Messages), Paths: p.Paths, Schemas: extproc.Schemas(row.Schemas), MaxTools: row.MaxTools,
		Header: p.Credential.Header, Scheme: p.Credential.Scheme, BYOK: p.BYOK.Allow, Placeholders: p.BYOK.Placeholders,
		MaxBody: p.MaxBody, Deadline: p.Deadline, KeepRateLimitHeaders: p.KeepRateLimitHeaders, WebSocket: p.WebSocket, Stay: p.Choose.Stay, Tools: p.Tools,
		Dialects: dialects(row), Fallback: p.Fallback,
	}
	for _, k := range p.Keys {
		e.Secrets = append(e.Secrets, k.Secret)
	}
	if len(p.Clusters) > 0 {
		e.Cluster = p.Clusters[0]
	}
	if p.Upstream != nil {
		e.Authority, e.BasePath = p.Upstream.Host, p.Upstream.Path
	}
	return e
}

// ToolServers is what the file says about MCP servers, in the words of package mcp.
func (c *Config) ToolServers() []mcp.Server {
	var servers []mcp.Server
	for _, s := range c.Tools.Servers {
		m := mcp.Server{
			Name: s.Name, Transport: s.Transport, Command: s.Command, Headers: s.Headers, Allow: s.Allow, Deny: s.Deny, MaxTools: s.MaxTools, Timeout: s.Timeout, Refresh: s.Refresh,
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

// EnvoyConfig is what the file says about Envoy, in the words of package envoy.
func (c *Config) EnvoyConfig() envoy.Config {
	e := c.Envoy
	out := envoy.Config{
		Listen: e.Listen, Admin: e.Admin, Inner: e.Inner, Loopback: e.Loopback, Processor: c.Listen,
		Clients: envoy.Clients{Open: e.Clients.Open, ByEnvoy: e.Clients.CheckedBy == "envoy"},
		CORS:    envoy.CORS(e.CORS),
		Memory:  e.Memory, MaxRequestBytes: e.MaxRequestBytes, IdleTimeout: e.IdleTimeout, AccessLog: e.AccessLog,
	}
	out.Record = envoy.Record{Requests: !c.Record.Off, Tell: c.Record.Tell, Usage: c.Record.Usage != UsageOff && minor(e.Version) >= envoy.UsageMinor}
	if e.Attach == envoy.Route.String() {
		out.Attach = envoy.Route
	}
	for _, k := range e.Clients.APIKeys {
		out.Clients.APIKeys = append(out.Clients.APIKeys, envoy.ClientKey{Name: k.Name, Secret: k.Secret})
	}
	if j := e.Clients.JWT; j != nil {
		out.Clients.JWT = &envoy.JWT{Issuer: j.Issuer, Audiences: j.Audiences, JWKSFile: j.JWKSFile, JWKSURL: j.JWKSURL, WithoutExp: !j.RequireExp}
	}
	for _, p := range c.Pools {
		row, _ := provider.Named(p.Provider)
		pool := envoy.Pool{
			Name: p.Name, Messages: row.Native(provider.Messages), Upstream: p.Upstream, Clusters: p.Clusters, Keys: len(p.Keys),
			BYOK: p.BYOK.Allow, CredentialHeader: p.Credential.Header, MaxBodyBytes: p.MaxBody, KeepAlive: p.KeepAlive,
			Proxy: p.UpstreamProxy, CAFile: p.UpstreamCA,
		}
		pool.Fallback = p.Fallback.To
		if p.Tools != nil {
			pool.Tools, pool.ToolTime = true, p.Tools.Time
		}
		out.Pools = append(out.Pools, pool)
	}
	return out
}

// OwnEnvoy is EnvoyConfig for an Envoy of Keyturn's own. Where no pool has tools it has no loopback listener, whose path need not be one that a
// socket can have then, and without a version it is the one that Keyturn is tested with; nor has it an admin interface, where nobody said where and the folder is too deep for a socket.
func (c *Config) OwnEnvoy() envoy.Config {
	e := c.EnvoyConfig()
	e.Record.Usage = e.Record.Usage || c.Record.Usage != UsageOff && c.Envoy.Version == ""
	if !slices.ContainsFunc(e.Pools, func(p envoy.Pool) bool { return p.Tools }) {
		e.Loopback = ""
	}
	if e.Admin == c.defaultAdmin() && len(e.Admin) > len(socket)+maxSocketPath {
		e.Admin = ""
	}
	return e
}

// defaultAdmin is DefaultEnvoyAdmin in the folder of the file.
func (c *Config) defaultAdmin() string {
	return socket + filepath.Join(filepath.Dir(c.Path), strings.TrimPrefix(DefaultEnvoyAdmin, socket))
}

// RunEnvoy is OwnEnvoy for an Envoy that runs below this process. Its admin interface is a socket in any case, since it is drained
// by it; where the file names an address, show says that what can be seen of it is to be shown there, and is empty elsewhere.
//
// version is the Envoy's that runs.
func (c *Config) RunEnvoy(version string) (own envoy.Config, show string) {
	own = c.OwnEnvoy()
	own.Record.Usage = c.Record.Usage != UsageOff && minor(version) >= envoy.UsageMinor
	if own.Admin = c.Envoy.Admin; !strings.HasPrefix(own.Admin, socket) {
		show = c.Envoy.Admin
		own.Admin = c.defaultAdmin()
	}
	return own, show
}

// minor is the second number of an Envoy's version, 0 for "".
func minor(version string) int {
	f := strings.Split(version, ".")
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1]) // digits, by its pattern
	return n
}

// judgeRecord has package record judge what is recorded.
func (r *reader) judgeRecord(path string, c *Record) {
	r.judged(path, setting.Of(c.Validate()))
}

// judgeEnvoy has envoy judge the whole file. What it finds in a pool of which something was said may only follow from that.
func (r *reader) judgeEnvoy(c *Config) {
	c.Path = r.file
	r.judged("", slices.DeleteFunc(setting.Of(envoy.Validate(c.OwnEnvoy())), func(found *setting.Problem) bool {
		pool, _, within := strings.Cut(found.Path, "].")
		if !strings.HasPrefix(found.Path, "pools[") || !within {
			return r.said(found.Path)
		}
		return r.said(pool + "]")
	}))
}

// said reports whether something was found at path, or within what stands there.
func (r *reader) said(path string) bool {
	return slices.ContainsFunc(r.problems, func(p problem) bool {
		return p.path == path || strings.HasPrefix(p.path, path+".") || strings.HasPrefix(p.path, path+"[")
	})
}

// judgeKeyPool has keypool judge the pool at path. origins say where its keys stand.
func (r *reader) judgeKeyPool(path string, p *Pool, origins []origin) {
	var others []*setting.Problem
	for _, found := range setting.Of((&Config{}).KeyPool(p).Validate()) {
		var i, j int
		if _, err := fmt.Sscanf(found.Path+" "+found.Beside, "keys[%d] keys[%d]", &i, &j); err != nil {
			if !errors.Is(found, keypool.ErrNoKeys) {
				others = append(others, found)
			} else if row, _ := provider.Named(p.Provider); !row.Keyless && !r.strays[path] && !r.failed(within(path, "keys")) && !r.failed(within(path, "keys_file")) {
				r.refuse(path, "has no key; write keys: [{env: NAME}], or keys_file: PATH")
			}
			continue
		}
		k, other := p.Keys[i], p.Keys[j]
		switch {
		case errors.Is(found, keypool.ErrDuplicateName) && origins[i].unnamed:
			r.refuseIn(origins[i], "its name by default, %s, is taken by %s; give that one another", k.Name, placeOf(origins[j]))
		case errors.Is(found, keypool.ErrDuplicateName):
			r.refuseIn(origins[i], "the name %s is taken by %s; give each key its own", k.Name, placeOf(origins[j]))
		case k.Secret != "": // else it could not be read, which was said
			r.refuseIn(origins[i], "holds the same key (%s) as %s; remove one", k.From, whereIs(origins[j], other))
		}
	}
	r.judged(path, others)
}
