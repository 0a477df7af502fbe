package mesh_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/keyturn/keyturn/envoy/mesh"
	"github.com/stretchr/testify/require"
)

// meshRig is a rig whose Envoy has what a mesh makes of rendered resources, beside two hosts that are none of Keyturn's:
// plain.example has the provider behind it too, dead.example nothing.
type meshRig struct {
	*envoytest.Rig
	port uint16 // of the provider
}

// meshHosts are the pools' and the others. gone.example is a pool's whose provider does not listen.
const (
	openAIHost = "openai.example"
	claudeHost = "claude.example"
	goneHost   = "gone.example"
	plainHost  = "plain.example"
	deadHost   = "dead.example"
)

// startMesh renders, lets change alter what was rendered, and starts everything.
func startMesh(t *testing.T, form mesh.Form, alter func(*envoy.Config), change func([]byte) []byte) *meshRig {
	t.Helper()
	r := &meshRig{Rig: envoytest.NewRig(t)}
	provider := netip.MustParseAddrPort(strings.TrimPrefix(r.Provider.URL, "http://"))
	r.port = provider.Port()
	to := mesh.Istio{Form: form, Namespace: "llm", SocketMode: 0o600}
	if form != mesh.GatewayAPI {
		to.Selector = map[string]string{"app": "a"}
	}
	cfg := envoy.Config{
		Processor: "unix:" + r.Folder + "/extproc.sock", Loopback: "unix:" + r.Folder + "/loopback.sock", Clients: envoy.Clients{Open: true}, MaxRequestBytes: 1 << 20,
	}
	if form == mesh.Sidecar {
		cfg.Inner = "unix:" + r.Folder + "/inner.sock"
	}
	for _, p := range []envoy.Pool{
		{Name: "openai", Upstream: &url.URL{Host: openAIHost}},
		{Name: "claude", Messages: true, Upstream: &url.URL{Host: claudeHost, Path: "/base"}, Tools: true},
		{Name: "gone", Upstream: &url.URL{Host: goneHost}},
	} {
		p.Clusters = []string{r.cluster(p.Upstream.Host)}
		p.Upstream.Scheme, p.Keys = "http", 3
		p.Upstream.Host = fmt.Sprintf("%s:%d", p.Upstream.Host, r.port)
		r.Processor.Pools[p.Name] = envoytest.Upstream{Cluster: p.Clusters[0], Authority: p.Upstream.Host}
		cfg.Pools = append(cfg.Pools, p)
	}
	if alter != nil {
		alter(&cfg)
	}
	out, err := mesh.RenderIstio(cfg, to)
	require.NoError(t, err)
	if change != nil {
		out = change(out)
	}
	s := &istiod{t: t, bind: netip.MustParseAddrPort("127.0.0.1:0"), endpoints: func(host string) netip.AddrPort {
		if host == goneHost || host == deadHost {
			return netip.MustParseAddrPort("127.0.0.1:1")
		}
		return provider
	}}
	for _, host := range []string{plainHost, deadHost} {
		s.routes = append(s.routes, &meshHost{uint32(r.port), &routev3.VirtualHost{
			Name: host, Domains: []string{host}, Routes: []*routev3.Route{envoyRoute("default", r.cluster(host), nil)}, IncludeRequestAttemptCount: true,
		}})
		s.clusters = append(s.clusters, s.cluster(r.cluster(host), host))
	}
	r.Boot(t, s.bootstrap(out))
	r.FindListener(t)
	return r
}

func (r *meshRig) cluster(host string) string { return fmt.Sprintf("outbound|%d||%s", r.port, host) }

// forms are all of them.
var forms = []mesh.Form{mesh.Gateway, mesh.Sidecar, mesh.GatewayAPI}

// TestIstioServes shows on a real Envoy that keys turn for the pools' hosts, and that nothing changes for others.
func TestIstioServes(t *testing.T) {
	for _, form := range forms {
		t.Run(form.String(), func(t *testing.T) {
			r := startMesh(t, form, nil, nil)
			t.Run("failover", r.failover)
			t.Run("exhausted", r.exhausted)
			t.Run("routes", r.routes)
			t.Run("websocket", r.websocket)
			t.Run("own errors", r.ownErrors)
			t.Run("other hosts", r.otherHosts)
			t.Run("loopback", r.loopback)
			t.Run("access log", func(t *testing.T) { r.accessLog(t, form) })
		})
	}
}

