package check_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
)

// onRoute puts a value below the last route to the pool openai.
func onRoute(path string, value any) func(*testing.T, meshDump, tree) {
	return func(t *testing.T, m meshDump, d tree) {
		t.Helper()
		m.breakRoute(t, d, path, value)
	}
}

// anywhere makes an edit that needs no word of the mesh.
func anywhere(edit func(*testing.T, tree)) func(*testing.T, meshDump, tree) {
	return func(t *testing.T, _ meshDump, d tree) {
		t.Helper()
		edit(t, d)
	}
}

// onMesh puts a value into the listener that serves the providers.
func onMesh(path string, value any) func(*testing.T, meshDump, tree) {
	return func(t *testing.T, m meshDump, d tree) {
		t.Helper()
		more(m.main, path, value)(t, d)
	}
}

// meshMutations give keys away in a mesh.
var meshMutations = []struct {
	name     string
	edit     func(*testing.T, meshDump, tree)
	severity check.Severity
	setting  string
	words    string
}{
	{"key in the log of attempts", anywhere(more(onInner, "HCM/access_log", stdout("%REQ(authorization)%"))), check.Leaks, "access_log", readsLog},
	{"credential in the mesh's log", onMesh("HCM/access_log", stdout("%REQ(authorization)%")), check.Leaks, "access_log", readsLog},
	{"path in the mesh's log", onMesh("HCM/access_log", stdout("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%")), check.Costs, "access_log", readsQuery},
	{"key to the client", anywhere(more(onInner, "HOST/response_headers_to_add", header("x-debug", "%REQ(authorization)%"))), check.Leaks, "response_headers_to_add", theyRead},
	{"credential under another name", onRoute("request_headers_to_add/1", header("x-original", "%REQ(authorization)%")), check.Leaks, "request_headers_to_add", goesOn},
	{"Lua after Keyturn", anywhere(beforeRouter(onInner, lua)), check.Leaks, "http_filters", sees},
	{"tap after Keyturn", anywhere(beforeRouter(onInner, filter("tap", "tap.v3.Tap", tapConfig))), check.Leaks, "tap", "A tap writes requests"},
	{"mirrored", onRoute("route/request_mirror_policies", mirror), check.Leaks, "request_mirror_policies", "goes to another cluster too"},
	{"hedged", onRoute("route/hedge_policy", map[string]any{"initial_requests": 2}), check.Crashes, "hedge_policy", twice},
	{"redirects", onRoute("route/internal_redirect_policy", map[string]any{}), check.Leaks, "internal_redirect_policy", "follows a provider's redirect"},
	{"a cluster of the client's choice", onRoute("route", map[string]any{"cluster_header": "x-cluster"}), check.Leaks, "route.cluster_header", "A client names the cluster"},
	{"retries after errors", onRoute("route/retry_policy/retry_on", "retriable-headers,5xx"), check.Crashes, "route.retry_policy.retry_on", twice},
	{"the address that a client chose", func(t *testing.T, m meshDump, d tree) {
		put(t, d.resource(t, m.cluster(t)), "type", "ORIGINAL_DST")
		put(t, d.resource(t, m.cluster(t)), "load_assignment", nil)
	}, check.Leaks, "cluster.type", "Where requests go is not said here"},
	{"a socket without TLS", func(t *testing.T, m meshDump, d tree) {
		put(t, d.resource(t, m.cluster(t)), "transport_socket", typed("raw", "transport_sockets.raw_buffer.v3.RawBuffer", nil))
	}, check.Leaks, "cluster.transport_socket", "in the clear"},
	{"a certificate of another name", func(t *testing.T, m meshDump, d tree) {
		context := below(t, below(t, below(t, d.resource(t, m.cluster(t)), "transport_socket"), "typed_config"), "common_tls_context")
		put(t, context, "combined_validation_context/default_validation_context", map[string]any{"match_subject_alt_names": []any{map[string]any{"exact": "example.net"}}})
	}, check.Leaks, "cluster.transport_socket.match_typed_subject_alt_names", "of another name"},
	{"the processor elsewhere", anywhere(at(onProcessor, "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address", socket("192.0.2.1", 9000))), check.Leaks, "cluster.transport_socket", "in the clear"},
	{"another protection", func(t *testing.T, _ meshDump, d tree) {
		put(t, d.resource(t, "bootstrap"), "admin", map[string]any{"address": socket("0.0.0.0", 15000)})
	}, check.Leaks, "admin.address", "asks nobody"},
}

