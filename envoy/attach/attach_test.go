package attach_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/attach"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// foreign are the configurations of testdata/foreign with what is attached to each.
var foreign = map[string]attach.Options{
	"aggregate.yaml":             {Pools: []attach.Pool{{Name: "openai", Cluster: "either"}}},
	"bom-no-newline.yaml":        {},
	"cds.yaml":                   {},
	"chains-and-listeners.yaml":  {},
	"crlf.yaml":                  {},
	"dynamic-forward-proxy.yaml": {},
	"egress-sni.yaml":            {Others: true},
	"flow-one-line.yaml":         {},
	"front-proxy.yaml":           {},
	"grpc-websocket.yaml":        {},
	"lds.yaml":                   {},
	"oneline.json":               {},
	"rate-limit.yaml":            {},
	"small.json":                 {Others: true},
	"tracing.yaml":               {},
}

// options fills in what most have.
func options(o attach.Options) attach.Options {
	if o.Pools == nil {
		o.Pools = []attach.Pool{{Name: "openai", Cluster: "openai"}}
	}
	o.Processor = "unix:run/extproc.sock"
	return o
}

func readForeign(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "foreign", name))
	require.NoError(t, err)
	return b
}

// TestForeign attaches to configurations that others wrote: the diff is the golden one, twice changes nothing, detach gives the file back, and
// what check finds that is worse than a cost was there before.
func TestForeign(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/foreign/*")
	require.NoError(t, err)
	require.Len(t, files, len(foreign), "each file has its row")
	for name, o := range foreign {
		t.Run(name, func(t *testing.T) {
			before := readForeign(t, name)
			r, err := attach.Attach(before, options(o))
			require.NoError(t, err)
			require.NotEmpty(t, r.Edits)

			diff := r.Diff(name)
			for _, e := range r.LeftOut {
				diff += "left out: " + strings.Join(e.Whys, " But: ") + "\n"
			}
			for _, n := range r.Notes {
				diff += "note: " + n + "\n"
			}
			golden := filepath.Join("testdata", "diff", name+".diff")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(diff), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), diff)

			back, err := attach.Detach(r.Doc)
			require.NoError(t, err)
			require.Equal(t, string(before), string(back))
			again, err := attach.Attach(r.Doc, options(o))
			require.NoError(t, err)
			require.Equal(t, string(r.Doc), string(again.Doc))
			require.Empty(t, again.Diff(name), "twice changes nothing")
			if strings.HasPrefix(name, "cds") || strings.HasPrefix(name, "lds") {
				return
			}
			requireValid(t, name, r.Doc)
			requireChecked(t, r.Doc, options(o))

			o.Others = true
			r, err = attach.Attach(before, options(o))
			require.NoError(t, err)
			require.Empty(t, r.LeftOut)
			requireChecked(t, r.Doc, options(o))
			back, err = attach.Detach(r.Doc)
			require.NoError(t, err)
			require.Equal(t, string(before), string(back))
		})
	}
}

// requireValid has the real Envoy read a configuration.
func requireValid(t *testing.T, name string, doc []byte) {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, name)
	require.NoError(t, os.WriteFile(file, doc, 0o600))
	ca, err := os.ReadFile(envoytest.CAFile(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "ca.pem"), ca, 0o600))
	cmd := exec.CommandContext(envoytest.Bounded(t), envoytest.Real(t).Path, "--mode", "validate", "-c", file, "--log-level", "warning")
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// untouched are what attach does not touch: the providers' clusters and the admin interface.
var untouched = []string{"cluster openai", "cluster either", "admin"}

// asked are what is left out where others would notice it.
var asked = []string{"use_remote_address", "overload_manager", "virtual_host.include_request_attempt_count"}

// requireChecked holds that check finds nothing where everything may be edited, and else what was left out, or shaped by somebody else.
func requireChecked(t *testing.T, doc []byte, o attach.Options) {
	t.Helper()
	want := check.Want{Processor: o.Processor}
	for _, p := range o.Pools {
		want.Pools = append(want.Pools, envoy.Pool{Name: p.Name, Clusters: []string{p.Cluster}, Keys: 20, Upstream: envoytest.URL(t, "https://api.openai.com")})
	}
	findings, err := check.Envoy(doc, want)
	require.NoError(t, err)
	for _, f := range findings {
		switch {
		case slices.Contains(untouched, f.Where), !o.Others && slices.Contains(asked, f.Setting):
		default:
			require.Fail(t, "found", f.String())
		}
	}
}
