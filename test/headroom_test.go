package test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestHeadroom holds that a key is left before its 429, and that the one with most left serves where all have little.
func TestHeadroom(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Settings: map[string]any{"headroom": map[string]any{"requests": 1, "tokens": "2%"}}}}})
	ask := func() string {
		t.Helper()
		gw.Provider.Reset()
		got := gw.Post(t, "/v1/responses", `{"model":"m","input":"hi"}`)
		require.Equal(t, http.StatusOK, got.Status, got.Body)
		require.Empty(t, got.Header.Get("X-Ratelimit-Remaining-Requests"))
		require.Len(t, gw.Provider.Keys(), 1)
		return gw.Provider.Keys()[0]
	}
	tells := func(remaining string) scripted.Answer {
		return scripted.OK(said).Header("x-ratelimit-limit-tokens", "100000").Header("x-ratelimit-remaining-tokens", remaining).Header("x-ratelimit-reset-tokens", "1h")
	}
	for i, remaining := range []string{"100", "300", "200"} {
		gw.Provider.Key(poolKeys[i], tells(remaining))
	}
	require.Equal(t, poolKeys[0], ask())
	require.Equal(t, poolKeys[1], ask())
	require.Equal(t, poolKeys[2], ask())
	require.Equal(t, poolKeys[1], ask(), "it has most left")
	require.Equal(t, []string{"valid", "valid", "valid"}, gw.States(t, "openai"))
	require.EqualValues(t, 3, gw.Metric(t, "keyturn_key_pool_low", `provider="openai"`))
	require.Contains(t, gw.Admin(t, http.MethodGet, "/api/v1/pools/openai").Body, "\"left\": 0.001")
	gw.Provider.Key(poolKeys[1], tells("50000"))
	require.Equal(t, poolKeys[1], ask())
	gw.Provider.Key(poolKeys[1], scripted.OK(said))
	require.Equal(t, poolKeys[1], ask(), "an answer that tells nothing changes nothing")
	require.Equal(t, poolKeys[1], ask())
}
