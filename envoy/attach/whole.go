package attach

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/keyturn/keyturn/envoy"
)

// overwritten is a header that no client can say.
func overwritten(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// manager puts into a listener for clients what its routes to pools need there.
func (a *attacher) manager(m *managerAt, routes []*routeAt) {
	var names []string
	for _, r := range routes {
		if r.manager == m {
			names = append(names, a.nameOf(r))
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	filters := m.node.field("http_filters")
	if filters == nil || filters.kind != list {
		a.refuse(m.node, "the listener has no http_filters, without which Envoy routes nothing")
		return
	}
	for _, f := range a.parts.FrontFilters() {
		if !a.wantsFilter(f.Name) {
			continue
		}
		if slices.ContainsFunc(filters.values, func(own *node) bool { return own.word("name") == f.Name }) {
			a.refuse(filters, "a filter %s is there already", f.Name)
			return
		}
		why := "Refuses methods and paths that hide where they lead. Off for all routes but those to pools."
		if f.Name != envoy.GuardFilter {
			why = "Asks Keyturn who a client is. Off for all routes but those to pools."
		}
		a.message(f, func(v value) { a.item(filters, v, why) })
	}
	a.replies(m, names)
	a.asked(m, routes)
}

// message makes a value of a message.
func (a *attacher) message(m proto.Message, then func(value)) {
	v, err := valueOf(m)
	if err != nil {
		a.errs = append(a.errs, err)
		return
	}
	then(v)
}

// replies shape Envoy's own errors on the routes to pools. Where the listener shapes its errors itself it still does.
func (a *attacher) replies(m *managerAt, names []string) {
	own := m.node.field("local_reply_config")
	if own != nil {
		a.note("The listener %s shapes Envoy's own errors itself: SDKs may not find the reason in them.", m.listener.word("name"))
		return
	}
	if slices.ContainsFunc(names, func(s string) bool { return strings.ContainsAny(s, "'\\\n") }) {
		return // the condition names them between quotes
	}
	a.message(a.parts.LocalReplies(names, "This gateway does not know the client.", "This gateway does not let the client do that."), func(v value) {
		a.field(m.node, "local_reply_config", v, "Envoy's own errors, on the routes to pools alone, in a shape that SDKs read.")
	})
}

// asked are the edits that others notice: they are made where that is allowed, and told where it is not.
func (a *attacher) asked(m *managerAt, routes []*routeAt) {
	ask := func(at *node, why, notice string, edit func()) {
		if a.options.Others {
			edit()
			return
		}
		a.result.LeftOut = append(a.result.LeftOut, Edit{Line: a.line(at.start), Whys: []string{why, notice}})
	}
	hosts := map[*node]bool{}
	for _, r := range routes {
		if r.manager != m || hosts[r.host] || r.host.field("include_request_attempt_count") != nil {
			continue
		}
		hosts[r.host] = true
		const why = "Keyturn learns the number of the attempt, and counts on after a restart and beside other replicas."
		edit := func() { a.field(r.host, "include_request_attempt_count", value("true"), why) }
		if !a.shared(routes)[r.host] {
			edit()
			continue
		}
		ask(r.host, "virtual_host.include_request_attempt_count: true. "+why, "The upstreams of the host's other routes get the header x-envoy-attempt-count.", edit)
	}
	if remote := m.node.field("use_remote_address"); remote == nil {
		const why = "Clients cannot say with x-forwarded-for that they are internal, and then with x-envoy-* how often their requests go out."
		ask(m.node, "use_remote_address: true. "+why, "Other upstreams of the listener get the client's address in x-forwarded-for; behind a load balancer set xff_num_trusted_hops too.",
			func() { a.field(m.node, "use_remote_address", value("true"), why) })
	}
}

// shared are the virtual hosts that have routes to clusters other than those that lead to pools.
func (a *attacher) shared(routes []*routeAt) map[*node]bool {
	if a.hosts != nil {
		return a.hosts
	}
	ours := map[*node]bool{}
	for _, r := range routes {
		ours[r.node] = true
	}
	a.hosts = map[*node]bool{}
	for _, r := range a.found.routes {
		if !ours[r.node] && r.node.field("route") != nil {
			a.hosts[r.host] = true
		}
	}
	return a.hosts
}

// whole puts in what belongs to no listener of clients. front: the file has routes to pools.
func (a *attacher) whole(front bool) error {
	var missing []string
	if p := a.found; p.listenerList != nil || p.bootstrap && front {
		a.message(a.parts.InnerListener(), func(v value) {
			a.resource(p.listenerList, "listeners", "envoy.config.listener.v3.Listener", v, "Where Keyturn's filter stands: each attempt of a request is a request to it. Only this Envoy reaches it.")
		})
	} else {
		missing = append(missing, "the listener "+envoy.InnerName+" (into the file of listeners)")
	}
	if p := a.found; p.clusterList != nil || p.static != nil {
		a.message(a.parts.ProcessorCluster(), func(v value) {
			a.resource(p.clusterList, "clusters", "envoy.config.cluster.v3.Cluster", v, "Leads to Keyturn.")
		})
		a.message(a.parts.InnerCluster(), func(v value) {
			a.resource(p.clusterList, "clusters", "envoy.config.cluster.v3.Cluster", v, "Leads to the inner listener, by HTTP/1: over HTTP/2 a retried request in a hundred would end in 503.")
		})
	} else {
		missing = append(missing, "the clusters "+envoy.ProcessorName+" and "+envoy.InnerName+" (into the file of clusters)")
	}
	if !front {
		missing = append(missing, "the routes (where they are written)")
	}
	if a.found.bootstrap {
		a.bootstrap(front)
	} else {
		missing = append(missing, "bootstrap_extensions with envoy.bootstrap.internal_listener (into the bootstrap)")
	}
	if len(missing) > 0 {
		a.note("This file cannot have all: run attach on the others of this Envoy too, for %s.", strings.Join(missing, ", "))
	}
	return nil
}

// resource puts a listener or a cluster into its list.
func (a *attacher) resource(into *node, name, typed string, v value, why string) {
	switch {
	case into == nil:
		if own := a.found.static.field(name); own != nil {
			a.refuse(own, "%s is empty: write it as a list, or leave it out", name)
			return
		}
		a.refuse(a.found.static, "it has no %s: write %s: [] there", name, name)
	case into.kind != list:
		a.refuse(into, "%s is no list", name)
	default:
		if a.found.resources {
			v = value(`{"@type":"type.googleapis.com/` + typed + `",` + string(v[1:]))
		}
		a.item(into, v, why)
	}
}

// bootstrap puts in what the process needs.
func (a *attacher) bootstrap(front bool) {
	extensions := a.root.field("bootstrap_extensions")
	if !slices.ContainsFunc(a.root.items("bootstrap_extensions"), func(n *node) bool {
		return n.field("typed_config").is("InternalListener") || n.word("name") == "envoy.bootstrap.internal_listener"
	}) {
		const one = `{"name":"envoy.bootstrap.internal_listener","typed_config":{"@type":"type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"}}`
		const why = "Without it Envoy refuses internal listeners."
		if extensions == nil {
			a.field(a.root, "bootstrap_extensions", value("["+one+"]"), why)
		} else {
			a.item(extensions, value(one), why)
		}
	}
	if !front || a.root.field("overload_manager") != nil {
		return
	}
	const why = "Bounds clients' connections: without a bound, enough of them take Envoy's memory and its files."
	if !a.options.Others {
		a.result.LeftOut = append(a.result.LeftOut, Edit{Line: 1, Whys: []string{
			"overload_manager with a bound of 50000 connections. " + why, "Envoy refuses connections beyond it, on all of its listeners.",
		}})
		return
	}
	a.field(a.root, "overload_manager", value(fmt.Sprintf(`{"resource_monitors":[{"name":"envoy.resource_monitors.global_downstream_max_connections","typed_config":`+
		`{"@type":"type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig","max_active_downstream_connections":%d}}]}`, mostConnections)), why)
}

const mostConnections = 50_000
