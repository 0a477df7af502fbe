package envoy

import (
	"cmp"
	"errors"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/keyturn/keyturn/envoy/internal/address"
	"github.com/keyturn/keyturn/internal/setting"
	"github.com/keyturn/keyturn/internal/wire"
)

// Defaults of a Config.
const (
	DefaultBodyBytes = 32 << 20 // MaxRequestBytes and MaxBodyBytes
	MinMemory        = 64 << 20
	MaxMemory        = 1 << 50
	DefaultToolTime  = 10 * time.Minute
	// DefaultIdleTimeout is longer than the slowest answers that providers document: OpenAI asks for timeouts of 15 minutes where flex
	// processing is used. https://platform.openai.com/docs/guides/flex-processing
	DefaultIdleTimeout = 20 * time.Minute
	// DefaultKeepAlive is shorter than the load balancers of the providers keep an unused connection, some of them 60 s and more.
	DefaultKeepAlive = 50 * time.Second
)

// Bounds of a Config, both ends included.
const (
	MinBodyBytes = 1 << 10
	MaxBodyBytes = 128 << 20 // one that Keyturn reads whole is one message to it, and one value in its memory

	MinIdleTimeout = time.Second
	MaxIdleTimeout = 24 * time.Hour

	MinKeepAlive = 100 * time.Millisecond
	MaxKeepAlive = time.Hour
)

// OwnCluster says whether Render makes a cluster of this name for itself: no pool's may have it.
func OwnCluster(name string) bool {
	return name == ProcessorName || name == InnerName || name == jwksCluster || strings.HasPrefix(name, tunnelPrefix)
}

// Validate returns what is wrong with cfg, joined; nil when Render takes it and finds the certificates that it needs. Each is a
// setting.Problem with the setting's path in the words of keyturn.yaml: envoy.listen, pools[0].upstream.
func Validate(cfg Config) error {
	_, found := planOf(cfg)
	return found.Err()
}

// OriginPattern is what one of CORS.Origins is. Not null, which any page can make itself.
const OriginPattern = `^(\*|[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9*._-]+(:[0-9*]+)?|[A-Za-z][A-Za-z0-9+.-]*://\[[0-9A-Fa-f:.]+\](:[0-9*]+)?)$`

var (
	originPattern = regexp.MustCompile(OriginPattern)

	poolName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]*$`)
	headerName = regexp.MustCompile("^[a-z0-9!#$%&'*+.^_`|~-]+$") // RFC 9110 section 5.6.2, in lower case
)

// caFiles are the usual places of the system's trusted certificates, the ones that Go's crypto/x509 looks at.
var caFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, Gentoo
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL 6
	"/etc/ssl/ca-bundle.pem",                            // openSUSE
	"/etc/pki/tls/cacert.pem",                           // OpenELEC
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL 7 and later
	"/etc/ssl/cert.pem",                                 // Alpine, macOS, BSD
}

// plan is a Config that was checked, with its defaults filled in and its addresses parsed.
type plan struct {
	Config
	listen, admin, inner, loopback, processor address.Address
	jwksURL                                   *url.URL
	parts                                     bool   // the other parts, listeners for clients among them, are somebody else's
	bodyBytes                                 uint64 // what the inner listener may hold of one request or response
}

// newPlan checks the configuration of a whole Envoy; the error joins every problem.
func newPlan(cfg Config) (*plan, error) {
	p, found := planOf(cfg)
	p.findCA(&found)
	return p, found.Err()
}

// planOf checks all but how providers are verified, and returns every problem.
func planOf(cfg Config) (p *plan, found setting.Problems) {
	p = &plan{Config: cfg}
	p.checkAddresses(&found)
	p.MaxRequestBytes = cmp.Or(p.MaxRequestBytes, DefaultBodyBytes)
	p.IdleTimeout = cmp.Or(p.IdleTimeout, DefaultIdleTimeout)
	if p.Memory != 0 {
		setting.Range(&found, "envoy.memory", p.Memory, MinMemory, MaxMemory, setting.Bytes)
	}
	setting.Range(&found, "envoy.max_request_bytes", p.MaxRequestBytes, MinBodyBytes, MaxBodyBytes, setting.Bytes)
	setting.Range(&found, "envoy.idle_timeout", p.IdleTimeout, MinIdleTimeout, MaxIdleTimeout, setting.Duration)
	p.checkPools(&found)
	p.checkClients(&found)
	for i, o := range p.CORS.Origins {
		if !originPattern.MatchString(o) {
			found.Add(setting.Item("envoy.cors.origins", i), "%q is not the origin of a web page: a scheme, a host and perhaps a port, such as https://app.example.com, without a slash at the end", o)
		}
	}
	// At least what a front holds: a body that Keyturn reads whole hangs the request when it is larger than this.
	p.bodyBytes = uint64(max(p.MaxRequestBytes, DefaultBodyBytes))
	for _, pool := range p.Pools {
		p.bodyBytes = max(p.bodyBytes, uint64(max(pool.MaxBodyBytes, 0)))
	}
	return p, found
}

