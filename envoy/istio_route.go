package envoy

import (
	"fmt"
	"maps"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	apikeyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
	tometadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// What the mesh's routes look for in the path, which has no query here. Neither VirtualService nor HTTPRoute can except
// something from an expression, so the files of vector stores, which are named by their ids, are kept out by naming what
// stands before /files. Envoy refuses expressions of more than 100 RE2 instructions: [!-~] is any character of a path,
// trans is transcriptions and translations, and images/[ev] is edits and variations.
const (
	meshUploads = `[!-~]*/((v[0-9][a-z0-9]*|openai|containers/[\w-]+)/files|uploads/[\w-]+/parts|audio/trans[a-z]+|images/[ev][a-z]+)`
	meshSockets = `[!-~]*/(responses|realtime)`
	// meshOthers is an expression too: Istio puts an HTTPRoute's prefixes, "/" among them, before its expressions, and of
	// expressions the longer one first.
	meshOthers = `/.*`

	routesOfPool = 3 // of poolPatches

	mixedCaseWebSocket = `(?i)websocket`

	// meshMetadataFilter has a name of its own, since routes configure filters by name.
	meshMetadataFilter = "keyturn-metadata"
)

// meshRoute is a route to a pool: what Kubernetes matches and what Envoy is told about it.
type meshRoute struct {
	suffix string // of its name: "", uploads, websocket
	method string
	path   string // an expression for the whole path
	upward bool   // a WebSocket upgrade
	patch  *routev3.Route
}

// poolPatches are the routes of a pool, the particular ones first.
func (m *mesh) poolPatches(p *meshPool) []meshRoute {
	upload, socket, whole := m.patch(p), m.patch(p), m.patch(p)
	for _, r := range []*routev3.Route{upload, socket} {
		maps.Copy(r.TypedPerFilterConfig, m.streamed())
		if !p.BYOK {
			r.ResponseHeadersToRemove = append(r.ResponseHeadersToRemove, accountHeaders...)
		}
		if m.Form == GatewayAPI || m.Form == envoyGateway { // Istio gives its routes a policy that repeats what was not answered, and nothing takes it out
			r.GetRoute().RetryPolicy = retryPolicyFor(0)
		}
	}
	socket.GetRoute().UpgradeConfigs = webSocket(true)
	whole.GetRoute().UpgradeConfigs = webSocket(false)
	upload.GetRoute().UpgradeConfigs = webSocket(false)
	whole = m.patient(m.buffered(whole, p.Keys, m.MaxRequestBytes), p.Pool)
	return []meshRoute{
		{suffix: "uploads", method: "POST", path: meshUploads, patch: upload},
		{suffix: "websocket", method: "GET", path: meshSockets, upward: true, patch: socket},
		{path: meshOthers, patch: whole},
	}
}

// webSocket says whether a route takes upgrades. Istio's listeners do.
func webSocket(enabled bool) []*routev3.RouteAction_UpgradeConfig {
	return []*routev3.RouteAction_UpgradeConfig{{UpgradeType: "websocket", Enabled: wrapperspb.Bool(enabled)}}
}

// patch is what all routes to a pool have in common.
func (m *mesh) patch(p *meshPool) *routev3.Route {
	return &routev3.Route{
		RequestBodyBufferLimit: wrapperspb.UInt64(m.bodyBytes),
		TypedPerFilterConfig:   m.clientConfig(p),
		// Not the credentials: the VirtualService or HTTPRoute removes those, so that they are gone when this patch is.
		ResponseHeadersToRemove: []string{retryHeader},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			Timeout: durationpb.New(0), IdleTimeout: durationpb.New(m.IdleTimeout),
		}},
	}
}

