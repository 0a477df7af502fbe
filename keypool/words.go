package keypool

import "strings"

// saying is one thing that a provider says in an error, and what it means. The table below is the only place for them, and what docs/operations.md
// tells of them is made from it.
type saying struct {
	who  string // the provider, as people call it
	from string // where it is documented, or was seen: an address, or an issue as "owner/name#number"

	status int    // HTTP status; 0: any from 400 to 499
	word   string // the error's code, reason, status word or type, in lower case; "": any, or none
	begins string // how the message begins, in lower case and without the apostrophe of "n't"; "*" is some text without quotation marks, "$" the end. "": any

	class Class
}

// Where what is said is documented.
const (
	docOpenAI     = "https://developers.openai.com/api/docs/guides/error-codes"
	docFlex       = "https://developers.openai.com/api/docs/guides/flex-processing"
	docAnthropic  = "https://platform.claude.com/docs/en/api/errors"
	docGoogle     = "https://cloud.google.com/apis/design/errors"
	docGoogleInfo = "https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto"
	docGemini     = "https://ai.google.dev/gemini-api/docs/troubleshooting"
	docVertex     = "https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors"
	docAzure      = "https://learn.microsoft.com/azure/ai-foundry/openai/quotas-limits"
	docOpenRouter = "https://openrouter.ai/docs/api-reference/errors"
	docBedrock    = "https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html"
	docDashScope  = "https://www.alibabacloud.com/help/en/model-studio/error-code"
	docMoonshot   = "https://platform.kimi.ai/docs/api/errors"
	docZhipu      = "https://docs.z.ai/api-reference/api-code"
	docArk        = "https://docs.byteplus.com/docs/ModelArk/1299023"
	docAPIM       = "https://learn.microsoft.com/azure/api-management/quota-policy"
	docCloudflare = "https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors/"
	docDeepSeek   = "https://api-docs.deepseek.com/quick_start/error_codes"
)

