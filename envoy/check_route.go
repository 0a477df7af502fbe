package envoy

import (
	"cmp"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	defaultClusterLimit = 1 << 20         // Envoy's per_connection_buffer_limit_bytes
	defaultStreamIdle   = 5 * time.Minute // Envoy's stream_idle_timeout
	maxBackOff          = 5 * time.Millisecond
)

// route is a route to one cluster, with the chain that its attempts run.
type route struct {
	*routev3.Route
	manager  *manager
	host     *routev3.VirtualHost
	place    string
	cluster  string // "" where a header names it
	pool     *Pool  // of the cluster; nil when it is not known
	filter   *attachment
	enabled  bool
	override *extprocv3.ExtProcOverrides // what the levels say about Keyturn together
	levels   []map[string]*anypb.Any     // typed_per_filter_config, the most particular first
}

// findRoutes lists the manager's routes that could pass Keyturn, and those to a known pool that do not.
func (c *checker) findRoutes(m *manager) (routes []*route) {
	for _, host := range m.config.GetVirtualHosts() {
		for i, r := range host.Routes {
			place := c.routePlace(m, host.Name, r.Name, i)
			one := route{Route: r, manager: m, host: host, place: place}
			one.levels = []map[string]*anypb.Any{r.TypedPerFilterConfig, host.TypedPerFilterConfig, m.config.TypedPerFilterConfig}
			switch s := r.GetRoute().GetClusterSpecifier().(type) {
			case *routev3.RouteAction_Cluster:
				one.cluster = s.Cluster
				routes = append(routes, &one)
			case *routev3.RouteAction_WeightedClusters:
				for _, w := range s.WeightedClusters.Clusters {
					each := one
					each.cluster, each.place = w.Name, place+", cluster "+w.Name
					each.levels = append([]map[string]*anypb.Any{w.TypedPerFilterConfig}, one.levels...)
					routes = append(routes, &each)
				}
			case *routev3.RouteAction_ClusterHeader:
				routes = append(routes, &one)
			}
		}
	}
	for _, r := range routes {
		r.pool = c.pools[r.cluster]
		r.filter = c.keyturn(c.attempts(r))
		r.readOverrides()
	}
	return slices.DeleteFunc(routes, func(r *route) bool { return !r.enabled && r.pool == nil && !r.isLoopback() })
}

// attempts is the chain that the route's attempts run: the cluster's own where it has one, else the router's. Where a
// header names the cluster, any cluster with Keyturn stands for it.
func (c *checker) attempts(r *route) []*hcmv3.HttpFilter {
	if r.cluster != "" {
		if chain := httpOptions(c.clusters[r.cluster]).GetHttpFilters(); len(chain) > 0 {
			return chain
		}
		return r.manager.upstream
	}
	if c.keyturn(r.manager.upstream) == nil {
		for _, name := range c.clusterNames {
			if chain := httpOptions(c.clusters[name]).GetHttpFilters(); c.keyturn(chain) != nil {
				return chain
			}
		}
	}
	return r.manager.upstream
}

// perFilter is what the most particular level says about a filter.
func (r *route) perFilter(name string) *anypb.Any {
	for _, level := range r.levels {
		if a := level[name]; a != nil {
			return a
		}
	}
	return nil
}

// readOverrides decides whether the route's attempts pass Keyturn, and what the levels tell it.
func (r *route) readOverrides() {
	if r.filter == nil {
		return
	}
	r.enabled = !r.filter.filter.Disabled
	r.override = &extprocv3.ExtProcOverrides{}
	for _, level := range slices.Backward(r.levels) {
		a := level[r.filter.filter.Name]
		if a == nil {
			continue
		}
		r.enabled = true
		if wrapped, ok := typedAs(a, &routev3.FilterConfig{}); ok {
			r.enabled = !wrapped.Disabled
			a = wrapped.Config
		}
		per, ok := typedAs(a, &extprocv3.ExtProcPerRoute{})
		if !ok {
			continue
		}
		if per.GetDisabled() {
			r.enabled = false
		}
		o := per.GetOverrides()
		if o.GetProcessingMode() != nil {
			r.override.ProcessingMode = o.ProcessingMode
		}
		if o.GetFailureModeAllow() != nil {
			r.override.FailureModeAllow = o.FailureModeAllow
		}
		r.override.GrpcInitialMetadata = append(r.override.GrpcInitialMetadata, o.GetGrpcInitialMetadata()...)
	}
}

// word is what the route says to Keyturn about its requests, "" for nothing.
func (r *route) word() string {
	word := ""
	for _, h := range slices.Concat(r.filter.config.GetGrpcService().GetInitialMetadata(), r.override.GrpcInitialMetadata) {
		if h.Key == requestWord {
			word = cmp.Or(h.Value, string(h.RawValue))
		}
	}
	return word
}

