package mesh_test

import (
	"flag"
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

var update = flag.Bool("update", false, "write the golden files anew")

// meshGolden is a rendering of testdata/istio.
type meshGolden struct {
	cfg  envoy.Config
	mesh mesh.Istio
}

// meshGoldens are the smallest that each show one thing.
func meshGoldens(t *testing.T) map[string]meshGolden {
	openAI := envoy.Pool{
		Name: "openai", Upstream: envoytest.URL(t, "https://api.openai.com"), Keys: 2, Clusters: []string{"outbound|80||api.openai.com", "openai"},
	}
	claude := envoy.Pool{
		Name: "Claude_1", Messages: true, Upstream: envoytest.URL(t, "https://api.anthropic.com:8443/base"), Keys: 40,
		Clusters: []string{"outbound|80||api.anthropic.com"}, BYOK: true, Tools: true, ToolTime: 30 * time.Minute, CredentialHeader: "x-custom-key", MaxBodyBytes: 64 << 20,
	}
	base := envoy.Config{
		Processor: "unix:/run/keyturn/extproc.sock", Loopback: "unix:/run/keyturn/loopback.sock", Clients: envoy.Clients{Open: true},
		Record: envoy.Record{Requests: true}, // Istio's Envoy reads no usage
		Pools:  []envoy.Pool{openAI},
	}
	with := func(change func(*envoy.Config)) envoy.Config {
		c := base
		c.Pools = slices.Clone(base.Pools)
		change(&c)
		return c
	}
	gateway := map[string]string{"istio": "llm-egress"}
	app := map[string]string{"app": "agent", "example.com/team": "a"}
	return map[string]meshGolden{
		"gateway": {base, mesh.Istio{Namespace: "llm", Selector: gateway}},
		"gateway-two": {with(func(c *envoy.Config) {
			c.Pools = append(c.Pools, claude)
			c.Clients = envoy.Clients{ByEnvoy: true, APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}}}
			c.MaxRequestBytes, c.IdleTimeout = 1<<20, time.Minute
		}), mesh.Istio{Name: "two", Namespace: "llm", Selector: gateway, Gateway: "own", Service: "egress.llm.svc.cluster.local", Port: 15443}},
		"sidecar": {with(func(c *envoy.Config) { c.Clients, c.Pools = envoy.Clients{}, append(c.Pools, claude) }), mesh.Istio{
			Form: mesh.Sidecar, Namespace: "agents", Selector: app,
		}},
		"sidecar-egress": {with(func(c *envoy.Config) {
			c.Clients, c.Pools[0].Clusters = envoy.Clients{}, []string{"outbound|15080||api.openai.com"}
			c.Inner, c.Pools[0].Tools = "unix:/run/keyturn/inner.sock", true
		}), mesh.Istio{
			Form: mesh.Sidecar, Selector: app, EgressListener: true, Port: 15080, SocketMode: 0o600,
		}},
		"sidecar-service": {with(func(c *envoy.Config) { // two ports, and a host that the cluster has itself
			c.Loopback, c.AccessLog = "", "off"
			c.Pools = append(c.Pools, envoy.Pool{
				Name: "own", Upstream: envoytest.URL(t, "http://vllm.models.svc.cluster.local:8000/v1"), Keys: 1,
				Clusters: []string{"outbound|8000||vllm.models.svc.cluster.local"},
			})
		}), mesh.Istio{Form: mesh.Sidecar, Selector: app}},
		"gateway-api":     {with(func(c *envoy.Config) { c.Pools = append(c.Pools, claude) }), mesh.Istio{Form: mesh.GatewayAPI, Namespace: "llm"}},
		"gateway-api-own": {base, mesh.Istio{Form: mesh.GatewayAPI, Namespace: "llm", Gateway: "shared", Name: "b"}},
	}
}