// checkAddresses parses where Envoy listens, and where Keyturn does.
func (p *plan) checkAddresses(found *setting.Problems) {
	p.address(found, "envoy.listen", p.Listen, &p.listen, true)
	p.address(found, "envoy.admin", p.Admin, &p.admin, false)
	p.address(found, "envoy.loopback", p.Loopback, &p.loopback, false)
	p.address(found, "listen", p.Processor, &p.processor, true)
	switch {
	case p.Inner == "" || p.Inner == "internal":
		p.inner = address.Address{Internal: InnerName}
	case strings.HasPrefix(p.Inner, "unix:"):
		p.address(found, "envoy.inner", p.Inner, &p.inner, true)
	default:
		found.Add("envoy.inner", "must be internal or unix:path, not %q: whoever reaches it spends the pools' keys, and only a socket's mode keeps others out", p.Inner)
	}
	if p.loopback.Host != "" {
		found.Add("envoy.loopback", "must be unix:path: whoever reaches it speaks for Keyturn, and only a socket's mode keeps others out")
	}
	for path, a := range map[string]address.Address{"envoy.inner": p.inner, "envoy.loopback": p.loopback} {
		if strings.HasPrefix(a.Path, "@") {
			found.Add(path, "must be the path of a file: an abstract socket has no mode to keep others out")
		}
	}
}

// address parses the one at path.
func (p *plan) address(found *setting.Problems, path, s string, to *address.Address, required bool) {
	if s == "" {
		if required {
			found.Add(path, `an address is needed, "host:port" or "unix:path"`)
		}
		return
	}
	a, err := address.Parse(s)
	if err != nil {
		found.Add(path, "%v", err)
	}
	if to != &p.processor && a.Host != "" && !a.IP.IsValid() {
		found.Add(path, "%q is a name; Envoy listens on an IP address", a.Host)
	}
	*to = a
}

// hasTools reports whether the loopback listener is needed.
func (p *plan) hasTools() bool {
	return slices.ContainsFunc(p.Pools, func(pool Pool) bool { return pool.Tools })
}

// findCA fills in the system's trusted certificates where providers are verified against them.
func (p *plan) findCA(found *setting.Problems) {
	if p.CAFile != "" || !p.needsCA() {
		return
	}
	p.CAFile = systemCA()
	if p.CAFile == "" {
		found.Add("ca_file", "the system's trusted certificates were not found (looked at SSL_CERT_FILE and %s): name a PEM bundle", strings.Join(caFiles, ", "))
	}
}

func (p *plan) checkPools(found *setting.Problems) {
	if len(p.Pools) == 0 {
		found.Add("pools", "at least one is needed")
	}
	p.Pools = slices.Clone(p.Pools)
	names, clusters := map[string]int{}, map[string]int{}
	for i := range p.Pools {
		pool, path := &p.Pools[i], setting.Item("pools", i)
		if j, ok := names[pool.Name]; ok {
			found.Add(path+".name", "%s.name is %q too", setting.Item("pools", j), pool.Name).Beside = setting.Item("pools", j) + ".name"
		}
		names[pool.Name] = i
		if len(pool.Clusters) == 0 {
			pool.Clusters = []string{pool.Name}
		}
		for _, c := range pool.Clusters {
			if c == "" || OwnCluster(c) {
				found.Add(path+".clusters", "%q is not a name that a pool's cluster can have", c)
			}
			if j, ok := clusters[c]; ok {
				found.Add(path+".clusters", "%q is %s's too", c, setting.Item("pools", j)).Beside = setting.Item("pools", j) + ".clusters"
			}
			clusters[c] = i
		}
		var own setting.Problems
		p.checkPool(&own, pool)
		found.AddWithin(path, own)
	}
}

// checkPool fills in a pool's defaults, and finds what is wrong with it alone.
func (p *plan) checkPool(found *setting.Problems, pool *Pool) {
	if !poolName.MatchString(pool.Name) {
		found.Add("name", "%q: it is a segment of the path on the listener: letters, digits, and . _ ~ - after the first", pool.Name)
	}
	if pool.Name == "v1" {
		found.Add("name", "/v1/ is where requests without a pool's name go")
	}
	if pool.Keys < 0 {
		found.Add("keys", "must not be negative, is %d", pool.Keys)
	}
	setting.Range(found, "max_body", cmp.Or(pool.MaxBodyBytes, DefaultBodyBytes), MinBodyBytes, MaxBodyBytes, setting.Bytes)
	pool.KeepAlive = cmp.Or(pool.KeepAlive, DefaultKeepAlive)
	setting.Range(found, "keep_alive", pool.KeepAlive, MinKeepAlive, MaxKeepAlive, setting.Duration)
	pool.CredentialHeader = strings.ToLower(cmp.Or(pool.CredentialHeader, wire.AuthorizationHeader))
	if !headerName.MatchString(pool.CredentialHeader) {
		found.Add("credential.header", "%q is not the name of a header", pool.CredentialHeader)
	}
	if err := address.CheckUpstream(pool.Upstream); err != nil {
		found.Add("upstream", "%v", err)
	}
	if err := checkProxy(pool.Proxy); err != nil {
		found.Add("upstream_proxy", "%v", err)
	}
	p.checkTools(found, pool)
}

