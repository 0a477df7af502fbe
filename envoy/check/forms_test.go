package check_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/stretchr/testify/require"
)

// settings lists what findings are about, as "setting @ where".
func settings(findings []check.Finding) []string {
	all := []string{}
	for _, f := range findings {
		all = append(all, f.Setting+" @ "+f.Where)
	}
	return all
}

// TestCheckWhole is about a document as a whole, and what its user wants of it.
func TestCheckWhole(t *testing.T) {
	cfg := checkedConfig(t)
	filter := func(d tree) any {
		return below(t, below(t, managerOf(t, d.resource(t, onInner)), "http_filters"), "keyturn")
	}
	insert := func(d tree, listener string, filters ...any) {
		m := managerOf(t, d.resource(t, listener))
		m["http_filters"] = append(filters, m["http_filters"].([]any)...)
	}
	for _, tc := range []struct {
		name   string
		change func(*envoy.Config, *check.Want)
		edit   func(*testing.T, tree)
		want   []string
	}{
		{"nothing wanted", func(_ *envoy.Config, w *check.Want) { *w = check.Want{} }, nil, []string{}},
		{"nothing of Keyturn's", func(_ *envoy.Config, w *check.Want) { w.Pools = nil }, func(t *testing.T, d tree) {
			static := d["static_resources"].(map[string]any)
			static["listeners"] = []any{d.resource(t, onMain)}
			for _, name := range []string{"openai", "default"} {
				put(t, d.resource(t, onMain), "HOST/routes/"+name+"/route/cluster", "elsewhere")
			}
			static["clusters"] = []any{d.resource(t, onProvider)}
		}, []string{"http_filters @ envoy"}},
		{"nothing of Keyturn's, and a pool's cluster", nil, func(t *testing.T, d tree) {
			static := d["static_resources"].(map[string]any)
			static["listeners"] = []any{d.resource(t, onMain)}
			for _, name := range []string{"openai", "default"} {
				put(t, d.resource(t, onMain), "HOST/routes/"+name+"/route/cluster", "openai")
			}
			static["clusters"] = []any{d.resource(t, onProvider)}
		}, []string{"http_filters @ envoy", "route.cluster @ " + onOpenAI, "route.cluster @ listener main, route default"}},
		{"no cluster leads to the inner listener", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onHop), "name", "elsewhere")
			put(t, d.resource(t, "cluster elsewhere"), "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address", map[string]any{"pipe": map[string]any{"path": "x"}})
		}, []string{"cluster keyturn-inner @ envoy"}},
		{"no route leads to it", nil, func(t *testing.T, d tree) {
			for _, name := range []string{"openai", "default"} {
				put(t, d.resource(t, onMain), "HOST/routes/"+name+"/route/cluster", "elsewhere")
			}
		}, []string{"route.cluster @ envoy"}},
		{"other names", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onInner), "name", "attempts")
			put(t, d.resource(t, onHop), "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/envoy_internal_address/server_listener_name", "attempts")
			put(t, d.resource(t, onHop), "name", "to-attempts")
			for _, name := range []string{"openai", "default"} {
				put(t, d.resource(t, onMain), "HOST/routes/"+name+"/route/cluster", "to-attempts")
			}
			put(t, d.resource(t, "listener attempts"), "ONLY/route/timeout", nil)
			put(t, d.resource(t, "cluster to-attempts"), "circuit_breakers/thresholds/0/max_retries", nil)
			put(t, d.resource(t, onMain), "ROUTE/route/timeout", nil)
		}, []string{"route.timeout @ " + onOpenAI, "route.timeout @ listener attempts, route all[0]", "cluster.circuit_breakers.max_retries @ cluster to-attempts"}},
		{"an inner listener over TCP", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onInner), "internal_listener", nil)
			put(t, d.resource(t, onInner), "address", map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": 1}})
			put(t, d.resource(t, onHop), "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address", map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": 1}})
		}, []string{"address @ " + onInner}},
		{"no loopback", func(_ *envoy.Config, w *check.Want) { w.Loopback = true }, nil, []string{"listener loopback @ envoy"}},
		{"a pool without its cluster", func(_ *envoy.Config, w *check.Want) {
			w.Pools = append([]envoy.Pool{{Name: "gemini", Clusters: []string{"g1", "g2"}}}, w.Pools...)
		}, nil, []string{"route.request_headers_to_add.x-keyturn-pool @ pool gemini", "cluster @ pool gemini"}},
		{"a pool's second cluster", func(_ *envoy.Config, w *check.Want) {
			w.Pools = []envoy.Pool{{Name: "openai", Clusters: []string{"elsewhere", "openai"}, Keys: 3}}
		}, nil, []string{"cluster @ pool openai"}},
		{"more keys than retries", func(_ *envoy.Config, w *check.Want) { w.Pools = []envoy.Pool{{Name: "openai", Keys: 30}} }, nil, []string{
			"route.retry_policy.num_retries @ listener main, route openai",
			"route.retry_policy.num_retries @ listener main, route default",
		}},
		{"larger bodies than the limit", func(_ *envoy.Config, w *check.Want) { w.Pools = []envoy.Pool{{Name: "openai", MaxBodyBytes: 64 << 20}} }, nil, []string{
			"route.request_body_buffer_limit @ " + onAttempts,
		}},
		{"another credential header", func(_ *envoy.Config, w *check.Want) {
			w.Pools = []envoy.Pool{{Name: "openai", CredentialHeader: "x-secret"}}
		}, nil, []string{
			"route.request_headers_to_remove @ listener main, route openai",
			"route.request_headers_to_remove @ listener main, route default",
			"filter.forward_rules @ " + onInner,
		}},
		{"byok without the credentials", func(c *envoy.Config, w *check.Want) { c.Pools[0].BYOK = true; w.Pools = c.Pools }, func(t *testing.T, d tree) {
			put(t, d.resource(t, onInner), "PROC/forward_rules/disallowed_headers", exact("x-api-key"))
		}, []string{"filter.forward_rules @ " + onInner, "filter.forward_rules @ " + onInner}},
		{"open on purpose", func(c *envoy.Config, w *check.Want) { c.Clients = envoy.Clients{Open: true}; w.Open = true }, nil, []string{}},
		{"open by accident", func(c *envoy.Config, _ *check.Want) { c.Clients = envoy.Clients{Open: true} }, nil, []string{"http_filters @ listener main"}},
		{"client certificates", func(c *envoy.Config, _ *check.Want) { c.Clients = envoy.Clients{Open: true} }, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "filter_chains/0/transport_socket", map[string]any{
				"name": "tls", "typed_config": map[string]any{
					"@type":                      "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
					"require_client_certificate": true,
					"common_tls_context":         map[string]any{"validation_context": map[string]any{"trusted_ca": map[string]any{"filename": "ca.pem"}}},
				},
			})
		}, []string{}},
		{"client certificates of anybody", func(c *envoy.Config, _ *check.Want) { c.Clients = envoy.Clients{Open: true} }, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "filter_chains/0/transport_socket", map[string]any{
				"name": "tls", "typed_config": map[string]any{
					"@type":                      "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
					"require_client_certificate": true,
				},
			})
		}, []string{"http_filters @ listener main"}},
		{"a client's name that nobody sets", func(c *envoy.Config, w *check.Want) { c.Clients = envoy.Clients{Open: true}; w.Open = true }, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "ROUTE/request_headers_to_remove", removedAll(""))
		}, []string{"route.request_headers_to_remove @ " + onOpenAI}},
		{"in the clients' chain too", nil, func(_ *testing.T, d tree) { insert(d, onMain, filter(d)) }, []string{"http_filters.keyturn @ listener main"}},
		{"in the clients' chain only", nil, func(t *testing.T, d tree) {
			insert(d, onMain, filter(d))
			static := d["static_resources"].(map[string]any)
			static["listeners"] = []any{d.resource(t, onMain)}
			static["clusters"] = []any{d.resource(t, onProvider), d.resource(t, onProcessor)}
			for _, name := range []string{"openai", "default"} {
				put(t, d.resource(t, onMain), "HOST/routes/"+name+"/route/cluster", "openai")
			}
		}, []string{"http_filters.keyturn @ listener main", "route.cluster @ " + onOpenAI, "route.cluster @ listener main, route default"}},
		{"upstream too", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "CHAIN/envoy.filters.http.router/typed_config/upstream_http_filters", []any{filter(d)})
		}, []string{"upstream_http_filters.keyturn @ listener main"}},
		{"twice", nil, func(_ *testing.T, d tree) { insert(d, onInner, filter(d)) }, []string{"http_filters.keyturn @ " + onInner}},
		{"filters before and between", nil, func(t *testing.T, d tree) {
			m := managerOf(t, d.resource(t, onInner))
			filters := m["http_filters"].([]any)
			m["http_filters"] = []any{
				map[string]any{"name": "before", "typed_config": map[string]any{"@type": filterTypes + "ext_authz.v3.ExtAuthz"}},
				filters[0],
				map[string]any{"name": "metadata", "typed_config": map[string]any{"@type": filterTypes + "header_to_metadata.v3.Config"}},
				map[string]any{"name": "off", "disabled": true, "typed_config": map[string]any{"@type": filterTypes + "lua.v3.Lua"}},
				map[string]any{"name": "between", "typed_config": map[string]any{"@type": filterTypes + "lua.v3.Lua"}},
				filters[1],
			}
		}, []string{"http_filters @ " + onInner}},
		{"another name for the filter", nil, func(t *testing.T, d tree) {
			put(t, filter(d), "name", "ext_proc")
			put(t, below(t, below(t, managerOf(t, d.resource(t, onInner)), "http_filters"), "ext_proc"), "typed_config/allow_mode_override", nil)
		}, []string{"filter.allow_mode_override @ " + onInner}},
		{"off in the chain and on for the route", nil, func(t *testing.T, d tree) {
			put(t, filter(d), "disabled", true)
			put(t, d.resource(t, onInner), "ONLY/typed_per_filter_config/keyturn", perRoute(map[string]any{}))
		}, []string{}},
		{"two clusters by weight", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "ROUTE/route/cluster", nil)
			put(t, d.resource(t, onMain), "ROUTE/route/weighted_clusters", map[string]any{"clusters": []any{
				map[string]any{"name": "keyturn-inner", "weight": 1, "request_headers_to_remove": []any{"x-keyturn-id"}},
				map[string]any{"name": "openai", "weight": 1},
				map[string]any{"name": "other", "weight": 1},
			}})
			put(t, d.resource(t, onMain), "ROUTE/route/timeout", nil)
		}, []string{"route.weighted_clusters @ listener main, route openai, cluster other", "route.timeout @ listener main, route openai, cluster keyturn-inner", "route.cluster @ listener main, route openai, cluster openai"}},
		{"said by the virtual host", nil, func(t *testing.T, d tree) {
			main := d.resource(t, onMain)
			for _, field := range []string{"request_headers_to_remove", "response_headers_to_remove"} {
				put(t, main, "HOST/"+field, removedAll("", "x-keyturn-retry"))
				put(t, main, "ROUTE/"+field, nil)
			}
			put(t, main, "HOST/retry_policy", below(t, below(t, below(t, below(t, below(t, below(t, managerOf(t, main), "route_config"), "virtual_hosts"), "0"), "routes"), "openai"), "route").(map[string]any)["retry_policy"])
			put(t, main, "ROUTE/route/retry_policy", nil)
		}, []string{}},
		{"removed by the virtual host, after the route has set it", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "HOST/request_headers_to_remove", []any{"x-keyturn-pool"})
		}, []string{
			"route.request_headers_to_add.x-keyturn-pool @ pool openai",
			"route.request_headers_to_add.x-keyturn-pool @ listener main, route openai",
			"route.request_headers_to_add.x-keyturn-pool @ listener main, route default",
		}},
		{"removed by the virtual host, before the route sets it", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "HOST/request_headers_to_remove", []any{"x-keyturn-pool"})
			put(t, d.resource(t, onMain), "HCM/route_config/most_specific_header_mutations_wins", true)
			put(t, d.resource(t, onMain), "ROUTE/request_headers_to_add", addedAll(added("x-keyturn-pool", "openai", "APPEND_IF_EXISTS_OR_ADD")))
		}, []string{}},
		{"in the old words", nil, func(t *testing.T, d tree) {
			old := map[string]any{"header": map[string]any{"key": "x-keyturn-pool", "value": "openai"}, "append": false}
			put(t, d.resource(t, onMain), "ROUTE/request_headers_to_add", addedAll(old))
		}, []string{}},
		{"response headers removed by the route", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "ROUTE/response_headers_to_remove", []any{"x-keyturn-retry", "X-Keyturn-Used-Pool", "x-keyturn-used-name", "x-keyturn-used-key"})
			put(t, d.resource(t, onMain), "CHAIN/keyturn-metadata/disabled", true)
		}, []string{"http_filters.header_to_metadata @ listener main, route default"}},
		{"a name by the authority", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onProvider), "OPTIONS/upstream_http_protocol_options", map[string]any{"auto_sni": true, "auto_san_validation": true})
			put(t, d.resource(t, onProvider), "transport_socket/typed_config/sni", nil)
			put(t, d.resource(t, onProvider), "transport_socket/typed_config/common_tls_context/validation_context/match_typed_subject_alt_names", nil)
		}, []string{}},
		{"Keyturn's replies left alone", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onInner), "HCM/local_reply_config", map[string]any{"mappers": []any{
				map[string]any{"filter": cel("'x-keyturn-error' in response.headers")},
				map[string]any{"filter": cel("true"), "status_code": 502},
			}})
		}, []string{}},
		{"replies sorted by their flags", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onInner), "HCM/local_reply_config", map[string]any{"mappers": []any{map[string]any{
				"filter":      map[string]any{"response_flag_filter": map[string]any{"flags": []any{"UF"}}},
				"status_code": 502,
			}}})
		}, []string{}},
		{"discovered routes that are not there", nil, func(t *testing.T, d tree) {
			for _, l := range []string{onMain, onInner} {
				put(t, d.resource(t, l), "HCM/route_config", nil)
				put(t, d.resource(t, l), "HCM/rds", map[string]any{"route_config_name": "elsewhere"})
			}
		}, []string{"rds.route_config_name @ listener main", "rds.route_config_name @ " + onInner}},
		{"an extension nobody knows", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "CHAIN/envoy.filters.http.api_key_auth/typed_config", map[string]any{"@type": "type.googleapis.com/example.Unknown", "x": 1})
		}, []string{
			"route.request_headers_to_remove @ " + onOpenAI, "route.request_headers_to_remove @ listener main, route default", "http_filters @ listener main", "header_to_metadata @ listener main",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := cfg
			c.Pools = append([]envoy.Pool{}, cfg.Pools...)
			want := envoytest.Wanted(c)
			if tc.change != nil {
				tc.change(&c, &want)
			}
			d := bootstrapTree(t, c)
			if tc.edit != nil {
				tc.edit(t, d)
			}
			require.ElementsMatch(t, tc.want, settings(findingsOf(t, d, want)))
		})
	}
}

