package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/wire"
)

// inner checks the listener that attempts pass.
func (c *checker) inner(m *manager) {
	for _, a := range addresses(m.listener) {
		switch {
		case a.GetPipe() != nil:
			if c.proxy != nil {
				c.socketMode(m, a.GetPipe(), innerModeMesh, 0o660)
			} else {
				c.socketMode(m, a.GetPipe(), innerMode, 0o600)
			}
		case a.GetEnvoyInternalAddress() == nil:
			c.find(innerAddress, m.where(), printed(a))
		}
	}
	if c.connectionLimit && !isInternal(m.listener) && !m.listener.IgnoreGlobalConnLimit {
		c.find(globalLimit, m.where(), "false")
	}
	c.innerChain(m)
	c.innerRequests(m)
	c.localReplies(m)
	if m.config == nil {
		c.find(routesKnown, m.where(), m.discovered())
		return
	}
	if !slices.ContainsFunc(m.routes, (*route).takesAll) {
		c.find(innerMatch, m.where(), "not set")
	}
	for _, r := range m.routes {
		c.innerRoute(r)
	}
}

// socketMode checks that no others reach a socket than those that may.
func (c *checker) socketMode(m *manager, p *corev3.Pipe, s setting, allowed uint32) {
	switch {
	case strings.HasPrefix(p.Path, "@"):
		c.find(s, m.where(), "that of an abstract socket, which has none")
	case p.Mode == 0:
		c.find(s, m.where(), "not set")
	case p.Mode&^allowed != 0:
		c.find(s, m.where(), fmt.Sprintf("%d (%04o)", p.Mode, p.Mode))
	}
}

// innerRequests checks what the inner listener does to every attempt.
func (c *checker) innerRequests(m *manager) {
	if !m.SkipXffAppend {
		c.find(innerXFF, m.where(), "false")
	}
	if !m.router.GetSuppressEnvoyHeaders() {
		c.find(innerEnvoyHeaders, m.where(), "false")
	}
	if d := m.StreamIdleTimeout; d == nil || d.AsDuration() != 0 {
		c.find(innerIdle, m.where(), said(d != nil, d.AsDuration()))
	}
	if !slices.ContainsFunc(m.routes, func(r *route) bool { return r.upgrades(websocket) }) && m.config != nil {
		c.find(upgrades, m.where(), "not set")
	}
	c.requestHeaders(m, func(o *manager) bool { return o.role == roleFront || o.role == roleLoopback })
}

// Envoy's limits of the headers of a request.
const (
	defaultHeaders   = 100
	defaultHeadersKB = 60
)

// limits are how many headers there may be, and of how many KiB.
type limits struct{ count, kb uint32 }

// limitsOf fills in Envoy's own.
func limitsOf(count, kb *wrapperspb.UInt32Value) limits {
	l := limits{count.GetValue(), kb.GetValue()}
	if l.count == 0 {
		l.count = defaultHeaders
	}
	if l.kb == 0 {
		l.kb = defaultHeadersKB
	}
	return l
}

// aboveAll checks that a place takes more headers than those before it, whose headers come here with some more.
func (c *checker) aboveAll(where string, own limits, before []limits, count, kb setting, of string) {
	var most limits
	for _, l := range before {
		most = limits{max(most.count, l.count), max(most.kb, l.kb)}
	}
	if own.count <= most.count {
		c.find(count.wanting("more than %d, the most of %s", most.count, of), where, strconv.FormatUint(uint64(own.count), 10))
	}
	if own.kb <= most.kb {
		c.find(kb.wanting("more than %d, the most of %s", most.kb, of), where, strconv.FormatUint(uint64(own.kb), 10))
	}
}

// headerLimits are those of the requests to a listener.
func (m *manager) headerLimits() limits {
	return limitsOf(m.GetCommonHttpProtocolOptions().GetMaxHeadersCount(), m.MaxRequestHeadersKb)
}

// requestHeaders checks that a listener takes more headers than those whose requests come here with some more.
func (c *checker) requestHeaders(m *manager, isBefore func(*manager) bool) {
	var all []limits
	for _, o := range c.managers {
		if isBefore(o) {
			all = append(all, o.headerLimits())
		}
	}
	c.aboveAll(m.where(), m.headerLimits(), all, headersCount, headersKB, "the listeners before it")
}

