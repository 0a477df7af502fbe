package scripted

import (
	"fmt"
	"net/http"
	"time"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// AzureRateLimited is Azure OpenAI's 429: it names the wait in the headers and in the message, its reset is whole seconds.
func AzureRateLimited(retryAfter time.Duration) Answer {
	wait := talk.CeilSeconds(retryAfter)
	return vendor("azure rate limited", http.StatusTooManyRequests, map[string]any{"error": map[string]any{
		"code": "429",
		"message": "Requests to the ChatCompletions_Create Operation have exceeded the token rate limit of your current tier. " +
			"Please retry after " + wait + " seconds.",
	}}).
		Header("Retry-After", wait).
		Header("Retry-After-Ms", fmt.Sprint(retryAfter.Milliseconds())).
		Header("X-Ratelimit-Remaining-Tokens", "0").
		Header("X-Ratelimit-Reset-Tokens", wait)
}

// AzureUnauthorized is Azure OpenAI's 401 for a wrong key or endpoint.
func AzureUnauthorized() Answer {
	return vendor("azure unauthorized", http.StatusUnauthorized, map[string]any{"error": map[string]any{
		"code": "401",
		"message": "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an " +
			"active subscription.",
	}})
}

// AzureDeploymentNotFound is Azure OpenAI's 404 for a deployment that does not exist: the key is not at fault.
func AzureDeploymentNotFound() Answer {
	return vendor("azure deployment not found", http.StatusNotFound, map[string]any{"error": map[string]any{
		"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist.",
	}})
}

// GeminiRateLimited is Gemini's 429: no Retry-After, but a RetryInfo in the body.
func GeminiRateLimited(retryAfter time.Duration) Answer {
	return gemini("gemini rate limited", http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "You exceeded your current quota.",
		quotaFailure("GenerateRequestsPerMinutePerProjectPerModel"),
		map[string]any{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": fmt.Sprintf("%gs", retryAfter.Seconds())})
}

// GeminiDailyQuota is Gemini's 429 for a quota that lasts until the next day; it gives no delay.
func GeminiDailyQuota() Answer {
	return gemini("gemini daily quota", http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "You exceeded your current quota.",
		quotaFailure("GenerateRequestsPerDayPerProjectPerModel-FreeTier"))
}

// GeminiBadKey is Gemini's answer to a key that it does not know: a 400.
func GeminiBadKey() Answer {
	return gemini("gemini bad key", http.StatusBadRequest, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.",
		map[string]any{
			"@type":  "type.googleapis.com/google.rpc.ErrorInfo",
			"reason": "API_KEY_INVALID", "domain": "googleapis.com",
			"metadata": map[string]any{"service": "generativelanguage.googleapis.com"},
		})
}

// GeminiOverloaded is Gemini's 503: no key is at fault.
func GeminiOverloaded() Answer {
	return gemini("gemini overloaded", http.StatusServiceUnavailable, "UNAVAILABLE", "The model is overloaded. Please try again later.")
}

// OpenRouterRateLimited is OpenRouter's 429 for a key that has sent too much.
func OpenRouterRateLimited(retryAfter time.Duration) Answer {
	return vendor("openrouter rate limited", http.StatusTooManyRequests, map[string]any{"error": map[string]any{
		"code": 429, "message": "Rate limit exceeded: limit_rpm",
		"metadata": map[string]any{"headers": map[string]any{"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0"}},
	}}).Header("Retry-After", talk.CeilSeconds(retryAfter))
}

// OpenRouterBusy is OpenRouter's 429 that passes on the one of the provider behind it: no key of OpenRouter's is at fault.
func OpenRouterBusy(retryAfter time.Duration) Answer {
	return vendor("openrouter busy", http.StatusTooManyRequests, map[string]any{"error": map[string]any{
		"code": 429, "message": "Provider returned error",
		"metadata": map[string]any{"raw": "the model is temporarily rate-limited upstream", "provider_name": "Scripted"},
	}}).Header("Retry-After", talk.CeilSeconds(retryAfter))
}

// OpenRouterNoCredit is OpenRouter's 402 for an account without credit.
func OpenRouterNoCredit() Answer {
	return vendor("openrouter no credit", http.StatusPaymentRequired, map[string]any{"error": map[string]any{
		"code": 402, "message": "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
	}})
}

// OpenRouterUnauthorized is OpenRouter's 401.
func OpenRouterUnauthorized() Answer {
	return vendor("openrouter unauthorized", http.StatusUnauthorized, map[string]any{"error": map[string]any{
		"code": 401, "message": "User not found.",
	}})
}

func vendor(name string, status int, body any) Answer {
	return Answer{name: name, render: func(*exchange) response { return jsonResponse(status, nil, talk.Encode(body)) }}
}

// gemini is an error in the shape of Google's APIs. Gemini's OpenAI endpoint wraps it in an array.
func gemini(name string, status int, code, message string, details ...map[string]any) Answer {
	e := map[string]any{"code": status, "message": message, "status": code}
	if len(details) > 0 {
		e["details"] = details
	}
	return Answer{name: name, render: func(x *exchange) response {
		var body any = map[string]any{"error": e}
		if x.req.Endpoint == talk.Chat || x.req.Endpoint == talk.Embeddings {
			body = []any{body}
		}
		return jsonResponse(status, nil, talk.Encode(body))
	}}
}

func quotaFailure(id string) map[string]any {
	return map[string]any{
		"@type": "type.googleapis.com/google.rpc.QuotaFailure",
		"violations": []any{map[string]any{
			"quotaMetric": "generativelanguage.googleapis.com/generate_content_requests", "quotaId": id, "quotaValue": "15",
		}},
	}
}
