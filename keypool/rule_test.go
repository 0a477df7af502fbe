package keypool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

func TestRulesByMoreThanStatusAndCode(t *testing.T) {
	html := header{"content-type": "text/html; charset=UTF-8"}
	for _, tc := range []struct {
		name string
		rule keypool.Rule
		a    keypool.Answer
		want bool
	}{
		{"message", keypool.Rule{Message: `quota of \d+`}, keypool.Answer{Body: []byte(openAI("x", "", "Over the quota of 12 widgets"))}, true},
		{"message of another kind", keypool.Rule{Message: `^quota`}, keypool.Answer{Body: []byte(openAI("x", "", "Over the quota"))}, false},
		{"message in any case, when it says so", keypool.Rule{Message: `(?i)QUOTA`}, keypool.Answer{Body: []byte(openAI("x", "", "Over the quota"))}, true},
		{"message of a body that is text", keypool.Rule{Message: `blocked`}, keypool.Answer{Body: []byte("<html>You were blocked</html>")}, true},
		{"message of the provider behind the provider", keypool.Rule{Message: `busy`}, keypool.Answer{Body: []byte(openRouter(403, "Provider returned error", `{"raw":"busy"}`))}, true},
		{"message where there is none", keypool.Rule{Message: `.`}, keypool.Answer{}, false},
		{"message that is no expression", keypool.Rule{Message: `(`}, keypool.Answer{Body: []byte("(")}, false},
		{"content type", keypool.Rule{ContentType: "text/html"}, keypool.Answer{Header: html.get}, true},
		{"content type by pattern", keypool.Rule{ContentType: "text/*"}, keypool.Answer{Header: html.get}, true},
		{"another content type", keypool.Rule{ContentType: "application/*"}, keypool.Answer{Header: html.get}, false},
		{"no content type", keypool.Rule{ContentType: "text/html"}, keypool.Answer{}, false},
		{"provider", keypool.Rule{Provider: "openrouter"}, keypool.Answer{Provider: "openrouter"}, true},
		{"another provider", keypool.Rule{Provider: "openrouter"}, keypool.Answer{Provider: "openai"}, false},
		{"provider behind the provider", keypool.Rule{Provider: "Base*"}, keypool.Answer{Provider: "openrouter", Body: []byte(openRouter(403, "x", `{"provider_name":"BaseTen"}`))}, true},
		{"path", keypool.Rule{Path: "*/files/*"}, keypool.Answer{Path: "/v1beta/files/abc/def"}, true},
		{"another path", keypool.Rule{Path: "*/files/*"}, keypool.Answer{Path: "/v1/chat/completions"}, false},
		{"all of them", keypool.Rule{Status: 403, Code: "x", Message: "y", ContentType: "*/html", Provider: "p", Path: "/v1/*"}, keypool.Answer{
			Header: html.get, Provider: "p", Path: "/v1/z", Body: []byte(openAI("", "x", "y")),
		}, true},
		{"all but one", keypool.Rule{Status: 403, Code: "x", Message: "y", ContentType: "*/html", Provider: "q", Path: "/v1/*"}, keypool.Answer{
			Header: html.get, Provider: "p", Path: "/v1/z", Body: []byte(openAI("", "x", "y")),
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.rule.Action, tc.rule.For, tc.a.Status = keypool.CoolDown, 7*time.Second, 403
			literal := keypool.Policy{Rules: []keypool.Rule{tc.rule}}
			require.True(t, literal.Concerns(403))
			policies := []keypool.Policy{literal}
			if tc.rule.Message != "(" {
				p, _ := newPool(t, func(c *keypool.Config) { c.Policy = literal }, "a")
				policies = append(policies, p.Policy())
			}
			for _, p := range policies {
				require.Equal(t, tc.want, keypool.Classify(p, tc.a).Cooldown == 7*time.Second)
			}
		})
	}
}

func TestRuleWithAMessageTakesNothingAwayFromTheOthers(t *testing.T) {
	p := keypool.Policy{Rules: []keypool.Rule{{Status: 429, Message: "x"}}}
	require.True(t, p.Concerns(429), "another 429 still matters")
	for _, r := range []keypool.Rule{{ContentType: "x"}, {Provider: "x"}, {Path: "x"}} {
		require.True(t, keypool.Policy{Rules: []keypool.Rule{r}}.Concerns(429))
	}
}

