package check

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// mostConnections is more than any machine holds: a limit above it is none.
const mostConnections = 1_000_000

// Paths of Envoy's admin interface.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/operations/admin
var (
	// adminChanges are those that change something, or write something out.
	adminChanges = []string{
		"/quitquitquit", "/drain_listeners", "/healthcheck/fail", "/healthcheck/ok", "/logging", "/runtime_modify", "/reset_counters", "/reopen_logs",
		"/cpuprofiler", "/heapprofiler", "/heap_dump", "/allocprofiler", "/tap", "/contention",
	}
	// adminTells are those that tell of the configuration.
	adminTells = []string{"/config_dump", "/init_dump", "/certs", "/clusters", "/listeners", "/runtime"}
)

// process checks what belongs to Envoy as a whole. That of a mesh's proxy is the mesh's, but for who reaches it.
func (c *checker) process() {
	if c.bootstrap == nil {
		return
	}
	c.admin()
	if c.proxy != nil {
		return
	}
	c.connections()
	c.runtime()
	if p := c.bootstrap.HeaderPrefix; p != "" && p != "x-envoy" {
		c.find(headerPrefix, "envoy", p)
	}
}

// admin checks who reaches Envoy's admin interface, and what it does for them.
func (c *checker) admin() {
	admin := c.bootstrap.GetAdmin()
	a := admin.GetAddress()
	switch pipe := a.GetPipe(); {
	case a == nil:
		return
	case pipe != nil:
		if pipe.Mode&^0o660 != 0 || strings.HasPrefix(pipe.Path, "@") {
			c.find(adminMode, "admin", fmt.Sprintf("%d (%04o)", pipe.Mode, pipe.Mode))
		}
		return
	case a.GetSocketAddress() == nil:
		return
	}
	open := func(paths []string) []string {
		return without(paths, func(p string) bool {
			return len(admin.AllowPaths) > 0 && !matchesAny(admin.AllowPaths, p) && !matchesAny(admin.AllowPaths, p+"?level=trace") // Envoy matches the query too
		})
	}
	if !isLocal(a) {
		if open := open(slices.Concat(adminChanges, adminTells)); len(open) > 0 {
			c.find(adminReachable, "admin", printed(a)+" with "+brief(open))
		}
		return
	}
	if open := open(adminChanges); len(open) > 0 && c.proxy == nil {
		found := "not set"
		if len(admin.AllowPaths) > 0 {
			found = "with " + brief(open)
		}
		c.find(adminPaths.wanting("paths that change nothing, or a Unix socket as address"), "admin", found)
	}
}

// brief names the first of many.
func brief(names []string) string {
	const most = 3
	if len(names) > most {
		return strings.Join(names[:most], ", ") + " and " + strconv.Itoa(len(names)-most) + " more"
	}
	return strings.Join(names, ", ")
}

// matchesAny is matches for paths.
func matchesAny(patterns []*matcherv3.StringMatcher, s string) bool {
	return matches(&matcherv3.ListStringMatcher{Patterns: patterns}, s)
}

// connections checks that something bounds what clients can make Envoy hold.
func (c *checker) connections() {
	if !slices.ContainsFunc(c.managers, func(m *manager) bool { return m.role == roleFront }) {
		return
	}
	monitors := c.bootstrap.GetOverloadManager().GetResourceMonitors()
	if len(monitors) == 0 && c.runtimeValue("overload.global_downstream_max_connections") == nil {
		c.find(overload, "envoy", "not set")
		return
	}
	for _, m := range monitors {
		limit, ok := typedAs(m.GetTypedConfig(), &connectionsv3.DownstreamConnectionsConfig{})
		if m.Name == connectionsMonitor && (!ok || limit.MaxActiveDownstreamConnections > 0 && limit.MaxActiveDownstreamConnections <= mostConnections) {
			return
		}
		if m.Name == connectionsMonitor {
			c.find(connectionsUnbounded, "envoy", strconv.FormatInt(limit.MaxActiveDownstreamConnections, 10))
			return
		}
	}
	if n := c.runtimeValue("overload.global_downstream_max_connections").GetNumberValue(); n > 0 && n <= mostConnections {
		return
	}
	c.find(connectionsUnbounded, "envoy", "not set")
}

// protections are keys of the runtime that switch what protects Envoy, by their beginnings. A feature's key that is false switches
// it off; the others have values of their own.
var protections = []string{
	"envoy.reloadable_features.", "envoy.restart_features.", "envoy.features.enable_all_deprecated_features", "envoy.deprecated_features",
	"overload.premature_reset_", "http.max_requests_per_io_cycle", "http2.", "http.invalid_", "re2.",
}

