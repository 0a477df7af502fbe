package check

import (
	"net"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/address"
)

// throughProxy reports whether an endpoint of a pool's cluster is a listener inside Envoy from which the pool's proxy is asked for the provider.
func (c *checker) throughProxy(endpoint *corev3.Address, pool *envoy.Pool) bool {
	name := endpoint.GetEnvoyInternalAddress().GetServerListenerName()
	if pool.Proxy == nil || name == "" {
		return false
	}
	want := hostPort(address.OfUpstream(pool.Upstream))
	for _, l := range c.listeners {
		if l.Name != name {
			continue
		}
		chains := l.GetFilterChains()
		if len(chains) != 1 || len(chains[0].GetFilters()) != 1 {
			return false
		}
		proxy, ok := typedAs(chains[0].GetFilters()[0].GetTypedConfig(), &tcpproxyv3.TcpProxy{})
		return ok && strings.EqualFold(proxy.GetTunnelingConfig().GetHostname(), want) && c.leadsTo(proxy.GetCluster(), address.OfUpstream(pool.Proxy))
	}
	return false
}

// leadsTo reports whether all endpoints of a cluster are that host and port.
func (c *checker) leadsTo(cluster string, to address.Address) bool {
	all := endpoints(c.clusters[cluster])
	for _, a := range all {
		if s := a.GetSocketAddress(); s == nil || s.GetPortValue() != to.Port || !strings.EqualFold(s.Address, to.Host) {
			return false
		}
	}
	return len(all) > 0
}

// hostPort is an address as host:port.
func hostPort(a address.Address) string {
	return net.JoinHostPort(a.Host, strconv.FormatUint(uint64(a.Port), 10))
}
