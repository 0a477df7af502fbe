package mesh_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// gatewayController stands for Envoy Gateway: it makes of the resources what its documentation and its own tests show of
// 1.7, and applies the patches as its implementation of JSON Patch (RFC 6902) and JSONPath does, as far as these use it.
type gatewayController struct {
	t        *testing.T
	bind     netip.AddrPort
	endpoint netip.AddrPort // of every backend
	listener map[string]any
	routes   map[string]any
	clusters []any
	added    []any // listeners
}

// egObject is a resource of which only what Envoy Gateway's output depends on here is read.
type egObject struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		Hostnames []string
		Rules     []struct {
			Matches []struct {
				Path struct{ Type, Value string }
			}
			Filters []struct {
				RequestHeaderModifier struct{ Remove []string }
				URLRewrite            struct{ Hostname string }
			}
			Timeouts struct{ Request string }
		}
		TargetRef      struct{ Name string }
		CircuitBreaker map[string]int
		Validation     struct{ Hostname, WellKnownCACertificates string }
		JSONPatches    []jsonPatch
	}
}

type jsonPatch struct {
	Type, Name string
	Operation  struct {
		Op, Path, JSONPath string
		Value              any
	}
}

const egOther = "other.example"

// bootstrap is the configuration of an Envoy that Envoy Gateway configures, with a host that is none of Keyturn's.
func (c *gatewayController) bootstrap(stream []byte) []byte {
	c.t.Helper()
	var objects []egObject
	d := yaml.NewDecoder(bytes.NewReader(stream))
	for {
		var v any
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(c.t, err)
		j, err := json.Marshal(v)
		require.NoError(c.t, err)
		var o egObject
		require.NoError(c.t, json.Unmarshal(j, &o))
		objects = append(objects, o)
	}
	hosts := []any{map[string]any{"name": "x", "domains": []any{egOther}, "routes": []any{map[string]any{
		"name": "other", "match": map[string]any{"prefix": "/"}, "route": map[string]any{"cluster": "other"},
	}}}}
	c.clusters = []any{c.cluster("other", "", nil)}
	tls, breakers := map[string]string{}, map[string]map[string]int{}
	for _, o := range objects {
		switch o.Kind {
		case "BackendTLSPolicy":
			require.Equal(c.t, "System", o.Spec.Validation.WellKnownCACertificates)
			tls[o.Metadata.Name] = o.Spec.Validation.Hostname
		case "BackendTrafficPolicy":
			breakers[o.Metadata.Name] = o.Spec.CircuitBreaker
		}
	}
	for _, o := range objects {
		if o.Kind == "HTTPRoute" {
			hosts = append(hosts, c.host(o, tls[o.Metadata.Name], breakers[o.Metadata.Name]))
		}
	}
	c.routes = map[string]any{"name": "served", "ignore_port_in_host_matching": true, "virtual_hosts": hosts}
	c.listen()
	for _, o := range objects {
		for _, p := range o.Spec.JSONPatches {
			c.apply(p)
		}
	}
	return c.marshal()
}

// host is the virtual host of an HTTPRoute, with its clusters.
func (c *gatewayController) host(o egObject, tls string, breakers map[string]int) any {
	var routes []any
	for i, rule := range o.Spec.Rules {
		cluster := fmt.Sprintf("httproute/%s/%s/rule/%d", o.Metadata.Namespace, o.Metadata.Name, i)
		action := map[string]any{"cluster": cluster, "upgrade_configs": []any{map[string]any{"upgrade_type": "websocket"}}}
		if rule.Timeouts.Request != "" {
			action["timeout"] = rule.Timeouts.Request
		}
		require.Len(c.t, rule.Matches, 1)
		require.Equal(c.t, "PathPrefix /", rule.Matches[0].Path.Type+" "+rule.Matches[0].Path.Value)
		route := map[string]any{
			"name":  cluster + "/match/0/" + strings.ReplaceAll(o.Spec.Hostnames[0], ".", "_"),
			"match": map[string]any{"prefix": "/"},
			"route": action,
		}
		for _, f := range rule.Filters {
			if f.RequestHeaderModifier.Remove != nil {
				route["request_headers_to_remove"] = f.RequestHeaderModifier.Remove
			}
			if f.URLRewrite.Hostname != "" {
				action["host_rewrite_literal"] = f.URLRewrite.Hostname
			}
		}
		routes = append(routes, route)
		c.clusters = append(c.clusters, c.cluster(cluster, tls, breakers))
	}
	return map[string]any{"name": "llm/keyturn/http/" + strings.ReplaceAll(o.Spec.Hostnames[0], ".", "_"), "domains": []any{o.Spec.Hostnames[0]}, "routes": routes}
}

func (c *gatewayController) cluster(name, tls string, breakers map[string]int) any {
	out := map[string]any{
		"name": name, "connect_timeout": "10s", "per_connection_buffer_limit_bytes": 32768,
		"load_assignment": map[string]any{"cluster_name": name, "endpoints": []any{map[string]any{"lb_endpoints": []any{map[string]any{
			"endpoint": map[string]any{"address": address(c.endpoint)},
		}}}}},
	}
	if breakers != nil {
		out["circuit_breakers"] = map[string]any{"thresholds": []any{map[string]any{
			"max_connections": breakers["maxConnections"], "max_pending_requests": breakers["maxPendingRequests"],
			"max_requests": breakers["maxParallelRequests"], "max_retries": breakers["maxParallelRetries"],
		}}}
	}
	if tls != "" {
		out["transport_socket"] = map[string]any{"name": "envoy.transport_sockets.tls", "typed_config": map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": tls,
			"common_tls_context": map[string]any{"validation_context": map[string]any{
				"trusted_ca":                    map[string]any{"filename": envoytest.CAFile(c.t)},
				"match_typed_subject_alt_names": []any{map[string]any{"san_type": "DNS", "matcher": map[string]any{"exact": tls}}},
			}},
		}}
	}
	return out
}