// bufferBytes is what the buffer filter holds for the route; ok is false when it holds nothing.
func (r *route) bufferBytes() (limit uint64, ok bool) {
	f := r.manager.buffer
	if f == nil {
		return 0, false
	}
	a := r.perFilter(f.Name)
	ok = !f.Disabled
	if wrapped, is := typedAs(a, &routev3.FilterConfig{}); is {
		ok = !wrapped.Disabled
		a = wrapped.Config
	}
	if per, is := typedAs(a, &bufferv3.BufferPerRoute{}); is {
		return uint64(per.GetBuffer().GetMaxRequestBytes().GetValue()), !per.GetDisabled()
	}
	chain, _ := typedAs(f.GetTypedConfig(), &bufferv3.Buffer{})
	return uint64(chain.GetMaxRequestBytes().GetValue()), ok
}

func (r *route) buffered() bool {
	_, ok := r.bufferBytes()
	return ok
}

// upgrade is what the route says about a kind of upgrade, nil for nothing.
func (r *route) upgrade(kind string) *routev3.RouteAction_UpgradeConfig {
	for _, u := range r.GetRoute().UpgradeConfigs {
		if strings.EqualFold(u.UpgradeType, kind) {
			return u
		}
	}
	return nil
}

func (r *route) isLoopback() bool { return r.GetRoute().GetClusterHeader() == clusterHeader }

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

// route checks one route.
func (c *checker) route(r *route) {
	if !r.enabled {
		c.find(filterEnabled, r.place, "not set")
		return
	}
	if r.cluster != "" {
		c.use(r.cluster)
	}
	if r.override.GetFailureModeAllow().GetValue() {
		c.find(routeFailureAllow, r.place, "true")
	}
	if d := r.GetRoute().Timeout; d == nil || d.AsDuration() != 0 {
		c.find(routeTimeout, r.place, said(d != nil, d.AsDuration()))
	}
	if d := r.GetRoute().IdleTimeout; d != nil && d.AsDuration() > 0 && d.AsDuration() < minIdle {
		c.find(idleTimeout, r.place, d.AsDuration().String())
	}
	c.hosts(r)
	c.removals(r)
	if r.word() == requestStreamed {
		c.streamedRoute(r)
		return
	}
	c.wholeRoute(r)
	c.retries(r)
	c.patience(r)
}

// patience checks that a route waits for as long as tools may run.
func (c *checker) patience(r *route) {
	if r.pool == nil || !r.pool.Tools {
		return
	}
	idle := defaultStreamIdle
	for _, d := range []*durationpb.Duration{r.manager.StreamIdleTimeout, r.GetRoute().IdleTimeout} {
		if d != nil {
			idle = d.AsDuration()
		}
	}
	if least := toolTime([]Pool{*r.pool}) + minIdle; idle > 0 && idle < least {
		c.find(idleTools.wanting("%v or more", least), r.place, idle.String())
	}
}

// hosts checks that an attempt sees the provider's authority.
func (c *checker) hosts(r *route) {
	switch s := r.GetRoute().GetHostRewriteSpecifier().(type) {
	case *routev3.RouteAction_AutoHostRewrite:
		if s.AutoHostRewrite.GetValue() {
			c.find(hostAuto, r.place, "true")
		}
	case nil: // with domains of its own, a virtual host may serve the provider's name
		if !r.isLoopback() && slices.Contains(r.host.Domains, "*") {
			c.find(hostLiteral, r.place, "not set")
		}
	}
}

// removals checks which headers the route takes away.
func (c *checker) removals(r *route) {
	removed := slices.Concat(r.RequestHeadersToRemove, r.host.RequestHeadersToRemove, r.manager.config.RequestHeadersToRemove)
	returned := slices.Concat(r.ResponseHeadersToRemove, r.host.ResponseHeadersToRemove, r.manager.config.ResponseHeadersToRemove)
	if !has(returned, retryHeader) {
		c.find(retryRemoved, r.place, list(returned))
	}
	if r.isLoopback() {
		c.loopbackRemovals(r, removed, returned)
		return
	}
	if r.pool != nil && r.pool.BYOK {
		return
	}
	want := credentialHeaders
	if r.pool != nil && r.pool.CredentialHeader != "" && !has(want, r.pool.CredentialHeader) {
		want = append(slices.Clone(want), r.pool.CredentialHeader)
	}
	if !slices.ContainsFunc(want, func(n string) bool { return !has(removed, n) }) {
		return
	}
	c.find(credentialsRemoved.wanting("%s", strings.Join(want, ", ")), r.place, list(removed))
}