func (r *meshRig) failover(t *testing.T) {
	res, body := r.Do(t, "POST", "/v1/responses?q=1", "{}", append(envoytest.Forged(), "host: "+openAIHost, "authorization: Bearer client", "x-api-key: client", "session_id: kept")...)
	require.Equal(t, "Bearer k2 /v1/responses", body)
	for name := range res.Header {
		require.NotContains(t, name, "X-Keyturn-")
	}
	attempts := r.Attempts()
	require.Len(t, attempts, 3)
	id := attempts[0].Headers["x-keyturn-id"]
	require.Regexp(t, `^[0-9a-f-]{36}$`, id)
	for i, a := range attempts {
		require.Equal(t, i+1, a.Number)
		require.Equal(t, id, a.Headers["x-keyturn-id"])
		require.Equal(t, "openai", a.Headers["x-keyturn-pool"])
		require.Equal(t, "18", a.Headers["x-keyturn-retries"])
		require.Regexp(t, `^[0-9]{10}\.[0-9]{3}$`, a.Headers["x-keyturn-start"])
		require.NotEmpty(t, a.Headers["x-request-id"])
		require.Equal(t, "/v1/responses?q=1", a.Headers[":path"])
		require.Equal(t, "via_upstream 0", a.Details+" "+a.Flags)
		for _, name := range []string{"x-keyturn-client", "x-keyturn-turn", "x-keyturn-model", "x-keyturn-cluster", "authorization", "x-api-key"} {
			require.NotContains(t, a.Headers, name)
		}
	}
	requests := r.Requests()
	require.Len(t, requests, 3)
	for _, q := range requests {
		require.Equal(t, "kept", q.Header.Get("session_id"))
		require.Empty(t, q.Header.Get("x-api-key"))
		require.Equal(t, fmt.Sprintf("%s:%d", openAIHost, r.port), q.Host)
		for name := range q.Header {
			require.NotRegexp(t, "(?i)^x-(keyturn|envoy|forwarded)-", name)
		}
	}
}

func (r *meshRig) exhausted(t *testing.T) {
	res, body := r.Do(t, "POST", "/v1/messages", "{}", "host: "+claudeHost, "x-test: all")
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	require.Equal(t, `{"by":"keyturn"}`, body, "Keyturn's own error is not reshaped")
	require.Equal(t, "exhausted", res.Header.Get("x-keyturn-error"))
	require.Len(t, r.Requests(), 3)
	require.Len(t, r.Attempts(), 3)
}

// routes: one takes all of a host, as the provider has it.
func (r *meshRig) routes(t *testing.T) {
	for _, tc := range []struct{ method, path string }{
		{"POST", "/v1/chat/completions"},
		{"GET", "/v1/models/org%2Fmodel"},
		{"POST", "/base/v1/messages/count_tokens?beta=true"},
		{"POST", "/v1/files?x=1"},
		{"POST", "/v1/audio/translations"},
		{"DELETE", "/v1/responses/resp_1"},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			res, _ := r.Do(t, tc.method, tc.path, "", "host: "+openAIHost, "x-test: ok", "authorization: Bearer client")
			require.Equal(t, http.StatusOK, res.StatusCode)
			attempts, requests := r.Attempts(), r.Requests()
			require.Len(t, attempts, 1)
			require.Len(t, requests, 1)
			require.Equal(t, tc.path, requests[0].URL.String())
			require.Equal(t, "Bearer k0", requests[0].Header.Get("authorization"))
		})
	}
	for _, tc := range []struct {
		name     string
		bytes    int
		test     string
		attempts int
		status   int
	}{
		{"as large as can be sent again", 1 << 20, "", 3, http.StatusOK},
		{"larger", 40 << 20, "ok", 1, http.StatusOK},
		{"larger, refused", 40 << 20, "", 1, http.StatusTooManyRequests},
		{"an error that is the client's", 2, "503", 1, http.StatusServiceUnavailable}, // Istio's own policy would repeat it
	} {
		t.Run("upload "+tc.name, func(t *testing.T) {
			res, _ := r.Do(t, "POST", "/v1/files", strings.Repeat("x", tc.bytes), "host: "+openAIHost, "x-test: "+tc.test)
			require.Equal(t, tc.status, res.StatusCode)
			require.Equal(t, int64(tc.bytes), r.Provider.Bytes)
			require.Len(t, r.Attempts(), tc.attempts)
			require.Len(t, r.Requests(), tc.attempts)
		})
	}
}

