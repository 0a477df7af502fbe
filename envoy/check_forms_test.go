package envoy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyturn/keyturn/envoy"
	"github.com/stretchr/testify/require"
)

// settings lists what findings are about, as "setting @ where".
func settings(findings []envoy.Finding) []string {
	all := []string{}
	for _, f := range findings {
		all = append(all, f.Setting+" @ "+f.Where)
	}
	return all
}

// TestCheckWhole is about a document as a whole, and what its user wants of it.
func TestCheckWhole(t *testing.T) {
	cfg := checkedConfig(t)
	for _, tc := range []struct {
		name   string
		change func(*envoy.Config, *envoy.Want)
		edit   func(*testing.T, tree)
		want   []string
	}{
		{"nothing wanted", func(_ *envoy.Config, w *envoy.Want) { *w = envoy.Want{} }, nil, []string{}},
		{"no filter", nil, func(t *testing.T, d tree) {
			for _, l := range []string{onMain, onLoopback} {
				put(t, d.resource(t, l), "CHAIN/envoy.filters.http.router/typed_config/upstream_http_filters", nil)
			}
		}, []string{
			"upstream_http_filters @ envoy",
			"route.typed_per_filter_config.keyturn @ listener main, route openai uploads",
			"route.typed_per_filter_config.keyturn @ listener main, route openai websocket",
			"route.typed_per_filter_config.keyturn @ listener main, route openai",
			"route.typed_per_filter_config.keyturn @ listener main, route default uploads",
			"route.typed_per_filter_config.keyturn @ listener main, route default websocket",
			"route.typed_per_filter_config.keyturn @ listener main, route default",
			"route.typed_per_filter_config.keyturn @ listener loopback, route loopback",
		}},
		{"no loopback", func(c *envoy.Config, _ *envoy.Want) { c.Loopback = "" }, nil, []string{"listener loopback @ envoy"}},
		{"a pool without its cluster", func(_ *envoy.Config, w *envoy.Want) {
			w.Pools = append([]envoy.Pool{{Name: "gemini", Clusters: []string{"g1", "g2"}}}, w.Pools...)
		}, nil, []string{"cluster @ pool gemini"}},
		{"one of two clusters", func(_ *envoy.Config, w *envoy.Want) {
			w.Pools = []envoy.Pool{{Name: "pool", Clusters: []string{"elsewhere", "openai"}, Keys: 3}}
		}, nil, []string{}},
		{"more keys than retries", func(_ *envoy.Config, w *envoy.Want) { w.Pools = []envoy.Pool{{Name: "openai", Keys: 30}} }, nil, []string{
			"route.retry_policy.num_retries @ listener main, route openai",
			"route.retry_policy.num_retries @ listener main, route default",
			"route.retry_policy.num_retries @ listener loopback, route loopback",
		}},
		{"larger bodies than the limit", func(_ *envoy.Config, w *envoy.Want) { w.Pools = []envoy.Pool{{Name: "openai", MaxBodyBytes: 64 << 20}} }, nil, []string{
			"route.request_body_buffer_limit @ listener main, route openai",
			"route.request_body_buffer_limit @ listener main, route default",
		}},
		{"another credential header", func(_ *envoy.Config, w *envoy.Want) {
			w.Pools = []envoy.Pool{{Name: "openai", CredentialHeader: "x-secret"}}
		}, nil, []string{
			"route.request_headers_to_remove @ listener main, route openai uploads",
			"route.request_headers_to_remove @ listener main, route openai websocket",
			"route.request_headers_to_remove @ listener main, route openai",
			"route.request_headers_to_remove @ listener main, route default uploads",
			"route.request_headers_to_remove @ listener main, route default websocket",
			"route.request_headers_to_remove @ listener main, route default",
		}},
		{"byok without the credentials", func(c *envoy.Config, w *envoy.Want) { c.Pools[0].BYOK = true; w.Pools = c.Pools }, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "PROC/forward_rules/disallowed_headers", map[string]any{"patterns": []any{map[string]any{"exact": "x-api-key"}}})
		}, []string{"filter.forward_rules @ listener main"}},
		{"open on purpose", func(c *envoy.Config, w *envoy.Want) { c.Clients = envoy.Clients{Open: true}; w.Open = true }, nil, []string{}},
		{"open by accident", func(c *envoy.Config, _ *envoy.Want) { c.Clients = envoy.Clients{Open: true} }, nil, []string{"http_filters @ listener main"}},
		{"client certificates", func(c *envoy.Config, _ *envoy.Want) { c.Clients = envoy.Clients{Open: true} }, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "filter_chains/0/transport_socket", map[string]any{
				"name": "tls", "typed_config": map[string]any{
					"@type":                      "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
					"require_client_certificate": true,
				},
			})
		}, []string{}},
		{"in the listener's chain", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "CHAIN/0", map[string]any{ // in place of the clients' filter
				"name": "keyturn", "typed_config": map[string]any{
					"@type": filterTypes + "ext_proc.v3.ExternalProcessor",
				}})
		}, []string{"http_filters.keyturn @ listener main", "http_filters @ listener main"}},
		{"auto_host_rewrite", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "ROUTE/route/host_rewrite_literal", nil)
			put(t, d.resource(t, onMain), "ROUTE/route/auto_host_rewrite", true)
		}, []string{"route.auto_host_rewrite @ listener main, route openai"}},
		{"the provider's own virtual host", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "ROUTE/route/host_rewrite_literal", nil)
			put(t, d.resource(t, onMain), "HOST/domains", []any{"api.openai.com"})
		}, []string{}},
		{"another name for the filter", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onLoopback), "UPSTREAM/keyturn/name", "ext_proc")
			put(t, d.resource(t, onLoopback), "UPSTREAM/ext_proc/typed_config/allow_mode_override", nil)
			put(t, d.resource(t, onLoopback), "LOOP/typed_per_filter_config/ext_proc", map[string]any{
				"@type":     filterTypes + "ext_proc.v3.ExtProcPerRoute",
				"overrides": map[string]any{"grpc_initial_metadata": []any{map[string]any{"key": "keyturn-request", "value": "buffered"}}},
			})
		}, []string{"filter.allow_mode_override @ listener loopback"}},
		{"two clusters by weight", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "ROUTE/route/cluster", nil)
			put(t, d.resource(t, onMain), "ROUTE/route/weighted_clusters", map[string]any{"clusters": []any{
				map[string]any{"name": "openai", "weight": 1},
				map[string]any{"name": "other", "weight": 1, "typed_per_filter_config": map[string]any{
					"keyturn": map[string]any{"@type": filterTypes + "ext_proc.v3.ExtProcPerRoute", "disabled": true},
				}},
			}})
			put(t, d.resource(t, onMain), "ROUTE/route/timeout", nil)
		}, []string{"route.timeout @ listener main, route openai, cluster openai"}},
		{"enabled in Envoy's general way", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "ROUTE/typed_per_filter_config/keyturn", map[string]any{
				"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": map[string]any{
					"@type":     filterTypes + "ext_proc.v3.ExtProcPerRoute",
					"overrides": map[string]any{"grpc_initial_metadata": []any{map[string]any{"key": "keyturn-request", "value": "buffered"}}},
				},
			})
			put(t, d.resource(t, onMain), "ROUTE/typed_per_filter_config|envoy.filters.http.buffer", map[string]any{
				"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true,
			})
		}, []string{"route.typed_per_filter_config.envoy.filters.http.buffer @ listener main, route openai"}},
		{"said by the virtual host, uploads included", nil, func(t *testing.T, d tree) {
			for _, field := range []string{"request_headers_to_remove", "response_headers_to_remove", "typed_per_filter_config"} {
				host := d.resource(t, onMain)
				put(t, host, "HOST/"+field, below(t, below(t, below(t, below(t, below(t, managerOf(t, host), "route_config"), "virtual_hosts"), "0"), "routes"), "openai").(map[string]any)[field])
				put(t, host, "ROUTE/"+field, nil)
			}
		}, []string{
			"route.typed_per_filter_config.envoy.filters.http.buffer @ listener main, route openai uploads",
			"route.typed_per_filter_config.envoy.filters.http.buffer @ listener main, route openai websocket",
			"route.typed_per_filter_config.envoy.filters.http.buffer @ listener main, route default uploads",
			"route.typed_per_filter_config.envoy.filters.http.buffer @ listener main, route default websocket",
		}},
		{"replies sorted by their flags", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "HCM/local_reply_config", map[string]any{"mappers": []any{map[string]any{
				"filter":      map[string]any{"response_flag_filter": map[string]any{"flags": []any{"UF"}}},
				"status_code": 502,
			}}})
		}, []string{}},
		{"discovered routes that are not there", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "HCM/route_config", nil)
			put(t, d.resource(t, onMain), "HCM/rds", map[string]any{"route_config_name": "elsewhere"})
		}, []string{"rds.route_config_name @ listener main"}},
		{"an extension nobody knows", nil, func(t *testing.T, d tree) {
			put(t, d.resource(t, onMain), "CHAIN/0/typed_config", map[string]any{"@type": "type.googleapis.com/example.Unknown", "x": 1})
		}, []string{"http_filters @ listener main"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := cfg
			c.Pools = append([]envoy.Pool{}, cfg.Pools...)
			want := wanted(c)
			if tc.change != nil {
				tc.change(&c, &want)
			}
			d := bootstrapTree(t, c)
			if tc.edit != nil {
				tc.edit(t, d)
			}
			require.Equal(t, tc.want, settings(check(t, d, want)))
		})
	}
}

