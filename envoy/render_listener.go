package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tometadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const managerFilter = "envoy.filters.network.http_connection_manager"

// What a request to the loopback listener may have; Envoy's defaults, which clients are held to, are 100 headers and 60 KiB.
const (
	loopbackHeaders   = 128
	loopbackHeadersKB = 96
)

func (r *renderer) listener(name string, a *corev3.Address, m *hcmv3.HttpConnectionManager) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name: name, Address: a,
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       managerFilter,
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: r.pack(m)},
		}}}},
	}
}

// mainManager serves the clients.
//
// Headers with underscores stay allowed, as is Envoy's default: Codex sends session_id, and nothing here reads a
// header that an underscore could pose as. Escaped slashes stay as they are: they are part of models' names
// (/v1/models/org%2Fmodel), and no route grants what another refuses.
func (r *renderer) mainManager() *hcmv3.HttpConnectionManager {
	m := r.manager("main", r.mainRoutes(), r.bodyBytes)
	m.UseRemoteAddress = wrapperspb.Bool(true) // a client's own x-forwarded-for and x-envoy-* count for nothing
	m.NormalizePath = wrapperspb.Bool(true)
	m.MergeSlashes = true
	m.LocalReplyConfig = r.localReplies(r.replies(false), "")
	m.RequestHeadersTimeout = durationpb.New(requestHeadersTimeout)
	rules := []*tometadatav3.Config_Rule{headerRule("x-request-id", "request_id", false)}
	auth := r.authentication()
	if auth != nil {
		m.HttpFilters = append(m.HttpFilters, auth)
		rules = append(rules, headerRule(clientHeader, "client", true))
	}
	m.HttpFilters = append(m.HttpFilters, r.toMetadata(rules...))
	m.HttpFilters = append(m.HttpFilters, r.tail()...)
	return m
}

// loopbackManager serves Keyturn's own requests. Only it makes the metadata of x-keyturn-turn, so no client can.
//
// Its requests have a client's headers and a few of Keyturn's, so it takes more than a listener takes from clients. What
// Envoy answers itself goes on to the client, and is shaped for it.
func (r *renderer) loopbackManager() *hcmv3.HttpConnectionManager {
	m := r.manager("loopback", []*routev3.Route{r.loopbackRoute()}, maxBodyBytes)
	m.MaxRequestHeadersKb = u32(loopbackHeadersKB)
	m.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{MaxHeadersCount: u32(loopbackHeaders)}
	m.LocalReplyConfig = r.localReplies(r.replies(true), "")
	m.HttpFilters = append(m.HttpFilters, r.toMetadata(
		headerRule(turnHeader, "turn", true),
		headerRule("x-request-id", "request_id", false),
	))
	m.HttpFilters = append(m.HttpFilters, r.tail()...)
	return m
}

// manager is what both listeners have in common. bodyBytes is what Envoy may hold of one request or response.
func (r *renderer) manager(name string, routes []*routev3.Route, bodyBytes uint64) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix:        name,
		StreamIdleTimeout: durationpb.New(r.IdleTimeout),
		AccessLog:         r.accessLog(),
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: name,
			VirtualHosts: []*routev3.VirtualHost{{
				Name: "all", Domains: []string{"*"}, Routes: routes,
				RequestBodyBufferLimit: wrapperspb.UInt64(bodyBytes),
			}},
		}},
	}
}
