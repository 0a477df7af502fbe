package envoy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/stretchr/testify/require"
)

// TestClientKeys shows who gets in with a key of the gateway's, and what is left of the credentials.
func TestClientKeys(t *testing.T) {
	for _, attach := range []envoy.Attach{envoy.Listener, envoy.Route} {
		t.Run(attach.String(), func(t *testing.T) {
			r := startRig(t, func(c *envoy.Config) {
				c.Attach = attach
				c.Clients.ByEnvoy = true
				c.Clients.APIKeys = []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}, {Name: "bob", Secret: "gw-bob"}}
				c.Pools[1].BYOK = true
			})
			r.clientKeys(t)
		})
	}
}

func (r *rig) clientKeys(t *testing.T) {
	for _, tc := range []struct {
		name    string
		path    string
		headers []string
		client  string // "" = refused
		own     string // the credential that Keyturn sees
	}{
		{"none", "/v1/responses", nil, "", ""},
		{"wrong", "/v1/responses", []string{"authorization: Bearer gw-eve"}, "", ""},
		{"bearer", "/v1/responses", []string{"authorization: Bearer gw-alice"}, "alice", ""},
		{"x-api-key", "/v1/responses", []string{"x-api-key: gw-bob"}, "bob", ""},
		{"api-key", "/v1/responses", []string{"api-key: gw-bob"}, "bob", ""},
		{"own header first", "/v1/responses", []string{"x-keyturn-key: gw-bob", "authorization: Bearer sk-own"}, "bob", ""},
		{"own credential kept for byok", "/anthropic/v1/messages", []string{"x-keyturn-key: gw-bob", "authorization: Bearer sk-own"}, "bob", "Bearer sk-own"},
		{"own credential elsewhere for byok", "/anthropic/v1/messages", []string{"x-keyturn-key: gw-bob", "x-api-key: sk-own"}, "bob", ""},
		{"byok takes the gateway's key in its own header only", "/anthropic/v1/messages", []string{"authorization: Bearer gw-alice"}, "", ""},
		{"lower-case bearer", "/v1/responses", []string{"authorization: bearer gw-alice"}, "alice", ""},
		{"a page's websocket", "/v1/realtime", []string{"sec-websocket-protocol: realtime, openai-insecure-api-key.gw-alice, openai-beta.realtime-v1"}, "alice", ""},
		{"a page's websocket, the gateway's item", "/v1/realtime", []string{"sec-websocket-protocol: x-keyturn-key.gw-bob,realtime"}, "bob", ""},
		{"a page's websocket, both items", "/v1/realtime", []string{"sec-websocket-protocol: x-keyturn-key.gw-bob, openai-insecure-api-key.sk-own"}, "bob", ""},
		{"a page's websocket, wrong", "/v1/realtime", []string{"sec-websocket-protocol: realtime, openai-insecure-api-key.gw-eve"}, "", ""},
		{"a page's websocket, none", "/v1/realtime", []string{"sec-websocket-protocol: realtime"}, "", ""},
		{"a websocket with a header", "/v1/realtime", []string{"sec-websocket-protocol: realtime", "authorization: Bearer gw-alice"}, "alice", ""},
		{"a header before a page's", "/v1/realtime", []string{"sec-websocket-protocol: realtime, openai-insecure-api-key.gw-eve", "x-keyturn-key: gw-alice"}, "alice", ""},
		{"a page's websocket, byok", "/anthropic/v1/realtime", []string{"sec-websocket-protocol: openai-insecure-api-key.sk-own, x-keyturn-key.gw-bob"}, "bob", ""},
		{"a page's websocket, byok, its own alone", "/anthropic/v1/realtime", []string{"sec-websocket-protocol: realtime, openai-insecure-api-key.gw-bob"}, "", ""},
		{"forged name", "/v1/responses", []string{"x-keyturn-key: gw-bob", "x-keyturn-client: alice", "X-Keyturn-Client: eve"}, "bob", ""},
		{"forged name, byok", "/anthropic/v1/messages", []string{"x-keyturn-key: gw-bob", "x-keyturn-client: alice", "X-Keyturn-Client: eve"}, "bob", ""},
		{"forged name and no key", "/v1/responses", []string{"x-keyturn-client: mallory"}, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, body := r.Do(t, "POST", tc.path, "{}", append(tc.headers, "x-test: ok")...)
			attempts, requests := r.Attempts(), r.Requests()
			if tc.client == "" {
				require.Equal(t, http.StatusUnauthorized, res.StatusCode)
				envoytest.RequireError(t, res, body, "invalid_client_key", "authentication_error")
				require.Contains(t, body, "x-keyturn-key")
				require.Empty(t, attempts)
				return
			}
			require.Equal(t, http.StatusOK, res.StatusCode)
			require.Equal(t, tc.client, attempts[0].Headers["x-keyturn-client"])
			require.Equal(t, tc.own, attempts[0].Headers["authorization"])
			require.Equal(t, "1", attempts[0].Headers["x-keyturn-asked"])
			for _, name := range []string{"x-keyturn-key", "x-keyturn-client"} {
				require.Empty(t, requests[0].Header.Get(name), name)
			}
			if !strings.HasPrefix(tc.path, "/anthropic") {
				for _, name := range []string{"x-api-key", "api-key"} {
					require.Empty(t, requests[0].Header.Get(name), name)
				}
			}
		})
	}
	require.NoError(t, r.Process.Stop(envoytest.Bounded(t)))
	clients := map[string]bool{}
	for of, lines := range envoytest.LogLines(t, r.Log.String()) {
		for _, line := range lines {
			name, _ := line["client"].(string)
			clients[of+" "+name] = true
		}
	}
	require.Equal(t, map[string]bool{
		"request ": true, "request alice": true, "request bob": true, "attempt alice": true, "attempt bob": true,
	}, clients, "refused requests too have no name that a client chose")
	require.NotContains(t, r.Log.String(), "gw-")
}

