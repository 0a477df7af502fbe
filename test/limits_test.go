package test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestLimits: whatever header says that a key's allowance is spent, Envoy sends it, the key rests for that long, and no client reads it.
func TestLimits(t *testing.T) {
	t.Parallel()
	const rest = 1000 // seconds
	keys := []string{"key-that-is-good"}
	answers := []scripted.Answer{scripted.OK("hello")}
	for _, l := range wire.Limits {
		keys = append([]string{fmt.Sprintf("key-that-is-spent-%d", len(keys))}, keys...)
		answers = append([]scripted.Answer{
			scripted.Status(http.StatusTooManyRequests, `{"error":{"code":"rate_limit_exceeded"}}`).Header(l.Remaining, "0").Header(l.Reset, fmt.Sprint(rest)),
		}, answers...)
		answers[len(answers)-1] = answers[len(answers)-1].Header(l.Remaining, "7").Header(l.Reset, "7")
		if l.Status != "" {
			answers[len(answers)-1] = answers[len(answers)-1].Header(l.Status, "allowed")
		}
	}
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Name: "openai", Keys: keys, Settings: map[string]any{"websocket": true}}}})
	for i, key := range keys {
		gw.Provider.Key(key, answers[i])
	}
	hidden := func(h http.Header) {
		t.Helper()
		for name := range h {
			require.False(t, wire.IsLimit([]byte(strings.ToLower(name))), name)
		}
	}

	resp := gw.Post(t, "/v1/responses", `{"model":"m","input":"hi"}`)
	require.Equal(t, http.StatusOK, resp.Status, resp.Body)
	hidden(resp.Header)
	require.Equal(t, keys, gw.Provider.Keys())
	for i, k := range gw.Keys(t, "openai")[:len(wire.Limits)] {
		require.InDelta(t, rest, time.Until(k.Until).Seconds(), 60, "the key that said %s", wire.Limits[len(wire.Limits)-1-i].Remaining)
	}

	gw.Provider.Key(keys[0], answers[len(answers)-1]) // the organisation that has the client's files is the first key's
	gw.Operate(t, "openai", "key0", "reset")
	resp = gw.Post(t, "/v1/files", "--b--", "Content-Type", "multipart/form-data; boundary=b")
	require.Equal(t, http.StatusOK, resp.Status, resp.Body)
	hidden(resp.Header)

	for url, told := range map[string]bool{gw.ProviderURL: true, gw.URL: false} {
		conn, upgraded, err := websocket.Dial(t.Context(), url+"/v1/responses", &websocket.DialOptions{
			HTTPClient: gw.Client, HTTPHeader: http.Header{"Authorization": {"Bearer " + keys[0]}},
		})
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, upgraded.StatusCode)
		require.Equal(t, told, upgraded.Header.Get(wire.Limits[0].Remaining) != "")
		if !told {
			hidden(upgraded.Header)
		}
		require.NoError(t, conn.Close(websocket.StatusNormalClosure, ""))
	}
}
