package check

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/wire"
)

const (
	defaultStreamIdle = 5 * time.Minute // Envoy's stream_idle_timeout
	maxBackOff        = 5 * time.Millisecond
	websocket         = "websocket" // the kind of an upgrade, RFC 6455
)

// route is a route to one cluster.
type route struct {
	*routev3.Route
	manager *manager
	host    *routev3.VirtualHost
	weight  *routev3.WeightedCluster_ClusterWeight // nil where the route has one cluster
	place   string
	at      steps
	cluster string                  // "" where a header names it
	pool    *envoy.Pool             // that the cluster is of; nil when it is not known
	past    bool                    // it leads to a pool's cluster past Keyturn
	levels  []map[string]*anypb.Any // typed_per_filter_config, the most particular first
}

// findRoutes lists the manager's routes to clusters, each cluster of a weighted route for itself.
func (c *checker) findRoutes(m *manager) (routes []*route) {
	for h, host := range m.config.GetVirtualHosts() {
		for i, r := range host.Routes {
			if r.GetRoute() == nil { // it answers by itself
				continue
			}
			one := route{Route: r, manager: m, host: host, place: c.routePlace(m, host.Name, r.Name, i)}
			one.at = c.places[m.config].item("virtual_hosts", h).item("routes", i)
			one.levels = []map[string]*anypb.Any{r.TypedPerFilterConfig, host.TypedPerFilterConfig, m.config.TypedPerFilterConfig}
			weighted := r.GetRoute().GetWeightedClusters().GetClusters()
			for j, w := range weighted {
				each := one
				each.at = one.at.to("route", "weighted_clusters").item("clusters", j)
				each.weight, each.cluster, each.place = w, w.Name, one.place+", cluster "+w.Name
				each.levels = append([]map[string]*anypb.Any{w.TypedPerFilterConfig}, one.levels...)
				routes = append(routes, &each)
			}
			if len(weighted) == 0 {
				one.cluster = r.GetRoute().GetCluster()
				routes = append(routes, &one)
			}
		}
	}
	return routes
}

// routePlace is where a route is. In a mesh one listener has routes of the same name for many hosts.
func (c *checker) routePlace(m *manager, host, name string, i int) string {
	numbered := fmt.Sprintf("%s[%d]", host, i)
	if c.proxy != nil && name != "" {
		return fmt.Sprintf("%s, host %s, route %s", m.where(), host, name)
	}
	return fmt.Sprintf("%s, route %s", m.where(), cmp.Or(name, numbered))
}

// effective is the configuration of a filter for the route, and whether the filter is on.
func (r *route) effective(f *hcmv3.HttpFilter) (config *anypb.Any, on bool) {
	config, on = f.GetTypedConfig(), !f.Disabled
	for _, level := range r.levels {
		a := level[f.Name]
		if a == nil {
			continue
		}
		wrapped, ok := typedAs(a, &routev3.FilterConfig{})
		if !ok {
			return a, !saysDisabled(a)
		}
		if wrapped.Config.GetTypeUrl() != "" {
			config = wrapped.Config
		}
		return config, !wrapped.Disabled && !saysDisabled(wrapped.Config)
	}
	return config, on
}

// saysDisabled reports whether a route's word to a filter is that it is off, for which most have a field.
func saysDisabled(a *anypb.Any) bool {
	m, err := a.UnmarshalNew()
	if err != nil {
		return false // of a kind that is not known here
	}
	r := m.ProtoReflect()
	f := r.Descriptor().Fields().ByName("disabled")
	return f != nil && f.Kind() == protoreflect.BoolKind && r.Get(f).Bool()
}

