package envoy_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
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
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

// goldens are the configurations of testdata/render, each the smallest that shows one thing.
func goldens(t *testing.T) map[string]envoy.Config {
	base := envoy.Config{
		Listen: "127.0.0.1:10000", Admin: "127.0.0.1:9901", Loopback: "unix:run/loopback.sock", Processor: "unix:run/extproc.sock",
		CAFile: "testdata/ca.pem", Record: envoy.Record{Requests: true, Usage: true},
		Pools: []envoy.Pool{{Name: "local", Upstream: parse(t, "http://127.0.0.1:9300"), Keys: 3}},
	}
	with := func(change func(*envoy.Config)) envoy.Config {
		c := base
		change(&c)
		return c
	}
	return map[string]envoy.Config{
		"one": base,
		"two": with(func(c *envoy.Config) {
			c.MaxRequestBytes = 1 << 20
			c.Pools = append(c.Pools, envoy.Pool{
				Name: "claude", Messages: true, Upstream: parse(t, "http://[::1]:9301/api/"), Clusters: []string{"anthropic"}, Keys: 40,
				CredentialHeader: "X-Custom-Key", MaxBodyBytes: 64 << 20,
			})
		}),
		"byok": with(func(c *envoy.Config) {
			c.Pools = []envoy.Pool{c.Pools[0]}
			c.Pools[0].BYOK = true
			c.Clients.APIKeys = []envoy.ClientKey{{Name: "alice", Secret: "off"}}
		}),
		"byok-by-envoy": with(func(c *envoy.Config) {
			c.Pools = []envoy.Pool{c.Pools[0]}
			c.Pools[0].BYOK = true
			c.Clients = envoy.Clients{ByEnvoy: true, APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "off"}}}
		}),
		"route": with(func(c *envoy.Config) {
			c.Attach, c.Record.Tell = envoy.Route, true
			c.Clients.APIKeys = []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}}
			c.Pools = append(slices.Clone(c.Pools), envoy.Pool{
				Name: "claude", Messages: true, Upstream: parse(t, "http://127.0.0.1:9301"), Keys: 2, BYOK: true,
			})
		}),
		"clients": with(func(c *envoy.Config) {
			c.Listen, c.Admin = "0.0.0.0:10000", "[::]:9901"
			c.AccessLog = "run/access.log"
			c.Clients.ByEnvoy = true
			c.Clients.APIKeys = []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}, {Name: "bob", Secret: "gw-bob"}}
		}),
		"jwt": with(func(c *envoy.Config) {
			c.Listen, c.AccessLog = "0.0.0.0:10000", "off"
			c.Clients.JWT = &envoy.JWT{Issuer: "https://issuer.example", Audiences: []string{"keyturn"}, JWKSFile: "testdata/jwks.json"}
		}),
		"jwks": with(func(c *envoy.Config) {
			c.Listen, c.Admin, c.Loopback = "unix:run/main.sock", "", ""
			c.Clients.JWT = &envoy.JWT{Issuer: "https://issuer.example", JWKSURL: "https://issuer.example/keys"}
		}),
		"tools": with(func(c *envoy.Config) {
			c.Pools = []envoy.Pool{c.Pools[0]}
			c.Pools[0].Tools, c.Pools[0].CredentialHeader = true, "x-custom-key"
			c.AccessLog = "off"
		}),
		"tools-byok": with(func(c *envoy.Config) { // one filter for all pools
			c.Pools = append(slices.Clone(c.Pools), envoy.Pool{
				Name: "claude", Messages: true, Upstream: parse(t, "http://127.0.0.1:9301"), Keys: 2, BYOK: true, Tools: true, ToolTime: 30 * time.Minute,
			})
			c.AccessLog = "off"
		}),
		"inner-socket": with(func(c *envoy.Config) { // a socket, where the bootstrap is not ours
			c.Inner, c.AccessLog, c.Record = "unix:run/inner.sock", "off", envoy.Record{}
		}),
		"https": with(func(c *envoy.Config) {
			c.Processor = "keyturn.internal:9000"
			c.Pools = []envoy.Pool{{Name: "openai", Upstream: parse(t, "https://api.openai.com"), Keys: 2}}
		}),
		"proxy": with(func(c *envoy.Config) {
			c.AccessLog, c.Record = "off", envoy.Record{}
			c.Pools = []envoy.Pool{{Name: "openai", Upstream: parse(t, "https://api.openai.com"), Proxy: parse(t, "http://proxy.internal:3128"), CAFile: "testdata/ca.pem", Keys: 2}}
		}),
	}
}