// sayings is the table. What has a message goes before what is known by its word alone, and within that the first row that fits decides.
//
// Only the beginning of a message counts: further on it may quote the client's request, and no client shall rest a key by what it writes.
var sayings = []saying{
	{"OpenAI", docOpenAI, 0, "invalid_api_key", "", Credential},
	{"OpenAI", docOpenAI, 0, "account_deactivated", "", Credential},
	{"OpenAI", docOpenAI, 0, "insufficient_quota", "", Quota},
	{"OpenAI", docOpenAI, 0, "billing_hard_limit_reached", "", Quota},
	{"OpenAI", docOpenAI, 0, "billing_not_active", "", Quota},
	{"OpenAI", docOpenAI, 0, "credit_balance_exhausted", "", Quota},
	{"OpenAI", docOpenAI, 0, "organization_spend_limit_exceeded", "", Quota},
	{"OpenAI", docOpenAI, 0, "project_spend_limit_exceeded", "", Quota},
	{"OpenAI", docOpenAI, 0, "organization_usage_limit_exceeded", "", Quota},
	{"OpenAI", docOpenAI, 429, "rate_limit_exceeded", "request too large for", CallerFault}, // more tokens than a minute has
	{"OpenAI", docOpenAI, 0, "rate_limit_exceeded", "", RateLimit},
	{"OpenAI", docOpenAI, 0, "slow_down", "", RateLimit},
	{"OpenAI", docOpenAI, 0, "server_is_overloaded", "", Transient},
	{"OpenAI", docOpenAI, 0, "engine_overloaded", "", Transient},
	{"OpenAI", docFlex, 429, "resource_unavailable", "", Transient},
	{"OpenAI", docOpenAI, 0, "request_forbidden", "", CallerFault},
	{"OpenAI", docOpenAI, 0, "missing_scope", "", CallerFault},                                          // this key may not do this, but may do other things
	{"OpenAI", docOpenAI, 401, "", "you have insufficient permissions for this operation", CallerFault}, // the same
	{"OpenAI", docOpenAI, 0, "invalid_organization", "", CallerFault},                                   // a header of the client's, as mismatched_organization
	{"OpenAI", docOpenAI, 401, "", "your request was sent from an ip", Region},                          // an allowlist of the organisation's
	{"OpenAI", docOpenAI, 401, "", "your ip", Region},                                                   // the same
	{"OpenAI", "BerriAI/litellm#18094", 0, "invalid_encrypted_content", "", Elsewhere},                  // reasoning that another organisation's key got
	{"OpenAI", "maximhq/bifrost#2441", 0, "previous_response_not_found", "", Elsewhere},
	{"OpenAI", "icebear0828/codex-proxy#691", 400, "", "previous response with id '*' not found", Elsewhere},
	{"OpenAI", docOpenAI, 0, "content_policy_violation", "", CallerFault},
	{"OpenAI", docOpenAI, 0, "content_filter", "", CallerFault},
	{"OpenAI", "openai-php/client#565", 403, "", "your organization must be verified", ModelAccess},

	{"Anthropic", docAnthropic, 0, "authentication_error", "", Credential},
	{"Anthropic", docAnthropic, 403, "permission_error", "your api key does not have permission", Credential},
	{"Anthropic", docAnthropic, 403, "permission_error", "$", Credential}, // other words may be about a model, a region or terms
	{"Anthropic", "anthropics/claude-code#65714", 0, "", "oauth authentication is currently not", CallerFault},
	{"Anthropic", "anthropics/claude-code#19028", 0, "", "this organization has been disabled", Credential},
	{"Anthropic", docAnthropic, 0, "billing_error", "", Quota},
	{"Anthropic", docAnthropic, 400, "invalid_request_error", "your credit balance is too low", Quota},
	{"Anthropic", docAnthropic, 400, "invalid_request_error", "you have reached your specified api usage limits", Quota}, // a workspace's
	{"Anthropic", docAnthropic, 429, "rate_limit_error", "this request would exceed your account's monthly spend limit", Quota},
	{"Anthropic", docAnthropic, 429, "rate_limit_error", "extra usage is required for long context", CallerFault}, // never passes
	{"Anthropic", docAnthropic, 0, "enforced_spend_limit_reached", "", Quota},
	{"Anthropic", docAnthropic, 0, "rate_limit_error", "", RateLimit},
	{"Anthropic", docAnthropic, 0, "overloaded_error", "", Transient},
	{"Anthropic", docAnthropic, 404, "not_found_error", "model:", ModelGone},

	{"Google", docGoogleInfo, 0, "api_key_invalid", "", Credential},
	{"Google", docGoogleInfo, 0, "api_key_service_blocked", "", Credential}, // the key's restrictions leave this service out
	{"Google", docGoogleInfo, 0, "api_key_http_referrer_blocked", "", Region},
	{"Google", docGoogleInfo, 0, "api_key_ip_address_blocked", "", Region},
	{"Google", docGoogleInfo, 0, "consumer_suspended", "", Credential},
	{"Google", docGoogleInfo, 0, "billing_disabled", "", Quota},
	{"Google", docGoogleInfo, 0, "account_state_invalid", "", Credential},
	{"Google", docGoogle, 0, "unauthenticated", "", Credential},
	{"Google", docGoogle, 0, "resource_exhausted", "", RateLimit},
	{"Google", docGoogle, 0, "unavailable", "", Transient},
	{"Google", docVertex, 0, "model_capacity_exhausted", "", Transient},
	{"Google", docVertex, 0, "model_overloaded", "", Transient},
	{"Gemini", docGemini, 400, "invalid_argument", "api key not valid", Credential},
	{"Gemini", docGemini, 400, "invalid_argument", "api key expired", Credential},
	{"Gemini", docGemini, 400, "invalid_argument", "api key not found", Credential},
	{"Gemini", "google/generative-ai-docs#356", 403, "permission_denied", "permission denied: consumer '*' has been suspended", Credential},
	{"Gemini", "continuedev/continue#11541", 403, "permission_denied", "your api key was reported as leaked", Credential},
	{"Gemini", "poenl/gemini-api#8", 403, "permission_denied", "your project has been denied access", Credential},
	{"Gemini", docGemini, 429, "resource_exhausted", "your prepayment credits are depleted", Quota},
	{"Gemini", docGemini, 400, "failed_precondition", "user location is not supported", Region},
	{"Gemini", docGemini, 404, "not_found", "models/", ModelGone},

	{"Azure", docAzure, 404, "deploymentnotfound", "", ModelGone},
	{"Azure", docAzure, 0, "ratelimitreached", "", RateLimit},
	{"Azure", docAzure, 429, "nocapacity", "", Transient},

	{"Azure", docAPIM, 403, "", "out of call volume quota", Quota}, // of API Management in front of it
	{"Azure", docAPIM, 403, "", "out of bandwidth quota", Quota},

	{"Cloudflare", docCloudflare, 429, "", "error code: 1015", Transient}, // its own limit, of the address that asks

	{"OpenRouter", docOpenRouter, 403, "403", ownLimit, Quota},
	{"OpenRouter", docOpenRouter, 404, "404", "no endpoints found", ModelGone},
	{"OpenRouter", "anomalyco/opencode#12219", 402, "", "this request requires more credits, or fewer max_tokens. you requested up to * tokens, but can only afford 0.", Quota},
	{"OpenRouter", "can1357/oh-my-pi#9569", 402, "", "this request requires more credits, or fewer max_tokens", CallerFault},
	{"OpenRouter", "continuedev/continue#11227", 402, "", "prompt tokens limit exceeded", CallerFault},

	{"xAI", "continuedev/continue#10778", 400, "", "incorrect api key provided", Credential},
	{"xAI", "continuedev/continue#10373", 0, "", "your team * has either used all available credits or reached its monthly spending limit", Quota},
	{"xAI", "continuedev/continue#12670", 403, "", "your newly created team", Quota}, // "… doesn't have any credits"
	{"xAI", "theopenco/llmgateway#1785", 403, "", "content violates usage guidelines", CallerFault},

	{"Groq", "songquanpeng/one-api#1764", 0, "organization_restricted", "", Credential},
	{"DeepSeek", docDeepSeek, 0, "", "insufficient balance", Quota},
	{"Mistral", "continuedev/continue#6185", 429, "", "service tier capacity exceeded", Transient},

	{"Bedrock", docBedrock, 403, "", "authentication failed: please make sure your api key is valid", Credential},
	{"Bedrock", docBedrock, 403, "", "the security token included in the request is", Credential},
	{"Bedrock", docBedrock, 403, "unrecognizedclientexception", "", Credential},
	{"Bedrock", docBedrock, 403, "expiredtokenexception", "", Credential},
	{"Bedrock", docBedrock, 403, "invalidsignatureexception", "", Credential},
	{"Bedrock", docBedrock, 403, "", "you dont have access to the model", ModelAccess},
	{"Bedrock", docBedrock, 429, "modelnotreadyexception", "", Transient},

	{"DashScope", docDashScope, 0, "arrearage", "", Quota},
	{"DashScope", docDashScope, 0, "", "access denied, please make sure your account is in good standing", Quota},
	{"DashScope", docDashScope, 0, "invalidapikey", "", Credential},
	{"DashScope", docDashScope, 403, "model.accessdenied", "", ModelAccess},
	{"DashScope", docDashScope, 403, "allocationquota.freetieronly", "", Quota},
	{"DashScope", docDashScope, 0, "datainspectionfailed", "", CallerFault},

	{"Moonshot", docMoonshot, 0, "exceeded_current_quota_error", "", Quota},
	{"Moonshot", docMoonshot, 429, "", "your account * request reached organization tpd rate limit", Quota}, // a day's
	{"Moonshot", docMoonshot, 0, "engine_overloaded_error", "", Transient},
	{"Moonshot", docMoonshot, 0, "rate_limit_reached_error", "", RateLimit},
	{"Moonshot", docMoonshot, 0, "invalid_authentication_error", "", Credential},
	{"Moonshot", docMoonshot, 0, "incorrect_api_key_error", "", Credential},

	{"Zhipu", docZhipu, 429, "1113", "", Quota},
	{"Zhipu", docZhipu, 429, "1305", "", Transient},
	{"Zhipu", "continuedev/continue#10297", 429, "", "余额不足", Quota},

	{"Ark", docArk, 0, "accountoverdueerror", "", Quota},
	{"Ark", docArk, 403, "operationdenied.serviceoverdue", "", Quota},
	{"Ark", docArk, 403, "operationdenied.servicenotopen", "", ModelAccess},
	{"Ark", docArk, 429, "serveroverloaded", "", Transient},
	{"Ark", docArk, 0, "authenticationerror", "", Credential},
}

