package config

import "net/url"

// preset is what a provider's name stands for.
type preset struct {
	upstream string // empty: the pool must name one
	header   string
	scheme   string
}

// Providers are the values of a pool's provider, in the order of the documentation.
var providers = []string{"openai", "anthropic", "azure", "gemini", "openrouter", "compatible"}

// presets hold the base URLs and credential headers that the providers document. A base URL is what clients are given without the
// dialect's own path: clients of OpenAI's API ask for /v1/... themselves.
var presets = map[string]preset{
	"openai":     {"https://api.openai.com", "authorization", "Bearer"},
	"anthropic":  {"https://api.anthropic.com", "x-api-key", ""},
	"azure":      {"", "api-key", ""},
	"gemini":     {"https://generativelanguage.googleapis.com", "authorization", "Bearer"},
	"openrouter": {"https://openrouter.ai/api", "authorization", "Bearer"},
	"compatible": {"", "authorization", "Bearer"},
}

// startPool is the defaults of a pool with this name and provider; either may be empty.
func startPool(name, provider string) Pool {
	if _, known := presets[name]; provider == "" && known {
		provider = name
	}
	if name == "" {
		name = provider
	}
	p := defaultPool
	p.Name, p.Provider = name, provider
	if of, known := presets[provider]; known {
		p.Credential = Credential{Header: of.header, Scheme: of.scheme}
		if of.upstream != "" {
			p.Upstream, _ = url.Parse(of.upstream) // constants, which a test parses
		}
	}
	return p
}