func address(a netip.AddrPort) any {
	return map[string]any{"socket_address": map[string]any{"address": a.Addr().String(), "port_value": a.Port()}}
}

// listen is the listener as Envoy Gateway makes it with the rendered ClientTrafficPolicy.
func (c *gatewayController) listen() {
	c.listener = map[string]any{
		"name": "main", "address": address(c.bind), "per_connection_buffer_limit_bytes": 32768,
		"default_filter_chain": map[string]any{"name": "served", "filters": []any{map[string]any{
			"name": "envoy.filters.network.http_connection_manager",
			"typed_config": map[string]any{
				"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
				"stat_prefix": "http-10080", "use_remote_address": true, "normalize_path": true, "merge_slashes": true,
				"path_with_escaped_slashes_action": "KEEP_UNCHANGED", "server_header_transformation": "PASS_THROUGH",
				"http_filters": []any{map[string]any{"name": "envoy.filters.http.router", "typed_config": map[string]any{
					"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", "suppress_envoy_headers": true,
				}}},
				"access_log": []any{map[string]any{"name": "envoy.access_loggers.file", "typed_config": map[string]any{
					"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null",
				}}},
			},
		}}},
	}
}

// apply is one patch.
func (c *gatewayController) apply(p jsonPatch) {
	c.t.Helper()
	require.Equal(c.t, "add", p.Operation.Op)
	kind := p.Type[strings.LastIndex(p.Type, ".")+1:]
	if p.Operation.Path == "" && p.Operation.JSONPath == "" {
		require.Equal(c.t, p.Name, p.Operation.Value.(map[string]any)["name"])
		if kind == "Cluster" {
			c.clusters = append(c.clusters, p.Operation.Value)
		} else {
			c.added = append(c.added, p.Operation.Value)
		}
		return
	}
	require.Equal(c.t, "llm/keyturn/http", p.Name)
	doc := map[string]map[string]any{"Listener": c.listener, "RouteConfiguration": c.routes}[kind]
	found := locate(c.t, doc, p.Operation.JSONPath)
	require.Len(c.t, found, 1, "%s in %s", p.Operation.JSONPath, kind)
	pointer := found[0]
	if p.Operation.Path != "" {
		pointer = append(pointer, strings.Split(p.Operation.Path, "/")...)
	}
	add(c.t, doc, pointer, p.Operation.Value)
}

var jsonPathForm = regexp.MustCompile(`^\.\.(\w+)\[\?\(@\.name == '([^']+)'\)\]((?:\.\w+)*)$`)

// locate finds the places of a JSONPath of the form ..list[?(@.name == 'x')].field, anywhere in a document.
func locate(t *testing.T, doc any, path string) (found [][]string) {
	t.Helper()
	m := jsonPathForm.FindStringSubmatch(path)
	require.NotNil(t, m, path)
	var walk func(v any, at []string)
	walk = func(v any, at []string) {
		switch v := v.(type) {
		case map[string]any:
			for k, below := range v {
				walk(below, append(slices.Clone(at), k))
			}
		case []any:
			for i, below := range v {
				here := append(slices.Clone(at), strconv.Itoa(i))
				if o, ok := below.(map[string]any); ok && o["name"] == m[2] && len(at) > 0 && at[len(at)-1] == m[1] {
					if rest := strings.Trim(m[3], "."); rest != "" {
						here = append(here, strings.Split(rest, ".")...)
					}
					found = append(found, here)
					continue
				}
				walk(below, here)
			}
		}
	}
	walk(doc, nil)
	return found
}

// add is JSON Patch's: into a list before the element that the pointer names, or at its end for -; into an object in
// place of what is there. Objects on the way are made.
func add(t *testing.T, doc any, pointer []string, value any) any {
	t.Helper()
	name, rest := pointer[0], pointer[1:]
	switch doc := doc.(type) {
	case map[string]any:
		switch {
		case len(rest) == 0:
			doc[name] = value
		case doc[name] == nil:
			require.NotEqual(t, "-", rest[0], "no list there")
			doc[name] = add(t, map[string]any{}, rest, value)
		default:
			doc[name] = add(t, doc[name], rest, value)
		}
		return doc
	case []any:
		if name == "-" && len(rest) == 0 {
			return append(doc, value)
		}
		i, err := strconv.Atoi(name)
		require.NoError(t, err)
		if len(rest) == 0 {
			return slices.Insert(doc, i, value)
		}
		doc[i] = add(t, doc[i], rest, value)
		return doc
	}
	require.Fail(t, "neither list nor object", "%v: %T", pointer, doc)
	return nil
}

// marshal puts the routes into the listener, which gets them by RDS otherwise.
func (c *gatewayController) marshal() []byte {
	c.t.Helper()
	chain := c.listener["default_filter_chain"].(map[string]any)
	manager := chain["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
	manager["route_config"] = c.routes
	j, err := json.Marshal(map[string]any{
		"admin": map[string]any{"address": address(netip.MustParseAddrPort("127.0.0.1:0"))},
		"overload_manager": map[string]any{"resource_monitors": []any{map[string]any{"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig", "max_active_downstream_connections": 50000,
		}}}},
		"static_resources": map[string]any{
			"listeners": append([]any{c.listener}, c.added...), "clusters": c.clusters,
		},
	})
	require.NoError(c.t, err)
	return j
}