func (r *meshRig) websocket(t *testing.T) {
	const ask = "GET %s HTTP/1.1\r\nhost: %s\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\nx-test: %s\r\nauthorization: Bearer client\r\n\r\nhello\n"
	for _, tc := range []struct{ name, host, path, test, want, key string }{
		{"accepted", openAIHost, "/v1/realtime?model=m", "ok", "101", "Bearer k0"},
		{"two keys refused", openAIHost, "/v1/responses", "", "101", "Bearer k2"},
		{"refused by the provider", openAIHost, "/v1/responses", "refuse", "403", "Bearer k0"},
		{"refused with all keys", openAIHost, "/v1/responses", "all", "429", "Bearer k2"},
		{"another host", plainHost, "/v1/chat/completions", "ok", "101", "Bearer client"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.URL, "http://"))
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			_, err = fmt.Fprintf(conn, ask, tc.path, tc.host, tc.test)
			require.NoError(t, err)
			reader := bufio.NewReader(conn)
			res, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			defer func() { _ = res.Body.Close() }()
			require.Equal(t, tc.want, res.Status[:3])
			requests := r.Requests()
			require.Equal(t, tc.key, requests[len(requests)-1].Header.Get("authorization"))
			if tc.want == "101" {
				line, err := reader.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, "echo hello\n", line)
			}
		})
	}
	r.Attempts()
}

// ownErrors are answers that Envoy makes itself, in a shape that SDKs read. The provider's and Keyturn's are left alone.
func (r *meshRig) ownErrors(t *testing.T) {
	for _, tc := range []struct {
		name    string
		headers []string
		status  int
		code    string
		kind    string // error.type
	}{
		{"processor gone", []string{"x-keyturn-test: die"}, 503, "processor_unavailable", "api_error"},
		{"another upgrade", []string{"connection: upgrade", "upgrade: other"}, 403, "refused", "permission_error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, body := r.Do(t, "POST", "/v1/responses", "{}", append(tc.headers, "host: "+openAIHost)...)
			require.Equal(t, tc.status, res.StatusCode)
			envoytest.RequireError(t, res, body, tc.code, tc.kind)
		})
	}
	r.Attempts()
	for _, tc := range []struct {
		host, test string
		status     int
		details    string // that the processor saw
		body       string
		code       string
	}{
		{openAIHost, "503", 503, `^via_upstream 0$`, "the provider's own", ""},
		{goneHost, "", 502, `^upstream_reset_before_response_started\{.*\} [1-9]`, `{"by":"keyturn"}`, "provider_unreachable"},
	} {
		t.Run("not its own, "+tc.host, func(t *testing.T) {
			res, body := r.Do(t, "POST", "/v1/responses", "", "host: "+tc.host, "x-test: "+tc.test)
			require.Equal(t, tc.status, res.StatusCode)
			require.Equal(t, tc.body, body)
			require.Equal(t, tc.code, res.Header.Get("x-keyturn-error"))
			a := r.Attempts()[0]
			require.Regexp(t, tc.details, a.Details+" "+a.Flags)
		})
	}
	r.Requests()
}

// otherHosts share the listener, and nothing of theirs changes.
func (r *meshRig) otherHosts(t *testing.T) {
	res, body := r.Do(t, "POST", "/v1/responses", strings.Repeat("x", 2<<20), "host: "+plainHost, "authorization: Bearer own", "x-api-key: own", "x-test: ok")
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "Bearer own /v1/responses", body)
	seen := r.Requests()[0].Header
	require.Equal(t, "own", seen.Get("x-api-key"))
	for name := range seen {
		require.NotContains(t, name, "X-Keyturn-")
	}
	res, _ = r.Do(t, "POST", "/v1/responses", "{}", "host: "+plainHost, "authorization: Bearer own", "x-test: all")
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	require.Len(t, r.Requests(), 1, "not repeated")
	for _, host := range []string{deadHost, "nobody.example"} {
		res, body = r.Do(t, "POST", "/v1/responses", "{}", "host: "+host)
		require.Empty(t, res.Header.Get("x-keyturn-error"))
		require.NotContains(t, body, "{")
	}
	require.Empty(t, r.Attempts(), "the processor hears of none of them")
}

// loopback is a request of Keyturn's own: it names its pool, and its attempts know the turn.
func (r *meshRig) loopback(t *testing.T) {
	res, body := r.Turn(t, "claude", "/base/v1/messages", "{}")
	require.Equal(t, "Bearer k2 /base/v1/messages", body)
	require.Equal(t, "k2", res.Header.Get("x-keyturn-used-name"))
	attempts := r.Attempts()
	require.Len(t, attempts, 3)
	for _, a := range attempts {
		require.Equal(t, "7", a.Headers["x-keyturn-turn"])
		require.Equal(t, "claude", a.Headers["x-keyturn-pool"])
	}
	require.Equal(t, fmt.Sprintf("%s:%d", claudeHost, r.port), r.Requests()[0].Host)
}

