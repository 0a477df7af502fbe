package envoy

import (
	"net"
	"net/url"
	"slices"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyturn/keyturn/envoy/internal/address"
)

// A provider behind an HTTP proxy is reached through a tunnel (CONNECT, RFC 9110 section 9.3.6): its cluster leads to a listener inside Envoy, which
// asks the proxy for the provider by name, so that no name has to be resolved here, and the TLS with the provider runs through it. Envoy's transport
// socket http_11_proxy would ask for an address, and send plain HTTP to providers without TLS.

// proxied reports whether a pool's provider is reached through a proxy.
func (p *plan) proxied() bool {
	return slices.ContainsFunc(p.Pools, func(pool Pool) bool { return pool.Proxy != nil })
}

// tunnel is the name of a pool's listener, and of the cluster that leads to its proxy.
func tunnel(pool *Pool) string { return tunnelPrefix + pool.Name }

// tunnelListener takes the connections to a provider, and hands each on through the proxy.
func (r *renderer) tunnelListener(pool *Pool) *listenerv3.Listener {
	to := address.OfUpstream(pool.Upstream)
	return &listenerv3.Listener{
		Name:                  tunnel(pool),
		IgnoreGlobalConnLimit: true,
		ListenerSpecifier:     &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "envoy.filters.network.tcp_proxy",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: r.pack(&tcpproxyv3.TcpProxy{
				StatPrefix:       "tunnel",
				ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: tunnel(pool)},
				IdleTimeout:      durationpb.New(0), // a model may think for long; the provider's cluster closes what is unused
				TunnelingConfig:  &tcpproxyv3.TcpProxy_TunnelingConfig{Hostname: net.JoinHostPort(to.Host, strconv.FormatUint(uint64(to.Port), 10))},
			})},
		}}}},
	}
}

// proxyCluster leads to a pool's proxy.
func (r *renderer) proxyCluster(pool *Pool) *clusterv3.Cluster {
	u := &url.URL{Scheme: pool.Proxy.Scheme, Host: pool.Proxy.Host}
	return r.remote(tunnel(pool), u, pool.KeepAlive, r.CAFile)
}
