package mesh

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/address"
)

const (
	networking = "networking.istio.io/v1"
	gatewayAPI = "gateway.networking.k8s.io"
	onlyHere   = "." // exportTo: the resource is for this namespace
)

// documents are the resources in the order in which to apply them: the EnvoyFilter last, when its routes are there.
func (m *mesh) documents() []resource {
	var docs []resource
	for i := range m.pools {
		docs = append(docs, m.provider(&m.pools[i])...)
	}
	docs = append(docs, m.entry()...)
	for i := range m.pools {
		docs = append(docs, m.routesTo(&m.pools[i])...)
	}
	docs = append(docs, resource{
		"The EnvoyFilter: all patches in one, so that they come and go together. Never a second one of Keyturn's for the same proxy:\nits listeners would be rejected. Another provider is one more HTTP_ROUTE patch here.",
		m.envoyFilter(),
	})
	docs[0].comment = m.head() + "\n\n" + docs[0].comment
	return docs
}

// head is what a reader must know about the whole.
func (m *mesh) head() string {
	who := "the pods with " + labels(m.to.Selector)
	if m.to.Form == GatewayAPI {
		who = "the Gateway " + m.gateway()
	}
	lines := []string{
		fmt.Sprintf("Keyturn in an Istio mesh, form %s, for %s in the namespace %s.", m.to.Form, who, m.to.Namespace),
		`Written by "keyturn render istio", for Istio 1.29 and later.`,
		"",
		"Keyturn leads a pool's attempts to the cluster that Istio makes for its provider, so keyturn.yaml must name it first:",
	}
	for _, p := range m.pools {
		lines = append(lines, fmt.Sprintf("  pool %s: clusters: [%q]", p.config.Name, m.clusterName(p)))
	}
	lines = append(lines, "Apps call:")
	for _, p := range m.pools {
		lines = append(lines, "  "+m.call(p))
	}
	return strings.Join(append(lines, m.secrets()...), "\n")
}

// secrets warns of what resources hold.
func (m *mesh) secrets() []string {
	if len(m.cfg.Clients.APIKeys) == 0 || !m.cfg.Clients.ByEnvoy {
		return nil
	}
	return []string{"", "The patches hold the clients' keys (envoy.clients.api_keys): who may read them in the cluster may use the gateway."}
}

// call says how apps reach a pool.
func (m *mesh) call(p meshPool) string {
	url := "http://" + p.host
	if p.port != providerPort {
		url = fmt.Sprintf("%s:%d", url, p.port)
	}
	switch {
	case m.to.EgressListener:
		return fmt.Sprintf("http://%s with http_proxy=http://127.0.0.1:%d (pool %s)", p.host, m.to.Port, p.config.Name)
	case m.to.Form == Sidecar, m.to.Service != "":
		return fmt.Sprintf("%s (pool %s)", url, p.config.Name)
	}
	return fmt.Sprintf("the gateway, with Host: %s (pool %s)", p.host, p.config.Name)
}

// labels writes a selector as kubectl takes it.
func labels(l map[string]string) string {
	var s []string
	for _, k := range slices.Sorted(maps.Keys(l)) {
		s = append(s, k+"="+l[k])
	}
	return strings.Join(s, ",")
}

// provider are the resources that make a host outside known to the mesh.
func (m *mesh) provider(p *meshPool) []resource {
	if p.own {
		return nil
	}
	// Seen by this namespace only, but where the mesh's sidecars send to the gateway, which are everywhere.
	var visible any = []string{onlyHere}
	if m.to.Service != "" {
		visible = nil
	}
	a := address.OfUpstream(p.config.Upstream)
	port := object{{"number", p.port}, {"name", "http"}, {"protocol", "HTTP"}}
	if a.Port != p.port {
		port = append(port, field{"targetPort", a.Port})
	}
	policy := object{{"connectionPool", object{
		{"tcp", object{
			{"connectTimeout", "5s"},
			{"tcpKeepalive", object{{"time", "60s"}, {"interval", "15s"}, {"probes", 4}}},
		}},
		{"http", object{{"idleTimeout", "50s"}}},
	}}}
	if p.config.Upstream.Scheme == "https" {
		policy = append(policy, field{"tls", object{{"mode", "SIMPLE"}, {"sni", p.host}, {"subjectAltNames", []string{p.host}}}})
	}
	return []resource{
		{
			"The provider of pool " + p.config.Name + ": apps speak plain HTTP within the mesh, the proxy speaks TLS to it.",
			object{
				{"apiVersion", networking},
				{"kind", "ServiceEntry"},
				{"metadata", meta(m.named(p.resource), m.to.Namespace)},
				{"spec", object{
					{"hosts", []string{p.host}},
					{"exportTo", visible},
					{"location", "MESH_EXTERNAL"},
					{"ports", []object{port}},
					{"resolution", "DNS"},
				}},
			},
		},
		{"", object{
			{"apiVersion", networking},
			{"kind", "DestinationRule"},
			{"metadata", meta(m.named(p.resource), m.to.Namespace)},
			{"spec", object{{"host", p.host}, {"exportTo", []string{onlyHere}}, {"trafficPolicy", policy}}},
		}},
	}
}

// gateway is the name of the Gateway that routes belong to.
func (m *mesh) gateway() string {
	if m.to.Gateway != "" {
		return m.to.Gateway
	}
	return m.to.Name
}

