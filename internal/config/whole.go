package config

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/provider"
	"github.com/keyturn/keyturn/internal/setting"
	"github.com/keyturn/keyturn/keypool"
)

// The checks that need more than one field.

func (r *reader) wholeFile(_ string, c *Config) {
	if !local(c.Listen) && !r.failed("listen") {
		r.warn("listen", "%s is reachable from beyond this machine, and whoever reaches it can ask for keys; let only Envoy reach it, or write unix:PATH", c.Listen)
	}
	taken := map[string]string{}
	withTools := slices.ContainsFunc(c.Pools, func(p Pool) bool { return p.Tools != nil })
	for _, at := range []struct {
		path string
		s    *string
	}{{"listen", &c.Listen}, {"admin.listen", &c.Admin.Listen}, {"envoy.listen", &c.Envoy.Listen}, {"envoy.admin", &c.Envoy.Admin}, {"envoy.inner", &c.Envoy.Inner}, {"envoy.loopback", &c.Envoy.Loopback}} {
		r.socketAt(at.path, at.s, at.path != "envoy.loopback" && at.path != "envoy.admin" || r.given(at.path) || at.path == "envoy.loopback" && withTools)
		if strings.HasSuffix(*at.s, ":0") { // the system chooses a free port
			continue
		}
		if other := taken[*at.s]; r.given(at.path) && other != "" {
			r.refuse(at.path, "is the same address as %s; give each its own", other)
		} else if other != "" {
			r.refuse(other, "is the same address as %s; give each its own", at.path)
		}
		taken[*at.s] = at.path
	}
	r.apart(c.Pools)
	r.wholeFallbacks(c.Pools)
	r.unused(c.Pools)
	r.wholeTools(c)
	r.wholeClients(c)
	r.wholeContent(c)
	r.judgeEnvoy(c)
}

// apart refuses what two pools cannot share.
func (r *reader) apart(pools []Pool) {
	names, clusters, keys := map[string]string{}, map[string]string{}, map[string]string{}
	for i, p := range pools {
		path := fmt.Sprintf("pools[%d]", i)
		if other := names[p.Name]; other != "" && p.Name != "" {
			r.refuse(within(path, "name"), "the name %s is taken by %s; give each pool its own", p.Name, other)
		} else {
			names[p.Name] = path
		}
		for j, name := range p.Clusters {
			at := within(path, "clusters")
			if r.given(at) {
				at = fmt.Sprintf("%s[%d]", at, j)
			}
			other := clusters[name]
			switch {
			case envoy.OwnCluster(name):
				if !r.given(at) {
					at = within(path, "name")
				}
				r.refuse(at, "the cluster %s is one of Keyturn's own; write the name of the provider's, such as clusters: [openai]", name)
			case other == "":
				clusters[name] = at
			case !r.given(at) && names[p.Name] != path: // that the name is taken was said
			default:
				r.refuse(at, "the cluster %s is taken by %s; a cluster has one pool", shown(name), other)
			}
		}
		for _, k := range p.Keys {
			if other := keys[k.Secret]; other != "" && k.Secret != "" && !strings.HasPrefix(other, path+" ") {
				r.warn(path, "holds the key of %s too (%s); each pool lets it rest for itself", other, k.From)
			} else {
				keys[k.Secret] = path + " (" + k.From + ")"
			}
		}
	}
}

var versionPath = regexp.MustCompile(`^v[0-9]`)

func (r *reader) wholePool(path string, p *Pool) {
	_, known := provider.Named(p.Provider)
	switch {
	case p.Provider == "" && !r.strays[path] && !r.failed(within(path, "provider")) && !r.failed(within(path, "name")):
		r.refuse(path, "has no provider; write provider: %s", either(provider.Names(nil)))
	case versionPath.MatchString(p.Name):
		r.refuse(within(path, "name"), "%s would take the place of the providers' own paths, such as /v1/messages; begin it otherwise", p.Name)
	}
	r.wholeUpstream(path, p)
	r.wholeCA(path, p)
	if !r.given(within(path, "clusters")) && p.Name != "" {
		p.Clusters = []string{p.Name}
	}
	if len(p.Clusters) > 1 {
		r.warn(within(path, "clusters"), "attempts go to the first, %s; for several servers give that cluster several endpoints, or remove the others", shown(p.Clusters[0]))
	}
	p.Credential.Header = strings.ToLower(p.Credential.Header)

	origins := make([]origin, len(p.Keys))
	for i := range p.Keys {
		origins[i].path = fmt.Sprintf("%s.keys[%d]", path, i)
	}
	if at := within(path, "keys_file"); p.KeysFile != "" && !r.failed(at) {
		origins = r.keysFile(at, p, origins)
	}
	for i := range p.Keys {
		if k := &p.Keys[i]; k.Name == "" {
			k.Name, origins[i].unnamed = keypool.DefaultName(p.Name, i), true
		}
	}
	r.judgeKeyPool(path, p, origins)
	if known && p.Name != "" { // else most of it is missing, which was said
		r.judged(path, setting.Of(p.Processor(nil).Validate()))
	}
}

func (r *reader) wholeUpstream(path string, p *Pool) {
	row, known := provider.Named(p.Provider)
	if p.Upstream != nil {
		p.Upstream.Path, p.Upstream.RawPath = provider.Trimmed(p.Upstream.Path), provider.Trimmed(p.Upstream.RawPath)
	}
	switch at := within(path, "upstream"); {
	case r.failed(at), r.strays[path]:
	case p.Upstream == nil && known:
		r.refuse(path, "a pool of provider %s has no upstream; write upstream: %s", p.Provider, row.Example)
	case p.Upstream != nil && plaintext(p.Upstream) && (len(p.Keys) > 0 || p.KeysFile != "" || p.BYOK.Allow):
		r.warn(at, "keys are sent to %s without encryption; write https, unless something on the way encrypts", p.Upstream.Host)
	}
}

