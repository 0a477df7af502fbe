package check_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/stretchr/testify/require"
)

// meshDump is a proxy's config dump. The files are of real ones, in a mesh that has what RenderIstio renders; test/istio writes
// them (KEYTURN_TEST_WRITE_DUMPS).
type meshDump struct {
	file   string
	port   string // in the names of the providers' clusters
	host   string // and in those of their virtual hosts
	main   string // the listener that serves them
	routes string // its routes
	names  string // what the names of its routes to the pool openai begin with
	last   string // and what that of the last one ends with
}

var meshDumps = []meshDump{
	{"gateway", "80", "8080", "listener 0.0.0.0_8080", "route_config http.8080", "keyturn-", ""},
	{"gateway-api", "80", "8080", "listener 0.0.0.0_8080", "route_config http.8080", "llm.keyturn-", ".0"},
	{"sidecar-with-capture", "80", "80", "listener 0.0.0.0_80", "route_config 80", "keyturn-", ""},
	{"sidecar-with-an-egress-listener", "19331", "19331", "listener 127.0.0.1_19331", "route_config 19331", "keyturn-", ""},
}

func readDump(t *testing.T, name string) tree {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "dumps", name+".json"))
	require.NoError(t, err)
	var d tree
	require.NoError(t, json.Unmarshal(b, &d))
	return d
}

// want is what keyturn.yaml says of the mesh.
func (m meshDump) want(t *testing.T) check.Want {
	t.Helper()
	cluster := func(host string) []string { return []string{"outbound|" + m.port + "||" + host} }
	return check.Want{
		Processor: "unix:/run/keyturn/extproc.sock", Loopback: true, Open: true,
		Pools: []envoy.Pool{
			{Name: "openai-two", Upstream: envoytest.URL(t, "https://openai-two.example.com"), Keys: 2, Clusters: cluster("openai-two.example.com")},
			{Name: "openai", Upstream: envoytest.URL(t, "https://openai.example.com"), Keys: 2, Tools: true, Clusters: cluster("openai.example.com")},
		},
	}
}

func (m meshDump) cluster(t *testing.T) string { return "cluster " + m.want(t).Pools[1].Clusters[0] }

func (m meshDump) route() string { return m.names + "openai" + m.last }

// place is where a finding about the last route to the pool openai is.
func (m meshDump) place() string {
	return m.main + ", host openai.example.com:" + m.host + ", route " + m.route()
}

// breakRoute puts a value below the last route to the pool openai; nil removes it.
func (m meshDump) breakRoute(t *testing.T, d tree, path string, value any) {
	t.Helper()
	found := 0
	for _, h := range d.resource(t, m.routes)["virtual_hosts"].([]any) {
		for _, r := range h.(map[string]any)["routes"].([]any) {
			if r.(map[string]any)["name"] == m.route() {
				put(t, r, path, value)
				found++
			}
		}
	}
	require.Equal(t, 1, found)
}

func checkMesh(t *testing.T, d tree, want check.Want, proxy check.Proxy) []check.Finding {
	t.Helper()
	doc, err := json.Marshal(d)
	require.NoError(t, err)
	findings, err := check.Istio(doc, want, proxy)
	require.NoError(t, err)
	return findings
}

func setVersion(minor int) func(*testing.T, meshDump, tree) {
	return func(t *testing.T, _ meshDump, d tree) {
		t.Helper()
		for _, part := range d["configs"].([]any) {
			if b, ok := part.(map[string]any)["bootstrap"]; ok {
				put(t, b, "node/user_agent_build_version/version/minor_number", minor)
			}
		}
	}
}