// chosenOutside reports by what something other than the route chooses its cluster: a header of the request, or code.
func (r *route) chosenOutside() (s setting, by string) {
	action := r.GetRoute()
	switch {
	case action.GetClusterHeader() != "":
		return clusterFromClient, action.GetClusterHeader()
	case r.weight.GetClusterHeader() != "":
		return clusterFromClient, r.weight.GetClusterHeader()
	case action.GetClusterSpecifierPlugin() != "":
		return clusterByPlugin, action.GetClusterSpecifierPlugin()
	case action.GetInlineClusterSpecifierPlugin() != nil:
		return clusterByPlugin, action.GetInlineClusterSpecifierPlugin().GetExtension().GetName()
	}
	return s, ""
}

// strays checks routes that may lead anywhere, or in part past Keyturn.
func (c *checker) strays(m *manager, routes []*route) {
	for _, r := range routes {
		if s, by := r.chosenOutside(); by != "" && (m.role != roleOther || c.proxy == nil && len(c.hops) > 0) {
			c.find(s, r.place, by)
		}
		if r.weight != nil && r.cluster != "" && !c.hops[r.cluster] && !r.past && slices.ContainsFunc(routes, func(o *route) bool {
			return o.Route == r.Route && c.hops[o.cluster]
		}) {
			c.find(weightedPast, r.place, r.cluster)
		}
	}
}

// bodyLimit is the route's request_body_buffer_limit, 0 when no level sets it.
func (r *route) bodyLimit() uint64 {
	for _, limit := range []interface{ GetValue() uint64 }{r.RequestBodyBufferLimit, r.host.RequestBodyBufferLimit} {
		if v := limit.GetValue(); v > 0 {
			return v
		}
	}
	old := cmp.Or(r.PerRequestBufferLimitBytes.GetValue(), r.host.PerRequestBufferLimitBytes.GetValue()) //nolint:staticcheck // its deprecated name counts
	return uint64(old)
}

// upgrades reports whether a kind of upgrade may pass the route.
func (r *route) upgrades(kind string) bool {
	for _, u := range r.GetRoute().GetUpgradeConfigs() {
		if strings.EqualFold(u.UpgradeType, kind) {
			return u.Enabled == nil || u.Enabled.Value
		}
	}
	return slices.ContainsFunc(r.manager.UpgradeConfigs, func(u *hcmv3.HttpConnectionManager_UpgradeConfig) bool {
		return strings.EqualFold(u.UpgradeType, kind) && (u.Enabled == nil || u.Enabled.Value)
	})
}

// frontRoute checks a route to the inner listener.
func (c *checker) frontRoute(r *route) {
	action := r.GetRoute()
	if d := action.Timeout; d == nil || d.AsDuration() != 0 {
		c.find(routeTimeout, r.place, said(d != nil, d.AsDuration()))
	}
	if d := action.IdleTimeout; d != nil && d.AsDuration() > 0 && d.AsDuration() < minIdle {
		c.find(idleTimeout, r.place, d.AsDuration().String())
	}
	c.retries(r)
	c.sets(r)
	c.removes(r)
	c.returns(r)
	if !r.host.IncludeRequestAttemptCount {
		c.find(attemptCount, r.place, "false")
	}
	if r.bodyLimit() == 0 {
		c.find(bodyLimit, r.place, "not set")
	}
	if r.manager.role == roleFront {
		c.patience(r)
		if !r.upgrades(websocket) {
			c.find(upgrades, r.place, "not set")
		}
	}
}

