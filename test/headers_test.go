package test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// withLimits is an answer with n headers that Keyturn takes out.
func withLimits(a scripted.Answer, n int) scripted.Answer {
	for i := range n {
		a = a.Header(fmt.Sprintf("X-Ratelimit-Other-%d", i), "x")
	}
	return a
}

// TestManyHeaders: an answer with however many headers reaches the client, or the client reads that there are too many of them. No key is blamed for
// their number.
func TestManyHeaders(t *testing.T) {
	t.Parallel()
	const most = 960 // that Envoy takes of a provider
	for _, tools := range []bool{false, true} {
		gw := gateway.Start(t, gateway.Config{Tools: tools, Pools: []gateway.Pool{{Keys: []string{"k0-long-key", "k1-long-key"}}}})
		for _, n := range []int{100, 253, 254, 256, 500, 951, 952, 953, 954, 955, 956, 957, 958, 961, 3000} {
			for _, status := range []int{200, 400, 429} {
				for name, answer := range map[string]scripted.Answer{"filler": scripted.ManyHeaders(status, n), "limits": withLimits(scripted.Status(status, "{}"), n)} {
					gw.ResetKeys(t, "openai")
					gw.Provider.Reset()
					gw.Provider.Key("k0-long-key", answer).Key("k1-long-key", scripted.OK("hello"))
					resp := gw.Post(t, "/v1/responses", `{"model":"m","input":"hi"}`)
					what := fmt.Sprint(tools, n, status, name, resp)
					if n >= most-8 { // beside what every answer has
						require.Contains(t, []int{200, 400, 502, 503}, resp.Status, what)
						if resp.Status > 500 {
							require.Equal(t, "provider_reset", resp.Header.Get("x-keyturn-error"), what)
							require.Contains(t, resp.Body, "too many headers", what)
						}
					} else if status == http.StatusTooManyRequests {
						require.Equal(t, http.StatusOK, resp.Status, what)
					} else {
						require.Equal(t, status, resp.Status, what)
					}
					states := gw.States(t, "openai")
					require.Equal(t, "valid", states[1])
					if status != http.StatusTooManyRequests {
						require.Equal(t, "valid", states[0])
					}
				}
			}
		}
	}
}