// clientConfig enables the filters before the router on a route to a pool.
func (m *mesh) clientConfig(p *meshPool) map[string]*anypb.Any {
	per := map[string]*anypb.Any{meshMetadataFilter: m.pack(m.metadataRules())}
	switch {
	case len(m.Clients.APIKeys) == 0:
	case p.BYOK:
		per[apiKeyFilter] = m.byokSources()
	default:
		per[apiKeyFilter] = m.pack(&apikeyv3.ApiKeyAuthPerRoute{KeySources: m.apiKeys().KeySources, Forwarding: keyForwarding()})
	}
	return per
}

// metadataRules keep what attempts clean out of the request for Keyturn and the access log.
func (m *mesh) metadataRules() *tometadatav3.Config {
	c := &tometadatav3.Config{RequestRules: []*tometadatav3.Config_Rule{headerRule("x-request-id", "request_id", false)}}
	if len(m.Clients.APIKeys) > 0 {
		c.RequestRules = append(c.RequestRules, headerRule(clientHeader, "client", true))
	}
	return c
}

// clientFilters go before the router of the mesh's own listeners, in this order, disabled.
func (m *mesh) clientFilters() []*hcmv3.HttpFilter {
	var filters []*hcmv3.HttpFilter
	if auth := m.authentication(); auth != nil {
		auth.Disabled = true
		filters = append(filters, auth)
	}
	return append(filters,
		&hcmv3.HttpFilter{Name: meshMetadataFilter, Disabled: true, ConfigType: typed(m.pack(m.metadataRules()))},
		m.buffer())
}

// routeName is what Envoy calls a route: what a VirtualService's says, or the place in an HTTPRoute. It does not have
// the prefix of the resources' names: where two VirtualServices speak for a host, Istio takes the older one, and then
// the patches for both fit it.
func (m *mesh) routeName(p *meshPool, i int) string {
	switch m.Form {
	case GatewayAPI:
		return fmt.Sprintf("%s.%s.%d", m.Namespace, m.named(p.resource), i)
	case envoyGateway:
		return fmt.Sprintf("%s/match/0/%s", m.ruleName(*p, i), strings.ReplaceAll(p.called, ".", "_"))
	case Gateway, Sidecar:
	}
	name := filterName + "-" + p.resource
	if s := p.routes[i].suffix; s != "" {
		name += "-" + s
	}
	return name
}

// toPools is a condition on the access log and on local replies: the request took one of the pools' routes.
func (m *mesh) toPools() string {
	names := ""
	for i := range m.pools {
		for j := range m.pools[i].routes {
			if names != "" {
				names += ", "
			}
			names += "'" + m.routeName(&m.pools[i], j) + "'"
		}
	}
	return "xds.route_name in [" + names + "]"
}

// meshReplies are how the proxy's own answers on the pools' routes look.
func (m *mesh) meshReplies() []reply {
	own := m.replies(false)
	if m.Form == envoyGateway {
		if len(m.Clients.APIKeys) == 0 {
			own[0].message = "The gateway does not accept the client's credential (its SecurityPolicy)."
		}
		own[1].message = "The gateway refuses the request: its SecurityPolicy does not allow it, or it is a WebSocket elsewhere than on /responses and /realtime."
		return own
	}
	if len(m.Clients.APIKeys) == 0 {
		own[0].message = "The mesh does not accept the client's token (its RequestAuthentication or AuthorizationPolicy)."
	}
	own[1].message = "The mesh refuses the request: its AuthorizationPolicy does not allow it, or it is a WebSocket elsewhere than on /responses and /realtime."
	return own
}

// managerPatch goes into the connection managers of the mesh's own listeners.
func (m *mesh) managerPatch() *hcmv3.HttpConnectionManager {
	c := &hcmv3.HttpConnectionManager{LocalReplyConfig: m.localReplies(m.meshReplies(), m.toPools()), AccessLog: m.accessLog()}
	for _, log := range c.AccessLog {
		log.Filter = m.cel(m.toPools())
	}
	return c
}

// socketAddress is the loopback listener's.
func (m *mesh) socketAddress() *corev3.Address { return m.loopback.bind(m.SocketMode) }