func TestGolden(t *testing.T) {
	binary := envoytest.Real(t).Path
	folder := t.TempDir() // what Envoy opens for writing does not belong beside the tests
	here, err := filepath.Abs("testdata")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(here, filepath.Join(folder, "testdata")))
	require.NoError(t, os.Mkdir(filepath.Join(folder, "run"), 0o755))
	for name, cfg := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			b, err := envoy.Render(cfg)
			require.NoError(t, err)
			got, err := envoy.Marshal(b)
			require.NoError(t, err)
			path := filepath.Join("testdata", "render", name+".yaml")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, got, 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got), "run with -update and read the difference")

			cmd := exec.CommandContext(envoytest.Bounded(t), binary, "--mode", "validate", "-c", filepath.Join("testdata", "render", name+".yaml"), "--log-level", "warning")
			cmd.Dir = folder
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			require.NotContains(t, string(out), "eprecated")
		})
	}
}

// TestSize holds that a reader gets through the whole of it.
func TestSize(t *testing.T) {
	for _, name := range []string{"one", "https", "inner-socket", "clients", "jwt"} { // one pool without tools
		doc, err := os.ReadFile(filepath.Join("testdata", "render", name+".yaml"))
		require.NoError(t, err)
		require.LessOrEqual(t, bytes.Count(doc, []byte("\n")), 400, name)
	}
}

// TestCheckAcceptsGoldens holds that nothing is found in what Render makes, but what it was told to do.
func TestCheckAcceptsGoldens(t *testing.T) {
	for name, cfg := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			b, err := envoy.Render(cfg)
			require.NoError(t, err)
			doc, err := envoy.Marshal(b)
			require.NoError(t, err)
			findings, err := check.Envoy(doc, envoytest.Wanted(cfg))
			require.NoError(t, err)
			if name == "https" { // its Keyturn is elsewhere, and reached in the clear
				require.Len(t, findings, 1)
				require.Equal(t, "not set, to keyturn.internal:9000", findings[0].Found)
				return
			}
			require.Empty(t, findings)
		})
	}
}

// TestMarshalIsStable holds that the same configuration is the same bytes: Go and protobuf both shuffle maps.
func TestMarshalIsStable(t *testing.T) {
	var first []byte
	for range 10 {
		b, err := envoy.Render(goldens(t)["jwt"])
		require.NoError(t, err)
		doc, err := envoy.Marshal(b)
		require.NoError(t, err)
		if first == nil {
			first = doc
		}
		require.Equal(t, string(first), string(doc))
	}
}

// TestClientKeyStaysSecret prints one in every way that a log might.
func TestClientKeyStaysSecret(t *testing.T) {
	cfg := envoy.Config{Clients: envoy.Clients{ByEnvoy: true, APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "sesame"}}}}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", slog.Any("config", cfg), slog.Any("key", cfg.Clients.APIKeys[0]))
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", slog.Any("config", cfg), slog.Any("key", cfg.Clients.APIKeys[0]))
	printed := fmt.Sprintf("%v %+v %#v %s %v %#v", cfg, cfg, cfg, cfg.Clients.APIKeys, cfg.Clients.APIKeys[0], cfg.Clients.APIKeys[0]) + log.String()
	require.Contains(t, printed, "alice")
	require.NotContains(t, printed, "sesame")
}

func TestRenderRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*envoy.Config)
		want   string
	}{
		{"no listener", func(c *envoy.Config) { c.Listen = "" }, `listen: an address is needed`},
		{"no processor", func(c *envoy.Config) { c.Processor = "" }, `listen: an address is needed`},
		{"no pools", func(c *envoy.Config) { c.Pools = nil }, `pools: at least one is needed`},
		{"open by accident", func(c *envoy.Config) { c.Listen = ":10000" }, `envoy.clients: :10000 is reachable from beyond this machine`},
		{"open by accident, one address", func(c *envoy.Config) { c.Listen = "192.0.2.1:10000" }, `{open: true} lets everybody in`},
		{"a name to listen on", func(c *envoy.Config) { c.Listen = "gateway.example:10000" }, `listen: "gateway.example" is a name; Envoy listens on an IP address`},
		{"no port", func(c *envoy.Config) { c.Listen = "127.0.0.1" }, `listen: "127.0.0.1" is neither unix:path nor host:port`},
		{"bad port", func(c *envoy.Config) { c.Admin = "127.0.0.1:70000" }, `admin: "127.0.0.1:70000": the port must be a number`},
		{"no path", func(c *envoy.Config) { c.Processor = "unix:" }, `listen: "unix:" needs a path`},
		{"long path", func(c *envoy.Config) { c.Loopback = "unix:/" + strings.Repeat("x", 200) }, `loopback: the path of a Unix socket may have`},
		{"abstract loopback", func(c *envoy.Config) { c.Loopback = "unix:@loopback" }, `loopback: must be the path of a file`},
		{"inner listener over TCP", func(c *envoy.Config) { c.Inner = "127.0.0.1:1" }, `inner: must be internal or unix:path, not "127.0.0.1:1"`},
		{"abstract inner listener", func(c *envoy.Config) { c.Inner = "unix:@inner" }, `inner: must be the path of a file`},
		{"tools without a loopback", func(c *envoy.Config) { c.Pools[0].Tools = true }, `pools[0].tools: need the loopback listener`},
		{"tools over the network", func(c *envoy.Config) {
			c.Pools[0].Tools, c.Loopback, c.Processor = true, "unix:loopback.sock", "keyturn.internal:9000"
		}, `pools[0].tools: need a processor beside its Envoy, since only there it reaches the loopback listener: keyturn.internal:9000 is elsewhere`},
		{"tools for longer than Envoy waits", func(c *envoy.Config) {
			c.Pools[0].Tools, c.Loopback, c.Pools[0].ToolTime = true, "unix:loopback.sock", 2*time.Hour
		}, `pools[0].tools.time: must be from 0 to 1h0m0s`},
		{"loopback over TCP", func(c *envoy.Config) { c.Loopback = "127.0.0.1:1" }, `loopback: must be unix:path`},
		{"negative limit", func(c *envoy.Config) { c.MaxRequestBytes = -1 }, `envoy.max_request_bytes: found -1B; write at least 1KiB`},
		{"limit beyond what Keyturn can hold", func(c *envoy.Config) { c.MaxRequestBytes = 1 << 30 }, `envoy.max_request_bytes: found 1GiB; write at most 128MiB`},
		{"body beyond what Keyturn can hold", func(c *envoy.Config) { c.Pools[0].MaxBodyBytes = 1 << 30 }, `pools[0].max_body: found 1GiB; write at most 128MiB`},
		{"negative idle timeout", func(c *envoy.Config) { c.IdleTimeout = -1 }, `envoy.idle_timeout: found -1ns; write at least 1s`},
		{"pool without a name", func(c *envoy.Config) { c.Pools[0].Name = "" }, `pools[0].name: "": it is a segment of the path`},
		{"pool's name with a slash", func(c *envoy.Config) { c.Pools[0].Name = "a/b" }, `pools[0].name`},
		{"pool named v1", func(c *envoy.Config) { c.Pools[0].Name = "v1" }, `/v1/ is where requests without a pool's name go`},
		{"two of a name", func(c *envoy.Config) { c.Pools = append(c.Pools, c.Pools[0]) }, `pools[1].name: pools[0].name is "a" too`},
		{"two with a cluster", func(c *envoy.Config) {
			c.Pools = append(c.Pools, envoy.Pool{Name: "b", Clusters: []string{"a"}, Upstream: c.Pools[0].Upstream})
		}, `pools[1].clusters: "a" is pools[0]'s too`},
		{"reserved cluster", func(c *envoy.Config) { c.Pools[0].Clusters = []string{"keyturn-processor"} }, `"keyturn-processor" is not a name that a pool's cluster can have`},
		{"the inner listener's cluster", func(c *envoy.Config) { c.Pools[0].Clusters = []string{"keyturn-inner"} }, `"keyturn-inner" is not a name that a pool's cluster can have`},
		{"no header", func(c *envoy.Config) { c.Pools[0].CredentialHeader = "x key" }, `pools[0].credential.header: "x key" is not the name of a header`},
		{"negative keys", func(c *envoy.Config) { c.Pools[0].Keys = -1 }, `keys: must not be negative`},
		{"no upstream", func(c *envoy.Config) { c.Pools[0].Upstream = nil }, `upstream: an address is needed`},
		{"upstream of another scheme", func(c *envoy.Config) { c.Pools[0].Upstream = &url.URL{Scheme: "ftp", Host: "x"} }, `upstream: must begin with https:// or http://, not "ftp://"`},
		{"upstream without a host", func(c *envoy.Config) { c.Pools[0].Upstream = &url.URL{Scheme: "http"} }, `upstream: has no host`},
		{"upstream with a query", func(c *envoy.Config) { c.Pools[0].Upstream = &url.URL{Scheme: "http", Host: "x", RawQuery: "a"} }, `upstream: may have a host, a port and a base path`},
		{"upstream's port", func(c *envoy.Config) { c.Pools[0].Upstream = &url.URL{Scheme: "http", Host: "x:0"} }, `upstream: port "0" must be`},
		{"two ways for clients", func(c *envoy.Config) { c.Clients = envoy.Clients{Open: true, JWT: &envoy.JWT{JWKSFile: "x"}} }, `api_keys, jwt and open exclude each other`},
		{"client without a key", func(c *envoy.Config) { c.Clients.APIKeys = []envoy.ClientKey{{Name: "alice"}} }, `api_keys[0]: a name and a key are needed`},
		{"two clients with a key", func(c *envoy.Config) {
			c.Clients.APIKeys = []envoy.ClientKey{{Name: "alice", Secret: "sesame"}, {Name: "bob", Secret: "sesame"}}
		}, `envoy.clients.api_keys[1]: "bob" has the key of api_keys[0] "alice"`},
		{"tokens without a key set", func(c *envoy.Config) { c.Clients.JWT = &envoy.JWT{} }, `exactly one of jwks_file and jwks_url`},
		{"key set from nowhere", func(c *envoy.Config) { c.Clients.JWT = &envoy.JWT{JWKSURL: "issuer"} }, `jwks_url: must be an http:// or https:// address`},
		{"text that protobuf refuses", func(c *envoy.Config) { c.AccessLog = "\xff" }, `invalid UTF-8`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := envoy.Config{
				Listen: "127.0.0.1:10000", Processor: "unix:extproc.sock",
				Pools: []envoy.Pool{{Name: "a", Upstream: parse(t, "http://127.0.0.1:9300")}},
			}
			tc.change(&cfg)
			_, err := envoy.Render(cfg)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "sesame")
		})
	}
	t.Run("all at once", func(t *testing.T) {
		_, err := envoy.Render(envoy.Config{Pools: []envoy.Pool{{Name: "a"}}})
		var all interface{ Unwrap() []error }
		require.True(t, errors.As(err, &all))
		require.Len(t, all.Unwrap(), 3)
	})
}
