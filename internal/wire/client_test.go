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
		"x-rapidapi-key", "x-functions-key", "x-goog-key", "mistral-key", "groq-key", "x-key", "deepseek_key", "x-myapikey", "x-groq-apikey", "x-session-token", "x-sessiontoken", "x-signature", "x-hub-signature-256", "session-key",
		"x-passwd", "x-service-secret", "x-client-pwd", "x-github-pat", "x-companykey.key",
	} {
		require.True(t, IsCredential([]byte(name)), name)
		known := false
		for _, part := range append(CredentialParts, GatewayPrefixes...) {
			known = known || strings.Contains(name, part)
		}
		require.True(t, known, "Envoy sends it: %s", name)
	}
	for _, name := range []string{
		"", "idempotency-key", "sec-websocket-key", "session_id", "x-session-id", "anthropic-version", "anthropic-beta", "openai-beta", "x-max-tokens", "x-total-tokens", "x-author", "x-authority",
		"x-stainless-lang", "x-cache-key", "prompt-cache-key", "x-tokenizer", "x-keyboard", "content-type", "http-referer", "x-title", "monkey", "x-turn-key", "x-amzn-bedrock-guardrailidentifier",
		"anthropic-dangerous-direct-browser-access", "user-agent", "sec-websocket-protocol", "x-ratelimit-limit-tokens",
		"x-idempotency-key", "x-stainless-retry-count", "x-stainless-key", "x-routing-key", "x-conversation-key", "x-correlation-key", "x-page-token", "x-nextpagetoken", "x-signal", "x-path", UsedKeyHeader, "x-design", "patch", "x-compat",
	} {
		require.False(t, IsCredential([]byte(name)), name)
	}
}

func TestIsCredentialParam(t *testing.T) {
	for _, name := range []string{"key", "KEY", "api-key", "api_key", "apikey", "access_token", "$key", " key ", "key[]", "subscription-key", "token", "authorization", "client_secret", "oauth_token", "x-goog-api-key", "auth", "user[key]", "a[b][token]", "sig", "code", "secret", "signature", "apiKey", "accessToken", "ke\ty", "key\x00", "x_key", "groqKey[apikey]"} {
		require.True(t, IsCredentialParam(name), name)
	}
	for _, name := range []string{"", "model", "api-version", "page_token", "next-token", "max_token", "after", "metadata[key]", "pageToken", "keys", "keyword", "alt", "max_tokens", "beta", "[key]", "metadata[token]", "filter[key]", "nextPageToken", "codec", "idempotency_key", "cache_key", "sort-key", "design"} {
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
