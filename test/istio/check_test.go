package istio

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"istio.io/istio/pilot/pkg/config/kube/crd"

	"github.com/keyturn/keyturn/envoy/check"
)

// check has `keyturn check --istio` look at the proxy: all is well.
func (m *mesh) check(t *testing.T) {
	require.Empty(t, m.findings(t))
}

// findings are what `keyturn check --istio` finds: settings and places.
func (m *mesh) findings(t *testing.T) []string {
	t.Helper()
	out, _ := exec.CommandContext(t.Context(), made.keyturn, "check", "-c", m.config, "--istio", "--json", "--envoy-admin", "http://"+m.envoy.Admin()).Output()
	var r struct{ Envoy []check.Finding }
	require.NoError(t, json.Unmarshal(out, &r), string(out))
	found := []string{}
	for _, f := range r.Envoy {
		found = append(found, f.Setting+" @ "+f.Where)
	}
	return found
}

// few are pools enough for what is not about pools.
var few = []pool{
	{name: "openai-two", provider: "openai", keys: poolKeys[:2]},
	{name: "openai", provider: "openai", keys: poolKeys[:2], tools: true},
}

// dumpsEnv has TestCheck write what the tests of package envoy read to this folder:
// KEYTURN_TEST_WRITE_DUMPS=$PWD/envoy/check/testdata/dumps make test-istio
const dumpsEnv = "KEYTURN_TEST_WRITE_DUMPS"

// TestCheck breaks a mesh that runs, and has `keyturn check --istio` find it.
func TestCheck(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			f.pools = few
			m := startMesh(t, f)
			require.Empty(t, m.findings(t))
			m.keepDump(t, "")

			t.Run("another EnvoyFilter", func(t *testing.T) {
				m.create(t, strings.ReplaceAll(otherFilter, "@CONTEXT@", map[string]string{"router": "GATEWAY", "sidecar": "SIDECAR_OUTBOUND"}[f.kind]))
				m.eventually(t, "the proxy has it", func() bool { return strings.Contains(m.proxyAdmin(t, "/config_dump"), `"x-other"`) })
				require.Empty(t, m.findings(t), "it has its own upstream filters")
				m.failsOver(t)
				m.noneRejected(t)
			})
			t.Run("a second EnvoyFilter of Keyturn's", func(t *testing.T) {
				args := slices.Concat(f.args, []string{"--name", "again"})
				if f.name == gatewayAPI.name {
					args = append(args, "--gateway", "keyturn")
				}
				m.create(t, render(t, m.config, args...))
				m.eventually(t, "the proxy refuses an update", func() bool { return m.stat(t, `listener_manager\.lds\.update_rejected`) > 0 })
				found := m.findings(t)
				require.NotEmpty(t, found)
				if f.name == egressGateway.name {
					m.keepDump(t, " refused")
				}
				for _, f := range found {
					require.True(t, strings.HasPrefix(f, "update @ listener "), f)
				}
				m.failsOver(t) // what the proxy had before goes on
			})
			t.Run("no Keyturn", func(t *testing.T) {
				m.stopKeyturn(t)
				got := m.post(t, few[0].host(), "/v1/responses", `{"model":"m","input":"hi"}`)
				require.Equal(t, http.StatusServiceUnavailable, got.status)
				require.JSONEq(t, `"processor_unavailable"`, string(field(t, got.body, "error", "code")))
				require.Contains(t, m.findings(t), "endpoint @ cluster "+processorCluster)
				if f.name == egressGateway.name {
					m.keepClusters(t)
				}
			})
		})
	}
}

// field is a field of a JSON object.
func field(t *testing.T, body string, path ...string) json.RawMessage {
	t.Helper()
	at := json.RawMessage(body)
	for _, p := range path {
		var o map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(at, &o), body)
		at = o[p]
	}
	return at
}

// otherFilter adds upstream filters to the mesh's listeners, as any other extension would.
const otherFilter = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: other, namespace: ` + namespace + `}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: @CONTEXT@
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}
    patch:
      operation: MERGE
      value:
        name: envoy.filters.http.router
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          upstream_http_filters:
          - name: other
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              mutations: {request_mutations: [{remove: x-other}]}
          - name: envoy.filters.http.upstream_codec
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}
`

// create adds resources to a mesh that runs.
func (m *mesh) create(t *testing.T, resources string) {
	t.Helper()
	configs, _, err := crd.ParseInputs(resources)
	require.NoError(t, err)
	require.NotEmpty(t, configs)
	for _, c := range configs {
		_, err := m.discovery.Store().Create(c)
		require.NoError(t, err)
	}
}

// keepDump writes what the proxy was told, without what changes from run to run, for the tests of `keyturn check --istio`.
func (m *mesh) keepDump(t *testing.T, suffix string) {
	t.Helper()
	var dump struct {
		Configs []map[string]any `json:"configs"`
	}
	require.NoError(t, json.Unmarshal([]byte(m.proxyAdmin(t, "/config_dump")), &dump))
	kept := []any{}
	for _, part := range dump.Configs {
		for name := range part {
			switch name {
			case "@type", "static_clusters", "dynamic_active_clusters", "dynamic_listeners", "dynamic_route_configs":
			case "bootstrap":
				bootstrap := part[name].(map[string]any)
				node := bootstrap["node"].(map[string]any)
				part[name] = map[string]any{"bootstrap_extensions": bootstrap["bootstrap_extensions"], "node": map[string]any{
					"id": node["id"], "user_agent_build_version": map[string]any{"version": node["user_agent_build_version"].(map[string]any)["version"]},
				}}
			default:
				delete(part, name)
			}
		}
		if len(part) > 1 {
			kept = append(kept, trim(part))
		}
	}
	m.keep(t, m.form.name+suffix, map[string]any{"configs": kept})
}

// keepClusters writes what the proxy says of its connections to Keyturn.
func (m *mesh) keepClusters(t *testing.T) {
	t.Helper()
	var all map[string][]map[string]any
	require.NoError(t, json.Unmarshal([]byte(m.proxyAdmin(t, "/clusters?format=json")), &all))
	kept := []any{}
	for _, c := range all["cluster_statuses"] {
		if c["name"] == processorCluster {
			kept = append(kept, c)
		}
	}
	require.Len(t, kept, 1)
	m.keep(t, m.form.name+" clusters", map[string]any{"cluster_statuses": kept})
}

// keep writes JSON where the environment says, nowhere without.
func (m *mesh) keep(t *testing.T, name string, v any) {
	t.Helper()
	dir := os.Getenv(dumpsEnv)
	if dir == "" {
		return
	}
	b, err := json.MarshalIndent(v, "", "")
	require.NoError(t, err)
	text := strings.ReplaceAll(string(b), m.dir+"/", "/run/keyturn/")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, strings.ReplaceAll(strings.ToLower(name), " ", "-")+".json"), []byte(text+"\n"), 0o644))
}

// trim takes out what tells nothing of what the proxy does.
func trim(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, below := range v {
			switch name {
			case "last_updated", "last_update_attempt", "version_info", "metadata", "common_lb_config", "alt_stat_name", "tracing":
				delete(v, name)
			case "failed_configuration":
				failed := below.(map[string]any)
				v[name] = map[string]any{"@type": failed["@type"], "name": failed["name"]}
			default:
				v[name] = trim(below)
			}
		}
	case []any:
		for i := range v {
			v[i] = trim(v[i])
		}
	}
	return v
}
