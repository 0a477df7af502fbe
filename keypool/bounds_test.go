package keypool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// TestARulesTimeIsWhatItSays: the operator has written it, and no bound for what providers say changes it.
func TestARulesTimeIsWhatItSays(t *testing.T) {
	quota := `{"error":{"message":"x","code":"insufficient_quota"}}`
	gone := `{"error":{"message":"x","code":"model_not_found"}}`
	for _, tc := range []struct {
		name   string
		rule   keypool.Rule
		status int
		body   string
		model  string
	}{
		{"longer than max", keypool.Rule{Status: 403, Action: keypool.CoolDown, For: 5 * time.Hour}, 403, "", ""},
		{"shorter than min", keypool.Rule{Status: 403, Action: keypool.CoolDown, For: 20 * time.Millisecond}, 403, "", ""},
		{"of a key without credit", keypool.Rule{Code: "insufficient_quota", Action: keypool.CoolDown, For: 48 * time.Hour}, 429, quota, ""},
		{"of a model", keypool.Rule{Code: "model_not_found", Action: keypool.NextKey, For: 30 * 24 * time.Hour}, 404, gone, "m"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, clk := newPool(t, func(c *keypool.Config) { c.Policy.Rules = []keypool.Rule{tc.rule} }, "a")
			header := func(name string) string {
				if name == "retry-after" {
					return "30" // the rule stands above it
				}
				return ""
			}
			v := keypool.Classify(p.Policy(), keypool.Answer{Status: tc.status, Header: header, Body: []byte(tc.body), Now: clk.Now()})
			tr := p.Mark(next(t, p), v, tc.model)
			require.Equal(t, tc.rule.For, tr.Until.Sub(clk.Now()))
		})
	}
}

// TestWhatProvidersSayStaysWithinTheBounds is the other side: a rule without a time leaves it to the provider, within the bounds.
func TestWhatProvidersSayStaysWithinTheBounds(t *testing.T) {
	for said, want := range map[string]time.Duration{"0.2": time.Second, "30": 30 * time.Second, "18000": time.Hour} {
		p, clk := newPool(t, func(c *keypool.Config) { c.Policy.Rules = []keypool.Rule{{Status: 403, Action: keypool.CoolDown}} }, "a")
		v := keypool.Classify(p.Policy(), keypool.Answer{Status: 403, Header: func(name string) string {
			return map[string]string{"retry-after": said}[name]
		}, Now: clk.Now()})
		tr := p.Mark(next(t, p), v, "")
		require.Equal(t, want, tr.Until.Sub(clk.Now()), said)
	}
}

// TestNoShortestRest: with a negative Min a rest is as short as the provider says.
func TestNoShortestRest(t *testing.T) {
	p, clk := newPool(t, func(c *keypool.Config) { c.Cooldown.Min = -1 }, "a")
	rests := func(hint time.Duration) time.Duration {
		v := keypool.Verdict{Class: keypool.RateLimit, Action: keypool.CoolDown, Scope: keypool.ScopeKeyModel, Cooldown: hint}
		return p.Mark(keyOf(t, p, "a"), v, hint.String()).Until.Sub(clk.Now())
	}
	require.Equal(t, 100*time.Millisecond, rests(100*time.Millisecond))
	require.Equal(t, time.Hour, rests(5*time.Hour))
	require.Equal(t, time.Minute, rests(0), "who says nothing gets the default")
}

// TestRulesHaveABound: an instant must not overflow.
func TestRulesHaveABound(t *testing.T) {
	cfg := configOf("a")
	cfg.Policy.Rules = []keypool.Rule{{Status: 403, Action: keypool.CoolDown, For: 1<<63 - 1}}
	_, err := keypool.NewPool(cfg, nil)
	require.ErrorContains(t, err, "policy.rules[0].for: found 2562047h47m16.854775807s; write at most 720h")
}
