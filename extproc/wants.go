package extproc

import (
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
)

// wantsTools reports whether the pool's tools may go into this request, what has its answer counted, or what is new in it is kept.
func (x *exchange) wantsTools(m *message) bool {
	return x.dialect != nil && (x.reads() || x.home.prompts) && x.readsBody(m)
}

// reads reports whether the request is read for more than to keep what is new in it.
func (x *exchange) reads() bool {
	return x.home.tools != nil || x.home.countUsage && x.dialect == dialect.Chat
}

// readsBody reports whether the request's body can be read.
func (x *exchange) readsBody(m *message) bool {
	return !x.laterTurn && !m.end && string(m.header(":method")) == "POST" && x.length <= x.pool.maxBody
	// The content type does not matter: curl -d says application/x-www-form-urlencoded, and a body that is no JSON passes as it is.
}

// remember keeps of the request's headers what later turns repeat: a credential only if it is the client's own for the provider.
func (x *exchange) remember(m *message, own []byte) {
	path, _ := splitQuery(string(m.header(":path")), func(string) bool { return own != nil })
	if x.hop > 0 {
		path = x.sent
	}
	x.tools = &withTools{memory: x.memory(own), coded: coded{header: m.joined("content-encoding")}, origin: agent.Origin{
		Pool: x.pool.name, Provider: x.pool.telemetry, Dialect: x.dialect, Began: x.started,
		Path: path, Authority: string(m.header(":authority")), RequestID: string(x.front.requestID), Client: string(x.front.client), ID: string(x.front.id),
	}}
	x.tools.asked = strings.ToLower(strings.TrimSpace(m.joined(wire.ToolsHeader)))
	o := &x.tools.origin
	if o.RequestID == "" { // Envoy makes none
		o.RequestID = uuid.NewString()
	}
	for _, h := range m.headers {
		switch name := string(h.name); name {
		case "traceparent", "tracestate":
			o.Trace(name, string(h.value))
		default:
			if !wire.IsProxied(h.name) && (own != nil || name != x.pool.header && name != x.home.header && !wire.IsCredential(h.name) && !wire.IsPage(h.name) && !slices.Contains(wire.Withheld, name) && !slices.Contains(wire.Accounts, name)) {
				o.Repeat(name, string(h.value))
			}
		}
	}
}
