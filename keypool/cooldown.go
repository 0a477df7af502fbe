package keypool

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/setting"
	"github.com/keyturn/keyturn/internal/wire"
)

// longest bounds what a provider says, so that an instant never overflows.
const longest = 10 * 365 * 24 * time.Hour

// Cooldown says how long keys rest where no Rule does. A field that is 0 takes its default, moved if need be to stay within the others.
type Cooldown struct {
	Default    time.Duration // when the provider gives no hint; 60 s
	Min        time.Duration // the shortest rest, whatever the provider says; 1 s; negative: as short as it says
	Max        time.Duration // the longest; 1 h
	Billing    time.Duration // the first rest of a group without credit; 10 min, doubled each time that it fails again after a rest
	BillingMax time.Duration // bound of the doubling; 24 h
}

// complete checks c and fills in what it leaves open.
func (c Cooldown) complete() (Cooldown, setting.Problems) {
	given, d := c, Defaults().Cooldown
	if c.Min < 0 {
		c.Min, d.Min = 1, 1 // a nanosecond: less than anybody says
	}
	fillRange(&c.Min, &c.Max, d.Min, d.Max)
	fillRange(&c.Billing, &c.BillingMax, d.Billing, d.BillingMax)
	if c.Default == 0 {
		c.Default = min(max(d.Default, c.Min), c.Max)
	}
	var found setting.Problems
	for _, f := range []struct {
		path  string
		value time.Duration
	}{{"default", c.Default}, {"max", c.Max}, {"billing", c.Billing}, {"billing_max", c.BillingMax}} {
		setting.Range(&found, f.path, f.value, ShortestTime, LongestTime, setting.Duration)
	}
	if given.Min > 0 {
		setting.Range(&found, "min", c.Min, ShortestTime, LongestTime, setting.Duration)
	}
	if len(found) > 0 {
		return c, found
	}
	ordered := func(low, high string, a, b time.Duration) bool {
		if a > b {
			found.Add(high, "%s (%s) is longer than %s (%s); write them the other way round, or give both",
				low, setting.Duration(a), high, setting.Duration(b)).Beside = low
		}
		return a <= b
	}
	if ordered("min", "max", c.Min, c.Max) {
		ordered("min", "default", c.Min, c.Default)
		ordered("default", "max", c.Default, c.Max)
	}
	ordered("billing", "billing_max", c.Billing, c.BillingMax)
	return c, found
}

// fillRange fills in the ends of a range that are 0.
func fillRange(low, high *time.Duration, defaultLow, defaultHigh time.Duration) {
	switch {
	case *low == 0 && *high == 0:
		*low, *high = defaultLow, defaultHigh
	case *low == 0:
		*low = min(defaultLow, *high)
	case *high == 0:
		*high = max(defaultHigh, *low)
	}
}

// clamp returns a hint within the bounds, or the default when there is none.
func (c Cooldown) clamp(hint time.Duration) time.Duration {
	if hint <= 0 {
		return c.Default
	}
	return min(max(hint, c.Min), c.Max)
}

// atOnce is the hint of a provider that asks for no wait: the shortest rest, as 0 is no hint at all.
const atOnce time.Duration = 1

// hint returns how long the provider asks to wait, 0 when it does not say: the first of retry-after-ms, Retry-After, the body's RetryInfo, the
// body's text, the reset headers of spent buckets, and those in the body. Where it asks for no wait, one of the others may know better.
func hint(a Answer, p problem) time.Duration {
	if d := number(a.header(wire.RetryAfterMillisHeader), time.Millisecond); d > 0 {
		return d
	}
	after, given := retryAfter(a.header(wire.RetryAfterHeader), a.Now)
	if after > 0 {
		return after
	}
	if p.retryDelay > 0 {
		return min(p.retryDelay, longest)
	}
	if d := waitInText(p.message); d > 0 {
		return d
	}
	if d := spentUntil(a.header, a.Now); d > 0 {
		return d
	}
	if d := resetIn(p.reset, a.Now); d > 0 {
		return d
	}
	if given || strings.TrimSpace(a.header("retry-after-ms")) == "0" {
		return atOnce
	}
	return 0
}

// retryAfter reads Retry-After: seconds or a date (RFC 9110, section 10.2.3), and what is sent in their place: seconds with a fraction or a unit, a
// date with another offset or in RFC 3339. Of several the longest counts. It is 0, and given, for 0 and for a time that is past.
func retryAfter(v string, now time.Time) (wait time.Duration, given bool) {
	v = strings.TrimSpace(v[:min(len(v), maxHeader)])
	if v == "" {
		return 0, false
	}
	parts := strings.Split(v, ",")
	for i := 0; i < len(parts); i++ {
		part := strings.TrimSpace(parts[i])
		if i+1 < len(parts) && strings.HasSuffix(part, "day") || len(part) == 3 && i+1 < len(parts) { // "Wed, 04 Mar 2026 …"
			i++
			part += "," + parts[i]
		}
		if d, ok := oneRetryAfter(part, now); ok {
			wait, given = max(wait, d), true
		}
	}
	return wait, given
}

