package test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestReload changes keys and configuration under a gateway that serves.
func TestReload(t *testing.T) {
	t.Parallel()
	keys := []string{"reload-key-0", "reload-key-1", "reload-key-2"}
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Keys: keys}}})
	o := operated{gw, "openai", keys}
	applied := func() int { return strings.Count(gw.Log(), `"configuration applied"`) }
	until := func(n int) {
		t.Helper()
		gw.Eventually(t, "the configuration is applied", func() bool { return applied() >= n })
	}

	require.Equal(t, http.StatusOK, gw.Admin(t, http.MethodGet, "/readyz").Status)
	o.script(scripted.Unauthorized(), scripted.RateLimited(time.Minute), good)
	_, hits := o.ask(t, "/v1/responses")
	require.Equal(t, []int{0, 1, 2}, hits)

	gw.Hangup(t) // nothing has changed: nobody but the signal asks for this
	until(1)
	require.Equal(t, []string{"permanent", "temporary", "valid"}, o.states(t))

	o.keys = append([]string{"reload-key-new"}, keys[1:]...)
	o.script(good)
	gw.WriteKey(t, "openai", 0, o.keys[0])
	until(2)
	require.Equal(t, []string{"valid", "temporary", "valid"}, o.states(t), "the new key is new, the others are what they were")
	_, hits = o.ask(t, "/v1/responses")
	require.Equal(t, []int{0}, hits)

	changeConfig(t, gw, func(pool map[string]any) {
		all := pool["keys"].([]any)
		pool["keys"] = []any{all[1], all[2], all[0]}
	})
	gw.Hangup(t)
	until(3)
	require.Equal(t, []string{"temporary", "valid", "valid"}, o.states(t), "the state moves with the key")
	_, hits = o.ask(t, "/v1/responses")
	require.Equal(t, []int{2}, hits)

	require.NoError(t, os.WriteFile(gw.ConfigFile(), []byte("pools: 7\n"), 0o600))
	gw.Hangup(t)
	gw.Eventually(t, "the refusal is logged", func() bool { return strings.Contains(gw.Log(), "configuration kept as it was") })
	require.Equal(t, http.StatusUnprocessableEntity, gw.Admin(t, http.MethodPost, "/api/v1/reload").Status)
	_, hits = o.ask(t, "/v1/responses")
	require.Equal(t, []int{2}, hits, "what was good goes on")

	notReady(t, o)
}

// changeConfig changes the first pool in keyturn.yaml.
func changeConfig(t *testing.T, gw *gateway.Gateway, change func(pool map[string]any)) {
	t.Helper()
	b, err := os.ReadFile(gw.ConfigFile())
	require.NoError(t, err)
	var doc map[string]any
	require.NoError(t, yaml.Unmarshal(b, &doc))
	change(doc["pools"].([]any)[0].(map[string]any))
	b, err = yaml.Marshal(doc)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(gw.ConfigFile()+".new", b, 0o600))
	require.NoError(t, os.Rename(gw.ConfigFile()+".new", gw.ConfigFile()))
}

// notReady: a pool without a key that may be tried takes the gateway out of its load balancer.
func notReady(t *testing.T, o operated) {
	o.script(scripted.RateLimited(time.Minute), good, scripted.RateLimited(2*time.Minute))
	resp, _ := o.ask(t, "/v1/responses")
	require.Equal(t, http.StatusTooManyRequests, resp.Status)
	ready := o.Admin(t, http.MethodGet, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, ready.Status)
	require.NotEmpty(t, ready.Header.Get("Retry-After"))
	var why struct {
		Ready bool
		Pools []struct{ Name, Reason string }
	}
	require.NoError(t, json.Unmarshal([]byte(ready.Body), &why))
	require.False(t, why.Ready)
	require.Equal(t, "openai", why.Pools[0].Name)
	require.Equal(t, "rate_limited", why.Pools[0].Reason)
	require.Equal(t, http.StatusOK, o.Admin(t, http.MethodGet, "/healthz").Status, "a restart would cure nothing")

	for _, key := range []string{"key0", "key1", "key2"} {
		o.Operate(t, o.pool, key, "disable")
		o.Operate(t, o.pool, key, "reset")
	}
	ready = o.Admin(t, http.MethodGet, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, ready.Status)
	require.Contains(t, ready.Body, "disabled")
	o.Operate(t, o.pool, "key1", "enable")
	require.Equal(t, http.StatusOK, o.Admin(t, http.MethodGet, "/readyz").Status)
}
