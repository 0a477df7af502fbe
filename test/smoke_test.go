package test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

func TestSmoke(t *testing.T) {
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Keys: []string{"k0-long-key", "k1-long-key"}}}})
	gw.Provider.Key("k0-long-key", scripted.RateLimited(5*time.Second)).Key("k1-long-key", scripted.OK("hello"))
	resp := gw.Post(t, "/v1/responses", `{"model":"m","input":"hi"}`)
	require.Equal(t, http.StatusOK, resp.Status, resp.Body)
	require.Equal(t, []string{"k0-long-key", "k1-long-key"}, gw.Provider.Keys())
	require.Equal(t, []string{"temporary", "valid"}, gw.States(t, "openai"))
	t.Log(gw.AccessLog(t, 1))
	t.Log(gw.Metrics(t))
	t.Log(gw.Log())
}
