package check

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/address"
	"google.golang.org/protobuf/types/known/durationpb"
)

// What a circuit breaker must leave room for.
const (
	minBreaker = 10_000
	minRetries = 1_000
)

// defaultIdle is after how long Envoy closes an unused connection.
const defaultIdle = time.Hour

// httpProtocolOptions is the name under which a cluster has its HTTP options.
var httpProtocolOptions = string((&httpv3.HttpProtocolOptions{}).ProtoReflect().Descriptor().FullName())

// httpOptions are the cluster's HTTP options, nil when it has none.
func httpOptions(c *clusterv3.Cluster) *httpv3.HttpProtocolOptions {
	o, _ := typedAs(c.GetTypedExtensionProtocolOptions()[httpProtocolOptions], &httpv3.HttpProtocolOptions{})
	return o
}

// cluster checks a cluster by what it leads to.
func (c *checker) cluster(cluster *clusterv3.Cluster) {
	where := "cluster " + cluster.Name
	switch {
	case c.processors[cluster.Name]:
		c.processorCluster(where, cluster)
	case c.hops[cluster.Name]:
		c.hopCluster(where, cluster)
	case c.pools[cluster.Name] != nil:
		c.providerCluster(where, cluster)
	}
}

// processorCluster checks the cluster that leads to Keyturn.
func (c *checker) processorCluster(where string, cluster *clusterv3.Cluster) {
	c.breakers(where, cluster)
	c.processorReach(where, cluster)
	switch {
	case named(cluster) && len(endpoints(cluster)) == 0:
		c.find(processorAddress, where, "not set")
	case c.noneIsProcessor(cluster):
		c.find(processorAddress.wanting("%s", c.want.Processor), where, strings.Join(printedAll(cluster), ", "))
	}
	if limit := cluster.PerConnectionBufferLimitBytes; limit != nil && limit.Value == 0 {
		c.find(processorBuffer, where, "0")
	}
	h2 := http2Options(cluster)
	if h2 == nil {
		c.find(processorHTTP2, where, "not set")
		return
	}
	if w := h2.InitialStreamWindowSize; w.GetValue() == 0 || w.GetValue() > envoy.MostWindowBytes {
		c.find(processorWindow, where, said(w != nil, w.GetValue()))
	}
}

// named reports whether the cluster itself names its endpoints.
func named(c *clusterv3.Cluster) bool {
	kinds := []clusterv3.Cluster_DiscoveryType{clusterv3.Cluster_STATIC, clusterv3.Cluster_STRICT_DNS, clusterv3.Cluster_LOGICAL_DNS}
	return c.GetClusterType() == nil && slices.Contains(kinds, c.GetType())
}

// http2Options are those of a cluster that speaks HTTP/2, nil where it does not.
func http2Options(cluster *clusterv3.Cluster) *corev3.Http2ProtocolOptions {
	options := httpOptions(cluster)
	for _, h2 := range []*corev3.Http2ProtocolOptions{
		options.GetExplicitHttpConfig().GetHttp2ProtocolOptions(),
		options.GetAutoConfig().GetHttp2ProtocolOptions(),
		cluster.GetHttp2ProtocolOptions(), //nolint:staticcheck // the deprecated field counts
	} {
		if h2 != nil {
			return h2
		}
	}
	return nil
}

// hopCluster checks the cluster that leads to the inner listener.
func (c *checker) hopCluster(where string, cluster *clusterv3.Cluster) {
	c.breakers(where, cluster)
	if t := thresholds(cluster); t.GetMaxRetries().GetValue() < minRetries {
		c.find(breakerRetries, where, said(t.GetMaxRetries() != nil, t.GetMaxRetries().GetValue()))
	} else if b := t.GetRetryBudget(); b != nil && b.GetMinRetryConcurrency().GetValue() < minRetries {
		c.find(breakerRetries, where, fmt.Sprintf("retry_budget, which stands above it, with min_retry_concurrency %d", max(3, b.GetMinRetryConcurrency().GetValue())))
	}
	for _, a := range endpoints(cluster) {
		if !c.reachesInner(a) {
			c.find(hopAddress, where, printed(a))
		}
	}
	if named(cluster) && len(endpoints(cluster)) == 0 {
		c.find(hopAddress, where, "not set")
	}
	if options := httpOptions(cluster); options.GetUseDownstreamProtocolConfig() != nil || http2Options(cluster) != nil {
		c.find(hopHTTP2, where, "set")
	}
	c.hopIdle(where, cluster)
	c.responseHeaders(where, cluster)
}

func (c *checker) reachesInner(a *corev3.Address) bool {
	return slices.ContainsFunc(c.managers, func(m *manager) bool { return m.isInner() && reaches(a, m.listener) })
}