// meshBreakages are what goes wrong in a mesh. MAIN, PLACE and CLUSTER stand for the places of each form.
var meshBreakages = []struct {
	name  string
	edit  func(*testing.T, meshDump, tree)
	found []string
	fatal bool
}{
	{"nothing", func(*testing.T, meshDump, tree) {}, nil, false},
	{"a route past Keyturn", func(t *testing.T, m meshDump, d tree) {
		m.breakRoute(t, d, "route/cluster", m.want(t).Pools[1].Clusters[0])
	}, []string{"route.request_headers_to_add.x-keyturn-pool @ pool openai", "route.cluster @ PLACE"}, true},
	{"credentials not removed", func(t *testing.T, m meshDump, d tree) {
		m.breakRoute(t, d, "request_headers_to_remove", []any{"x-keyturn-turn", "x-keyturn-model", "x-keyturn-cluster", "x-keyturn-client"})
	}, []string{"route.request_headers_to_remove @ PLACE"}, true},
	{"turns forged", func(t *testing.T, m meshDump, d tree) {
		m.breakRoute(t, d, "request_headers_to_remove", []any{"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-keyturn-model", "x-keyturn-cluster", "x-keyturn-client"})
	}, []string{"route.request_headers_to_remove @ PLACE"}, true},
	{"a pool that a client names", func(t *testing.T, m meshDump, d tree) {
		m.breakRoute(t, d, "request_headers_to_add/1/append_action", "APPEND_IF_EXISTS_OR_ADD")
	}, []string{"route.request_headers_to_add.x-keyturn-pool @ PLACE"}, true},
	{"a pool that nobody knows", func(t *testing.T, m meshDump, d tree) {
		m.breakRoute(t, d, "request_headers_to_add/1/header/value", "other")
	}, []string{"route.request_headers_to_add.x-keyturn-pool @ pool openai", "route.request_headers_to_add.x-keyturn-pool @ PLACE"}, true},
	{"body limit", func(t *testing.T, m meshDump, d tree) {
		m.breakRoute(t, d, "request_body_buffer_limit", nil)
	}, []string{"route.request_body_buffer_limit @ PLACE"}, false},
	{"body limit of attempts", func(t *testing.T, _ meshDump, d tree) {
		put(t, d.resource(t, onInner), "HOST/request_body_buffer_limit", 1<<20)
	}, []string{"route.request_body_buffer_limit @ listener keyturn-inner, route all[0]"}, true},
	{"processor's window", func(t *testing.T, _ meshDump, d tree) {
		put(t, d.resource(t, onProcessor), "OPTIONS/explicit_http_config/http2_protocol_options/initial_stream_window_size", nil)
	}, []string{"cluster.http2_protocol_options.initial_stream_window_size @ cluster keyturn-processor"}, false},
	{"no retry policy", func(t *testing.T, m meshDump, d tree) {
		m.breakRoute(t, d, "route/retry_policy", nil)
	}, []string{"route.retry_policy @ PLACE"}, true},
	{"Istio's retry policy", func(t *testing.T, m meshDump, d tree) {
		m.breakRoute(t, d, "route/retry_policy", map[string]any{"retry_on": "connect-failure,refused-stream,unavailable,cancelled", "num_retries": 17})
	}, []string{
		"route.retry_policy.retry_on @ PLACE", "route.retry_policy.retriable_headers @ PLACE", "route.retry_policy.retry_back_off @ PLACE",
	}, true},
	{"no TLS", func(t *testing.T, m meshDump, d tree) {
		put(t, d.resource(t, m.cluster(t)), "transport_socket", nil)
	}, []string{"cluster.transport_socket @ CLUSTER"}, true},
	{"any certificate", func(t *testing.T, m meshDump, d tree) {
		context := below(t, below(t, below(t, d.resource(t, m.cluster(t)), "transport_socket"), "typed_config"), "common_tls_context")
		put(t, context, "combined_validation_context/default_validation_context", map[string]any{})
	}, []string{"cluster.transport_socket @ CLUSTER"}, true},
	{"a socket for the group", func(t *testing.T, _ meshDump, d tree) {
		innerSocket(t, d, 0o660)
	}, nil, false},
	{"a socket for everybody", func(t *testing.T, _ meshDump, d tree) {
		innerSocket(t, d, 0o666)
	}, []string{"address.pipe.mode @ listener keyturn-inner"}, true},
	{"no internal listeners", func(t *testing.T, _ meshDump, d tree) {
		put(t, d.resource(t, "bootstrap"), "bootstrap_extensions", nil)
	}, []string{"bootstrap_extensions @ envoy"}, true},
	{"the filter in the mesh's listener", func(t *testing.T, m meshDump, d tree) {
		filters := managerOf(t, d.resource(t, m.main))
		filters["http_filters"] = append([]any{below(t, managerOf(t, d.resource(t, onInner))["http_filters"], "keyturn")}, filters["http_filters"].([]any)...)
	}, []string{"http_filters.keyturn @ MAIN"}, true},
	{"a cluster that was refused", func(t *testing.T, m meshDump, d tree) {
		for _, part := range d["configs"].([]any) {
			clusters, _ := part.(map[string]any)["dynamic_active_clusters"].([]any)
			for _, c := range clusters {
				if entry := c.(map[string]any); "cluster "+entry["cluster"].(map[string]any)["name"].(string) == m.cluster(t) {
					entry["error_state"] = map[string]any{"details": "nobody knows"}
				}
			}
		}
	}, []string{"update @ CLUSTER"}, true},
	{"Envoy 1.36", setVersion(36), []string{"version @ envoy"}, true},
	{"Envoy 1.37", setVersion(37), nil, false},
}

