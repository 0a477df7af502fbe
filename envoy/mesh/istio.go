package mesh

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/address"
)

// Form says which proxies of an Istio mesh take Keyturn.
type Form uint8

// The forms that RenderIstio knows.
const (
	// Gateway is an egress gateway that is configured by Istio's own Gateway and VirtualService.
	Gateway Form = iota
	// Sidecar is the proxies of pods.
	Sidecar
	// GatewayAPI is a gateway of the Kubernetes Gateway API, with Istio's class, and HTTPRoutes.
	GatewayAPI

	envoyGateway // for RenderEnvoyGateway: the same Gateway API, and another control plane
)

var formNames = []string{"gateway", "sidecar", "gateway-api"}

// String returns "gateway", "sidecar" or "gateway-api".
func (f Form) String() string {
	if int(f) < len(formNames) {
		return formNames[f]
	}
	return fmt.Sprintf("form %d", uint8(f))
}

// ParseForm reads what String returns.
func ParseForm(s string) (Form, error) {
	if i := slices.Index(formNames, s); i >= 0 {
		return Form(i), nil
	}
	return 0, fmt.Errorf("form %q: must be one of %s", s, strings.Join(formNames, ", "))
}

// Istio is where in a mesh Keyturn is attached: to one kind of proxy, in one namespace.
type Istio struct {
	Form      Form
	Name      string            // what the names of the resources begin with; "" = keyturn
	Namespace string            // of the proxies and of all resources; "" = default
	Selector  map[string]string // labels of the proxies' pods; required for Gateway and Sidecar, none for GatewayAPI

	// Gateway names a Gateway that exists, in the same namespace; "" = one is rendered, named Name. Not for Sidecar.
	Gateway string
	// Service is the host name of the gateway's Service: with it, the mesh's sidecars send what apps call by a provider's
	// name to the gateway. "" = apps call the gateway themselves. Only for Gateway.
	Service string
	// Port is where the proxy itself listens for the providers' hosts, not its Service: 0 = 8080 for the gateways, 80 for
	// Sidecar, where it is the port that apps call.
	Port uint32
	// EgressListener makes the sidecar listen for the providers' hosts on Port of 127.0.0.1, for pods whose traffic is not
	// captured. Only for Sidecar.
	EgressListener bool
	// SocketMode is the mode of the loopback listener's socket: 0 = 0660, for a proxy and a Keyturn with different users
	// and a group in common; 0600 when the user is the same.
	SocketMode uint32
}

const (
	defaultGatewayPort = 8080
	// providerPort is the one that apps call: http://, so that the proxy sees the request. It speaks TLS to the provider.
	providerPort = 80

	maxNameBytes = 200 // leaves room for what resources' names end with: a name in Kubernetes has 253 bytes
)

var (
	labelName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`) // RFC 1123
	labelKey   = regexp.MustCompile(`^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$`)
	plainWord  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]*$`) // that YAML takes without quotes
	notInName  = regexp.MustCompile(`[^a-z0-9]+`)
)

// RenderIstio returns the resources that attach Keyturn to proxies of an Istio mesh, as a commented YAML stream: for each
// pool a ServiceEntry and a DestinationRule of its provider and a VirtualService or HTTPRoute, then one EnvoyFilter. Of
// cfg, Listen, Admin, Attach, CAFile and a path in AccessLog are not used: the mesh has its own.
//
// Apps call the provider by its own name with http://, and the proxy speaks TLS to it. So it is the provider's host that
// picks the pool. Keyturn leads the pool's attempts to the first of its Clusters, which must be the name that Istio gives to
// the host's cluster. The error joins every problem.
func RenderIstio(cfg envoy.Config, mesh Istio) ([]byte, error) {
	if int(mesh.Form) >= len(formNames) {
		return nil, fmt.Errorf("form: %d is none", mesh.Form)
	}
	m, err := newMesh(cfg, mesh, "")
	if err != nil {
		return nil, err
	}
	return m.marshal(m.documents())
}

// marshal writes resources, unless Envoy would refuse what is in them.
func (m *mesh) marshal(docs []resource) ([]byte, error) {
	if err := errors.Join(append(m.errs, m.parts.Err())...); err != nil {
		return nil, fmt.Errorf("the rendered resources break Envoy's rules: %w", err)
	}
	return marshalObjects(docs, istioComments)
}

// mesh turns a plan into Istio's resources.
type mesh struct {
	to     Istio        // with its defaults
	cfg    envoy.Config // with its defaults, as far as the mesh leaves it any say
	parts  *envoy.Parts
	domain string // of the hosts that apps call; "" = they call the providers' own
	pools  []meshPool
	errs   []error // of messages that break Envoy's rules
}

// meshPool is a pool as the mesh knows it.
type meshPool struct {
	config   *envoy.Pool
	host     string // of the provider
	called   string // the host that apps call
	port     uint32 // that apps call
	own      bool   // the host is a Service of the cluster: it needs no ServiceEntry
	resource string // what the pool is named in resources
}