// TestCheckByHand: the Envoy that somebody added Keyturn's lines to lacks nothing.
func TestCheckByHand(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "envoy.yaml"))
	require.NoError(t, err)
	findings, err := check.Envoy(doc, check.Want{
		Processor: "unix:run/extproc.sock",
		Pools:     []envoy.Pool{{Name: "openai", Upstream: envoytest.URL(t, "https://api.openai.com"), Keys: 3}},
	})
	require.NoError(t, err)
	require.Empty(t, findings)
}

// TestCheckDiscovered reads the dump of an Envoy that got its listeners, clusters and routes by discovery.
func TestCheckDiscovered(t *testing.T) {
	cfg := checkedConfig(t)
	d := bootstrapTree(t, cfg)
	folder := t.TempDir()
	write := func(name, kind string, resources ...any) map[string]any {
		for _, r := range resources {
			r.(map[string]any)["@type"] = "type.googleapis.com/envoy.config." + kind
		}
		doc, err := json.Marshal(map[string]any{"version_info": "1", "resources": resources})
		require.NoError(t, err)
		path := filepath.Join(folder, name+".json")
		require.NoError(t, os.WriteFile(path, doc, 0o600))
		return map[string]any{"path_config_source": map[string]any{"path": path}, "resource_api_version": "V3"}
	}
	static := d["static_resources"].(map[string]any)
	hcm := managerOf(t, d.resource(t, onMain))
	routes := hcm["route_config"].(map[string]any)
	routes["name"] = "main"
	delete(hcm, "route_config")
	hcm["rds"] = map[string]any{"route_config_name": "main", "config_source": write("rds", "route.v3.RouteConfiguration", routes)}
	dynamic := map[string]any{
		"lds_config": write("lds", "listener.v3.Listener", static["listeners"].([]any)...),
		"cds_config": write("cds", "cluster.v3.Cluster", static["clusters"].([]any)...),
	}
	delete(static, "listeners")
	delete(static, "clusters")
	d["dynamic_resources"] = dynamic
	d["node"] = map[string]any{"id": "a", "cluster": "b"}

	dump := dumpTree(t, d)
	require.Empty(t, findingsOf(t, dump, envoytest.Wanted(cfg)))
	require.Contains(t, settings(findingsOf(t, d, envoytest.Wanted(cfg))), "http_filters @ envoy", "a bootstrap does not hold what is discovered")

	broken := dump.clone(t)
	for _, part := range broken["configs"].([]any) {
		if all, ok := part.(map[string]any)["dynamic_route_configs"].([]any); ok {
			host := below(t, below(t, below(t, all[0], "route_config"), "virtual_hosts"), "0")
			put(t, host, "routes|openai|route|timeout", nil)
		}
	}
	put(t, broken.resource(t, onProvider), "circuit_breakers", nil)
	require.Equal(t, []string{"route.timeout @ " + onOpenAI, "cluster.circuit_breakers @ " + onProvider}, settings(findingsOf(t, broken, envoytest.Wanted(cfg))))

	old := dump.clone(t)
	for _, part := range old["configs"].([]any) {
		if b, ok := part.(map[string]any)["bootstrap"].(map[string]any); ok {
			put(t, b, "node|user_agent_build_version|version", map[string]any{"major_number": 1, "minor_number": 36, "patch": 4})
		}
	}
	findings := findingsOf(t, old, envoytest.Wanted(cfg))
	require.Equal(t, []string{"version @ envoy"}, settings(findings))
	require.Equal(t, "1.36", findings[0].Found)
}