func (r *meshRig) accessLog(t *testing.T, form mesh.Form) {
	require.NoError(t, r.Process.Stop(envoytest.Bounded(t)), "Envoy keeps some lines until it ends")
	route := "keyturn-openai"
	if form == mesh.GatewayAPI {
		route = "llm.keyturn-openai.0"
	}
	lines := envoytest.LogLines(t, r.Log.String())
	for _, l := range lines["request"] {
		require.NotEqual(t, "default", l["route"], "of another host")
	}
	first := lines["request"][0]
	require.Equal(t, route, first["route"])
	require.EqualValues(t, 3, first["attempts"])
	require.Equal(t, "k2", first["key_name"])
	require.Equal(t, "openai", first["pool"])
	require.NotEmpty(t, first["request_id"])
	for i, a := range lines["attempt"][:3] {
		require.EqualValues(t, i+1, a["attempt"])
		require.Equal(t, first["request_id"], a["request_id"])
		require.Equal(t, r.cluster(openAIHost), a["cluster"])
	}
	require.Equal(t, "7", lines["turn"][0]["turn"])
}

// TestIstioMiss takes the patches of the routes away, as a renamed route does: no provider gets a client's credential.
func TestIstioMiss(t *testing.T) {
	for _, form := range forms {
		t.Run(form.String(), func(t *testing.T) {
			r := startMesh(t, form, nil, func(b []byte) []byte { return without(t, b, "HTTP_ROUTE") })
			for _, path := range []string{"/v1/responses", "/v1/files"} {
				r.Do(t, "POST", path, "{}", "host: "+openAIHost, "authorization: Bearer sk-own", "x-api-key: sk-own", "api-key: sk-own", "x-goog-api-key: sk-own")
				requests := r.Requests()
				require.NotEmpty(t, requests)
				for name, values := range requests[0].Header {
					require.NotContains(t, strings.Join(values, " "), "sk-own", name)
				}
			}
			require.Empty(t, r.Attempts())
		})
	}
}

// TestIstioClientKeys shows who gets in at a gateway that asks for keys, and that it asks on the pools' routes only.
func TestIstioClientKeys(t *testing.T) {
	r := startMesh(t, mesh.Gateway, func(c *envoy.Config) {
		c.Clients = envoy.Clients{ByEnvoy: true, APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}}}
		c.Pools[1].BYOK = true
	}, nil)
	for _, tc := range []struct {
		name, host string
		headers    []string
		client     string // "" = refused
		own        string // the credential that Keyturn sees
	}{
		{"none", openAIHost, nil, "", ""},
		{"wrong", openAIHost, []string{"authorization: Bearer gw-eve"}, "", ""},
		{"bearer", openAIHost, []string{"authorization: Bearer gw-alice"}, "alice", ""},
		{"forged name", openAIHost, []string{"x-keyturn-key: gw-alice", "x-keyturn-client: eve"}, "alice", ""},
		{"own credential kept for byok", claudeHost, []string{"x-keyturn-key: gw-alice", "authorization: Bearer sk-own"}, "alice", "Bearer sk-own"},
		{"byok takes the gateway's key in its own header only", claudeHost, []string{"authorization: Bearer gw-alice"}, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, body := r.Do(t, "POST", "/v1/responses", "{}", append(tc.headers, "x-test: ok", "host: "+tc.host)...)
			attempts := r.Attempts()
			if tc.client == "" {
				require.Equal(t, http.StatusUnauthorized, res.StatusCode)
				require.Equal(t, "invalid_client_key", res.Header.Get("x-keyturn-error"))
				require.Contains(t, body, "x-keyturn-key")
				require.Empty(t, attempts)
				return
			}
			require.Equal(t, http.StatusOK, res.StatusCode)
			require.Equal(t, tc.client, attempts[0].Headers["x-keyturn-client"])
			require.Equal(t, tc.own, attempts[0].Headers["authorization"])
		})
	}
	res, err := r.Client.Get(r.URL)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, res.Body)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusNotFound, res.StatusCode, "a host that is none of the pools'")
	res2, body := r.Do(t, "POST", "/v1/responses", "{}", "host: "+plainHost, "authorization: Bearer own", "x-test: ok")
	require.Equal(t, http.StatusOK, res2.StatusCode)
	require.Equal(t, "Bearer own /v1/responses", body)
}
