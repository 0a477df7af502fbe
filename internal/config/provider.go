package config

import (
	"net/url"

	"github.com/keyturn/keyturn/internal/provider"
)

// startPool is the defaults of a pool with this name and provider; either may be empty.
func startPool(name, of string) Pool {
	if _, known := provider.Named(name); of == "" && known {
		of = name
	}
	if name == "" {
		name = of
	}
	p := defaultPool
	p.Name, p.Provider = name, of
	if row, known := provider.Named(of); known {
		p.Credential = Credential{Header: row.Header, Scheme: row.Scheme}
		if row.KeepAlive != 0 {
			p.KeepAlive = row.KeepAlive
		}
		if row.Upstream != "" {
			p.Upstream, _ = url.Parse(row.Upstream) // constants, which a test parses
		}
	}
	return p
}

// needsUpstream tells the providers whose pools must say where they are, keyless those that serve without a key.
func needsUpstream(p provider.Provider) bool { return p.Upstream == "" }
func keyless(p provider.Provider) bool       { return p.Keyless }
