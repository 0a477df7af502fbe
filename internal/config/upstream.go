package config

import (
	"crypto/x509"
	"net"
	"os"
	"slices"

	"github.com/keyturn/keyturn/internal/provider"
)

// wholeCA checks the file of certificates of a pool, and joins it to the folder of the configuration.
func (r *reader) wholeCA(path string, p *Pool) {
	at := within(path, "upstream_ca")
	if p.UpstreamCA == "" || r.failed(at) {
		return
	}
	p.UpstreamCA = r.in(p.UpstreamCA)
	data, _, trouble := r.open(p.UpstreamCA, maxCABytes)
	switch {
	case trouble != "":
		r.refuse(at, "%s %s", p.UpstreamCA, trouble)
	case !x509.NewCertPool().AppendCertsFromPEM(data):
		r.refuse(at, "%s holds no certificate; write PEM blocks such as -----BEGIN CERTIFICATE-----", p.UpstreamCA)
	case p.Upstream != nil && p.Upstream.Scheme == "http":
		r.warn(at, "%s is reached without TLS, so nothing is verified; write https, or remove upstream_ca", p.Upstream.Host)
	}
}

// BaseURL is what clients of the pool's own dialect take as their base URL, where Envoy listens at address.
func (p *Pool) BaseURL(address string) string {
	row, _ := provider.Named(p.Provider)
	after := "/" + p.Name + row.After(p.Upstream.Path)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address + " " + after // a socket
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + after
}

// maxCABytes bounds a file of certificates. The system's have 200 KB.
const maxCABytes = 4 << 20

// unused warns of what the environment says to other programs about the way to providers, where nothing does as it says.
func (r *reader) unused(pools []Pool) {
	remote := func(p Pool) bool { return p.Upstream != nil && !local(net.JoinHostPort(p.Upstream.Hostname(), "0")) }
	if slices.ContainsFunc(pools, func(p Pool) bool { return remote(p) && p.UpstreamProxy == nil }) {
		for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
			if value, set := r.env(name); set && value != "" {
				r.warn("pools", "%s is set, and Envoy does not read it: pools without upstream_proxy go to their providers directly; write upstream_proxy if they must not", name)
				break
			}
		}
	}
	if !slices.ContainsFunc(pools, func(p Pool) bool { return p.Upstream != nil && p.Upstream.Scheme == "https" && p.UpstreamCA == "" }) {
		return
	}
	if file, _ := r.env("SSL_CERT_FILE"); file != "" { // envoy takes it if it is there
		if st, err := os.Stat(file); err != nil || !st.Mode().IsRegular() {
			r.warn("pools", "SSL_CERT_FILE names no file, so providers are verified against the system's certificates; mend it, or write upstream_ca")
		}
		return
	}
	for _, name := range []string{"SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
		if value, set := r.env(name); set && value != "" {
			r.warn("pools", "%s is set, and Envoy does not read it: providers are verified against the system's certificates; write upstream_ca if others are meant", name)
			return
		}
	}
}
