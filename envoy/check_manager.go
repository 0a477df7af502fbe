package envoy

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	tometadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

// minIdle is the least that a stream may be idle: keep-alives are sent every 10 s, and models think longer.
const minIdle = 30 * time.Second

// clientFilters authenticate clients, as their types are named.
var clientFilters = []string{".api_key_auth.", ".jwt_authn.", ".ext_authz.", ".basic_auth.", ".oauth2.", ".rbac."}

// accessLogs are loggers whose format can be read here.
var accessLogs = []string{".FileAccessLog", ".StdoutAccessLog", ".StderrAccessLog"}

// manager is an HTTP connection manager with what belongs to it.
type manager struct {
	*hcmv3.HttpConnectionManager
	listener *listenerv3.Listener
	chain    *listenerv3.FilterChain
	config   *routev3.RouteConfiguration // nil when it is not in the document
	upstream []*hcmv3.HttpFilter         // of its router
	buffer   *hcmv3.HttpFilter           // nil without one
	routes   []*route                    // to Keyturn, or to a pool past it
}

func newManager(d *document, l *listenerv3.Listener, chain *listenerv3.FilterChain, h *hcmv3.HttpConnectionManager) *manager {
	m := &manager{HttpConnectionManager: h, listener: l, chain: chain, config: h.GetRouteConfig()}
	if name := h.GetRds().GetRouteConfigName(); name != "" {
		m.config = d.routes[name]
	}
	for _, f := range h.HttpFilters {
		if router, ok := typedAs(f.GetTypedConfig(), &routerv3.Router{}); ok {
			m.upstream = router.UpstreamHttpFilters
		}
		if _, ok := typedAs(f.GetTypedConfig(), &bufferv3.Buffer{}); ok {
			m.buffer = f
		}
	}
	return m
}

func (m *manager) where() string { return "listener " + m.listener.Name }

// isLoopback reports whether the manager serves Keyturn's own requests.
func (m *manager) isLoopback() bool {
	for _, host := range m.config.GetVirtualHosts() {
		for _, r := range host.Routes {
			if r.GetRoute().GetClusterHeader() == clusterHeader {
				return true
			}
		}
	}
	return false
}

// local reports whether only this machine reaches the listener.
func (m *manager) local() bool {
	a := m.listener.GetAddress()
	if a.GetSocketAddress() == nil {
		return true // a Unix socket, or internal to Envoy
	}
	parsed, err := parseAddress(fmt.Sprintf("[%s]:0", a.GetSocketAddress().Address))
	return err == nil && parsed.local()
}

// manager checks a listener: what it runs beside the routes, and its routes to Keyturn.
func (c *checker) manager(m *manager) {
	for _, f := range m.HttpFilters {
		if c.isKeyturn(f) {
			c.find(filterPlace, m.where(), "in the listener's chain")
		}
	}
	c.metadata(m)
	place := c.keyturn(m.upstream)
	if place != nil {
		c.filter(m.where(), m.upstream, place, c.served(m))
		if !place.filter.Disabled {
			c.find(filterDisabled, m.where(), "false")
		}
		if m.config == nil {
			c.find(routesKnown, m.where(), m.GetRds().GetRouteConfigName())
		}
	}
	for _, r := range m.routes {
		c.route(r)
	}
	if m.isLoopback() {
		c.loopbackAddress(m)
	}
	if !slices.ContainsFunc(m.routes, func(r *route) bool { return r.enabled }) {
		return
	}
	if d := m.StreamIdleTimeout; d != nil && d.AsDuration() > 0 && d.AsDuration() < minIdle {
		c.find(idleTimeout, m.where(), d.AsDuration().String())
	}
	c.chainBuffer(m)
	if m.isLoopback() {
		c.loopback(m)
		return
	}
	c.localReplies(m)
	if !c.want.Open && !m.local() && !c.sidecar() && !m.authenticates() {
		c.find(c.known(), m.where(), "not set")
	}
}

// served are the pools whose attempts pass the filter of the manager's router.
func (c *checker) served(m *manager) (pools []Pool) {
	names := map[string]bool{}
	for _, r := range m.routes {
		if r.cluster == "" {
			return c.want.Pools // any
		}
		if r.pool != nil && !names[r.pool.Name] {
			names[r.pool.Name] = true
			pools = append(pools, *r.pool)
		}
	}
	return pools
}

