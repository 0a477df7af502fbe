package check

import (
	"bytes"
	"slices"
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/keyturn/keyturn/internal/wire"
)

// minIdle is the least that a stream may be idle: keep-alives are sent every 10 s, and models think longer.
const minIdle = 30 * time.Second

// accessLogs are loggers whose format can be read here.
var accessLogs = []string{".FileAccessLog", ".StdoutAccessLog", ".StderrAccessLog"}

// front checks a listener whose requests go to the inner listener: its routes, and what it runs beside them.
func (c *checker) front(m *manager) {
	for _, r := range m.routes {
		if !r.past {
			c.frontRoute(r)
			c.buffer(r)
		}
	}
	if d := m.StreamIdleTimeout; d != nil && d.AsDuration() > 0 && d.AsDuration() < minIdle {
		c.find(idleTimeout, m.where(), d.AsDuration().String())
	}
	if m.role == roleLoopback {
		c.loopback(m)
		return
	}
	if !m.shapes() {
		c.find(localReply, m.where(), "not set")
	}
	if !m.UseRemoteAddress.GetValue() && !c.sidecar() {
		c.find(remoteAddress, m.where(), said(m.UseRemoteAddress != nil, "false"))
	}
	c.clients(m)
	if c.proxy == nil {
		c.methods(m)
	}
}

// buffer checks that no filter holds the route's requests until they are whole.
func (c *checker) buffer(r *route) {
	for _, f := range r.manager.HttpFilters {
		if _, ok := typedAs(f.GetTypedConfig(), &bufferv3.Buffer{}); !ok {
			continue
		}
		if _, on := r.effective(f); on {
			c.find(bufferOn, r.place, "on")
		}
	}
}

// loopback checks what else Keyturn's own requests need of the listener that they go through.
func (c *checker) loopback(m *manager) {
	pipe := m.listener.GetAddress().GetPipe()
	if pipe == nil {
		c.find(loopbackAddress, m.where(), printed(m.listener.Address))
	} else {
		c.socketMode(m, pipe, loopbackMode, 0o660)
	}
	if c.connectionLimit && !m.listener.IgnoreGlobalConnLimit {
		c.find(globalLimit, m.where(), "false")
	}
	c.requestHeaders(m, func(o *manager) bool { return o.role == roleFront })
	if toolTime(c.want.Pools) == 0 {
		return
	}
	if !m.shapes() {
		c.find(localReply, m.where(), "not set") // what Envoy says goes on to the client
	}
	for _, log := range m.AccessLog {
		if readable(log) && !mentions(log, wire.TurnHeader) && !mentions(log, strings.ToUpper(wire.TurnHeader)) {
			c.find(turnLog, m.where(), log.Name)
		}
	}
}

func readable(log *accesslogv3.AccessLog) bool {
	return slices.ContainsFunc(accessLogs, func(s string) bool { return strings.HasSuffix(log.GetTypedConfig().GetTypeUrl(), s) })
}

// mentions reports whether a string stands anywhere in a message: strings keep their bytes when packed.
func mentions(m proto.Message, s string) bool {
	b, err := proto.Marshal(m)
	return err == nil && bytes.Contains(b, []byte(s))
}

// isOneOf reports whether a filter is of one of these types.
func isOneOf(f *hcmv3.HttpFilter, types []string) bool {
	return slices.ContainsFunc(types, func(s string) bool { return strings.Contains(f.GetTypedConfig().GetTypeUrl(), s) })
}
