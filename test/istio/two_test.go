package istio

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

// TestTwoRenders has a gateway and sidecars of one mesh take Keyturn, by two renders: neither disturbs the other.
func TestTwoRenders(t *testing.T) {
	gateway, sidecar := egressGateway, capturingSidecar
	for _, tc := range []struct {
		name      string
		args      []string // of the second render, beside its form's
		namespace string   // of the second
	}{
		{"in two namespaces", nil, "agents"},
		{"in one namespace, by two names", []string{"--name", "agents"}, namespace},
	} {
		t.Run(tc.name, func(t *testing.T) {
			gateway, sidecar := gateway, sidecar
			gateway.pools, sidecar.pools = few, few
			sidecar.namespace = tc.namespace
			m := startMesh(t, gateway, func(t *testing.T, m *mesh, rendered string) string {
				// "-n" is given twice, and the last one counts.
				second := render(t, m.config, slices.Concat(sidecar.args, tc.args, []string{"-n", tc.namespace})...)
				return join(rendered, second, strings.ReplaceAll(plaintext, "namespace: "+namespace, "namespace: "+tc.namespace))
			})
			m.failsOver(t)
			m.noneRejected(t)
			m.stopEnvoy(t, m.envoy)

			require.NoError(t, errCapture)
			m.startEnvoy(t, sidecar)
			m.failsOver(t)
			m.noneRejected(t)
		})
	}
}

// TestTwoRendersForOneProxy: the same proxy cannot take Keyturn twice. It refuses the second and goes on with the first, and
// `keyturn check --istio` says why.
func TestTwoRendersForOneProxy(t *testing.T) {
	f := egressGateway
	f.pools = few
	m := startMesh(t, f)
	m.create(t, render(t, m.config, slices.Concat(f.args, []string{"--name", "again"})...))
	m.eventually(t, "the proxy refuses an update", func() bool { return m.stat(t, `listener_manager\.lds\.update_rejected`) > 0 })
	m.failsOver(t)
	require.Equal(t, []string{"update @ listener keyturn-inner", "update @ listener keyturn-loopback"}, m.findings(t))
}

func (m *mesh) failsOver(t *testing.T) {
	t.Helper()
	m.reset(t)
	m.provider.Key(poolKeys[0], scripted.RateLimited(time.Minute)).Key(poolKeys[1], good)
	got := m.post(t, few[0].host(), "/v1/responses", `{"model":"m","input":"hi"}`, "Authorization", "Bearer "+clientKey)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.Equal(t, poolKeys[:2], m.provider.Keys())
}