// hopIdle checks that unused connections are closed from this end.
func (c *checker) hopIdle(where string, cluster *clusterv3.Cluster) {
	here := idleOf(httpOptions(cluster).GetCommonHttpProtocolOptions().GetIdleTimeout())
	for _, m := range c.managers {
		if m.role != roleInner || !leads(cluster, m.listener) {
			continue
		}
		there := idleOf(m.GetCommonHttpProtocolOptions().GetIdleTimeout())
		if there > 0 && (here == 0 || here >= there) {
			c.find(hopIdle.wanting("less than the inner listener's, %v", there), where, here.String())
		}
	}
}

func idleOf(d *durationpb.Duration) time.Duration {
	if d == nil {
		return defaultIdle
	}
	return d.AsDuration()
}

// responseLimits are those of the responses of a cluster.
func responseLimits(cluster *clusterv3.Cluster) limits {
	o := httpOptions(cluster).GetCommonHttpProtocolOptions()
	return limitsOf(o.GetMaxHeadersCount(), o.GetMaxResponseHeadersKb())
}

// responseHeaders checks that what comes from a provider, and some headers of Keyturn's, may come from the inner listener.
func (c *checker) responseHeaders(where string, cluster *clusterv3.Cluster) {
	var all []limits
	for name := range c.pools {
		if provider := c.clusters[name]; provider != nil {
			all = append(all, responseLimits(provider))
		}
	}
	c.aboveAll(where, responseLimits(cluster), all, hopHeadersCount, hopHeadersSize, "the pools' clusters")
}

// providerCluster checks a cluster of a pool.
func (c *checker) providerCluster(where string, cluster *clusterv3.Cluster) {
	c.breakers(where, cluster)
	if httpOptions(cluster).GetRetryPolicy() != nil {
		c.find(providerRetry, where, "set")
	}
	proven := c.providerTLS(where, cluster)
	c.providerChain(where, cluster)
	c.providerHost(where, cluster, proven)
}

// knownClusters are extensions whose endpoints are those that their configuration names, or the authority that Keyturn sets.
var knownClusters = []string{"dns", "strict_dns", "logical_dns", "static", "eds", "dynamic_forward_proxy"}

// providerHost checks that the cluster leads to the pool's provider. proven: its certificate is verified to be the provider's.
func (c *checker) providerHost(where string, cluster *clusterv3.Cluster, proven bool) {
	kind := cluster.GetClusterType().GetName()
	_, name := path.Split(strings.ReplaceAll(kind, ".", "/"))
	switch {
	case cluster.GetType() == clusterv3.Cluster_ORIGINAL_DST && cluster.GetClusterType() == nil, cluster.GetOriginalDstLbConfig() != nil:
		c.find(endpointChosen, where, "ORIGINAL_DST")
		return
	case kind != "" && !slices.Contains(knownClusters, name):
		c.find(endpointChosen, where, kind)
		return
	}
	upstream := c.pools[cluster.Name].Upstream
	if c.proxy != nil || upstream == nil {
		return // a mesh has ways of its own, which its resources name
	}
	if named(cluster) && len(endpoints(cluster)) == 0 {
		c.find(endpointNone.wanting("%s", upstream.Host), where, "not set")
	}
	want := address.OfUpstream(upstream)
	for _, a := range endpoints(cluster) {
		if s := a.GetSocketAddress(); s != nil && s.GetPortValue() == want.Port && strings.EqualFold(s.Address, want.Host) {
			continue
		}
		if c.throughProxy(a, c.pools[cluster.Name]) {
			continue
		}
		s := endpointOther
		if proven {
			s = endpointProven
		}
		c.find(s.wanting("%s", hostPort(want)), where, printed(a))
	}
}

// thresholds are those of the circuit breakers that requests count for.
func thresholds(cluster *clusterv3.Cluster) *clusterv3.CircuitBreakers_Thresholds {
	for _, t := range cluster.GetCircuitBreakers().GetThresholds() {
		if t.Priority == corev3.RoutingPriority_DEFAULT {
			return t
		}
	}
	return nil
}

// breakers checks the circuit breakers, but for retries.
func (c *checker) breakers(where string, cluster *clusterv3.Cluster) {
	t := thresholds(cluster)
	if t == nil {
		c.find(breakers, where, "not set")
		return
	}
	for _, b := range []struct {
		setting setting
		value   interface{ GetValue() uint32 }
		set     bool
	}{
		{breakerConnections, t.MaxConnections, t.MaxConnections != nil},
		{breakerPending, t.MaxPendingRequests, t.MaxPendingRequests != nil},
		{breakerRequests, t.MaxRequests, t.MaxRequests != nil},
	} {
		if v := b.value.GetValue(); v < minBreaker {
			c.find(b.setting, where, said(b.set, v))
		}
	}
}
