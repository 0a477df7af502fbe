package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	loopbackName = "keyturn-loopback"
	// filterPriority: after EnvoyFilters without one, whose filters then stand before these.
	filterPriority = 10
)

// envoyFilter is every setting that Istio has no field for.
func (m *mesh) envoyFilter() object {
	spec := object{{"workloadSelector", object{{"labels", m.Selector}}}}
	if m.Form == GatewayAPI {
		spec = object{{"targetRefs", []object{{{"group", gatewayAPI}, {"kind", "Gateway"}, {"name", m.gateway()}}}}}
	}
	return object{
		{"apiVersion", "networking.istio.io/v1alpha3"},
		{"kind", "EnvoyFilter"},
		{"metadata", meta(m.Name, m.Namespace)},
		{"spec", append(spec, field{"priority", filterPriority}, field{"configPatches", m.patches()})},
	}
}

func (m *mesh) patches() []object {
	patches := []object{m.patchOf("CLUSTER", nil, "ADD", m.checked(m.processorCluster()))}
	if m.Loopback != "" {
		patches = append(patches, m.patchOf("LISTENER", nil, "ADD", m.checked(m.loopbackListener())))
	}
	ports := m.ports()
	if len(ports) == 0 {
		ports = []uint32{0}
	}
	for _, port := range ports {
		for _, f := range m.clientFilters() {
			patches = append(patches, m.patchOf("HTTP_FILTER", m.inListener(port, true), "INSERT_BEFORE", f))
		}
		patches = append(patches, m.patchOf("HTTP_FILTER", m.inListener(port, true), "MERGE", m.router()))
		patches = append(patches, m.patchOf("NETWORK_FILTER", m.inListener(port, false), "MERGE", &listenerv3.Filter{
			Name: managerFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: m.part(m.managerPatch())},
		}))
	}
	for i := range m.pools {
		p := &m.pools[i]
		for j, r := range p.routes {
			match := field{"routeConfiguration", object{{"vhost", object{{"route", object{{"name", m.routeName(p, j)}}}}}}}
			patches = append(patches, m.patchOf("HTTP_ROUTE", &match, "MERGE", r.patch))
		}
	}
	return patches
}

// patchOf is one entry of configPatches. match is nil for what is added.
func (m *mesh) patchOf(to string, match *field, operation string, value proto.Message) object {
	context := "GATEWAY"
	if m.Form == Sidecar {
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
	filter := object{{"name", managerFilter}}
	if router {
		filter = append(filter, field{"subFilter", object{{"name", routerFilter}}})
	}
	chain := field{"filterChain", object{{"filter", filter}}}
	if port == 0 {
		return &field{"listener", object{chain}}
	}
	return &field{"listener", object{{"portNumber", port}, chain}}
}

// loopbackListener needs everything in itself: Istio appends it after all patches, so none reaches it.
func (m *mesh) loopbackListener() *listenerv3.Listener {
	l := m.listener(loopbackName, m.socketAddress(), m.loopbackManager())
	l.TrafficDirection = corev3.TrafficDirection_OUTBOUND // a sidecar that ends drains its inbound listeners only
	l.IgnoreGlobalConnLimit = true
	return l
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
