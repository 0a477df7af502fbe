package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListsOfHeaders(t *testing.T) {
	for name, list := range map[string][]string{
		"Credentials": Credentials, "Secrets": Secrets, "Withheld": Withheld, "Account": Account, "HopByHop": HopByHop, "LimitPrefixes": LimitPrefixes,
	} {
		seen := map[string]bool{}
		for _, header := range list {
			require.Regexp(t, `^[a-z][a-z0-9-]*$`, header, name)
			require.False(t, seen[header], "%s has %s twice", name, header)
			seen[header] = true
		}
	}
}

func TestLimits(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range Limits {
		for _, name := range []string{l.Remaining, l.Reset, l.Status} {
			if name == "" {
				continue
			}
			require.False(t, seen[name], "%s stands twice", name)
			seen[name] = true
			require.Equal(t, strings.ToLower(name), name)
			require.True(t, IsLimit([]byte(name)), name)
		}
		require.NotEmpty(t, l.Remaining)
		require.NotEmpty(t, l.Reset)
	}
	for _, name := range []string{"x-ratelimit-limit-requests", "anthropic-ratelimit-unified-representative-claim"} {
		require.True(t, IsLimit([]byte(name)), name)
	}
	for _, name := range []string{"", "x-ratelimit", "x-ratelimit-", "x-request-id", "retry-after"} {
		require.False(t, IsLimit([]byte(name)), name)
	}
}

func TestLimitsWithoutAPrefix(t *testing.T) {
	require.Equal(t, []string{"left", "again"}, otherLimits([]Limit{
		{Remaining: "x-ratelimit-remaining", Reset: "again"}, {Remaining: "left", Reset: "again"},
	}[1:]), "each once")
	require.Equal(t, []string{"again", "left"}, otherLimits([]Limit{
		{Remaining: "x-ratelimit-remaining", Reset: "again"}, {Remaining: "left", Reset: "again"},
	}))
}
