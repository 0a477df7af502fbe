package check

import (
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// Filters that are known, as their types are named. Any other may read a pool's key.
var (
	// harmless are those that may stand between Keyturn and the provider: they answer nothing and give nothing away. What
	// header_mutation changes is looked at.
	harmless = []string{".header_to_metadata.", ".ai_protocol_manager.", ".header_mutation.", ".upstream_codec.", ".grpc_stats."}
	// before are those that may stand before Keyturn too: they judge a request, or count it, and are done with it then.
	before = []string{".ext_authz.", ".rbac.", ".jwt_authn.", ".api_key_auth.", ".basic_auth.", ".cors.", ".csrf.", ".fault.", ".health_check.", ".ratelimit.", ".local_ratelimit.", ".buffer.", ".set_metadata.", ".admission_control.", ".bandwidth_limit."}
)

// innerChain checks the filters of the inner listener.
func (c *checker) innerChain(m *manager) {
	a, times := c.keyturn(m.HttpFilters), 0
	var between []string
	var first steps
	for i, f := range m.HttpFilters {
		at := m.place.item("http_filters", i)
		_, router := typedAs(f.GetTypedConfig(), &routerv3.Router{})
		switch {
		case c.isKeyturn(f):
			times++
		case router || f.Disabled && !m.turnsOn(f):
		case times == 0 && a != nil && !isOneOf(f, before) && !isOneOf(f, harmless):
			c.findAt(filterBefore, m.where(), at, f.Name)
		case times > 0 && !isOneOf(f, harmless):
			if between = append(between, f.Name); first == nil {
				first = at
			}
		case times > 0:
			c.mutated(m.where(), at)
		}
	}
	c.upstreamChain(m.where(), m.routerPlace().to("typed_config", "upstream_http_filters"), m.router.GetUpstreamHttpFilters())
	if a == nil {
		c.find(filterMissing, m.where(), "not set")
		return
	}
	if times > 1 {
		c.find(filterTwice, m.where(), fmt.Sprintf("%d times", times))
	}
	if len(between) > 0 {
		c.findAt(filterBetween, m.where(), first, strings.Join(between, ", "))
	}
	if a.filter.Disabled && !slices.ContainsFunc(m.routes, func(r *route) bool { return r.overrides(a).on }) {
		c.find(filterDisabled, m.where(), "true")
	}
	c.filter(m.where(), a)
}

// turnsOn reports whether a route switches a filter on that the chain has switched off.
func (m *manager) turnsOn(f *hcmv3.HttpFilter) bool {
	return slices.ContainsFunc(m.routes, func(r *route) bool {
		_, on := r.effective(f)
		return on
	})
}

// routerPlace is where the router stands.
func (m *manager) routerPlace() steps {
	i := slices.IndexFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool {
		_, ok := typedAs(f.GetTypedConfig(), &routerv3.Router{})
		return ok
	})
	return m.place.item("http_filters", max(i, 0))
}

// upstreamChain checks filters between the router and the provider.
func (c *checker) upstreamChain(where string, at steps, filters []*hcmv3.HttpFilter) {
	list := at[len(at)-1]
	for i, f := range filters {
		place := at[:len(at)-1].item(list, i)
		switch {
		case f.Disabled || c.isKeyturn(f): // said elsewhere
		case !isOneOf(f, harmless):
			c.findAt(filterUpstream, where, place, f.Name)
		default:
			c.mutated(where, place)
		}
	}
}

// mutated checks that a filter that Keyturn's attempts pass changes nothing that Keyturn has set.
func (c *checker) mutated(where string, at steps) {
	walk(c.at(at), at, func(p steps, v any) bool {
		name, ok := v.(string)
		if !ok || !slices.Contains([]string{"remove", "key", "header_name"}, p.last()) || p.within("response_mutations", "response_trailers_mutations", "response_rules", "request_rules") {
			return true
		}
		if c.isCredential(name) || has([]string{":authority", ":path", "host", ":method"}, name) {
			c.findAt(mutationAfter, where, p, name)
		}
		return true
	})
}

// providerChain checks the filters of a pool's cluster.
func (c *checker) providerChain(where string, cluster *clusterv3.Cluster) {
	at := c.places[cluster]
	c.upstreamChain(where, at.to("typed_extension_protocol_options", httpProtocolOptions, "http_filters"), httpOptions(cluster).GetHttpFilters())
	for i, f := range cluster.Filters {
		c.findAt(networkUpstream, where, at.item("filters", i), f.Name)
	}
}