// runtime looks at the runtime's static layers. What others have is not in the document.
func (c *checker) runtime() {
	for i, layer := range c.bootstrap.GetLayeredRuntime().GetLayers() {
		at := c.general.to("layered_runtime").item("layers", i).to("static_layer")
		fields := flat("", layer.GetStaticLayer())
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			v := fields[key]
			if !slices.ContainsFunc(protections, func(p string) bool { return strings.HasPrefix(key, p) }) || !switches(key, v) {
				continue
			}
			c.findAt(runtimeOff, "envoy", at.to(key), fmt.Sprintf("%s: %v", key, v.AsInterface()))
		}
	}
}

// switches reports whether a value differs from what protects.
func switches(key string, v *structpb.Value) bool {
	on := v.GetBoolValue() || v.GetStringValue() == "true"
	if strings.Contains(key, "deprecated_features") {
		return on
	}
	if strings.HasPrefix(key, "envoy.reloadable_features.") || strings.HasPrefix(key, "envoy.restart_features.") {
		return !on
	}
	return true
}

// flat are the values of a layer by their keys: a key may be written as fields within fields.
func flat(prefix string, s *structpb.Struct) map[string]*structpb.Value {
	all := map[string]*structpb.Value{}
	for name, v := range s.GetFields() {
		if below := v.GetStructValue(); below != nil && below.Fields["numerator"] == nil {
			maps.Copy(all, flat(prefix+name+".", below))
			continue
		}
		all[prefix+name] = v
	}
	return all
}

// runtimeValue is what the static layers say of a key, nil when they say nothing.
func (c *checker) runtimeValue(key string) (v *structpb.Value) {
	for _, layer := range c.bootstrap.GetLayeredRuntime().GetLayers() {
		if found := flat("", layer.GetStaticLayer())[key]; found != nil {
			v = found
		}
	}
	return v
}

// runtimeLowers reports whether the runtime says that a part of the requests is enough.
func (c *checker) runtimeLowers(key string) bool {
	v := c.runtimeValue(key)
	return key != "" && v != nil && (v.GetStructValue() != nil || v.GetNumberValue() < 100)
}

// whole reports whether a part is all.
func whole(p *typev3.FractionalPercent) bool {
	of := map[typev3.FractionalPercent_DenominatorType]uint32{
		typev3.FractionalPercent_HUNDRED: 100, typev3.FractionalPercent_TEN_THOUSAND: 10_000, typev3.FractionalPercent_MILLION: 1_000_000,
	}
	return p.GetNumerator() >= of[p.GetDenominator()]
}

// tunnels checks listeners that hand bytes on, whatever they are, to a listener of Keyturn's or to a provider.
func (c *checker) tunnels() {
	for _, l := range c.listeners {
		chains := slices.Clone(l.FilterChains)
		at := func(i int) steps { return c.places[l].item("filter_chains", i) }
		if l.DefaultFilterChain != nil {
			chains = append(chains, l.DefaultFilterChain)
		}
		for i, chain := range chains {
			place := at(i)
			if chain == l.DefaultFilterChain {
				place = c.places[l].to("default_filter_chain")
			}
			for j, f := range chain.Filters {
				if p, ok := typedAs(f.GetTypedConfig(), &tcpproxyv3.TcpProxy{}); ok {
					c.tunnel(l, p, place.item("filters", j).to("typed_config"))
				}
			}
		}
	}
}

func (c *checker) tunnel(l *listenerv3.Listener, p *tcpproxyv3.TcpProxy, at steps) {
	names := []string{p.GetCluster()}
	for _, w := range p.GetWeightedClusters().GetClusters() {
		names = append(names, w.Name)
	}
	for _, name := range names {
		cluster := c.clusters[name]
		if cluster == nil {
			continue
		}
		where := "listener " + l.Name
		inner := c.hops[name] || slices.ContainsFunc(c.managers, func(m *manager) bool {
			return (m.role == roleInner || m.role == roleLoopback) && leads(cluster, m.listener)
		})
		outer := !local(addresses(l)) && slices.ContainsFunc(c.managers, func(m *manager) bool {
			return m.role == roleFront && m.local() && leads(cluster, m.listener)
		})
		switch {
		case inner, outer:
			c.findAt(tcpToFront, where, at, name)
		case c.pools[name] != nil && c.proxy == nil:
			c.findAt(tcpToProvider, where, at, name)
		}
	}
}

// processorReach checks that what passes between Envoy and Keyturn crosses no network in the clear.
func (c *checker) processorReach(where string, cluster *clusterv3.Cluster) {
	if cluster.TransportSocket != nil && !isPlain(cluster.TransportSocket) || len(cluster.TransportSocketMatches) > 0 {
		return
	}
	for _, a := range endpoints(cluster) {
		if s := a.GetSocketAddress(); s != nil && s.Address != "localhost" && !isLocal(a) {
			c.find(processorPlain, where, "not set, to "+printed(a))
			return
		}
	}
}

// isPlain reports whether a transport socket hides nothing.
func isPlain(s *corev3.TransportSocket) bool {
	return strings.HasSuffix(s.GetTypedConfig().GetTypeUrl(), ".RawBuffer") || s.GetTypedConfig() == nil && s.Name == "envoy.transport_sockets.raw_buffer"
}
