package keypool_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// TestWords holds what is made of words that no table has, in the forms in which providers of all kinds say them.
func TestWords(t *testing.T) {
	for _, tc := range []struct {
		status     int
		body, want string // the action
	}{
		// These say nothing of the key.
		{403, `{"error":{"message":"You are not allowed to generate embeddings from this model","type":"invalid_request_error","param":null,"code":null}}`, "surface"},
		{403, `{"error":{"code":"access_denied","message":"Access denied"}}`, "surface"},
		{403, `{"error":{"type":"permission_error","message":"Your organization does not have access to this feature."}}`, "surface"},
		{403, `{"error":{"message":"Project 'proj_x' does not have access to model 'gpt-4'","type":"invalid_request_error","code":"model_not_found"}}`, "surface"},
		{403, `{"message":"User: arn:aws:iam::1:user/x is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2 with an explicit deny"}`, "surface"},
		{403, `{"error":{"message":"Your request was blocked.","type":"forbidden"}}`, "surface"},
		{403, `Access denied`, "surface"},
		{403, `error code: 1010`, "surface"},
		{403, `{"error":{"message":"The account is not allowed to use this region"}}`, "surface"},
		{403, `{"error":{"code":"PERMISSION_DENIED","message":"Permission 'aiplatform.endpoints.predict' denied on resource"}}`, "surface"},
		{403, `{"error":{"code":403,"message":"Requests from referer <empty> are blocked.","status":"PERMISSION_DENIED","details":[{"reason":"API_KEY_HTTP_REFERRER_BLOCKED"}]}}`, "surface"},
		{403, `{"error":{"type":"invalid_request_error","message":"This account is restricted from accessing fine-tuned models."}}`, "surface"},
		{403, `{"error":{"message":"OAuth authentication is currently not supported for this endpoint","type":"permission_error"}}`, "surface"},
		{403, `{"success":false,"errors":[{"code":9109,"message":"Unauthorized to access requested resource"}]}`, "surface"},
		{403, `{"error":{"message":"Terms of service violation detected","code":"tos"}}`, "surface"},
		{400, `{"error":{"message":"Invalid value for 'api_key': expected string","type":"invalid_request_error"}}`, "surface"},
		{400, `{"error":{"message":"Your account must be verified to use tools"}}`, "surface"},
		{402, `{"error":{"message":"This request would exceed your remaining balance. Reduce max_tokens.","code":402}}`, "next_key"},
		{402, `{"error":{"message":"The request costs more than your remaining credits allow; lower max_tokens","code":402}}`, "next_key"},
		{403, `{"type":"https://developers.cloudflare.com/","title":"Error 1020: Access denied","status":403,"detail":"Your API key is invalid.","error_code":1020,"cloudflare_error":true}`, "surface"},
		{403, `{"error":"<html><h1>Your account has been suspended</h1></html>"}`, "surface"},
		{403, `RBAC: access denied`, "surface"},
		{403, `{"message":"Forbidden"}`, "surface"},
		{429, `{"title":"Error 1015: You are being rate limited","status":429,"cloudflare_error":true}`, "next_key"},
		{429, `error code: 1015`, "surface"},
		// These do.
		{403, `{"error":{"message":"Your access was terminated due to violation of our policies"}}`, "permanent"},
		{403, `{"error":{"message":"Your API key has been revoked.","type":"invalid_request_error"}}`, "permanent"},
		{403, `{"error":{"message":"API key is disabled"}}`, "permanent"},
		{403, `{"error":{"message":"The API key you provided has been deactivated. Please contact support"}}`, "permanent"},
		{403, `{"error":{"message":"Your organization has been suspended for violating our terms"}}`, "permanent"},
		{403, `{"error":{"message":"Your account has been disabled. Please contact support."}}`, "permanent"},
		{403, `{"error":{"message":"Account suspended"}}`, "permanent"},
		{403, `{"error":{"message":"account deactivated"}}`, "permanent"},
		{403, `{"error":{"message":"Invalid token"}}`, "permanent"},
		{403, `"Invalid token"`, "permanent"},
		{403, `{"detail":"Invalid or expired API key"}`, "permanent"},
		{403, `{"code":"InvalidApiKey","message":"Invalid API-key provided."}`, "permanent"},
		{403, `{"code":"invalid_api_key"}`, "permanent"},
		{403, `{"error":{"status":"UNAUTHENTICATED"}}`, "permanent"},
		{403, `{"error":{"type":"authentication_error","message":"x"}}`, "permanent"},
		{400, `{"error":{"message":"Your organization has been disabled.","type":"invalid_request_error"}}`, "permanent"},
		{400, `{"error":{"message":"The API key is invalid."}}`, "permanent"},
		{400, `{"error":{"message":"Invalid API Key","code":400}}`, "permanent"},
		{400, `{"message":"invalid api token"}`, "permanent"},
		{402, `{"error":{"message":"Your API key has been disabled"}}`, "permanent"},
		{400, `{"error":{"code":"account_suspended"}}`, "permanent"},
		{400, `{"error":{"type":"invalid_request_error","message":"Your account is not active, please check your billing details on our website."}}`, "permanent"},
		// These say that it has no credit.
		{403, `{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","code":"insufficient_quota"}}`, "cooldown"},
		{400, `{"error":{"message":"You have insufficient credits"}}`, "cooldown"},
		{403, `{"error":{"message":"Insufficient credits. Add more"}}`, "cooldown"},
		{403, `{"error":{"message":"Your credit balance is too low"}}`, "cooldown"},
		{400, `{"error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}`, "cooldown"},
		{403, `{"error":{"message":"Your account has reached its spending limit"}}`, "cooldown"},
		{400, `{"error":{"message":"Monthly spending limit reached"}}`, "cooldown"},
		{429, `{"error":{"message":"Monthly usage limit reached for this key"}}`, "cooldown"},
		{403, `{"statusCode":403,"message":"Out of call volume quota. Quota will be replenished in 01:23:45."}`, "cooldown"},
		{402, `{"error":{"message":"Payment required"}}`, "cooldown"},
		// These are limits, and the last ones nobody's.
		{429, `{"error":{"message":"The model is currently overloaded with other requests.","type":"rate_limit_exceeded"}}`, "surface"},
		{429, `{"error":{"message":"Resource exhausted. Please try again later.","code":429,"status":"RESOURCE_EXHAUSTED"}}`, "cooldown"},
		{429, `{"error":{"message":"Too many requests from all users of this provider","metadata":{"provider_name":"X"}}}`, "surface"},
		{429, `{"error":{"message":"System capacity reached. Please retry."}}`, "surface"},
		{429, `{"error":{"message":"We're currently processing too many requests — please try again later.","code":"server_busy"}}`, "surface"},
		{429, `{"error":{"message":"Flex processing is not available at this time: insufficient resources"}}`, "surface"},
		{429, `{"error":{"message":"Resource Unavailable","type":"resource_unavailable"}}`, "surface"},
		{429, `{"error":{"message":"No available workers"}}`, "surface"},
		{429, `{"error":{"code":"engine_overloaded"}}`, "surface"},
	} {
		v := keypool.Classify(keypool.Policy{}, keypool.Answer{Status: tc.status, Body: []byte(tc.body)})
		require.Equal(t, tc.want, v.Action.String(), "%d %s", tc.status, tc.body)
	}
}
