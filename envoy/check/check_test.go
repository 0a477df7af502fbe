package check_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/keyturn/keyturn/envoy/process"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// tree is a document without its types, to break one setting of.
type tree map[string]any

func (d tree) clone(t *testing.T) tree {
	t.Helper()
	b, err := json.Marshal(d)
	require.NoError(t, err)
	var c tree
	require.NoError(t, json.Unmarshal(b, &c))
	return c
}

// resource finds a listener or a cluster by its name, in a bootstrap or in a dump: "listener main", "cluster openai"; or the
// bootstrap.
func (d tree) resource(t *testing.T, what string) map[string]any {
	t.Helper()
	if what == "bootstrap" {
		return d.bootstrap(t)
	}
	kind, name, _ := strings.Cut(what, " ")
	var all []any
	if static, ok := d["static_resources"].(map[string]any); ok {
		all, _ = static[kind+"s"].([]any)
	}
	configs, _ := d["configs"].([]any)
	for _, part := range configs {
		for _, list := range part.(map[string]any) {
			entries, _ := list.([]any)
			for _, e := range entries {
				entry, _ := e.(map[string]any)
				if state, ok := entry["active_state"].(map[string]any); ok {
					entry = state
				}
				all = append(all, entry[kind])
			}
		}
	}
	for _, r := range all {
		if m, ok := r.(map[string]any); ok && m["name"] == name {
			return m
		}
	}
	require.Fail(t, "no such resource", what)
	return nil
}

func (d tree) bootstrap(t *testing.T) map[string]any {
	t.Helper()
	configs, ok := d["configs"].([]any)
	if !ok {
		return d
	}
	for _, part := range configs {
		if b, ok := part.(map[string]any)["bootstrap"].(map[string]any); ok {
			return b
		}
	}
	require.Fail(t, "no bootstrap")
	return nil
}

// shorthands for the beginnings of paths in a listener or a cluster.
var shorthands = strings.NewReplacer(
	"HCM/", "filter_chains/0/filters/0/typed_config/",
	"HOST/", "filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/",
	"ROUTE/", "filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/openai/",
	"ONLY/", "filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/0/", // the inner listener's, and the loopback's
	"CHAIN/", "filter_chains/0/filters/0/typed_config/http_filters/",
	"PROC/", "filter_chains/0/filters/0/typed_config/http_filters/keyturn/typed_config/",
	"OPTIONS/", "typed_extension_protocol_options|envoy.extensions.upstreams.http.v3.HttpProtocolOptions|",
)

// put sets a value below a resource; nil removes it. A step is a field, an index, or the name of an element.
func put(t *testing.T, at any, path string, value any) {
	t.Helper()
	steps := strings.FieldsFunc(shorthands.Replace(path), func(r rune) bool { return r == '/' || r == '|' })
	for _, step := range steps[:len(steps)-1] {
		at = below(t, at, step)
		require.NotNil(t, at, "%s: no %s", path, step)
	}
	last := steps[len(steps)-1]
	switch at := at.(type) {
	case map[string]any:
		if value == nil {
			require.Contains(t, at, last, path)
			delete(at, last)
		} else {
			at[last] = value
		}
	case []any:
		i, err := strconv.Atoi(last)
		require.NoError(t, err, path)
		at[i] = value
	default:
		require.Fail(t, "not a place", path)
	}
}

func below(t *testing.T, at any, step string) any {
	t.Helper()
	switch at := at.(type) {
	case map[string]any:
		if at[step] == nil {
			at[step] = map[string]any{}
		}
		return at[step]
	case []any:
		for _, e := range at {
			if m, ok := e.(map[string]any); ok && m["name"] == step {
				return m
			}
		}
		i, err := strconv.Atoi(step)
		require.NoError(t, err, "no element named %s", step)
		return at[i]
	}
	return nil
}

// managerOf is the HTTP connection manager of a listener.
func managerOf(t *testing.T, listener map[string]any) map[string]any {
	t.Helper()
	at := any(listener)
	for _, step := range []string{"filter_chains", "0", "filters", "0", "typed_config"} {
		at = below(t, at, step)
	}
	return at.(map[string]any)
}

