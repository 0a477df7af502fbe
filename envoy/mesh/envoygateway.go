package mesh

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/address"
	"google.golang.org/protobuf/encoding/protojson"
)

// EnvoyGateway is where in an installation of Envoy Gateway Keyturn is attached.
type EnvoyGateway struct {
	Name      string // what the names of the resources begin with; "" = keyturn
	Namespace string // of the Gateway and of all resources; "" = default
	Gateway   string // a Gateway that exists; "" = one is rendered, named Name
	Listener  string // the Gateway's listener; "" = http
	// Domain is what apps call: each pool has a host of its own in it, <pool>.<domain>. Required.
	Domain     string
	SocketMode uint32 // of the loopback listener's socket: 0 = 0660, for processes with a group in common; or 0600
}

// RenderEnvoyGateway returns the resources that attach Keyturn to a Gateway of Envoy Gateway, as a commented YAML stream.
//
// Its EnvoyExtensionPolicy puts a processor into the listener's chain only, where it sees a request once and no attempt.
// So the inner listener and what leads to it come by an EnvoyPatchPolicy, which Envoy Gateway must be told to allow, as it
// must Backends. All else is the Gateway API's and Envoy Gateway's own: an HTTPRoute for each pool, which removes
// credentials by itself, so that a lost patch sends none to a provider. Its Envoy has no internal listeners: where cfg.Inner
// is no socket, one beside the others is taken. Of cfg, Listen, Admin, Attach, CAFile and AccessLog's path are not used.
func RenderEnvoyGateway(cfg envoy.Config, to EnvoyGateway) ([]byte, error) {
	var errs []error
	if to.Domain == "" || slices.ContainsFunc(strings.Split(to.Domain, "."), func(s string) bool { return !labelName.MatchString(s) }) {
		errs = append(errs, fmt.Errorf("domain: %q is no domain; each pool is called by a host of its own in it, such as openai.llm.example.com in llm.example.com", to.Domain))
		to.Domain = "example.com"
	}
	if to.Listener == "" {
		to.Listener = "http"
	}
	m, err := newMesh(cfg, Istio{
		Form: envoyGateway, Name: to.Name, Namespace: to.Namespace, Gateway: to.Gateway, SocketMode: to.SocketMode,
	}, to.Domain)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	g := &envoyGatewayResources{mesh: m, listener: to.Listener}
	docs, err := g.documents()
	if err != nil {
		return nil, err
	}
	return m.marshal(docs)
}

// innerSocket is the inner listener's: the one that is named, or one beside the loopback listener's or Keyturn's.
func innerSocket(cfg envoy.Config) (string, error) {
	if strings.HasPrefix(cfg.Inner, "unix:") {
		return cfg.Inner, nil
	}
	for _, other := range []string{cfg.Loopback, cfg.Processor} {
		if p, ok := strings.CutPrefix(other, "unix:"); ok && !strings.HasPrefix(p, "@") {
			return "unix:" + path.Join(path.Dir(p), "inner.sock"), nil
		}
	}
	return "", errors.New("envoy.inner: Envoy Gateway's Envoy has no internal listeners, and there is no socket beside which it could be: write the path of a socket in a folder that Envoy may write to, such as unix:/run/keyturn/inner.sock")
}

// ruleName is what Envoy Gateway calls the rule of a pool's HTTPRoute, and the rule's cluster.
func (m *mesh) ruleName(p meshPool) string {
	return fmt.Sprintf("httproute/%s/%s/rule/0", m.to.Namespace, m.named(p.resource))
}

// underscored is a host as Envoy Gateway has it in the names of virtual hosts and routes.
func underscored(host string) string { return strings.ReplaceAll(host, ".", "_") }

// gatewayResources turns a plan into Envoy Gateway's resources.
type envoyGatewayResources struct {
	mesh     *mesh
	listener string // of the Gateway
}

const egAPI = "gateway.envoyproxy.io"

func (g *envoyGatewayResources) documents() ([]resource, error) {
	var docs []resource
	if g.mesh.to.Gateway == "" {
		docs = g.entry()
	}
	for i := range g.mesh.pools {
		docs = append(docs, g.provider(&g.mesh.pools[i])...)
	}
	patches, err := g.patches()
	if err != nil {
		return nil, err
	}
	docs = append(docs, resource{
		"What Envoy Gateway has no field for. It names listeners and routes as version 1 of its schema of names does; where it is told\n" +
			"to use another, nothing is found, which the status of this resource says.",
		object{
			{"apiVersion", egAPI + "/v1alpha1"},
			{"kind", "EnvoyPatchPolicy"},
			{"metadata", meta(g.mesh.to.Name, g.mesh.to.Namespace)},
			{"spec", object{
				{"targetRef", object{{"group", gatewayAPI}, {"kind", "Gateway"}, {"name", g.mesh.gateway()}}},
				{"type", "JSONPatch"},
				{"jsonPatches", patches},
			}},
		},
	})
	docs[0].comment = strings.TrimSuffix(g.head()+"\n\n"+docs[0].comment, "\n\n")
	return docs, nil
}

