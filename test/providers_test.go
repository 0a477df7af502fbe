package test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/provider"
	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestProviders: each provider gets the key where it looks for it, and what it answers to a wrong key, or to a limited one, turns keys.
func TestProviders(t *testing.T) {
	t.Parallel()
	var pools []gateway.Pool
	keys := map[string][]string{}
	for _, p := range provider.All {
		keys[p.Name] = []string{p.Name + "-0-secret-key", p.Name + "-1-secret-key"}
		pools = append(pools, gateway.Pool{Name: p.Name, Provider: p.Name, Keys: keys[p.Name]})
	}
	gw := gateway.Start(t, gateway.Config{Pools: pools})
	for _, p := range provider.All {
		path, body := "/v1/chat/completions", chatBody(false)
		switch {
		case p.Native(provider.Messages):
			path, body = "/v1/messages", speeches[2].body(false, "hi")
		case len(p.Dialects) == 0:
			path, body = "/v1/publishers/google/models/gemini:generateContent", "{}"
		}
		for _, tc := range []struct {
			name, state string
			answer      provider.Failure
		}{{"wrong key", "permanent", p.WrongKey}, {"limited", "temporary", p.Limited}} {
			if tc.answer.Status == 0 {
				continue
			}
			t.Run(p.Name+"/"+tc.name, func(t *testing.T) {
				gw.Reset(t)
				bad := scripted.Status(tc.answer.Status, tc.answer.Body)
				for name, value := range tc.answer.Header {
					bad = bad.Header(name, value)
				}
				gw.Provider.Key(keys[p.Name][0], bad).Key(keys[p.Name][1], scripted.Status(http.StatusOK, "{}"))
				got := gw.Post(t, "/"+p.Name+path+"?key=client&q=1", body, "Authorization", "Bearer "+clientKey)
				require.Equal(t, http.StatusOK, got.Status, got.Body)
				states := gw.Keys(t, p.Name)
				if len(states[0].Models) == 0 || tc.state != "temporary" { // a limit may be the model's alone
					require.Equal(t, tc.state, states[0].State)
				}
				require.Equal(t, "valid", states[1].State)
				require.Empty(t, states[1].Models)
				requests := gw.Provider.Requests()
				require.Len(t, requests, 2)
				for i, r := range requests {
					value := keys[p.Name][i]
					if p.Scheme != "" {
						value = p.Scheme + " " + value
					}
					require.Equal(t, []string{value}, r.Header.Values(p.Header))
					require.NotContains(t, r.Path, "key=client")
				}
			})
		}
	}
}