// loopback checks what else turns need of the listener that they go through.
func (c *checker) loopback(m *manager) {
	if toolTime(c.want.Pools) == 0 {
		return
	}
	c.localReplies(m) // they go on to the client
	for _, log := range m.AccessLog {
		known := slices.ContainsFunc(accessLogs, func(s string) bool { return strings.HasSuffix(log.GetTypedConfig().GetTypeUrl(), s) })
		if known && !mentions(log, metadataNamespace+":turn)") {
			c.find(turnLog, m.where(), log.Name)
		}
	}
}

// metadata checks who makes the metadata of x-keyturn-turn.
func (c *checker) metadata(m *manager) {
	made := false
	for _, f := range m.HttpFilters {
		h, ok := typedAs(f.GetTypedConfig(), &tometadatav3.Config{})
		if !ok {
			continue
		}
		for _, rule := range h.RequestRules {
			if !strings.EqualFold(rule.Header, turnHeader) || rule.OnHeaderPresent.GetMetadataNamespace() != metadataNamespace {
				continue
			}
			made = made || rule.Remove && rule.OnHeaderPresent.Key == "turn"
			if !m.isLoopback() {
				c.find(forgedTurn, m.where(), "made by this listener")
			}
		}
	}
	if m.isLoopback() && !made {
		c.find(turnMetadata, m.where(), "not set")
	}
}

func (c *checker) loopbackAddress(m *manager) {
	pipe := m.listener.GetAddress().GetPipe()
	switch {
	case pipe == nil:
		c.find(loopbackAddress, m.where(), m.listener.GetAddress().GetSocketAddress().GetAddress())
	case pipe.Mode == 0:
		c.find(loopbackMode, m.where(), "not set")
	case pipe.Mode&0o007 != 0:
		c.find(loopbackMode, m.where(), fmt.Sprintf("%d (%04o)", pipe.Mode, pipe.Mode))
	}
}

// chainBuffer checks the buffer filter and the upgrades of a whole listener; routes may say otherwise for themselves.
func (c *checker) chainBuffer(m *manager) {
	if m.buffer != nil && !m.buffer.Disabled {
		c.find(bufferChain, m.where(), "false")
	}
	for _, u := range m.UpgradeConfigs {
		enabled := u.Enabled == nil || u.Enabled.Value
		if enabled && slices.ContainsFunc(m.routes, func(r *route) bool { return r.enabled && r.buffered() && r.upgrade(u.UpgradeType) == nil }) {
			c.find(c.upgrades(), m.where(), u.UpgradeType)
		}
	}
}

// localReplies checks that Envoy's own answers are shaped, and Keyturn's left alone.
func (c *checker) localReplies(m *manager) {
	config := m.LocalReplyConfig
	if config == nil {
		c.find(localReply, m.where(), "not set")
		return
	}
	for i, mapper := range config.Mappers {
		rewrites := mapper.StatusCode != nil || mapper.Body != nil || mapper.BodyFormatOverride != nil
		switch {
		case mentions(mapper.Filter, errorHeader):
			if !rewrites && config.BodyFormat == nil {
				return // Keyturn's replies stop here, unchanged
			}
		case mapper.Filter.GetResponseFlagFilter() != nil: // Keyturn's replies have no flags
		case rewrites:
			c.find(localReplyKeyturn, m.where(), fmt.Sprintf("mappers[%d] rewrites them", i))
			return
		}
	}
	if config.BodyFormat != nil {
		c.find(localReplyKeyturn, m.where(), "body_format rewrites them")
	}
}

// mentions reports whether a string stands anywhere in a message: strings keep their bytes when packed.
func mentions(m proto.Message, s string) bool {
	b, err := proto.Marshal(m)
	return err == nil && bytes.Contains(b, []byte(s))
}

// authenticates reports whether clients must say who they are.
func (m *manager) authenticates() bool {
	for _, f := range m.HttpFilters {
		known := slices.ContainsFunc(clientFilters, func(s string) bool { return strings.Contains(f.GetTypedConfig().GetTypeUrl(), s) })
		if known && (!f.Disabled || m.everyRouteEnables(f.Name)) {
			return true
		}
	}
	tls, ok := typedAs(m.chain.GetTransportSocket().GetTypedConfig(), &tlsv3.DownstreamTlsContext{})
	return ok && tls.RequireClientCertificate.GetValue()
}

// everyRouteEnables reports whether the routes to Keyturn turn on a filter that is off in the chain.
func (m *manager) everyRouteEnables(filter string) bool {
	return !slices.ContainsFunc(m.routes, func(r *route) bool {
		if !r.enabled {
			return false
		}
		config := r.perFilter(filter)
		wrapped, ok := typedAs(config, &routev3.FilterConfig{})
		return config == nil || ok && wrapped.Disabled
	})
}
