package mesh_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	internalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// istiod stands for Istio's control plane: it makes of rendered resources what a proxy gets, in the shape that Istio
// 1.31 was seen to make. It knows only what the resources use, and refuses what it does not know. The tests of the
// module test/istio do the same with the real one.
type istiod struct {
	t         *testing.T
	bind      netip.AddrPort                       // of the first listener, instead of every address
	endpoints func(host string) netip.AddrPort     // of a host
	routes    []*meshHost                          // at first, those of other hosts
	clusters  []*clusterv3.Cluster                 // at first, those of other hosts
	patched   map[string]int                       // how many objects each kind of patch changed
	listeners []*meshListener                      // the proxy's own
	added     []*listenerv3.Listener               // by patches
	tls       map[string]*tlsv3.UpstreamTlsContext // by host
}

// meshHost is a virtual host and the port that apps call it on.
type meshHost struct {
	port uint32
	*routev3.VirtualHost
}

// meshListener is one of the proxy's own listeners.
type meshListener struct {
	port    uint32
	manager *hcmv3.HttpConnectionManager
}

// kubeObject is an object of Kubernetes, with all fields that the resources have.
type kubeObject struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		Hosts, Gateways, ExportTo, Hostnames []string
		Host                                 string
		Location, Resolution                 string
		GatewayClassName                     string
		Ports                                []struct {
			Number, TargetPort uint32
			Name, Protocol     string
		}
		TrafficPolicy struct {
			ConnectionPool json.RawMessage
			TLS            *struct {
				Mode, Sni       string
				SubjectAltNames []string
			}
		}
		Selector         map[string]string
		Servers          json.RawMessage
		Listeners        json.RawMessage
		Egress           json.RawMessage
		HTTP             []virtualRoute
		ParentRefs       []struct{ Name string }
		Rules            []httpRule
		WorkloadSelector struct{ Labels map[string]string }
		TargetRefs       []struct{ Group, Kind, Name string }
		Priority         int
		ConfigPatches    []configPatch
	}
}

type virtualRoute struct {
	Name    string
	Headers struct{ Request struct{ Remove []string } }
	Retries struct{ Attempts *int }
	Route   []struct {
		Destination struct {
			Host string
			Port struct{ Number uint32 }
		}
	}
}

type httpRule struct {
	Matches []struct {
		Path struct{ Type, Value string }
	}
	Filters []struct {
		Type                  string
		RequestHeaderModifier struct{ Remove []string }
	}
	BackendRefs []struct {
		Group, Kind, Name string
		Port              uint32
	}
}

type configPatch struct {
	ApplyTo string
	Match   struct {
		Context  string
		Listener struct {
			PortNumber  uint32
			FilterChain struct {
				Filter struct {
					Name      string
					SubFilter struct{ Name string }
				}
			}
		}
		RouteConfiguration struct {
			Vhost struct{ Route struct{ Name string } }
		}
	}
	Patch struct {
		Operation string
		Value     json.RawMessage
	}
}

// readObjects decodes a stream of resources, and fails on fields that it does not know.
func readObjects(t *testing.T, stream []byte) (objects []kubeObject) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(stream))
	for {
		var v any
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			require.NotEmpty(t, objects)
			return objects
		}
		require.NoError(t, err)
		j, err := json.Marshal(v)
		require.NoError(t, err)
		var o struct {
			APIVersion string
			kubeObject
		}
		strict := json.NewDecoder(bytes.NewReader(j))
		strict.DisallowUnknownFields()
		require.NoError(t, strict.Decode(&o), string(j))
		objects = append(objects, o.kubeObject)
	}
}