// newMesh checks everything; the error joins every problem.
func newMesh(cfg envoy.Config, to Istio, domain string) (*mesh, error) {
	m := &mesh{to: to, domain: domain}
	errs := m.check(cfg)
	pools, more := m.meshPools(cfg.Pools)
	errs = append(errs, more...)
	// What the mesh's proxies have of their own.
	cfg.Listen, cfg.Admin, cfg.Attach = "127.0.0.1:0", "", envoy.Route
	if m.to.Form == envoyGateway {
		var err error
		if cfg.Inner, err = innerSocket(cfg); err != nil {
			errs = append(errs, err)
		}
	}
	if !m.asksForKeys(cfg.Clients) {
		cfg.Clients = envoy.Clients{}
	}
	if cfg.AccessLog != "off" {
		cfg.AccessLog = "" // a path would be the container's
	}
	cfg.Pools = slices.Clone(cfg.Pools)
	for i := range pools {
		if name := m.clusterName(pools[i]); name != "" {
			cfg.Pools[i].Clusters = []string{name}
		}
	}
	parts, err := envoy.NewParts(cfg)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	m.parts, m.cfg, m.pools = parts, parts.Config(), pools
	for i := range m.pools {
		m.pools[i].config = &m.cfg.Pools[i]
	}
	return m, nil
}

// asksForKeys reports whether the proxy asks clients for keys of the gateway's. A sidecar serves its own pod only.
func (m *mesh) asksForKeys(c envoy.Clients) bool { return m.to.Form != Sidecar && len(c.APIKeys) > 0 }

// check fills in the defaults of the mesh's part and finds what is wrong with it.
func (m *mesh) check(cfg envoy.Config) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	m.to.Name, m.to.Namespace = cmp.Or(m.to.Name, envoy.FilterName), cmp.Or(m.to.Namespace, "default")
	for _, n := range []struct{ field, value string }{{"name", m.to.Name}, {"namespace", m.to.Namespace}} {
		if !labelName.MatchString(n.value) || len(n.value) > 63 {
			bad("%s: %q must be lower-case letters, digits and -, at most 63 of them, and begin and end with a letter or digit", n.field, n.value)
		}
	}
	m.to.SocketMode = cmp.Or(m.to.SocketMode, 0o660)
	if m.to.SocketMode != 0o600 && m.to.SocketMode != 0o660 {
		bad("socket mode: must be 0600 or 0660, not %#o: nobody but the proxy and Keyturn may speak there", m.to.SocketMode)
	}
	port := uint32(defaultGatewayPort)
	if m.to.Form == Sidecar {
		port = providerPort
	}
	m.to.Port = cmp.Or(m.to.Port, port)
	if m.to.Port > 65535 {
		bad("port: must be from 1 to 65535, not %d", m.to.Port)
	}
	errs = append(errs, m.checkForm()...)
	errs = append(errs, m.checkClients(cfg.Clients)...)
	for _, s := range []struct{ field, address string }{{"listen", cfg.Processor}, {"envoy.inner", cfg.Inner}, {"envoy.loopback", cfg.Loopback}} {
		if p, ok := strings.CutPrefix(s.address, "unix:"); ok && !path.IsAbs(p) && !strings.HasPrefix(p, "@") {
			bad("%s: %s is relative, and the proxy and Keyturn run in containers of their own: write a path in the volume that they share, such as unix:/run/keyturn/%s", s.field, s.address, path.Base(p))
		}
	}
	return errs
}

// checkForm finds what the form has no place for, and what it needs to find its proxies.
func (m *mesh) checkForm() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, f := range []struct {
		field string
		set   bool
		forms []Form
	}{
		{"selector", len(m.to.Selector) > 0, []Form{Gateway, Sidecar}},
		{"gateway", m.to.Gateway != "", []Form{Gateway, GatewayAPI, envoyGateway}},
		{"service", m.to.Service != "", []Form{Gateway}},
		{"egress listener", m.to.EgressListener, []Form{Sidecar}},
	} {
		if f.set && !slices.Contains(f.forms, m.to.Form) {
			bad("%s: the form %s has none", f.field, m.to.Form)
		}
	}
	if (m.to.Form == Gateway || m.to.Form == Sidecar) && len(m.to.Selector) == 0 {
		bad("selector: the labels of the proxies' pods are needed, such as istio=llm-egress or app=agent: without them every proxy of the namespace would be changed")
	}
	for k, v := range m.to.Selector {
		if !labelKey.MatchString(k) || !labelValue.MatchString(v) || len(v) > 63 {
			bad("selector: %s=%s is not a label", k, v)
		}
	}
	return errs
}

