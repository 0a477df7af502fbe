package envoy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/stretchr/testify/require"
)

// certificate is a self-signed one for a name (localhost: and its address), and the PEM block to trust it by.
func certificate(t *testing.T, name string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		DNSNames: []string{name},
	}
	if name == "localhost" {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestUpstreams reaches providers by name and by address, with TLS that is verified and without.
func TestUpstreams(t *testing.T) {
	saw := make(chan *http.Request, 1)
	var trusted []byte
	// serve returns ":port" of a server with a certificate for a name, or without TLS.
	serve := func(name string) string {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { saw <- r }))
		t.Cleanup(s.Close)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		if name == "" {
			s.Start()
		} else {
			cert, block := certificate(t, name)
			trusted = append(trusted, block...)
			s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
			s.EnableHTTP2 = true
			s.StartTLS()
		}
		return s.URL[strings.LastIndex(s.URL, ":"):]
	}
	port, plainPort, otherPort := serve("localhost"), serve(""), serve("other.example")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, trusted, 0o600))

	r := startRig(t, func(c *envoy.Config) {
		c.CAFile = ca
		c.Pools = nil
		for name, upstream := range map[string]string{
			"name": "https://localhost" + port + "/base", "address": "https://127.0.0.1" + port,
			"other name": "https://localhost" + otherPort, "other address": "https://127.0.0.1" + otherPort, "plain": "http://localhost" + plainPort,
		} {
			u, err := url.Parse(upstream)
			require.NoError(t, err)
			c.Pools = append(c.Pools, envoy.Pool{Name: strings.ReplaceAll(name, " ", "-"), Upstream: u, Keys: 3})
		}
	})
	for _, tc := range []struct{ pool, host, path, sni string }{
		{"name", "localhost" + port, "/base/v1/responses", "localhost"},
		{"address", "127.0.0.1" + port, "/v1/responses", ""},
		{"plain", "localhost" + plainPort, "/v1/responses", ""},
	} {
		t.Run(tc.pool, func(t *testing.T) {
			res, body := r.Do(t, "POST", "/"+tc.pool+"/v1/responses", "{}")
			require.Equal(t, http.StatusOK, res.StatusCode, body)
			q := <-saw
			require.Equal(t, tc.host, q.Host)
			require.Equal(t, tc.path, q.URL.Path)
			require.Equal(t, "HTTP/1.1", q.Proto)
			if q.TLS != nil {
				require.Equal(t, tc.sni, q.TLS.ServerName)
			}
		})
	}
	for _, pool := range []string{"other-name", "other-address"} {
		t.Run("refuses a trusted certificate of an"+pool, func(t *testing.T) {
			res, body := r.Do(t, "POST", "/"+pool+"/v1/responses", "{}")
			require.Equal(t, http.StatusBadGateway, res.StatusCode, body)
			require.Equal(t, "provider_unreachable", res.Header.Get("x-keyturn-error"))
			require.NotContains(t, envoytest.Get(t, r.Process.Admin(), "/stats?filter=cluster."+pool+".ssl.fail_verify_san"), ": 0")
		})
	}
}

// TestAddresses serves on sockets and on IPv6, and finds the processor over TCP.
func TestAddresses(t *testing.T) {
	t.Run("unix", func(t *testing.T) {
		r := startRig(t, func(c *envoy.Config) {
			c.Listen, c.Admin, c.Inner = "unix:main.sock", "unix:admin.sock", "unix:inner.sock"
		})
		require.Contains(t, envoytest.Get(t, "unix:"+filepath.Join(r.Folder, "main.sock"), "/v1/models"), "Bearer k2 /v1/models")
		for name, mode := range map[string]os.FileMode{"inner.sock": 0o600, "admin.sock": 0o600} {
			st, err := os.Stat(filepath.Join(r.Folder, name))
			require.NoError(t, err)
			require.Equal(t, mode, st.Mode().Perm(), name)
		}
	})
	t.Run("ipv6", func(t *testing.T) {
		provider := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("six")) }))
		l, err := net.Listen("tcp", "[::1]:0")
		require.NoError(t, err)
		provider.Listener = l
		provider.Start()
		defer provider.Close()
		u, err := url.Parse("http://" + l.Addr().String())
		require.NoError(t, err)
		r := startRig(t, func(c *envoy.Config) { c.Listen, c.Pools[0].Upstream = "[::1]:0", u })
		_, body := r.Do(t, "GET", "/v1/models", "")
		require.Equal(t, "six", body)
	})
	t.Run("processor by name and port", func(t *testing.T) {
		p := &envoytest.Processor{Pools: map[string]envoytest.Upstream{}}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		p.Serve(t, l)
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		for _, host := range []string{"localhost", "127.0.0.1"} {
			r := startRig(t, func(c *envoy.Config) {
				c.Processor = host + ":" + port
				for _, pool := range c.Pools {
					p.Pools[pool.Name] = envoytest.Upstream{Cluster: pool.Name, Authority: pool.Upstream.Host}
				}
			})
			_, body := r.Do(t, "GET", "/v1/models", "")
			require.Equal(t, "Bearer k2 /v1/models", body)
			require.Empty(t, r.Attempts())
			require.NotEmpty(t, p.Attempts())
		}
	})
	t.Run("admin beyond loopback tells little", func(t *testing.T) {
		r := startRig(t, func(c *envoy.Config) { c.Admin = "0.0.0.0:0" })
		require.Contains(t, envoytest.Get(t, r.Process.Admin(), "/stats"), "cluster.openai")
		require.NotContains(t, envoytest.Get(t, r.Process.Admin(), "/config_dump"), "static_resources")
	})
}
