package talk

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Problem is an error as a provider reports it. What a dialect's shape has no place for is left out: Anthropic's has no Code and
// no Param.
type Problem struct {
	// Status is the HTTP status.
	Status int
	// Type, Code and Param are the members of the error object; "" is null.
	Type, Code, Param string
	// Message is for people.
	Message string
	// RetryAfter is sent as Retry-After (whole seconds, rounded up) and the like. 0: not at all.
	RetryAfter time.Duration
	// Limited marks a limit of requests: the headers that tell its state are sent with it, if RetryAfter says when it ends.
	Limited bool
}

type (
	// OpenAIError is the error object of OpenAI's APIs, which stands in {"error": {message, type, param, code}}.
	OpenAIError struct {
		Message string  `json:"message"`
		Type    *string `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	anthropicError struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	// AnthropicFailure is the whole body of an error of Anthropic's: {"type": "error", "error": {type, message}, "request_id"}.
	AnthropicFailure struct {
		Type      string         `json:"type"`
		Error     anthropicError `json:"error"`
		RequestID string         `json:"request_id"`
	}
)

// OpenAI is the error object of OpenAI's APIs.
func (pr Problem) OpenAI() OpenAIError {
	return OpenAIError{Message: pr.Message, Type: orNull(pr.Type), Param: orNull(pr.Param), Code: orNull(pr.Code)}
}

// Anthropic is the body of an error of Anthropic's.
func (pr Problem) Anthropic(requestID string) AnthropicFailure {
	return AnthropicFailure{Type: "error", Error: anthropicError{Type: pr.Type, Message: pr.Message}, RequestID: requestID}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// OpenAIHeaders are those that OpenAI documents for rate limits, with a reset in Go's own form of durations.
func (pr Problem) OpenAIHeaders(h http.Header) {
	if pr.RetryAfter <= 0 {
		return
	}
	h.Set("Retry-After", CeilSeconds(pr.RetryAfter))
	h.Set("Retry-After-Ms", strconv.FormatInt(pr.RetryAfter.Milliseconds(), 10))
	if pr.Limited {
		h.Set("X-Ratelimit-Limit-Requests", "500")
		h.Set("X-Ratelimit-Remaining-Requests", "0")
		h.Set("X-Ratelimit-Reset-Requests", pr.RetryAfter.String())
	}
}

// AnthropicHeaders are those that Anthropic documents for rate limits, with a reset in RFC 3339.
func (pr Problem) AnthropicHeaders(h http.Header, now time.Time) {
	if pr.RetryAfter <= 0 {
		return
	}
	h.Set("Retry-After", CeilSeconds(pr.RetryAfter))
	if pr.Limited {
		h.Set("Anthropic-Ratelimit-Requests-Limit", "50")
		h.Set("Anthropic-Ratelimit-Requests-Remaining", "0")
		h.Set("Anthropic-Ratelimit-Requests-Reset", now.Add(pr.RetryAfter).UTC().Format(time.RFC3339))
	}
}

// CeilSeconds is d in whole seconds, rounded up.
func CeilSeconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// Invalid is a 400 for a request that says something wrong. Anthropic's have no param and no code.
func Invalid(param, code, format string, args ...any) *Problem {
	return &Problem{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Param: param, Code: code, Message: fmt.Sprintf(format, args...),
	}
}
