package envoy

import (
	"cmp"
	"errors"
	"fmt"
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

// Validate returns what is wrong with cfg, joined; nil when Render takes it and finds the certificates that it needs.
func Validate(cfg Config) error {
	_, errs := planOf(cfg)
	return errors.Join(errs...)
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
	p, errs := planOf(cfg)
	if err := p.findCA(); err != nil {
		errs = append(errs, err)
	}
	return p, errors.Join(errs...)
}

// planOf checks all but how providers are verified, and returns every problem.
func planOf(cfg Config) (p *plan, errs []error) {
	p = &plan{Config: cfg}
	addr := func(field, s string, to *address.Address, required bool) {
		if s == "" {
			if required {
				errs = append(errs, fmt.Errorf(`%s: an address is needed, "host:port" or "unix:path"`, field))
			}
			return
		}
		a, err := address.Parse(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
		if to != &p.processor && a.Host != "" && !a.IP.IsValid() {
			errs = append(errs, fmt.Errorf("%s: %q is a name; Envoy listens on an IP address", field, a.Host))
		}
		*to = a
	}
	addr("listen", cfg.Listen, &p.listen, true)
	addr("admin", cfg.Admin, &p.admin, false)
	addr("loopback", cfg.Loopback, &p.loopback, false)
	addr("processor", cfg.Processor, &p.processor, true)
	switch {
	case cfg.Inner == "" || cfg.Inner == "internal":
		p.inner = address.Address{Internal: InnerName}
	case strings.HasPrefix(cfg.Inner, "unix:"):
		addr("inner", cfg.Inner, &p.inner, true)
	default:
		errs = append(errs, fmt.Errorf("inner: must be internal or unix:path, not %q: whoever reaches it spends the pools' keys, and only a socket's mode keeps others out", cfg.Inner))
	}
	if p.loopback.Host != "" {
		errs = append(errs, errors.New("loopback: must be unix:path: whoever reaches it speaks for Keyturn, and only a socket's mode keeps others out"))
	}
	for field, a := range map[string]address.Address{"inner": p.inner, "loopback": p.loopback} {
		if strings.HasPrefix(a.Path, "@") {
			errs = append(errs, fmt.Errorf("%s: must be the path of a file: an abstract socket has no mode to keep others out", field))
		}
	}
	p.MaxRequestBytes = cmp.Or(p.MaxRequestBytes, DefaultBodyBytes)
	p.IdleTimeout = cmp.Or(p.IdleTimeout, DefaultIdleTimeout)
	var found setting.Problems
	setting.Range(&found, "envoy.max_request_bytes", p.MaxRequestBytes, MinBodyBytes, MaxBodyBytes, setting.Bytes)
	setting.Range(&found, "envoy.idle_timeout", p.IdleTimeout, MinIdleTimeout, MaxIdleTimeout, setting.Duration)
	for _, f := range found {
		errs = append(errs, f)
	}
	errs = append(errs, p.checkPools()...)
	errs = append(errs, p.checkClients()...)
	for i, o := range p.CORS.Origins {
		if !originPattern.MatchString(o) {
			errs = append(errs, fmt.Errorf("cors: origins[%d]: %q is not the origin of a web page: a scheme, a host and perhaps a port, such as https://app.example.com, without a slash at the end", i, o))
		}
	}
	// At least what a front holds: a body that Keyturn reads whole hangs the request when it is larger than this.
	p.bodyBytes = uint64(max(p.MaxRequestBytes, DefaultBodyBytes))
	for _, pool := range p.Pools {
		p.bodyBytes = max(p.bodyBytes, uint64(max(pool.MaxBodyBytes, 0)))
	}
	return p, errs
}

// hasTools reports whether the loopback listener is needed.
func (p *plan) hasTools() bool {
	return slices.ContainsFunc(p.Pools, func(pool Pool) bool { return pool.Tools })
}

// findCA fills in the system's trusted certificates where providers are verified against them.
func (p *plan) findCA() error {
	if p.CAFile != "" || !p.needsCA() {
		return nil
	}
	p.CAFile = systemCA()
	if p.CAFile == "" {
		return fmt.Errorf("ca_file: the system's trusted certificates were not found (looked at SSL_CERT_FILE and %s): name a PEM bundle", strings.Join(caFiles, ", "))
	}
	return nil
}

func (p *plan) checkPools() (errs []error) {
	if len(p.Pools) == 0 {
		errs = append(errs, errors.New("pools: at least one is needed"))
	}
	p.Pools = slices.Clone(p.Pools)
	names, clusters := map[string]int{}, map[string]int{}
	for i := range p.Pools {
		pool := &p.Pools[i]
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("pools[%d] %q: %w", i, pool.Name, fmt.Errorf(format, args...)))
		}
		if !poolName.MatchString(pool.Name) {
			bad("name: it is a segment of the path on the listener: letters, digits, and . _ ~ - after the first")
		}
		if pool.Name == "v1" {
			bad("name: /v1/ is where requests without a pool's name go")
		}
		if j, ok := names[pool.Name]; ok {
			bad("name: pools[%d] has it too", j)
		}
		names[pool.Name] = i
		if len(pool.Clusters) == 0 {
			pool.Clusters = []string{pool.Name}
		}
		for _, c := range pool.Clusters {
			if c == "" || OwnCluster(c) {
				bad("clusters: %q is not a name that a pool's cluster can have", c)
			}
			if j, ok := clusters[c]; ok {
				bad("clusters: %q is pools[%d]'s too", c, j)
			}
			clusters[c] = i
		}
		if pool.Keys < 0 {
			bad("keys: must not be negative, is %d", pool.Keys)
		}
		var found setting.Problems
		setting.Range(&found, "max_body", cmp.Or(pool.MaxBodyBytes, DefaultBodyBytes), MinBodyBytes, MaxBodyBytes, setting.Bytes)
		pool.KeepAlive = cmp.Or(pool.KeepAlive, DefaultKeepAlive)
		setting.Range(&found, "keep_alive", pool.KeepAlive, MinKeepAlive, MaxKeepAlive, setting.Duration)
		for _, f := range found {
			bad("%w", f)
		}
		pool.CredentialHeader = strings.ToLower(cmp.Or(pool.CredentialHeader, wire.AuthorizationHeader))
		if !headerName.MatchString(pool.CredentialHeader) {
			bad("credential_header: %q is not the name of a header", pool.CredentialHeader)
		}
		if err := address.CheckUpstream(pool.Upstream); err != nil {
			bad("upstream: %w", err)
		}
		if err := checkProxy(pool.Proxy); err != nil {
			bad("upstream_proxy: %w", err)
		}
		for _, err := range p.checkTools(pool) {
			bad("tools: %w", err)
		}
	}
	return errs
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
func (p *plan) checkTools(pool *Pool) (errs []error) {
	if !pool.Tools {
		return nil
	}
	if p.Loopback == "" {
		errs = append(errs, errors.New("need the loopback listener, which the later turns of a response go through: set loopback"))
	}
	if p.processor.Host != "" && !p.processor.Local() {
		errs = append(errs, fmt.Errorf("need a processor beside its Envoy, since only there it reaches the loopback listener: %s is elsewhere", p.Processor))
	}
	pool.ToolTime = cmp.Or(pool.ToolTime, DefaultToolTime)
	if pool.ToolTime < 0 || pool.ToolTime > MaxMessageTimeout {
		errs = append(errs, fmt.Errorf("time: must be from 0 to %v, which is as long as Envoy can be made to wait, not %v", MaxMessageTimeout, pool.ToolTime))
	}
	return errs
}

func (p *plan) checkClients() (errs []error) {
	c := p.Clients
	ways := 0
	for _, set := range []bool{len(c.APIKeys) > 0, c.JWT != nil, c.Open} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		errs = append(errs, errors.New("clients: api_keys, jwt and open exclude each other"))
	}
	if ways == 0 && p.Listen != "" && !p.listen.Local() {
		errs = append(errs, fmt.Errorf("clients: %s is reachable from other machines, and whoever reaches it would spend the pools' keys: "+
			"set api_keys or jwt, listen on 127.0.0.1, or say open: true", p.Listen))
	}
	seen := map[string]int{}
	for i, k := range c.APIKeys {
		if k.Name == "" || k.Secret == "" {
			errs = append(errs, fmt.Errorf("clients: api_keys[%d]: a name and a key are needed", i))
		}
		if j, ok := seen[k.Secret]; ok && k.Secret != "" {
			errs = append(errs, fmt.Errorf("clients: api_keys[%d] %q has the key of api_keys[%d] %q", i, k.Name, j, c.APIKeys[j].Name))
		}
		seen[k.Secret] = i
	}
	if c.JWT == nil {
		return errs
	}
	if (c.JWT.JWKSFile == "") == (c.JWT.JWKSURL == "") {
		errs = append(errs, errors.New("clients: jwt: exactly one of jwks_file and jwks_url is needed"))
	}
	if c.JWT.JWKSURL != "" {
		u, err := url.Parse(c.JWT.JWKSURL)
		if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			return append(errs, errors.New("clients: jwt: jwks_url: must be an http:// or https:// address"))
		}
		p.jwksURL = u
	}
	return errs
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

// retries is how often a request may be retried: once for each key after the first, and some more, since a reload of
// Keyturn may add keys without Envoy being told. More do no harm: Envoy retries only when Keyturn asks.
func retries(keys int) uint32 { return uint32(keys) + 15 }

func u32(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }
