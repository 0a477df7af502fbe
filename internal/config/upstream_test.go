package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUpstreamSettings holds what is said about the way to a provider, and about what the environment says of it to other programs.
func TestUpstreamSettings(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
		t.Setenv(name, "")
	}
	t.Setenv("KT_A", "key-a-0123456789")
	write(t, filepath.Join(folder, "empty.pem"), "nothing")
	trusted, err := filepath.Abs(filepath.Join("..", "..", "envoy", "testdata", "ca.pem"))
	require.NoError(t, err)
	const remote, inside = "upstream: https://api.example.com", "upstream: http://127.0.0.1:8000"
	for _, tc := range []struct {
		name, pool string
		env        [2]string
		refused    string // "": accepted
		warned     string // "": not
	}{
		{name: "none", pool: remote},
		{name: "proxy", pool: remote + "\n  upstream_proxy: http://proxy.internal:3128"},
		{name: "proxy with a path", pool: remote + "\n  upstream_proxy: http://proxy.internal:3128/x", refused: "upstream_proxy"},
		{name: "proxy with a password", pool: remote + "\n  upstream_proxy: http://u:p@proxy.internal:3128", refused: "credentials in the URL"},
		{name: "proxy of another kind", pool: remote + "\n  upstream_proxy: socks5://proxy.internal:3128", refused: "upstream_proxy"},
		{name: "certificates", pool: remote + "\n  upstream_ca: " + trusted},
		{name: "no certificates", pool: remote + "\n  upstream_ca: empty.pem", refused: "holds no certificate"},
		{name: "no file", pool: remote + "\n  upstream_ca: missing.pem", refused: "missing.pem"},
		{name: "certificates for nothing", pool: inside + "\n  upstream_ca: " + trusted, warned: "nothing is verified"},
		{name: "proxy of the environment", pool: remote, env: [2]string{"https_proxy", "http://p:1"}, warned: "https_proxy is set, and Envoy does not read it"},
		{name: "proxy of the environment for nothing", pool: inside, env: [2]string{"https_proxy", "http://p:1"}},
		{name: "proxy of both", pool: remote + "\n  upstream_proxy: http://p:1", env: [2]string{"HTTPS_PROXY", "http://p:1"}},
		{name: "certificates of the environment", pool: remote, env: [2]string{"NODE_EXTRA_CA_CERTS", trusted}, warned: "NODE_EXTRA_CA_CERTS is set"},
		{name: "certificates of both", pool: remote + "\n  upstream_ca: " + trusted, env: [2]string{"NODE_EXTRA_CA_CERTS", trusted}},
		{name: "certificates that envoy takes", pool: remote, env: [2]string{"SSL_CERT_FILE", trusted}},
		{name: "certificates that are not there", pool: remote, env: [2]string{"SSL_CERT_FILE", "/no/such/file"}, warned: "SSL_CERT_FILE names no file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.env[0] != "" {
				t.Setenv(tc.env[0], tc.env[1])
			}
			file := filepath.Join(folder, "keyturn.yaml")
			write(t, file, "pools:\n- name: p\n  provider: compatible\n  keys: [{env: KT_A}]\n  "+tc.pool+"\n")
			c, err := Load(file)
			if tc.refused != "" {
				require.ErrorContains(t, err, tc.refused)
				return
			}
			require.NoError(t, err)
			said := strings.Join(c.Warnings, "\n")
			if tc.warned != "" {
				require.Contains(t, said, tc.warned)
				require.Equal(t, 1, strings.Count(said, "is set")+strings.Count(said, "names no file")+strings.Count(said, "nothing is verified"))
				return
			}
			require.NotRegexp(t, "PROXY|proxy|SSL|CERT|CA_", said)
		})
	}
}
