package admin_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

func TestPoolsShowEveryState(t *testing.T) {
	f := newFixture(t)
	f.openai.Mark(f.key(t, "a"), keypool.Verdict{
		Class: keypool.RateLimit, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: 90 * time.Second,
	}, "")
	f.openai.Mark(f.key(t, "b"), keypool.Verdict{Class: keypool.Credential, Action: keypool.Retire, Scope: keypool.ScopeKey}, "")
	minutes := func(last string) string { return strings.Repeat("0,", keypool.RecentMinutes-1) + last }
	did := `"requests_per_minute": [` + minutes("0") + `], "failures_per_minute": [` + minutes("1") + `]`
	ids := map[string]string{}
	for _, p := range f.Pools() {
		for _, s := range p.Snapshot() {
			ids[s.Name] = s.ID
		}
	}
	want := `{"version": "v1.2.3", "pools": [
	  {"name": "openai", "ready": false, "retry_after_seconds": 90, "keys": [
	    {"name": "a", "hint": "sk-l...-one", "id": "` + ids["a"] + `", "group": "org1", "state": "temporary", "reason": "rate_limit",
	     "until": "2026-03-01T12:01:30Z", "chosen": 0, "cooldowns": 1, "retirements": 0, "revivals": 0,
	     ` + did + `, "last_failures": [{"at": "2026-03-01T12:00:00Z", "class": "rate_limit"}]},
	    {"name": "b", "hint": "sk-l...-two", "id": "` + ids["b"] + `", "state": "permanent", "reason": "credential",
	     "revive_at": "2026-03-01T12:15:00Z", "chosen": 0, "cooldowns": 0, "retirements": 1, "revivals": 0,
	     ` + did + `, "last_failures": [{"at": "2026-03-01T12:00:00Z", "class": "credential"}]}]},
	  {"name": "anthropic", "ready": true, "keys": [
	    {"name": "c", "hint": "sk-a...hree", "id": "` + ids["c"] + `", "state": "valid",
	     "chosen": 0, "cooldowns": 0, "retirements": 0, "revivals": 0}]}]}`
	require.JSONEq(t, want, f.do(t, "GET", "/api/v1/pools", nil).Body.String())

	f.clock.Advance(90 * time.Second).MustWait(t.Context())
	var pool struct {
		Ready bool
		Keys  []struct {
			State string
			Until *time.Time
		}
	}
	require.NoError(t, json.Unmarshal(f.do(t, "GET", "/api/v1/pools/openai", nil).Body.Bytes(), &pool))
	require.True(t, pool.Ready)
	require.Equal(t, "valid", pool.Keys[0].State)
	require.Nil(t, pool.Keys[0].Until, "a rest that is over is not shown")
}

func TestPoolsShowParkedModels(t *testing.T) {
	f := newFixture(t)
	f.openai.Mark(f.key(t, "a"), keypool.Verdict{
		Class: keypool.ModelAccess, Action: keypool.NextKey, Scope: keypool.ScopeKeyModel, Cooldown: 10 * time.Minute,
	}, "gpt-5")
	var pool struct {
		Keys []struct {
			State  string
			Models []struct {
				Model, Reason string
				Until         time.Time
			}
		}
	}
	require.NoError(t, json.Unmarshal(f.do(t, "GET", "/api/v1/pools/openai", nil).Body.Bytes(), &pool))
	require.Equal(t, "valid", pool.Keys[0].State)
	require.Len(t, pool.Keys[0].Models, 1)
	require.Equal(t, "gpt-5", pool.Keys[0].Models[0].Model)
	require.Equal(t, "model_access", pool.Keys[0].Models[0].Reason)
	require.Equal(t, epoch.Add(10*time.Minute), pool.Keys[0].Models[0].Until)
	require.Empty(t, pool.Keys[1].Models)
}

