package admin_test

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

func TestToken(t *testing.T) {
	const token = "operator-token"
	for _, tc := range []struct {
		name, path, authorization string
		status                    int
		challenge                 string
	}{
		{"right", "/api/v1/pools", "Bearer operator-token", 200, ""},
		{"the scheme in lower case", "/api/v1/pools", "bearer operator-token", 200, ""},
		{"metrics", "/metrics", "Bearer operator-token", 200, ""},
		{"none", "/api/v1/pools", "", 401, `Bearer realm="keyturn"`},
		{"none, metrics", "/metrics", "", 401, `Bearer realm="keyturn"`},
		{"none, unknown path", "/what", "", 401, `Bearer realm="keyturn"`},
		{"wrong", "/api/v1/pools", "Bearer operator-tokem", 401, `Bearer realm="keyturn", error="invalid_token"`},
		{"a beginning", "/api/v1/pools", "Bearer operator", 401, `Bearer realm="keyturn", error="invalid_token"`},
		{"empty", "/api/v1/pools", "Bearer ", 401, `Bearer realm="keyturn", error="invalid_token"`},
		{"another scheme", "/api/v1/pools", "Basic operator-token", 401, `Bearer realm="keyturn", error="invalid_token"`},
		{"no scheme", "/api/v1/pools", "operator-token", 401, `Bearer realm="keyturn", error="invalid_token"`},
		{"probe without", "/healthz", "", 200, ""},
		{"probe with a wrong one", "/readyz", "Bearer nonsense", 200, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			f.Token = token
			w := f.do(t, "GET", tc.path, func(r *http.Request) {
				r.Host = "keyturn.internal:9420" // with a token any name will do
				if tc.authorization != "" {
					r.Header.Set("Authorization", tc.authorization)
				}
			})
			require.Equal(t, tc.status, w.Code, w.Body)
			require.Equal(t, tc.challenge, w.Header().Get("WWW-Authenticate"))
			if tc.status == 401 {
				code, message := errorOf(t, w)
				require.Equal(t, "unauthorized", code)
				require.Contains(t, message, "Authorization: Bearer")
				require.NotContains(t, w.Body.String(), token)
			}
		})
	}
}

func TestTokenGuardsSwitches(t *testing.T) {
	f := newFixture(t)
	f.Token = "operator-token"
	require.Equal(t, 401, f.do(t, "POST", "/api/v1/pools/openai/keys/a/disable", nil).Code)
	require.Equal(t, keypool.Valid, f.key(t, "a").State())
	require.Empty(t, f.log.String())
}

func TestWithoutATokenOnlyThisMachineIsServed(t *testing.T) {
	overUnix := func(r *http.Request) *http.Request {
		return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/admin.sock", Net: "unix"}))
	}
	for _, tc := range []struct {
		host   string
		unix   bool
		status int
	}{
		{"localhost", false, 200},
		{"LocalHost:9420", false, 200},
		{"127.0.0.1", false, 200},
		{"127.0.0.1:9420", false, 200},
		{"127.1.2.3:9420", false, 200},
		{"[::1]", false, 200},
		{"[::1]:9420", false, 200},
		{"[::ffff:127.0.0.1]:9420", false, 200},
		{"", false, 200},
		{"evil.example:9420", false, 403},
		{"localhost.evil.example", false, 403},
		{"127.0.0.1.evil.example", false, 403},
		{"evil-localhost", false, 403},
		{"10.0.0.7:9420", false, 403},
		{"0.0.0.0:9420", false, 403},
		{"[fe80::1]:9420", false, 403},
		{"evil.example", true, 200},
		{"keyturn", true, 200},
		{"", true, 200},
	} {
		name := tc.host
		if tc.unix {
			name += " over a socket"
		}
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/healthz", "/readyz", "/metrics", "/api/v1/pools"} {
				w := newFixture(t).do(t, "GET", path, func(r *http.Request) {
					r.Host = tc.host
					if tc.unix {
						*r = *overUnix(r)
					}
				})
				require.Equal(t, tc.status, w.Code, w.Body)
				if tc.status == 403 {
					code, message := errorOf(t, w)
					require.Equal(t, "host_refused", code)
					require.Contains(t, message, "set admin.token")
				}
			}
		})
	}
}

func TestPagesOfOtherOriginsCannotSwitch(t *testing.T) {
	for _, tc := range []struct {
		name, origin, site string
		status             int
	}{
		{"curl", "", "", 200},
		{"a page of this endpoint", "http://localhost:9420", "same-origin", 200},
		{"another site", "https://evil.example", "cross-site", 403},
		{"another site, old browser", "https://evil.example", "", 403},
		{"another port", "http://localhost:3000", "", 403},
		{"another name of this machine", "http://127.0.0.1:9420", "", 403},
		{"a sandboxed page", "null", "", 403},
		{"no origin but another site", "", "cross-site", 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			w := f.do(t, "POST", "/api/v1/pools/openai/keys/a/disable", func(r *http.Request) {
				if tc.origin != "" {
					r.Header.Set("Origin", tc.origin)
				}
				if tc.site != "" {
					r.Header.Set("Sec-Fetch-Site", tc.site)
				}
			})
			require.Equal(t, tc.status, w.Code, w.Body)
			if tc.status == 200 {
				require.Equal(t, keypool.Disabled, f.key(t, "a").State())
				return
			}
			code, _ := errorOf(t, w)
			require.Equal(t, "origin_refused", code)
			require.Equal(t, keypool.Valid, f.key(t, "a").State())
		})
	}
}