// named is the pool that the route's requests are for, nil when it is not known.
func (c *checker) named(r *route) *envoy.Pool {
	name := r.request(wire.PoolHeader).value
	i := slices.IndexFunc(c.want.Pools, func(p envoy.Pool) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &c.want.Pools[i]
}

// patience checks that a route waits for as long as tools may run.
func (c *checker) patience(r *route) {
	pool := c.named(r)
	if pool == nil || !pool.Tools {
		return
	}
	idle := defaultStreamIdle
	for _, d := range []*durationpb.Duration{r.manager.StreamIdleTimeout, r.GetRoute().IdleTimeout} {
		if d != nil {
			idle = d.AsDuration()
		}
	}
	if least := toolTime([]envoy.Pool{*pool}) + minIdle; idle > 0 && idle < least {
		c.find(idleTools.wanting("%v or more", least), r.place, idle.String())
	}
}

// retries checks that Envoy makes the attempts that Keyturn asks for.
func (c *checker) retries(r *route) {
	if r.GetRoute().GetRetryPolicyTypedConfig() != nil || r.host.RetryPolicyTypedConfig != nil {
		c.find(retryPlugin, r.place, "set")
	}
	policy := cmp.Or(r.GetRoute().RetryPolicy, r.host.RetryPolicy, httpOptions(c.clusters[r.cluster]).GetRetryPolicy())
	if policy == nil {
		c.find(retryPolicy, r.place, "not set")
		return
	}
	on := strings.FieldsFunc(policy.RetryOn, func(c rune) bool { return c == ',' || c == ' ' })
	more := without(on, func(word string) bool { return word == "retriable-headers" })
	if len(more) == len(on) {
		c.find(retryOn, r.place, list(on))
	} else if len(more) > 0 {
		c.find(retryMore, r.place, strings.Join(more, ", "))
	}
	if len(policy.RetriableRequestHeaders) > 0 {
		c.find(retrySome, r.place, "set")
	}
	if !slices.ContainsFunc(policy.RetriableHeaders, asksForRetry) {
		c.find(retryHeaders, r.place, said(len(policy.RetriableHeaders) > 0, "others"))
	}
	c.retryNumber(r, policy)
	if base := policy.GetRetryBackOff().GetBaseInterval(); base == nil || base.AsDuration() > maxBackOff {
		c.find(retryBackOffSet, r.place, said(base != nil, base.AsDuration()))
	}
	if policy.RateLimitedRetryBackOff != nil {
		c.find(retryRateLimited, r.place, "set")
	}
	if d := cmp.Or(policy.PerTryTimeout, policy.PerTryIdleTimeout); d.AsDuration() > 0 {
		c.find(retryTimeout, r.place, d.AsDuration().String())
	}
}

// asksForRetry reports whether Keyturn's word is what is looked for: that it is there, not that it is missing.
func asksForRetry(h *routev3.HeaderMatcher) bool {
	present, ok := h.HeaderMatchSpecifier.(*routev3.HeaderMatcher_PresentMatch)
	return strings.EqualFold(h.Name, wire.RetryHeader) && !h.InvertMatch && (!ok || present.PresentMatch)
}

// retryNumber checks that there are retries for all keys, and that Keyturn is told how many.
func (c *checker) retryNumber(r *route, policy *routev3.RetryPolicy) {
	keys, pool := 0, c.named(r)
	for i := range c.want.Pools {
		if p := &c.want.Pools[i]; p == pool || r.manager.role == roleLoopback {
			keys = max(keys, envoy.MostKeys(c.want.Pools, p))
		}
	}
	number := policy.GetNumRetries()
	if keys > 0 && max(1, int(number.GetValue())) < keys-1 || keys == 0 && number == nil {
		want := retryNumber.wanting("%d, the pool's keys less one, or more", keys-1)
		switch {
		case pool != nil && len(pool.Fallback) > 0:
			want = retryNumber.wanting("%d, the keys of the pool and of those that it falls back to, or more", keys-1)
		case keys == 0:
			want = retryNumber.wanting("the pool's keys less one, or more")
		}
		c.find(want, r.place, said(number != nil, number.GetValue()))
	}
	told := r.request(wire.RetriesHeader)
	allowed := strconv.FormatUint(uint64(max(1, number.GetValue())), 10)
	if told.set && (told.client || told.value != allowed) {
		c.find(headerRetries.wanting("%s, as num_retries, with OVERWRITE_IF_EXISTS_OR_ADD", allowed), r.place, told.String())
	}
}