func TestMessageThatIsNoExpressionIsRefused(t *testing.T) {
	cfg := configOf("a")
	cfg.Policy.Rules = []keypool.Rule{{Message: "(", Action: keypool.Surface}}
	_, err := keypool.NewPool(cfg, nil)
	require.ErrorContains(t, err, "policy.rules[0].message: error parsing regexp: missing closing )")
}

// What Reload is given stays the caller's.
func TestRulesOfTheConfigurationAreNotChanged(t *testing.T) {
	cfg := configOf("a")
	cfg.Policy.Rules = []keypool.Rule{{Message: "x"}}
	_, err := keypool.NewPool(cfg, nil)
	require.NoError(t, err)
	require.Equal(t, []keypool.Rule{{Message: "x"}}, cfg.Policy.Rules)
}

func TestLimitOfAModel(t *testing.T) {
	azure := []byte(`{"error":{"code":"RateLimitReached","message":"Your requests to gpt-4o for gpt-4o in East US have exceeded token rate limit."}}`)
	plain := []byte(openAI("requests", "rate_limit_exceeded", "Too many requests."))
	for _, tc := range []struct {
		name string
		a    keypool.Answer
		want keypool.Scope
	}{
		{"the path names the model", keypool.Answer{Path: "/openai/deployments/gpt-4o/chat/completions", Model: "gpt-4o", Body: plain}, keypool.ScopeKeyModel},
		{"at the path's end", keypool.Answer{Path: "/v1beta/models/gemini-2.5-pro", Model: "gemini-2.5-pro"}, keypool.ScopeKeyModel},
		{"before a colon", keypool.Answer{Path: "/v1beta/models/gemini-2.5-pro:generateContent", Model: "gemini-2.5-pro"}, keypool.ScopeKeyModel},
		{"the path names another", keypool.Answer{Path: "/openai/deployments/gpt-4o-mini/chat/completions", Model: "gpt-4o", Body: plain}, keypool.ScopeKey},
		{"the message names the model", keypool.Answer{Model: "gpt-4o", Body: azure}, keypool.ScopeKeyModel},
		{"the message names it in another case", keypool.Answer{Model: "GPT-4o", Body: azure}, keypool.ScopeKeyModel},
		{"the message names another", keypool.Answer{Model: "gpt-4", Body: azure}, keypool.ScopeKey},
		{"the model is not known", keypool.Answer{Body: azure}, keypool.ScopeKey},
		{"nothing names it", keypool.Answer{Path: "/v1/responses", Model: "gpt-4o", Body: plain}, keypool.ScopeKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.a.Status, tc.a.Header = 429, header{"retry-after": "50"}.get
			v := keypool.Classify(keypool.Policy{}, tc.a)
			require.Equal(t, keypool.Verdict{Class: keypool.RateLimit, Action: keypool.CoolDown, Scope: tc.want, Cooldown: 50 * time.Second, Code: v.Code}, v)
			ruled := keypool.Policy{Rules: []keypool.Rule{{Status: 429, Action: keypool.CoolDown, For: time.Minute}}}
			require.Equal(t, keypool.ScopeKey, keypool.Classify(ruled, tc.a).Scope, "a rule's time is the key's")
		})
	}
}

// A limit of one model leaves the others to the key.
func TestStoryLimitOfADeployment(t *testing.T) {
	p, clk := newPool(t, nil, "a")
	a := keypool.Answer{Status: 429, Path: "/openai/deployments/gpt-4o/chat/completions", Model: "gpt-4o", Now: clk.Now()}
	p.Mark(next(t, p), keypool.Classify(p.Policy(), a), "gpt-4o")
	_, none := p.Walker().For("gpt-4o").Next()
	require.Equal(t, keypool.Error{Kind: keypool.RateLimited, RetryAfter: time.Minute, Reason: keypool.RateLimit, Model: true}, *none)
	_, none = p.Walker().For("gpt-4o-mini").Next()
	require.Nil(t, none)
}

func TestDefaultNamesCountFromOne(t *testing.T) {
	for pool, want := range map[string][]string{"openai": {"openai-1", "named", "openai-3"}, "": {"key-1", "named", "key-3"}} {
		p, err := keypool.NewPool(keypool.Config{Name: pool, Keys: []keypool.KeyConfig{{Secret: "a"}, {Secret: "b", Name: "named"}, {Secret: "c"}}}, nil)
		require.NoError(t, err)
		for i, s := range p.Snapshot() {
			require.Equal(t, want[i], s.Name)
		}
	}
}