// bootstrap is a proxy's configuration by the resources.
func (s *istiod) bootstrap(stream []byte) []byte {
	s.t.Helper()
	objects := readObjects(s.t, stream)
	s.patched, s.tls = map[string]int{}, map[string]*tlsv3.UpstreamTlsContext{}
	port := map[string]uint32{}
	for _, o := range objects {
		switch o.Kind {
		case "ServiceEntry":
			require.Equal(s.t, "DNS", o.Spec.Resolution)
			require.Len(s.t, o.Spec.Ports, 1)
			port[o.Spec.Hosts[0]] = o.Spec.Ports[0].Number
		case "DestinationRule":
			if tls := o.Spec.TrafficPolicy.TLS; tls != nil {
				s.tls[o.Spec.Host] = &tlsv3.UpstreamTlsContext{Sni: tls.Sni, CommonTlsContext: names(s.t, tls.SubjectAltNames)}
			}
		case "VirtualService", "HTTPRoute", "Gateway", "Sidecar", "EnvoyFilter":
		default:
			require.Fail(s.t, "unknown kind", o.Kind)
		}
	}
	for _, o := range objects {
		switch {
		case o.Kind == "VirtualService" && !strings.HasSuffix(o.Metadata.Name, "-mesh"): // of the gateway, not of the sidecars that send to it
			s.host(o.Spec.Hosts[0], port, virtualRoutes(s.t, o, port))
		case o.Kind == "HTTPRoute":
			s.host(o.Spec.Hostnames[0], port, httpRoutes(s.t, o))
		}
	}
	var filter *kubeObject
	for i := range objects {
		if objects[i].Kind == "EnvoyFilter" {
			require.Nil(s.t, filter, "a proxy can have one EnvoyFilter with upstream filters")
			filter = &objects[i]
		}
	}
	require.NotNil(s.t, filter)
	s.listen(filter)
	for _, p := range filter.Spec.ConfigPatches {
		s.apply(p)
	}
	return s.marshal()
}

func names(t *testing.T, sans []string) *tlsv3.CommonTlsContext {
	v := &tlsv3.CertificateValidationContext{TrustedCa: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: envoytest.CAFile(t)}}}
	for _, san := range sans {
		v.MatchTypedSubjectAltNames = append(v.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
			SanType: tlsv3.SubjectAltNameMatcher_DNS,
			Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: san}},
		})
	}
	return &tlsv3.CommonTlsContext{ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}}
}

// host is a virtual host with the cluster that its routes lead to.
func (s *istiod) host(name string, port map[string]uint32, routes []*routev3.Route) {
	number, ok := port[name]
	if !ok { // a Service
		_, err := fmt.Sscanf(routes[0].GetRoute().GetCluster(), "outbound|%d||", &number)
		require.NoError(s.t, err)
	}
	s.routes = append(s.routes, &meshHost{number, &routev3.VirtualHost{
		Name: fmt.Sprintf("%s:%d", name, number), Domains: []string{name, fmt.Sprintf("%s:%d", name, number)}, Routes: routes,
		IncludeRequestAttemptCount: true,
	}})
	s.clusters = append(s.clusters, s.cluster(fmt.Sprintf("outbound|%d||%s", number, name), name))
}

func (s *istiod) cluster(name, host string) *clusterv3.Cluster {
	const most = 1<<32 - 1
	c := &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(5 * time.Second),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: wrapperspb.UInt32(most), MaxPendingRequests: wrapperspb.UInt32(most), MaxRequests: wrapperspb.UInt32(most),
			MaxRetries: wrapperspb.UInt32(most), TrackRemaining: true,
		}}},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: socketAddress(s.endpoints(host)),
			}}}},
		}}},
	}
	if tls := s.tls[host]; tls != nil {
		c.TransportSocket = &corev3.TransportSocket{
			Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(s.t, tls)},
		}
	}
	return c
}

func socketAddress(a netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	require.NoError(t, err)
	return a
}

// virtualRoutes are Envoy's routes by a VirtualService.
func virtualRoutes(t *testing.T, o kubeObject, port map[string]uint32) (routes []*routev3.Route) {
	for _, v := range o.Spec.HTTP {
		require.NotNil(t, v.Retries.Attempts, "Istio would add its own retries")
		require.Zero(t, *v.Retries.Attempts)
		d := v.Route[0].Destination
		number := d.Port.Number
		if number == 0 {
			number = port[d.Host]
		}
		routes = append(routes, envoyRoute(v.Name, fmt.Sprintf("outbound|%d||%s", number, d.Host), v.Headers.Request.Remove))
	}
	return routes
}

