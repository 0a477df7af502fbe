package check_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/keyturn/keyturn/envoy/process"
)

// mutation is an edit of a rendered configuration that somebody might make, and what is to be found then.
type mutation struct {
	name     string
	edit     func(*testing.T, tree)
	severity check.Severity
	setting  string
	path     string // what the path in the document must match; it begins in the resource, since a dump has it elsewhere
	found    string // a regular expression
	words    string // that the consequence must have
	only     bool   // in a bootstrap: Envoy 1.40 does not take it, or not where the tests run
}

// at puts a value below a resource.
func at(resource, path string, value any) func(*testing.T, tree) {
	return func(t *testing.T, d tree) {
		t.Helper()
		put(t, d.resource(t, resource), path, value)
	}
}

// more appends a value to a list below a resource.
func more(resource, path string, value any) func(*testing.T, tree) {
	return func(t *testing.T, d tree) {
		t.Helper()
		grow(t, d.resource(t, resource), path, value, false)
	}
}

// first puts a value at the beginning of a list.
func first(resource, path string, value any) func(*testing.T, tree) {
	return func(t *testing.T, d tree) {
		t.Helper()
		grow(t, d.resource(t, resource), path, value, true)
	}
}

func grow(t *testing.T, in any, path string, value any, before bool) {
	t.Helper()
	steps := strings.FieldsFunc(shorthands.Replace(path+"/"), func(r rune) bool { return r == '/' || r == '|' })
	for _, step := range steps[:len(steps)-1] {
		in = below(t, in, step)
	}
	last := steps[len(steps)-1]
	list, _ := in.(map[string]any)[last].([]any)
	if before {
		list = append([]any{value}, list...)
	} else {
		list = append(slices.Clone(list), value)
	}
	in.(map[string]any)[last] = list
}

// beforeRouter puts a filter right before the router of a listener.
func beforeRouter(listener string, filter any) func(*testing.T, tree) {
	return func(t *testing.T, d tree) {
		t.Helper()
		m := managerOf(t, d.resource(t, listener))
		filters := m["http_filters"].([]any)
		m["http_filters"] = slices.Insert(slices.Clone(filters), len(filters)-1, filter)
	}
}

// both makes two edits.
func both(edits ...func(*testing.T, tree)) func(*testing.T, tree) {
	return func(t *testing.T, d tree) {
		t.Helper()
		for _, e := range edits {
			e(t, d)
		}
	}
}

// extra adds a cluster or a listener.
func extra(kind string, resource any) func(*testing.T, tree) {
	return func(t *testing.T, d tree) {
		t.Helper()
		static := d["static_resources"].(map[string]any)
		static[kind] = append(static[kind].([]any), resource)
	}
}

const typeURL = "type.googleapis.com/envoy.extensions."

// typed is an extension.
func typed(name, kind string, fields map[string]any) map[string]any {
	config := map[string]any{"@type": typeURL + kind}
	maps.Copy(config, fields)
	return map[string]any{"name": name, "typed_config": config}
}

func textFormatOf(s string) map[string]any {
	return map[string]any{"log_format": map[string]any{"text_format_source": map[string]any{"inline_string": s}}}
}

func stdout(format string) map[string]any {
	return typed("stdout", "access_loggers.stream.v3.StdoutAccessLog", textFormatOf(format))
}

func fileLog(format string) map[string]any {
	fields := textFormatOf(format)
	fields["path"] = "/dev/null"
	return typed("file", "access_loggers.file.v3.FileAccessLog", fields)
}

func grpcService(cluster string) map[string]any {
	return map[string]any{"envoy_grpc": map[string]any{"cluster_name": cluster}}
}

func grpcLog(fields map[string]any) map[string]any {
	all := map[string]any{"common_config": map[string]any{"log_name": "x", "grpc_service": grpcService("keyturn-processor"), "transport_api_version": "V3"}}
	maps.Copy(all, fields)
	return typed("grpc", "access_loggers.grpc.v3.HttpGrpcAccessLogConfig", all)
}

