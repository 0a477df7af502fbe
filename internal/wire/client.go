package wire

import (
	"bytes"
	"slices"
	"strings"
)

// CredentialParts stand in the names of all headers for which IsCredential is true, but for those that begin with one of GatewayPrefixes.
var CredentialParts = []string{"auth", "bearer", "credential", "dpop", "jwt", "key", "pass", "pat", "pwd", "secret", "sig", "token"}

// GatewayPrefixes begin the headers of other gateways, in which their clients send them credentials.
// https://portkey.ai/docs/api-reference/inference-api/headers, https://docs.litellm.ai/docs/proxy/virtual_keys,
// https://docs.helicone.ai/helicone-headers/header-directory, https://developers.cloudflare.com/ai-gateway/configuration/authentication
var GatewayPrefixes = []string{"x-portkey-", "x-litellm-", "helicone-", "cf-aig-", "x-bf-", "x-tfy-"}

// credentialWords are parts of a header's name, between dashes, of which one says that a credential is in it.
var credentialWords = []string{
	"auth", "authn", "authz", "authentication", "authorization", "oauth", "bearer", "credential", "credentials", "jwt", "password", "passwd", "pwd", "passphrase",
	"secret", "token", "signature", "sig", "pat", "apikey", "accesskey", "authkey", "secretkey", "licensekey", "privatekey", "subscriptionkey", "dpop",
}

// credentialEnds end a part that is written in one word.
var credentialEnds = []string{"apikey", "accesskey", "authkey", "secretkey", "servicekey", "token", "secret", "password", "credential"}

var (
	// ordinaryKeys before "key" say that it is a name, and no secret.
	ordinaryKeys = []string{
		"idempotency", "idempotence", "idempotent", "cache", "caching", "websocket", "partition", "routing", "route", "affinity", "sharding", "shard", "sort", "row", "hash", "dedup", "deduplication", "dedupe",
		"correlation", "conversation", "thread", "turn", "trace", "span", "limit", "ratelimit", "group", "object", "message", "event", "metric", "feature", "prompt", "lookup", "tag", "public", "experiment",
	}
	// placeWords before "token" say that it is a place in a list.
	placeWords = []string{"page", "next", "continuation", "continue", "starting", "start", "sync", "max", "stop", "min", "last", "prev", "previous", "resume"}
	// describing begin the names of headers that tell of a client's program, or of what Keyturn used.
	describing = []string{"x-stainless-", "sec-websocket-", HeaderPrefix + "used-"}
)

// IsCredential reports whether a request's header, named in lower case, is one in which clients send a credential to somebody: a gateway,
// a proxy, an access product, or a provider that none of Credentials is of. It goes by the words in the name, since there is no end of them:
// a key, a token, a secret, unless the word before says of what else.
func IsCredential(name []byte) bool {
	for _, prefix := range GatewayPrefixes {
		if len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix {
			return true
		}
	}
	if slices.ContainsFunc(describing, func(p string) bool { return bytes.HasPrefix(name, []byte(p)) }) {
		return false
	}
	if !slices.ContainsFunc(CredentialParts, func(p string) bool { return bytes.Contains(name, []byte(p)) }) {
		return false
	}
	before := ""
	for word := range strings.FieldsFuncSeq(string(name), func(r rune) bool { return r == '-' || r == '_' || r == '.' }) {
		if isCredentialWord(word, before) {
			return true
		}
		before = word
	}
	return false
}

// isCredentialWord reports whether a word of a name says that a credential is in it. before is the word before it.
func isCredentialWord(word, before string) bool {
	switch {
	case word == "token":
		return !slices.Contains(placeWords, before)
	case word == "key":
		return !slices.Contains(ordinaryKeys, before)
	case slices.Contains(credentialWords, word):
		return true
	}
	return slices.ContainsFunc(credentialEnds, func(end string) bool {
		begin, is := strings.CutSuffix(word, end)
		return is && !(end == "token" && slices.ContainsFunc(placeWords, func(place string) bool { return strings.HasSuffix(begin, place) }))
	})
}

// paramNames are parameters that are credentials and would be something else in a header: of signed addresses, and of Azure's functions.
var paramNames = []string{"code", "assertion", "id-token-hint"}

// IsCredentialParam reports whether a parameter of a query, named as the provider will have decoded it, is one in which clients send a
// credential. What stands in brackets counts too, but in filters by metadata, whose names are the client's own.
// https://cloud.google.com/apis/docs/system-parameters, https://datatracker.ietf.org/doc/html/rfc6750#section-2.3,
// https://learn.microsoft.com/azure/ai-foundry/openai/how-to/realtime-audio-websockets,
// https://learn.microsoft.com/azure/azure-functions/function-keys-how-to,
// https://platform.openai.com/docs/api-reference/chat/list (metadata)
func IsCredentialParam(name string) bool {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r == '_':
			return '-'
		case r <= ' ' || r == 0x7f || r == '$':
			return -1
		}
		return r
	}, strings.ToLower(name))
	parts := strings.FieldsFunc(plain, func(r rune) bool { return r == '[' || r == ']' })
	if len(parts) > 1 && (parts[0] == "metadata" || parts[0] == "filter") {
		parts = parts[:1]
	}
	if strings.HasPrefix(plain, "[") {
		parts = nil // of no parameter
	}
	return slices.ContainsFunc(parts, func(part string) bool { return slices.Contains(paramNames, part) || IsCredential([]byte(part)) })
}

// Proxied are the headers by which proxies between the client and the front tell of the client and of themselves, beside those that begin
// with one of ProxiedPrefixes or end with one of ProxiedSuffixes. Providers behind the same proxies refuse requests that have some, and the
// client's address is nobody's business.
var (
	Proxied = []string{"via", "forwarded", "cdn-loop", "x-forwarded", "x-remote-addr", "x-rewrite-url", "x-scheme", "x-url-scheme", "front-end-https", "x-nginx-proxy", "x-http-method", "x-amzn-trace-id"}

	// Those of Keyturn and Envoy are among them.
	ProxiedPrefixes = []string{
		HeaderPrefix, EnvoyPrefix, ForwardedPrefix, "x-original-",
		"cf-", "fastly-", "akamai-", "x-akamai-", "fly-", "x-vercel-", "x-azure-", "x-fd-", "x-arr-", "x-appengine-", "x-appgw-", "x-amzn-oidc-", "x-amz-cf-",
		"x-ms-client-principal", "x-ms-token-", "x-authenticated-user", "x-ssl-client-", "ssl-client-",
	}

	// The client's address and name, in the words of many; and another method than the one that was let in.
	ProxiedSuffixes = []string{"-ip", "-clientip", "client-cert", "remote-user", "-method-override"}
)

// IsProxied reports whether a request's header, named in lower case, is about the way from the client to the front, and goes to no provider.
func IsProxied(name []byte) bool {
	for _, p := range ProxiedPrefixes {
		if len(name) >= len(p) && name[0] == p[0] && string(name[:len(p)]) == p {
			return true
		}
	}
	for _, p := range ProxiedSuffixes {
		if bytes.HasSuffix(name, []byte(p)) {
			return true
		}
	}
	return slices.ContainsFunc(Proxied, func(p string) bool { return len(p) == len(name) && string(name) == p })
}

// Headers of a browser by which a provider takes a request for a web page's. Where the key is the pool's it is the gateway's.
const (
	OriginHeader    = "origin"
	FetchPrefix     = "sec-fetch-"
	FetchSiteHeader = FetchPrefix + "site"
)

// IsPage reports whether a request's header, named in lower case, says that a web page sends it.
func IsPage(name []byte) bool {
	return string(name) == OriginHeader || bytes.HasPrefix(name, []byte(FetchPrefix))
}

// Accounts name organisations and projects, like some of Withheld, and are rarely there.
var Accounts = []string{"anthropic-organization-id", "x-goog-user-project", "chatgpt-account-id"}

// ProtocolHeader names the subprotocols of a WebSocket. It is the one header that a web page can set on it, so some of its items are
// credentials.
const ProtocolHeader = "sec-websocket-protocol"