// httpRoutes are Envoy's routes by an HTTPRoute.
func httpRoutes(t *testing.T, o kubeObject) (routes []*routev3.Route) {
	for i, rule := range o.Spec.Rules {
		require.Len(t, rule.Matches, 1)
		require.Equal(t, "PathPrefix /", rule.Matches[0].Path.Type+" "+rule.Matches[0].Path.Value)
		var remove []string
		for _, f := range rule.Filters {
			remove = f.RequestHeaderModifier.Remove
			require.LessOrEqual(t, len(remove), 16, "the most that Kubernetes takes")
		}
		b := rule.BackendRefs[0]
		r := envoyRoute(fmt.Sprintf("%s.%s.%d", o.Metadata.Namespace, o.Metadata.Name, i), fmt.Sprintf("outbound|%d||%s", b.Port, b.Name), remove)
		// Istio's own policy, which an HTTPRoute has no word against.
		r.GetRoute().RetryPolicy = &routev3.RetryPolicy{
			RetryOn:              "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
			NumRetries:           wrapperspb.UInt32(2),
			RetriableStatusCodes: []uint32{503},
			RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
				Name: "envoy.retry_host_predicates.previous_hosts",
				ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
					TypedConfig: pack(t, &previoushostsv3.PreviousHostsPredicate{}),
				},
			}},
			HostSelectionRetryMaxAttempts: 5,
		}
		routes = append(routes, r)
	}
	return routes
}

func envoyRoute(name, cluster string, remove []string) *routev3.Route {
	return &routev3.Route{
		Name: name, Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		RequestHeadersToRemove: remove,
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}, Timeout: durationpb.New(0),
		}},
	}
}

// listen makes the proxy's own listeners: a gateway's one, or a sidecar's for each port that apps call.
func (s *istiod) listen(filter *kubeObject) {
	require.True(s.t, len(filter.Spec.TargetRefs) == 1 || len(filter.Spec.WorkloadSelector.Labels) > 0, "every proxy of the namespace would be changed")
	gateway := filter.Spec.ConfigPatches[0].Match.Context == "GATEWAY"
	for _, host := range s.routes {
		port := host.port
		if gateway {
			port = 0
		}
		i := slices.IndexFunc(s.listeners, func(l *meshListener) bool { return l.port == port })
		if i < 0 {
			i = len(s.listeners)
			s.listeners = append(s.listeners, &meshListener{port, s.connectionManager()})
		}
		config := s.listeners[i].manager.GetRouteConfig()
		config.VirtualHosts = append(config.VirtualHosts, host.VirtualHost)
	}
}

func (s *istiod) connectionManager() *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix: "outbound", StreamIdleTimeout: durationpb.New(0), UseRemoteAddress: wrapperspb.Bool(true),
		UpgradeConfigs: []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{Name: "http"}},
		HttpFilters: []*hcmv3.HttpFilter{
			{Name: "envoy.filters.http.fault", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(s.t, &faultv3.HTTPFault{})}},
			{Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(s.t, &routerv3.Router{})}},
		},
	}
}

// apply applies one patch, as Istio does. It refuses fields that Envoy does not know, of which Istio only warns.
func (s *istiod) apply(p configPatch) {
	s.t.Helper()
	changed := 0
	switch p.ApplyTo + " " + p.Patch.Operation {
	case "CLUSTER ADD":
		c := &clusterv3.Cluster{}
		s.value(p, c)
		s.clusters = append(s.clusters, c)
		changed++
	case "LISTENER ADD":
		l := &listenerv3.Listener{}
		s.value(p, l)
		s.added = append(s.added, l)
		changed++
	case "HTTP_FILTER INSERT_BEFORE", "NETWORK_FILTER MERGE":
		for _, l := range s.listeners {
			if port := p.Match.Listener.PortNumber; port == 0 || l.port == 0 || l.port == port {
				changed += s.applyTo(l.manager, p)
			}
		}
	case "HTTP_ROUTE MERGE":
		r := &routev3.Route{}
		s.value(p, r)
		for _, vhost := range s.routes {
			for _, have := range vhost.Routes {
				if have.Name == p.Match.RouteConfiguration.Vhost.Route.Name {
					proto.Merge(have, r)
					changed++
				}
			}
		}
	default:
		require.Fail(s.t, "unknown patch", "%s %s", p.ApplyTo, p.Patch.Operation)
	}
	require.NotZero(s.t, changed, "%s %s finds nothing", p.ApplyTo, p.Patch.Operation)
	s.patched[p.ApplyTo] += changed
}