// innerRoute checks a route of the inner listener.
func (c *checker) innerRoute(r *route) {
	action := r.GetRoute()
	if name := action.GetClusterHeader(); !strings.EqualFold(name, wire.ClusterHeader) {
		switch {
		case r.cluster != "":
			name = "the cluster " + r.cluster
		case name == "":
			name = "not set"
		}
		c.find(innerCluster, r.place, name)
	}
	if action.GetRetryPolicy() != nil || r.host.RetryPolicy != nil {
		c.find(innerRetry, r.place, "set")
	}
	if d := action.GetTimeout(); d == nil || d.AsDuration() != 0 {
		c.find(routeTimeout, r.place, said(d != nil, d.AsDuration()))
	}
	if d := action.GetIdleTimeout(); d.AsDuration() > 0 {
		c.find(innerIdle, r.place, d.AsDuration().String())
	}
	if s := rewritten(action); s != "" {
		c.find(innerRewrite, r.place, s)
	}
	if least, limit := c.bodyBytes(), r.bodyLimit(); limit < least {
		c.find(innerBody.wanting("%d or more: the fronts' and what Keyturn reads whole", least), r.place, said(limit > 0, limit))
	}
	c.passing(r, clusterHeaderRemoved, []string{wire.ClusterHeader})
	c.passing(r, protoRemoved, []string{wire.ForwardedProtoHeader})
	if lost := without(envoy.CredentialHeaders(c.want.Pools), func(n string) bool { return r.request(n).client }); len(lost) > 0 {
		c.find(keyLost, r.place, "with "+strings.Join(lost, ", "))
	}
	if a := c.keyturn(r.manager.HttpFilters); a != nil {
		c.innerOverrides(r, r.overrides(a))
	}
}

// bodyBytes is what the inner listener must be able to hold: what the fronts can send again, and what Keyturn reads whole.
func (c *checker) bodyBytes() uint64 {
	least := uint64(0)
	for _, p := range c.want.Pools {
		size := uint64(p.MaxBodyBytes)
		if size == 0 {
			size = envoy.DefaultBodyBytes
		}
		least = max(least, size)
	}
	if len(c.want.Pools) == 0 {
		least = envoy.DefaultBodyBytes
	}
	for _, m := range c.managers {
		for _, r := range m.routes {
			if m.role != roleInner && !r.past {
				least = max(least, r.bodyLimit())
			}
		}
	}
	return least
}

// takesAll reports whether every request matches the route.
func (r *route) takesAll() bool {
	m := r.GetMatch()
	return m.GetPrefix() == "/" && len(m.Headers)+len(m.QueryParameters)+len(m.DynamicMetadata)+len(m.FilterState)+len(m.Cookies) == 0 &&
		m.RuntimeFraction == nil && m.Grpc == nil && m.TlsContext == nil && slices.Contains(r.host.Domains, "*")
}

// overridden is what the levels of a route say about Keyturn's filter.
type overridden struct {
	on   bool
	what []string // settings of the filter that are others here
}

// overrides reads what the levels of a route say about Keyturn's filter. All of them count, the most particular last.
func (r *route) overrides(a *attachment) overridden {
	o := overridden{on: !a.filter.Disabled}
	for _, level := range slices.Backward(r.levels) {
		config := level[a.filter.Name]
		if config != nil {
			o.read(config)
		}
	}
	return o
}

func (o *overridden) read(config *anypb.Any) {
	o.on = true
	if wrapped, ok := typedAs(config, &routev3.FilterConfig{}); ok {
		o.on = !wrapped.Disabled
		config = wrapped.Config
	}
	per, ok := typedAs(config, &extprocv3.ExtProcPerRoute{})
	if !ok {
		return
	}
	if per.GetDisabled() {
		o.on = false
	}
	for _, s := range []struct {
		name string
		set  bool
	}{
		{"processing_mode", per.GetOverrides().GetProcessingMode() != nil},
		{"async_mode", per.GetOverrides().GetAsyncMode()}, //nolint:staticcheck // the deprecated field counts,
		{"response_attributes", len(per.GetOverrides().GetResponseAttributes()) > 0},
		{"grpc_service", per.GetOverrides().GetGrpcService() != nil},
		{"metadata_options", per.GetOverrides().GetMetadataOptions() != nil},
		{"failure_mode_allow", per.GetOverrides().GetFailureModeAllow().GetValue()},
	} {
		if s.set && !slices.Contains(o.what, s.name) {
			o.what = append(o.what, s.name)
		}
	}
}

// innerOverrides checks that a route leaves the filter as it is.
func (c *checker) innerOverrides(r *route, o overridden) {
	if a := c.keyturn(r.manager.HttpFilters); !o.on && !a.filter.Disabled {
		c.find(filterEnabled, r.place, "disabled")
	}
	if o.on && len(o.what) > 0 {
		c.find(filterOverridden, r.place, strings.Join(o.what, ", "))
	}
}
