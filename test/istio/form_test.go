package istio

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// form is a way to attach Keyturn to a mesh.
type form struct {
	name     string
	args     []string // of keyturn render istio
	port     int      // of the provider's service, as clients name it
	dial     string   // where clients' connections go
	captures bool     // dial is redirected to the sidecar

	// The proxy, as it introduces itself to the control plane.
	kind, workload, interception string
	labels                       map[string]string
	namespace                    string // "" = namespace

	drain time.Duration // how long a listener that was replaced goes on; 0 = a second

	pools     []pool // nil: all
	inner     string // the socket of the inner listener; "" = internal
	clientKey string // that the gateway knows its only client by; "" = it asks nobody

	around     string // resources of Istio's that are not Keyturn's
	kubernetes string // resources of Kubernetes that are not Keyturn's
}

// namespace is where everything is.
const namespace = "llm"

// The ports that proxies listen on.
const (
	gatewayPort = 8080
	egressPort  = 19331
)

// The forms that Keyturn renders.
var (
	egressGateway = form{
		name: "gateway", args: []string{"--form", "gateway", "-l", "istio=llm-egress", "--port", "8080"},
		port: 80, dial: fmt.Sprintf("127.0.0.1:%d", gatewayPort),
		kind: "router", workload: "egress", interception: "NONE", labels: map[string]string{"istio": "llm-egress"},
		around: join(plainEntry, plainGateway, plainRoute),
	}
	egressListener = form{
		name: "sidecar with an egress listener", args: []string{"--form", "sidecar", "-l", "app=agent", "--egress-listener", "--port", "19331"},
		port: egressPort, dial: fmt.Sprintf("127.0.0.1:%d", egressPort),
		kind: "sidecar", workload: "agent", interception: "NONE", labels: map[string]string{"app": "agent"},
		around: strings.ReplaceAll(plainEntry, "number: 80,", "number: 19331,"),
	}
	capturingSidecar = form{
		name: "sidecar with capture", args: []string{"--form", "sidecar", "-l", "app=agent"},
		port: 80, dial: captured + ":80", captures: true,
		kind: "sidecar", workload: "agent", interception: "REDIRECT", labels: map[string]string{"app": "agent"},
		around: join(plainEntry, plaintext),
	}
	gatewayAPI = form{
		name: "Gateway API", args: []string{"--form", "gateway-api", "--port", "8080"},
		port: 80, dial: fmt.Sprintf("127.0.0.1:%d", gatewayPort),
		kind: "router", workload: "egress", interception: "NONE", labels: map[string]string{"gateway.networking.k8s.io/gateway-name": "keyturn"},
		around: join(plainEntry, plaintext), kubernetes: gatewayWorkload,
	}

	forms = []form{egressGateway, egressListener, capturingSidecar, gatewayAPI}
)

// serves are the form's pools.
func (f form) serves() []pool {
	if f.pools == nil {
		return pools
	}
	return f.pools
}

// cluster is the proxy's name for the provider's cluster.
func (f form) cluster(host string) string { return fmt.Sprintf("outbound|%d||%s", f.port, host) }

// listens is an address that is there once the proxy has its listeners.
func (f form) listens() string {
	if f.captures {
		return fmt.Sprintf("127.0.0.1:%d", virtualOutbound)
	}
	return f.dial
}

// bootstrap is a proxy's, as pilot-agent writes it as far as it matters here. Its address is that of no endpoint, or the control
// plane would make inbound listeners for it.
func (f form) bootstrap(dir string) string {
	var labels []string
	for name, value := range f.labels {
		labels = append(labels, fmt.Sprintf("%q: %q", name, value))
	}
	return strings.NewReplacer(
		"@KIND@", f.kind, "@WORKLOAD@", f.workload, "@NAMESPACE@", cmp.Or(f.namespace, namespace), "@INTERCEPTION@", f.interception,
		"@LABELS@", strings.Join(labels, ", "), "@SDS@", filepath.Join(dir, "sds.sock"),
		"@HOST@", strings.Split(discoveryAddress, ":")[0], "@PORT@", strings.Split(discoveryAddress, ":")[1],
	).Replace(bootstrap)
}

const bootstrap = `
node:
  id: @KIND@~10.9.9.9~@WORKLOAD@.@NAMESPACE@~@NAMESPACE@.svc.cluster.local
  cluster: @WORKLOAD@.@NAMESPACE@
  metadata:
    NAMESPACE: @NAMESPACE@
    CLUSTER_ID: Kubernetes
    ISTIO_VERSION: 1.31.0
    INTERCEPTION_MODE: @INTERCEPTION@
    LABELS: {@LABELS@}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{envoy_grpc: {cluster_name: xds-grpc}}]
  cds_config: {ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3}
  lds_config: {ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3}
bootstrap_extensions: # as in tools/packaging/common/envoy_bootstrap.json of Istio
- name: envoy.bootstrap.internal_listener
  typed_config:
    "@type": type.googleapis.com/udpa.type.v1.TypedStruct
    type_url: type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener
    value: {buffer_size_kb: 64}
static_resources:
  clusters:
  - name: xds-grpc
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options: &h2
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds-grpc
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: @HOST@, port_value: @PORT@}}}}]}]
  - name: sds-grpc
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options: *h2
    load_assignment:
      cluster_name: sds-grpc
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: @SDS@}}}}]}]
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
`

// plainEntry is the unrelated service.
const plainEntry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: plain, namespace: ` + namespace + `}
spec:
  hosts: [` + plainHost + `]
  location: MESH_EXTERNAL
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: 8090}
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
`

// plainGateway has the egress gateway serve the unrelated service too.
const plainGateway = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: plain, namespace: ` + namespace + `}
spec:
  selector: {istio: llm-egress}
  servers:
  - port: {number: 8080, name: http, protocol: HTTP}
    hosts: [` + plainHost + `]
`

const plainRoute = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: plain, namespace: ` + namespace + `}
spec:
  hosts: [` + plainHost + `]
  gateways: [` + namespace + `/plain]
  http:
  - route: [{destination: {host: ` + plainHost + `, port: {number: 80}}}]
`

// plaintext spares the proxy inbound listeners with certificates of the mesh, which pilot-agent would fetch.
const plaintext = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: ` + namespace + `}
spec: {mtls: {mode: DISABLE}}
`

// gatewayWorkload is what Istio's controller makes of a Gateway of the Gateway API in a cluster, and the unrelated service's route.
const gatewayWorkload = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio}
spec: {controllerName: istio.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: plain, namespace: ` + namespace + `}
spec:
  parentRefs: [{name: keyturn}]
  hostnames: [` + plainHost + `]
  rules:
  - backendRefs: [{group: networking.istio.io, kind: Hostname, name: ` + plainHost + `, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: keyturn-istio, namespace: ` + namespace + `, labels: {gateway.networking.k8s.io/gateway-name: keyturn}}
spec:
  clusterIP: 10.0.0.77
  ports: [{name: http, port: 8080, targetPort: 8080, protocol: TCP, appProtocol: http}]
  selector: {gateway.networking.k8s.io/gateway-name: keyturn}
---
apiVersion: v1
kind: Pod
metadata: {name: egress, namespace: ` + namespace + `, labels: {gateway.networking.k8s.io/gateway-name: keyturn}}
spec: {containers: [{name: istio-proxy}]}
status: {podIP: 10.9.9.9, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: keyturn-istio, namespace: ` + namespace + `, labels: {kubernetes.io/service-name: keyturn-istio}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.9.9.9], conditions: {ready: true}, targetRef: {kind: Pod, name: egress, namespace: ` + namespace + `}}]
`