// TestCheckClusterAttach breaks settings of the filter in a cluster's own chain.
func TestCheckClusterAttach(t *testing.T) {
	cfg := checkedConfig(t)
	cfg.Attach = envoy.Cluster
	d := bootstrapTree(t, cfg)
	dump := dumpTree(t, d)
	require.Empty(t, check(t, dump, wanted(cfg)))
	const filter = "OPTIONS/http_filters|keyturn|"
	for _, tc := range []struct{ path, setting string }{
		{"typed_config|allow_mode_override", "filter.allow_mode_override @ cluster openai"},
		{"typed_config|metadata_options", "filter.metadata_options.forwarding_namespaces.untyped @ cluster openai"},
		{"typed_config|request_attributes", "filter.request_attributes @ cluster openai"},
	} {
		for _, form := range []tree{d, dump} {
			broken := form.clone(t)
			put(t, broken.resource(t, onProvider), filter+tc.path, nil)
			require.Contains(t, settings(check(t, broken, wanted(cfg))), tc.setting)
		}
	}
	broken := d.clone(t)
	put(t, broken.resource(t, onLoopback), "LOOP/route/retry_policy", nil)
	require.Equal(t, []string{"route.retry_policy @ listener loopback, route loopback"}, settings(check(t, broken, wanted(cfg))))
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
	require.Empty(t, check(t, dump, wanted(cfg)))
	require.Contains(t, settings(check(t, d, wanted(cfg))), "upstream_http_filters @ envoy", "a bootstrap does not hold what is discovered")

	broken := dump.clone(t)
	for _, part := range broken["configs"].([]any) {
		if all, ok := part.(map[string]any)["dynamic_route_configs"].([]any); ok {
			host := below(t, below(t, below(t, all[0], "route_config"), "virtual_hosts"), "0")
			put(t, host, "routes|openai|route|timeout", nil)
		}
	}
	put(t, broken.resource(t, onProvider), "circuit_breakers", nil)
	require.Equal(t, []string{"route.timeout @ " + onOpenAI, "cluster.circuit_breakers @ " + onProvider}, settings(check(t, broken, wanted(cfg))))

	old := dump.clone(t)
	for _, part := range old["configs"].([]any) {
		if b, ok := part.(map[string]any)["bootstrap"].(map[string]any); ok {
			put(t, b, "node|user_agent_build_version|version", map[string]any{"major_number": 1, "minor_number": 36, "patch": 4})
		}
	}
	findings := check(t, old, wanted(cfg))
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
			_, err := envoy.Check([]byte(tc.doc), envoy.Want{})
			require.ErrorContains(t, err, tc.want)
		})
	}
	_, err := envoy.Check([]byte("static_resources: {}"), envoy.Want{Processor: "nowhere"})
	require.ErrorContains(t, err, `processor: "nowhere" is neither`)
}

// TestCheckSurvives takes every part out of a document in turn, or puts something else there: the result is findings or
// an error, never a panic.
func TestCheckSurvives(t *testing.T) {
	cfg := toolsConfig(t)
	d := bootstrapTree(t, cfg)
	seen := map[string]bool{}
	var visit func(node any, path string)
	visit = func(node any, path string) {
		switch node := node.(type) {
		case []any:
			for _, e := range node {
				visit(e, path+"/*")
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
					_, _ = envoy.Check(doc, wanted(cfg)) // whatever it says
				}
				node[key] = was
			}
		}
	}
	visit(map[string]any(d), "")
	require.Greater(t, len(seen), 200)
}
