package openai

import (
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// ReadFailure is the error object b[at] as an answer of its own.
func ReadFailure(b []byte, at rawjson.Span) *turn.Failure {
	f := &turn.Failure{Error: turn.Error{Code: rawjson.Text(b, at, "code"), Message: rawjson.Text(b, at, "message")}}
	f.Type = rawjson.Text(b, at, "type")
	if f.Type == "error" { // the event's own
		f.Type = ""
	}
	if v, ok := rawjson.Lookup(b, at, "code"); ok && f.Code == "" {
		if n, isInt := rawjson.ParseInt(v.Of(b)); isInt {
			f.Code = string(v.Of(b))
			if n >= 400 && n < 600 {
				f.Status = int(n)
			}
		}
	}
	if f.Status == 0 {
		if f.Status = statusOf(f.Code); f.Status == 0 {
			f.Status = statusOf(f.Type)
		}
	}
	if f.Type == "" {
		f.Type = "api_error"
		switch {
		case f.Status == 429:
			f.Type = "rate_limit_error"
		case f.Status == 401:
			f.Type = "authentication_error"
		case f.Status == 403:
			f.Type = "permission_error"
		}
	}
	f.Body = []byte(`{"error":{`)
	f.Body = rawjson.AppendString(append(f.Body, `"type":`...), f.Type)
	for _, name := range []string{"code", "message", "param"} {
		v, ok := rawjson.Lookup(b, at, name)
		value := rawjson.Null
		if ok {
			value = v.Of(b)
		}
		f.Body = append(append(append(rawjson.AppendString(append(f.Body, ','), name), ':'), value...), ""...)
	}
	f.Body = append(f.Body, `}}`...)
	return f
}

// statusOf is the HTTP status that goes with an error's code or type ("Error codes" in OpenAI's documentation); 0 if none is known.
func statusOf(word string) int {
	switch word {
	case "rate_limit_exceeded", "rate_limit_error", "slow_down", "requests", "tokens", "RateLimitReached", "too_many_requests",
		"insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded", "project_spend_limit_exceeded",
		"organization_usage_limit_exceeded", "billing_hard_limit_reached":
		return 429
	case "invalid_api_key", "authentication_error", "invalid_authentication", "incorrect_api_key", "unauthorized":
		return 401
	case "permission_error", "permission_denied", "insufficient_permissions", "unsupported_country_region_territory", "forbidden":
		return 403
	case "server_is_overloaded", "overloaded", "overloaded_error", "service_unavailable_error", "service_unavailable":
		return 503
	case "server_error", "internal_error", "internal_server_error":
		return 500
	}
	return 0
}
