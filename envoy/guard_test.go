package envoy_test

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/stretchr/testify/require"
)

const methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

func attachments(t *testing.T, change func(*envoy.Config), test func(*testing.T, *rig)) {
	for _, attach := range []envoy.Attach{envoy.Listener, envoy.Route} {
		t.Run(attach.String(), func(t *testing.T) {
			test(t, startRig(t, func(c *envoy.Config) {
				c.Attach = attach
				if change != nil {
					change(c)
				}
			}))
		})
	}
}

// TestMethods: TRACE would repeat the pool's key, CONNECT asks for a tunnel, and nobody knows what the others do.
func TestMethods(t *testing.T) {
	attachments(t, nil, func(t *testing.T, r *rig) {
		for _, method := range wire.Methods {
			res, body := r.Do(t, method, "/v1/files", "", "x-test: ok")
			require.Equal(t, http.StatusOK, res.StatusCode, "%s %s", method, body)
			require.Len(t, r.Requests(), 1)
		}
		r.Attempts()
		for _, method := range []string{"TRACE", "PURGE", "PROPFIND", "MKCOL", "SUBSCRIBE"} {
			for _, path := range []string{"/v1/responses", "/anthropic/v1/messages", "/healthz", "/"} {
				res, body := r.Do(t, method, path, "", "x-test: ok")
				if res.StatusCode == http.StatusNotFound && !strings.Contains(path, "/v1/") { // where it is the routes that have all, none is there to say more
					require.Empty(t, r.Attempts())
					continue
				}
				require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode, "%s %s", method, body)
				require.Equal(t, methods, res.Header.Get("allow"))
				envoytest.RequireError(t, res, body, "method_not_allowed", "invalid_request_error")
				require.Empty(t, r.Attempts())
				require.Empty(t, r.Requests())
			}
		}
		for _, method := range []string{"FOO", "post", "TRACK"} { // Envoy's parser knows none of them
			res, _ := r.Do(t, method, "/v1/responses", "", "x-test: ok")
			require.Equal(t, http.StatusBadRequest, res.StatusCode)
			require.Empty(t, r.Attempts())
		}
		for _, ask := range []string{"CONNECT 127.0.0.1:443 HTTP/1.1\r\nhost: 127.0.0.1:443\r\n\r\n"} {
			conn, reader := r.dial(t)
			_, err := io.WriteString(conn, ask)
			require.NoError(t, err)
			res, err := http.ReadResponse(reader, &http.Request{Method: "CONNECT"})
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			if res.StatusCode != http.StatusNotFound { // where it is the routes that have all, none is there to say more
				require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
				require.Equal(t, methods, res.Header.Get("allow"))
			}
			require.Empty(t, r.Attempts())
		}
	})
}

// TestTrickyPaths: what decodes a path behind Envoy must not be led out of the pool's base path.
func TestTrickyPaths(t *testing.T) {
	attachments(t, nil, func(t *testing.T, r *rig) {
		for _, path := range []string{
			"/anthropic/v1/..%2f..%2fadmin", "/anthropic/..%2Fadmin", "/anthropic/%2e%2e%2fadmin", "/anthropic/v1%2f..%2f..%2fadmin", "/anthropic/v1/..%5cadmin",
			"/anthropic/v1/%2e%2e%3b/admin", "/anthropic/v1/x%2f..", "/anthropic/v1/x%2f.",
			"/anthropic/v1/%252e%252e%252fadmin", "/anthropic/v1/..%252fadmin", "/anthropic/v1/x%2500y", "/anthropic/v1/x%2f%2e%2e?q",
		} {
			res, body := r.raw(t, "GET "+path+" HTTP/1.1\r\nhost: localhost\r\nx-test: ok\r\n\r\n")
			require.Equal(t, http.StatusBadRequest, res.StatusCode, "%s %s", path, body)
			envoytest.RequireError(t, res, body, "path_refused", "invalid_request_error")
			require.Empty(t, r.Requests(), path)
			require.Empty(t, r.Attempts(), path)
		}
		for path, want := range map[string]string{
			"/anthropic/v1/models/org%2Fmodel":         "/base/v1/models/org%2Fmodel",
			"/anthropic/v1/models/org%2F..model":       "/base/v1/models/org%2F..model",
			"/anthropic/v1/models/a..b/...":            "/base/v1/models/a..b/...",
			"/anthropic/v1/models/.well-known?q=..%2f": "/base/v1/models/.well-known?q=..%2f",
			"/anthropic/v1/x/../models":                "/base/v1/models",
			"/anthropic/v1/x/%2e%2e/models":            "/base/v1/models",
			"/anthropic/v1/x/..;/models":               "/base/v1/models", // Envoy's normalisation takes parameters off
			"/anthropic/v1/x/..;a=b/models":            "/base/v1/models",
			"/openai/../anthropic//v1/models":          "/base/v1/models",
		} {
			res, _ := r.raw(t, "GET "+path+" HTTP/1.1\r\nhost: localhost\r\nx-test: ok\r\n\r\n")
			require.Equal(t, http.StatusOK, res.StatusCode, path)
			requests := r.Requests()
			require.Len(t, requests, 1)
			require.Equal(t, want, requests[0].RequestURI)
		}
	})
}

