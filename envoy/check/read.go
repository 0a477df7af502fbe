package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
)

const connectionsMonitor = "envoy.resource_monitors.global_downstream_max_connections"

// document is what an Envoy was told, from a bootstrap or a dump.
type document struct {
	root         any                     // the document without its types
	general      steps                   // where the bootstrap stands
	places       map[proto.Message]steps // where clusters, listeners, routes and what else stands, by the message that was read there
	minor        int                     // Envoy's version is 1.minor; 0 = unknown
	node         string                  // its id, as Envoy introduces itself to a control plane
	clusters     map[string]*clusterv3.Cluster
	clusterNames []string // in the document's order
	managers     []*manager
	listeners    []*listenerv3.Listener
	routes       map[string]*routev3.RouteConfiguration // of listeners that discover their routes, by name
	refused      []refusal                              // what Envoy was told last and did not take

	bootstrap         *bootstrapv3.Bootstrap // nil when it is not known, nor what follows
	internalListeners bool                   // Envoy can have them
	connectionLimit   bool                   // the overload manager bounds connections
}

// readDocument reads either kind of document.
func readDocument(doc []byte) (*document, error) {
	j, err := toJSON(doc)
	if err != nil {
		return nil, err
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(j, &top); err != nil {
		return nil, errors.New("not an Envoy configuration: not a mapping of fields")
	}
	d := &document{
		clusters: map[string]*clusterv3.Cluster{}, routes: map[string]*routev3.RouteConfiguration{}, places: map[proto.Message]steps{},
	}
	if err := json.Unmarshal(j, &d.root); err != nil {
		return nil, err
	}
	switch {
	case top["configs"] != nil:
		var dump adminv3.ConfigDump
		if err := unmarshal(j, &dump); err != nil {
			return nil, fmt.Errorf("not an answer of /config_dump that this version understands: %w", err)
		}
		err = d.readDump(&dump)
	case top["static_resources"] != nil || top["staticResources"] != nil || top["dynamic_resources"] != nil || top["dynamicResources"] != nil:
		var b bootstrapv3.Bootstrap
		if err := unmarshal(j, &b); err != nil {
			return nil, fmt.Errorf("not an Envoy configuration that this version understands: %w", err)
		}
		d.readBootstrap(&b, nil)
	default:
		return nil, errors.New("neither an Envoy configuration, which has static_resources or dynamic_resources, nor an answer of /config_dump, which has configs")
	}
	if err != nil {
		return nil, err
	}
	d.readManagers()
	return d, nil
}

// toJSON returns JSON as it is and turns YAML into it.
func toJSON(doc []byte) ([]byte, error) {
	if len(bytes.TrimSpace(doc)) == 0 {
		return nil, errors.New("the document is empty")
	}
	if json.Valid(doc) {
		return doc, nil
	}
	var v any
	if err := yaml.Unmarshal(doc, &v); err != nil {
		return nil, fmt.Errorf("neither JSON nor YAML: %w", err)
	}
	j, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("YAML that JSON cannot say: %w", err)
	}
	return j, nil
}

// unmarshal passes over what it does not know: a document may hold anything that some Envoy has.
func unmarshal(j []byte, m proto.Message) error {
	return protojson.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true, Resolver: resolver{protoregistry.GlobalTypes}}.Unmarshal(j, m)
}

// resolver takes extensions whose types are not linked into this program for empty messages.
type resolver struct{ *protoregistry.Types }

func (r resolver) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	t, err := r.Types.FindMessageByURL(url)
	if errors.Is(err, protoregistry.NotFound) {
		return (&codecv3.UpstreamCodec{}).ProtoReflect().Type(), nil
	}
	return t, err
}

// typedAs returns the message in an Any, nil when it is of another type.
func typedAs[M proto.Message](a *anypb.Any, m M) (found M, ok bool) {
	if a == nil || !a.MessageIs(m) || a.UnmarshalTo(m) != nil {
		return found, false
	}
	return m, true
}

func (d *document) readBootstrap(b *bootstrapv3.Bootstrap, at steps) {
	d.readGeneral(b, at)
	static := at.to("static_resources")
	for i, l := range b.GetStaticResources().GetListeners() {
		d.listeners = append(d.listeners, l)
		d.places[l] = static.item("listeners", i)
	}
	for i, c := range b.GetStaticResources().GetClusters() {
		d.addCluster(c, static.item("clusters", i))
	}
}

// readGeneral: a dump's bootstrap has the node as Envoy introduces itself to a control plane.
func (d *document) readGeneral(b *bootstrapv3.Bootstrap, at steps) {
	d.bootstrap, d.general = b, at
	for _, e := range b.GetBootstrapExtensions() {
		// By the name too: istio-proxy wraps the configuration in a TypedStruct.
		d.internalListeners = d.internalListeners || e.Name == "envoy.bootstrap.internal_listener" || strings.HasSuffix(e.GetTypedConfig().GetTypeUrl(), ".InternalListener")
	}
	for _, m := range b.GetOverloadManager().GetResourceMonitors() {
		d.connectionLimit = d.connectionLimit || m.Name == connectionsMonitor
	}
	d.node = b.GetNode().GetId()
	if v := b.GetNode().GetUserAgentBuildVersion().GetVersion(); v.GetMajorNumber() == 1 {
		d.minor = int(v.GetMinorNumber())
	}
}

