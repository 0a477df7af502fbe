package config

import (
	"log/slog"
	"net/url"
	"time"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/keypool"
)

// Config is a configuration that was checked whole, with every default filled in and every key resolved. Printing one shows no
// secret: the types that hold them format themselves.
type Config struct {
	// Path is the file that was read, as Load was given it.
	Path string
	// Listen is where Envoy reaches the processor: "unix:PATH" or "host:port". Socket paths are already joined to the folder of Path.
	Listen string
	// Admin is Keyturn's own health, metrics and pool state over HTTP.
	Admin Admin
	// Log says what is logged and how.
	Log Log
	// Fingerprint is the secret of the keys' fingerprints. Empty: the built-in one.
	Fingerprint string `json:"-" yaml:"-"`
	// Pools are the key pools, in the file's order; at least one.
	Pools []Pool
	// Tools are the MCP servers that pools name.
	Tools Tools
	// Limits is what Keyturn may take of the machine.
	Limits Limits
	// Record says what is recorded of requests.
	Record Record
	// Clients are what clients may use, by their names.
	Clients extproc.Limits
	// Telemetry says what metrics and spans are called.
	Telemetry Telemetry
	// Envoy is for the commands that render or run one.
	Envoy Envoy
	// Warnings are what an operator should know and may leave as it is, each as "FILE:LINE: path: text". Never a secret.
	Warnings []string

	files   []string
	secrets *[]string // a pointer, since printing c prints none of what it points to
	sum     digest

	settings *inForce
}

// Admin is Keyturn's own HTTP endpoint.
type Admin struct {
	// Listen is "unix:PATH" or "host:port".
	Listen string
	// Token is the bearer token that requests must carry. Empty: none, which only a listener on loopback may have.
	Token string `json:"-" yaml:"-"`
	// Viewers are tokens with which everything can be seen but what was said in requests, and nothing changed.
	Viewers []string `json:"-" yaml:"-"`
}

// Limits is what Keyturn may take of the machine.
type Limits struct {
	// Memory bounds what the bodies in work take, in bytes. Zero: half of the memory that the process may have.
	Memory int64
}

// Telemetry says what metrics and spans are called.
type Telemetry struct {
	// Compat are older conventions whose names are told too, each a genai.Compat.
	Compat []string
	// TraceURL leads to a trace, with {trace_id} where its id belongs: http or https. Empty: traces have no links.
	TraceURL string
}

// Log says what is logged and how.
type Log struct {
	// Level is the least severe level that is written.
	Level slog.Level
	// Format is "auto" (text on a terminal, else JSON), "text" or "json".
	Format string
}

// Pool is the keys of one provider and the rules for turning them.
type Pool struct {
	// Name is the pool's name in paths, logs and metrics.
	Name string
	// Provider is the preset that the pool began with, a name in package provider.
	Provider string
	// Upstream is the provider's base URL: http or https, a host, perhaps a path without trailing slash.
	Upstream *url.URL
	// Clusters are Envoy's clusters of the provider; at least one. Attempts go to the first.
	Clusters []string
	// Credential is the header that carries a key.
	Credential Credential
	// Keys are the keys in order of priority; no two alike. At least one, but for a provider that needs none.
	Keys []Key
	// KeysFile is the file whose keys were appended to Keys, joined to the folder of the configuration. Empty: none.
	KeysFile string
	// BYOK says whether clients may bring their own keys.
	BYOK BYOK
	// Policy says what an answer means for its key.
	Policy keypool.Policy
	// Choose says which of the usable keys a request gets.
	Choose Choose
	// Fallback says where requests go on that the pool cannot serve.
	Fallback extproc.Fallback
	// Headroom is what keys are to have left.
	Headroom keypool.Headroom
	// Cooldown says how long keys rest.
	Cooldown keypool.Cooldown
	// ReviveAfter is the time after which a key that was given up is tried again by one request. keypool.Never: it is not.
	ReviveAfter time.Duration
	// Deadline bounds choosing and failing over, up to the first byte to the client. Never zero.
	Deadline time.Duration
	// Paths are the beginnings of the paths that the pool serves. Empty: all but what mints credentials or manages an organisation.
	Paths []string
	// MaxBody is the largest body in bytes that is read whole. Never zero.
	MaxBody int64
	// UpstreamProxy is the HTTP proxy that the provider is reached through. Nil: none.
	UpstreamProxy *url.URL
	// UpstreamCA is the file of certificates that the provider's is verified against. Empty: the system's.
	UpstreamCA string
	// KeepAlive is how long an unused connection to the provider is kept. Never zero.
	KeepAlive time.Duration
	// KeepRateLimitHeaders hands the provider's rate-limit headers to the client.
	KeepRateLimitHeaders bool
	// Content has kept of what is said what record.content names.
	Content bool
	// WebSocket lets clients speak Responses over a WebSocket.
	WebSocket bool
	// Tools are what the pool gives to models. Nil: none.
	Tools *extproc.Tools
}

