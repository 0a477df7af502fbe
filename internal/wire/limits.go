package wire

import (
	"slices"
	"strings"
)

// Limit is one of the allowances that a provider counts for a key, by the headers of an answer that tell about it.
type Limit struct {
	Remaining string // what is left of it, a number
	Total     string // the whole of it, a number; "": not said
	Tokens    bool   // it counts tokens, and not requests
	Reset     string // when there is more: a duration, seconds, or an instant
	Status    string // "rejected" where nothing is left, of providers that say so; "" where none does
}

// LimitPrefixes begin the headers in which providers say how much of a key's allowance is left. Envoy sends these to Keyturn, and Keyturn
// takes them out of what clients get.
var LimitPrefixes = []string{"x-ratelimit-", "anthropic-ratelimit-", "x-tokenlimit-"}

// Limits are the allowances that decide how long a key rests. A header that has none of LimitPrefixes is treated like one that has.
var Limits = []Limit{
	{Remaining: "x-ratelimit-remaining", Total: "x-ratelimit-limit", Reset: "x-ratelimit-reset"},
	common("requests"), common("tokens"), common("project-tokens"), common("requests-day"), common("tokens-minute"),
	anthropic("requests"), anthropic("tokens"), anthropic("input-tokens"), anthropic("output-tokens"),
	{Remaining: "x-tokenlimit-remaining", Total: "x-tokenlimit-limit", Tokens: true, Reset: "x-tokenlimit-reset"}, // Together's
	unified(""), unified("-5h"), unified("-7d"), // of Anthropic's subscriptions
}

// common is what OpenAI and Azure say, and most of the others after them.
func common(of string) Limit {
	return Limit{Remaining: "x-ratelimit-remaining-" + of, Total: "x-ratelimit-limit-" + of, Tokens: strings.Contains(of, "tokens"), Reset: "x-ratelimit-reset-" + of}
}

func anthropic(of string) Limit {
	name := "anthropic-ratelimit-" + of
	return Limit{Remaining: name + "-remaining", Total: name + "-limit", Tokens: strings.Contains(of, "tokens"), Reset: name + "-reset"}
}

func unified(window string) Limit {
	const name = "anthropic-ratelimit-unified"
	return Limit{Remaining: name + window + "-remaining", Reset: name + window + "-reset", Status: name + window + "-status"}
}

// OtherLimits are the headers of Limits that have none of LimitPrefixes, each once.
var OtherLimits = otherLimits(Limits)

func otherLimits(limits []Limit) (names []string) {
	for _, l := range limits {
		for _, name := range []string{l.Remaining, l.Total, l.Reset, l.Status} {
			prefixed := slices.ContainsFunc(LimitPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
			if name != "" && !prefixed && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// IsLimit reports whether a header of an answer, named in lower case, tells how much of a key's allowance is left.
func IsLimit(name []byte) bool {
	for _, p := range LimitPrefixes {
		if len(name) > len(p) && string(name[:len(p)]) == p {
			return true
		}
	}
	return slices.Contains(OtherLimits, string(name))
}
