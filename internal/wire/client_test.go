package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIsCredential(t *testing.T) {
	for _, name := range []string{
		"x-litellm-api-key", "x-litellm-key-spend", "x-portkey-api-key", "x-portkey-virtual-key", "x-portkey-config", "helicone-auth", "cf-aig-authorization", "x-bf-vk", "x-goog-api-key", "ocp-apim-subscription-key",
		"x-auth-token", "x-access-token", "x-amz-security-token", "x-openai-api-key", "x-openai-key", "apikey", "api_key", "x-apikey", "x-auth-key", "x-client-secret", "x-jwt-assertion", "x-vercel-oidc-token",
		"x-csrf-token", "x-goog-iap-jwt-assertion", "authorization", "x-original-authorization", "authentication", "token", "key", "dpop", "x-gateway-key", "x-user-password", "auth",
	} {
		require.True(t, IsCredential([]byte(name)), name)
		known := false
		for _, part := range append([]string{"dpop"}, append(CredentialParts, GatewayPrefixes...)...) {
			known = known || strings.Contains(name, part)
		}
		require.True(t, known, "Envoy sends it: %s", name)
	}
	for _, name := range []string{
		"", "idempotency-key", "sec-websocket-key", "session_id", "x-session-id", "anthropic-version", "anthropic-beta", "openai-beta", "x-max-tokens", "x-total-tokens", "x-author", "x-authority",
		"x-stainless-lang", "x-cache-key", "prompt-cache-key", "x-tokenizer", "x-keyboard", "content-type", "http-referer", "x-title", "monkey", "x-turn-key", "x-amzn-bedrock-guardrailidentifier",
		"anthropic-dangerous-direct-browser-access", "user-agent", "sec-websocket-protocol", "x-ratelimit-limit-tokens",
	} {
		require.False(t, IsCredential([]byte(name)), name)
	}
}

func TestIsCredentialParam(t *testing.T) {
	for _, name := range []string{"key", "KEY", "api-key", "api_key", "apikey", "access_token", "$key", " key ", "key[]", "subscription-key", "token", "authorization", "client_secret", "oauth_token", "x-goog-api-key", "auth"} {
		require.True(t, IsCredentialParam(name), name)
	}
	for _, name := range []string{"", "model", "api-version", "page_token", "next-token", "max_token", "after", "metadata[key]", "pageToken", "keys", "keyword", "alt", "max_tokens", "beta", "[key]"} {
		require.False(t, IsCredentialParam(name), name)
	}
}

func TestIsProxied(t *testing.T) {
	for _, name := range []string{
		"cf-connecting-ip", "cf-ray", "cdn-loop", "forwarded", "via", "x-real-ip", "true-client-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-access-token", "x-envoy-original-host", "x-keyturn-id",
		"x-azure-clientip", "fastly-client-ip", "fly-client-ip", "x-http-method-override", "x-original-url", "cf-",
	} {
		require.True(t, IsProxied([]byte(name)), name)
	}
	for _, name := range []string{"", "x-stainless-os", "traceparent", "user-agent", "x-request-id", "x-amzn-bedrock-trace", "conf", "cfg", "x-forward", "viaduct", "host"} {
		require.False(t, IsProxied([]byte(name)), name)
	}
}
