package test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestStoredResponseIsAllOfIt: a response of several turns is one for the client, also when it asks for it again, or deletes it; the provider has
// stored each turn.
func TestStoredResponseIsAllOfIt(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Tools: true, Provider: scripted.Config{Strict: true}, Pools: []gateway.Pool{{Keys: poolKeys[:1]}}})
	for _, stream := range []string{"false", "true"} {
		t.Run("stream "+stream, func(t *testing.T) {
			gw.Reset(t)
			gw.Provider.Default(scripted.Seq(scripted.Say(scripted.Call("bmcp_demo_count", `{}`)), scripted.Say(scripted.Text("done"))))
			posted := gw.Post(t, "/v1/responses", `{"model":"m","input":"count","stream":`+stream+`}`)
			require.Equal(t, http.StatusOK, posted.Status, posted.Body)
			var want struct {
				ID     string
				Output []json.RawMessage
			}
			whole := posted.Body
			if stream == "true" {
				last := posted.Body[strings.LastIndex(posted.Body, "event: response.completed"):]
				_, last, _ = strings.Cut(last, `"response":`)
				require.NoError(t, json.NewDecoder(strings.NewReader(last)).Decode(&want))
			} else {
				require.NoError(t, json.Unmarshal([]byte(whole), &want))
			}
			require.Len(t, want.Output, 2)

			got := gw.Get(t, "/v1/responses/"+want.ID)
			require.Equal(t, http.StatusOK, got.Status, got.Body)
			var again struct {
				ID     string
				Output []json.RawMessage
			}
			require.NoError(t, json.Unmarshal([]byte(got.Body), &again))
			require.Equal(t, want, again)
			if stream == "false" {
				require.Equal(t, whole, got.Body)
			}

			deleted := gw.Do(t, gw.Request(t, http.MethodDelete, "/v1/responses/"+want.ID, nil))
			require.Equal(t, http.StatusOK, deleted.Status, deleted.Body)
			require.JSONEq(t, `{"id":"`+want.ID+`","object":"response","deleted":true}`, deleted.Body)
			paths := map[string]bool{}
			for _, r := range gw.Provider.Requests() {
				if r.Method == http.MethodDelete {
					paths[r.Path] = true
				}
			}
			require.Len(t, paths, 2, "both turns: %v", paths)
			require.True(t, paths["/v1/responses/"+want.ID])
			require.Equal(t, http.StatusNotFound, gw.Get(t, "/v1/responses/"+want.ID).Status)
		})
	}
}
