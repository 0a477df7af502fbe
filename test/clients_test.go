package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// The keys that the gateway has given to its clients.
const (
	teamKey   = "kt-team-0123456789-abcdef"
	nobodyKey = "kt-nobody-0123456789-abcdef" // has no name
)

// clientPools are a pool for each dialect, and one that lets clients bring their own keys.
var clientPools = []gateway.Pool{
	{Keys: []string{"openai-key-0", "openai-key-1"}},
	{Provider: "anthropic", Keys: []string{"anthropic-key-0", "anthropic-key-1"}},
	{Name: "own", Keys: []string{"own-pool-key"}, Settings: map[string]any{"byok": map[string]any{"allow": map[string]any{"placeholders": []string{"dummy"}}}}},
}

// admission is a request, and whether the gateway lets it in.
type admission struct {
	name    string
	path    string
	headers []string
	key     string // that the provider sees; "": 401, and the provider sees nothing
	client  string // in the access log
}

func startForClients(t *testing.T, clients map[string]any, attach string, files map[string]string, secrets ...string) *gateway.Gateway {
	gw := gateway.Start(t, gateway.Config{Pools: clientPools, Envoy: map[string]any{"clients": clients, "attach": attach}, Files: files, Secrets: secrets})
	gw.Provider.Default(good)
	gw.Provider.Key("openai-key-0", scripted.RateLimited(time.Minute)).Key("openai-key-1", good)
	gw.Provider.Key("anthropic-key-0", scripted.Unauthorized()).Key("anthropic-key-1", good)
	return gw
}

// admit runs the cases one after another, then compares the access log.
func admit(t *testing.T, gw *gateway.Gateway, cases []admission, secrets ...string) {
	for _, tc := range cases {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stream=%t", tc.name, stream), func(t *testing.T) {
				gw.Reset(t)
				resp := gw.Post(t, tc.path, fmt.Sprintf(`{"model":"m","stream":%t}`, stream), tc.headers...)
				for _, q := range gw.Provider.Requests() {
					for name, values := range q.Header {
						require.NotRegexp(t, "^X-Keyturn-", name)
						for _, s := range secrets {
							require.NotContains(t, strings.Join(values, " "), s, name)
						}
					}
				}
				if tc.key != "" {
					require.Equal(t, http.StatusOK, resp.Status, resp.Body)
					require.Equal(t, said, textOf(t, resp.Body))
					keys := gw.Provider.Keys()
					require.Equal(t, tc.key, keys[len(keys)-1])
					return
				}
				require.Zero(t, gw.Provider.Count())
				require.Equal(t, http.StatusUnauthorized, resp.Status)
				require.Equal(t, "invalid_client_key", resp.Header.Get("X-Keyturn-Error"))
				require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
				messages := strings.HasSuffix(tc.path, "/messages")
				typ, code, message := problemOf(t, resp.Body, messages)
				if messages {
					require.Equal(t, "authentication_error", typ)
				} else {
					require.Equal(t, "invalid_client_key", code)
				}
				require.Contains(t, message, "x-keyturn-key", "the remedy")
			})
		}
	}
	lines := gw.AccessLog(t, 2*len(cases))
	for i, line := range lines {
		tc := cases[i/2]
		if tc.client == "" {
			require.NotContains(t, line, "client", tc.name)
			continue
		}
		require.Equal(t, tc.client, line["client"], tc.name)
	}
	gw.EnvoyAdmin(t, "/config_dump")
}

func TestClientsWithAPIKeys(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"keyturn", "envoy"} {
		for _, attach := range []string{"listener", "route"} {
			t.Run(by+", "+attach, func(t *testing.T) {
				t.Parallel()
				clientsWithAPIKeys(t, by, attach)
			})
		}
	}
}

