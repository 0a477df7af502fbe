package envoy

import (
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	apikeyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// patch is what a pool's route gets beside what its VirtualService or HTTPRoute says: it leads to the inner listener, in
// place of the provider's cluster. That the credentials are removed stands there and not here, so that a route which this
// misses sends none to the provider.
func (m *mesh) patch(p *meshPool) *routev3.Route {
	r := m.frontRoute(p.Pool)
	r.GetRoute().UpgradeConfigs = nil // the control plane's listeners take WebSockets
	// Istio's parser refuses the empty configuration by which a route turns a filter on as it stands in the chain.
	r.TypedPerFilterConfig[metadataFilter] = m.pack(m.logRules())
	if len(m.Clients.APIKeys) > 0 && !p.BYOK {
		r.TypedPerFilterConfig[apiKeyFilter] = m.pack(&apikeyv3.ApiKeyAuthPerRoute{KeySources: keySources(clientCredentialHeaders), Forwarding: keyForwarding()})
	}
	if m.Form != envoyGateway { // whose patches put a list in the place of what is there
		r.RequestHeadersToRemove = slices.DeleteFunc(r.RequestHeadersToRemove, func(name string) bool {
			return slices.Contains(m.removed(p), name)
		})
	}
	return r
}

// removed are the headers that a VirtualService or HTTPRoute removes: none where clients may bring credentials of their own.
func (m *mesh) removed(p *meshPool) []string {
	if p.BYOK {
		return nil
	}
	return credentials([]Pool{*p.Pool})
}

// routeName is what Envoy calls a pool's route: what a VirtualService's says, or the place in an HTTPRoute. It does not have
// the prefix of the resources' names: where two VirtualServices speak for a host, Istio takes the older one, and then
// the patches for both fit it.
func (m *mesh) routeName(p *meshPool) string {
	switch m.Form {
	case GatewayAPI:
		return fmt.Sprintf("%s.%s.0", m.Namespace, m.named(p.resource))
	case envoyGateway:
		return fmt.Sprintf("%s/match/0/%s", m.ruleName(*p), underscored(p.called))
	case Gateway, Sidecar:
	}
	return filterName + "-" + p.resource
}

// toPools is a condition on the access log and on local replies: the request took one of the pools' routes.
func (m *mesh) toPools() string {
	var routes []*routev3.Route
	for i := range m.pools {
		routes = append(routes, &routev3.Route{Name: m.routeName(&m.pools[i])})
	}
	return onRoutes(routes)
}

// meshReplies are how the proxy's own answers on the pools' routes look.
func (m *mesh) meshReplies() []reply {
	who, policy, unknown := "mesh", "AuthorizationPolicy", "The mesh does not accept the client's token (its RequestAuthentication or AuthorizationPolicy)."
	if m.Form == envoyGateway {
		who, policy, unknown = "gateway", "SecurityPolicy", "The gateway does not accept the client's credential (its SecurityPolicy)."
	}
	replies := m.mainReplies()
	if !m.renderer.authenticates() {
		replies = append([]reply{unknownClient(unknown)}, replies...)
	}
	return append([]reply{refusedClient("The " + who + " refuses the request: its " + policy + " does not allow it.")}, replies...)
}

// managerPatch goes into the connection managers of the control plane's own listeners.
func (m *mesh) managerPatch() *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		LocalReplyConfig: m.localReplies(m.meshReplies(), m.toPools()), AccessLog: m.accessLog(requestFields, m.toPools()),
	}
}