func TestReady(t *testing.T) {
	rest := func(p *keypool.Pool, k *keypool.Key) {
		p.Mark(k, keypool.Verdict{Class: keypool.RateLimit, Action: keypool.CoolDown, Scope: keypool.ScopeKey}, "")
	}
	disable := func(_ *keypool.Pool, k *keypool.Key) { k.Disable() }
	for _, tc := range []struct {
		name       string
		a, b       func(*keypool.Pool, *keypool.Key)
		wait       time.Duration
		status     int
		reason     string
		message    string // a part of it
		retryAfter string
	}{
		{"fresh", nil, nil, 0, 200, "", "", ""},
		{"one key rests", rest, nil, 0, 200, "", "", ""},
		{"both rest", rest, rest, 0, 503, "rate_limited", `pool "openai": the first key returns in 1m0s; wait, or add a key`, "60"},
		{"both rest, part of a second left", rest, rest, 59*time.Second + time.Millisecond, 503, "rate_limited", "returns in 999ms", "1"},
		{"both have rested", rest, rest, time.Minute, 200, "", "", ""},
		{"one rests, one is disabled", rest, disable, 0, 503, "rate_limited", "wait", "60"},
		{"both disabled", disable, disable, 0, 503, "all_disabled", "enable one", ""},
		{"both retired", retire, retire, time.Minute, 503, "auth_failed", "one is tried again at 2026-03-01T12:15:00Z; replace them", ""},
		{"one retired, one rests", retire, rest, 0, 503, "rate_limited", "returns in 1m0s", "60"},
		{"one retired, one disabled", retire, disable, 0, 503, "auth_failed", "12:15:00Z", ""},
		{"both retired, and due for a trial", retire, retire, 15 * time.Minute, 200, "", "", ""},
		{"one due for a trial, one disabled", retire, disable, 15 * time.Minute, 200, "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			if tc.a != nil {
				tc.a(f.openai, f.key(t, "a"))
			}
			if tc.b != nil {
				tc.b(f.openai, f.key(t, "b"))
			}
			f.clock.Advance(tc.wait).MustWait(t.Context())

			w := f.do(t, "GET", "/readyz", nil)
			require.Equal(t, tc.status, w.Code, w.Body)
			require.Equal(t, tc.retryAfter, w.Header().Get("Retry-After"))
			if tc.status == 200 {
				require.JSONEq(t, `{"ready":true}`, w.Body.String())
				return
			}
			code, message := errorOf(t, w)
			require.Equal(t, "not_ready", code)
			require.Contains(t, message, tc.message)
			var body struct {
				Ready bool
				Pools []struct{ Name, Reason string }
			}
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
			require.False(t, body.Ready)
			require.Len(t, body.Pools, 1)
			require.Equal(t, "openai", body.Pools[0].Name)
			require.Equal(t, tc.reason, body.Pools[0].Reason)
		})
	}
}

func TestReadyTellsWhatWaitingDoesNotCure(t *testing.T) {
	f := newFixture(t)
	quota := keypool.Verdict{Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeGroup}
	f.openai.Mark(f.key(t, "a"), quota, "")
	f.openai.Mark(f.key(t, "b"), quota, "")
	_, message := errorOf(t, f.do(t, "GET", "/readyz", nil))
	require.Equal(t, `no key may be tried in pool "openai": no key has credit, and the first key returns in 10m0s; `+
		`raise the limit with the provider, or add a key`, message)

	never := keypool.Config{Name: "never", ReviveAfter: keypool.Never, Keys: []keypool.KeyConfig{{Secret: secretC}}}
	p, err := keypool.NewPool(never, f.clock)
	require.NoError(t, err)
	k, none := p.Walker().Next()
	require.Nil(t, none)
	retire(p, k)
	both := append(f.Pools(), p)
	f.Config.Pools = func() []*keypool.Pool { return both }
	w := f.do(t, "GET", "/readyz", nil)
	_, message = errorOf(t, w)
	require.Contains(t, message, `; pool "never": the provider refused every key; replace them, or reset one to try it again`)
	require.Empty(t, w.Header().Get("Retry-After"), "waiting does not cure the second")
}

// A key on trial stays one: looking at readiness takes no reservation.
func TestReadyTakesNoTrial(t *testing.T) {
	f := newFixture(t)
	retire(f.openai, f.key(t, "a"))
	f.key(t, "b").Disable()
	f.clock.Advance(15 * time.Minute).MustWait(t.Context())
	for range 3 {
		require.Equal(t, 200, f.do(t, "GET", "/readyz", nil).Code)
		require.Equal(t, 200, f.do(t, "GET", "/api/v1/pools", nil).Code)
	}
	walker := f.openai.Walker()
	k, none := walker.Next()
	require.Nil(t, none)
	require.Equal(t, "a", k.Name())

	w := f.do(t, "GET", "/readyz", nil)
	require.Equal(t, 503, w.Code, "its trial runs, and nobody else may try it")
	walker.Release()
	require.Equal(t, 200, f.do(t, "GET", "/readyz", nil).Code)
}

func TestSwitchingKeys(t *testing.T) {
	f := newFixture(t)
	for _, step := range []struct {
		action string
		state  string
		log    string
	}{
		{"disable", "disabled", "action=disable pool=openai key=a hint=sk-l...-one state=disabled changed=true from=192.0.2.1:1234"},
		{"disable", "disabled", "action=disable pool=openai key=a hint=sk-l...-one state=disabled changed=false"},
		{"enable", "valid", "action=enable pool=openai key=a hint=sk-l...-one state=valid changed=true"},
	} {
		f.log.Reset()
		w := f.do(t, "POST", "/api/v1/pools/openai/keys/a/"+step.action, nil)
		require.Equal(t, 200, w.Code, w.Body)
		var key struct{ Name, State string }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &key))
		require.Equal(t, "a", key.Name)
		require.Equal(t, step.state, key.State)
		require.Contains(t, f.log.String(), `level=INFO msg="operator switched a key" `+step.log)
	}

	retire(f.openai, f.key(t, "a"))
	require.Equal(t, 200, f.do(t, "POST", "/api/v1/pools/openai/keys/a/reset", nil).Code)
	require.Equal(t, keypool.Valid, f.key(t, "a").State())
	require.Equal(t, keypool.Valid, f.key(t, "b").State(), "the other key was left alone")
}

// retire gives a key up, as a 401 does.
func retire(p *keypool.Pool, k *keypool.Key) {
	p.Mark(k, keypool.Verdict{Class: keypool.Credential, Action: keypool.Retire, Scope: keypool.ScopeKey}, "")
}
