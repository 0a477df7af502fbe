package keypool_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

var aCode = regexp.MustCompile(`^[a-zA-Z0-9_.-]{0,64}$`)

func FuzzClassify(f *testing.F) {
	for _, seed := range []struct {
		status int
		body   string
	}{
		{429, ""},
		{429, openAI("insufficient_quota", "insufficient_quota", "Please try again in 6m0s.")},
		{401, openAI("invalid_request_error", "mismatched_organization", "")},
		{400, anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API.")},
		{429, `{"type":"error","error":{"type":"rate_limit_error","details":{"error_code":"enforced_spend_limit_reached"}}}`},
		{400, "[" + gemini(400, "INVALID_ARGUMENT", geminiBadKey, errorInfo("API_KEY_INVALID")) + "]"},
		{429, gemini(429, "RESOURCE_EXHAUSTED", "", quotaFailure("PerDayPerModel")+`,{"retryDelay":"57.2s"}`)},
		{400, `{"error":{"message":"{\"error\":{\"code\":400,\"status\":\"INVALID_ARGUMENT\"}}","code":400}}`},
		{400, `"{\"error\":\"[{}]\"}"`},
		{429, `{"statusCode":429,"message":"Rate limit is exceeded. Try again in 23 seconds."}`},
		{403, openRouter(403, "Input was flagged", `{"reasons":[]}`)},
		{500, `[[[[[[{}]]]]]]`},
		{403, "<!DOCTYPE html><title>no</title>"},
		{429, "\xef\xbb\xbf{\"detail\":{\"error\":{\"code\":\"insufficient_quota\"}}}"},
		{429, "event: error\r\ndata: {\"errors\":[{\"code\":\"insufficient_quota\"}]}\r\n\r\n"},
		{403, `{"error":"Your API key has been disabled for model m."}`},
		{403, openAI("", "", "Your organization must be verified to use the model `m`.")},
		{402, openRouter(402, "This request requires more credits, or fewer max_tokens. You requested up to 1 tokens, but can only afford 0.", "null")},
		{429, openRouter(429, "Rate limit exceeded", `{"raw":"x","provider_name":"p","headers":{"X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1e12"}}`)},
		{429, openAI("", "rate_limit_exceeded", "Rate limit reached for m in organization")},
		{403, `{"__type":"a#UnrecognizedClientException","message":"n’t"}`},
	} {
		f.Add(seed.status, []byte(seed.body))
	}
	strict := keypool.Policy{}
	lenient := keypool.Policy{Preset: keypool.Lenient, Rules: []keypool.Rule{
		{Code: "model_*", Action: keypool.NextKey},
		{Message: "(?i)a(b|c)*d", ContentType: "*/*html", Provider: "*n*", Path: "/v1/*a*", Action: keypool.CoolDown},
	}}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, p := range []keypool.Policy{strict, lenient} {
			a := keypool.Answer{
				Status: status, Body: body, Now: time.Unix(1e9, 0), Model: "m", Provider: "openai",
				Path: string(body[:len(body)/2]), Header: header{"content-type": string(body[len(body)/2:])}.get,
			}
			v := keypool.Classify(p, a)
			require.Equal(t, v, keypool.Classify(p, a), "pure")
			require.Regexp(t, aCode, v.Code)
			require.GreaterOrEqual(t, v.Cooldown, time.Duration(0))
			require.Equal(t, status < 400, v.Class == keypool.None)
			if v.Action != keypool.Surface {
				require.True(t, p.Concerns(status), "decided by a body that need not be read")
			} else {
				require.True(t, v.Scope == keypool.ScopeRequest || v.Scope == keypool.ScopeKeyModel && v.Class == keypool.ModelAccess && status == 403)
			}
			if v.Weak {
				require.Equal(t, keypool.Retire, v.Action)
				require.NotEqual(t, keypool.Retire, v.Spare().Action)
			}
			if v.Action == keypool.Retire {
				require.Equal(t, keypool.Credential, v.Class, "retired for want of a credential alone")
			}
			if status >= 500 {
				require.Equal(t, keypool.Transient, v.Class)
			}
		}
	})
}

func FuzzCooldown(f *testing.F) {
	for _, seed := range [][4]string{
		{"1500", "", "", ""},
		{"", "5", "", ""},
		{"", "0.5", "", ""},
		{"", "86400", "", ""},
		{"", "Wed, 04 Mar 2026 12:00:30 GMT", "", ""},
		{"", "Wednesday, 04-Mar-26 12:01:00 GMT", "", ""},
		{"NaN", "-Inf", "1e999", "0x1p-2"},
		{"", "", "1h16m0.667s", ""},
		{"", "", "-1", ""},
		{"", "", "38", ""},
		{"", "", "2026-03-04T12:00:42Z", ""},
		{"", "", "1772625660", ""},
		{"", "", "1772625660000", ""},
		{"", "", "", "Please retry after 20 seconds."},
		{"", "", "", "try again in 6m0s"},
		{"", "", "", "try again in 2 hours 30 minutes"},
		{"", "", "", "retry in 99999999999999999999 days 1 s"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, ms, after, reset, text string) {
		clk := quartz.NewMock(t).WithLogger(quartz.NoOpLogger)
		p, err := keypool.New([]string{"a"}, clk)
		require.NoError(t, err)
		h := header{
			"retry-after-ms": ms, "retry-after": after,
			"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset,
			"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": reset,
		}
		v := keypool.Classify(p.Policy(), keypool.Answer{Status: 429, Header: h.get, Body: []byte(text), Now: clk.Now()})
		require.GreaterOrEqual(t, v.Cooldown, time.Duration(0))
		if v.Action != keypool.CoolDown || v.Scope != keypool.ScopeKey {
			return
		}
		k, _ := p.Walker().Next()
		rest := p.Mark(k, v, "").Until.Sub(clk.Now())
		require.GreaterOrEqual(t, rest, time.Second)
		require.LessOrEqual(t, rest, time.Hour)
	})
}