func TestCheckCannotRead(t *testing.T) {
	for _, tc := range []struct{ name, doc, want string }{
		{"empty", " \n", "the document is empty"},
		{"neither", "a: [", "neither JSON nor YAML"},
		{"text", "hello", "not a mapping of fields"},
		{"list", "[1]", "not a mapping of fields"},
		{"something else", "pools: []", "neither an Envoy configuration, which has static_resources or dynamic_resources, nor an answer of /config_dump"},
		{"another tool's", `{"kind": "EnvoyFilter"}`, "neither an Envoy configuration"},
		{"wrong type", "static_resources: {listeners: {}}", "not an Envoy configuration that this version understands"},
		{"wrong type in a dump", `{"configs": {}}`, "not an answer of /config_dump"},
		{"keys that are no text", "static_resources: {}\n? [1]\n: 2", "YAML"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := check.Envoy([]byte(tc.doc), check.Want{})
			require.ErrorContains(t, err, tc.want)
		})
	}
	_, err := check.Envoy([]byte("static_resources: {}"), check.Want{Processor: "nowhere"})
	require.ErrorContains(t, err, `processor: "nowhere" is neither`)
}

// TestCheckSurvives takes every part out of a document in turn, or puts something else there: the result is findings or
// an error, never a panic.
func TestCheckSurvives(t *testing.T) {
	cfg := toolsConfig(t)
	d := bootstrapTree(t, cfg)
	for _, listener := range []string{onMain, onLoopback} { // shaped errors are half of the document, and all alike
		delete(managerOf(t, d.resource(t, listener)), "local_reply_config")
	}
	seen := map[string]bool{}
	var visit func(node any, path string)
	visit = func(node any, path string) {
		switch node := node.(type) {
		case []any:
			for _, e := range node {
				name := "*"
				if m, ok := e.(map[string]any); ok && m["name"] != nil {
					name = fmt.Sprint(m["name"])
				}
				visit(e, path+"/"+name)
			}
		case map[string]any:
			for key, was := range node {
				visit(was, path+"/"+key)
				if seen[path+"/"+key] {
					continue // as its like elsewhere in a list
				}
				seen[path+"/"+key] = true
				for _, other := range []any{nil, map[string]any{}, []any{map[string]any{}}} {
					node[key] = other
					doc, err := json.Marshal(d)
					require.NoError(t, err)
					_, _ = check.Envoy(doc, envoytest.Wanted(cfg)) // whatever it says
				}
				node[key] = was
			}
		}
	}
	visit(map[string]any(d), "")
	require.Greater(t, len(seen), 200)
}
