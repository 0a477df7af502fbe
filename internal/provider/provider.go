// Package provider is what Keyturn knows of providers: one row for each. It is data, so everybody may import it.
package provider

import (
	"slices"
	"strings"
	"time"
)

// Dialect is an API that a provider speaks, by the name that package dialect has for it.
type Dialect string

// The dialects.
const (
	Responses Dialect = "responses" // OpenAI's Responses
	Chat      Dialect = "chat"      // OpenAI's Chat Completions
	Messages  Dialect = "messages"  // Anthropic's Messages
)

// Schemas says whose rules for the schemas of tools a provider has, where they are known, by the name that package extproc has for it.
type Schemas string

// The rules that are known.
const (
	OpenAISchemas Schemas = "openai"
	GeminiSchemas Schemas = "gemini"
)

// AnyTools is MaxTools of a provider that has no limit.
const AnyTools = -1

// Provider is what is known of one.
type Provider struct {
	Name     string // in keyturn.yaml
	Upstream string // base URL: what clients are given without the dialect's own path, which begins with /v1; "": the pool names it
	Example  string // of an upstream, where the pool names it
	// Base is what the base URL of a client of its own dialect has after the upstream: "/v1" where that is "https://api.openai.com/v1".
	Base    string
	Header  string // the request header that carries a key, in lower case
	Scheme  string // the word before the key, "" for the key alone
	Keyless bool   // it serves requests without a key too
	// KeepAlive is less than how long it keeps an unused connection, where that is known and short. 0: not known.
	KeepAlive time.Duration

	// Dialects are those that it speaks, its own first: in that one's form are errors on paths of no dialect. None: requests pass unread.
	Dialects []Dialect
	// Telemetry is the value of gen_ai.provider.name: OpenTelemetry's, where it has one.
	// https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/
	Telemetry string
	// MaxTools is how many tools one request may have: AnyTools where there is no limit, 0 where it is not known.
	MaxTools int
	// Schemas is empty where the rules are not known.
	Schemas Schemas

	WrongKey  Failure // what a key gets that it does not know
	Forbidden Failure // what a key gets that may not do what is asked for
	Limited   Failure // what a key gets that has asked for too much, too fast
}

// Failure is an answer as the provider documents it, or as somebody has seen it. Zero: not known.
type Failure struct {
	Status int
	Header map[string]string // beside content-type: application/json; names in lower case
	Body   string
	Source string // URL
}

// Native reports whether a dialect is the provider's own.
func (p Provider) Native(d Dialect) bool { return len(p.Dialects) > 0 && p.Dialects[0] == d }

// Trimmed is the path of an upstream without the /v1 that clients' own paths begin with. Providers document base URLs that have it, so
// that one is written into keyturn.yaml as readily as the other.
func Trimmed(path string) string { return strings.TrimSuffix(path, "/v1") }

// After is what a client's base URL has after the pool's name, with an upstream of this path: Base, less what the upstream has of it.
func (p Provider) After(path string) string {
	for i := len(p.Base); i > 0; i-- {
		if (i == len(p.Base) || p.Base[i] == '/') && strings.HasSuffix(path, p.Base[:i]) {
			return p.Base[i:]
		}
	}
	return p.Base
}

// Named is the provider of that name.
func Named(name string) (Provider, bool) {
	i := slices.IndexFunc(All, func(p Provider) bool { return p.Name == name })
	if i < 0 {
		return Provider{}, false
	}
	return All[i], true
}

// Names are those of the providers for which something is so; nil: of all.
func Names(so func(Provider) bool) []string {
	var names []string
	for _, p := range All {
		if so == nil || so(p) {
			names = append(names, p.Name)
		}
	}
	return names
}
