package envoy_test

import (
	"bufio"
	"encoding/json"
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
	"github.com/stretchr/testify/require"
)

// meshRig is a rig whose Envoy has what a mesh makes of rendered resources, beside two hosts that are none of Keyturn's:
// plain.example has the provider behind it too, dead.example nothing.
type meshRig struct {
	*rig
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
func startMesh(t *testing.T, form envoy.Form, alter func(*envoy.Config), change func([]byte) []byte) *meshRig {
	t.Helper()
	r := &meshRig{rig: newRig(t)}
	upstream, err := url.Parse(r.provider.URL)
	require.NoError(t, err)
	provider := netip.MustParseAddrPort(upstream.Host)
	r.port = provider.Port()
	mesh := envoy.Istio{Form: form, Namespace: "llm", SocketMode: 0o600}
	if form != envoy.GatewayAPI {
		mesh.Selector = map[string]string{"app": "a"}
	}
	cfg := envoy.Config{
		Processor: "unix:" + r.folder + "/extproc.sock", Loopback: "unix:" + r.folder + "/loopback.sock", Clients: envoy.Clients{Open: true}, MaxRequestBytes: 1 << 20,
	}
	for _, p := range []envoy.Pool{
		{Name: "openai", Provider: "openai", Upstream: &url.URL{Host: openAIHost}},
		{Name: "claude", Provider: "anthropic", Upstream: &url.URL{Host: claudeHost, Path: "/base"}},
		{Name: "gone", Provider: "openai", Upstream: &url.URL{Host: goneHost}},
	} {
		p.Clusters = []string{r.cluster(p.Upstream.Host)}
		p.Upstream.Scheme, p.Keys = "http", 3
		p.Upstream.Host = fmt.Sprintf("%s:%d", p.Upstream.Host, r.port)
		cfg.Pools = append(cfg.Pools, p)
	}
	if alter != nil {
		alter(&cfg)
	}
	out, err := envoy.RenderIstio(cfg, mesh)
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
			Name: host, Domains: []string{host}, Routes: []*routev3.Route{envoyRoute("default", r.cluster(host), nil)},
		}})
		s.clusters = append(s.clusters, s.cluster(r.cluster(host), host))
	}
	r.boot(t, s.bootstrap(out))
	r.findListener(t)
	return r
}

func (r *meshRig) cluster(host string) string { return fmt.Sprintf("outbound|%d||%s", r.port, host) }

// forms are all of them.
var forms = []envoy.Form{envoy.Gateway, envoy.Sidecar, envoy.GatewayAPI}

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
	res, body := r.do(t, "POST", "/v1/responses?q=1", "{}", "host: "+openAIHost, "authorization: Bearer client", "x-api-key: client",
		"x-keyturn-turn: 9", "x-keyturn-cluster: x", "x-keyturn-client: eve", "session_id: kept")
	require.Equal(t, "Bearer k2 /v1/responses", body)
	require.Empty(t, res.Header.Values("x-keyturn-retry"))
	attempts := r.attempts()
	require.Len(t, attempts, 3)
	for i, a := range attempts {
		require.Equal(t, i, a.tried)
		require.Equal(t, r.cluster(openAIHost), a.cluster)
		require.Equal(t, "buffered", a.word)
		require.Empty(t, a.turn, "a client forged it")
		require.Empty(t, a.client, "a client forged it")
		require.NotEmpty(t, a.requestID)
		require.Equal(t, openAIHost, a.headers[":authority"])
	}
	require.NotContains(t, attempts[0].headers, "authorization", "the route removes it")
	requests := r.requests()
	require.Len(t, requests, 3)
	for _, q := range requests {
		require.Equal(t, "kept", q.Header.Get("session_id"))
		require.Empty(t, q.Header.Get("x-api-key"))
		require.Equal(t, openAIHost, q.Host)
	}
}

func (r *meshRig) exhausted(t *testing.T) {
	res, body := r.do(t, "POST", "/v1/messages", "{}", "host: "+claudeHost, "x-test: all")
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	require.Equal(t, `{"by":"keyturn"}`, body, "Keyturn's own error is not reshaped")
	require.Equal(t, "exhausted", res.Header.Get("x-keyturn-error"))
	require.Len(t, r.requests(), 3)
	require.Len(t, r.attempts(), 3)
}

