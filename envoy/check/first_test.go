package check_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/stretchr/testify/require"
)

// TestCheckFirstForm: what Keyturn rendered before it had an inner listener crashes Envoy, whatever else it says. How to move is
// all that is said about it.
func TestCheckFirstForm(t *testing.T) {
	pools := []envoy.Pool{{Name: "local", Keys: 3}, {Name: "gemini", Keys: 30, Tools: true}}
	for _, tc := range []struct {
		file  string
		want  []string
		found string
	}{
		{"first-form", []string{"upstream_http_filters.keyturn @ listener main", "upstream_http_filters.keyturn @ listener loopback"}, "in the router's upstream chain"},
		{"first-form-cluster", []string{"cluster.http_filters.keyturn @ cluster local"}, "in the cluster's own chain"},
	} {
		doc, err := os.ReadFile(filepath.Join("testdata", tc.file+".yaml"))
		require.NoError(t, err)
		for name, want := range map[string]check.Want{
			"nothing wanted": {}, "much wanted": {Pools: pools, Loopback: true, Processor: "unix:run/extproc.sock"},
		} {
			t.Run(tc.file+", "+name, func(t *testing.T) {
				findings, err := check.Envoy(doc, want)
				require.NoError(t, err)
				require.Equal(t, tc.want, settings(findings))
				for _, f := range findings {
					require.Greater(t, f.Severity, check.Costs)
					require.Equal(t, tc.found, f.Found)
					require.Regexp(t, `inner listener.*keyturn render envoy.*docs/envoy\.md.*CHANGELOG\.md`, f.Want)
					require.Equal(t, "A client that reads slowly can crash Envoy, and every request in it ends.", f.Consequence)
				}
				findings, err = check.Istio(doc, want, check.Proxy{})
				require.NoError(t, err)
				require.Equal(t, tc.want, settings(findings))
				require.Contains(t, findings[0].Want, "keyturn render istio")
			})
		}
	}
}
