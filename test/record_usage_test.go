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

// TestUsageIsComplete holds that with record.usage: complete the tokens of Chat streams are known whose clients do not ask for them, that these see
// nothing of it, and that a provider which refuses the field is asked once.
func TestUsageIsComplete(t *testing.T) {
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Keys: poolKeys[:2]}}, Top: map[string]any{"record": map[string]any{"usage": "complete"}}})
	const stream = `{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	ask := func(t *testing.T, body string) gateway.Response {
		t.Helper()
		got := gw.Post(t, "/v1/chat/completions", body)
		require.Equal(t, http.StatusOK, got.Status, got.Body)
		return got
	}
	t.Run("counted, after a failover", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Key(poolKeys[0], scripted.RateLimited(time.Minute)).Key(poolKeys[1], scripted.OK(said).Usage(110, 22))
		since := time.Now()
		got := ask(t, stream)
		require.NotContains(t, got.Body, `"usage"`)
		require.True(t, strings.HasSuffix(got.Body, "data: [DONE]\n\n"), got.Body)
		turn := recorded(t, gw, "openai", since, 1)[0]
		require.Equal(t, "complete", turn.Usage.State)
		require.EqualValues(t, 110, turn.Usage.Input)
		require.EqualValues(t, 22, turn.Usage.Output)
		require.Equal(t, "gpt-4o-mini", turn.Asked)
		require.Len(t, turn.Attempts, 2)
	})
	t.Run("the client asks", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Key(poolKeys[0], scripted.OK(said).Usage(110, 22))
		require.Contains(t, ask(t, strings.Replace(stream, `"stream":true`, `"stream":true,"stream_options":{"include_usage":true}`, 1)).Body, `"usage":{`)
	})
	t.Run("an error comes first", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Key(poolKeys[0], scripted.Say(scripted.Failed(scripted.Problem{Status: 500, Type: "server_error", Message: "broken"})))
		body := ask(t, stream).Body
		require.Contains(t, body, `"error":{`)
		require.NotContains(t, body, "[DONE]")
		require.Equal(t, 1, gw.Provider.Count())
	})
	t.Run("refused", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Key(poolKeys[0], refusing(400, `{"error":{"message":"Unknown parameter: 'stream_options'"}}`, "fine", "stream_options"))
		for _, want := range []int{2, 1} {
			gw.Provider.Reset()
			since := time.Now()
			require.Contains(t, ask(t, stream).Body, "[DONE]")
			require.Equal(t, want, gw.Provider.Count())
			require.Equal(t, "unknown", recorded(t, gw, "openai", since, 1)[0].Usage.State)
		}
		require.Equal(t, []string{"valid", "valid"}, gw.States(t, "openai"))
	})
}
