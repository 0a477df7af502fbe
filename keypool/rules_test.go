package keypool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// TestRuleThatIsNeverReached holds that a rule is refused only where an earlier one matches all that it does.
func TestRuleThatIsNeverReached(t *testing.T) {
	whole := keypool.Rule{Status: 403, Code: "a", Message: "b", ContentType: "text/html", Provider: "openai", Path: "/v1/*", Action: keypool.Surface}
	refused := func(early, late keypool.Rule) bool {
		cfg := configOf("a")
		cfg.Policy.Rules = []keypool.Rule{early, late}
		err := cfg.Validate()
		if err != nil {
			require.ErrorContains(t, err, "policy.rules[1]: is never reached: rules[0]")
		}
		return err != nil
	}
	require.True(t, refused(whole, whole))
	for name, change := range map[string]func(*keypool.Rule){
		"status":       func(r *keypool.Rule) { r.Status = 429 },
		"code":         func(r *keypool.Rule) { r.Code = "z" },
		"message":      func(r *keypool.Rule) { r.Message = "z" },
		"content type": func(r *keypool.Rule) { r.ContentType = "text/plain" },
		"provider":     func(r *keypool.Rule) { r.Provider = "anthropic" },
		"path":         func(r *keypool.Rule) { r.Path = "/v2/*" },
	} {
		other := whole
		change(&other)
		require.False(t, refused(whole, other), name)
	}
	for name, widen := range map[string]func(*keypool.Rule){
		"status":       func(r *keypool.Rule) { r.Status = 0 },
		"code":         func(r *keypool.Rule) { r.Code = "" },
		"message":      func(r *keypool.Rule) { r.Message = "" },
		"content type": func(r *keypool.Rule) { r.ContentType = "" },
		"provider":     func(r *keypool.Rule) { r.Provider = "" },
		"path":         func(r *keypool.Rule) { r.Path = "" },
	} {
		wider := whole
		widen(&wider)
		require.True(t, refused(wider, whole), name)
		require.False(t, refused(whole, wider), name)
	}
}

// TestRetiredOnceMore holds that a key which came back by a trial is as new: it waits as long as the first time, and is tried as before.
func TestRetiredOnceMore(t *testing.T) {
	p, clk := newPool(t, nil, "a", "b")
	for range 3 {
		a := keyOf(t, p, "a")
		require.True(t, retireKey(a))
		advance(t, clk, keypool.Defaults().ReviveAfter-time.Nanosecond)
		require.Equal(t, "b", next(t, p).Name())
		advance(t, clk, time.Nanosecond)
		trial := next(t, p)
		require.Equal(t, "a", trial.Name())
		require.Equal(t, "b", next(t, p).Name(), "one request tries it")
		require.True(t, trial.MarkSuccess())
		require.Equal(t, keypool.Valid, a.State())
	}
}

// TestWordsAloneAreWeak holds which evidence retires a key at once, and which only when it is heard again.
func TestWordsAloneAreWeak(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		weak   bool
	}{
		"a status":             {401, "", false},
		"a code":               {403, openAI("", "invalid_api_key", "Something."), false},
		"a type":               {403, `{"type":"error","error":{"type":"authentication_error","message":"x"}}`, false},
		"a sentence":           {403, openAI("", "", "Your account has been suspended."), true},
		"a provider's message": {400, openAI("", "", "Incorrect API key provided: sk-1."), true},
		"words and a status":   {401, openAI("", "", "Your account has been suspended."), false},
	} {
		v := keypool.Classify(keypool.Policy{}, keypool.Answer{Status: tc.status, Header: header{}.get, Body: []byte(tc.body), Now: time.Now()})
		require.Equal(t, keypool.Retire, v.Action, name)
		require.Equal(t, tc.weak, v.Weak, name)
	}
}
