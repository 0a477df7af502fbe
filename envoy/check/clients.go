package check

import (
	"fmt"
	"net/http"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/keyturn/keyturn/envoy/internal/address"
	"github.com/keyturn/keyturn/internal/wire"

	"github.com/keyturn/keyturn/envoy"
)

// clientFilters authenticate clients, as their types are named.
var clientFilters = []string{".api_key_auth.", ".jwt_authn.", ".ext_authz.", ".basic_auth.", ".oauth2.", ".rbac."}

// clients checks that clients of a front must say who they are, on each of its routes.
func (c *checker) clients(m *manager) {
	if c.want.Open || m.local() || c.sidecar() || m.asksForCertificates() {
		return
	}
	var asking []int
	for i, f := range m.HttpFilters {
		if isOneOf(f, clientFilters) && f.Name != envoy.GuardFilter && (!f.Disabled || m.turnsOn(f)) {
			asking = append(asking, i)
		}
	}
	if len(asking) == 0 {
		c.find(c.known(), m.where(), "not set")
		return
	}
	for _, r := range m.routes {
		if r.past {
			continue
		}
		on := slices.ContainsFunc(asking, func(i int) bool {
			_, on := r.effective(m.HttpFilters[i])
			return on
		})
		if !on {
			c.findAt(clientsOff, r.place, c.overridden(r, m.HttpFilters[asking[0]].Name), "off")
		}
	}
	for _, i := range asking {
		c.lenient(m, i)
	}
}

// asks reports whether a filter is about who the client is. RBAC may be about anything else: it is only where a principal is somebody.
func asks(f *hcmv3.HttpFilter) bool {
	if !isOneOf(f, clientFilters) {
		return false
	}
	rules, ok := typedAs(f.GetTypedConfig(), &rbacfilterv3.RBAC{})
	if !ok {
		return true
	}
	if rules.Matcher != nil {
		return true // a tree of conditions, which is not read here
	}
	for _, policy := range rules.GetRules().GetPolicies() {
		if slices.ContainsFunc(policy.Principals, func(p *rbacv3.Principal) bool { return !p.GetAny() }) {
			return true
		}
	}
	return false
}

// denies reports whether a filter keeps a method out.
func denies(f *hcmv3.HttpFilter, method string) bool {
	rules, ok := typedAs(f.GetTypedConfig(), &rbacfilterv3.RBAC{})
	if !ok {
		return false
	}
	for _, policy := range rules.GetRules().GetPolicies() {
		for _, p := range policy.Permissions {
			allowed, named := p.GetNotRule().GetHeader(), p.GetHeader()
			deny := rules.GetRules().GetAction() == rbacv3.RBAC_DENY
			switch {
			case deny && allowed.GetName() == ":method" && !holds(allowed, method),
				deny && named.GetName() == ":method" && holds(named, method),
				!deny && named.GetName() == ":method" && !holds(named, method):
				return true
			}
		}
	}
	return false
}

// holds reports whether a condition on a header is true for a value.
func holds(h *routev3.HeaderMatcher, value string) bool {
	if h.GetStringMatch() == nil {
		return true // of a kind that is not known here
	}
	return matchesAny([]*matcherv3.StringMatcher{h.GetStringMatch()}, value) != h.InvertMatch
}

// methods checks that what repeats a request with its credentials reaches no provider. Keyturn refuses it too.
func (c *checker) methods(m *manager) {
	for _, r := range m.routes {
		kept := slices.ContainsFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool {
			_, on := r.effective(f)
			return on && denies(f, http.MethodTrace)
		}) || slices.ContainsFunc(r.GetMatch().GetHeaders(), func(h *routev3.HeaderMatcher) bool {
			return h.GetName() == ":method" && !holds(h, http.MethodTrace)
		})
		if !kept && !r.past {
			c.find(methodsAllowed, r.place, "not set")
		}
	}
}

// overridden is where a route, or what it is in, says something to a filter; the route, when none does.
func (c *checker) overridden(r *route, filter string) steps {
	for _, up := range []int{0, 2, 4} { // of a route, its virtual host, its configuration
		if up >= len(r.at) {
			break
		}
		if _, taken, all := descend(c.at(r.at[:len(r.at)-up]), steps{"typed_per_filter_config", filter}); all {
			return r.at[:len(r.at)-up].to(taken...)
		}
	}
	return r.at
}