func (g *envoyGatewayResources) head() string {
	lines := []string{
		fmt.Sprintf("Keyturn behind Envoy Gateway, for the Gateway %s in the namespace %s.", g.mesh.gateway(), g.mesh.to.Namespace),
		`Written by "keyturn render envoy-gateway". Envoy Gateway must allow what this uses: extensionApis: {enableEnvoyPatchPolicy: true, enableBackend: true}.`,
		"Its Envoy must be 1.37 or later. This was checked against Envoy and Envoy Gateway's documentation, and never ran under an Envoy Gateway.",
		fmt.Sprintf("Its Envoy has no internal listeners: attempts go through the socket %s, which Envoy makes.", strings.TrimPrefix(g.mesh.cfg.Inner, "unix:")),
		"",
		"Keyturn leads a pool's attempts to the cluster that Envoy Gateway makes for its provider, so keyturn.yaml must name it first:",
	}
	for _, p := range g.mesh.pools {
		lines = append(lines, fmt.Sprintf("  pool %s: clusters: [%s]", p.config.Name, g.mesh.clusterName(p)))
	}
	lines = append(lines, "Base URLs for apps:")
	for _, p := range g.mesh.pools {
		lines = append(lines, fmt.Sprintf("  http://%s%s", p.called, address.BasePath(p.config.Upstream)))
	}
	return strings.Join(append(lines, g.mesh.secrets()...), "\n")
}

// entry is a Gateway, and what clients of models need of its listener.
func (g *envoyGatewayResources) entry() []resource {
	return []resource{
		{"", object{
			{"apiVersion", gatewayAPI + "/v1"},
			{"kind", "Gateway"},
			{"metadata", meta(g.mesh.gateway(), g.mesh.to.Namespace)},
			{"spec", object{
				{"gatewayClassName", "eg"},
				{"listeners", []object{{{"name", g.listener}, {"port", providerPort}, {"protocol", "HTTP"}}}},
			}},
		}},
		{"Envoy Gateway refuses headers with underscores, and Codex sends session_id; and it unescapes slashes, which are part of models'\nnames: /v1/models/org%2Fmodel. A Gateway of your own needs this too.", object{
			{"apiVersion", egAPI + "/v1alpha1"},
			{"kind", "ClientTrafficPolicy"},
			{"metadata", meta(g.mesh.to.Name, g.mesh.to.Namespace)},
			{"spec", object{
				{"targetRefs", []object{{{"group", gatewayAPI}, {"kind", "Gateway"}, {"name", g.mesh.gateway()}}}},
				{"headers", object{{"withUnderscoresAction", "Allow"}}},
				{"path", object{{"escapedSlashesAction", "KeepUnchanged"}}},
			}},
		}},
	}
}

// provider are a pool's own resources: where it is, how it is verified, its routes and its limits.
func (g *envoyGatewayResources) provider(p *meshPool) []resource {
	name := g.mesh.named(p.resource)
	docs := []resource{{"The provider of pool " + p.config.Name + ".", object{
		{"apiVersion", egAPI + "/v1alpha1"},
		{"kind", "Backend"},
		{"metadata", meta(name, g.mesh.to.Namespace)},
		{"spec", object{{"endpoints", []object{{{"fqdn", object{{"hostname", p.host}, {"port", p.port}}}}}}}},
	}}}
	if p.config.Upstream.Scheme == "https" {
		docs = append(docs, resource{"", object{
			{"apiVersion", gatewayAPI + "/v1"},
			{"kind", "BackendTLSPolicy"},
			{"metadata", meta(name, g.mesh.to.Namespace)},
			{"spec", object{
				{"targetRefs", []object{{{"group", egAPI}, {"kind", "Backend"}, {"name", name}}}},
				{"validation", object{{"wellKnownCACertificates", "System"}, {"hostname", p.host}}},
			}},
		}})
	}
	return append(docs, g.mesh.httpRoute(p), resource{"", object{
		{"apiVersion", egAPI + "/v1alpha1"},
		{"kind", "BackendTrafficPolicy"},
		{"metadata", meta(name, g.mesh.to.Namespace)},
		{"spec", object{
			{"targetRefs", []object{{{"group", gatewayAPI}, {"kind", "HTTPRoute"}, {"name", name}}}},
			{"circuitBreaker", object{
				{"maxConnections", envoy.Unlimited}, {"maxPendingRequests", envoy.Unlimited}, {"maxParallelRequests", envoy.Unlimited}, {"maxParallelRetries", envoy.Unlimited},
			}},
			{"tcpKeepalive", object{{"idleTime", "60s"}, {"interval", "15s"}, {"probes", 4}}},
			{"timeout", object{
				{"tcp", object{{"connectTimeout", "5s"}}},
				{"http", object{{"connectionIdleTimeout", "50s"}}},
			}},
		}},
	}})
}

