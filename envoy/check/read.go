package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	minor        int    // Envoy's version is 1.minor; 0 = unknown
	node         string // its id, as Envoy introduces itself to a control plane
	clusters     map[string]*clusterv3.Cluster
	clusterNames []string // in the document's order
	managers     []*manager
	listeners    []*listenerv3.Listener
	routes       map[string]*routev3.RouteConfiguration // of listeners that discover their routes, by name
	refused      []refusal                              // what Envoy was told last and did not take

	bootstrap         bool // what follows is known
	internalListeners bool // Envoy can have them
	connectionLimit   bool // the overload manager bounds connections
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
	d := &document{clusters: map[string]*clusterv3.Cluster{}, routes: map[string]*routev3.RouteConfiguration{}}
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
		d.readBootstrap(&b)
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

func (d *document) readBootstrap(b *bootstrapv3.Bootstrap) {
	d.readGeneral(b)
	d.listeners = append(d.listeners, b.GetStaticResources().GetListeners()...)
	for _, c := range b.GetStaticResources().GetClusters() {
		d.addCluster(c)
	}
}

// readGeneral: a dump's bootstrap has the node as Envoy introduces itself to a control plane.
func (d *document) readGeneral(b *bootstrapv3.Bootstrap) {
	d.bootstrap = b != nil
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

func (d *document) addCluster(c *clusterv3.Cluster) {
	if d.clusters[c.Name] == nil {
		d.clusterNames = append(d.clusterNames, c.Name)
	}
	d.clusters[c.Name] = c
}

// readDump takes clusters, listeners and routes from their own parts, where static and discovered ones are, and from
// the bootstrap in a dump that has only that.
func (d *document) readDump(dump *adminv3.ConfigDump) error {
	var bootstrap *bootstrapv3.Bootstrap
	for i, part := range dump.Configs {
		m, err := part.UnmarshalNew()
		if err != nil {
			continue // a part that this program does not know
		}
		switch m := m.(type) {
		case *adminv3.BootstrapConfigDump:
			bootstrap = m.Bootstrap
		case *adminv3.ClustersConfigDump:
			err = d.readClusters(m)
		case *adminv3.ListenersConfigDump:
			err = d.readListeners(m)
		case *adminv3.RoutesConfigDump:
			err = d.readRoutes(m)
		}
		if err != nil {
			return fmt.Errorf("configs[%d] of the dump: %w", i, err)
		}
	}
	if len(d.listeners) == 0 && len(d.clusters) == 0 {
		d.readBootstrap(bootstrap)
	}
	d.readGeneral(bootstrap)
	return nil
}

func (d *document) readClusters(m *adminv3.ClustersConfigDump) error {
	var packed []*anypb.Any
	for _, c := range m.StaticClusters {
		packed = append(packed, c.Cluster)
	}
	for _, c := range slices.Concat(m.DynamicActiveClusters, m.DynamicWarmingClusters) {
		packed = append(packed, c.Cluster)
		var named clusterv3.Cluster
		if c.ErrorState != nil {
			_ = c.Cluster.UnmarshalTo(&named) // an error comes again below
		}
		d.refuse("cluster", named.Name, c.ErrorState)
	}
	for _, a := range packed {
		var c clusterv3.Cluster
		if err := a.UnmarshalTo(&c); err != nil {
			return fmt.Errorf("a cluster: %w", err)
		}
		d.addCluster(&c)
	}
	return nil
}

func (d *document) readListeners(m *adminv3.ListenersConfigDump) error {
	var packed []*anypb.Any
	for _, l := range m.StaticListeners {
		packed = append(packed, l.Listener)
	}
	for _, l := range m.DynamicListeners {
		d.refuse("listener", l.Name, l.ErrorState)
		if state := l.ActiveState; state != nil {
			packed = append(packed, state.Listener)
		} else if state := l.WarmingState; state != nil {
			packed = append(packed, state.Listener)
		}
	}
	for _, a := range packed {
		var l listenerv3.Listener
		if err := a.UnmarshalTo(&l); err != nil {
			return fmt.Errorf("a listener: %w", err)
		}
		d.listeners = append(d.listeners, &l)
	}
	return nil
}

func (d *document) readRoutes(m *adminv3.RoutesConfigDump) error {
	for _, r := range m.DynamicRouteConfigs {
		var config routev3.RouteConfiguration
		if err := r.RouteConfig.UnmarshalTo(&config); err != nil {
			return fmt.Errorf("routes: %w", err)
		}
		d.routes[config.Name] = &config
	}
	return nil
}

// readManagers finds the HTTP connection managers of all listeners.
func (d *document) readManagers() {
	for _, l := range d.listeners {
		chains := l.FilterChains
		if l.DefaultFilterChain != nil {
			chains = append(slices.Clone(chains), l.DefaultFilterChain)
		}
		for _, chain := range chains {
			for _, f := range chain.Filters {
				if h, ok := typedAs(f.GetTypedConfig(), &hcmv3.HttpConnectionManager{}); ok {
					d.managers = append(d.managers, newManager(d, l, chain, h))
				}
			}
		}
	}
}