// innerSocket makes a Unix socket of the inner listener.
func innerSocket(t *testing.T, d tree, mode int) {
	t.Helper()
	pipe := map[string]any{"path": "/run/keyturn/inner.sock", "mode": mode}
	put(t, d.resource(t, onInner), "internal_listener", nil)
	put(t, d.resource(t, onInner), "address", map[string]any{"pipe": pipe})
	put(t, d.resource(t, onHop), "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address", map[string]any{"pipe": map[string]any{"path": pipe["path"]}})
}

// TestCheckIstio breaks one thing after the other in the dump of each form.
func TestCheckIstio(t *testing.T) {
	for _, m := range meshDumps {
		t.Run(m.file, func(t *testing.T) {
			whole := readDump(t, m.file)
			for _, b := range meshBreakages {
				t.Run(b.name, func(t *testing.T) {
					d := whole.clone(t)
					b.edit(t, m, d)
					findings := checkMesh(t, d, m.want(t), check.Proxy{})
					want := []string{}
					for _, f := range b.found {
						want = append(want, m.filled(t, f))
					}
					require.ElementsMatch(t, want, settings(findings))
					fatal := false
					for _, f := range findings {
						require.NotEmpty(t, f.Found)
						require.NotEmpty(t, f.Want)
						require.NotEmpty(t, f.Consequence)
						fatal = fatal || f.Severity > check.Costs
					}
					require.Equal(t, b.fatal, fatal)
				})
			}
		})
	}
}

// filled puts the form's places into a finding.
func (m meshDump) filled(t *testing.T, f string) string {
	t.Helper()
	for word, place := range map[string]string{" MAIN": " " + m.main, " PLACE": " " + m.place(), " CLUSTER": " " + m.cluster(t)} {
		if n := len(f) - len(word); n > 0 && f[n:] == word {
			return f[:n] + place
		}
	}
	return f
}

// TestCheckIstioMissed: the EnvoyFilter is there and finds no route, as when a VirtualService is renamed.
func TestCheckIstioMissed(t *testing.T) {
	for _, m := range meshDumps {
		t.Run(m.file, func(t *testing.T) {
			d := readDump(t, m.file)
			for i, h := range d.resource(t, m.routes)["virtual_hosts"].([]any) {
				for _, r := range h.(map[string]any)["routes"].([]any) {
					if route, ok := r.(map[string]any)["route"].(map[string]any); ok && route["cluster"] == "keyturn-inner" {
						route["cluster"] = m.want(t).Pools[min(i, 1)].Clusters[0]
					}
				}
			}
			require.Subset(t, settings(checkMesh(t, d, m.want(t), check.Proxy{})), []string{"route.cluster @ envoy", "route.cluster @ " + m.place()})
			// Without keyturn.yaml nobody knows the routes to providers, but that none takes Keyturn is plain.
			findings := checkMesh(t, d, check.Want{}, check.Proxy{})
			require.Equal(t, []string{"route.cluster @ envoy"}, settings(findings))
			require.Contains(t, findings[0].Consequence, "VirtualService")
		})
	}
}