// TestCheckMutationsOfMeshes makes each of the edits in the dump of each form.
func TestCheckMutationsOfMeshes(t *testing.T) {
	for _, m := range meshDumps {
		whole := readDump(t, m.file)
		for _, e := range meshMutations {
			t.Run(m.file+", "+e.name, func(t *testing.T) {
				d := whole.clone(t)
				e.edit(t, m, d)
				findings := checkMesh(t, d, m.want(t), check.Proxy{})
				found := false
				for _, f := range findings {
					found = found || f.Setting == e.setting && f.Severity == e.severity && strings.Contains(f.Consequence, e.words) && strings.HasPrefix(f.Path, "configs[")
				}
				require.True(t, found, paths(findings))
			})
		}
	}
}

// TestCheckForeignRoutes: what the mesh's other routes do is not Keyturn's.
func TestCheckForeignRoutes(t *testing.T) {
	m := meshDumps[0]
	d := readDump(t, m.file)
	others := 0
	for _, h := range d.resource(t, m.routes)["virtual_hosts"].([]any) {
		for _, r := range h.(map[string]any)["routes"].([]any) {
			route := r.(map[string]any)
			if action, ok := route["route"].(map[string]any); !ok || action["cluster"] != "keyturn-inner" {
				route["response_headers_to_add"] = []any{header("x-debug", "%REQ(authorization)%")}
				others++
			}
		}
	}
	require.Positive(t, others)
	require.Empty(t, checkMesh(t, d, m.want(t), check.Proxy{}))
}

// TestCheckLines: a finding's line is that of its place, in YAML, in JSON and in camelCase.
func TestCheckLines(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "envoy.yaml"))
	require.NoError(t, err)
	text := strings.Replace(string(doc), "%RESPONSE_FLAGS%", "%REQ(cookie)%", 1)
	findings, err := check.Envoy([]byte(text), check.Want{})
	require.NoError(t, err)
	require.Len(t, findings, 1, paths(findings))
	require.Contains(t, strings.Split(text, "\n")[findings[0].Line-1], "%REQ(cookie)%")

	cfg := mutationConfig(t)
	d := bootstrapTree(t, cfg)
	at(onMain, "HCM/access_log/0/typed_config/log_format/json_format/path", "%REQ(cookie)%")(t, d)
	pretty, err := json.MarshalIndent(d, "", "  ")
	require.NoError(t, err)
	for _, text := range []string{string(pretty), strings.NewReplacer(`"static_resources"`, `"staticResources"`, `"filter_chains"`, `"filterChains"`, `"typed_config"`, `"typedConfig"`, `"access_log"`, `"accessLog"`, `"log_format"`, `"logFormat"`, `"json_format"`, `"jsonFormat"`, `"route_config"`, `"routeConfig"`).Replace(string(pretty))} {
		findings, err := check.Envoy([]byte(text), envoytest.Wanted(cfg))
		require.NoError(t, err)
		require.Len(t, findings, 1, paths(findings))
		require.Contains(t, strings.Split(text, "\n")[findings[0].Line-1], `"path": "%REQ(cookie)%"`)
	}
}

func TestSeverity(t *testing.T) {
	for _, s := range []check.Severity{check.Costs, check.Crashes, check.Leaks} {
		text, err := s.MarshalText()
		require.NoError(t, err)
		var back check.Severity
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, s, back)
	}
	var s check.Severity
	require.ErrorContains(t, s.UnmarshalText([]byte("fatal")), `"fatal" is none of costs, crashes, leaks`)
}