// signer makes tokens.
type signer struct{ key *ecdsa.PrivateKey }

func newSigner(t *testing.T) signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return signer{k}
}

func encoded(v any) string {
	b, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b)
}

// keySet is the signer's public key as RFC 7517 has it.
func (s signer) keySet(t *testing.T) []byte {
	pub, err := s.key.PublicKey.Bytes() // 4, x, y
	require.NoError(t, err)
	doc, err := json.Marshal(map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1",
		"x": base64.RawURLEncoding.EncodeToString(pub[1:33]), "y": base64.RawURLEncoding.EncodeToString(pub[33:]),
	}}})
	require.NoError(t, err)
	return doc
}

// token signs claims as RFC 7515 has it.
func (s signer) token(t *testing.T, claims map[string]any) string {
	if _, has := claims["exp"]; !has {
		claims["exp"] = 4102444800 // 2100
	}
	if claims["exp"] == nil {
		delete(claims, "exp")
	}
	text := encoded(map[string]any{"alg": "ES256", "kid": "1", "typ": "JWT"}) + "." + encoded(claims)
	sum := sha256.Sum256([]byte(text))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	require.NoError(t, err)
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	v.FillBytes(sig[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// TestClientTokens is TestClientKeys with signed tokens, whose key set is a file or is fetched.
func TestClientTokens(t *testing.T) {
	s := newSigner(t)
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(s.keySet(t)) }))
	defer served.Close()
	file := filepath.Join(t.TempDir(), "jwks.json")
	require.NoError(t, os.WriteFile(file, s.keySet(t), 0o600))

	good := s.token(t, map[string]any{"iss": "https://issuer", "aud": "keyturn", "sub": "alice"})
	nameless := s.token(t, map[string]any{"iss": "https://issuer", "aud": "keyturn"})
	endless := s.token(t, map[string]any{"iss": "https://issuer", "aud": "keyturn", "sub": "alice", "exp": nil})
	elsewhere := s.token(t, map[string]any{"iss": "https://issuer", "aud": "other", "sub": "alice"})
	foreign := newSigner(t).token(t, map[string]any{"iss": "https://issuer", "aud": "keyturn", "sub": "alice"})
	for _, source := range []struct {
		name   string
		attach envoy.Attach
		jwt    envoy.JWT
	}{
		{"file", envoy.Listener, envoy.JWT{Issuer: "https://issuer", Audiences: []string{"keyturn"}, JWKSFile: file}},
		{"url", envoy.Route, envoy.JWT{Issuer: "https://issuer", Audiences: []string{"keyturn"}, JWKSURL: served.URL + "/keys", WithoutExp: true}},
	} {
		t.Run(source.name, func(t *testing.T) {
			r := startRig(t, func(c *envoy.Config) {
				c.Attach = source.attach
				c.Clients.JWT = &source.jwt
				c.Pools[1].BYOK = true
			})
			for _, tc := range []struct {
				name    string
				path    string
				headers []string
				status  int
				client  string
				own     string
			}{
				{"none", "/v1/responses", nil, 401, "", ""},
				{"not a token", "/v1/responses", []string{"authorization: Bearer sk-own"}, 401, "", ""},
				{"another's signature", "/v1/responses", []string{"authorization: Bearer " + foreign}, 401, "", ""},
				{"another audience", "/v1/responses", []string{"authorization: Bearer " + elsewhere}, 403, "", ""},
				{"bearer", "/v1/responses", []string{"authorization: Bearer " + good}, 200, "alice", ""},
				{"lower-case bearer", "/v1/responses", []string{"authorization: bearer " + good}, 200, "alice", ""},
				{"a page's websocket", "/v1/realtime", []string{"sec-websocket-protocol: realtime, openai-insecure-api-key." + good}, 200, "alice", ""},
				{"never ends", "/v1/responses", []string{"authorization: Bearer " + endless}, map[bool]int{false: 401, true: 200}[source.jwt.WithoutExp], "alice", ""},
				{"x-api-key", "/v1/messages", []string{"x-api-key: " + good}, 200, "alice", ""},
				{"own header, byok", "/anthropic/v1/messages", []string{"x-keyturn-key: " + good, "authorization: Bearer sk-own"}, 200, "alice", "Bearer sk-own"},
				{"token is not a byok credential", "/anthropic/v1/messages", []string{"authorization: Bearer " + good}, 200, "alice", ""},
				{"forged name", "/v1/responses", []string{"x-keyturn-key: " + good, "x-keyturn-client: eve", "X-Keyturn-Client: bob"}, 200, "alice", ""},
				{"forged name, byok", "/anthropic/v1/messages", []string{"x-keyturn-key: " + good, "x-keyturn-client: eve"}, 200, "alice", ""},
				{"forged name of a nameless", "/v1/responses", []string{"x-keyturn-key: " + nameless, "x-keyturn-client: eve"}, 200, "", ""},
			} {
				t.Run(tc.name, func(t *testing.T) {
					res, body := r.Do(t, "POST", tc.path, "{}", append(tc.headers, "x-test: ok")...)
					attempts, requests := r.Attempts(), r.Requests()
					require.Equal(t, tc.status, res.StatusCode, body)
					if tc.status != 200 {
						require.NotEmpty(t, res.Header.Get("x-keyturn-error"))
						require.Empty(t, attempts)
						return
					}
					require.Equal(t, tc.client, attempts[0].Headers["x-keyturn-client"])
					require.Equal(t, tc.own, attempts[0].Headers["authorization"])
					for _, name := range []string{"x-keyturn-key", "x-keyturn-client", "x-api-key"} {
						require.Empty(t, requests[0].Header.Get(name), name)
					}
				})
			}
		})
	}
}