// Credential is the header that carries a key.
type Credential struct {
	// Header is the header's name in lower case.
	Header string
	// Scheme stands before the key, with one space between. Empty: the key alone.
	Scheme string
}

// Key is one key of a pool.
type Key struct {
	// Name is unique in its pool.
	Name string
	// Group is the organisation that the key's limits belong to. Empty: a group of its own.
	Group string
	// Tier is from 0 to keypool.MaxTier: keys of a later one are asked when none of the earlier is usable.
	Tier int
	// Weight is the key's share of the conversations, where the pool spreads them.
	Weight int
	// Secret is the key itself: visible ASCII, never empty.
	Secret string `json:"-" yaml:"-"`
	// From says where the key was read, as "env NAME", "file PATH" or "PATH:LINE".
	From string
	// Line is the line of the configuration that names the key: its entry, or the keys_file.
	Line int
}

// Choose says how a pool chooses among its usable keys, and what keeps the requests of one conversation together.
type Choose struct {
	keypool.Choose
	Stay extproc.Stay
}

// BYOK says whether clients may bring their own keys.
type BYOK struct {
	// Allow leaves a client's own credential alone.
	Allow bool
	// Placeholders are the credentials that mean "use the pool" when Allow is set.
	Placeholders []string
}

// Envoy is for the commands that render, check or run one.
type Envoy struct {
	// Listen is where clients connect: "unix:PATH" or "address:port".
	Listen string
	// Clients says who may use the pools.
	Clients Clients
	// CORS says which web pages may use the pools.
	CORS CORS
	// Admin is Envoy's own admin endpoint; on loopback always.
	Admin string
	// Loopback is the socket ("unix:PATH") by which Keyturn sends requests of its own through Envoy.
	Loopback string
	// Inner is the listener that every attempt goes through: "internal", or the socket ("unix:PATH").
	Inner string
	// Attach is "listener" (what Keyturn needs stands in the clients' listener) or "route" (in each route).
	Attach string
	// MaxRequestBytes is the largest request body that can be sent again with the next key. Never zero.
	MaxRequestBytes int64
	// Memory is how much heap Envoy may have, in bytes. Zero: under run half of what the machine or the container has, else any amount.
	Memory int64
	// Concurrency is Envoy's number of worker threads. Zero: one for each core.
	Concurrency int
	// IdleTimeout ends a stream on which nothing moved for so long. Never zero.
	IdleTimeout time.Duration
	// AccessLog is "stdout", "off" or a path.
	AccessLog string
	// Version is the Envoy's that configuration is rendered for, such as "1.40". Empty: the one that is run; else the one that Keyturn is
	// tested with, and for a mesh what its oldest has.
	Version string
	// BinaryPath is the Envoy to run. Empty: ENVOY_BIN, PATH, the cache.
	BinaryPath string
}

// CORS says which web pages may use the pools.
type CORS struct {
	// Origins are those of the pages, as browsers send them; a * stands for letters, digits, dots and dashes, and alone for any page.
	Origins []string
}

// Clients says who may use the pools: at most one of its fields is set.
type Clients struct {
	// APIKeys are the clients' own keys, from a file of lines "name:key" or "key".
	APIKeys []ClientKey
	// CheckedBy is who checks APIKeys: "keyturn", or "envoy", which then has them in its configuration.
	CheckedBy string
	// JWT accepts tokens of an issuer. Nil: none.
	JWT *JWT
	// Open lets everybody in who reaches the listener.
	Open bool
}

// ClientKey is one client's key.
type ClientKey struct {
	// Name is unique; it is what logs show of the client.
	Name string
	// Secret is the key itself.
	Secret string `json:"-" yaml:"-"`
}

// JWT accepts tokens of one issuer.
type JWT struct {
	// Issuer is what the token's "iss" must be.
	Issuer string
	// Audiences are what its "aud" must be one of. Empty: any.
	Audiences []string
	// JWKSFile or JWKSURL, exactly one, is where the issuer's public keys are.
	JWKSFile, JWKSURL string
	// RequireExp refuses tokens that do not say when they end.
	RequireExp bool
}

// Files returns every file that was read for c: the configuration first, then the files that it names.
func (c *Config) Files() []string { return append([]string(nil), c.files...) }

// Secrets returns every secret that was read for c: the pools' keys, the clients', tokens, tools' credentials and what of a set of keys is
// private.
func (c *Config) Secrets() []string {
	if c.secrets == nil {
		return nil
	}
	return append([]string(nil), *c.secrets...)
}
