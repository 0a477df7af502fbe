package keypool

import "strings"

// codes are the providers' error codes, reasons, types and status words in lower case, where they mean more than the HTTP status.
var codes = map[string]Class{
	// OpenAI: https://developers.openai.com/api/docs/guides/error-codes
	"invalid_api_key":                   Credential,
	"account_deactivated":               Credential,
	"insufficient_quota":                Quota,
	"billing_hard_limit_reached":        Quota,
	"billing_not_active":                Quota,
	"credit_balance_exhausted":          Quota,
	"organization_spend_limit_exceeded": Quota,
	"project_spend_limit_exceeded":      Quota,
	"organization_usage_limit_exceeded": Quota,
	"rate_limit_exceeded":               RateLimit,
	"slow_down":                         RateLimit,
	"server_is_overloaded":              Transient,
	"engine_overloaded":                 Transient,
	"request_forbidden":                 CallerFault,
	"missing_scope":                     CallerFault, // this key may not do this, but may do other things
	"invalid_organization":              CallerFault, // a header of the client's, as mismatched_organization
	"content_policy_violation":          CallerFault,
	"content_filter":                    CallerFault,

	// Anthropic: https://platform.claude.com/docs/en/api/errors
	"authentication_error":         Credential,
	"permission_error":             Credential,
	"billing_error":                Quota,
	"enforced_spend_limit_reached": Quota,
	"rate_limit_error":             RateLimit,
	"overloaded_error":             Transient,

	// Google: https://cloud.google.com/apis/design/errors
	"api_key_invalid":          Credential,
	"unauthenticated":          Credential,
	"permission_denied":        Credential,
	"resource_exhausted":       RateLimit,
	"model_overloaded":         Transient,
	"model_capacity_exhausted": Transient,
	"unavailable":              Transient,

	// Azure: https://learn.microsoft.com/azure/ai-foundry/openai/quotas-limits
	"deploymentnotfound": ModelGone,
	"ratelimitreached":   RateLimit,
	"nocapacity":         Transient,
}

// classOfWord looks a word up, or says what it is about by its form.
func classOfWord(w string) Class {
	if c, ok := codes[w]; ok {
		return c
	}
	switch {
	case strings.HasPrefix(w, "model_"), strings.HasSuffix(w, "_model"):
		return ModelAccess
	case strings.HasPrefix(w, "mismatched_"), strings.HasPrefix(w, "moderation_"):
		return CallerFault
	case strings.Contains(w, "region"), strings.Contains(w, "country"):
		return Region
	}
	return None
}

// sayings are the beginnings of messages that mean what no code says. Only a beginning counts, and to blame a key only together with the word
// that the provider sends with it: further on it may quote the client's request, and no client shall rest a key by what it writes.
var sayings = []struct {
	word, prefix string
	class        Class
}{
	{"invalid_request_error", "Your credit balance is too low", Quota},                          // Anthropic, 400
	{"invalid_request_error", "You have reached your specified API usage limits", Quota},        // Anthropic, 400: workspace limit
	{"rate_limit_error", "Extra usage is required for long context", CallerFault},               // Anthropic, 429: never passes
	{"rate_limit_error", "This request would exceed your account's monthly spend limit", Quota}, // Anthropic, 429
	{"not_found_error", "model:", ModelGone},                                                    // Anthropic, 404
	{"rate_limit_exceeded", "Request too large for", CallerFault},                               // OpenAI, 429: more tokens than a minute has
	{"", "You have insufficient permissions for this operation", CallerFault},                   // OpenAI, 401: a restricted key
	{"RESOURCE_EXHAUSTED", "Your prepayment credits are depleted", Quota},                       // Gemini, 429
	{"INVALID_ARGUMENT", "API key not valid", Credential},                                       // Gemini, 400
	{"INVALID_ARGUMENT", "API key expired", Credential},                                         // Gemini, 400
	{"FAILED_PRECONDITION", "User location is not supported", Region},                           // Gemini, 400
	{"NOT_FOUND", "models/", ModelGone},                                                         // Gemini, 404
	{"403", ownLimit, Quota},                                                                    // OpenRouter, 403
	{"404", "No endpoints found", ModelGone},                                                    // OpenRouter, 404
}

// ownLimit begins OpenRouter's answer to a key that has spent what its owner allowed it; other keys of the account go on.
const ownLimit = "Key limit exceeded"

func (b problem) ownLimit() bool { return strings.HasPrefix(b.message, ownLimit) }