// patchOp is one operation on a resource of Envoy's. Envoy Gateway applies each by itself: one that fails stops no other.
func (g *envoyGatewayResources) patchOp(kind, name, jsonPath, path string, value any) object {
	op := object{{"op", "add"}}
	if jsonPath != "" {
		op = append(op, field{"jsonPath", jsonPath})
	}
	if path != "" || jsonPath == "" {
		op = append(op, field{"path", path})
	}
	return object{
		{"type", "type.googleapis.com/envoy.config." + kind},
		{"name", name},
		{"operation", append(op, field{"value", value})},
	}
}

// Where the patches go: by names, since an HTTPS listener has its filter chains elsewhere than one without TLS.
const (
	inManager    = "..filters[?(@.name == '" + envoy.ManagerFilter + "')].typed_config"
	beforeRouter = "..http_filters[?(@.name == '" + envoy.RouterFilter + "')]"
)

// patches are in an order in which what was applied until then does no harm: routes say last that they lead to the inner
// listener.
func (g *envoyGatewayResources) patches() ([]object, error) {
	const listenerType, routeType, clusterType = "listener.v3.Listener", "route.v3.RouteConfiguration", "cluster.v3.Cluster"
	served := g.mesh.to.Namespace + "/" + g.mesh.gateway() + "/" + g.listener
	patches := []object{
		g.patchOp(clusterType, envoy.ProcessorName, "", "", message{g.mesh.checked(g.mesh.parts.ProcessorCluster())}),
		g.patchOp(clusterType, envoy.InnerName, "", "", message{g.mesh.checked(g.mesh.parts.InnerCluster())}),
	}
	for _, l := range g.mesh.ownListeners() {
		patches = append(patches, g.patchOp(listenerType, l.Name, "", "", message{g.mesh.checked(l)}))
	}
	for _, f := range g.mesh.parts.FrontFilters() {
		patches = append(patches, g.patchOp(listenerType, served, beforeRouter, "", message{f}))
	}
	manager := g.mesh.managerPatch()
	patches = append(patches, g.patchOp(listenerType, served, inManager, "local_reply_config", message{manager.LocalReplyConfig}))
	for _, log := range manager.AccessLog {
		patches = append(patches, g.patchOp(listenerType, served, inManager, "access_log/-", message{log}))
	}
	for i := range g.mesh.pools {
		p := &g.mesh.pools[i]
		fields, err := flat(message{g.mesh.patch(p)})
		if err != nil {
			return nil, fmt.Errorf("route of pool %q: %w", p.config.Name, err)
		}
		// Without a count of attempts from here, Keyturn counts by itself, and forgets when it is restarted.
		patches = append(patches, g.patchOp(routeType, served, "..virtual_hosts[?(@.name == '"+served+"/"+underscored(p.called)+"')]", "include_request_attempt_count", true))
		for _, f := range fields {
			patches = append(patches, g.patchOp(routeType, served, "..routes[?(@.name == '"+g.mesh.routeName(p)+"')]", f.name, f.value))
		}
	}
	return patches, nil
}

// flat lists a route's fields, those of its maps one by one, so that what the route has beside them stays. What leads to the
// inner listener comes last.
func flat(m message) ([]field, error) {
	j, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Message)
	if err != nil {
		return nil, err
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(j, &top); err != nil {
		return nil, err
	}
	var fields []field
	for name, value := range top {
		if name != "route" && name != "typed_per_filter_config" {
			fields = append(fields, field{name, value})
			continue
		}
		var below map[string]json.RawMessage
		if err := json.Unmarshal(value, &below); err != nil {
			return nil, err
		}
		for n, v := range below {
			fields = append(fields, field{name + "/" + n, v})
		}
	}
	last := func(f field) int {
		if f.name == "route/cluster" {
			return 1
		}
		return 0
	}
	slices.SortFunc(fields, func(a, b field) int {
		return cmp.Or(cmp.Compare(last(a), last(b)), strings.Compare(a.name, b.name))
	})
	return fields, nil
}