// TestCheckIstioRefused: two EnvoyFilters add Keyturn's listeners.
func TestCheckIstioRefused(t *testing.T) {
	findings := checkMesh(t, readDump(t, "gateway-refused"), meshDumps[0].want(t), check.Proxy{})
	require.NotEmpty(t, findings)
	for _, f := range findings {
		require.Regexp(t, "^update @ listener keyturn-", f.Setting+" @ "+f.Where)
		require.Greater(t, f.Severity, check.Costs)
		require.Contains(t, f.Found, "duplicate listener keyturn-")
		require.Contains(t, f.Consequence, "Two EnvoyFilters")
	}
}

// TestCheckIstioWants is about what keyturn.yaml says.
func TestCheckIstioWants(t *testing.T) {
	m := meshDumps[0]
	d := readDump(t, m.file)
	t.Run("a cluster of another name", func(t *testing.T) {
		want := m.want(t)
		want.Pools[1].Clusters = nil
		findings := checkMesh(t, d, want, check.Proxy{})
		require.Equal(t, []string{"cluster @ pool openai"}, settings(findings))
		require.Greater(t, findings[0].Severity, check.Costs)
	})
	t.Run("a pool of another name", func(t *testing.T) {
		want := m.want(t)
		want.Pools[1].Name = "gpt"
		findings := checkMesh(t, d, want, check.Proxy{})
		require.Equal(t, []string{"route.request_headers_to_add.x-keyturn-pool @ " + m.place(), "route.request_headers_to_add.x-keyturn-pool @ pool gpt"}, settings(findings))
		require.Equal(t, "openai", findings[0].Found)
	})
	t.Run("more keys", func(t *testing.T) {
		want := m.want(t)
		want.Pools[1].Keys = 100
		require.Contains(t, settings(checkMesh(t, d, want, check.Proxy{})), "route.retry_policy.num_retries @ "+m.place())
	})
	t.Run("clients", func(t *testing.T) {
		want := m.want(t)
		want.Open = false
		require.Equal(t, []string{"http_filters @ " + m.main}, settings(checkMesh(t, d, want, check.Proxy{})))

		asking := d.clone(t)
		manager := managerOf(t, asking.resource(t, m.main))
		filter := map[string]any{"name": "ask", "disabled": true, "typed_config": map[string]any{"@type": filterTypes + "api_key_auth.v3.ApiKeyAuth"}}
		manager["http_filters"] = append([]any{filter}, manager["http_filters"].([]any)...)
		require.Equal(t, []string{"http_filters @ " + m.main}, settings(checkMesh(t, asking, want, check.Proxy{})), "a filter that is off")
		on := map[string]any{"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig"}
		for _, h := range asking.resource(t, m.routes)["virtual_hosts"].([]any) {
			put(t, h, "typed_per_filter_config|ask", on)
		}
		require.Empty(t, checkMesh(t, asking, want, check.Proxy{}), "one that the hosts turn on")
		m.breakRoute(t, asking, "typed_per_filter_config|ask", map[string]any{"@type": on["@type"], "disabled": true})
		require.Equal(t, []string{"route.typed_per_filter_config @ " + m.place()}, settings(checkMesh(t, asking, want, check.Proxy{})), "but for one route")

		sidecar := meshDumps[2]
		want = sidecar.want(t)
		want.Open = false
		require.Empty(t, checkMesh(t, readDump(t, sidecar.file), want, check.Proxy{}), "a sidecar serves its own pod")
	})
}