// TestIstioGolden holds what is rendered, and that Envoy takes what Istio makes of it, with nothing that Keyturn needs missing.
func TestIstioGolden(t *testing.T) {
	binary := envoytest.Real(t).Path
	for name, tc := range meshGoldens(t) {
		t.Run(name, func(t *testing.T) {
			got, err := mesh.RenderIstio(tc.cfg, tc.mesh)
			require.NoError(t, err)
			path := filepath.Join("testdata", "istio", name+".yaml")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, got, 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got), "run with -update and read the difference")

			s := &istiod{t: t, bind: netip.MustParseAddrPort("127.0.0.1:10000"), endpoints: func(string) netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:9300") }}
			doc := s.bootstrap(got)
			require.Equal(t, 2, s.patched["CLUSTER"])
			listeners := 1
			if slices.ContainsFunc(tc.cfg.Pools, func(p envoy.Pool) bool { return p.Tools }) {
				listeners++
			}
			require.Equal(t, listeners, s.patched["LISTENER"])
			for _, kind := range []string{"HTTP_FILTER", "NETWORK_FILTER"} {
				require.NotZero(t, s.patched[kind], kind)
			}
			require.Equal(t, len(tc.cfg.Pools), s.patched["HTTP_ROUTE"], "each route once")
			file := filepath.Join(t.TempDir(), "envoy.json")
			require.NoError(t, os.WriteFile(file, doc, 0o600))
			cmd := exec.CommandContext(envoytest.Bounded(t), binary, "--mode", "validate", "-c", file, "--log-level", "warning")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			require.NotContains(t, string(out), "eprecated")

			pools := slices.Clone(tc.cfg.Pools)
			findings, err := check.Istio(doc, check.Want{
				Processor: tc.cfg.Processor, Pools: pools, Open: true, Loopback: listeners > 1,
			}, check.Proxy{})
			require.NoError(t, err)
			require.Empty(t, findings)
		})
	}
}

// TestIstioIsStable holds that the same input is the same bytes.
func TestIstioIsStable(t *testing.T) {
	tc := meshGoldens(t)["gateway-two"]
	first, err := mesh.RenderIstio(tc.cfg, tc.mesh)
	require.NoError(t, err)
	for range 10 {
		again, err := mesh.RenderIstio(tc.cfg, tc.mesh)
		require.NoError(t, err)
		require.Equal(t, string(first), string(again))
	}
}

// TestIstioNames holds that renderings for other proxies do not overwrite each other, and that their routes have the
// same names: Istio listens to one VirtualService for a host and to no other.
func TestIstioNames(t *testing.T) {
	for _, form := range []mesh.Form{mesh.Gateway, mesh.Sidecar, mesh.GatewayAPI} {
		seen, routes := map[string]bool{}, map[string]int{}
		for _, name := range []string{"a", "b"} {
			tc := meshGoldens(t)["gateway"]
			tc.mesh.Form, tc.mesh.Name = form, name
			if form == mesh.GatewayAPI {
				tc.mesh.Selector = nil
			}
			out, err := mesh.RenderIstio(tc.cfg, tc.mesh)
			require.NoError(t, err)
			for _, o := range readObjects(t, out) {
				id := o.Kind + " " + o.Metadata.Namespace + "/" + o.Metadata.Name
				require.False(t, seen[id], id)
				seen[id] = true
				for _, r := range o.Spec.HTTP {
					routes[r.Name]++
				}
			}
		}
		for name, n := range routes {
			require.Equal(t, 2, n, name)
		}
	}
}

func TestIstioRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*envoy.Config, *mesh.Istio)
		want   string
	}{
		{"no selector", func(_ *envoy.Config, m *mesh.Istio) { m.Selector = nil }, `selector: the labels of the proxies' pods are needed`},
		{"no label", func(_ *envoy.Config, m *mesh.Istio) { m.Selector = map[string]string{"a b": "c"} }, `selector: a b=c is not a label`},
		{"no name", func(_ *envoy.Config, m *mesh.Istio) { m.Name = "Keyturn" }, `name: "Keyturn" must be lower-case`},
		{"no namespace", func(_ *envoy.Config, m *mesh.Istio) { m.Namespace = "a/b" }, `namespace: "a/b" must be lower-case`},
		{"no port", func(_ *envoy.Config, m *mesh.Istio) { m.Port = 70000 }, `port: must be from 1 to 65535, not 70000`},
		{"a mode for all", func(_ *envoy.Config, m *mesh.Istio) { m.SocketMode = 0o666 }, `socket mode: must be 0600 or 0660, not 0666`},
		{"selector of the Gateway API", func(_ *envoy.Config, m *mesh.Istio) { m.Form = mesh.GatewayAPI }, `selector: the form gateway-api has none`},
		{"gateway of a sidecar", func(_ *envoy.Config, m *mesh.Istio) { m.Form, m.Gateway = mesh.Sidecar, "x" }, `gateway: the form sidecar has none`},
		{"service of a sidecar", func(_ *envoy.Config, m *mesh.Istio) { m.Form, m.Service = mesh.Sidecar, "x" }, `service: the form sidecar has none`},
		{"egress listener of a gateway", func(_ *envoy.Config, m *mesh.Istio) { m.EgressListener = true }, `egress listener: the form gateway has none`},
		{"open by accident", func(c *envoy.Config, _ *mesh.Istio) { c.Clients = envoy.Clients{} }, `envoy.clients: the gateway is reachable from the whole cluster`},
		{"tokens", func(c *envoy.Config, _ *mesh.Istio) { c.Clients = envoy.Clients{JWT: &envoy.JWT{JWKSFile: "x"}} }, `envoy.clients.jwt: in a mesh, tokens are for Istio's RequestAuthentication`},
		{"relative socket", func(c *envoy.Config, _ *mesh.Istio) { c.Processor = "unix:run/x.sock" }, `listen: unix:run/x.sock is relative, and the proxy and Keyturn run in containers of their own: write a path in the volume that they share, such as unix:/run/keyturn/x.sock`},
		{"relative loopback", func(c *envoy.Config, _ *mesh.Istio) { c.Loopback = "unix:l.sock" }, `envoy.loopback: unix:l.sock is relative`},
		{"relative inner", func(c *envoy.Config, _ *mesh.Istio) { c.Inner = "unix:run/i.sock" }, `envoy.inner: unix:run/i.sock is relative, and the proxy and Keyturn run in containers of their own: write a path in the volume that they share, such as unix:/run/keyturn/i.sock`},
		{"inner for everybody", func(c *envoy.Config, _ *mesh.Istio) { c.Inner = "127.0.0.1:1" }, `inner: must be internal or unix:path`},
		{"no processor", func(c *envoy.Config, _ *mesh.Istio) { c.Processor = "" }, `listen: an address is needed`},
		{"no pools", func(c *envoy.Config, _ *mesh.Istio) { c.Pools = nil }, `pools: at least one is needed`},
		{"cluster unknown", func(c *envoy.Config, _ *mesh.Istio) { c.Pools[0].Clusters = nil }, `pools[0] "openai": clusters: the proxy will name the provider's cluster outbound|80||api.openai.com, and attempts go to the first of a pool's clusters; write clusters: ["outbound|80||api.openai.com"]`},
		{"cluster not first", func(c *envoy.Config, _ *mesh.Istio) {
			c.Pools[0].Clusters = []string{"openai", "outbound|80||api.openai.com"}
		}, `write clusters: ["outbound|80||api.openai.com", openai]`},
		{"address", func(c *envoy.Config, _ *mesh.Istio) { c.Pools[0].Upstream.Host = "192.0.2.1" }, `upstream: a mesh knows hosts by their names, and 192.0.2.1 is an address`},
		{"no upstream", func(c *envoy.Config, _ *mesh.Istio) { c.Pools[0].Upstream = nil }, `pools[0].upstream: an address is needed`},
		{"https within", func(c *envoy.Config, _ *mesh.Istio) { c.Pools[0].Upstream.Host = "a.b.svc.cluster.local" }, `a.b.svc.cluster.local is a Service of the cluster, which apps would have to call with http`},
		{"one host twice", func(c *envoy.Config, _ *mesh.Istio) {
			c.Pools = append(c.Pools, c.Pools[0])
			c.Pools[1].Name = "other"
		}, `pools[1] "other": upstream: pools[0] has the host api.openai.com too, and in a mesh it is the host that picks the pool`},
		{"one name twice", func(c *envoy.Config, _ *mesh.Istio) {
			c.Pools = append(c.Pools, c.Pools[0])
			c.Pools[1].Name = "OpenAI"
		}, `pools[1] "OpenAI": name: resources of Kubernetes have lower-case names, and there pools[0] "openai" is the same`},
		{"two at once", func(c *envoy.Config, m *mesh.Istio) { m.Port, c.MaxRequestBytes = 70000, -1 }, "not 70000\nenvoy.max_request_bytes: found -1B; write at least 1KiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := meshGoldens(t)["gateway"]
			tc.change(&g.cfg, &g.mesh)
			_, err := mesh.RenderIstio(g.cfg, g.mesh)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestParseForm(t *testing.T) {
	for _, f := range []mesh.Form{mesh.Gateway, mesh.Sidecar, mesh.GatewayAPI} {
		got, err := mesh.ParseForm(f.String())
		require.NoError(t, err)
		require.Equal(t, f, got)
	}
	_, err := mesh.ParseForm("waypoint")
	require.ErrorContains(t, err, `form "waypoint": must be one of gateway, sidecar, gateway-api`)
}

// TestIstioHoldsNoSecretsByDefault looks for the clients' keys, which only gateways that check them get.
func TestIstioHoldsNoSecretsByDefault(t *testing.T) {
	tc := meshGoldens(t)["sidecar"]
	tc.cfg.Clients = envoy.Clients{ByEnvoy: true, APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "sesame"}}}
	out, err := mesh.RenderIstio(tc.cfg, tc.mesh)
	require.NoError(t, err)
	require.False(t, strings.Contains(string(out), "sesame"))
}