// entry is where requests come in: a Gateway, or the sidecar's own listener.
func (m *mesh) entry() []resource {
	hosts := make([]string, 0, len(m.pools))
	for _, p := range m.pools {
		hosts = append(hosts, p.host)
	}
	switch {
	case m.to.EgressListener:
		egress := object{
			{"port", object{{"number", m.to.Port}, {"name", "http"}, {"protocol", "HTTP"}}},
			{"bind", "127.0.0.1"},
			{"captureMode", "NONE"},
			{"hosts", []string{m.to.Namespace + "/*"}},
		}
		return []resource{{
			"A listener in pods whose traffic is not captured. A captured pod needs none, and there this resource would hide the rest\n" +
				"of the mesh from it. A pod can have one Sidecar: if yours have one already, add this listener to it. It serves every host of\n" +
				"this namespace that has the listener's port in a ServiceEntry.",
			object{
				{"apiVersion", networking},
				{"kind", "Sidecar"},
				{"metadata", meta(m.to.Name, m.to.Namespace)},
				{"spec", object{{"workloadSelector", object{{"labels", m.to.Selector}}}, {"egress", []object{egress}}}},
			},
		}}
	case m.to.Form == Sidecar, m.to.Gateway != "":
		return nil
	case m.to.Form == GatewayAPI:
		return []resource{{
			"The gateway, whose Deployment Istio makes. The keyturn container and the volume of the sockets come into its pod by\ninfrastructure.parametersRef.",
			object{
				{"apiVersion", gatewayAPI + "/v1"},
				{"kind", "Gateway"},
				{"metadata", meta(m.gateway(), m.to.Namespace)},
				{"spec", object{
					{"gatewayClassName", "istio"},
					{"listeners", []object{{{"name", "http"}, {"port", m.to.Port}, {"protocol", "HTTP"}}}},
				}},
			},
		}}
	}
	return []resource{{
		"",
		object{
			{"apiVersion", networking},
			{"kind", "Gateway"},
			{"metadata", meta(m.gateway(), m.to.Namespace)},
			{"spec", object{
				{"selector", m.to.Selector},
				{"servers", []object{{
					{"port", object{{"number", m.to.Port}, {"name", "http"}, {"protocol", "HTTP"}}}, {"hosts", hosts},
				}}},
			}},
		},
	}}
}

// routesTo are the resources with a pool's route.
func (m *mesh) routesTo(p *meshPool) []resource {
	if m.to.Form == GatewayAPI {
		return []resource{m.httpRoute(p)}
	}
	gateways := []string{"mesh"}
	if m.to.Form == Gateway {
		gateways = []string{m.to.Namespace + "/" + m.gateway()}
	}
	destination := object{{"host", p.host}}
	if !m.to.EgressListener { // there the listener's port is the host's
		destination = append(destination, field{"port", object{{"number", p.port}}})
	}
	docs := []resource{{
		"The route to pool " + p.config.Name + ". The EnvoyFilter finds it by its name.",
		object{
			{"apiVersion", networking},
			{"kind", "VirtualService"},
			{"metadata", meta(m.named(p.resource), m.to.Namespace)},
			{"spec", object{
				{"hosts", []string{p.host}},
				{"exportTo", []string{onlyHere}},
				{"gateways", gateways},
				{"http", []object{{
					{"name", m.routeName(p)},
					{"headers", m.removal(p)},
					{"retries", object{{"attempts", 0}}},
					{"route", []object{{{"destination", destination}}}},
				}}},
			}},
		},
	}}
	if m.to.Service != "" {
		docs = append(docs, m.toGateway(p))
	}
	return docs
}

// removal takes the credentials out of requests, nil where clients may bring their own.
func (m *mesh) removal(p *meshPool) any {
	if p.config.BYOK {
		return nil
	}
	return object{{"request", object{{"remove", m.removed(p)}}}}
}

// toGateway sends what apps of the mesh call by the provider's name to the gateway.
func (m *mesh) toGateway(p *meshPool) resource {
	return resource{
		"From the sidecars of the mesh to the gateway. It removes nothing: the gateway may ask for a client's key.",
		object{
			{"apiVersion", networking},
			{"kind", "VirtualService"},
			{"metadata", meta(m.named(p.resource, "mesh"), m.to.Namespace)},
			{"spec", object{
				{"hosts", []string{p.host}},
				{"gateways", []string{"mesh"}},
				{"http", []object{{
					{"name", envoy.FilterName + "-" + p.resource + "-gateway"},
					{"retries", object{{"attempts", 0}}},
					{"route", []object{{{"destination", object{{"host", m.to.Service}, {"port", object{{"number", providerPort}}}}}}}},
				}}},
			}},
		},
	}
}

// httpRoute is the route of a pool for the Gateway API.
func (m *mesh) httpRoute(p *meshPool) resource {
	rule := object{{"matches", []object{{{"path", object{{"type", "PathPrefix"}, {"value", "/"}}}}}}}
	if !p.config.BYOK {
		rule = append(rule, field{"filters", []object{{
			{"type", "RequestHeaderModifier"},
			{"requestHeaderModifier", object{{"remove", m.removed(p)}}},
		}}})
	}
	backend := object{{"group", "networking.istio.io"}, {"kind", "Hostname"}, {"name", p.host}, {"port", p.port}}
	if m.to.Form == envoyGateway {
		rule = append(rule, field{"timeouts", object{{"request", "0s"}}})
		backend = object{{"group", egAPI}, {"kind", "Backend"}, {"name", m.named(p.resource)}}
	}
	return resource{
		"The route to pool " + p.config.Name + ". The patches find it by namespace and name, as the first rule.",
		object{
			{"apiVersion", gatewayAPI + "/v1"},
			{"kind", "HTTPRoute"},
			{"metadata", meta(m.named(p.resource), m.to.Namespace)},
			{"spec", object{
				{"parentRefs", []object{{{"name", m.gateway()}}}},
				{"hostnames", []string{p.called}},
				{"rules", []object{append(rule, field{"backendRefs", []object{backend}})}},
			}},
		},
	}
}