// lenient checks that a filter of the clients' authentication lets nobody in who says nothing.
func (c *checker) lenient(m *manager, i int) {
	f := m.HttpFilters[i]
	at := m.place.item("http_filters", i).to("typed_config")
	find := func(name string, found any) {
		_, taken, _ := descend(c.at(at), steps{name})
		s := clientsLenient
		s.name = "http_filters." + name
		c.findAt(s, m.where(), at.to(taken...), fmt.Sprint(found))
	}
	if authz, ok := typedAs(f.GetTypedConfig(), &extauthzv3.ExtAuthz{}); ok {
		if authz.FailureModeAllow {
			find("failure_mode_allow", true)
		}
		if p := authz.GetFilterEnabled(); p != nil && (!whole(p.GetDefaultValue()) || c.runtimeLowers(p.GetRuntimeKey())) {
			find("filter_enabled", "not all requests")
		}
		if authz.FilterEnabledMetadata != nil {
			find("filter_enabled_metadata", "set")
		}
	}
	if jwt, ok := typedAs(f.GetTypedConfig(), &jwtv3.JwtAuthentication{}); ok {
		asked := false
		for _, rule := range jwt.GetRules() {
			asked = asked || rule.GetRequires() != nil || rule.GetRequirementName() != ""
			if lets(rule.GetRequires(), jwt) || rule.GetRequires() == nil && rule.GetRequirementName() == "" && m.takes(rule) {
				find("rules", "tokens may be missing")
			}
		}
		if !asked && len(jwt.GetRequirementMap()) == 0 && jwt.GetFilterStateRules() == nil {
			find("rules", "not set")
		}
		for _, r := range jwt.GetRequirementMap() {
			if lets(r, jwt) {
				find("requirement_map", "tokens may be missing")
			}
		}
	}
}

// takes reports whether a rule without a requirement is about the front's own paths: any, unless it says a whole path.
func (m *manager) takes(rule *jwtv3.RequirementRule) bool {
	return rule.GetMatch().GetPath() == ""
}

// lets reports whether a requirement is met by a request without a token.
func lets(r *jwtv3.JwtRequirement, of *jwtv3.JwtAuthentication) bool {
	switch r := r.GetRequiresType().(type) {
	case *jwtv3.JwtRequirement_AllowMissing, *jwtv3.JwtRequirement_AllowMissingOrFailed:
		return true
	case *jwtv3.JwtRequirement_RequiresAny:
		return slices.ContainsFunc(r.RequiresAny.GetRequirements(), func(r *jwtv3.JwtRequirement) bool { return lets(r, of) })
	case *jwtv3.JwtRequirement_RequiresAll:
		all := r.RequiresAll.GetRequirements()
		return len(all) > 0 && !slices.ContainsFunc(all, func(r *jwtv3.JwtRequirement) bool { return !lets(r, of) })
	}
	return false
}

// asksForCertificates reports whether clients must have a certificate that somebody known has signed.
func (m *manager) asksForCertificates() bool {
	tls, ok := typedAs(m.chain.GetTransportSocket().GetTypedConfig(), &tlsv3.DownstreamTlsContext{})
	if !ok || !tls.RequireClientCertificate.GetValue() {
		return false
	}
	context, elsewhere := validation(tls.GetCommonTlsContext())
	if context.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED {
		return false
	}
	pinned := len(context.GetVerifyCertificateHash())+len(context.GetVerifyCertificateSpki()) > 0
	return elsewhere || signed(context) || pinned
}

// local reports whether only this machine reaches the listener.
func (m *manager) local() bool { return local(addresses(m.listener)) }

// local reports whether only this machine reaches the addresses.
func local(all []*corev3.Address) bool {
	return !slices.ContainsFunc(all, func(a *corev3.Address) bool { return !isLocal(a) })
}

// isLocal is for one address: a Unix socket, one that is internal to Envoy, or loopback.
func isLocal(a *corev3.Address) bool {
	if a.GetSocketAddress() == nil {
		return true
	}
	parsed, err := address.Parse(fmt.Sprintf("[%s]:0", a.GetSocketAddress().Address))
	return err == nil && parsed.Local()
}

// namesClient reports whether the clients' authentication says who the client is. What ext_authz adds is not in the document.
func (r *route) namesClient() bool {
	return slices.ContainsFunc(r.manager.HttpFilters, func(f *hcmv3.HttpFilter) bool {
		config, on := r.effective(f)
		return on && asks(f) &&
			(mentions(config, wire.ClientHeader) || mentions(f.GetTypedConfig(), wire.ClientHeader) || isOneOf(f, []string{".ext_authz."}))
	})
}
