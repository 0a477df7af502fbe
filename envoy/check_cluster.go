package envoy

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

// What a circuit breaker must leave room for.
const (
	minBreaker = 10_000
	minRetries = 1_000
)

// httpOptions are the cluster's HTTP options, nil when it has none.
func httpOptions(c *clusterv3.Cluster) *httpv3.HttpProtocolOptions {
	o, _ := typedAs(c.GetTypedExtensionProtocolOptions()[httpProtocolOptions], &httpv3.HttpProtocolOptions{})
	return o
}

// attached checks the filter in a cluster's own chain.
func (c *checker) attached(cluster *clusterv3.Cluster) {
	chain := httpOptions(cluster).GetHttpFilters()
	if a := c.keyturn(chain); a != nil {
		var pools []Pool
		if pool := c.pools[cluster.Name]; pool != nil {
			pools = append(pools, *pool)
		}
		c.filter("cluster "+cluster.Name, chain, a, pools)
	}
}

// cluster checks a cluster that leads to Keyturn, or that is reached through it.
func (c *checker) cluster(cluster *clusterv3.Cluster) {
	u := c.used[cluster.Name]
	if u == nil {
		return
	}
	where := "cluster " + cluster.Name
	c.breakers(where, cluster)
	limit := cluster.PerConnectionBufferLimitBytes
	if u.processor {
		if limit == nil || limit.Value != 0 {
			c.find(processorBuffer, where, said(limit != nil, limit.GetValue()))
		}
		c.windows(where, cluster)
		return
	}
	if limit != nil && (limit.Value == 0 || u.limit > 0 && uint64(limit.Value) >= u.limit) {
		c.find(providerBuffer, where, said(true, limit.Value))
	}
	if !verifies(cluster.TransportSocket) {
		c.find(providerTLS, where, "not set")
	}
}

// windows checks the HTTP/2 options towards Keyturn.
func (c *checker) windows(where string, cluster *clusterv3.Cluster) {
	options := httpOptions(cluster)
	h2 := options.GetExplicitHttpConfig().GetHttp2ProtocolOptions()
	if h2 == nil {
		h2 = options.GetAutoConfig().GetHttp2ProtocolOptions()
	}
	if h2 == nil {
		c.find(processorHTTP2, where, "not set")
		return
	}
	if w := h2.InitialStreamWindowSize; w.GetValue() < windowBytes {
		c.find(processorStreamWindow, where, said(w != nil, w.GetValue()))
	}
	if w := h2.InitialConnectionWindowSize; w.GetValue() < windowBytes {
		c.find(processorConnWindow, where, said(w != nil, w.GetValue()))
	}
}

func (c *checker) breakers(where string, cluster *clusterv3.Cluster) {
	var t *clusterv3.CircuitBreakers_Thresholds
	for _, each := range cluster.GetCircuitBreakers().GetThresholds() {
		if each.Priority == corev3.RoutingPriority_DEFAULT {
			t = each
		}
	}
	if t == nil {
		c.find(breakers, where, "not set")
		return
	}
	for _, b := range []struct {
		setting setting
		value   interface{ GetValue() uint32 }
		set     bool
		least   uint32
	}{
		{breakerConnections, t.MaxConnections, t.MaxConnections != nil, minBreaker},
		{breakerPending, t.MaxPendingRequests, t.MaxPendingRequests != nil, minBreaker},
		{breakerRequests, t.MaxRequests, t.MaxRequests != nil, minBreaker},
		{breakerRetries, t.MaxRetries, t.MaxRetries != nil, minRetries},
	} {
		if v := b.value.GetValue(); v < b.least {
			c.find(b.setting, where, said(b.set, v))
		}
	}
	if budget := t.RetryBudget; budget != nil && budget.GetMinRetryConcurrency().GetValue() < minRetries {
		c.find(breakerRetries, where, fmt.Sprintf("retry_budget, which stands above it, with min_retry_concurrency %d", max(3, budget.GetMinRetryConcurrency().GetValue())))
	}
}

// verifies reports whether a transport socket makes sure of the provider's name. One without TLS, or of a kind that is
// not known here, is not judged.
func verifies(s *corev3.TransportSocket) bool {
	tls, ok := typedAs(s.GetTypedConfig(), &tlsv3.UpstreamTlsContext{})
	if !ok {
		return true
	}
	common := tls.GetCommonTlsContext()
	context, discovered := common.GetValidationContext(), false
	switch v := common.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		context = v.CombinedValidationContext.GetDefaultValidationContext()
		discovered = v.CombinedValidationContext.GetValidationContextSdsSecretConfig() != nil
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		return true // all of it comes from elsewhere
	}
	names := len(context.GetMatchTypedSubjectAltNames())+len(context.GetMatchSubjectAltNames()) > 0 || tls.AutoSniSanValidation //nolint:staticcheck // the deprecated field counts
	authority := discovered || context.GetTrustedCa() != nil || context.GetCaCertificateProviderInstance() != nil || context.GetSystemRootCerts() != nil
	return names && authority
}