func checkedConfig(t *testing.T) envoy.Config {
	return envoy.Config{
		Listen: "0.0.0.0:0", Admin: "unix:admin.sock", Loopback: "unix:loopback.sock", Processor: "unix:extproc.sock", CAFile: envoytest.CAFile(t),
		Clients: envoy.Clients{ByEnvoy: true, APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}}},
		Pools:   []envoy.Pool{{Name: "openai", Upstream: envoytest.URL(t, "https://localhost:1"), Keys: 3}},
	}
}

// bootstrapTree is a rendered configuration without its types.
func bootstrapTree(t *testing.T, cfg envoy.Config) tree {
	t.Helper()
	b, err := envoy.Render(cfg)
	require.NoError(t, err)
	doc, err := envoy.Marshal(b)
	require.NoError(t, err)
	var d map[string]any
	require.NoError(t, yaml.Unmarshal(doc, &d))
	return d
}

// dumpTree starts a real Envoy with a configuration and returns its /config_dump.
func dumpTree(t *testing.T, d tree) tree {
	t.Helper()
	doc, err := json.Marshal(d)
	require.NoError(t, err)
	folder, err := os.MkdirTemp("", "kt")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	p := envoytest.Start(t, envoytest.Real(t), process.RunConfig{Bootstrap: doc, Dir: folder, Drain: -1})
	require.NoError(t, p.Ready(envoytest.Bounded(t)))
	var dump tree
	require.NoError(t, json.Unmarshal([]byte(envoytest.Get(t, p.Admin(), "/config_dump")), &dump))
	require.NoError(t, p.Stop(envoytest.Bounded(t)))
	return dump
}

func findingsOf(t *testing.T, d tree, want check.Want) []check.Finding {
	t.Helper()
	doc, err := json.Marshal(d)
	require.NoError(t, err)
	findings, err := check.Envoy(doc, want)
	require.NoError(t, err)
	return findings
}

// TestCheckFindsEach breaks one setting after the other, in a bootstrap and in the dump of a real Envoy.
func TestCheckFindsEach(t *testing.T) { findsEach(t, checkedConfig(t), breakages) }

// TestCheckFindsEachOfRoutes does it where all is said by the routes.
func TestCheckFindsEachOfRoutes(t *testing.T) {
	cfg := checkedConfig(t)
	cfg.Attach = envoy.Route
	findsEach(t, cfg, routeBreakages)
}

// TestCheckFindsEachOfSockets does it where the inner listener is a Unix socket.
func TestCheckFindsEachOfSockets(t *testing.T) {
	cfg := checkedConfig(t)
	cfg.Inner = "unix:inner.sock"
	findsEach(t, cfg, socketBreakages)
}

// findsEach holds that nothing is found in the rendered configuration, and each of the breakages in itself.
func findsEach(t *testing.T, cfg envoy.Config, breakages []breakage) {
	t.Helper()
	rendered := bootstrapTree(t, cfg)
	for form, d := range map[string]tree{"bootstrap": rendered, "dump": dumpTree(t, rendered)} {
		t.Run(form, func(t *testing.T) {
			require.Empty(t, findingsOf(t, d, envoytest.Wanted(cfg)))
			for _, b := range breakages {
				t.Run(b.name, func(t *testing.T) {
					broken := d.clone(t)
					put(t, broken.resource(t, b.resource), b.path, b.value)
					findings := findingsOf(t, broken, envoytest.Wanted(cfg))
					require.NotEmpty(t, findings)
					places, fatal := map[string]bool{}, false
					for _, f := range findings {
						places[f.Where] = true
						fatal = fatal || f.Severity > check.Costs
						require.True(t, b.setting == "" || (f.Severity > check.Costs) == b.fatal, f)
						require.NotEmpty(t, f.Want, f)
						require.Regexp(t, `^[A-Z].*\.$`, f.Consequence)
						if b.setting != "" {
							require.Equal(t, b.setting, f.Setting, f)
						}
						if b.found != "" {
							require.Equal(t, b.found, f.Found, f)
						}
					}
					require.Equal(t, b.fatal, fatal)
					require.ElementsMatch(t, strings.Split(b.where, " + "), slices.Collect(maps.Keys(places)), findings)
					if b.setting != "" {
						require.Len(t, findings, len(places))
					}
				})
			}
		})
	}
}
