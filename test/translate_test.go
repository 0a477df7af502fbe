package test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/test/gateway"
)

// TestCallsComeBackEverywhere: clients send back what they were shown of calls, to every endpoint that takes a conversation's items, and to
// pools without tools. No provider knows such a call; it gets what the call was before, without anything being remembered.
func TestCallsComeBackEverywhere(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"x_1","object":"x","status":"completed","output":[]}`)
	}))
	t.Cleanup(provider.Close)
	gw := gateway.Start(t, gateway.Config{Tools: true, Pools: []gateway.Pool{
		{Name: "tools", Upstream: provider.URL}, {Name: "plain", Upstream: provider.URL, Settings: map[string]any{"tools": nil}},
	}})
	const (
		shown = `{"id":"mcp-FB11","type":"mcp_call","status":"completed","approval_request_id":null,"arguments":"{}","error":null,"name":"echo","output":"hi","server_label":"demo"}`
		was   = `{"type":"function_call","id":"fc_1","call_id":"call_1","name":"bmcp_demo_echo","arguments":"{}","status":"completed"},{"type":"function_call_output","call_id":"call_1","output":"hi"}`
	)
	for _, tc := range []struct{ path, member string }{
		{"/v1/responses", "input"},
		{"/v1/responses/compact", "input"},
		{"/v1/responses/input_tokens", "input"},
		{"/v1/conversations", "items"},
		{"/v1/conversations/conv_1/items", "items"},
	} {
		for _, pool := range []string{"tools", "plain"} {
			t.Run(pool+tc.path, func(t *testing.T) {
				resp := gw.Post(t, "/"+pool+tc.path, `{"model":"m","tool_choice":"none","`+tc.member+`":[`+shown+`]}`)
				require.Equal(t, http.StatusOK, resp.Status, resp.Body)
				require.Equal(t, `{"model":"m","tool_choice":"none","`+tc.member+`":[`+was+`]}`, <-got)
			})
			t.Run(pool+tc.path+"/without", func(t *testing.T) {
				const body = `{ "model":"m","tool_choice":"none" }`
				require.Equal(t, http.StatusOK, gw.Post(t, "/"+pool+tc.path, body).Status)
				require.Equal(t, body, <-got)
			})
		}
	}
}
