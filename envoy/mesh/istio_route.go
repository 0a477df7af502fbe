package mesh

import (
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/keyturn/keyturn/envoy"
)

// patch is what a pool's route gets beside what its VirtualService or HTTPRoute says: it leads to the inner listener, in
// place of the provider's cluster. That the credentials are removed stands there and not here, so that a route which this
// misses sends none to the provider.
func (m *mesh) patch(p *meshPool) *routev3.Route {
	r := m.parts.FrontRoute(p.config, true) // Istio's parser refuses an empty configuration
	r.GetRoute().UpgradeConfigs = nil       // the control plane's listeners take WebSockets
	if m.to.Form != envoyGateway {          // whose patches put a list in the place of what is there
		r.RequestHeadersToRemove = slices.DeleteFunc(r.RequestHeadersToRemove, func(name string) bool {
			return slices.Contains(m.removed(p), name)
		})
	}
	return r
}

// removed are the headers that a VirtualService or HTTPRoute removes: none where clients may bring credentials of their own.
func (m *mesh) removed(p *meshPool) []string {
	if p.config.BYOK {
		return nil
	}
	return envoy.CredentialHeaders([]envoy.Pool{*p.config})
}

// routeName is what Envoy calls a pool's route: what a VirtualService's says, or the place in an HTTPRoute. It does not have
// the prefix of the resources' names: where two VirtualServices speak for a host, Istio takes the older one, and then
// the patches for both fit it.
func (m *mesh) routeName(p *meshPool) string {
	switch m.to.Form {
	case GatewayAPI:
		return fmt.Sprintf("%s.%s.0", m.to.Namespace, m.named(p.resource))
	case envoyGateway:
		return fmt.Sprintf("%s/match/0/%s", m.ruleName(*p), underscored(p.called))
	case Gateway, Sidecar:
	}
	return envoy.FilterName + "-" + p.resource
}

// routeNames are what the pools' routes are called.
func (m *mesh) routeNames() []string {
	names := make([]string, 0, len(m.pools))
	for i := range m.pools {
		names = append(names, m.routeName(&m.pools[i]))
	}
	return names
}

// managerPatch goes into the connection managers of the control plane's own listeners: how the proxy's own answers on the pools' routes
// look, and a log of these.
func (m *mesh) managerPatch() *hcmv3.HttpConnectionManager {
	unknown := "The mesh does not accept the client's token (its RequestAuthentication or AuthorizationPolicy)."
	refused := "The mesh refuses the request: its AuthorizationPolicy does not allow it."
	if m.to.Form == envoyGateway {
		unknown = "The gateway does not accept the client's credential (its SecurityPolicy)."
		refused = "The gateway refuses the request: its SecurityPolicy does not allow it."
	}
	routes := m.routeNames()
	return &hcmv3.HttpConnectionManager{LocalReplyConfig: m.parts.LocalReplies(routes, unknown, refused), AccessLog: m.parts.AccessLog(routes)}
}