func TestBillingBoundsFollowEachOther(t *testing.T) {
	for _, tc := range []struct {
		name          string
		given         keypool.Cooldown
		first, second time.Duration // rests
	}{
		{"both defaults", keypool.Cooldown{}, 10 * time.Minute, 20 * time.Minute},
		{"billing alone, within the default maximum", keypool.Cooldown{Billing: 20 * time.Hour}, 20 * time.Hour, 24 * time.Hour},
		{"billing alone, above it", keypool.Cooldown{Billing: 30 * time.Hour}, 30 * time.Hour, 30 * time.Hour},
		{"maximum alone, above the default", keypool.Cooldown{BillingMax: 15 * time.Minute}, 10 * time.Minute, 15 * time.Minute},
		{"maximum alone, below it", keypool.Cooldown{BillingMax: time.Minute}, time.Minute, time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, clk := newPool(t, func(c *keypool.Config) { c.Cooldown = tc.given }, "a")
			for _, want := range []time.Duration{tc.first, tc.second} {
				until := p.Mark(next(t, p), outOfCredit, "").Until
				require.Equal(t, want, until.Sub(clk.Now()))
				advance(t, clk, want)
			}
		})
	}
}

func TestRuleByCodeAloneReachesEveryStatus(t *testing.T) {
	p := keypool.Policy{Rules: []keypool.Rule{{Code: "teapot", Action: keypool.NextKey}}}
	for status := 400; status < 600; status++ {
		require.True(t, p.Concerns(status), "the body of a %d must be read", status)
		v := keypool.Classify(p, keypool.Answer{Status: status, Body: []byte(openAI("", "teapot", ""))})
		require.Equal(t, keypool.NextKey, v.Action, status)
	}
	require.False(t, p.Concerns(399))
}

func TestZeroIsTheDefault(t *testing.T) {
	p, err := keypool.NewPool(keypool.Config{Keys: []keypool.KeyConfig{{Secret: "a"}}}, nil)
	require.NoError(t, err)
	p.Mark(keyOf(t, p, "key-1"), refused(""), "")
	require.WithinDuration(t, time.Now().Add(15*time.Minute), p.Snapshot()[0].ReviveAt, time.Minute)

	short := keypool.Config{Keys: []keypool.KeyConfig{{Secret: "a"}}, ReviveMax: time.Minute}
	p, err = keypool.NewPool(short, nil)
	require.NoError(t, err)
	p.Mark(keyOf(t, p, "key-1"), refused(""), "")
	require.WithinDuration(t, time.Now().Add(time.Minute), p.Snapshot()[0].ReviveAt, 10*time.Second)
}

// A 403 about a model goes to the client, and the key is left out for that model where it is known which.
func TestRefusedModelIsParked(t *testing.T) {
	body := []byte(openAI("invalid_request_error", "", "Your organization must be verified to use the model `gpt-image-1`."))
	for _, tc := range []struct {
		name   string
		a      keypool.Answer
		parked bool
	}{
		{"named", keypool.Answer{Status: 403, Model: "gpt-image-1", Body: body}, true},
		{"named in a code's company", keypool.Answer{Status: 403, Model: "m", Body: []byte(openAI("x", "model_not_found", "Project `p` does not have access to model `m`"))}, true},
		{"another is named", keypool.Answer{Status: 403, Model: "gpt-4o", Body: body}, false},
		{"not known which was asked for", keypool.Answer{Status: 403, Body: body}, false},
		{"a 404, which is the same for all keys", keypool.Answer{Status: 404, Model: "gpt-image-1", Body: body}, false},
		{"content", keypool.Answer{Status: 403, Model: "m", Body: []byte(`{"error":"Content violates usage guidelines of model m"}`)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, preset := range []keypool.Preset{keypool.Strict, keypool.Lenient} {
				p, clk := newPool(t, func(c *keypool.Config) { c.Policy.Preset = preset }, "a", "b")
				v := keypool.Classify(p.Policy(), tc.a)
				require.Equal(t, keypool.Surface, v.Action)
				tr := p.Mark(next(t, p), v, tc.a.Model)
				require.False(t, tr.Changed)
				want := "a"
				if tc.parked {
					want = "b"
					require.Equal(t, clk.Now().Add(time.Minute), tr.Until)
				}
				k, none := p.Walker().For(tc.a.Model).Next()
				require.Nil(t, none)
				require.Equal(t, want, k.Name())
			}
		})
	}
}
