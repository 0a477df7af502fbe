package envoy

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/keyturn/keyturn/internal/wire"
)

const websocket = "websocket"

// How many headers requests may have, and of how many KiB. Envoy's defaults, which clients are held to, are 100 and 60.
// The loopback listener's have a client's headers and some of Keyturn's, the inner's those and a front's, which repeats the
// path in x-envoy-original-path.
const (
	loopbackHeaders   = 128
	loopbackHeadersKB = 96
	innerHeaders      = 160
	innerHeadersKB    = 192
)

// http10Host is the authority of an HTTP/1.0 request that has none, which no browser sends. Keyturn sets the provider's in its place.
const http10Host = "localhost"

// mainListener serves the clients.
//
// Headers with underscores stay allowed, as is Envoy's default: Codex sends session_id, and nothing here reads a
// header that an underscore could pose as. Escaped slashes stay as they are: they are part of models' names
// (/v1/models/org%2Fmodel), and no route grants what another refuses. Where dots stand beside them the guard refuses the path.
func (r *renderer) mainListener() *listenerv3.Listener {
	host := &routev3.VirtualHost{Routes: r.mainRoutes(), IncludeRequestAttemptCount: true}
	m := &hcmv3.HttpConnectionManager{StatPrefix: "main"}
	where := ""
	if r.Attach == Route {
		names := make([]string, 0, len(host.Routes))
		for _, route := range host.Routes {
			names = append(names, route.Name)
		}
		where = onRoutes(names)
	} else {
		host.RequestHeadersToAdd = onceHeaders()
		host.RequestBodyBufferLimit = wrapperspb.UInt64(uint64(r.MaxRequestBytes))
		m.StreamIdleTimeout = durationpb.New(r.IdleTimeout)
		m.UpgradeConfigs = webSockets()
	}
	m.UseRemoteAddress = wrapperspb.Bool(true) // a client's own x-forwarded-for and x-envoy-* count for nothing
	m.NormalizePath = wrapperspb.Bool(true)
	m.MergeSlashes = true
	m.HttpProtocolOptions = &corev3.Http1ProtocolOptions{AcceptHttp_10: true, DefaultHostForHttp_10: http10Host}
	m.RequestHeadersTimeout = durationpb.New(requestHeadersTimeout)
	m.AccessLog = append(r.accessLog(requestFields, where), r.recordRequests(where)...)
	m.LocalReplyConfig = r.localReplies(r.mainReplies(), where)
	// How the hop answered is what the listener answers, and stands in its own statistics: not counted twice.
	m.HttpFilters = append(r.frontFilters(), r.router(&routerv3.Router{DynamicStats: wrapperspb.Bool(false)}))
	l := r.listener("main", r.listen.Bind(0), m, host)
	l.TrafficDirection = corev3.TrafficDirection_INBOUND
	l.TcpKeepalive = probes() // a client that is gone is noticed while the model thinks
	return l
}

// innerListener is where Keyturn's filter stands: one request to it is one attempt. It is internal to Envoy where at is
// nil. Only fronts reach it: they count idleness, retry and know the client.
func (r *renderer) innerListener(at *corev3.Address) *listenerv3.Listener {
	host := &routev3.VirtualHost{
		RequestBodyBufferLimit: wrapperspb.UInt64(r.bodyBytes),
		// Keyturn removes the rest of what is not for a provider. Without x-forwarded-proto Envoy would find no route.
		RequestHeadersToRemove:  []string{wire.ClusterHeader, wire.ForwardedProtoHeader},
		ResponseHeadersToRemove: unseenHeaders(r.Pools),
		Routes: []*routev3.Route{{
			Match: everything(),
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_ClusterHeader{ClusterHeader: wire.ClusterHeader},
				Timeout:          durationpb.New(0),
			}},
		}},
	}
	l := r.listener(InnerName, at, &hcmv3.HttpConnectionManager{
		StatPrefix:                "inner",
		UpgradeConfigs:            webSockets(),
		SkipXffAppend:             true,
		GenerateRequestId:         wrapperspb.Bool(false),
		StreamIdleTimeout:         durationpb.New(0),
		MaxRequestHeadersKb:       u32(innerHeadersKB),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{MaxHeadersCount: u32(innerHeaders)},
		AccessLog:                 append(r.accessLog(attemptFields, ""), r.recordAttempts()...),
		LocalReplyConfig:          r.localReplies(innerReplies, ""),
		HttpFilters:               slices.Concat([]*hcmv3.HttpFilter{r.filter(r.Pools)}, r.usage(), []*hcmv3.HttpFilter{r.router(&routerv3.Router{SuppressEnvoyHeaders: true})}),
	}, host)
	l.TrafficDirection = corev3.TrafficDirection_OUTBOUND
	l.IgnoreGlobalConnLimit = true // a full house of clients must not stop requests that already run
	if at == nil {
		l.ListenerSpecifier = &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}}
	}
	return l
}

// loopbackListener is the front of Keyturn's own requests. Only Keyturn reaches it, so a request may say here which pool,
// turn and model it is for. What Envoy answers itself goes on to the client, and is shaped for it.
func (r *renderer) loopbackListener(at *corev3.Address) *listenerv3.Listener {
	host := &routev3.VirtualHost{
		IncludeRequestAttemptCount: true,
		RequestBodyBufferLimit:     wrapperspb.UInt64(r.bodyBytes),
		RequestHeadersToAdd:        onceHeaders(),
		Routes:                     []*routev3.Route{r.loopbackRoute()},
	}
	l := r.listener(loopbackName, at, &hcmv3.HttpConnectionManager{
		StatPrefix:                "loopback",
		MaxRequestHeadersKb:       u32(loopbackHeadersKB),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{MaxHeadersCount: u32(loopbackHeaders)},
		StreamIdleTimeout:         durationpb.New(r.IdleTimeout),
		AccessLog:                 r.accessLog(turnFields, ""),
		LocalReplyConfig:          r.localReplies(r.frontReplies(), ""),
		HttpFilters:               []*hcmv3.HttpFilter{r.router(&routerv3.Router{})},
	}, host)
	l.TrafficDirection = corev3.TrafficDirection_OUTBOUND
	l.IgnoreGlobalConnLimit = true
	return l
}

// listener serves one virtual host for every name.
func (r *renderer) listener(name string, at *corev3.Address, m *hcmv3.HttpConnectionManager, host *routev3.VirtualHost) *listenerv3.Listener {
	host.Name, host.Domains = "all", []string{"*"}
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
		VirtualHosts: []*routev3.VirtualHost{host},
	}}
	return &listenerv3.Listener{
		Name: name, Address: at,
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       ManagerFilter,
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: r.pack(m)},
		}}}},
	}
}

// webSockets lets upgrades through.
func webSockets() []*hcmv3.HttpConnectionManager_UpgradeConfig {
	return []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: websocket}}
}