// raw sends bytes on a connection of its own, and returns the answer.
func (r *rig) raw(t *testing.T, ask string) (*http.Response, string) {
	t.Helper()
	conn, reader := r.dial(t)
	_, err := io.WriteString(conn, ask)
	require.NoError(t, err)
	return answer(t, reader)
}

func answer(t *testing.T, reader *bufio.Reader) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res, ""
	}
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res, string(body)
}

// TestWebPages: a listener that asks nobody who they are is open to every page in a browser on its machine, unless it looks who sends.
func TestWebPages(t *testing.T) {
	attachments(t, nil, func(t *testing.T, r *rig) {
		here := strings.TrimPrefix(r.URL, "http://")
		_, port, _ := strings.Cut(here, ":")
		for _, tc := range []struct {
			name    string
			headers []string
			code    string // of the refusal; "": let in
		}{
			{"no page", nil, ""},
			{"localhost", []string{"host: localhost"}, ""},
			{"localhost with a port", []string{"host: LOCALHOST:" + port}, ""},
			{"another address of this machine", []string{"host: 127.9.9.9:1"}, ""},
			{"IPv6", []string{"host: [::1]:" + port}, ""},
			{"typed", []string{"sec-fetch-site: none"}, ""},
			{"a page of its own", []string{"sec-fetch-site: same-origin", "origin: http://" + here}, ""},
			{"a name that leads here", []string{"host: evil.example"}, "host_refused"},
			{"a name that leads here, with a port", []string{"host: evil.example:" + port, "origin: http://evil.example:" + port, "sec-fetch-site: same-origin"}, "host_refused"},
			{"a name that begins so", []string{"host: localhost.evil.example"}, "host_refused"},
			{"a name that begins like an address", []string{"host: 127.0.0.1.evil.example"}, "host_refused"},
			{"an address that is not here", []string{"host: 10.0.0.1"}, "host_refused"},
			{"a foreign page", []string{"origin: https://evil.example", "sec-fetch-site: cross-site"}, "origin_refused"},
			{"a foreign page in an old browser", []string{"origin: https://evil.example"}, "origin_refused"},
			{"a frame without an origin", []string{"origin: null"}, "origin_refused"},
			{"an image", []string{"sec-fetch-site: cross-site"}, "origin_refused"},
			{"another port of this machine", []string{"origin: http://localhost:3000", "sec-fetch-site: same-site"}, "origin_refused"},
			{"another port, no origin", []string{"sec-fetch-site: same-site"}, "origin_refused"},
			{"another port in an old browser", []string{"origin: http://localhost:3000"}, "origin_refused"},
			{"an extension", []string{"origin: chrome-extension://abc"}, "origin_refused"},
			{"two origins", []string{"origin: http://" + here, "origin: https://evil.example"}, "origin_refused"},
		} {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				t.Run(tc.name+" "+method, func(t *testing.T) {
					res, body := r.Do(t, method, "/v1/responses", "", append(tc.headers, "x-test: ok")...)
					if tc.code == "" {
						require.Equal(t, http.StatusOK, res.StatusCode, body)
						require.Len(t, r.Requests(), 1)
						r.Attempts()
						return
					}
					require.Equal(t, http.StatusForbidden, res.StatusCode, body)
					envoytest.RequireError(t, res, body, tc.code, "permission_error")
					require.Contains(t, body, "envoy.clients", "the remedy")
					require.Empty(t, r.Attempts())
				})
			}
		}
		t.Run("websocket", func(t *testing.T) {
			res, body := r.raw(t, "GET /v1/realtime HTTP/1.1\r\nhost: "+here+"\r\nconnection: upgrade\r\nupgrade: websocket\r\norigin: https://evil.example\r\nx-test: ok\r\n\r\n")
			require.Equal(t, http.StatusForbidden, res.StatusCode)
			envoytest.RequireError(t, res, body, "origin_refused", "permission_error")
			require.Empty(t, r.Attempts())
		})
	})
}

