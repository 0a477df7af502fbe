package test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestMaxBodyIsThePoolsOwn: what one pool reads whole is another's business, also after a reload; and a reload asks no more of an Envoy than it
// can hold.
func TestMaxBodyIsThePoolsOwn(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Tools: true, Provider: scripted.Config{KeepBytes: 100 << 20}, Pools: []gateway.Pool{
		{Name: "small", Settings: map[string]any{"max_body": "1MiB"}},
		{Name: "large", Settings: map[string]any{"max_body": "64MiB"}},
	}})
	gw.Provider.Default(scripted.OK("hello"))
	const mebibyte = 1 << 20
	// offered says whether the model was told of the pool's tools: only a body that is read whole can take them in.
	offered := func(pool string, size int, chunked bool) bool {
		t.Helper()
		gw.Provider.Reset()
		var body io.Reader = strings.NewReader(`{"model":"m","input":"` + strings.Repeat("x", size) + `"}`)
		if chunked {
			body = io.MultiReader(body) // of no length that a client could tell
		}
		resp := gw.Do(t, gw.Request(t, http.MethodPost, "/"+pool+"/v1/responses", body))
		require.Equal(t, http.StatusOK, resp.Status, resp.Body)
		got := gw.Provider.Requests()
		require.Len(t, got, 1)
		require.Greater(t, len(got[0].Body), size, "every byte has arrived")
		return strings.Contains(string(got[0].Body[size:]), "bmcp_demo_echo")
	}
	for _, chunked := range []bool{false, true} {
		require.True(t, offered("small", mebibyte/2, chunked))
		require.False(t, offered("small", 2*mebibyte, chunked))
		require.True(t, offered("large", 2*mebibyte, chunked))
	}

	applied := func(n int) {
		t.Helper()
		gw.Eventually(t, "the configuration is applied", func() bool { return strings.Count(gw.Log(), `"configuration applied"`) >= n })
	}
	changeConfig(t, gw, func(pool map[string]any) { pool["max_body"] = "3MiB" })
	applied(1)
	require.True(t, offered("small", 2*mebibyte, false))
	require.False(t, offered("small", 4*mebibyte, false))
	require.True(t, offered("large", 4*mebibyte, false))

	require.NotContains(t, gw.Log(), "max_body")
	changeConfig(t, gw, func(pool map[string]any) { pool["max_body"] = "128MiB" })
	applied(2)
	require.True(t, offered("small", 4*mebibyte, false))
	require.False(t, offered("small", 65*mebibyte, false), "Envoy was rendered for 64 MiB")
	require.Contains(t, gw.Log(), "max_body")
}