// ownLimit begins OpenRouter's answer to a key that has spent what its owner allowed it; other keys of the account go on.
const ownLimit = "key limit exceeded"

// byWord finds rows without a message by their words; byMessage are the others, in order.
var byWord, byMessage = indexed(sayings)

func indexed(rows []saying) (byWord map[string][]saying, byMessage []saying) {
	byWord = map[string][]saying{}
	for _, s := range rows {
		if s.begins == "" {
			byWord[s.word] = append(byWord[s.word], s)
		} else {
			byMessage = append(byMessage, s)
		}
	}
	return byWord, byMessage
}

// classOfMessage is what the table says of an error's message, None when nothing.
func classOfMessage(status int, b problem, head string) Class {
	for _, s := range byMessage {
		if (s.status == 0 || s.status == status) && (s.word == "" || b.hasWord(s.word)) && begins(head, s.begins) {
			return s.class
		}
	}
	return None
}

// classOfWord is what the table says of an error's word, or else what the word's form does. None when neither does.
func classOfWord(status int, w string) Class {
	w = strings.ToLower(w)
	for _, s := range byWord[w] {
		if s.status == 0 || s.status == status {
			return s.class
		}
	}
	if !named(w) {
		return None
	}
	return classOfForm(w)
}

// hasWord reports whether the error gives itself this name.
func (b problem) hasWord(word string) bool {
	for _, w := range b.words() {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// maxGap bounds what one "*" of a pattern stands for, in bytes.
const maxGap = 128

// begins reports whether a text begins with a pattern.
func begins(text, pattern string) bool {
	if whole, ok := strings.CutSuffix(pattern, "$"); ok {
		return text == whole
	}
	for {
		literal, rest, more := strings.Cut(pattern, "*")
		if !strings.HasPrefix(text, literal) {
			return false
		}
		if !more {
			return true
		}
		text, pattern = text[len(literal):], rest
		next, _, _ := strings.Cut(pattern, "*")
		window := text[:min(len(text), maxGap+len(next))]
		at := strings.Index(window, next)
		if at < 0 || strings.ContainsAny(window[:at], "\"`\n") {
			return false
		}
		text = text[at:]
	}
}