func whereIs(o origin, k Key) string {
	if o.file != "" {
		return k.From
	}
	return o.path + " (" + k.From + ")"
}

func placeOf(o origin) string {
	if o.file != "" {
		return fmt.Sprintf("%s:%d", o.file, o.line)
	}
	return o.path
}

func (r *reader) wholeEnvoy(path string, e *Envoy) {
	if at := within(path, "admin"); !local(e.Admin) && !r.failed(at) {
		r.refuse(at, "%s is reachable from beyond this machine, and Envoy's admin endpoint asks nobody for a password; write 127.0.0.1:PORT or unix:PATH", e.Admin)
	}
	if e.AccessLog != "stdout" && e.AccessLog != "off" {
		e.AccessLog = r.in(e.AccessLog)
	}
	if e.BinaryPath != "" {
		e.BinaryPath = r.in(e.BinaryPath)
	}
}

func jwksURL(s string) wrong {
	u, err := url.Parse(s)
	if err != nil || !hasHost(u) || u.User != nil || plaintext(u) {
		return wrong("found " + shownURL(s) + "; write an https URL such as https://login.example.com/jwks.json")
	}
	return ""
}

func (r *reader) wholeJWT(path string, j *JWT) {
	const maxBytes = 1 << 20
	switch {
	case r.failed(path):
		return
	case j.JWKSFile != "" && j.JWKSURL != "":
		r.refuse(path, "names both jwks_file and jwks_url; keep one")
		return
	case j.JWKSFile == "" && j.JWKSURL == "":
		r.refuse(path, "does not say where the issuer's keys are; write jwks_url: URL or jwks_file: PATH")
		return
	}
	if len(j.Audiences) == 0 {
		r.warn(path, "a token that the issuer made for another service is accepted too; write audiences: [NAME]")
	}
	if j.JWKSFile == "" {
		return
	}
	at, full := within(path, "jwks_file"), r.in(j.JWKSFile)
	data, _, trouble := r.open(full, maxBytes)
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	switch {
	case trouble != "":
		r.refuse(at, "%s %s", full, trouble)
	case json.Unmarshal(data, &set) != nil || len(set.Keys) == 0:
		r.refuse(at, `%s is no key set; write a JSON object such as {"keys": [...]}`, full)
	}
	for _, key := range set.Keys {
		r.secrets = append(r.secrets, privateParts(key)...)
	}
	j.JWKSFile = full
}

// privateParts are those of a key of a set that whoever has them can sign with, as they stand there and decoded (RFC 7518 section 6).
func privateParts(key json.RawMessage) (parts []string) {
	var all map[string]any
	if json.Unmarshal(key, &all) != nil {
		return nil
	}
	for _, name := range []string{"k", "d", "p", "q", "dp", "dq", "qi"} {
		if text, ok := all[name].(string); ok {
			parts = append(parts, text)
			if decoded, err := base64.RawURLEncoding.DecodeString(text); err == nil {
				parts = append(parts, string(decoded))
			}
		}
	}
	return parts
}

func headerName() scalar[string] {
	return pattern("name", "the name of a header such as authorization", extproc.HeaderPattern, true)
}

// byokShape is "deny", "allow" or {allow: {placeholders: [...]}}.
type byokShape struct{}

func (byokShape) word() scalar[string] { return choice("deny", "allow") }

func (byokShape) object() object[BYOK] {
	return object[BYOK]{
		fields: []field[BYOK]{
			is("allow", func(b *BYOK) *BYOK { return b }, object[BYOK]{
				fields: []field[BYOK]{
					is("placeholders", func(b *BYOK) *[]string { return &b.Placeholders },
						list[string]{placeholder(), "[dummy]", 1},
						"Credentials that mean \"use the pool\"; any other is the client's own and is left alone.").otherwise("none"),
				},
				example: "{placeholders: [dummy]}",
			}, "Leave a client's own credential alone.").must("{placeholders: [dummy]}"),
		},
		refused: map[string]string{"placeholders": "unknown field; write byok: {allow: {placeholders: [...]}}"},
		example: "{allow: {placeholders: [dummy]}}",
	}
}

func (b byokShape) read(r *reader, path string, n *yaml.Node, into *BYOK) {
	if n.Kind == yaml.MappingNode {
		b.object().read(r, path, n, into)
		into.Allow = true
		return
	}
	var word string
	s := b.word()
	s.want = "deny, allow or {allow: {placeholders: [dummy]}}"
	s.read(r, path, n, &word)
	into.Allow = word == "allow"
}

// placeholder may look like a key, as what SDKs insist on does.
func placeholder() scalar[string] {
	return text("text", "a word without spaces", func(s string) wrong {
		if s == "" || badSecret(s) != "" {
			return "the placeholder is empty or has spaces in it; write what the clients send behind the scheme"
		}
		return ""
	})
}

func (byokShape) show(b BYOK) string {
	if b.Allow {
		return "allow"
	}
	return "deny"
}

func (b byokShape) describe(v BYOK) description {
	of := b.object().describe(v)
	return description{
		word: "deny, allow or mapping", fields: of.fields,
		schema: map[string]any{"oneOf": []any{b.word().schema, of.schema}},
	}
}
