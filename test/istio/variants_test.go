package istio

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// existing is a gateway that a mesh has already, for every host.
const existing = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: llm-egress, namespace: ` + namespace + `}
spec:
  selector: {istio: llm-egress}
  servers:
  - port: {number: 8080, name: http, protocol: HTTP}
    hosts: ["*"]
`

// existingAPI is one of the Gateway API.
const existingAPI = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: keyturn, namespace: ` + namespace + `}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 8080, protocol: HTTP}]
`

// TestInnerSocket has every attempt go through a Unix socket.
func TestInnerSocket(t *testing.T) {
	for _, f := range []form{egressGateway, capturingSidecar} {
		t.Run(f.name, func(t *testing.T) {
			f.pools, f.inner = few, "inner.sock"
			m := startMesh(t, f)
			m.failsOver(t)
			t.Run("upgrade", m.upgrade)
			t.Run("crowd", m.crowd)
			m.unrelatedHost(t)
			m.check(t)
			m.noneRejected(t)
		})
	}
}

// TestExistingGateways has gateways take Keyturn that were there before it.
func TestExistingGateways(t *testing.T) {
	own, api := egressGateway, gatewayAPI
	own.pools, api.pools = few, few
	own.args = slices.Concat(own.args, []string{"--gateway", "llm-egress"})
	own.around = join(plainEntry, existing, strings.ReplaceAll(plainRoute, "/plain]", "/llm-egress]"))
	api.args = slices.Concat(api.args, []string{"--gateway", "keyturn"})
	api.kubernetes = join(existingAPI, api.kubernetes)
	for _, f := range []form{own, api} {
		t.Run(f.name, func(t *testing.T) {
			m := startMesh(t, f)
			m.failsOver(t)
			m.unrelatedHost(t)
			m.check(t)
			m.noneRejected(t)
		})
	}
}

// TestGatewayClients has the gateways ask clients who they are; what has nothing to do with Keyturn is asked nothing.
func TestGatewayClients(t *testing.T) {
	for _, f := range []form{egressGateway, gatewayAPI} {
		t.Run(f.name, func(t *testing.T) {
			f.pools, f.clientKey = few, "kt-team-0123456789-abcdef"
			m := startMesh(t, f)
			m.reset(t)
			m.provider.Key(poolKeys[0], good)
			ask := func(path string, headers ...string) response {
				return m.post(t, few[0].host(), path, `{"model":"m","input":"hi"}`, headers...)
			}
			for _, credential := range [][]string{nil, {"Authorization", "Bearer " + clientKey}, {"X-Api-Key", poolKeys[0]}} {
				got := ask("/v1/responses", credential...)
				require.Equal(t, http.StatusUnauthorized, got.status, got.body)
				require.JSONEq(t, `"invalid_client_key"`, string(field(t, got.body, "error", "code")))
			}
			require.Zero(t, m.provider.Count())
			for _, credential := range [][]string{{"Authorization", "Bearer " + f.clientKey}, {"X-Keyturn-Key", f.clientKey}} {
				got := ask("/v1/responses", credential...)
				require.Equal(t, http.StatusOK, got.status, got.body)
			}
			require.Equal(t, []string{poolKeys[0], poolKeys[0]}, m.provider.Keys())
			m.unrelatedHost(t)
			m.check(t)
			m.noneRejected(t)
		})
	}
}

// gatewayService is the Service of the egress gateway, whose pod is this machine.
const gatewayService = `
apiVersion: v1
kind: Service
metadata: {name: llm-egress, namespace: ` + namespace + `}
spec:
  clusterIP: 10.0.0.78
  ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP, appProtocol: http}]
  selector: {istio: llm-egress}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: llm-egress, namespace: ` + namespace + `, labels: {kubernetes.io/service-name: llm-egress}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}}]
`

// TestThroughSidecarAndGateway: an app calls the provider by its name, its sidecar sends that to the egress gateway, and there
// Keyturn is.
func TestThroughSidecarAndGateway(t *testing.T) {
	gateway, sidecar := egressGateway, capturingSidecar
	gateway.pools = few
	gateway.args = slices.Concat(gateway.args, []string{"--gateway-service", "llm-egress.llm.svc.cluster.local"})
	gateway.around, gateway.kubernetes = join(gateway.around, plaintext), gatewayService
	m := startMesh(t, gateway)
	dir := filepath.Join(m.dir, "sidecar")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, errCapture)
	p := m.runEnvoy(t, sidecar, dir)
	m.form.dial = sidecar.dial
	m.failsOver(t)
	for _, q := range m.provider.Requests() {
		require.NotContains(t, fmt.Sprint(q.Header), clientKey)
		hidesMesh(t, q.Header)
	}
	m.noneRejected(t)
	resp := m.do(t, http.MethodGet, "http://"+p.Admin()+"/stats?filter=outbound.*llm-egress.*upstream_rq_total$", "")
	require.Regexp(t, `: 1\n`, resp.body, "by way of the gateway")
}
