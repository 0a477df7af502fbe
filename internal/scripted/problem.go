package scripted

import (
	"fmt"
	"net/http"
	"time"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// Fail is an error of the caller's choice, in the shape of the endpoint's dialect.
func Fail(pr talk.Problem) Answer {
	return both(fmt.Sprintf("%d %s", pr.Status, pr.Type), pr, pr)
}

// both is an error that differs between the providers.
func both(name string, openAI, anthropic talk.Problem) Answer {
	return Answer{name: name, render: func(x *exchange) response {
		if x.anthropic() {
			return x.failure(anthropic)
		}
		return x.failure(openAI)
	}}
}

// RateLimited is the 429 of a key that has sent too much, with the headers that say when it may send again. retryAfter 0: a 429
// that does not say it.
func RateLimited(retryAfter time.Duration) Answer {
	name := "rate limited"
	if retryAfter > 0 {
		name += ", retry after " + retryAfter.String()
	}
	return both(name, talk.Problem{
		Status: http.StatusTooManyRequests, Type: "requests", Code: "rate_limit_exceeded", RetryAfter: retryAfter, Limited: true,
		Message: "Rate limit reached for requests. Visit https://platform.openai.com/account/rate-limits to learn more.",
	}, talk.Problem{
		Status: http.StatusTooManyRequests, Type: "rate_limit_error", RetryAfter: retryAfter, Limited: true,
		Message: "This request would exceed your organization's rate limit. Please reduce your request rate, or try again later.",
	})
}

// Unauthorized is the 401 for a key that the provider does not know, or for a request without a key.
func Unauthorized() Answer {
	return Answer{name: "unauthorized", render: func(x *exchange) response {
		pr := talk.Problem{Status: http.StatusUnauthorized, Type: "invalid_request_error", Code: "invalid_api_key"}
		switch {
		case x.anthropic():
			pr.Type, pr.Message = "authentication_error", "invalid x-api-key"
			if x.req.Key == "" {
				pr.Message = "x-api-key header is required"
			}
		case x.req.Key == "":
			pr.Code = ""
			pr.Message = "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth."
		default:
			pr.Message = "Incorrect API key provided: ********. You can find your API key at https://platform.openai.com/account/api-keys."
		}
		return x.failure(pr)
	}}
}

// Forbidden is the 403 for a key that may not be used at all: it says nothing of a model, a region, a scope or the request.
func Forbidden() Answer {
	return both("forbidden", talk.Problem{
		Status: http.StatusForbidden, Type: "invalid_request_error", Message: "This API key has been disabled.",
	}, talk.Problem{
		Status: http.StatusForbidden, Type: "permission_error",
		Message: "Your API key does not have permission to use the specified resource.",
	})
}

// Quota is the answer for a key whose owner has to pay first: OpenAI's 429 insufficient_quota, Anthropic's 402 billing_error.
func Quota() Answer {
	return both("quota", talk.Problem{
		Status: http.StatusTooManyRequests, Type: "insufficient_quota", Code: "insufficient_quota",
		Message: "You exceeded your current quota, please check your plan and billing details.",
	}, talk.Problem{
		Status: http.StatusPaymentRequired, Type: "billing_error",
		Message: "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
	})
}

// ServerError is a failure of the provider's own, such as 500, 502 or 504.
func ServerError(status int) Answer {
	return both(fmt.Sprint("server error ", status), talk.Problem{
		Status: status, Type: "server_error", Message: "The server had an error while processing your request. Sorry about that!",
	}, talk.Problem{
		Status: status, Type: "api_error", Message: "Internal server error",
	})
}

// Overloaded is the provider's word that it is too busy for anyone: no key is at fault. Status 0 is the dialect's own, OpenAI's
// 503 or Anthropic's 529.
func Overloaded(status int) Answer {
	openAI := talk.Problem{
		Status: http.StatusServiceUnavailable, Type: "service_unavailable_error", Code: "server_is_overloaded",
		Message: "Our servers are currently overloaded. Please try again later.",
	}
	anthropic := talk.Problem{Status: 529, Type: "overloaded_error", Message: "Overloaded"}
	if status != 0 {
		openAI.Status, anthropic.Status = status, status
	}
	return both("overloaded", openAI, anthropic)
}

// failure is pr as an HTTP answer in the dialect of the endpoint.
func (x *exchange) failure(pr talk.Problem) response {
	var body []byte
	h := http.Header{}
	if x.anthropic() {
		body = talk.Encode(pr.Anthropic(x.RequestID()))
		pr.AnthropicHeaders(h, x.req.Time)
	} else {
		body = talk.Encode(map[string]any{"error": pr.OpenAI()})
		pr.OpenAIHeaders(h)
	}
	return jsonResponse(pr.Status, h, body)
}
