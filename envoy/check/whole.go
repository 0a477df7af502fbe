package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/wire"
)

func (c *checker) version() {
	if c.minor > 0 && c.minor < envoy.MinMinor {
		c.find(envoyVersion, "envoy", fmt.Sprintf("1.%d", c.minor))
	}
}

// whole checks what belongs to no listener.
func (c *checker) whole() {
	if !c.anywhere() && !slices.ContainsFunc(c.managers, (*manager).isInner) {
		c.find(filterPresent, "envoy", "not set")
	}
	if c.bootstrap != nil && !c.internalListeners && slices.ContainsFunc(c.managers, func(m *manager) bool { return m.isInner() && isInternal(m.listener) }) {
		c.find(internalExtension, "envoy", "not set")
	}
	if c.want.Loopback && !slices.ContainsFunc(c.managers, func(m *manager) bool { return m.role == roleLoopback }) {
		c.find(loopbackListener, "envoy", "not set")
	}
	c.wayIn()
	for i := range c.want.Pools {
		pool := &c.want.Pools[i]
		if name := clustersOf(pool)[0]; c.clusters[name] == nil {
			c.find(poolCluster.wanting("%s", name), "pool "+pool.Name, "not set")
		}
	}
}

// wayIn checks that routes lead to the inner listener, for each pool.
func (c *checker) wayIn() {
	if !slices.ContainsFunc(c.managers, (*manager).isInner) {
		return
	}
	if len(c.hops) == 0 {
		c.find(hopPresent, "envoy", "not set")
		return
	}
	named := map[string]bool{}
	for _, r := range c.frontRoutes() {
		named[r.request(wire.PoolHeader).value] = true
	}
	unread := without(c.managers, func(m *manager) bool { return m.config != nil || m.role != roleOther })
	switch {
	case len(named) > 0 && len(unread) == 0:
		for _, pool := range c.want.Pools {
			if !named[pool.Name] {
				c.find(poolUnnamed.wanting("%s", pool.Name), "pool "+pool.Name, "not set")
			}
		}
	case len(named) > 0: // the other routes may be where the document does not tell
	case len(unread) == 0:
		c.find(c.missed(), "envoy", "not set")
	default:
		for _, m := range unread {
			c.find(routesKnown, m.where(), m.discovered())
		}
	}
}

// frontRoutes are the clients' routes to the inner listener.
func (c *checker) frontRoutes() (routes []*route) {
	for _, m := range c.managers {
		for _, r := range m.routes {
			if m.role == roleFront && !r.past {
				routes = append(routes, r)
			}
		}
	}
	return routes
}

// anywhere reports whether the filter is in a listener's chain.
func (c *checker) anywhere() bool {
	return slices.ContainsFunc(c.managers, func(m *manager) bool { return c.keyturn(m.HttpFilters) != nil })
}

// firstForm looks for the filter where attempts used to pass it. It reports whether the document knows nothing newer: all
// else that it lacks would follow from that.
func (c *checker) firstForm() bool {
	found := false
	for _, m := range c.managers {
		if a := c.keyturn(m.router.GetUpstreamHttpFilters()); a != nil {
			c.find(c.moved(firstFormRouter), m.where(), "in the router's upstream chain")
			c.note(a)
			found = true
		}
	}
	for _, name := range c.clusterNames {
		if a := c.keyturn(httpOptions(c.clusters[name]).GetHttpFilters()); a != nil {
			c.find(c.moved(firstFormCluster), "cluster "+name, "in the cluster's own chain")
			c.note(a)
			found = true
		}
	}
	return found && !c.anywhere()
}

// moved says how to move, with the command that prints it.
func (c *checker) moved(s setting) setting {
	if c.proxy != nil {
		return s.wanting("%s", strings.Replace(s.want, "keyturn render envoy", "keyturn render istio", 1))
	}
	return s
}
