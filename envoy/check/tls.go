package check

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/keyturn/keyturn/envoy"
)

// providerTLS checks that a provider must prove its name, where its address says that it can, and reports whether it must.
func (c *checker) providerTLS(where string, cluster *clusterv3.Cluster) (proven bool) {
	pool := c.pools[cluster.Name]
	https := pool.Upstream != nil && pool.Upstream.Scheme == "https"
	sockets := []steps{}
	at := c.places[cluster]
	if cluster.TransportSocket != nil {
		sockets = append(sockets, at.to("transport_socket"))
	}
	for i := range cluster.TransportSocketMatches {
		sockets = append(sockets, at.item("transport_socket_matches", i).to("transport_socket"))
	}
	if len(sockets) == 0 {
		if https {
			c.find(c.plain(), where, "not set")
		}
		return false
	}
	proven = true
	for _, s := range sockets {
		proven = c.transportSocket(where, cluster, s) && proven
	}
	return proven
}

// transportSocket judges one, and what it wraps: it is looked for in the document without its types.
func (c *checker) transportSocket(where string, cluster *clusterv3.Cluster, at steps) (proven bool) {
	pool := c.pools[cluster.Name]
	https := pool.Upstream != nil && pool.Upstream.Scheme == "https"
	for {
		_, taken, wraps := descend(c.at(at), steps{"typed_config", "transport_socket"})
		if !wraps {
			break
		}
		at = at.to(taken...)
	}
	config, _, _ := child(c.at(at), "typed_config")
	switch t := typeOf(config); {
	case strings.HasSuffix(t, ".RawBuffer"), t == "" && strings.HasSuffix(text(c.at(at), "name"), "raw_buffer"):
		if https {
			c.findAt(c.plain(), where, at, "raw_buffer")
		}
	case strings.HasSuffix(t, ".UpstreamTlsContext"):
		tls := &tlsv3.UpstreamTlsContext{}
		if j, err := json.Marshal(untyped(config)); err == nil && unmarshal(j, tls) == nil {
			return c.verified(where, cluster, tls, at)
		}
	default:
		c.findAt(providerSocket, where, at, t)
	}
	return false
}

// untyped is a message without the name of its type.
func untyped(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	bare := map[string]any{}
	for name, value := range m {
		if name != "@type" {
			bare[name] = value
		}
	}
	return bare
}

// verified checks that TLS proves the provider's name, and reports whether it does.
func (c *checker) verified(where string, cluster *clusterv3.Cluster, tls *tlsv3.UpstreamTlsContext, at steps) bool {
	options, pool := httpOptions(cluster).GetUpstreamHttpProtocolOptions(), c.pools[cluster.Name]
	context, elsewhere := validation(tls.GetCommonTlsContext())
	authority := options.GetAutoSanValidation() || tls.AutoSniSanValidation
	names := typedNames(context)
	if params := tls.GetCommonTlsContext().GetTlsParams(); params.GetTlsMinimumProtocolVersion() == tlsv3.TlsParameters_TLSv1_0 || params.GetTlsMinimumProtocolVersion() == tlsv3.TlsParameters_TLSv1_1 {
		c.find(providerOldTLS, where, params.GetTlsMinimumProtocolVersion().String())
	}
	proven := true
	switch {
	case context.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED:
		c.findAt(providerTLS, where, at, "ACCEPT_UNTRUSTED")
		proven = false
	case context.GetAllowExpiredCertificate():
		c.findAt(providerTLS, where, at, "allow_expired_certificate")
		proven = false
	case context == nil && elsewhere: // all of it comes from elsewhere
	case !authority && len(names) == 0 || !elsewhere && !signed(context):
		c.findAt(providerTLS, where, at, missing(authority || len(names) > 0, elsewhere || signed(context)))
		proven = false
	}
	host := hostOf(pool)
	if host == "" {
		return proven
	}
	for _, m := range names {
		if !authority && !isAbout(m, host) {
			c.findAt(providerName.wanting("%s, exactly", host), where, at, matcherText(m))
			proven = false
		}
	}
	switch {
	case options.GetAutoSni() || tls.AutoHostSni:
	case tls.Sni == "":
		c.find(providerSNI.wanting("%s, or auto_sni, which takes the authority that Keyturn sets", host), where, "not set")
	case !strings.EqualFold(tls.Sni, host):
		c.find(providerOtherSNI.wanting("%s, or auto_sni, which takes the authority that Keyturn sets", host), where, tls.Sni)
	}
	return proven
}

// hostOf is the name of a pool's provider, "" where it is an address or not known.
func hostOf(pool *envoy.Pool) string {
	if pool.Upstream == nil {
		return ""
	}
	host := pool.Upstream.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return host
}

func missing(name, signer bool) string {
	switch {
	case !name && !signer:
		return "not set"
	case !name:
		return "without a name"
	}
	return "without a trusted_ca"
}

// validation is how certificates of the other side are looked at, nil when that is not said here; and whether a part of it is discovered.
func validation(common *tlsv3.CommonTlsContext) (context *tlsv3.CertificateValidationContext, elsewhere bool) {
	switch v := common.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		combined := v.CombinedValidationContext
		return combined.GetDefaultValidationContext(), combined.GetValidationContextSdsSecretConfig() != nil
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		return nil, true
	}
	return common.GetValidationContext(), false
}

// signed reports whether somebody known must have signed the certificate.
func signed(context *tlsv3.CertificateValidationContext) bool {
	return context.GetTrustedCa() != nil || context.GetCaCertificateProviderInstance() != nil || context.GetSystemRootCerts() != nil
}

// typedNames are the names of which a certificate must have one.
func typedNames(context *tlsv3.CertificateValidationContext) []*matcherv3.StringMatcher {
	names := context.GetMatchSubjectAltNames() //nolint:staticcheck // the deprecated field counts
	for _, m := range context.GetMatchTypedSubjectAltNames() {
		names = append(names, m.GetMatcher())
	}
	return names
}

// isAbout reports whether a pattern takes the provider's name, and nobody else's.
func isAbout(m *matcherv3.StringMatcher, host string) bool {
	fits := func(name string) bool { return matchesAny([]*matcherv3.StringMatcher{m}, strings.ToLower(name)) }
	return fits(host) && !fits(host+".example.net") && !fits("example.net")
}

// matcherText is a pattern in words.
func matcherText(m *matcherv3.StringMatcher) string {
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return p.Exact
	case *matcherv3.StringMatcher_Prefix:
		return "prefix " + strconv.Quote(p.Prefix)
	case *matcherv3.StringMatcher_Suffix:
		return "suffix " + strconv.Quote(p.Suffix)
	case *matcherv3.StringMatcher_Contains:
		return "contains " + strconv.Quote(p.Contains)
	case *matcherv3.StringMatcher_SafeRegex:
		return "regex " + strconv.Quote(p.SafeRegex.GetRegex())
	}
	return "a pattern that cannot be judged here"
}