// loopbackRemovals checks that a turn and its answer keep what they carry.
func (c *checker) loopbackRemovals(r *route, removed, returned []string) {
	if !has(removed, clusterHeader) {
		c.find(clusterHeaderRemoved, r.place, list(removed))
	}
	own := slices.ContainsFunc(c.want.Pools, func(p Pool) bool { return p.Tools && p.BYOK })
	if own && slices.ContainsFunc(credentials(c.want.Pools), func(n string) bool { return has(removed, n) }) {
		c.find(credentialsLost, r.place, list(removed))
	}
	if slices.ContainsFunc(returned, func(n string) bool {
		n = strings.ToLower(n)
		return strings.HasPrefix(n, "x-keyturn-") && n != retryHeader
	}) {
		c.find(usedRemoved, r.place, list(returned))
	}
}

// has is for names of headers, which know no case.
func has(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// streamedRoute checks a route whose requests leave as they arrive.
func (c *checker) streamedRoute(r *route) {
	if m := r.override.GetProcessingMode(); m.GetResponseHeaderMode() != extprocv3.ProcessingMode_SKIP {
		c.find(streamedMode, r.place, said(m != nil, m.GetResponseHeaderMode()))
	}
	// An enabled filter in the chain is the listener's fault, and is said there.
	if r.manager.buffer != nil && r.perFilter(r.manager.buffer.Name) != nil && r.buffered() {
		c.find(bufferStreamed, r.place, "set")
	}
}

// wholeRoute checks a route whose requests are complete before they leave.
func (c *checker) wholeRoute(r *route) {
	limit := r.bodyLimit()
	want := uint64(defaultBodyBytes)
	if r.pool != nil && r.pool.MaxBodyBytes > 0 {
		want = uint64(r.pool.MaxBodyBytes)
	}
	for _, pool := range c.want.Pools {
		if r.isLoopback() && pool.Tools {
			want = max(want, uint64(pool.MaxBodyBytes)) // a turn has what its request had, and more
		}
	}
	if u := c.used[r.cluster]; u != nil && (u.limit == 0 || limit < u.limit) {
		u.limit = limit
	}
	switch {
	case limit <= defaultClusterLimit:
		c.find(bodyLimit.wanting("%d", want), r.place, said(limit > 0, limit))
	case limit < want:
		c.find(bodyLimitLow.wanting("%d", want), r.place, said(true, limit))
	}
	held, buffered := r.bufferBytes()
	switch word := r.word(); {
	case word == requestBuffered && !buffered:
		c.find(bufferRoute, r.place, "not set")
	case word != requestBuffered && buffered:
		c.find(bufferedWord, r.place, said(word != "", word))
	case word != requestBuffered:
		c.find(bufferedNeither, r.place, "not set")
	}
	if buffered && limit > 0 && held > limit {
		c.find(bufferBytes.wanting("at most request_body_buffer_limit, %d", limit), r.place, said(true, held))
	}
	for _, u := range r.GetRoute().UpgradeConfigs {
		if buffered && (u.Enabled == nil || u.Enabled.Value) {
			c.find(routeUpgrade, r.place, u.UpgradeType)
		}
	}
	if r.override.GetProcessingMode().GetResponseHeaderMode() == extprocv3.ProcessingMode_SKIP {
		c.find(routeMode, r.place, "SKIP")
	}
}

// retries checks that Envoy makes the attempts that Keyturn asks for.
func (c *checker) retries(r *route) {
	policy := cmp.Or(r.GetRoute().RetryPolicy, r.host.RetryPolicy, httpOptions(c.clusters[r.cluster]).GetRetryPolicy())
	if policy == nil {
		c.find(retryPolicy, r.place, "not set")
		return
	}
	on := strings.FieldsFunc(policy.RetryOn, func(c rune) bool { return c == ',' || c == ' ' })
	if !slices.Contains(on, "retriable-headers") {
		c.find(retryOn, r.place, list(on))
	}
	if !slices.ContainsFunc(policy.RetriableHeaders, func(h *routev3.HeaderMatcher) bool {
		return strings.EqualFold(h.Name, retryHeader) && !h.InvertMatch
	}) {
		c.find(retryHeaders, r.place, said(len(policy.RetriableHeaders) > 0, "others"))
	}
	keys := 0
	for i := range c.want.Pools {
		if pool := &c.want.Pools[i]; pool == r.pool || r.cluster == "" {
			keys = max(keys, pool.Keys)
		}
	}
	number := policy.GetNumRetries()
	if keys > 0 && max(1, int(number.GetValue())) < keys-1 || keys == 0 && number == nil {
		want := retryNumber.wanting("%d, the pool's keys less one, or more", keys-1)
		if keys == 0 {
			want = retryNumber.wanting("the pool's keys less one, or more")
		}
		c.find(want, r.place, said(number != nil, number.GetValue()))
	}
	if base := policy.GetRetryBackOff().GetBaseInterval(); base == nil || base.AsDuration() > maxBackOff {
		c.find(retryBackOffSet, r.place, said(base != nil, base.AsDuration()))
	}
	if policy.RateLimitedRetryBackOff != nil {
		c.find(retryRateLimited, r.place, "set")
	}
}
