package check

import (
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/wire"
)

// role is what a listener is for.
type role uint8

const (
	roleOther    role = iota // nothing of Keyturn's
	roleFront                // clients' requests go from it to the inner listener
	roleLoopback             // a front of Keyturn's own requests
	roleInner                // attempts pass it, and Keyturn's filter
)

// manager is an HTTP connection manager with what belongs to it.
type manager struct {
	*hcmv3.HttpConnectionManager
	listener *listenerv3.Listener
	chain    *listenerv3.FilterChain
	config   *routev3.RouteConfiguration // nil when it is not in the document
	router   *routerv3.Router            // nil without one
	role     role
	place    steps
	routes   []*route // of the inner listener all; else those to it, or to a pool past it
}

func newManager(d *document, l *listenerv3.Listener, chain *listenerv3.FilterChain, h *hcmv3.HttpConnectionManager, at steps) *manager {
	m := &manager{HttpConnectionManager: h, listener: l, chain: chain, config: h.GetRouteConfig(), place: at}
	if m.config != nil {
		d.places[m.config] = at.to("route_config")
	}
	if name := h.GetRds().GetRouteConfigName(); name != "" {
		m.config = d.routes[name]
	}
	for _, f := range h.HttpFilters {
		if router, ok := typedAs(f.GetTypedConfig(), &routerv3.Router{}); ok {
			m.router = router
		}
	}
	return m
}

func (m *manager) where() string { return "listener " + m.listener.Name }

func (m *manager) isInner() bool { return m.role == roleInner }

// discovered names the routes that are not in the document.
func (m *manager) discovered() string {
	name := m.GetRds().GetRouteConfigName()
	return said(name != "", name)
}

// recognize finds out what each listener is for, and which clusters lead to the inner one.
func (c *checker) recognize() {
	for _, name := range c.clusterNames {
		if name == envoy.InnerName || slices.ContainsFunc(c.managers, func(m *manager) bool { return c.mayBeInner(m) && leads(c.clusters[name], m.listener) }) {
			c.hops[name] = true
		}
	}
	for _, m := range c.managers {
		routes := c.findRoutes(m)
		if c.looksInner(m, routes) {
			m.role, m.routes = roleInner, routes
			continue
		}
		for _, r := range routes {
			r.pool = c.pools[r.cluster]
			r.past = r.pool != nil && !c.hops[r.cluster]
			if c.hops[r.cluster] {
				m.role = roleFront
			}
			if c.hops[r.cluster] || r.past {
				m.routes = append(m.routes, r)
			}
		}
		if m.role == roleFront && m.servesKeyturn() {
			m.role = roleLoopback
		}
		c.strays(m, routes)
	}
}

// locate notes where the fields of all that findings are about stand.
func (c *checker) locate() {
	c.bases["envoy"], c.bases["admin"] = []steps{c.general}, []steps{c.general}
	for _, name := range c.clusterNames {
		at := c.places[c.clusters[name]]
		c.bases["cluster "+name] = []steps{at, at.to("typed_extension_protocol_options", httpProtocolOptions)}
	}
	for _, m := range c.managers {
		c.locateManager(m, c.findRoutes(m))
	}
}

// locateManager notes where the fields of a listener and its routes stand.
func (c *checker) locateManager(m *manager, routes []*route) {
	bases := []steps{m.place, c.places[m.listener]}
	for i, f := range m.HttpFilters {
		if c.isKeyturn(f) || m.router != nil && i == len(m.HttpFilters)-1 {
			bases = append(bases, m.place.item("http_filters", i).to("typed_config"))
		}
	}
	c.bases[m.where()] = bases
	for _, r := range routes {
		c.bases[r.place] = []steps{r.at}
		if host := r.at[:len(r.at)-2]; r.weight == nil {
			c.bases[r.place] = append(c.bases[r.place], host)
		}
	}
}

// looksInner knows the inner listener by its name, by what leads to it, and by what it does: a setting that is wrong must not
// hide what a listener is for.
func (c *checker) looksInner(m *manager, routes []*route) bool {
	if !c.mayBeInner(m) || slices.ContainsFunc(routes, func(r *route) bool { return c.hops[r.cluster] }) {
		return false
	}
	led := slices.ContainsFunc(c.clusterNames, func(name string) bool { return c.hops[name] && leads(c.clusters[name], m.listener) })
	return m.listener.Name == envoy.InnerName || led || m.namesCluster() || !m.open()
}

// mayBeInner leaves out the loopback listener of the first form, whose requests named their cluster.
func (c *checker) mayBeInner(m *manager) bool {
	return m.listener.Name == envoy.InnerName || c.keyturn(m.HttpFilters) != nil || m.namesCluster() && c.keyturn(m.router.GetUpstreamHttpFilters()) == nil
}

// namesCluster reports whether a route goes where Keyturn says.
func (m *manager) namesCluster() bool {
	for _, host := range m.config.GetVirtualHosts() {
		if slices.ContainsFunc(host.Routes, func(r *routev3.Route) bool {
			return strings.EqualFold(r.GetRoute().GetClusterHeader(), wire.ClusterHeader)
		}) {
			return true
		}
	}
	return false
}

// servesKeyturn reports whether a front is for Keyturn's own requests: they name the pool themselves, on a Unix socket.
func (m *manager) servesKeyturn() bool {
	if strings.HasSuffix(m.listener.Name, "loopback") {
		return true
	}
	return !m.open() && !slices.ContainsFunc(m.routes, func(r *route) bool { return r.past || r.request(wire.PoolHeader).set })
}
