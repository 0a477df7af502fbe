package envoy

import (
	"errors"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/keyturn/keyturn/internal/setting"
)

// Parts are what Keyturn needs in an Envoy whose other parts come from somebody else, such as a control plane: it has listeners for clients
// and clusters of the providers already.
type Parts struct{ r renderer }

// NewParts checks a configuration and fills in its defaults. The error joins every problem. Of cfg, Admin, CORS and CAFile are not used:
// which web pages may use a listener is for whoever makes it.
func NewParts(cfg Config) (*Parts, error) {
	cfg.CORS = CORS{}
	p, found := planOf(cfg)
	for i, pool := range p.Pools {
		if pool.Proxy != nil || pool.CAFile != "" {
			found.Add(setting.Item("pools", i), "upstream_proxy and upstream_ca are of the provider's cluster, which is not Keyturn's here: set them there")
		}
	}
	if err := found.Err(); err != nil {
		return nil, err
	}
	p.parts = true
	return &Parts{renderer{plan: p}}, nil
}

// Config is the configuration with its defaults filled in.
func (p *Parts) Config() Config { return p.r.Config }

// Err joins what is wrong with the parts that were made until now, by the rules of Envoy's API.
func (p *Parts) Err() error { return errors.Join(p.r.errs...) }

// ProcessorCluster leads to Keyturn.
func (p *Parts) ProcessorCluster() *clusterv3.Cluster { return p.r.processorCluster() }

// InnerCluster leads to the inner listener.
func (p *Parts) InnerCluster() *clusterv3.Cluster { return p.r.innerCluster() }

// InnerListener is where Keyturn stands: each attempt is a request to it. Where it is a socket, only Envoy's own user may speak there.
func (p *Parts) InnerListener() *listenerv3.Listener { return p.r.innerListener(p.r.inner.Bind(0o600)) }

// LoopbackListener takes Keyturn's own requests; nil where no pool has tools. Mode is that of its socket.
func (p *Parts) LoopbackListener(mode uint32) *listenerv3.Listener {
	if !p.r.hasTools() {
		return nil
	}
	return p.r.loopbackListener(p.r.loopback.Bind(mode))
}

// FrontFilters stand before the router of a listener for clients, in this order.
func (p *Parts) FrontFilters() []*hcmv3.HttpFilter { return p.r.frontFilters() }

// FrontRoute leads a pool's requests to the inner listener and sends them again when Keyturn asks for it. It has no name, matches nothing
// and rewrites no path. Full repeats the configuration of the filters that the route turns on, for parsers that refuse an empty one.
func (p *Parts) FrontRoute(pool *Pool, full bool) *routev3.Route {
	route := p.r.frontRoute(pool)
	if !full {
		return route
	}
	route.TypedPerFilterConfig[metadataFilter] = p.r.pack(p.r.logRules())
	route.TypedPerFilterConfig[GuardFilter] = p.r.pack(&guardv3.RBACPerRoute{Rbac: p.r.guardRules()})
	if filter, config := p.r.keysOf(pool, true); config != nil {
		route.TypedPerFilterConfig[filter] = config
	}
	return route
}

// LocalReplies shape Envoy's own answers on the routes with these names, so that SDKs find the error where they look for it. Unknown and
// refused are what a client reads when whoever else guards the listener does not know it, or does not let it do what it asks for.
func (p *Parts) LocalReplies(routes []string, unknown, refused string) *hcmv3.LocalReplyConfig {
	replies := append(p.r.guardReplies(), refusedClient(refused))
	if !p.r.authenticates() {
		replies = append(replies, unknownClient(unknown))
	}
	return p.r.localReplies(append(replies, p.r.clientReplies()...), onRoutes(routes))
}

// AccessLog has a line for each request on the routes with these names, and an entry for Keyturn where requests are recorded.
func (p *Parts) AccessLog(routes []string) []*accesslogv3.AccessLog {
	where := onRoutes(routes)
	return append(p.r.accessLog(requestFields, where), p.r.recordRequests(where)...)
}
