package keypool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

func TestCooldownHint(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	const longest = 10 * 365 * 24 * time.Hour
	gm := gemini(429, "RESOURCE_EXHAUSTED", "Please retry in 5s.", `{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"57.238747106s"}`)
	says := func(text string) string { return openAI("requests", "rate_limit_exceeded", text) }
	for _, tc := range []struct {
		name string
		h    header
		body string
		want time.Duration
	}{
		{"nothing", nil, "", 0},

		{"retry-after-ms", header{"retry-after-ms": "1500"}, "", 1500 * time.Millisecond},
		{"retry-after-ms with a fraction", header{"retry-after-ms": "0.5"}, "", 500 * time.Microsecond},
		{"retry-after-ms wins", header{"retry-after-ms": "1500", "retry-after": "7"}, gm, 1500 * time.Millisecond},
		{"retry-after-ms of 0 says nothing", header{"retry-after-ms": "0", "retry-after": "7"}, "", 7 * time.Second},
		{"retry-after-ms garbage", header{"retry-after-ms": "soon", "retry-after": "7"}, "", 7 * time.Second},

		{"retry-after seconds", header{"retry-after": "5"}, "", 5 * time.Second},
		{"retry-after with spaces", header{"retry-after": " 5 "}, "", 5 * time.Second},
		{"retry-after with a fraction", header{"retry-after": "0.25"}, "", 250 * time.Millisecond},
		{"retry-after a day", header{"retry-after": "86400"}, "", 24 * time.Hour},
		{"retry-after absurd", header{"retry-after": "1e300"}, "", longest},
		{"retry-after infinite", header{"retry-after": "Inf"}, "", longest},
		{"retry-after not a number", header{"retry-after": "NaN"}, "", 0},
		{"retry-after negative", header{"retry-after": "-3"}, "", 0},
		{"retry-after zero: at once", header{"retry-after": "0"}, "", 1},
		{"retry-after zero, where the body knows better", header{"retry-after": "0"}, gm, 57238747106},
		{"retry-after-ms zero: at once", header{"retry-after-ms": "0"}, "", 1},
		{"retry-after with a unit", header{"retry-after": "30s"}, "", 30 * time.Second},
		{"retry-after with units", header{"retry-after": "1m30s"}, "", 90 * time.Second},
		{"retry-after in words", header{"retry-after": "60 seconds"}, "", time.Minute},
		{"retry-after with another unit", header{"retry-after": "3 parsecs"}, "", 0},
		{"retry-after twice", header{"retry-after": "20, 40"}, "", 40 * time.Second},
		{"retry-after twice the same", header{"retry-after": "20, 20"}, "", 20 * time.Second},
		{"retry-after once as a date", header{"retry-after": "Wed, 04 Mar 2026 12:00:30 GMT, 20"}, "", 30 * time.Second},
		{"retry-after as two dates", header{"retry-after": "Wed, 04 Mar 2026 12:00:30 GMT, Wednesday, 04-Mar-26 12:01:00 GMT"}, "", time.Minute},
		{"retry-after date with an offset", header{"retry-after": "Wed, 04 Mar 2026 14:00:30 +0200"}, "", 30 * time.Second},
		{"retry-after date with no offset", header{"retry-after": "Wed, 04 Mar 2026 12:00:30 +0000"}, "", 30 * time.Second},
		{"retry-after in RFC 3339", header{"retry-after": "2026-03-04T12:00:30Z"}, "", 30 * time.Second},
		{"retry-after in RFC 3339 with an offset", header{"retry-after": "2026-03-04T10:01:00-02:00"}, "", time.Minute},
		{"retry-after garbage beside a number", header{"retry-after": "soon, 20"}, "", 20 * time.Second},
		{"retry-after nothing but commas", header{"retry-after": ",,,"}, "", 0},
		{"retry-after date", header{"retry-after": "Wed, 04 Mar 2026 12:00:30 GMT"}, "", 30 * time.Second},
		{"retry-after date of RFC 850", header{"retry-after": "Wednesday, 04-Mar-26 12:01:00 GMT"}, "", time.Minute},
		{"retry-after date of asctime", header{"retry-after": "Wed Mar  4 12:00:05 2026"}, "", 5 * time.Second},
		{"retry-after date past: at once", header{"retry-after": "Wed, 04 Mar 2026 11:59:30 GMT"}, "", 1},
		{"retry-after date far", header{"retry-after": "Fri, 04 Mar 2926 12:00:00 GMT"}, "", longest},
		{"retry-after wins over the body", header{"retry-after": "3"}, gm, 3 * time.Second},

		{"gemini retryDelay wins over the text", nil, gm, 57238747106},
		{"gemini text alone", nil, gemini(429, "RESOURCE_EXHAUSTED", "Quota exceeded.\nPlease retry in 20.04466179s.", ""), 20044661790},
		{"gemini retryDelay garbage", nil, gemini(429, "RESOURCE_EXHAUSTED", "", `{"retryDelay":"soon"}`), 0},
		{"gemini retryDelay negative", nil, gemini(429, "RESOURCE_EXHAUSTED", "", `{"retryDelay":"-1s"}`), 0},

		{"azure text", nil, says("… Please retry after 20 seconds."), 20 * time.Second},
		{"azure text, a day", nil, says("Please retry after 86400 seconds."), 24 * time.Hour},
		{"azure text, one second", nil, says("please retry after 1 second"), time.Second},
		{"azure gateway", nil, `{"statusCode":429,"message":"Rate limit is exceeded. Try again in 23 seconds."}`, 23 * time.Second},
		{"openai text, minutes", nil, says("Limit 3, Used 3. Please try again in 6m0s. Visit …"), 6 * time.Minute},
		{"openai text, fraction", nil, says("Please try again in 1.242s."), 1242 * time.Millisecond},
		{"openai text, milliseconds", nil, says("Please try again in 17ms."), 17 * time.Millisecond},
		{"openai text, hours", nil, says("Please try again in 1h16m0.5s."), 76*time.Minute + 500*time.Millisecond},
		{"text in words", nil, says("Try again in 2 hours 30 minutes"), 150 * time.Minute},
		{"text in days", nil, says("try again in 2 days"), 48 * time.Hour},
		{"text without a unit", nil, says("retry after 7"), 7 * time.Second},
		{"text without a number", nil, says("Please try again in a few minutes."), 0},
		{"text of a number with another meaning", nil, says("retry after 3 attempts"), 3 * time.Second},
		{"text that is no JSON", nil, "slow down, retry after 9 seconds", 9 * time.Second},
		{"text absurd", nil, says("retry after 99999999999999999999 hours"), longest},

		{"openai reset of the spent bucket", header{
			"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1h16m0.667s",
			"x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "9h",
		}, "", 76*time.Minute + 667*time.Millisecond},
		{"openai largest of two spent buckets", header{
			"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "17ms",
			"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s",
		}, "", 6 * time.Minute},
		{"openai reset without a remaining", header{"x-ratelimit-reset-requests": "6m0s"}, "", 0},
		{"openai project tokens", header{"x-ratelimit-remaining-project-tokens": "0", "x-ratelimit-reset-project-tokens": "1s"}, "", time.Second},
		{"azure reset in seconds", header{"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "38"}, "", 38 * time.Second},
		{"azure unknown", header{"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "-1"}, "", 0},
		{"azure unknown as 0", header{"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "0"}, "", 0},
		{"azure unknown remaining", header{"x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "38"}, "", 0},
		{"openrouter reset in unix milliseconds", header{"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1772625660000"}, "", time.Minute},
		{"openrouter reset in the body", nil, openRouter(429, "Rate limit exceeded: free-models-per-day", `{"headers":{"X-RateLimit-Limit":"50","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1772625660000"}}`), time.Minute},
		{"openrouter reset in the body, of a limit that is not spent", nil, openRouter(429, "Rate limit exceeded", `{"headers":{"X-RateLimit-Remaining":"3","X-RateLimit-Reset":"1772625660000"}}`), 0},
		{"reset garbage", header{"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1e99"}, "", 0},

		{"anthropic reset", header{
			"anthropic-ratelimit-input-tokens-remaining": "0", "anthropic-ratelimit-input-tokens-reset": "2026-03-04T12:00:42Z",
			"anthropic-ratelimit-requests-remaining": "3", "anthropic-ratelimit-requests-reset": "2026-03-04T13:00:00Z",
		}, "", 42 * time.Second},
		{"anthropic reset past", header{
			"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-03-04T11:00:00Z",
		}, "", 0},
		{"anthropic unified, spent", header{
			"anthropic-ratelimit-unified-remaining": "0", "anthropic-ratelimit-unified-reset": "1772625660",
		}, "", time.Minute},
		{"anthropic unified, rejected", header{
			"anthropic-ratelimit-unified-5h-status": "rejected", "anthropic-ratelimit-unified-5h-reset": "1772625720",
			"anthropic-ratelimit-unified-7d-status": "allowed", "anthropic-ratelimit-unified-7d-reset": "1772999999",
		}, "", 2 * time.Minute},
		{"text wins over reset headers", header{
			"x-ratelimit-remaining": "0", "x-ratelimit-reset": "60",
		}, says("try again in 5s"), 5 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := keypool.Classify(keypool.Policy{}, keypool.Answer{Status: 429, Header: tc.h.get, Body: []byte(tc.body), Now: now})
			require.Equal(t, keypool.CoolDown, v.Action)
			require.Equal(t, tc.want, v.Cooldown)
		})
	}
}

func TestHintIsOnlyForWhatRests(t *testing.T) {
	h := header{"retry-after": "5"}
	for status, want := range map[int]time.Duration{429: 5 * time.Second, 402: 5 * time.Second, 401: 0, 503: 0, 400: 0} {
		require.Equal(t, want, keypool.Classify(keypool.Policy{}, keypool.Answer{Status: status, Header: h.get}).Cooldown, status)
	}
	ruled := keypool.Policy{Rules: []keypool.Rule{{Action: keypool.CoolDown, For: time.Hour}}}
	require.Equal(t, time.Hour, keypool.Classify(ruled, keypool.Answer{Status: 429, Header: h.get}).Cooldown, "a rule's time is heard")
}

// TestEveryLimitIsRead: a key rests until the allowance that is spent returns, whichever it is.
func TestEveryLimitIsRead(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	rest := func(h header) time.Duration {
		return keypool.Classify(keypool.Policy{}, keypool.Answer{Status: 429, Header: h.get, Now: now}).Cooldown
	}
	for _, l := range wire.Limits {
		require.Equal(t, 37*time.Second, rest(header{l.Remaining: "0", l.Reset: "37"}), l.Remaining)
		require.Zero(t, rest(header{l.Remaining: "1", l.Reset: "37"}), l.Remaining)
		if l.Status != "" {
			require.Equal(t, 37*time.Second, rest(header{l.Status: "rejected", l.Reset: "37"}), l.Status)
			require.Zero(t, rest(header{l.Status: "allowed", l.Reset: "37"}), l.Status)
		}
	}
}
