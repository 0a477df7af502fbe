package mesh

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/keyturn/keyturn/envoy"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// filterPriority: after EnvoyFilters without one, whose filters then stand before these.
const filterPriority = 10

// envoyFilter is every setting that Istio has no field for.
func (m *mesh) envoyFilter() object {
	spec := object{{"workloadSelector", object{{"labels", m.to.Selector}}}}
	if m.to.Form == GatewayAPI {
		spec = object{{"targetRefs", []object{{{"group", gatewayAPI}, {"kind", "Gateway"}, {"name", m.gateway()}}}}}
	}
	return object{
		{"apiVersion", "networking.istio.io/v1alpha3"},
		{"kind", "EnvoyFilter"},
		{"metadata", meta(m.to.Name, m.to.Namespace)},
		{"spec", append(spec, field{"priority", filterPriority}, field{"configPatches", m.patches()})},
	}
}

func (m *mesh) patches() []object {
	patches := []object{
		m.patchOf("CLUSTER", nil, "ADD", m.checked(m.parts.ProcessorCluster())),
		m.patchOf("CLUSTER", nil, "ADD", m.checked(m.parts.InnerCluster())),
	}
	for _, l := range m.ownListeners() {
		patches = append(patches, m.patchOf("LISTENER", nil, "ADD", m.checked(l)))
	}
	ports := m.ports()
	if len(ports) == 0 {
		ports = []uint32{0}
	}
	for _, port := range ports {
		for _, f := range m.parts.FrontFilters() {
			patches = append(patches, m.patchOf("HTTP_FILTER", m.inListener(port, true), "INSERT_BEFORE", f))
		}
		patches = append(patches, m.patchOf("NETWORK_FILTER", m.inListener(port, false), "MERGE", &listenerv3.Filter{
			Name: envoy.ManagerFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: m.part(m.managerPatch())},
		}))
	}
	for i := range m.pools {
		p := &m.pools[i]
		match := field{"routeConfiguration", object{{"vhost", object{{"route", object{{"name", m.routeName(p)}}}}}}}
		patches = append(patches, m.patchOf("HTTP_ROUTE", &match, "MERGE", m.patch(p)))
	}
	return patches
}

// patchOf is one entry of configPatches. match is nil for what is added.
func (m *mesh) patchOf(to string, match *field, operation string, value proto.Message) object {
	context := "GATEWAY"
	if m.to.Form == Sidecar {
		context = "SIDECAR_OUTBOUND"
	}
	where := object{{"context", context}}
	if match != nil {
		where = append(where, *match)
	}
	return object{
		{"applyTo", to},
		{"match", where},
		{"patch", object{{"operation", operation}, {"value", message{value}}}},
	}
}

// inListener finds the connection manager of the mesh's own listeners, or its router.
func (m *mesh) inListener(port uint32, router bool) *field {
	filter := object{{"name", envoy.ManagerFilter}}
	if router {
		filter = append(filter, field{"subFilter", object{{"name", envoy.RouterFilter}}})
	}
	chain := field{"filterChain", object{{"filter", filter}}}
	if port == 0 {
		return &field{"listener", object{chain}}
	}
	return &field{"listener", object{{"portNumber", port}, chain}}
}

// ownListeners are those that Keyturn brings along. They need everything in themselves: Istio appends them after all patches,
// so none reaches them.
func (m *mesh) ownListeners() []*listenerv3.Listener {
	all := []*listenerv3.Listener{m.parts.InnerListener()}
	if l := m.parts.LoopbackListener(m.to.SocketMode); l != nil {
		all = append(all, l)
	}
	return all
}

// checked notes what is wrong with a message that stands alone.
func (m *mesh) checked(v interface {
	proto.Message
	ValidateAll() error
},
) proto.Message {
	if err := v.ValidateAll(); err != nil {
		m.errs = append(m.errs, err)
	}
	return v
}

// part wraps a message that is only a part of a valid one.
func (m *mesh) part(v proto.Message) *anypb.Any {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, v, proto.MarshalOptions{Deterministic: true}); err != nil {
		m.errs = append(m.errs, err)
	}
	return a
}
