package keypool_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// Error bodies as the providers document them or were seen to send them, by the shape each of them uses.
func openAI(kind, code, message string) string {
	return fmt.Sprintf(`{"error":{"message":%q,"type":%q,"param":null,"code":%s}}`, message, kind, orNull(code))
}

func anthropic(kind, message string) string {
	return fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":%q},"request_id":"req_1"}`, kind, message)
}

func gemini(code int, status, message, details string) string {
	return fmt.Sprintf(`{"error":{"code":%d,"message":%q,"status":%q,"details":[%s]}}`, code, message, status, details)
}

func openRouter(code int, message, metadata string) string {
	return fmt.Sprintf(`{"error":{"message":%q,"code":%d,"metadata":%s},"user_id":"u"}`, message, code, metadata)
}

func orNull(s string) string {
	if s == "" {
		return "null"
	}
	return fmt.Sprintf("%q", s)
}

func errorInfo(reason string) string {
	return fmt.Sprintf(`{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":%q,"domain":"googleapis.com","metadata":{"service":"generativelanguage.googleapis.com"}}`, reason)
}

func quotaFailure(id string) string {
	return fmt.Sprintf(`{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m","quotaId":%q}]}`, id)
}

const geminiBadKey = "API key not valid. Please pass a valid API key."

func TestClassify(t *testing.T) {
	type verdict struct {
		class  keypool.Class
		action keypool.Action
		scope  keypool.Scope
	}
	var (
		none    = verdict{}
		retire  = verdict{keypool.Credential, keypool.Retire, keypool.ScopeKey}
		doubt   = verdict{keypool.Credential, keypool.CoolDown, keypool.ScopeKey}
		shown   = verdict{class: keypool.Credential}
		limited = verdict{keypool.RateLimit, keypool.CoolDown, keypool.ScopeKey}
		quota   = verdict{keypool.Quota, keypool.CoolDown, keypool.ScopeGroup}
		unknown = verdict{class: keypool.Unknown}
		another = verdict{class: keypool.Unknown, action: keypool.NextKey}
		access  = verdict{class: keypool.ModelAccess}
		models  = verdict{keypool.RateLimit, keypool.CoolDown, keypool.ScopeKeyModel}
		large   = verdict{class: keypool.CallerFault, action: keypool.NextKey}
		owed    = verdict{class: keypool.Quota}
		gone    = verdict{class: keypool.ModelGone}
		region  = verdict{class: keypool.Region}
		broken  = verdict{class: keypool.Transient}
		caller  = verdict{class: keypool.CallerFault}
	)
	for _, tc := range []struct {
		name    string
		status  int
		body    string
		strict  verdict
		lenient verdict
		code    string
	}{
		// Every status of the base table, with nothing in the body.
		{"any 200", 200, "", none, none, ""},
		{"any 204 with an error in it", 204, openAI("x", "invalid_api_key", ""), none, none, ""},
		{"any 302", 302, "", none, none, ""},
		{"any 0", 0, "", none, none, ""},
		{"any 400", 400, "", caller, caller, ""},
		{"any 401", 401, "", retire, doubt, ""},
		{"any 402", 402, "", quota, quota, ""},
		{"any 403", 403, "", another, unknown, ""},
		{"any 404", 404, "", caller, caller, ""},
		{"any 405", 405, "", caller, caller, ""},
		{"any 408", 408, "", broken, broken, ""},
		{"any 409", 409, "", caller, caller, ""},
		{"any 413", 413, "", caller, caller, ""},
		{"any 422", 422, "", caller, caller, ""},
		{"any 429", 429, "", limited, limited, ""},
		{"any 500", 500, "", broken, broken, ""},
		{"any 502", 502, "", broken, broken, ""},
		{"any 503", 503, "", broken, broken, ""},
		{"any 504", 504, "", broken, broken, ""},
		{"any 529", 529, "", broken, broken, ""},

		// Bodies that say nothing fall back to the status.
		{"garbage html", 401, "<html>no</html>", another, another, ""},
		{"garbage cut off", 429, `{"error":{"code":"insufficient_quo`, limited, limited, ""},
		{"garbage empty object", 429, `{}`, limited, limited, ""},
		{"garbage null", 429, `null`, limited, limited, ""},
		{"garbage empty array", 429, `[]`, limited, limited, ""},
		{"garbage numbers", 429, `{"error":{"code":{},"type":[],"message":7,"status":true,"details":5,"metadata":"x"}}`, limited, limited, ""},
		{"garbage null error", 401, `{"error":null,"code":"mismatched_project"}`, caller, caller, "mismatched_project"},
		{"garbage error of another type", 403, `{"error":true}`, another, unknown, ""},
		{"garbage nested too deep", 429, `[[[[[[{"error":{"code":"insufficient_quota"}}]]]]]]`, limited, limited, ""},
		{"garbage beyond 1 MiB", 429, openAI("x", "insufficient_quota", strings.Repeat("x", 1<<20)), limited, limited, ""},
		{"garbage code that is a sentence", 403, `{"code":"The caller does not have permission","error":"no"}`, unknown, unknown, ""},
		{"garbage code that is long", 403, openAI("t", strings.Repeat("a", 100), ""), unknown, unknown, strings.Repeat("a", 64)},

		{"openai 401 invalid key", 401, openAI("invalid_request_error", "invalid_api_key", "Incorrect API key provided: sk-p***"), retire, doubt, "invalid_api_key"},
		{"openai 401 no code", 401, openAI("invalid_request_error", "", "You didn't provide an API key."), retire, doubt, "invalid_request_error"},
		{"openai 401 wrong organization", 401, openAI("invalid_request_error", "mismatched_organization", ""), caller, caller, "mismatched_organization"},
		{"openai 401 wrong project", 401, openAI("invalid_request_error", "mismatched_project", ""), caller, caller, "mismatched_project"},
		{"openai 401 restricted key", 401, openAI("invalid_request_error", "", "You have insufficient permissions for this operation. Missing scopes: api.files.read."), caller, caller, "invalid_request_error"},
		{"openai 401 restricted key, error as text", 401, `{"error":"You have insufficient permissions for this operation. Missing scopes: api.model.read."}`, caller, caller, ""},
		{"openai 403 region", 403, openAI("request_forbidden", "unsupported_country_region_territory", ""), region, region, "unsupported_country_region_territory"},
		{"openai 403 region without envelope", 403, `{"code":"unsupported_country_region_territory","param":null,"type":"request_forbidden"}`, region, region, "unsupported_country_region_territory"},
		{"openai 403 model", 403, openAI("invalid_request_error", "model_not_found", "Project `p` does not have access to model `m`"), access, access, "model_not_found"},
		{"openai 404 model", 404, openAI("invalid_request_error", "model_not_found", "The model `m` does not exist"), gone, gone, "model_not_found"},
		{"openai 404 response", 404, openAI("invalid_request_error", "", "Response with id 'resp_1' not found."), caller, caller, "invalid_request_error"},
		{"openai 429 requests", 429, openAI("requests", "rate_limit_exceeded", ""), limited, limited, "rate_limit_exceeded"},
		{"openai 429 slow down", 429, openAI("rate_limit_error", "slow_down", ""), limited, limited, "slow_down"},
		{"openai 429 more than a minute's tokens", 429, openAI("tokens", "rate_limit_exceeded", "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Requested 30601."), caller, caller, "rate_limit_exceeded"},
		{"openai 429 quota", 429, openAI("insufficient_quota", "insufficient_quota", "You exceeded your current quota"), quota, quota, "insufficient_quota"},
		{"openai 429 quota by type only", 429, openAI("insufficient_quota", "", ""), quota, quota, "insufficient_quota"},
		{"openai 429 credit", 429, openAI("insufficient_quota", "credit_balance_exhausted", ""), quota, quota, "credit_balance_exhausted"},
		{"openai 429 spend of organization", 429, openAI("insufficient_quota", "organization_spend_limit_exceeded", ""), quota, quota, "organization_spend_limit_exceeded"},
		{"openai 429 spend of project", 429, openAI("insufficient_quota", "project_spend_limit_exceeded", ""), quota, quota, "project_spend_limit_exceeded"},
		{"openai 429 usage of organization", 429, openAI("insufficient_quota", "organization_usage_limit_exceeded", ""), quota, quota, "organization_usage_limit_exceeded"},
		{"openai 429 hard limit", 429, openAI("insufficient_quota", "billing_hard_limit_reached", ""), quota, quota, "billing_hard_limit_reached"},
		{"openai 400 unknown parameter", 400, openAI("invalid_request_error", "unknown_parameter", ""), caller, caller, "unknown_parameter"},
		{"openai 400 hard limit", 400, openAI("invalid_request_error", "billing_hard_limit_reached", ""), quota, quota, "billing_hard_limit_reached"},
		{"openai 503 overloaded", 503, openAI("service_unavailable_error", "server_is_overloaded", ""), broken, broken, "server_is_overloaded"},
		{"openai 500 with a quota code", 500, openAI("insufficient_quota", "insufficient_quota", ""), broken, broken, "insufficient_quota"},

		{"azure 401", 401, `{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}`, retire, doubt, "401"},
		{"azure 429", 429, `{"error":{"code":"RateLimitReached","message":"Please retry after 20 seconds."}}`, limited, limited, "RateLimitReached"},
		{"azure 429 number", 429, `{"error":{"code":"429","message":"Please retry after 86400 seconds."}}`, limited, limited, "429"},
		{"azure 429 gateway", 429, `{"statusCode":429,"message":"Rate limit is exceeded. Try again in 23 seconds."}`, limited, limited, ""},
		{"azure 429 no capacity", 429, `{"error":{"code":"NoCapacity","message":"The system is experiencing high demand."}}`, broken, broken, "NoCapacity"},
		{"azure 404 deployment", 404, `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}`, gone, gone, "DeploymentNotFound"},
		{"azure 400 content filter", 400, `{"error":{"message":"…","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{}}}`, caller, caller, "content_filter"},

		{"anthropic 400 credit", 400, anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."), quota, quota, "invalid_request_error"},
		{"anthropic 400 spend limit", 400, anthropic("invalid_request_error", "You have reached your specified API usage limits. You will regain access on 2025-07-01 at 00:00 UTC."), quota, quota, "invalid_request_error"},
		{"anthropic 400 quoting the client", 400, anthropic("invalid_request_error", "messages.0: \"Your credit balance is too low\" is not valid"), caller, caller, "invalid_request_error"},
		{"anthropic 400", 400, anthropic("invalid_request_error", "max_tokens: Field required"), caller, caller, "invalid_request_error"},
		{"anthropic 401", 401, anthropic("authentication_error", "invalid x-api-key"), retire, doubt, "authentication_error"},
		{"anthropic 402", 402, anthropic("billing_error", ""), quota, quota, "billing_error"},
		{"anthropic 403", 403, anthropic("permission_error", "Your API key does not have permission to use the specified resource."), retire, shown, "permission_error"},
		{"anthropic 404 model", 404, anthropic("not_found_error", "model: claude-0"), gone, gone, "not_found_error"},
		{"anthropic 404", 404, anthropic("not_found_error", "Not found"), caller, caller, "not_found_error"},
		{"anthropic 413", 413, anthropic("request_too_large", ""), caller, caller, "request_too_large"},
		{"anthropic 429", 429, anthropic("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."), limited, limited, "rate_limit_error"},
		{"anthropic 429 spend limit", 429, anthropic("rate_limit_error", "This request would exceed your account's monthly spend limit. Please try again later."), quota, quota, "rate_limit_error"},
		{"anthropic 429 enforced limit", 429, anthropic("enforced_spend_limit_reached", ""), quota, quota, "enforced_spend_limit_reached"},
		{"anthropic 429 enforced limit in details", 429, `{"type":"error","error":{"type":"rate_limit_error","message":"…","details":{"error_code":"enforced_spend_limit_reached"}}}`, quota, quota, "enforced_spend_limit_reached"},
		{"anthropic 429 long context", 429, anthropic("rate_limit_error", "Extra usage is required for long context requests."), caller, caller, "rate_limit_error"},
		{"anthropic 500", 500, anthropic("api_error", ""), broken, broken, "api_error"},
		{"anthropic 529", 529, anthropic("overloaded_error", "Overloaded"), broken, broken, "overloaded_error"},

		{"gemini 400 key", 400, gemini(400, "INVALID_ARGUMENT", geminiBadKey, errorInfo("API_KEY_INVALID")), retire, doubt, "API_KEY_INVALID"},
		{"gemini 400 key without details", 400, gemini(400, "INVALID_ARGUMENT", geminiBadKey, ""), retire, doubt, "INVALID_ARGUMENT"},
		{"gemini 400 key in an array", 400, "[" + gemini(400, "INVALID_ARGUMENT", geminiBadKey, errorInfo("API_KEY_INVALID")) + "\n]", retire, doubt, "API_KEY_INVALID"},
		{"gemini 400 key encoded twice", 400, fmt.Sprintf(`{"error":{"message":%q,"code":400,"status":"Bad Request"}}`, gemini(400, "INVALID_ARGUMENT", geminiBadKey, errorInfo("API_KEY_INVALID"))), retire, doubt, "API_KEY_INVALID"},
		{"gemini 400 key encoded twice as error", 400, fmt.Sprintf(`{"error":%q}`, gemini(400, "INVALID_ARGUMENT", "", errorInfo("API_KEY_INVALID"))), retire, doubt, "API_KEY_INVALID"},
		{"gemini 400 key encoded twice as a whole", 400, fmt.Sprintf("%q", gemini(400, "INVALID_ARGUMENT", "", errorInfo("API_KEY_INVALID"))), retire, doubt, "API_KEY_INVALID"},
		{"gemini 400 quoting the client", 400, fmt.Sprintf(`{"error":{"message":%q,"type":"invalid_request_error","code":400}}`, openAI("x", "invalid_api_key", "")), caller, caller, "invalid_request_error"},
		{"gemini 400 argument", 400, gemini(400, "INVALID_ARGUMENT", "Invalid JSON payload received. API key not valid", ""), caller, caller, "INVALID_ARGUMENT"},
		{"gemini 400 region", 400, gemini(400, "FAILED_PRECONDITION", "User location is not supported for the API use.", ""), region, region, "FAILED_PRECONDITION"},
		{"gemini 402", 402, gemini(402, "RESOURCE_EXHAUSTED", "", ""), quota, quota, "RESOURCE_EXHAUSTED"},
		{"gemini 403", 403, gemini(403, "PERMISSION_DENIED", "", errorInfo("API_KEY_SERVICE_BLOCKED")), retire, shown, "API_KEY_SERVICE_BLOCKED"},
		{"gemini 404 model", 404, gemini(404, "NOT_FOUND", "models/gemini-0 is not found for API version v1beta", ""), gone, gone, "NOT_FOUND"},
		{"gemini 429", 429, gemini(429, "RESOURCE_EXHAUSTED", "", quotaFailure("GenerateRequestsPerMinutePerProjectPerModel")), models, models, "RESOURCE_EXHAUSTED"},
		{"gemini 429 per day", 429, gemini(429, "RESOURCE_EXHAUSTED", "", quotaFailure("RequestsPerDayPerProject")), quota, quota, "RESOURCE_EXHAUSTED"},
		{"gemini 429 per day and model", 429, gemini(429, "RESOURCE_EXHAUSTED", "", quotaFailure("GenerateRequestsPerDayPerProjectPerModel-FreeTier")), verdict{keypool.Quota, keypool.CoolDown, keypool.ScopeKeyModel}, verdict{keypool.Quota, keypool.CoolDown, keypool.ScopeKeyModel}, "RESOURCE_EXHAUSTED"},
		{"gemini 429 prepaid", 429, gemini(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted. Please go to AI Studio.", ""), quota, quota, "RESOURCE_EXHAUSTED"},
		{"gemini 429 at capacity", 429, gemini(429, "RESOURCE_EXHAUSTED", "", errorInfo("MODEL_CAPACITY_EXHAUSTED")), broken, broken, "MODEL_CAPACITY_EXHAUSTED"},
		{"gemini 503", 503, gemini(503, "UNAVAILABLE", "The model is overloaded.", ""), broken, broken, "UNAVAILABLE"},

		{"openrouter 402", 402, openRouter(402, "Insufficient credits", "null"), quota, quota, "402"},
		{"openrouter 403 key limit", 403, openRouter(403, "Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys", "null"), verdict{keypool.Quota, keypool.CoolDown, keypool.ScopeKey}, verdict{class: keypool.Quota}, "403"},
		{"openrouter 403 moderation", 403, openRouter(403, "Input was flagged", `{"reasons":["x"],"flagged_input":"y"}`), caller, caller, "403"},
		{"openrouter 404 no endpoints", 404, openRouter(404, "No endpoints found for m.", "null"), gone, gone, "404"},
		{"openrouter 429 of the provider behind it", 429, openRouter(429, "Provider returned error", `{"raw":"busy","provider_name":"P"}`), broken, broken, "429"},
		{"openrouter 429 of a pool that all share", 429, openRouter(429, "Provider returned error", `{"raw":"m is temporarily rate-limited upstream","limit_source":"upstream_provider_shared_pool"}`), broken, broken, "429"},
		{"openrouter 429 of the key", 429, openRouter(429, "Rate limit exceeded: limit_rpm", `{"headers":{"X-RateLimit-Remaining":"0"}}`), limited, limited, "429"},
		{"openrouter 401 of the provider behind it", 401, openRouter(401, "Provider returned error", `{"raw":"Unauthorized","provider_name":"P"}`), another, another, "401"},
		{"openrouter 403 of the provider behind it", 403, openRouter(403, "Provider returned error", `{"raw":"API key disabled","provider_name":"P"}`), unknown, unknown, "403"},
		{"openrouter 402 larger than the credit", 402, openRouter(402, "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 30104.", `{"provider_name":null}`), large, large, "402"},
		{"openrouter 402 with nothing left", 402, openRouter(402, "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 0.", "null"), quota, quota, "402"},
		{"openrouter 402 of a long prompt", 402, openRouter(402, "Prompt tokens limit exceeded: 64128 > 6964. To increase, visit …", "null"), large, large, "402"},

		// What is not the key's, in the words of many.
		{"403 of a firewall", 403, "<!DOCTYPE html>\n<html lang=\"en-US\"><head><title>Attention Required! | Cloudflare</title></head></html>", unknown, unknown, ""},
		{"403 of a firewall, behind a comment", 403, "\ufeff\n<!--[if lt IE 7]> <html> <![endif]--> Your API key is invalid", unknown, unknown, ""},
		{"429 of a firewall", 429, "<html><title>Access denied | you are being rate limited</title></html>", another, another, ""},
		{"403 of a firewall in a word", 403, "error code: 1020", unknown, unknown, ""},
		{"403 unknown words", 403, `{"error":{"type":"forbidden","message":"Request not allowed"}}`, unknown, unknown, "forbidden"},
		{"403 permission for anything else", 403, anthropic("permission_error", "This workspace may not use the beta header."), unknown, unknown, "permission_error"},
		{"403 permission without words", 403, anthropic("permission_error", ""), retire, shown, "permission_error"},
		{"403 an unverified organisation", 403, openAI("invalid_request_error", "", "Your organization must be verified to use the model `gpt-image-1`. Please go to: …"), access, access, "invalid_request_error"},
		{"403 an organisation that is verified for nothing", 403, openAI("invalid_request_error", "", "Your organization must be verified to stream this model."), access, access, "invalid_request_error"},
		{"403 a model of bedrock", 403, `{"message":"You don't have access to the model with the specified model ID."}`, access, access, ""},
		{"403 a model in other words", 403, `{"error":"Model mistral-large is not enabled for your plan"}`, access, access, ""},
		{"403 a key that is not valid for a model", 403, `{"error":"This API key is not valid for the model gpt-5"}`, access, access, ""},
		{"403 a file of another project", 403, gemini(403, "PERMISSION_DENIED", "You do not have permission to access the File abc123 or it may not exist.", ""), unknown, unknown, "PERMISSION_DENIED"},
		{"403 a service that is switched off", 403, gemini(403, "PERMISSION_DENIED", "Generative Language API has not been used in project 1 before or it is disabled.", errorInfo("SERVICE_DISABLED")), unknown, unknown, "SERVICE_DISABLED"},
		{"403 an address", 403, gemini(403, "PERMISSION_DENIED", "The provided API key has an IP address restriction.", errorInfo("API_KEY_IP_ADDRESS_BLOCKED")), region, region, "API_KEY_IP_ADDRESS_BLOCKED"},
		{"403 a network", 403, `{"error":{"code":"403","message":"Access denied due to Virtual Network/Firewall rules."}}`, region, region, "403"},
		{"403 a country", 403, `{"error":{"message":"Country, region, or territory not supported"}}`, region, region, ""},
		{"403 content", 403, `{"code":"The caller does not have permission to execute the specified operation","error":"Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_DATA_LEAKAGE"}`, caller, caller, ""},
		{"403 a session key", 403, openAI("invalid_request_error", "", "Your request to GET /v1/dashboard/billing must be made with a session key (that is, it can only be made from the browser). You made it with the following key type: secret."), caller, caller, "invalid_request_error"},
		{"403 terms", 403, openAI("permission_error", "", "The terms of service must be accepted first."), caller, caller, "permission_error"},
		{"403 what the client wrote", 403, openAI("invalid_request_error", "", "messages[0]: 'Your API key has been revoked' is refused"), unknown, unknown, "invalid_request_error"},
		{"401 an address", 401, openAI("invalid_request_error", "", "Your request was sent from an IP address that is not in your organization's allowlist."), region, region, "invalid_request_error"},

		// What is, in words.
		{"403 disabled", 403, openAI("invalid_request_error", "", "This API key has been disabled."), retire, shown, "invalid_request_error"},
		{"403 may not be used", 403, openAI("permission_error", "", "This key may not be used."), retire, shown, "permission_error"},
		{"403 may not be used for a model", 403, openAI("permission_error", "", "This key may not be used for the model gpt-5."), access, access, "permission_error"},
		{"403 leaked", 403, gemini(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key.", ""), retire, shown, "PERMISSION_DENIED"},
		{"403 suspended consumer", 403, gemini(403, "PERMISSION_DENIED", "Permission denied: Consumer 'api_key:AIza' has been suspended.", ""), retire, shown, "PERMISSION_DENIED"},
		{"403 project denied", 403, gemini(403, "PERMISSION_DENIED", "Your project has been denied access. Please contact support.", ""), retire, shown, "PERMISSION_DENIED"},
		{"403 bedrock", 403, `{"Message":"Authentication failed: Please make sure your API Key is valid."}`, retire, shown, ""},
		{"403 aws", 403, `{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":"The security token included in the request is invalid."}`, retire, shown, "UnrecognizedClientException"},
		{"403 invalid key", 403, `{"detail":"Invalid API key"}`, retire, shown, ""},
		{"403 account", 403, `{"error":{"message":"Your account org-1 <ak-1> has been suspended, please contact support","type":"forbidden"}}`, retire, shown, "forbidden"},
		{"400 disabled organisation", 400, anthropic("invalid_request_error", "This organization has been disabled."), retire, doubt, "invalid_request_error"},
		{"400 restricted organisation", 400, openAI("invalid_request_error", "organization_restricted", "Organization has been restricted."), retire, doubt, "organization_restricted"},
		{"400 xai", 400, `{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***00. You can obtain an API key from https://console.x.ai."}`, retire, doubt, ""},
		{"400 in other words", 400, `{"message":"API key has expired"}`, retire, doubt, ""},
		{"400 words within", 400, openAI("invalid_request_error", "", "messages.0.content: API key has expired"), caller, caller, "invalid_request_error"},
		{"400 arrears", 400, `{"code":"Arrearage","message":"Access denied, please make sure your account is in good standing."}`, quota, quota, "Arrearage"},
		{"403 no credits", 403, `{"code":"The caller does not have permission to execute the specified operation","error":"Your newly created team doesn't have any credits or licenses yet."}`, quota, owed, ""},
		{"403 no credits left", 403, `{"error":"You have run out of credits or need a Grok subscription."}`, quota, owed, ""},
		{"403 balance", 403, `{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}`, quota, owed, "30001"},
		{"403 overdue", 403, `{"error":{"code":"AccountOverdueError","message":"The request failed because your account has an overdue balance.","type":"Forbidden"}}`, quota, owed, "AccountOverdueError"},
		{"403 quota in a code", 403, `{"code":"INSUFFICIENT_BALANCE","message":"Insufficient account balance"}`, quota, owed, "INSUFFICIENT_BALANCE"},
		{"402 deepseek", 402, `{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}`, quota, quota, "invalid_request_error"},
		{"429 xai", 429, `{"code":"Some resource has been exhausted","error":"Your team 16f2151a has either used all available credits or reached its monthly spending limit."}`, quota, quota, ""},
		{"429 moonshot", 429, `{"error":{"message":"Your account org-1 is suspended due to insufficient balance, please recharge your account","type":"exceeded_current_quota_error"}}`, quota, quota, "exceeded_current_quota_error"},
		{"429 moonshot per day", 429, `{"error":{"message":"Your account u-1<ak-1> request reached organization TPD rate limit, current: 1500000, limit: 1500000","type":"rate_limit_reached_error"}}`, quota, quota, "rate_limit_reached_error"},
		{"429 zhipu", 429, `{"error":{"code":"1113","message":"Insufficient balance or no resource package. Please recharge."}}`, quota, quota, "1113"},
		{"429 zhipu by its words", 429, `{"error":{"message":"余额不足或无可用资源包,请充值。"}}`, quota, quota, ""},

		// 429 that is nobody's, and a model's.
		{"429 flex", 429, openAI("resource_unavailable", "resource_unavailable", "Flex service has no capacity for this request."), broken, broken, "resource_unavailable"},
		{"429 engine", 429, `{"error":{"message":"The engine is currently overloaded, please try again later","type":"engine_overloaded_error"}}`, broken, broken, "engine_overloaded_error"},
		{"429 capacity", 429, `{"object":"error","message":"Service tier capacity exceeded for this model.","type":"invalid_request_error","param":null,"code":null}`, broken, broken, "invalid_request_error"},
		{"429 capacity in other words", 429, openAI("rate_limit_error", "", "We are experiencing high demand, please try again"), broken, broken, "rate_limit_error"},
		{"429 too many", 429, `{"message":"Too many requests","__type":"ThrottlingException"}`, limited, limited, "ThrottlingException"},
		{"429 of a model by its words", 429, openAI("tokens", "rate_limit_exceeded", "Rate limit reached for model `llama-3.3-70b` in organization `org_1` on tokens per day"), models, models, "rate_limit_exceeded"},
		{"429 of a base model", 429, gemini(429, "RESOURCE_EXHAUSTED", "Quota exceeded for aiplatform.googleapis.com/generate_content_requests_per_minute_per_project_per_base_model with base model: gemini-pro.", ""), models, models, "RESOURCE_EXHAUSTED"},
		{"429 in a quota's metadata", 429, gemini(429, "RESOURCE_EXHAUSTED", "", `{"reason":"RATE_LIMIT_EXCEEDED","metadata":{"quota_limit":"GenerateContentRequestsPerMinutePerProjectPerModel"}}`), models, models, "RATE_LIMIT_EXCEEDED"},
		{"429 of a model's and the project's", 429, gemini(429, "RESOURCE_EXHAUSTED", "", quotaFailure("PerMinutePerProjectPerModel")+","+quotaFailure("PerMinutePerProject")), limited, limited, "RESOURCE_EXHAUSTED"},

		// Bodies in unusual clothes.
		{"odd byte order mark", 429, "\xef\xbb\xbf" + openAI("insufficient_quota", "insufficient_quota", ""), quota, quota, "insufficient_quota"},
		{"odd event", 429, "event: error\ndata: " + openAI("insufficient_quota", "insufficient_quota", "") + "\n\ndata: [DONE]\n\n", quota, quota, "insufficient_quota"},
		{"odd event in two lines", 429, ": hello\r\n\r\ndata: {\"error\":\r\ndata: {\"code\":\"insufficient_quota\"}}", quota, quota, "insufficient_quota"},
		{"odd event after another", 429, "event: ping\ndata: {\"type\":\"ping\"}\n\nevent: error\ndata: " + openAI("insufficient_quota", "insufficient_quota", "") + "\n\n", quota, quota, "insufficient_quota"},
		{"odd object before something else", 429, openAI("insufficient_quota", "insufficient_quota", "") + "\ndata: [DONE]", quota, quota, "insufficient_quota"},
		{"odd text before an object", 403, `cannot read {"error":{"code":"invalid_api_key"}}`, unknown, unknown, ""},
		{"odd event with the oldest line ends", 429, "event: error\rdata: {\"code\":\"insufficient_quota\"}\r\rdata: x\r\r", quota, quota, "insufficient_quota"},
		{"odd event of text", 403, "data: Invalid API key\n\n", retire, shown, ""},
		{"odd below detail", 429, `{"detail":{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}}`, quota, quota, "insufficient_quota"},
		{"odd in errors", 429, `{"errors":[{"code":"insufficient_quota","message":"x"}]}`, quota, quota, "insufficient_quota"},
		{"odd in errors beside null", 429, `{"error":null,"errors":{"code":"insufficient_quota"}}`, quota, quota, "insufficient_quota"},
		{"odd error in an array", 429, `{"error":[{"code":"insufficient_quota"}]}`, quota, quota, "insufficient_quota"},
		{"odd text", 429, `"insufficient balance"`, quota, quota, ""},
		{"odd text alone", 403, "Invalid API Key", retire, shown, ""},
		{"odd text of detail", 400, `{"detail":"API key expired","code":"x"}`, caller, caller, "x"},
		{"odd list of validation errors", 400, `{"detail":[{"type":"missing","loc":["body"],"msg":"Field required"}]}`, caller, caller, "missing"},
		{"odd legacy list of google", 403, `{"error":{"code":403,"message":"denied","errors":[{"reason":"forbidden","message":"denied"}],"status":"PERMISSION_DENIED"}}`, unknown, unknown, "PERMISSION_DENIED"},
		{"odd code that begins with 9", 403, openAI("", "900", ""), unknown, unknown, "900"},
		{"odd code that begins with 9 before a type", 403, openAI("authentication_error", "9", ""), retire, shown, "authentication_error"},

		{"openrouter 503", 503, openRouter(503, "No instances available", "null"), broken, broken, "503"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for preset, want := range map[keypool.Preset]verdict{keypool.Strict: tc.strict, keypool.Lenient: tc.lenient} {
				p := keypool.Policy{Preset: preset}
				v := keypool.Classify(p, keypool.Answer{Status: tc.status, Body: []byte(tc.body)})
				require.Equal(t, want, verdict{v.Class, v.Action, v.Scope}, preset)
				require.Equal(t, tc.code, v.Code)
				if v.Action != keypool.Surface {
					require.True(t, p.Concerns(tc.status), "the body must be read")
				}
			}
		})
	}
}

// TestPageThatWasNotRead tells a page by its headers.
func TestPageThatWasNotRead(t *testing.T) {
	for _, tc := range []struct {
		status int
		h      header
		want   keypool.Class
	}{
		{401, header{"content-type": "Text/HTML; charset=utf-8", "content-length": "5000000"}, keypool.Unknown},
		{403, header{"content-type": "text/html", "content-length": "153"}, keypool.Unknown},
		{429, header{"content-type": "text/html", "content-length": "153"}, keypool.Unknown},
		{401, header{"content-type": "text/html", "content-length": "0"}, keypool.Credential},
		{401, header{"content-type": "text/html"}, keypool.Credential},
		{429, header{"content-type": "text/html", "content-length": "0"}, keypool.RateLimit},
		{401, header{"content-type": "application/json", "content-length": "153"}, keypool.Credential},
	} {
		v := keypool.Classify(keypool.Policy{}, keypool.Answer{Status: tc.status, Header: tc.h.get})
		require.Equal(t, tc.want, v.Class, "%d %v", tc.status, tc.h)
		require.Equal(t, tc.want == keypool.Unknown, v.Action == keypool.Surface || v.Action == keypool.NextKey)
	}
}

func TestRules(t *testing.T) {
	rule := func(status int, code string, action keypool.Action, d time.Duration) keypool.Rule {
		return keypool.Rule{Status: status, Code: code, Action: action, For: d}
	}
	for _, tc := range []struct {
		name   string
		rules  []keypool.Rule
		status int
		body   string
		want   keypool.Verdict
	}{
		{
			"by status",
			[]keypool.Rule{rule(503, "", keypool.NextKey, 0)},
			503, "",
			keypool.Verdict{Class: keypool.Transient, Action: keypool.NextKey},
		},
		{
			"of another status",
			[]keypool.Rule{rule(503, "", keypool.NextKey, 0)},
			500, "",
			keypool.Verdict{Class: keypool.Transient},
		},
		{
			"the first that matches wins",
			[]keypool.Rule{rule(403, "model_*", keypool.NextKey, 0), rule(403, "", keypool.CoolDown, 0)},
			403, "",
			keypool.Verdict{Class: keypool.Unknown, Action: keypool.CoolDown, Scope: keypool.ScopeKey},
		},
		{
			"by code of any status",
			[]keypool.Rule{rule(0, "model_*", keypool.NextKey, time.Hour)},
			404, openAI("x", "model_not_found", ""),
			keypool.Verdict{
				Class: keypool.ModelGone, Action: keypool.NextKey, Scope: keypool.ScopeKeyModel, Cooldown: time.Hour, Ruled: true, Code: "model_not_found",
			},
		},
		{
			"by type",
			[]keypool.Rule{rule(0, "permission_error", keypool.Surface, 0)},
			403, anthropic("permission_error", ""),
			keypool.Verdict{Class: keypool.Credential, Code: "permission_error"},
		},
		{
			"by Google's reason",
			[]keypool.Rule{rule(0, "API_KEY_*", keypool.CoolDown, 0)},
			400, gemini(400, "INVALID_ARGUMENT", "", errorInfo("API_KEY_INVALID")),
			keypool.Verdict{Class: keypool.Credential, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Code: "API_KEY_INVALID"},
		},
		{
			"a code glob wants a code",
			[]keypool.Rule{rule(401, "*", keypool.Surface, 0)},
			401, "",
			keypool.Verdict{Class: keypool.Credential, Action: keypool.Retire, Scope: keypool.ScopeKey},
		},
		{
			"quota for a time: only the key, only that long",
			[]keypool.Rule{rule(0, "insufficient_quota", keypool.CoolDown, time.Minute)},
			429, openAI("x", "insufficient_quota", ""),
			keypool.Verdict{
				Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: time.Minute, Ruled: true, Code: "insufficient_quota",
			},
		},
		{
			"quota retires",
			[]keypool.Rule{rule(0, "insufficient_quota", keypool.Retire, 0)},
			429, openAI("x", "insufficient_quota", ""),
			keypool.Verdict{Class: keypool.Quota, Action: keypool.Retire, Scope: keypool.ScopeKey, Code: "insufficient_quota"},
		},
		{
			"a broken provider cools the key down",
			[]keypool.Rule{rule(529, "", keypool.CoolDown, 5*time.Second)},
			529, "",
			keypool.Verdict{Class: keypool.Transient, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: 5 * time.Second, Ruled: true},
		},
		{
			"a model that is gone retires",
			[]keypool.Rule{rule(404, "model_not_found", keypool.Retire, 0)},
			404, openAI("x", "model_not_found", ""),
			keypool.Verdict{Class: keypool.ModelGone, Action: keypool.Retire, Scope: keypool.ScopeKey, Code: "model_not_found"},
		},
		{"not of a success", []keypool.Rule{rule(0, "", keypool.Retire, 0)}, 200, "", keypool.Verdict{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := keypool.Policy{Rules: tc.rules}
			require.Equal(t, tc.want, keypool.Classify(p, keypool.Answer{Status: tc.status, Body: []byte(tc.body)}))
			if tc.want.Action != keypool.Surface {
				require.True(t, p.Concerns(tc.status))
			}
		})
	}
}

// TestCode holds that a proxy's own answer is known by the code that it is given, to rules as to the verdict, and blames no key without one.
func TestCode(t *testing.T) {
	for _, tc := range []struct {
		name  string
		rules []keypool.Rule
		a     keypool.Answer
		want  keypool.Verdict
	}{
		{"no rule", nil, keypool.Answer{Status: 503, Code: "provider_unreachable"}, keypool.Verdict{Class: keypool.Transient, Code: "provider_unreachable"}},
		{
			"a glob",
			[]keypool.Rule{{Code: "provider_*", Action: keypool.NextKey}},
			keypool.Answer{Status: 502, Code: "provider_reset"},
			keypool.Verdict{Class: keypool.Transient, Action: keypool.NextKey, Code: "provider_reset"},
		},
		{
			"another's",
			[]keypool.Rule{{Code: "provider_reset", Action: keypool.NextKey}},
			keypool.Answer{Status: 503, Code: "provider_unreachable"},
			keypool.Verdict{Class: keypool.Transient, Code: "provider_unreachable"},
		},
		{
			"before the body's",
			[]keypool.Rule{{Code: "insufficient_quota", Action: keypool.CoolDown}},
			keypool.Answer{Status: 503, Code: "provider_reset", Body: []byte(openAI("", "insufficient_quota", ""))},
			keypool.Verdict{Class: keypool.Transient, Code: "provider_reset"},
		},
		{"no failure", []keypool.Rule{{Code: "*", Action: keypool.Retire}}, keypool.Answer{Status: 200, Code: "provider_reset"}, keypool.Verdict{}},
		{"no name of a key's fault", nil, keypool.Answer{Status: 400, Code: "gateway_error"}, keypool.Verdict{Class: keypool.CallerFault, Code: "gateway_error"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, keypool.Classify(keypool.Policy{Rules: tc.rules}, tc.a))
		})
	}
}

func TestConcerns(t *testing.T) {
	surface := func(status int) keypool.Rule { return keypool.Rule{Status: status} }
	for _, tc := range []struct {
		name string
		p    keypool.Policy
		want []int
	}{
		{"strict", keypool.Policy{}, []int{400, 401, 402, 403, 429}},
		{"lenient", keypool.Policy{Preset: keypool.Lenient}, []int{400, 401, 402, 429}},
		{"a rule adds", keypool.Policy{Rules: []keypool.Rule{{Status: 503, Action: keypool.NextKey}}}, []int{400, 401, 402, 403, 429, 503}},
		{"a code in any status", keypool.Policy{Rules: []keypool.Rule{{Code: "x", Action: keypool.NextKey}}}, []int{400, 401, 402, 403, 404, 429, 500, 503}},
		{"a rule takes away", keypool.Policy{Rules: []keypool.Rule{surface(403), {Status: 403, Action: keypool.Retire}}}, []int{400, 401, 402, 429}},
		{"a rule takes away a code only", keypool.Policy{Rules: []keypool.Rule{{Status: 403, Code: "x"}}}, []int{400, 401, 402, 403, 429}},
		{"a rule takes all away", keypool.Policy{Rules: []keypool.Rule{surface(0)}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []int
			for _, status := range []int{0, 200, 302, 400, 401, 402, 403, 404, 429, 500, 503} {
				if tc.p.Concerns(status) {
					got = append(got, status)
				}
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestNamesAreReadAsTheyArePrinted(t *testing.T) {
	for _, a := range []keypool.Action{keypool.Surface, keypool.NextKey, keypool.CoolDown, keypool.Retire} {
		got, err := keypool.ParseAction(a.String())
		require.NoError(t, err)
		require.Equal(t, a, got)
	}
	for _, p := range []keypool.Preset{keypool.Strict, keypool.Lenient} {
		got, err := keypool.ParsePreset(p.String())
		require.NoError(t, err)
		require.Equal(t, p, got)
	}
	_, err := keypool.ParseAction("retire")
	require.EqualError(t, err, `action "retire" is not one of surface, next_key, cooldown, permanent`)
	_, err = keypool.ParsePreset("")
	require.EqualError(t, err, `preset "" is not one of strict, lenient`)
	require.Equal(t, "rate_limit permanent key_model rate_limited 200",
		fmt.Sprint(keypool.RateLimit, " ", keypool.Retire, " ", keypool.ScopeKeyModel, " ", keypool.RateLimited, " ", keypool.State(200)))
}