// checkProxy says what is wrong with the URL of a proxy; nil is none.
func checkProxy(u *url.URL) error {
	if u == nil {
		return nil
	}
	if err := address.CheckUpstream(u); err != nil {
		return err
	}
	if address.BasePath(u) != "" {
		return errors.New("may have a host and a port, and no path")
	}
	return nil
}

// checkTools finds what stands in the way of a pool's tools.
func (p *plan) checkTools(found *setting.Problems, pool *Pool) {
	if !pool.Tools {
		return
	}
	if p.Loopback == "" {
		found.Add("tools", "need the loopback listener, which the later turns of a response go through: set envoy.loopback")
	}
	if p.processor.Host != "" && !p.processor.Local() {
		found.Add("tools", "need a processor beside its Envoy, since only there it reaches the loopback listener: %s is elsewhere", p.Processor)
	}
	pool.ToolTime = cmp.Or(pool.ToolTime, DefaultToolTime)
	if pool.ToolTime < 0 || pool.ToolTime > MaxMessageTimeout {
		found.Add("tools.time", "must be from 0 to %v, which is as long as Envoy can be made to wait, not %v", MaxMessageTimeout, pool.ToolTime)
	}
}

func (p *plan) checkClients(found *setting.Problems) {
	const path = "envoy.clients"
	c := p.Clients
	ways := 0
	for _, set := range []bool{len(c.APIKeys) > 0, c.JWT != nil, c.Open} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		found.Add(path, "api_keys, jwt and open exclude each other")
	}
	if ways == 0 && p.Listen != "" && !p.listen.Local() {
		found.Add(path, "%s is reachable from beyond this machine, and everybody there could use the keys; "+
			"add clients: {api_keys_file: PATH}, or write 127.0.0.1:PORT (clients: {open: true} lets everybody in)", p.Listen).Beside = "envoy.listen"
	}
	seen := map[string]int{}
	for i, k := range c.APIKeys {
		at := setting.Item(path+".api_keys", i)
		if k.Name == "" || k.Secret == "" {
			found.Add(at, "a name and a key are needed")
		}
		if j, ok := seen[k.Secret]; ok && k.Secret != "" {
			found.Add(at, "%q has the key of api_keys[%d] %q", k.Name, j, c.APIKeys[j].Name)
		}
		seen[k.Secret] = i
	}
	if c.JWT == nil {
		return
	}
	if (c.JWT.JWKSFile == "") == (c.JWT.JWKSURL == "") {
		found.Add(path+".jwt", "exactly one of jwks_file and jwks_url is needed")
	}
	if c.JWT.JWKSURL != "" {
		u, err := url.Parse(c.JWT.JWKSURL)
		if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			found.Add(path+".jwt.jwks_url", "must be an http:// or https:// address")
			return
		}
		p.jwksURL = u
	}
}

func (p *plan) needsCA() bool {
	for _, pool := range p.Pools {
		if pool.CAFile == "" && pool.Upstream != nil && pool.Upstream.Scheme == "https" || pool.Proxy != nil && pool.Proxy.Scheme == "https" {
			return true
		}
	}
	return p.jwksURL != nil && p.jwksURL.Scheme == "https"
}

// systemCA returns the file of the system's trusted certificates, "" when there is none in the usual places.
func systemCA() string {
	for _, f := range append([]string{os.Getenv("SSL_CERT_FILE")}, caFiles...) {
		if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
			return f
		}
	}
	return ""
}

// MostKeys is how many keys a request to a pool may be tried with: its own and those of the pools that it falls back to. A pool counts for one
// key at least where a request goes on with it, and each for one attempt more, since one that reached nobody is repeated.
func MostKeys(pools []Pool, of *Pool) int {
	seen := map[string]bool{of.Name: true}
	keys := of.Keys
	var follow func(p *Pool)
	follow = func(p *Pool) {
		for _, name := range p.Fallback {
			i := slices.IndexFunc(pools, func(p Pool) bool { return p.Name == name })
			if i < 0 || seen[name] {
				continue
			}
			seen[name] = true
			keys += max(pools[i].Keys, 1) + 1
			follow(&pools[i])
		}
	}
	follow(of)
	return keys
}

// retries is how often a request may be retried: once for each key after the first, and some more, since a reload of
// Keyturn may add keys without Envoy being told. More do no harm: Envoy retries only when Keyturn asks.
func retries(keys int) uint32 { return uint32(keys) + 15 }

func u32(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }
