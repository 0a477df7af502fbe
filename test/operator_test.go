package test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// operated is a pool of a gateway that has one for each subject, so that the cases do not meet.
type operated struct {
	*gateway.Gateway
	pool string
	keys []string
}

// ask sends one request to the pool and returns its answer and the positions of the keys that the provider has seen for it.
func (o operated) ask(t *testing.T, path string) (gateway.Response, []int) {
	t.Helper()
	o.Provider.Reset()
	resp := o.Post(t, "/"+o.pool+path, `{"model":"m","input":"hi"}`)
	hits := []int{}
	for _, key := range o.Provider.Keys() {
		for i, k := range o.keys {
			if k == key {
				hits = append(hits, i)
			}
		}
	}
	require.Len(t, hits, o.Provider.Count(), "every request has a key of the pool")
	return resp, hits
}

// script sets what the keys of the pool are answered, in order.
func (o operated) script(answers ...scripted.Script) {
	for i, a := range answers {
		o.Provider.Key(o.keys[i], a)
	}
}

func (o operated) states(t *testing.T) []string {
	t.Helper()
	return o.States(t, o.pool)
}

// reviveAfter is short, so that a test can wait for it and for its double.
const reviveAfter = 300 * time.Millisecond

func TestOperator(t *testing.T) {
	t.Parallel()
	cases := []struct {
		pool gateway.Pool
		run  func(*testing.T, operated)
	}{
		{gateway.Pool{Name: "switched"}, switchedByTheOperator},
		{gateway.Pool{Name: "revived", Settings: map[string]any{"revive_after": reviveAfter.String()}}, revivedByOneRequest},
		{gateway.Pool{Name: "metered"}, metered},
		{gateway.Pool{Name: "stored", Groups: []string{"org1", "org2", "org1"}}, storedStaysInTheGroup},
		{gateway.Pool{Name: "billed", Groups: []string{"org1", "org1", "org2"}}, billingRestsTheGroup},
		{gateway.Pool{Name: "blameless"}, notTheKeysFault},
		{gateway.Pool{Name: "lenient", Settings: map[string]any{"policy": map[string]any{"preset": "lenient"}}}, lenient},
		{gateway.Pool{Name: "ruled", Provider: "azure", Settings: map[string]any{"policy": map[string]any{"rules": []map[string]any{
			{"status": 529, "action": "next_key"},
			{"status": 403, "code": "model_*", "action": "next_key"},
			{"status": 401, "action": "cooldown", "for": "5s"},
			{"code": "team_*", "action": "permanent"},
		}}}}, ruled},
	}
	var cfg gateway.Config
	for i := range cases {
		p := &cases[i].pool
		p.Keys = []string{p.Name + "-key-0", p.Name + "-key-1", p.Name + "-key-2"}
		cfg.Pools = append(cfg.Pools, *p)
	}
	gw := gateway.Start(t, cfg)
	for _, tc := range cases {
		t.Run(tc.pool.Name, func(t *testing.T) {
			o := operated{gw, tc.pool.Name, tc.pool.Keys}
			o.script(good, good, good)
			tc.run(t, o)
		})
	}
}

func switchedByTheOperator(t *testing.T, o operated) {
	o.Operate(t, o.pool, "key0", "disable")
	_, hits := o.ask(t, "/v1/responses")
	require.Equal(t, []int{1}, hits)
	require.Equal(t, []string{"disabled", "valid", "valid"}, o.states(t))
	o.Operate(t, o.pool, "key0", "enable")
	_, hits = o.ask(t, "/v1/responses")
	require.Equal(t, []int{0}, hits)

	o.script(scripted.RateLimited(time.Hour))
	_, hits = o.ask(t, "/v1/responses")
	require.Equal(t, []int{0, 1}, hits)
	o.Operate(t, o.pool, "key0", "disable")
	o.Operate(t, o.pool, "key0", "enable")
	require.Equal(t, []string{"temporary", "valid", "valid"}, o.states(t), "enabled is not reset")
	o.script(good)
	o.Operate(t, o.pool, "key0", "reset")
	_, hits = o.ask(t, "/v1/responses")
	require.Equal(t, []int{0}, hits)

	for _, key := range []string{"key0", "key1", "key2"} {
		o.Operate(t, o.pool, key, "disable")
	}
	resp, hits := o.ask(t, "/v1/responses")
	require.Empty(t, hits)
	require.Equal(t, http.StatusBadGateway, resp.Status)
	require.Equal(t, "all_disabled", resp.Header.Get("X-Keyturn-Error"))
	require.Equal(t, "false", resp.Header.Get("X-Should-Retry"))
	_, _, message := problemOf(t, resp.Body, false)
	require.Contains(t, message, "all configured keys are disabled")

	require.Equal(t, http.StatusNotFound, o.Admin(t, http.MethodPost, "/api/v1/pools/switched/keys/nobody/reset").Status)
	require.Equal(t, http.StatusMethodNotAllowed, o.Admin(t, http.MethodGet, "/api/v1/pools/switched/keys/key0/reset").Status)
	require.Contains(t, o.Log(), "operator switched a key")
}

// revivedByOneRequest: a key that was given up is tried again by one request at a time, and the wait doubles when that fails.
func revivedByOneRequest(t *testing.T, o operated) {
	held, let := make(chan struct{}), make(chan struct{})
	o.Provider.Key(o.keys[0], scripted.Func(func(scripted.Request) scripted.Answer {
		select {
		case <-held: // the test has come so far
			<-let
			return good
		default:
			return scripted.Unauthorized()
		}
	}))
	tried := func() time.Duration {
		before := time.Now()
		_, hits := o.ask(t, "/v1/responses")
		require.Equal(t, []int{0, 1}, hits)
		key := o.Keys(t, o.pool)[0]
		require.Equal(t, "permanent", key.State)
		_, hits = o.ask(t, "/v1/responses")
		require.Equal(t, []int{1}, hits, "before %v", key.ReviveAt)
		o.Eventually(t, "the key may be tried", func() bool { return time.Now().After(key.ReviveAt) })
		return key.ReviveAt.Sub(before)
	}
	require.GreaterOrEqual(t, tried(), reviveAfter-time.Millisecond) // the time is shown in milliseconds
	require.GreaterOrEqual(t, tried(), 2*reviveAfter-time.Millisecond)

	close(held)
	o.Provider.Reset()
	const all = 12
	answers := make(chan gateway.Response, all)
	for range all {
		req := o.Request(t, http.MethodPost, "/"+o.pool+"/v1/responses", strings.NewReader(`{}`))
		go func() {
			resp, err := o.TryDo(req)
			if err != nil {
				resp.Body = err.Error()
			}
			answers <- resp
		}()
	}
	for range all - 1 {
		resp := <-answers
		require.Equal(t, http.StatusOK, resp.Status, resp.Body)
	}
	close(let)
	resp := <-answers
	require.Equal(t, http.StatusOK, resp.Status, resp.Body)
	tries := 0
	for _, key := range o.Provider.Keys() {
		if key == o.keys[0] {
			tries++
		}
	}
	require.Equal(t, 1, tries)
	require.Equal(t, all, o.Provider.Count())
	o.Eventually(t, "the key is back", func() bool { return o.states(t)[0] == "valid" })
	_, hits := o.ask(t, "/v1/responses")
	require.Equal(t, []int{0}, hits)
}

func metered(t *testing.T, o operated) {
	mine := `provider="metered"`
	attempts := func(n float64) {
		o.Eventually(t, "the attempts are counted", func() bool { return o.Metric(t, "keyturn_attempts_total", mine) == n })
	}
	is := func(want float64, name string, labels ...string) {
		t.Helper()
		require.InDelta(t, want, o.Metric(t, name, append(labels, mine)...), 0, "%s %v", name, labels)
	}
	o.script(scripted.RateLimited(time.Minute), scripted.Unauthorized())
	_, hits := o.ask(t, "/v1/responses")
	require.Equal(t, []int{0, 1, 2}, hits)
	attempts(3)
	is(2, "keyturn_attempts_total", `outcome="turned"`)
	is(1, "keyturn_attempts_total", `outcome="ok"`)
	is(1, "keyturn_key_pool_state", `state="temporary"`)
	is(1, "keyturn_key_pool_state", `state="permanent"`)
	is(1, "keyturn_key_pool_state", `state="valid"`)
	is(0, "keyturn_key_pool_state", `state="disabled"`)
	is(1, "keyturn_key_pool_state_transitions_total", `reason="rate_limited"`)
	is(1, "keyturn_key_pool_state_transitions_total", `reason="unauthorized"`)
	is(2, "keyturn_key_pool_state_transitions_total")
	is(0, "keyturn_key_pool_exhaustions_total")
	is(1, "keyturn_key_pool_failover_attempts_count")
	is(3, "keyturn_key_pool_failover_attempts_sum")
	is(3, "keyturn_attempt_duration_seconds_count")

	o.script(good, good, forbidden)
	_, hits = o.ask(t, "/v1/responses")
	require.Equal(t, []int{2}, hits)
	attempts(4)
	is(1, "keyturn_attempts_total", `outcome="exhausted"`)
	is(1, "keyturn_key_pool_state_transitions_total", `reason="forbidden"`)
	is(1, "keyturn_key_pool_exhaustions_total", `outcome="rate_limited"`)
	is(2, "keyturn_key_pool_failover_attempts_count")
	is(4, "keyturn_key_pool_failover_attempts_sum")

	_, hits = o.ask(t, "/v1/responses")
	require.Empty(t, hits)
	attempts(5)
	is(2, "keyturn_key_pool_exhaustions_total", `outcome="rate_limited"`)
	o.Eventually(t, "no stream is open", func() bool { return o.Metric(t, "keyturn_streams") == 0 })
}

// storedStaysInTheGroup: what the provider keeps for an organisation is asked for with that organisation's keys only.
func storedStaysInTheGroup(t *testing.T, o operated) {
	file := scripted.Status(http.StatusOK, `{"object":"file"}`)
	o.script(scripted.RateLimited(time.Minute), file, file)
	get := func(method, path string) (gateway.Response, []string) {
		o.Provider.Reset()
		resp := o.Do(t, o.Request(t, method, "/stored"+path, nil))
		return resp, o.Provider.Keys()
	}
	resp, keys := get(http.MethodGet, "/v1/files/file-1")
	require.Equal(t, http.StatusOK, resp.Status)
	require.Equal(t, []string{o.keys[0], o.keys[2]}, keys, "not the key of the other organisation")

	o.script(file, file, scripted.Unauthorized())
	resp, keys = get(http.MethodDelete, "/v1/responses/resp_1")
	require.Equal(t, []string{o.keys[2]}, keys)
	require.Equal(t, http.StatusTooManyRequests, resp.Status)
	_, _, message := problemOf(t, resp.Body, false)
	require.Contains(t, message, "only the group of the pool's first key")

	_, hits := o.ask(t, "/v1/responses")
	require.Equal(t, []int{1}, hits, "what is not stored may go to another organisation")
}

func billingRestsTheGroup(t *testing.T, o operated) {
	o.script(scripted.Quota())
	resp, hits := o.ask(t, "/v1/responses")
	require.Equal(t, http.StatusOK, resp.Status)
	require.Equal(t, []int{0, 2}, hits, "the other key of the organisation has no credit either")
	require.Equal(t, []string{"temporary", "temporary", "valid"}, o.states(t))
	keys := o.Keys(t, o.pool)
	require.Equal(t, "quota", keys[1].Reason)
	require.Greater(t, time.Until(keys[1].Until), 9*time.Minute)

	o.script(good, good, scripted.Quota())
	resp, hits = o.ask(t, "/v1/chat/completions")
	require.Equal(t, []int{2}, hits)
	require.Equal(t, http.StatusTooManyRequests, resp.Status)
	_, _, message := problemOf(t, resp.Body, false)
	require.Contains(t, message, "all configured keys are rate-limited")
	require.Contains(t, message, "no credit")
}

// notTheKeysFault: answers that are about the request, the model or the provider pass as they are.
func notTheKeysFault(t *testing.T, o operated) {
	for _, tc := range []scripted.Problem{
		{Status: 403, Type: "invalid_request_error", Code: "model_not_found", Message: "This project does not have access to the model."},
		{Status: 403, Type: "request_forbidden", Code: "unsupported_country_region_territory", Message: "Country, region, or territory not supported."},
		{Status: 401, Type: "invalid_request_error", Code: "mismatched_organization", Message: "The header does not match the key."},
		{Status: 404, Type: "invalid_request_error", Code: "model_not_found", Message: "The model does not exist."},
		{Status: 400, Type: "invalid_request_error", Code: "context_length_exceeded", Message: "Too long."},
		{Status: 429, Type: "tokens", Code: "rate_limit_exceeded", Message: "Request too large for gpt-4o-mini on tokens per min."},
		{Status: 503, Type: "service_unavailable_error", Code: "server_is_overloaded", Message: "Overloaded."},
		{Status: 529, Type: "overloaded_error", Message: "Overloaded."},
	} {
		o.script(scripted.Fail(tc).Header("X-Should-Retry", "true"))
		resp, hits := o.ask(t, "/v1/responses")
		require.Equal(t, tc.Status, resp.Status)
		require.Equal(t, []int{0}, hits, "%+v", tc)
		typ, code, message := problemOf(t, resp.Body, false)
		require.Equal(t, []string{tc.Type, tc.Code, tc.Message}, []string{typ, code, message})
		require.Equal(t, "true", resp.Header.Get("X-Should-Retry"))
		require.Empty(t, resp.Header.Get("X-Keyturn-Error"))
		require.Equal(t, []string{"valid", "valid", "valid"}, o.states(t))
	}
}

func lenient(t *testing.T, o operated) {
	o.script(scripted.Unauthorized())
	_, hits := o.ask(t, "/v1/responses")
	require.Equal(t, []int{0, 1}, hits)
	require.Equal(t, []string{"temporary", "valid", "valid"}, o.states(t), "a rest, not the end")
	o.script(good, forbidden)
	resp, hits := o.ask(t, "/v1/responses")
	require.Equal(t, http.StatusForbidden, resp.Status)
	require.Equal(t, []int{1}, hits)
	require.Equal(t, []string{"temporary", "valid", "valid"}, o.states(t))
}

func ruled(t *testing.T, o operated) {
	overloaded := scripted.Overloaded(529)
	o.script(overloaded)
	resp, hits := o.ask(t, "/openai/deployments/gpt/chat/completions")
	require.Equal(t, http.StatusOK, resp.Status)
	require.Equal(t, []int{0, 1}, hits)
	require.Equal(t, []string{"valid", "valid", "valid"}, o.states(t), "nobody is blamed")
	o.script(overloaded, overloaded, overloaded)
	resp, hits = o.ask(t, "/openai/deployments/gpt/chat/completions")
	require.Equal(t, 529, resp.Status)
	require.Equal(t, []int{0, 1, 2}, hits)
	require.Empty(t, resp.Header.Get("X-Keyturn-Error"), "the provider's own word")

	o.script(scripted.Fail(scripted.Problem{Status: 403, Type: "permission", Code: "model_not_allowed", Message: "no"}), good, good)
	_, hits = o.ask(t, "/openai/deployments/gpt/chat/completions")
	require.Equal(t, []int{0, 1}, hits)
	_, hits = o.ask(t, "/openai/deployments/gpt/chat/completions")
	require.Equal(t, []int{1}, hits, "the key is left out for this model")
	o.script(good)
	_, hits = o.ask(t, "/openai/deployments/other/chat/completions")
	require.Equal(t, []int{0}, hits, "and for no other")
	require.Equal(t, "gpt", o.Keys(t, o.pool)[0].Models[0].Model)

	o.script(scripted.AzureUnauthorized(), scripted.Fail(scripted.Problem{Status: 404, Type: "team_gone", Message: "no"}))
	_, hits = o.ask(t, "/openai/deployments/other/chat/completions")
	require.Equal(t, []int{0, 1, 2}, hits)
	require.Equal(t, []string{"temporary", "permanent", "valid"}, o.states(t))
	require.Less(t, time.Until(o.Keys(t, o.pool)[0].Until), 6*time.Second)
}
