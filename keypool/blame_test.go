package keypool_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// innocent are answers that no key is to blame for with its retirement, whatever else they lead to.
var innocent = []keypool.Answer{
	{Status: 200},
	{Status: 200},
	{Status: 200},
	{Status: 400},
	{Status: 400, Body: []byte(anthropic("invalid_request_error", "max_tokens: Field required"))},
	{Status: 400, Body: []byte(openAI("invalid_request_error", "", "messages[0]: 'API key not valid' is refused"))},
	{Status: 402},
	{Status: 402, Body: []byte(openRouter(402, "Insufficient credits", "null"))},
	{Status: 402, Body: []byte(openRouter(402, "This request requires more credits, or fewer max_tokens", "null"))},
	{Status: 403},
	{Status: 403, Body: []byte("<!doctype html><title>Blocked</title>")},
	{Status: 401, Body: []byte("<html>no</html>")},
	{Status: 403, Body: []byte(`{"error":{"type":"forbidden","message":"Request not allowed"}}`)},
	{Status: 403, Body: []byte(openAI("x", "unsupported_country_region_territory", ""))},
	{Status: 403, Body: []byte(openAI("x", "model_not_found", "no access to model `m`"))},
	{Status: 403, Body: []byte(`{"error":"Content violates usage guidelines"}`)},
	{Status: 403, Body: []byte(gemini(403, "PERMISSION_DENIED", "You do not have permission to access the File", ""))},
	{Status: 404},
	{Status: 408},
	{Status: 413},
	{Status: 500},
	{Status: 503},
	{Status: 529},
	{Status: 429},
	{Status: 429, Body: []byte(`{"error":{"code":"NoCapacity"}}`)},
	{Status: 429, Body: []byte(openAI("insufficient_quota", "insufficient_quota", ""))},
	{Status: 429, Body: []byte(gemini(429, "RESOURCE_EXHAUSTED", "", quotaFailure("PerDayPerModel")))},
}

// guilty are answers that say that the key is wrong.
var guilty = []keypool.Answer{
	{Status: 401},
	{Status: 403, Body: []byte(openAI("x", "invalid_api_key", ""))},
	{Status: 403, Body: []byte(openAI("x", "", "This API key has been disabled."))},
	{Status: 400, Body: []byte(anthropic("invalid_request_error", "This organization has been disabled."))},
	{Status: 400, Body: []byte(gemini(400, "INVALID_ARGUMENT", geminiBadKey, errorInfo("API_KEY_INVALID")))},
}

// ask runs one request: keys in turn, until one's answer is the client's. It judges as a caller of this package does.
func ask(p *keypool.Pool, model string, now time.Time, answer func(*keypool.Key) keypool.Answer) {
	w := p.Walker().For(model)
	defer w.Release()
	weak := false
	for {
		k, none := w.Next()
		if none != nil {
			return
		}
		a := answer(k)
		a.Now, a.Model = now, model
		v := keypool.Classify(p.Policy(), a)
		if weak {
			v = v.Spare()
		}
		weak = weak || v.Weak
		if v.Class == keypool.None {
			k.MarkSuccess()
		}
		p.Mark(k, v, model)
		if v.Action == keypool.Surface {
			return
		}
	}
}

// TestOnlyTheKeyAtFaultIsRetired holds for random answers of which at most one key's are its own fault: no other key is retired.
func TestOnlyTheKeyAtFaultIsRetired(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			p, clk := newPool(t, nil, "a", "b", "c", "d")
			bad := []string{"", "a", "b", "d"}[rnd.IntN(4)]
			var trail []string
			for range 100 {
				advance(t, clk, time.Duration(rnd.IntN(1200))*time.Second)
				alike := -1
				if rnd.IntN(3) == 0 { // the same for all, as of a firewall or an outage
					alike = rnd.IntN(len(innocent))
				}
				ask(p, []string{"", "m"}[rnd.IntN(2)], clk.Now(), func(k *keypool.Key) keypool.Answer {
					a := innocent[rnd.IntN(len(innocent))]
					switch {
					case k.Name() == bad && rnd.IntN(2) == 0:
						a = guilty[rnd.IntN(len(guilty))]
					case alike >= 0:
						a = innocent[alike]
					}
					trail = append(trail, fmt.Sprintf("%s: %d %s", k.Name(), a.Status, a.Body))
					return a
				})
				for _, s := range p.Snapshot() {
					require.True(t, s.State != keypool.Permanent || s.Name == bad, "%s is not at fault:\n%s", s.Name, strings.Join(trail, "\n"))
				}
			}
		})
	}
}

// Two keys with the same words in one request: the second is spared, until another request hears them again.
func TestWeakEvidenceRetiresOneKeyOfARequest(t *testing.T) {
	p, clk := newPool(t, nil, "a", "b", "c")
	said := keypool.Answer{Status: 400, Body: []byte(anthropic("invalid_request_error", "This organization has been disabled."))}
	for i, want := range []int{1, 2, 3} {
		asked := 0
		ask(p, "", clk.Now(), func(*keypool.Key) keypool.Answer { asked++; return said })
		require.Equal(t, 3-i, asked)
		require.Equal(t, want, p.Counts()[keypool.Permanent])
	}
}

// Strong evidence retires every key that it is about.
func TestStrongEvidenceRetiresEachKeyAtOnce(t *testing.T) {
	for _, said := range []keypool.Answer{
		{Status: 401, Body: []byte(`{"error":"no"}`)},
		{Status: 403, Body: []byte(anthropic("authentication_error", "no"))},
		{Status: 403, Body: []byte(openAI("x", "invalid_api_key", ""))},
	} {
		p, clk := newPool(t, nil, "a", "b", "c")
		ask(p, "", clk.Now(), func(*keypool.Key) keypool.Answer { return said })
		require.Equal(t, 3, p.Counts()[keypool.Permanent])
	}
}

func TestSpare(t *testing.T) {
	weak := keypool.Verdict{Class: keypool.Credential, Action: keypool.Retire, Scope: keypool.ScopeKey, Code: "x", Weak: true}
	require.Equal(t, keypool.Verdict{Class: keypool.Credential, Action: keypool.NextKey, Code: "x"}, weak.Spare())
	strong := weak
	strong.Weak = false
	require.Equal(t, strong, strong.Spare())
	ruled := keypool.Policy{Rules: []keypool.Rule{{Status: 400, Action: keypool.Retire}}}
	said := []byte(anthropic("invalid_request_error", "This organization has been disabled."))
	require.True(t, keypool.Classify(keypool.Policy{}, keypool.Answer{Status: 400, Body: said}).Weak)
	require.False(t, keypool.Classify(ruled, keypool.Answer{Status: 400, Body: said}).Weak, "the operator is sure")
}