// TestWebPagesElsewhere: where names are not known, or clients are asked who they are, a name says nothing.
func TestWebPagesElsewhere(t *testing.T) {
	for name, tc := range map[string]struct {
		change       func(*envoy.Config)
		host, origin int // status
		key          string
	}{
		"open": {func(c *envoy.Config) { c.Clients.Open = true }, 200, 403, ""},
		"clients": {func(c *envoy.Config) {
			c.Clients = envoy.Clients{APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}}, ByEnvoy: true}
		}, 200, 200, "authorization: Bearer gw-alice"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRig(t, tc.change)
			res, _ := r.Do(t, "POST", "/v1/responses", "", "host: gateway.example", "x-test: ok", tc.key)
			require.Equal(t, tc.host, res.StatusCode)
			res, _ = r.Do(t, "POST", "/v1/responses", "", "origin: https://evil.example", "sec-fetch-site: cross-site", "x-test: ok", tc.key)
			require.Equal(t, tc.origin, res.StatusCode)
			require.Empty(t, res.Header.Get("access-control-allow-origin"))
		})
	}
}

// TestCORS lets the pages that are named in, and no other; browsers may ask before they send.
func TestCORS(t *testing.T) {
	for _, clients := range []bool{false, true} {
		name := "everybody"
		if clients {
			name = "clients"
		}
		t.Run(name, func(t *testing.T) {
			attachments(t, func(c *envoy.Config) {
				c.CORS.Origins = []string{"https://app.example.com", "https://*.dev.example.com", "http://localhost:*"}
				if clients {
					c.Clients = envoy.Clients{APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}}, ByEnvoy: true}
				}
			}, func(t *testing.T, r *rig) { r.cors(t, clients) })
		})
	}
}

