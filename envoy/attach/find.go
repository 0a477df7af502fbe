package attach

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/wire"
)

// places are what of a file is looked at.
type places struct {
	bootstrap, resources bool
	static               *node // static_resources
	listenerList         *node // nil without one
	clusterList          *node
	listeners, clusters  []*node
	managers             []*managerAt
	routes               []*routeAt
}

// managerAt is an HTTP connection manager.
type managerAt struct {
	node     *node // its configuration
	listener *node
	chain    *node
}

// routeAt is a route.
type routeAt struct {
	node    *node
	host    *node
	manager *managerAt // nil in a file of routes
	pool    string     // that it leads to
	number  int        // among all routes, from 0
}

// look finds the places.
func (a *attacher) look() *places {
	p := &places{static: a.root.field("static_resources"), resources: a.root.field("resources") != nil}
	p.bootstrap = p.static != nil || a.root.field("dynamic_resources") != nil
	p.listenerList, p.clusterList = p.static.field("listeners"), p.static.field("clusters")
	p.listeners, p.clusters = p.static.items("listeners"), p.static.items("clusters")
	for _, r := range a.root.items("resources") {
		if inner := r.field("resource"); r.is("Resource") && inner != nil {
			r = inner
		}
		switch {
		case r.is("Listener"):
			p.listeners, p.listenerList = append(p.listeners, r), a.root.field("resources")
		case r.is("Cluster"):
			p.clusters, p.clusterList = append(p.clusters, r), a.root.field("resources")
		case r.is("RouteConfiguration"):
			p.add(r, nil)
		}
	}
	for _, l := range p.listeners {
		chains := l.items("filter_chains")
		if d := l.field("default_filter_chain"); d != nil {
			chains = append(slices.Clip(chains), d)
		}
		for _, chain := range chains {
			p.chain(l, chain)
		}
		for _, f := range l.items("api_listener") {
			p.chain(l, f)
		}
	}
	return p
}

func (p *places) chain(l, chain *node) {
	for _, f := range chain.items("filters") {
		if m := f.field("typed_config"); m != nil && m.is("HttpConnectionManager") {
			at := &managerAt{node: m, listener: l, chain: chain}
			p.managers = append(p.managers, at)
			p.add(m.field("route_config"), at)
		}
	}
}

// add adds the routes of a route configuration.
func (p *places) add(config *node, m *managerAt) {
	for _, host := range config.items("virtual_hosts") {
		for _, r := range host.items("routes") {
			p.routes = append(p.routes, &routeAt{node: r, host: host, manager: m, number: len(p.routes)})
		}
	}
}

// asking are the types of filters that ask clients who they are, as package check has them.
var asking = []string{".api_key_auth.", ".jwt_authn.", ".ext_authz.", ".basic_auth.", ".oauth2.", ".rbac."}

// asks reports whether a listener asks its clients who they are, and whether what asks says it on.
func (m *managerAt) asks() (asks, names bool) {
	for _, f := range m.node.items("http_filters") {
		typed := f.field("typed_config").word("@type")
		if f.word("disabled") == "true" || f.word("name") == envoy.GuardFilter || !slices.ContainsFunc(asking, func(s string) bool { return strings.Contains(typed, s) }) {
			continue
		}
		asks = true
		names = names || strings.Contains(typed, ".ext_authz.") || f.mentions(wire.ClientHeader)
	}
	return asks, names
}

// asksForCertificates reports whether clients must have one.
func (m *managerAt) asksForCertificates() bool {
	return m.chain.word("transport_socket", "typed_config", "require_client_certificate") == "true"
}

// mentions reports whether a word stands anywhere in a value.
func (n *node) mentions(s string) bool {
	return strings.EqualFold(n.text, s) || slices.ContainsFunc(n.values, func(v *node) bool { return v.mentions(s) })
}

// local reports whether only this machine reaches a listener.
func (m *managerAt) local() bool {
	if m.listener.field("internal_listener") != nil {
		return true
	}
	addresses := []*node{m.listener.field("address")}
	for _, more := range m.listener.items("additional_addresses") {
		addresses = append(addresses, more.field("address"))
	}
	return !slices.ContainsFunc(addresses, func(a *node) bool {
		if a.field("pipe") != nil || a.field("envoy_internal_address") != nil {
			return false
		}
		ip, err := netip.ParseAddr(a.word("socket_address", "address"))
		return err != nil || !ip.Unmap().IsLoopback()
	})
}

// largestBody is the most that a concerned route holds already.
func (a *attacher) largestBody() int64 {
	most := int64(envoy.DefaultBodyBytes)
	for _, r := range a.found.routes {
		if !slices.ContainsFunc(a.options.Pools, func(p Pool) bool { return r.node.word("route", "cluster") == p.Cluster }) {
			continue
		}
		for _, n := range []*node{r.node, r.host} {
			if v, err := strconv.ParseInt(n.word("request_body_buffer_limit"), 10, 64); err == nil {
				most = max(most, v)
			}
		}
	}
	return most
}

// upstream is where a cluster leads, "" where that is not one host that the file names.
func (a *attacher) upstream(cluster string) string {
	for _, c := range a.found.clusters {
		if c.word("name") != cluster {
			continue
		}
		for _, group := range c.items("load_assignment", "endpoints") {
			for _, e := range group.items("lb_endpoints") {
				return upstreamOf(c, e.field("endpoint", "address", "socket_address"))
			}
		}
	}
	return ""
}

func upstreamOf(c, address *node) string {
	host, port := address.word("address"), address.word("port_value")
	scheme, usual := "http", "80"
	if socket := c.field("transport_socket", "typed_config"); socket.is("UpstreamTlsContext") {
		scheme, usual = "https", "443"
		if sni := socket.word("sni"); sni != "" {
			host = sni
		}
	}
	if host == "" || strings.ContainsAny(host, "/?#@ ") {
		return ""
	}
	if port == "" || port == usual {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
