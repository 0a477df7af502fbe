package check

import (
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// providerTLS checks that a provider must prove its name, where its address says that it can. A transport socket of a kind
// that is not known here is not judged.
func (c *checker) providerTLS(where string, cluster *clusterv3.Cluster) {
	pool, socket := c.pools[cluster.Name], cluster.TransportSocket
	if socket == nil {
		if pool.Upstream != nil && pool.Upstream.Scheme == "https" && len(cluster.TransportSocketMatches) == 0 {
			c.find(c.plain(), where, "not set")
		}
		return
	}
	tls, ok := typedAs(socket.GetTypedConfig(), &tlsv3.UpstreamTlsContext{})
	if !ok {
		return
	}
	options := httpOptions(cluster).GetUpstreamHttpProtocolOptions()
	if !verifies(tls, options.GetAutoSanValidation()) {
		c.find(providerTLS, where, "not set")
	}
	if tls.Sni != "" || options.GetAutoSni() || tls.AutoHostSni || pool.Upstream == nil {
		return
	}
	if _, err := netip.ParseAddr(pool.Upstream.Hostname()); err != nil {
		c.find(providerSNI.wanting("%s, or auto_sni, which takes the authority that Keyturn sets", pool.Upstream.Hostname()), where, "not set")
	}
}

// verifies reports whether a certificate is looked at: for its name, which the authority may be, and for who signed it.
func verifies(tls *tlsv3.UpstreamTlsContext, authority bool) bool {
	common := tls.GetCommonTlsContext()
	context, discovered := common.GetValidationContext(), false
	switch v := common.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		context = v.CombinedValidationContext.GetDefaultValidationContext()
		discovered = v.CombinedValidationContext.GetValidationContextSdsSecretConfig() != nil
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		return true // all of it comes from elsewhere
	}
	names := authority || tls.AutoSniSanValidation ||
		len(context.GetMatchTypedSubjectAltNames())+len(context.GetMatchSubjectAltNames()) > 0 //nolint:staticcheck // the deprecated field counts
	signers := discovered || context.GetTrustedCa() != nil || context.GetCaCertificateProviderInstance() != nil || context.GetSystemRootCerts() != nil
	return names && signers
}