func (r *meshRig) routes(t *testing.T) {
	for _, tc := range []struct{ method, path, word string }{
		{"POST", "/v1/chat/completions", "buffered"},
		{"GET", "/v1/models/org%2Fmodel", "buffered"},
		{"POST", "/base/v1/messages/count_tokens?beta=true", "buffered"},
		{"POST", "/v1/files?x=1", "streamed"},
		{"GET", "/v1/files", "buffered"},
		{"POST", "/base/openai/v1/files", "streamed"},
		{"POST", "/upload/v1beta/files", "streamed"},
		{"POST", "/openai/files?api-version=1", "streamed"},
		{"POST", "/v1/uploads/upload_1/parts", "streamed"},
		{"POST", "/v1/uploads/upload_1/complete", "buffered"},
		{"POST", "/v1/containers/c_1/files", "streamed"},
		{"POST", "/v1/vector_stores/vs_1/files", "buffered"},
		{"POST", "/openai/deployments/gpt-4.1/audio/transcriptions?api-version=1", "streamed"},
		{"POST", "/v1/audio/translations", "streamed"},
		{"POST", "/v1/audio/speech", "buffered"},
		{"POST", "/v1/images/edits", "streamed"},
		{"POST", "/v1/images/variations", "streamed"},
		{"POST", "/v1/images/generations?x=/v1/files", "buffered"},
		{"DELETE", "/v1/responses/resp_1", "buffered"},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			res, _ := r.do(t, tc.method, tc.path, "", "host: "+openAIHost, "x-test: ok", "authorization: Bearer client", "set-cookie: a")
			require.Equal(t, http.StatusOK, res.StatusCode)
			attempts, requests := r.attempts(), r.requests()
			require.Len(t, attempts, 1)
			require.Equal(t, tc.word, attempts[0].word)
			require.Len(t, requests, 1)
			require.Equal(t, tc.path, requests[0].URL.String())
			require.Equal(t, "Bearer k0", requests[0].Header.Get("authorization"))
		})
	}
	t.Run("an upload of any size, without failover", func(t *testing.T) {
		res, _ := r.do(t, "POST", "/v1/files", strings.Repeat("x", 40<<20), "host: "+openAIHost, "x-test: ok")
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, int64(40<<20), r.provider.bytes)
		for _, test := range []string{"", "503"} { // Istio's own policy would repeat a 503
			r.requests()
			r.do(t, "POST", "/v1/files", "x", "host: "+openAIHost, "x-test: "+test)
			require.Len(t, r.requests(), 1)
		}
		r.attempts()
	})
}

func (r *meshRig) websocket(t *testing.T) {
	const ask = "GET %s HTTP/1.1\r\nhost: %s\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\nx-test: %s\r\nauthorization: Bearer client\r\n\r\nhello\n"
	for _, tc := range []struct{ name, host, path, test, want, key string }{
		{"accepted", openAIHost, "/v1/realtime?model=m", "ok", "101", "Bearer k0"},
		{"refused by the provider", openAIHost, "/v1/responses", "refuse", "403", "Bearer k0"},
		{"another path", openAIHost, "/v1/chat/completions", "ok", "403", ""},
		{"another host", plainHost, "/v1/chat/completions", "ok", "101", "Bearer client"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.url, "http://"))
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			_, err = fmt.Fprintf(conn, ask, tc.path, tc.host, tc.test)
			require.NoError(t, err)
			reader := bufio.NewReader(conn)
			res, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			defer func() { _ = res.Body.Close() }()
			require.Equal(t, tc.want, res.Status[:3])
			requests := r.requests()
			if tc.key == "" {
				require.Empty(t, requests)
			} else {
				require.Equal(t, tc.key, requests[0].Header.Get("authorization"))
			}
			if tc.want == "101" {
				line, err := reader.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, "echo hello\n", line)
			}
		})
	}
	r.attempts()
}

// ownErrors are answers that Envoy makes itself: in the dialect of the path. The provider's are left alone.
func (r *meshRig) ownErrors(t *testing.T) {
	large := strings.Repeat("x", 1<<20+1)
	for _, tc := range []struct {
		name, host, path, body, header string
		status                         int
		code, anthropic                string // anthropic: error.type; "" = OpenAI's shape
	}{
		{"too large", openAIHost, "/v1/responses", large, "", 413, "request_too_large", ""},
		{"too large", claudeHost, "/v1/messages?beta=true", large, "", 413, "request_too_large", "request_too_large"},
		{"processor gone", openAIHost, "/v1/responses", "", "x-keyturn-test: die", 503, "processor_unavailable", ""},
		{"processor gone, upload", openAIHost, "/v1/files", "", "x-keyturn-test: die", 503, "processor_unavailable", ""},
		{"provider gone", goneHost, "/v1/responses", "", "", 503, "provider_unreachable", ""},
		{"provider gone", goneHost, "/v1/messages", "", "", 503, "provider_unreachable", "api_error"},
	} {
		t.Run(tc.name+" "+tc.path, func(t *testing.T) {
			res, body := r.do(t, "POST", tc.path, tc.body, "host: "+tc.host, tc.header)
			require.Equal(t, tc.status, res.StatusCode)
			require.Equal(t, "application/json", res.Header.Get("content-type"))
			require.Equal(t, tc.code, res.Header.Get("x-keyturn-error"))
			var got struct {
				Type  string
				Error struct{ Type, Code, Message string }
			}
			require.NoError(t, json.Unmarshal([]byte(body), &got), body)
			require.NotEmpty(t, got.Error.Message)
			if tc.anthropic != "" {
				require.Equal(t, "error", got.Type)
				require.Equal(t, tc.anthropic, got.Error.Type)
			} else {
				require.Equal(t, tc.code, got.Error.Code)
			}
		})
	}
	res, body := r.do(t, "POST", "/v1/responses", "", "host: "+openAIHost, "x-test: 503")
	require.Equal(t, 503, res.StatusCode)
	require.Equal(t, "the provider's own", body)
	r.attempts()
	r.requests()
}