// applyTo applies a patch to a listener's connection manager and returns how many objects it changed.
func (s *istiod) applyTo(m *hcmv3.HttpConnectionManager, p configPatch) (changed int) {
	if p.ApplyTo == "NETWORK_FILTER" {
		f := &listenerv3.Filter{}
		s.value(p, f)
		require.Equal(s.t, f.Name, p.Match.Listener.FilterChain.Filter.Name)
		more, err := f.GetTypedConfig().UnmarshalNew()
		require.NoError(s.t, err)
		proto.Merge(m, more)
		return 1
	}
	f := &hcmv3.HttpFilter{}
	s.value(p, f)
	i := slices.IndexFunc(m.HttpFilters, func(have *hcmv3.HttpFilter) bool {
		return have.Name == p.Match.Listener.FilterChain.Filter.SubFilter.Name
	})
	if i < 0 {
		return 0
	}
	m.HttpFilters = slices.Insert(m.HttpFilters, i, f)
	return 1
}

func (s *istiod) value(p configPatch, m proto.Message) {
	s.t.Helper()
	require.NoError(s.t, protojson.Unmarshal(p.Patch.Value, m))
}

func (s *istiod) marshal() []byte {
	s.t.Helper()
	var listeners []*listenerv3.Listener
	for i, l := range s.listeners {
		name, at := "main", s.bind // the name that the tests of all renderings look for
		if i > 0 {
			name = fmt.Sprintf("0.0.0.0_%d", l.port)
			at = netip.AddrPortFrom(at.Addr(), at.Port()+uint16(i))
		}
		listeners = append(listeners, &listenerv3.Listener{
			Name: name, Address: socketAddress(at),
			FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
				Name:       "envoy.filters.network.http_connection_manager",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(s.t, l.manager)},
			}}}},
		})
	}
	b := &bootstrapv3.Bootstrap{
		// As in istio-proxy's: tools/packaging/common/envoy_bootstrap.json of Istio.
		BootstrapExtensions: []*corev3.TypedExtensionConfig{{
			Name: "envoy.bootstrap.internal_listener", TypedConfig: pack(s.t, &internalv3.InternalListener{BufferSizeKb: wrapperspb.UInt32(64)}),
		}},
		Admin:           &bootstrapv3.Admin{Address: socketAddress(netip.MustParseAddrPort("127.0.0.1:0"))},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Listeners: append(listeners, s.added...), Clusters: s.clusters},
	}
	require.NoError(s.t, b.ValidateAll())
	j, err := protojson.Marshal(b)
	require.NoError(s.t, err)
	return j
}

// without leaves out the resources of a kind, or the patches to one.
func without(t *testing.T, stream []byte, applyTo string) []byte {
	t.Helper()
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	d := yaml.NewDecoder(bytes.NewReader(stream))
	found := false
	for {
		var v map[string]any
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		spec, _ := v["spec"].(map[string]any)
		if patches, ok := spec["configPatches"].([]any); ok {
			spec["configPatches"] = slices.DeleteFunc(patches, func(p any) bool {
				is := strings.EqualFold(fmt.Sprint(p.(map[string]any)["applyTo"]), applyTo)
				found = found || is
				return is
			})
		}
		require.NoError(t, e.Encode(v))
	}
	require.True(t, found)
	return out.Bytes()
}
