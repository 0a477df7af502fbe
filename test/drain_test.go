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

// TestDrain: an Envoy that is asked to end answers the requests that it has, with as many attempts and turns as they need.
func TestDrain(t *testing.T) {
	for inner, envoy := range map[string]map[string]any{"internal": {}, "socket": {"inner": "unix:inner.sock"}} {
		t.Run(inner, func(t *testing.T) {
			t.Parallel()
			gw := gateway.Start(t, gateway.Config{Tools: true, Drain: 20 * time.Second, Envoy: envoy, Pools: []gateway.Pool{{Keys: poolKeys}}})
			let := make(chan struct{})
			gw.Provider.Key(poolKeys[0], scripted.Func(func(r scripted.Request) scripted.Answer {
				if r.Method == http.MethodPost {
					<-let
				}
				return scripted.RateLimited(time.Minute)
			})).Key(poolKeys[1], afterTools("done", echo("hello")))
			answered := make(chan gateway.Response, 3)
			for _, s := range speeches {
				go func() {
					resp, err := gw.TryDo(gw.Request(t, http.MethodPost, s.path, strings.NewReader(s.body(true, "hi"))))
					if err != nil {
						resp.Body = err.Error()
					}
					answered <- resp
				}()
			}
			gw.Eventually(t, "the provider has the requests", func() bool { return gw.Provider.Open() == len(speeches) })
			stopped := gw.StopEnvoy(t)
			gw.Eventually(t, "it drains", func() bool {
				resp, err := gw.Client.Do(gw.Request(t, http.MethodGet, "/v1/models", nil))
				return err == nil && resp.Body.Close() == nil && resp.Close
			})
			close(let)
			for range speeches {
				resp := <-answered
				require.Equal(t, http.StatusOK, resp.Status, resp.Body)
				require.Contains(t, resp.Body, "done")
			}
			require.NoError(t, <-stopped)
		})
	}
}