// maxHeader bounds how much of a header is read, in bytes.
const maxHeader = 512

func oneRetryAfter(v string, now time.Time) (wait time.Duration, ok bool) {
	if f, err := strconv.ParseFloat(v, 64); err == nil {
		return number(v, time.Second), f >= 0
	}
	if m := waitAlone.FindStringSubmatch(v); m != nil {
		return sumOf(m[0]), true
	}
	t := httpDate(v)
	return until(t, now), !t.IsZero()
}

// dates are the three forms of RFC 9110, section 5.6.7, and those that are seen beside them.
var dates = [...]string{
	"Mon, 02 Jan 2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC,
	time.RFC1123Z, "Mon, 2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05 UTC", time.RFC3339, "2006-01-02T15:04:05", time.DateTime,
}

// httpDate reads a date; the zero time when v is none.
func httpDate(v string) time.Time {
	for _, layout := range dates {
		if t, err := time.Parse(layout, v); err == nil {
			return t
		}
	}
	return time.Time{}
}

// until is the time from now to t, at most longest; 0 when t is zero or past.
func until(t, now time.Time) time.Duration {
	if t.IsZero() || !t.After(now) {
		return 0
	}
	return min(t.Sub(now), longest)
}

// number reads a decimal number of units, at most longest; 0 when v is none, or not above 0.
func number(v string, unit time.Duration) time.Duration {
	f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
	if err != nil || math.IsNaN(f) || f <= 0 {
		return 0
	}
	if f >= float64(longest)/float64(unit) {
		return longest
	}
	return time.Duration(f * float64(unit))
}

// Providers put the wait into words too: "Please retry after 20 seconds" (Azure), "Please try again in 6m0s" (OpenAI), "Please retry in 57.2s"
// (Gemini). Without a unit it is seconds.
var (
	waitPhrase = regexp.MustCompile(`(?i)\b(?:retry|try again) (?:after|in) ((?:\d+(?:\.\d+)? ?(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d)\b ?|\d+(?:\.\d+)?(?:ms|s|m|h|d))+|\d+)`)
	waitAlone  = regexp.MustCompile(`(?i)^(?:\d+(?:\.\d+)? ?(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d)\b ?|\d+(?:\.\d+)?(?:ms|s|m|h|d))+$`)
	waitPart   = regexp.MustCompile(`(?i)(\d+(?:\.\d+)?) ?([a-z]*)`)
)

// maxTextBytes bounds how far into a message the words are looked for.
const maxTextBytes = 4096

// waitInText reads the wait out of a message, 0 when it names none.
func waitInText(message string) time.Duration {
	m := waitPhrase.FindStringSubmatch(message[:min(len(message), maxTextBytes)])
	if m == nil {
		return 0
	}
	return sumOf(m[1])
}

// sumOf adds up the parts of a wait, such as "1h16m0.5s" or "2 hours 30 minutes".
func sumOf(wait string) time.Duration {
	var sum time.Duration
	for _, part := range waitPart.FindAllStringSubmatch(wait, -1) {
		sum = min(sum+number(part[1], unitOf(strings.ToLower(part[2]))), longest)
	}
	return sum
}

func unitOf(word string) time.Duration {
	switch {
	case strings.HasPrefix(word, "ms"), strings.HasPrefix(word, "milli"):
		return time.Millisecond
	case strings.HasPrefix(word, "m"):
		return time.Minute
	case strings.HasPrefix(word, "h"):
		return time.Hour
	case strings.HasPrefix(word, "d"):
		return 24 * time.Hour
	}
	return time.Second
}

// spentUntil returns the longest wait of an allowance that is spent: that one stands in the way, the resets of others say nothing.
func spentUntil(header func(string) string, now time.Time) (longestWait time.Duration) {
	for _, l := range wire.Limits {
		if strings.TrimSpace(header(l.Remaining)) == "0" || l.Status != "" && header(l.Status) == "rejected" {
			longestWait = max(longestWait, resetIn(header(l.Reset), now))
		}
	}
	return longestWait
}

// resetIn reads a reset: a Go duration (OpenAI), seconds (Azure), a unix time in seconds or milliseconds, or RFC 3339 (Anthropic). -1 and 0 are
// Azure's "not known".
func resetIn(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	if d, err := time.ParseDuration(v); err == nil {
		return min(max(d, 0), longest)
	}
	if t, err := time.Parse(time.RFC3339, v); err == nil {
		return until(t, now)
	}
	f, err := strconv.ParseFloat(v, 64)
	switch {
	case err != nil || math.IsNaN(f) || f <= 0 || f > 1e15:
		return 0
	case f >= 1e11:
		return until(time.UnixMilli(int64(f)), now)
	case f >= 1e9:
		return until(time.UnixMilli(int64(f*1e3)), now)
	}
	return number(v, time.Second)
}
