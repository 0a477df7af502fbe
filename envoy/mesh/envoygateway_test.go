package mesh_test

import (
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/keyturn/keyturn/envoy/mesh"
	"github.com/stretchr/testify/require"
)

// egCluster is the name that Envoy Gateway gives to the cluster of a pool's HTTPRoute.
func egCluster(route string) string { return "httproute/llm/" + route + "/rule/0" }

type egGolden struct {
	cfg envoy.Config
	to  mesh.EnvoyGateway
}

func egGoldens(t *testing.T) map[string]egGolden {
	base := envoy.Config{
		Processor: "unix:/run/keyturn/extproc.sock", Loopback: "unix:/run/keyturn/loopback.sock", Clients: envoy.Clients{Open: true},
		Record: envoy.Record{Requests: true},
		Pools: []envoy.Pool{
			{Name: "openai", Upstream: envoytest.URL(t, "https://api.openai.com"), Keys: 2, Clusters: []string{egCluster("keyturn-openai")}},
		},
	}
	two := base
	two.Clients = envoy.Clients{ByEnvoy: true, APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}}}
	two.Pools = append(two.Pools, envoy.Pool{
		Name: "claude", Messages: true, Upstream: envoytest.URL(t, "http://claude.models.svc.cluster.local:8080/base"), Keys: 40,
		Clusters: []string{egCluster("two-claude"), "claude"}, BYOK: true, Tools: true, ToolTime: 30 * time.Minute,
	})
	two.Pools[0].Clusters = []string{egCluster("two-openai")}
	return map[string]egGolden{
		"one": {base, mesh.EnvoyGateway{Namespace: "llm", Domain: "llm.example.com"}},
		"two": {two, mesh.EnvoyGateway{Namespace: "llm", Domain: "llm.example.com", Name: "two", Gateway: "keyturn", SocketMode: 0o600}},
	}
}

// TestEnvoyGatewayGolden holds what is rendered, and that Envoy takes what the patches make of a listener of Envoy
// Gateway's, with nothing that Keyturn needs missing.
func TestEnvoyGatewayGolden(t *testing.T) {
	binary := envoytest.Real(t).Path
	for name, tc := range egGoldens(t) {
		t.Run(name, func(t *testing.T) {
			got, err := mesh.RenderEnvoyGateway(tc.cfg, tc.to)
			require.NoError(t, err)
			path := filepath.Join("testdata", "envoy-gateway", name+".yaml")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, got, 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got), "run with -update and read the difference")

			c := &gatewayController{t: t, bind: netip.MustParseAddrPort("127.0.0.1:10000"), endpoint: netip.MustParseAddrPort("127.0.0.1:9300")}
			doc := c.bootstrap(got)
			file := filepath.Join(t.TempDir(), "envoy.json")
			require.NoError(t, os.WriteFile(file, doc, 0o600))
			out, err := exec.CommandContext(envoytest.Bounded(t), binary, "--mode", "validate", "-c", file, "--log-level", "warning").CombinedOutput()
			require.NoError(t, err, string(out))
			findings, err := check.Envoy(doc, check.Want{
				Processor: tc.cfg.Processor, Pools: tc.cfg.Pools, Open: true, Loopback: len(tc.cfg.Pools) > 1,
			})
			require.NoError(t, err)
			require.Empty(t, slices.DeleteFunc(findings, func(f check.Finding) bool {
				// An address that stands for the provider's, and what is Envoy Gateway's to say: how its listener logs, and its admin interface.
				return f.Setting == "cluster.load_assignment" && strings.HasPrefix(f.Found, c.endpoint.String()) ||
					f.Where == "listener main" && f.Found == "Envoy's own format" || f.Where == "admin"
			}))
		})
	}
}

func TestEnvoyGatewayRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*envoy.Config, *mesh.EnvoyGateway)
		want   string
	}{
		{"no domain", func(_ *envoy.Config, g *mesh.EnvoyGateway) { g.Domain = "" }, `domain: "" is no domain; each pool is called by a host of its own in it`},
		{"bad domain", func(_ *envoy.Config, g *mesh.EnvoyGateway) { g.Domain = "a..b" }, `domain: "a..b" is no domain`},
		{"clusters unknown", func(c *envoy.Config, _ *mesh.EnvoyGateway) { c.Pools[0].Clusters = nil }, `write clusters: ["httproute/llm/keyturn-openai/rule/0"]`},
		{"no place for the inner listener", func(c *envoy.Config, _ *mesh.EnvoyGateway) {
			c.Loopback, c.Processor = "", "127.0.0.1:1"
		}, `envoy.inner: Envoy Gateway's Envoy has no internal listeners, and there is no socket beside which it could be: write the path of a socket`},
		{"relative inner", func(c *envoy.Config, _ *mesh.EnvoyGateway) { c.Inner = "unix:i.sock" }, `envoy.inner: unix:i.sock is relative`},
		{"open by accident", func(c *envoy.Config, _ *mesh.EnvoyGateway) { c.Clients = envoy.Clients{} }, `write a SecurityPolicy for the HTTPRoutes and say open: true`},
		{"tokens", func(c *envoy.Config, _ *mesh.EnvoyGateway) {
			c.Clients = envoy.Clients{JWT: &envoy.JWT{JWKSFile: "x"}}
		}, `envoy.clients.jwt: tokens are for Envoy Gateway's SecurityPolicy`},
		{"relative socket", func(c *envoy.Config, _ *mesh.EnvoyGateway) { c.Processor = "unix:x.sock" }, `listen: unix:x.sock is relative`},
		{"no namespace", func(_ *envoy.Config, g *mesh.EnvoyGateway) { g.Namespace = "A" }, `namespace: "A" must be lower-case`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := egGoldens(t)["one"]
			tc.change(&g.cfg, &g.to)
			_, err := mesh.RenderEnvoyGateway(g.cfg, g.to)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// startGateway starts an Envoy as Envoy Gateway would configure it. change may alter what was rendered.
func startGateway(t *testing.T, change func([]byte) []byte) *envoytest.Rig {
	t.Helper()
	r := envoytest.NewRig(t)
	r.Processor.Pools["openai"] = envoytest.Upstream{Cluster: egCluster("keyturn-openai"), Authority: "openai.example:8080"}
	cfg := envoy.Config{
		Processor: "unix:" + r.Folder + "/extproc.sock", Loopback: "unix:" + r.Folder + "/loopback.sock", Clients: envoy.Clients{Open: true}, MaxRequestBytes: 1 << 20,
		Pools: []envoy.Pool{{Name: "openai", Upstream: envoytest.URL(t, "http://openai.example:8080"), Keys: 3, Tools: true, Clusters: []string{egCluster("keyturn-openai")}}},
	}
	out, err := mesh.RenderEnvoyGateway(cfg, mesh.EnvoyGateway{Namespace: "llm", Domain: "llm.example", SocketMode: 0o600})
	require.NoError(t, err)
	if change != nil {
		out = change(out)
	}
	c := &gatewayController{t: t, bind: netip.MustParseAddrPort("127.0.0.1:0"), endpoint: netip.MustParseAddrPort(strings.TrimPrefix(r.Provider.URL, "http://"))}
	r.Boot(t, c.bootstrap(out))
	r.FindListener(t)
	return r
}

// TestEnvoyGatewayServes shows on a real Envoy that keys turn behind such a listener, and that nothing changes for others.
func TestEnvoyGatewayServes(t *testing.T) {
	r := startGateway(t, nil)
	const host = "host: openai.llm.example"
	t.Run("failover", func(t *testing.T) {
		res, body := r.Do(t, "POST", "/v1/responses", "{}", append(envoytest.Forged(), host, "authorization: Bearer client", "x-api-key: client")...)
		require.Equal(t, "Bearer k2 /v1/responses", body)
		for name := range res.Header {
			require.NotContains(t, name, "X-Keyturn-")
		}
		attempts := r.Attempts()
		require.Len(t, attempts, 3)
		for i, a := range attempts {
			require.Equal(t, i+1, a.Number)
			require.Equal(t, attempts[0].Headers["x-keyturn-id"], a.Headers["x-keyturn-id"])
			require.Equal(t, "openai", a.Headers["x-keyturn-pool"])
			for _, name := range []string{"x-keyturn-turn", "x-keyturn-client", "authorization", "x-api-key"} {
				require.NotContains(t, a.Headers, name)
			}
			require.NotEmpty(t, a.Headers["x-request-id"])
		}
		for _, q := range r.Requests() {
			require.Equal(t, "openai.example:8080", q.Host)
			require.Empty(t, q.Header.Get("x-api-key"))
		}
	})
	t.Run("upload", func(t *testing.T) {
		res, _ := r.Do(t, "POST", "/v1/files", strings.Repeat("x", 2<<20), host)
		require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
		require.Len(t, r.Requests(), 1, "larger than what can be sent again")
		r.Attempts()
	})
	t.Run("own errors", func(t *testing.T) {
		res, body := r.Do(t, "POST", "/v1/responses", "{}", host, "x-keyturn-test: die")
		envoytest.RequireError(t, res, body, "processor_unavailable", "api_error")
		r.Attempts()
	})
	t.Run("another host", func(t *testing.T) {
		_, body := r.Do(t, "POST", "/v1/responses", strings.Repeat("x", 2<<20), "host: "+egOther, "authorization: Bearer own", "x-test: ok")
		require.Equal(t, "Bearer own /v1/responses", body)
		require.Empty(t, r.Attempts())
		r.Requests()
	})
	t.Run("loopback", func(t *testing.T) {
		_, body := r.Turn(t, "openai", "/v1/responses", "{}")
		require.Equal(t, "Bearer k2 /v1/responses", body)
		require.Len(t, r.Attempts(), 3)
		r.Requests()
	})
}

// TestEnvoyGatewayMiss takes the EnvoyPatchPolicy away: no provider gets a client's credential.
func TestEnvoyGatewayMiss(t *testing.T) {
	r := startGateway(t, func(b []byte) []byte {
		before, _, found := strings.Cut(string(b), "  jsonPatches:")
		require.True(t, found)
		return []byte(before)
	})
	r.Do(t, "POST", "/v1/responses", "{}", "host: openai.llm.example", "authorization: Bearer sk-own", "x-api-key: sk-own")
	requests := r.Requests()
	require.Len(t, requests, 1)
	for name, values := range requests[0].Header {
		require.NotContains(t, strings.Join(values, " "), "sk-own", name)
	}
	require.Empty(t, r.Attempts())
}