// TestCheckIstioReach is about the way from the proxy to Keyturn.
func TestCheckIstioReach(t *testing.T) {
	m := meshDumps[0]
	d := readDump(t, m.file)
	clusters, err := os.ReadFile(filepath.Join("testdata", "dumps", "gateway-clusters.json"))
	require.NoError(t, err)
	stats := func(fail, total, active string) []byte {
		return []byte(`{"cluster_statuses":[{"name":"other"},{"name":"keyturn-processor","host_statuses":[{"stats":[` +
			`{"name":"cx_connect_fail","value":"` + fail + `"},{"name":"cx_total","value":"` + total + `"},{"name":"cx_active","type":"GAUGE","value":"` + active + `"}]}]}]}`)
	}
	for _, tc := range []struct {
		name  string
		proxy check.Proxy
		found string // "" = nothing
		fatal bool
	}{
		{"not asked", check.Proxy{}, "", false},
		{"a real one that lost it", check.Proxy{Clusters: clusters}, "1 of 2 connections failed, none is open", false},
		{"never reached", check.Proxy{Clusters: stats("3", "3", "0")}, "3 of 3 connections failed, none is open", true},
		{"reached again", check.Proxy{Clusters: stats("3", "4", "1")}, "", false},
		{"not tried yet", check.Proxy{Clusters: stats("0", "0", "0")}, "", false},
		{"no endpoint", check.Proxy{Clusters: []byte(`{"cluster_statuses":[{"name":"keyturn-processor"}]}`)}, "without an endpoint", true},
		{"no cluster", check.Proxy{Clusters: []byte(`{}`)}, "without an endpoint", true},
		{"socket", check.Proxy{Dial: func(path string) error { return errors.New("no " + path) }}, "no /run/keyturn/extproc.sock", true},
		{"socket that answers", check.Proxy{Dial: func(string) error { return nil }}, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			findings := checkMesh(t, d, m.want(t), tc.proxy)
			if tc.found == "" {
				require.Empty(t, findings)
				return
			}
			require.Equal(t, []string{"endpoint @ cluster keyturn-processor"}, settings(findings))
			require.Equal(t, tc.found, findings[0].Found)
			require.Equal(t, tc.fatal, findings[0].Severity > check.Costs)
		})
	}
	doc, err := json.Marshal(d)
	require.NoError(t, err)
	_, err = check.Istio(doc, m.want(t), check.Proxy{Clusters: []byte("keyturn-processor::…")})
	require.ErrorContains(t, err, "/clusters?format=json")
}

func TestDialSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "kt") // short, for the socket's sake
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	path := filepath.Join(dir, "s")
	require.ErrorContains(t, check.DialSocket(path), "no such file")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	require.NoError(t, err)
	require.NoError(t, check.DialSocket(path))
	require.NoError(t, l.Close())
	require.Error(t, check.DialSocket(path))
	require.NoError(t, check.DialSocket(filepath.Join(dir, "elsewhere", "s")), "its folder is not here")
	require.NoError(t, check.DialSocket("relative/s"), "a path that is relative to the proxy's folder")
}

// TestCheckIstioSurvives takes every part out of a dump in turn, or puts something else there: never a panic.
func TestCheckIstioSurvives(t *testing.T) {
	m := meshDumps[0]
	d := readDump(t, "gateway-refused")
	for _, listener := range []string{m.main, "listener keyturn-loopback"} { // shaped errors are half of the document, and all alike
		delete(managerOf(t, d.resource(t, listener)), "local_reply_config")
	}
	want := m.want(t)
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
				for _, other := range []any{nil, map[string]any{}} {
					node[key] = other
					doc, err := json.Marshal(d)
					require.NoError(t, err)
					_, _ = check.Istio(doc, want, check.Proxy{Clusters: doc}) // whatever it says
				}
				node[key] = was
			}
		}
	}
	visit(map[string]any(d), "")
	require.Greater(t, len(seen), 200)
}