// checkClients: in a mesh it is Istio that knows who calls, but for the keys that a gateway can check by itself.
func (m *mesh) checkClients(c envoy.Clients) (errs []error) {
	switch m.to.Form {
	case Sidecar:
		return nil
	case envoyGateway:
		if len(c.APIKeys) == 0 && c.JWT == nil && !c.Open {
			errs = append(errs, errors.New("envoy.clients: whoever reaches the gateway would spend the pools' keys: set api_keys, or write a SecurityPolicy for the HTTPRoutes and say open: true"))
		}
		if c.JWT != nil {
			errs = append(errs, errors.New("envoy.clients.jwt: tokens are for Envoy Gateway's SecurityPolicy: write one for the HTTPRoutes, and open: true here"))
		}
		return errs
	case Gateway, GatewayAPI:
	}
	if c.JWT != nil {
		errs = append(errs, errors.New("envoy.clients.jwt: in a mesh, tokens are for Istio's RequestAuthentication and AuthorizationPolicy: write those, and open: true here"))
	}
	if c.JWT == nil && len(c.APIKeys) == 0 && !c.Open {
		errs = append(errs, errors.New("envoy.clients: the gateway is reachable from the whole cluster, and whoever reaches it would spend the pools' keys: "+
			"set api_keys, or restrict it with an AuthorizationPolicy or a NetworkPolicy and say open: true"))
	}
	return errs
}

// meshPools finds what the mesh knows of each pool.
func (m *mesh) meshPools(pools []envoy.Pool) (out []meshPool, errs []error) {
	hosts, names := map[string]int{}, map[string]int{}
	for i := range pools {
		pool := &pools[i]
		p := meshPool{config: pool, resource: strings.Trim(notInName.ReplaceAllString(strings.ToLower(pool.Name), "-"), "-")}
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("pools[%d] %q: %w", i, pool.Name, fmt.Errorf(format, args...)))
		}
		if j, ok := names[p.resource]; ok {
			bad("name: resources of Kubernetes have lower-case names, and there pools[%d] %q is the same", j, pools[j].Name)
		}
		names[p.resource] = i
		if len(p.resource) > maxNameBytes {
			bad("name: it is too long for the name of a resource")
		}
		if address.CheckUpstream(pool.Upstream) != nil {
			out = append(out, p) // said by the plan
			continue
		}
		a := address.OfUpstream(pool.Upstream)
		p.host, p.port = strings.TrimSuffix(a.Host, "."), m.servicePort(pool)
		p.own = strings.HasSuffix(p.host, ".svc") || strings.Contains(p.host, ".svc.")
		p.called = p.host
		if m.domain != "" {
			p.called = p.resource + "." + m.domain
		}
		if a.IP.IsValid() {
			bad("upstream: a mesh knows hosts by their names, and %s is an address", a.Host)
		}
		if p.own && pool.Upstream.Scheme == "https" && m.domain == "" {
			bad("upstream: %s is a Service of the cluster, which apps would have to call with http: write http://, and leave its TLS to the mesh", a.Host)
		}
		if j, ok := hosts[p.called]; ok {
			bad("upstream: pools[%d] has the host %s too, and in a mesh it is the host that picks the pool: give each pool a host of its own, or join them", j, p.host)
		}
		hosts[p.called] = i
		if err := m.checkClusters(p); err != nil {
			bad("clusters: %w", err)
		}
		out = append(out, p)
	}
	return out, errs
}

// servicePort is the port of the provider's host that apps call, or the gateway.
func (m *mesh) servicePort(pool *envoy.Pool) uint32 {
	switch {
	case m.to.EgressListener:
		return m.to.Port
	case pool.Upstream.Scheme == "http", m.to.Form == envoyGateway:
		return address.OfUpstream(pool.Upstream).Port
	case m.to.Form == Sidecar:
		return m.to.Port
	}
	return providerPort
}

// clusterName is what the control plane calls the cluster of a pool's provider, "" when the upstream is wrong.
func (m *mesh) clusterName(p meshPool) string {
	switch {
	case p.host == "":
		return ""
	case m.to.Form == envoyGateway:
		return m.ruleName(p)
	}
	return fmt.Sprintf("outbound|%d||%s", p.port, p.host)
}

// checkClusters makes sure that Keyturn leads attempts to the provider.
func (m *mesh) checkClusters(p meshPool) error {
	want := m.clusterName(p)
	if len(p.config.Clusters) > 0 && p.config.Clusters[0] == want {
		return nil
	}
	list := []string{strconv.Quote(want)}
	for _, n := range p.config.Clusters {
		switch {
		case n == want:
		case plainWord.MatchString(n):
			list = append(list, n)
		default:
			list = append(list, strconv.Quote(n))
		}
	}
	return fmt.Errorf("the proxy will name the provider's cluster %s, and attempts go to the first of a pool's clusters; write clusters: [%s]", want, strings.Join(list, ", "))
}

// ports are the listeners' that serve the providers, in order; none stands for all.
func (m *mesh) ports() []uint32 {
	switch m.to.Form {
	case GatewayAPI, envoyGateway:
		return nil
	case Gateway:
		return []uint32{m.to.Port}
	case Sidecar:
	}
	var ports []uint32
	for _, p := range m.pools {
		ports = append(ports, p.port)
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// named is the name of a resource.
func (m *mesh) named(parts ...string) string {
	return strings.Join(append([]string{m.to.Name}, parts...), "-")
}
