package test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestLaterErrorIsTheProviders holds that an error of a turn after the first reaches a client that does not stream as the provider made it,
// with the word that keeps SDKs from sending the request again: the tool would run once more.
func TestLaterErrorIsTheProviders(t *testing.T) {
	eachSpeech(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway, s speech, stream bool) {
		if stream {
			return // the words are in the stream
		}
		for _, status := range []int{400, 404, 408, 409, 413, 422, 500, 502, 503, 504, 529} {
			for _, chunked := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d chunked=%t", status, chunked), func(t *testing.T) {
					body := fmt.Sprintf(`{"error":{"message":"as the provider says it %d","type":"odd","detail":[1]}}`, status)
					answer := scripted.Status(status, body).Header("X-Provider", "one").Header("X-Provider", "two").Header("X-Should-Retry", "true").HeaderExtra()
					if chunked {
						answer = answer.Chunked()
					}
					gw.Reset(t)
					before := len(gw.Tools.Calls("count"))
					gw.Provider.Default(scripted.Seq(scripted.Say(scripted.Call("bmcp_demo_count", `{}`)), answer))
					got := s.ask(t, gw, false, "count")
					require.Equal(t, status, got.Status, got.Body)
					require.Equal(t, body, got.Body)
					require.Equal(t, "application/json", got.Header.Get("Content-Type"))
					require.Equal(t, "one, two", got.Header.Get("X-Provider"))
					require.Equal(t, "false", got.Header.Get("X-Should-Retry"))
					require.Empty(t, got.Header.Get("X-Keyturn-Error"), "no error of the gateway's")
					for _, name := range []string{"Set-Cookie", "Openai-Organization", "Openai-Project", "Anthropic-Organization-Id", "X-Ratelimit-Limit-Requests", "X-Keyturn-Used-Name", "X-Keyturn-Retry"} {
						require.Empty(t, got.Header.Get(name), name)
					}
					require.Equal(t, "42", got.Header.Get("Openai-Processing-Ms"))
					require.Len(t, gw.Tools.Calls("count"), before+1)
				})
			}
		}
		t.Run("not JSON", func(t *testing.T) {
			gw.Reset(t)
			gw.Provider.Default(scripted.Seq(scripted.Say(scripted.Call("bmcp_demo_count", `{}`)), scripted.Status(http.StatusBadGateway, "<html>bad gateway</html>")))
			got := s.ask(t, gw, false, "count")
			require.Equal(t, http.StatusBadGateway, got.Status)
			require.Equal(t, "<html>bad gateway</html>", got.Body)
			require.Equal(t, "false", got.Header.Get("X-Should-Retry"))
		})
	})
}
