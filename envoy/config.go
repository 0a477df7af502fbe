package envoy

import (
	"net/url"
	"time"
)

// Attach says what of the listener goes through Keyturn.
type Attach uint8

// What Render makes of the clients' listener.
const (
	// Listener puts what Keyturn needs of a listener into the listener itself: all its routes lead to pools.
	Listener Attach = iota
	// Route puts all of it into the routes to the pools, so that they can stand among others.
	Route
)

// String returns "listener" or "route", the words of the configuration file.
func (a Attach) String() string {
	if a == Route {
		return "route"
	}
	return "listener"
}

// Config is what Render makes a configuration of. Addresses are "host:port", "[v6]:port" or "unix:path"; a relative
// path is relative to the folder that Envoy is started in.
type Config struct {
	Listen    string // where clients connect. Required.
	Admin     string // Envoy's admin interface; "" = none. Over TCP only AdminPaths are served, beyond loopback /ready and /stats.
	Inner     string // the inner listener, which every attempt goes through: "internal" to Envoy, or "unix:path"; "" = internal
	Loopback  string // "unix:path" of the listener for Keyturn's own requests; "" = none. Rendered where a pool has tools.
	Processor string // where Keyturn listens for Envoy's gRPC. Required.

	Attach  Attach  // zero: Listener
	Clients Clients // who may use the listener; required when Listen is beyond loopback.
	CORS    CORS    // which web pages may use it

	MaxRequestBytes int64         // the largest request body that can be sent again with the next key, in bytes; 0 = 32 MiB. Larger ones pass.
	Memory          int64         // bytes of heap that Envoy may have: near it, the largest requests are cut, and new ones get 503; 0 = any number
	IdleTimeout     time.Duration // ends a stream on which nothing moved for so long; 0 = 20 minutes
	AccessLog       string        // "stdout", "off" or the path of a file; "" = stdout
	Record          Record        // what Envoy tells Keyturn of each request; zero: nothing
	CAFile          string        // PEM bundle that certificates of providers are verified against; "" = the system's

	Pools []Pool // at least one
}

// Pool is the Envoy side of one pool of keys: a provider, reached through one cluster.
type Pool struct {
	Name             string   // also the first segment of the pool's path on the listener
	Messages         bool     // /v1/messages without a pool's name goes to the first pool that has this, all else to the first that has not
	Upstream         *url.URL // the provider: http or https, host, optional port, optional base path
	Clusters         []string // Envoy's clusters of the provider: attempts go to the first; empty = Name
	Keys             int      // how many keys the pool has: bounds the retries
	Fallback         []string // pools that its requests go on with; their keys, and those of the pools that they fall back to, bound the retries too
	BYOK             bool     // clients may send their own credential, so the routes do not remove it
	CredentialHeader string   // the header that carries the key; "" = authorization
	MaxBodyBytes     int64    // the largest body that Keyturn asks Envoy to hold whole, in bytes; 0 = 32 MiB

	Proxy     *url.URL      // the HTTP proxy that the provider is reached through, by CONNECT: http or https, host, optional port; nil = none
	CAFile    string        // PEM bundle that the provider's certificate is verified against; "" = that of the Config
	KeepAlive time.Duration // how long an unused connection to the provider is kept: less than the provider itself keeps it; 0 = 50 s

	Tools    bool          // Keyturn runs tools for models: it repeats the client's request through the loopback listener, which is required then
	ToolTime time.Duration // how long calls of tools may run in one response; 0 = 10 minutes, at most 1 hour
}

// Record says what Envoy tells Keyturn of a request once it is over, so that it can be recorded.
type Record struct {
	Requests bool // a log entry of each client's request and of each attempt, on the processor's own connection
	Usage    bool // the tokens that the provider's answers name; Envoy 1.40 and later can (UsageMinor)
	Tell     bool // clients learn the request's id and how many attempts it took, in response headers
}

// Clients says who may use the main listener. At most one of APIKeys, JWT and Open.
type Clients struct {
	APIKeys []ClientKey // keys of the gateway's own
	ByEnvoy bool        // APIKeys are checked by Envoy's api_key_auth filter, which has them in its configuration, and not by Keyturn (ext_authz)
	JWT     *JWT        // signed tokens, checked by Envoy's jwt_authn filter
	Open    bool        // nobody is asked: whoever reaches the listener spends the pools' keys
}

// CORS says which web pages may send requests, and read the answers. A page of any other origin is refused, unless clients are asked who
// they are: then a page is let in like any other client, and cannot read what it gets.
type CORS struct {
	// Origins are those of the pages, such as "https://app.example.com"; a * stands for any letters, digits, dots and dashes. "*" alone is
	// any page of the world. Browsers that ask before they send a request (preflights) are answered for these alone.
	Origins []string
}

// ClientKey is one client and its key.
type ClientKey struct {
	Name   string // appears in the access log
	Secret string // sent by the client as x-keyturn-key, Authorization: Bearer, x-api-key or api-key
}

// String returns the client's name, so that printing a ClientKey does not print its key.
func (k ClientKey) String() string { return k.Name }

// GoString is String, for %#v.
func (k ClientKey) GoString() string { return k.Name }

// MarshalText is String, for JSON and for logs.
func (k ClientKey) MarshalText() ([]byte, error) { return []byte(k.Name), nil }

// JWT says which tokens are accepted. Exactly one of JWKSFile and JWKSURL.
type JWT struct {
	Issuer    string   // the iss claim; "" = any
	Audiences []string // one of them must be in the aud claim; empty = any
	JWKSFile  string   // path of the key set
	JWKSURL   string   // http or https address of the key set, fetched by Envoy

	WithoutExp bool // tokens that do not say when they end (the exp claim) are accepted too
}
