package istio

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config/schema/collections"

	"github.com/keyturn/keyturn/internal/toolserver"
)

// TestValidate has Istio's own validation, which its webhook runs, look at everything that is rendered. It warns of every EnvoyFilter
// that it is an EnvoyFilter, and must have nothing else to say.
func TestValidate(t *testing.T) {
	service, own, api := egressGateway, egressGateway, gatewayAPI
	service.name, service.args = "gateway with its Service", slices.Concat(service.args, []string{"--gateway-service", "llm-egress.llm.svc.cluster.local"})
	own.name, own.args = "existing gateway", slices.Concat(own.args, []string{"--gateway", "llm-egress"})
	api.name, api.args, api.clientKey = "existing Gateway API", slices.Concat(api.args, []string{"--gateway", "llm-egress"}), "kt-team-0123456789-abcdef"
	for _, f := range slices.Concat(forms, []form{service, own, api}) {
		t.Run(f.name, func(t *testing.T) {
			config := writeConfig(t, t.TempDir(), f, &toolserver.Server{URL: "http://127.0.0.1:1/mcp"})
			rendered := render(t, config, f.args...)
			configs, unknown, err := crd.ParseInputs(rendered)
			require.NoError(t, err)
			require.Empty(t, unknown)
			require.Len(t, configs, len(documents(t, rendered)))
			for _, c := range configs {
				schema, ok := collections.PilotGatewayAPI().FindByGroupVersionAliasesKind(c.GroupVersionKind)
				require.True(t, ok, c.GroupVersionKind)
				warning, err := schema.ValidateConfig(c)
				require.NoError(t, err, "%s %s", c.GroupVersionKind.Kind, c.Name)
				if c.GroupVersionKind.Kind != "EnvoyFilter" {
					require.NoError(t, warning, "%s %s", c.GroupVersionKind.Kind, c.Name)
				} else {
					require.EqualError(t, warning, "EnvoyFilter exposes internal implementation details that may change at any time. "+
						"Prefer other APIs if possible, and exercise extreme caution, especially around upgrades.")
				}
			}
		})
	}
}