func (r *rig) cors(t *testing.T, clients bool) {
	key := ""
	if clients {
		key = "authorization: Bearer gw-alice"
	}
	const preflight = "access-control-request-method: POST"
	for _, origin := range []string{"https://app.example.com", "https://a.b.dev.example.com", "http://localhost:5173"} {
		res, body := r.Do(t, "OPTIONS", "/v1/responses", "", "origin: "+origin, "sec-fetch-site: cross-site", preflight, "access-control-request-headers: authorization,x-stainless-os", "access-control-request-private-network: true")
		require.Equal(t, http.StatusOK, res.StatusCode, body)
		require.Equal(t, origin, res.Header.Get("access-control-allow-origin"))
		require.Equal(t, methods, res.Header.Get("access-control-allow-methods"))
		require.Equal(t, "*, authorization", res.Header.Get("access-control-allow-headers"))
		require.Equal(t, "true", res.Header.Get("access-control-allow-private-network"))
		require.Empty(t, res.Header.Get("access-control-allow-credentials"))
		require.Empty(t, res.Header.Get("x-keyturn-error"))
		require.Empty(t, body)
		require.Empty(t, r.Attempts(), "nobody is asked")

		res, _ = r.Do(t, "POST", "/v1/responses", "", "origin: "+origin, "sec-fetch-site: cross-site", "x-test: ok", key)
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, []string{origin}, res.Header.Values("access-control-allow-origin"))
		require.Equal(t, "*", res.Header.Get("access-control-expose-headers"))
		r.Attempts()
		if clients {
			res, body = r.Do(t, "POST", "/v1/responses", "", "origin: "+origin)
			require.Equal(t, http.StatusUnauthorized, res.StatusCode)
			require.Equal(t, origin, res.Header.Get("access-control-allow-origin"), "the page may read why")
			envoytest.RequireError(t, res, body, "invalid_client_key", "authentication_error")
		}
	}
	for _, origin := range []string{"https://evil.example", "https://dev.example.com.evil.example", "https://app.example.com:8443", "http://app.example.com", "https://evil.example/.dev.example.com", "null"} {
		res, _ := r.Do(t, "OPTIONS", "/v1/responses", "", "origin: "+origin, "sec-fetch-site: cross-site", preflight)
		require.GreaterOrEqual(t, res.StatusCode, 400)
		require.Empty(t, res.Header.Get("access-control-allow-origin"))
		require.Empty(t, r.Attempts())
		res, _ = r.Do(t, "POST", "/v1/responses", "", "origin: "+origin, "x-test: ok", key)
		require.Equal(t, clients, res.StatusCode == http.StatusOK, "with a client's key it is a client")
		require.Empty(t, res.Header.Get("access-control-allow-origin"))
		r.Attempts()
	}
	r.Requests()
	if !clients {
		res, body := r.Do(t, "GET", "/v1/models", "", "sec-fetch-site: cross-site")
		require.Equal(t, http.StatusForbidden, res.StatusCode, "nobody says which page")
		envoytest.RequireError(t, res, body, "origin_refused", "permission_error")
	}
}

// TestHealth: load balancers are answered without a credential, and without an attempt, whatever they call the gateway.
func TestHealth(t *testing.T) {
	for name, change := range map[string]func(*envoy.Config){
		"everybody": nil,
		"clients": func(c *envoy.Config) {
			c.Clients = envoy.Clients{APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}}, ByEnvoy: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			attachments(t, change, func(t *testing.T, r *rig) {
				require.NoError(t, os.Remove(filepath.Join(r.Folder, "extproc.sock")), "Keyturn may be gone")
				for _, path := range []string{"/", "/healthz", "/healthz?x=1"} {
					for _, method := range []string{"GET", "HEAD"} {
						res, body := r.Do(t, method, path, "", "host: 10.0.0.1:10000")
						require.Equal(t, http.StatusOK, res.StatusCode)
						require.Equal(t, "text/plain", res.Header.Get("content-type"))
						require.Equal(t, method == "GET", body == "ok\n", body)
						require.Empty(t, res.Header.Get("x-keyturn-error"))
					}
				}
				res, body := r.raw(t, "GET / HTTP/1.0\r\n\r\n")
				require.Equal(t, "200 OK ok\n", res.Status+" "+body)
				require.Empty(t, r.Attempts())
				require.Empty(t, r.Requests())
			})
		})
	}
}

func TestOrigins(t *testing.T) {
	for origin, right := range map[string]bool{
		"https://app.example.com": true, "http://localhost:3000": true, "http://localhost:*": true, "https://*.example.com": true, "*": true, "chrome-extension://abcdef": true,
		"http://[::1]:3000": true, "app.example.com": false, "https://app.example.com/": false, "https://app.example.com/x": false, "null": false, "": false, "https://": false,
		"https://user@example.com": false, "https://a b": false,
	} {
		cfg := goldens(t)["one"]
		cfg.CORS.Origins = []string{origin}
		require.Equal(t, right, envoy.Validate(cfg) == nil, origin)
	}
}