func clientsWithAPIKeys(t *testing.T, by, attach string) {
	gw := startForClients(t, map[string]any{"api_keys_file": "clients.keys", "checked_by": by}, attach,
		map[string]string{"clients.keys": "# who may come\nteam:" + teamKey + "\n" + nobodyKey + "\n"}, teamKey, nobodyKey, ownKey)
	admit(t, gw, []admission{
		{name: "no key, responses", path: "/v1/responses"},
		{name: "no key, chat", path: "/v1/chat/completions"},
		{name: "no key, messages", path: "/v1/messages"},
		{name: "no key, below the pool", path: "/anthropic/v1/messages"},
		{name: "a wrong key", path: "/v1/responses", headers: []string{"Authorization", "Bearer " + clientKey}},
		{name: "half a key", path: "/v1/messages", headers: []string{"X-Api-Key", teamKey[:len(teamKey)-1]}},
		{name: "a pool's key", path: "/v1/responses", headers: []string{"Authorization", "Bearer openai-key-1"}},
		{name: "the name alone", path: "/v1/responses", headers: []string{"X-Keyturn-Client", "team"}},
		{name: "bearer", path: "/v1/responses", headers: []string{"Authorization", "Bearer " + teamKey}, key: "openai-key-1", client: "team"},
		{name: "x-api-key", path: "/v1/messages", headers: []string{"X-Api-Key", teamKey}, key: "anthropic-key-1", client: "team"},
		{name: "bearer for Anthropic's", path: "/v1/messages", headers: []string{"Authorization", "Bearer " + teamKey}, key: "anthropic-key-1", client: "team"},
		{name: "api-key", path: "/v1/chat/completions", headers: []string{"Api-Key", teamKey}, key: "openai-key-1", client: "team"},
		{name: "x-keyturn-key", path: "/v1/responses", headers: []string{"X-Keyturn-Key", teamKey}, key: "openai-key-1", client: "team"},
		{name: "everywhere", path: "/v1/responses", headers: []string{"X-Keyturn-Key", teamKey, "Authorization", "Bearer " + teamKey, "X-Api-Key", teamKey}, key: "openai-key-1", client: "team"},
		{name: "another's name", path: "/v1/responses", headers: []string{"Authorization", "Bearer " + teamKey, "X-Keyturn-Client", "root"}, key: "openai-key-1", client: "team"},

		{name: "own key beside", path: "/own/v1/responses", headers: []string{"X-Keyturn-Key", teamKey, "Authorization", "Bearer " + ownKey}, key: ownKey, client: "team"},
		{name: "own key alone", path: "/own/v1/responses", headers: []string{"Authorization", "Bearer " + ownKey}},
		{name: "placeholder beside", path: "/own/v1/responses", headers: []string{"X-Keyturn-Key", teamKey, "Authorization", "Bearer dummy"}, key: "own-pool-key", client: "team"},
		{name: "no own key", path: "/own/v1/responses", headers: []string{"X-Keyturn-Key", teamKey}, key: "own-pool-key", client: "team"},
		{name: "the gateway's key in the own key's place", path: "/own/v1/responses", headers: []string{"Authorization", "Bearer " + teamKey}},
		{name: "own key where it is not allowed", path: "/openai/v1/responses", headers: []string{"X-Keyturn-Key", teamKey, "Authorization", "Bearer " + ownKey}, key: "openai-key-1", client: "team"},
		{name: "the gateway's key as own key", path: "/own/v1/responses", headers: []string{"X-Keyturn-Key", teamKey, "Authorization", "Bearer " + teamKey}, key: "own-pool-key", client: "team"},
		{name: "the gateway's key beside the own key", path: "/own/v1/responses", headers: []string{"X-Keyturn-Key", teamKey, "Authorization", "Bearer " + ownKey, "X-Api-Key", teamKey}, key: ownKey, client: "team"},
	}, teamKey, nobodyKey)
}

