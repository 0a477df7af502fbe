package wire

import (
	"bytes"
	"slices"
	"strings"
)

// CredentialParts stand in the names of all headers for which IsCredential is true: Envoy sends these to Keyturn.
var CredentialParts = []string{"auth", "bearer", "credential", "jwt", "key", "password", "secret", "token"}

// GatewayPrefixes begin the headers of other gateways, in which their clients send them credentials.
// https://portkey.ai/docs/api-reference/inference-api/headers, https://docs.litellm.ai/docs/proxy/virtual_keys,
// https://docs.helicone.ai/helicone-headers/header-directory, https://developers.cloudflare.com/ai-gateway/configuration/authentication
var GatewayPrefixes = []string{"x-portkey-", "x-litellm-", "helicone-", "cf-aig-", "x-bf-", "x-tfy-"}

// credentialWords are parts of a header's name, between dashes, of which one says that a credential is in it; keyWords say so before
// "key".
var (
	credentialWords = []string{
		"auth", "authn", "authz", "authentication", "authorization", "oauth", "bearer", "credential", "credentials", "jwt", "password", "secret", "token",
		"apikey", "accesskey", "authkey", "secretkey", "accesstoken", "authtoken", "apitoken", "dpop",
	}
	keyWords = []string{"access", "admin", "api", "auth", "gateway", "license", "master", "openai", "anthropic", "azure", "private", "proxy", "secret", "service", "subscription", "user", "virtual"}
	// placeWords before "token" say that it is a place in a list.
	placeWords = []string{"page", "next", "continuation", "continue", "starting", "start", "sync", "max", "stop"}
)

// IsCredential reports whether a request's header, named in lower case, is one in which clients send a credential to somebody: a gateway,
// a proxy, an access product, or a provider that none of Credentials is of. It goes by the words in the name, since there is no end of them.
func IsCredential(name []byte) bool {
	for _, prefix := range GatewayPrefixes {
		if len(name) >= len(prefix) && string(name[:len(prefix)]) == prefix {
			return true
		}
	}
	if !slices.ContainsFunc(CredentialParts, func(p string) bool { return bytes.Contains(name, []byte(p)) }) {
		return string(name) == "dpop"
	}
	before := ""
	for word := range strings.FieldsFuncSeq(string(name), func(r rune) bool { return r == '-' || r == '_' || r == '.' }) {
		if word == "token" && slices.Contains(placeWords, before) {
			before = word
			continue
		}
		if slices.Contains(credentialWords, word) || word == "key" && slices.Contains(keyWords, before) {
			return true
		}
		before = word
	}
	return string(name) == "key"
}

// IsCredentialParam reports whether a parameter of a query, named as the provider will have decoded it, is one in which clients send a
// credential. https://cloud.google.com/apis/docs/system-parameters, https://datatracker.ietf.org/doc/html/rfc6750#section-2.3,
// https://learn.microsoft.com/azure/ai-foundry/openai/how-to/realtime-audio-websockets
func IsCredentialParam(name string) bool {
	name = strings.ReplaceAll(strings.TrimLeft(strings.ToLower(strings.TrimSpace(name)), "$"), "_", "-")
	name, _, _ = strings.Cut(name, "[")
	return name != "" && (name == "key" || IsCredential([]byte(name)))
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
var Accounts = []string{"anthropic-organization-id", "x-goog-user-project"}

// ProtocolHeader names the subprotocols of a WebSocket. It is the one header that a web page can set on it, so some of its items are
// credentials.
const ProtocolHeader = "sec-websocket-protocol"