// plainCluster leads to an address.
func plainCluster(name, address string, port int) map[string]any {
	return map[string]any{
		"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": map[string]any{"cluster_name": name, "endpoints": []any{
			map[string]any{"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": socket(address, port)}}}},
		}},
	}
}

func socket(address string, port int) map[string]any {
	return map[string]any{"socket_address": map[string]any{"address": address, "port_value": port}}
}

// mutationConfig is what is mutated: clients are asked, a pool has tools, its provider has a name.
func mutationConfig(t *testing.T) envoy.Config {
	cfg := toolsConfig(t)
	cfg.Listen, cfg.Admin = "0.0.0.0:0", "unix:admin.sock"
	cfg.Pools[0].CredentialHeader = ""
	return cfg
}

// TestCheckMutations makes one edit after the other of what is rendered, and has each found: in the bootstrap, and in the dump of a
// real Envoy that was started with it.
func TestCheckMutations(t *testing.T) {
	cfg := mutationConfig(t)
	rendered := bootstrapTree(t, cfg)
	require.Empty(t, findingsOf(t, rendered, envoytest.Wanted(cfg)))
	require.Empty(t, findingsOf(t, dumpTree(t, rendered), envoytest.Wanted(cfg)))
	require.GreaterOrEqual(t, len(mutations), 110)
	names := map[string]bool{}
	for _, m := range mutations {
		require.False(t, names[m.name], m.name)
		names[m.name] = true
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			d := rendered.clone(t)
			m.edit(t, d)
			m.isFound(t, findingsOf(t, d, envoytest.Wanted(cfg)))
			if !m.only {
				m.isFound(t, findingsOf(t, dumpOf(t, d), envoytest.Wanted(cfg)))
			}
		})
	}
}

// isFound holds that the finding is there, and complete.
func (m mutation) isFound(t *testing.T, findings []check.Finding) {
	t.Helper()
	path, found := regexp.MustCompile(m.path), regexp.MustCompile("^(?:"+m.found+")$")
	i := slices.IndexFunc(findings, func(f check.Finding) bool {
		return f.Setting == m.setting && f.Severity == m.severity && path.MatchString(f.Path) && found.MatchString(f.Found) && strings.Contains(f.Consequence, m.words)
	})
	require.GreaterOrEqual(t, i, 0, "%s: %s", m.name, paths(findings))
	require.NotEmpty(t, m.words)
	for _, f := range findings {
		require.NotEmpty(t, f.Where, f)
		require.NotEmpty(t, f.Want, f)
		require.Regexp(t, `^[A-Z].*[.?]$`, f.Consequence)
		require.Regexp(t, `^[A-Z].*\.$`, f.Remedy)
	}
	require.True(t, slices.IsSortedFunc(findings, func(a, b check.Finding) int { return int(b.Severity) - int(a.Severity) }))
}

func paths(findings []check.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		b.WriteString("\n" + f.Severity.String() + " " + f.Setting + " @ " + f.Where + " = " + f.Found + " at " + f.Path + ": " + f.Consequence)
	}
	return b.String()
}

// dumpOf is dumpTree with sockets of its own: tests run side by side.
func dumpOf(t *testing.T, d tree) tree {
	t.Helper()
	doc, err := json.Marshal(d)
	require.NoError(t, err)
	folder, err := os.MkdirTemp("", "kt")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	b := envoytest.Real(t)
	log := &envoytest.Buffer{}
	p, err := b.Start(t.Context(), process.RunConfig{Bootstrap: doc, Dir: folder, Drain: -1, Concurrency: 1, Stdout: log, Log: log})
	require.NoError(t, err)
	require.NoError(t, p.Ready(envoytest.Bounded(t)), log.String())
	var dump tree
	require.NoError(t, json.Unmarshal([]byte(envoytest.Get(t, p.Admin(), "/config_dump")), &dump))
	require.NoError(t, p.Stop(envoytest.Bounded(t)))
	return dump
}