func TestClientsWithTokens(t *testing.T) {
	t.Parallel()
	issuer, other := newIssuer(t), newIssuer(t)
	gw := startForClients(t, map[string]any{"jwt": map[string]any{"issuer": "https://login.example.com/", "audiences": []string{"keyturn"}, "jwks_file": "jwks.json"}}, "listener",
		map[string]string{"jwks.json": issuer.keySet(t)})
	claims := func(change ...any) map[string]any {
		c := map[string]any{"iss": "https://login.example.com/", "aud": "keyturn", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
		for i := 0; i < len(change); i += 2 {
			c[change[i].(string)] = change[i+1]
		}
		return c
	}
	valid := issuer.sign(t, claims())
	unsigned := strings.Join(strings.Split(valid, ".")[:2], ".") + "."
	admit(t, gw, []admission{
		{name: "no token", path: "/v1/responses"},
		{name: "no token, messages", path: "/v1/messages"},
		{name: "no token at all", path: "/v1/chat/completions", headers: []string{"Authorization", "Bearer " + clientKey}},
		{name: "too old", path: "/v1/responses", headers: []string{"Authorization", "Bearer " + issuer.sign(t, claims("exp", time.Now().Add(-time.Hour).Unix()))}},
		{name: "of another issuer", path: "/v1/responses", headers: []string{"Authorization", "Bearer " + issuer.sign(t, claims("iss", "https://evil.example.com/"))}},
		{name: "signed by another", path: "/v1/messages", headers: []string{"X-Api-Key", other.sign(t, claims())}},
		{name: "not signed", path: "/v1/responses", headers: []string{"Authorization", "Bearer " + unsigned}},
		{name: "bearer", path: "/v1/responses", headers: []string{"Authorization", "Bearer " + valid}, key: "openai-key-1", client: "alice"},
		{name: "x-api-key", path: "/v1/messages", headers: []string{"X-Api-Key", valid}, key: "anthropic-key-1", client: "alice"},
		{name: "x-keyturn-key", path: "/v1/chat/completions", headers: []string{"X-Keyturn-Key", valid}, key: "openai-key-1", client: "alice"},
		{name: "own key beside", path: "/own/v1/responses", headers: []string{"X-Keyturn-Key", valid, "Authorization", "Bearer " + ownKey}, key: ownKey, client: "alice"},
		{name: "no own key", path: "/own/v1/responses", headers: []string{"Authorization", "Bearer " + valid}, key: "own-pool-key", client: "alice"},
	}, valid, strings.Split(valid, ".")[1])

	gw.Provider.Reset()
	resp := gw.Post(t, "/v1/responses", `{}`, "Authorization", "Bearer "+issuer.sign(t, claims("aud", "somebody else")))
	require.Equal(t, http.StatusForbidden, resp.Status, "a token for another service")
	_, code, _ := problemOf(t, resp.Body, false)
	require.Equal(t, "refused", code)
	require.Zero(t, gw.Provider.Count())
}

// TestClientsChangeWithoutAnotherEnvoy: Keyturn checks the clients' keys, so Envoy has none of them, and a reload changes them.
func TestClientsChangeWithoutAnotherEnvoy(t *testing.T) {
	t.Parallel()
	gw := startForClients(t, map[string]any{"api_keys_file": "clients.keys"}, "listener", map[string]string{"clients.keys": "team:" + teamKey + "\n"}, teamKey, nobodyKey)
	envoy, err := os.ReadFile(filepath.Join(gw.Dir, "envoy.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(envoy), "ext_authz")
	require.NotContains(t, string(envoy), teamKey)
	ask := func(key string) int {
		return gw.Post(t, "/v1/responses", `{"model":"m"}`, "Authorization", "bearer "+key).Status
	}
	require.Equal(t, http.StatusOK, ask(teamKey))
	require.Equal(t, http.StatusUnauthorized, ask(nobodyKey))
	file := filepath.Join(gw.Dir, "clients.keys")
	require.NoError(t, os.WriteFile(file+".new", []byte("other:"+nobodyKey+"\n"), 0o600))
	require.NoError(t, os.Rename(file+".new", file))
	gw.Eventually(t, "the new client is let in", func() bool { return ask(nobodyKey) == http.StatusOK })
	require.Equal(t, http.StatusUnauthorized, ask(teamKey))

	gw.KillProcessor(t)
	resp := gw.Post(t, "/v1/responses", `{"model":"m"}`, "Authorization", "Bearer "+nobodyKey)
	require.Equal(t, http.StatusServiceUnavailable, resp.Status, "nobody is let in whom nobody knows")
	require.Equal(t, "processor_unavailable", resp.Header.Get("X-Keyturn-Error"))
}

// issuer signs tokens with ES256 (RFC 7518, section 3.4).
type issuer struct{ key *ecdsa.PrivateKey }

func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return issuer{key}
}

// keySet is the issuer's public key as a JWKS (RFC 7517).
func (i issuer) keySet(t *testing.T) string {
	t.Helper()
	point, err := i.key.PublicKey.Bytes() // 4, x, y
	require.NoError(t, err)
	b, err := json.Marshal(map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "test", "x": encoded(point[1:33]), "y": encoded(point[33:]),
	}}})
	require.NoError(t, err)
	return string(b)
}

func (i issuer) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	b, err := json.Marshal(claims)
	require.NoError(t, err)
	text := encoded([]byte(`{"alg":"ES256","typ":"JWT","kid":"test"}`)) + "." + encoded(b)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	require.NoError(t, err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + encoded(signature)
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