func (d *document) addCluster(c *clusterv3.Cluster, at steps) {
	if d.clusters[c.Name] == nil {
		d.clusterNames = append(d.clusterNames, c.Name)
	}
	d.clusters[c.Name] = c
	d.places[c] = at
}

// readDump takes clusters, listeners and routes from their own parts, where static and discovered ones are, and from
// the bootstrap in a dump that has only that.
func (d *document) readDump(dump *adminv3.ConfigDump) error {
	var bootstrap *bootstrapv3.Bootstrap
	var general steps
	for i, part := range dump.Configs {
		m, err := part.UnmarshalNew()
		if err != nil {
			continue // a part that this program does not know
		}
		at := steps(nil).item("configs", i)
		switch m := m.(type) {
		case *adminv3.BootstrapConfigDump:
			bootstrap, general = m.Bootstrap, at.to("bootstrap")
		case *adminv3.ClustersConfigDump:
			err = d.readClusters(m, at)
		case *adminv3.ListenersConfigDump:
			err = d.readListeners(m, at)
		case *adminv3.RoutesConfigDump:
			err = d.readRoutes(m, at)
		}
		if err != nil {
			return fmt.Errorf("configs[%d] of the dump: %w", i, err)
		}
	}
	if len(d.listeners) == 0 && len(d.clusters) == 0 {
		d.readBootstrap(bootstrap, general)
	}
	d.readGeneral(bootstrap, general)
	return nil
}

// packed is a resource in a dump, with the place where it stands.
type packed struct {
	resource *anypb.Any
	at       steps
}

func (d *document) readClusters(m *adminv3.ClustersConfigDump, at steps) error {
	var all []packed
	for i, c := range m.StaticClusters {
		all = append(all, packed{c.Cluster, at.item("static_clusters", i).to("cluster")})
	}
	discovered := func(list string, clusters []*adminv3.ClustersConfigDump_DynamicCluster) {
		for i, c := range clusters {
			all = append(all, packed{c.Cluster, at.item(list, i).to("cluster")})
			var named clusterv3.Cluster
			if c.ErrorState != nil {
				_ = c.Cluster.UnmarshalTo(&named) // an error comes again below
			}
			d.refuse("cluster", named.Name, c.ErrorState)
		}
	}
	discovered("dynamic_active_clusters", m.DynamicActiveClusters)
	discovered("dynamic_warming_clusters", m.DynamicWarmingClusters)
	for _, p := range all {
		var c clusterv3.Cluster
		if err := p.resource.UnmarshalTo(&c); err != nil {
			return fmt.Errorf("a cluster: %w", err)
		}
		d.addCluster(&c, p.at)
	}
	return nil
}

func (d *document) readListeners(m *adminv3.ListenersConfigDump, at steps) error {
	var all []packed
	for i, l := range m.StaticListeners {
		all = append(all, packed{l.Listener, at.item("static_listeners", i).to("listener")})
	}
	for i, l := range m.DynamicListeners {
		d.refuse("listener", l.Name, l.ErrorState)
		place := at.item("dynamic_listeners", i)
		if state := l.ActiveState; state != nil {
			all = append(all, packed{state.Listener, place.to("active_state", "listener")})
		} else if state := l.WarmingState; state != nil {
			all = append(all, packed{state.Listener, place.to("warming_state", "listener")})
		}
	}
	for _, p := range all {
		var l listenerv3.Listener
		if err := p.resource.UnmarshalTo(&l); err != nil {
			return fmt.Errorf("a listener: %w", err)
		}
		d.listeners = append(d.listeners, &l)
		d.places[&l] = p.at
	}
	return nil
}

func (d *document) readRoutes(m *adminv3.RoutesConfigDump, at steps) error {
	for i, r := range m.DynamicRouteConfigs {
		var config routev3.RouteConfiguration
		if err := r.RouteConfig.UnmarshalTo(&config); err != nil {
			return fmt.Errorf("routes: %w", err)
		}
		d.routes[config.Name] = &config
		d.places[&config] = at.item("dynamic_route_configs", i).to("route_config")
	}
	return nil
}

// readManagers finds the HTTP connection managers of all listeners.
func (d *document) readManagers() {
	for _, l := range d.listeners {
		for i, chain := range l.FilterChains {
			d.readChain(l, chain, d.places[l].item("filter_chains", i))
		}
		if l.DefaultFilterChain != nil {
			d.readChain(l, l.DefaultFilterChain, d.places[l].to("default_filter_chain"))
		}
	}
}

func (d *document) readChain(l *listenerv3.Listener, chain *listenerv3.FilterChain, at steps) {
	for i, f := range chain.Filters {
		if h, ok := typedAs(f.GetTypedConfig(), &hcmv3.HttpConnectionManager{}); ok {
			d.managers = append(d.managers, newManager(d, l, chain, h, at.item("filters", i).to("typed_config")))
		}
	}
}
