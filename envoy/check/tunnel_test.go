package check_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
)

// TestTunnel holds that a tunnel counts as the way to the provider only where it leads there, through the pool's own proxy.
func TestTunnel(t *testing.T) {
	b, err := os.ReadFile("../testdata/render/proxy.yaml")
	require.NoError(t, err)
	pool := envoy.Pool{
		Name: "openai", Upstream: envoytest.URL(t, "https://api.openai.com"), Proxy: envoytest.URL(t, "http://proxy.internal:3128"), CAFile: "testdata/ca.pem", Keys: 2,
	}
	for name, tc := range map[string]struct {
		old, new string
		change   func(*envoy.Pool)
		found    bool
	}{
		"as rendered":       {},
		"another provider":  {old: `hostname: "api.openai.com:443"`, new: `hostname: "example.com:443"`, found: true},
		"another listener":  {old: "- name: keyturn-tunnel-openai\n    filter_chains", new: "- name: other\n    filter_chains", found: true},
		"another proxy":     {old: "address: proxy.internal", new: "address: proxy.example.com", found: true},
		"a pool without it": {change: func(p *envoy.Pool) { p.Proxy = nil }, found: true},
	} {
		t.Run(name, func(t *testing.T) {
			doc, p := string(b), pool
			if tc.old != "" {
				require.Contains(t, doc, tc.old)
				doc = strings.Replace(doc, tc.old, tc.new, 1)
			}
			if tc.change != nil {
				tc.change(&p)
			}
			findings, err := check.Envoy([]byte(doc), envoytest.Wanted(envoy.Config{Pools: []envoy.Pool{p}, Processor: "unix:run/extproc.sock"}))
			require.NoError(t, err)
			var said strings.Builder
			for _, f := range findings {
				if f.Setting == "cluster.load_assignment" {
					said.WriteString(f.String())
				}
			}
			require.Equal(t, tc.found, said.String() != "", said.String())
		})
	}
}