// otherHosts share the listener, and nothing of theirs changes.
func (r *meshRig) otherHosts(t *testing.T) {
	res, body := r.do(t, "POST", "/v1/responses", strings.Repeat("x", 2<<20), "host: "+plainHost, "authorization: Bearer own", "x-api-key: own", "x-test: ok")
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, "Bearer own /v1/responses", body)
	require.Equal(t, "own", r.requests()[0].Header.Get("x-api-key"))
	res, _ = r.do(t, "POST", "/v1/responses", "{}", "host: "+plainHost, "authorization: Bearer own", "x-test: all")
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	require.Len(t, r.requests(), 1, "not repeated")
	for _, host := range []string{deadHost, "nobody.example"} {
		res, body = r.do(t, "POST", "/v1/responses", "{}", "host: "+host)
		require.Empty(t, res.Header.Get("x-keyturn-error"))
		require.NotContains(t, body, "{")
	}
	require.Empty(t, r.attempts(), "the processor hears of none of them")
}

// loopback is a request of Keyturn's own: it names its cluster, and its attempts know the turn.
func (r *meshRig) loopback(t *testing.T) {
	res, body := r.turn(t, r.cluster(claudeHost), "/base/v1/messages", "{}")
	require.Equal(t, "Bearer k2 /base/v1/messages", body)
	require.Equal(t, "k2", res.Header.Get("x-keyturn-used-name"))
	attempts := r.attempts()
	require.Len(t, attempts, 3)
	for _, a := range attempts {
		require.Equal(t, "7", a.turn)
		require.Equal(t, r.cluster(claudeHost), a.cluster)
		require.Equal(t, "buffered", a.word)
	}
	require.Equal(t, "provider.example", r.requests()[0].Host)
}

func (r *meshRig) accessLog(t *testing.T, form envoy.Form) {
	require.NoError(t, r.proc.Stop(bounded(t)), "Envoy keeps some lines until it ends")
	route := "keyturn-openai"
	if form == envoy.GatewayAPI {
		route = "llm.keyturn-openai.2"
	}
	var lines []map[string]any
	for line := range strings.Lines(r.log.String()) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		require.NotEqual(t, "default", fields["route"], "of another host")
		lines = append(lines, fields)
	}
	require.NotEmpty(t, lines)
	first := lines[0]
	require.Equal(t, route, first["route"])
	require.EqualValues(t, 3, first["attempts"])
	require.Equal(t, "k2", first["key"])
	require.Equal(t, r.cluster(openAIHost), first["pool"], "what the processor of this test calls it")
	require.NotEmpty(t, first["request_id"])
	require.Equal(t, "7", lines[len(lines)-1]["turn"])
}

// TestIstioMiss takes the patches of the routes away, as a renamed route does: no provider gets a client's credential.
func TestIstioMiss(t *testing.T) {
	for _, form := range forms {
		t.Run(form.String(), func(t *testing.T) {
			r := startMesh(t, form, nil, func(b []byte) []byte { return without(t, b, "HTTP_ROUTE") })
			for _, path := range []string{"/v1/responses", "/v1/files"} {
				r.do(t, "POST", path, "{}", "host: "+openAIHost, "authorization: Bearer sk-own", "x-api-key: sk-own", "api-key: sk-own", "x-goog-api-key: sk-own")
				requests := r.requests()
				require.NotEmpty(t, requests)
				for name, values := range requests[0].Header {
					require.NotContains(t, strings.Join(values, " "), "sk-own", name)
				}
			}
			require.Empty(t, r.attempts())
		})
	}
}

// TestIstioClientKeys shows who gets in at a gateway that asks for keys, and that it asks on the pools' routes only.
func TestIstioClientKeys(t *testing.T) {
	r := startMesh(t, envoy.Gateway, func(c *envoy.Config) {
		c.Clients = envoy.Clients{APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}}}
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
			res, body := r.do(t, "POST", "/v1/responses", "{}", append(tc.headers, "x-test: ok", "host: "+tc.host)...)
			attempts := r.attempts()
			if tc.client == "" {
				require.Equal(t, http.StatusUnauthorized, res.StatusCode)
				require.Equal(t, "invalid_client_key", res.Header.Get("x-keyturn-error"))
				require.Contains(t, body, "x-keyturn-key")
				require.Empty(t, attempts)
				return
			}
			require.Equal(t, http.StatusOK, res.StatusCode)
			require.Equal(t, tc.client, attempts[0].client)
			require.Equal(t, tc.own, attempts[0].headers["authorization"])
		})
	}
	res, err := r.client.Get(r.url)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, res.Body)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusNotFound, res.StatusCode, "a host that is none of the pools'")
	res2, body := r.do(t, "POST", "/v1/responses", "{}", "host: "+plainHost, "authorization: Bearer own", "x-test: ok")
	require.Equal(t, http.StatusOK, res2.StatusCode)
	require.Equal(t, "Bearer own /v1/responses", body)
}
