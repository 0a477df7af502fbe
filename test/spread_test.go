package test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestSpread holds that conversations spread over the keys, that each has one key, and that one which had to leave its key stays with the other.
func TestSpread(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		stay, header string
		named        bool
	}{
		{"session", "X-Claude-Code-Session-Id", true},
		{"session", "session_id", true}, // Codex
		{"header:X-Team", "x-team", true},
		{"none", "x-team", false},
	} {
		t.Run(tc.stay+" "+tc.header, func(t *testing.T) {
			t.Parallel()
			gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{
				Keys:     []string{"k0-long-key", "k1-long-key", "k2-long-key", "k3-long-key"},
				Settings: map[string]any{"choose": map[string]any{"by": "spread", "stay": tc.stay}, "cooldown": map[string]any{"min": "1ms"}},
			}}})
			gw.Provider.Default(scripted.OK("hello"))
			ask := func(conversation int) (key string) {
				t.Helper()
				gw.Provider.Reset()
				resp := gw.Post(t, "/v1/responses", `{"model":"m","input":"hi"}`, tc.header, fmt.Sprintf("conversation-%d", conversation))
				require.Equal(t, http.StatusOK, resp.Status, resp.Body)
				keys := gw.Provider.Keys()
				return keys[len(keys)-1]
			}
			used, own := map[string]bool{}, map[int]string{}
			for c := range 32 {
				own[c] = ask(c)
				used[own[c]] = true
			}
			require.Len(t, used, 4, "all keys serve")
			same := 0
			for c := range 32 {
				if ask(c) == own[c] {
					same++
				}
			}
			if !tc.named {
				require.Less(t, same, 25)
				return
			}
			require.Equal(t, 32, same)

			gw.Provider.Key(own[0], scripted.Seq(scripted.RateLimited(time.Millisecond), scripted.OK("hello")))
			other := ask(0)
			require.NotEqual(t, own[0], other)
			gw.Eventually(t, "its own key is back", func() bool { return gw.States(t, "openai")[0] == "valid" && ask(0) == other })
			require.EqualValues(t, 1, gw.Metric(t, "keyturn_key_pool_moves_total", `provider="openai"`, `reason="failed"`))
		})
	}
}
