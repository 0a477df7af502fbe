package test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestRedirects: no redirect of a provider leads a client past the gateway, and no key goes anywhere but to the provider.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for _, tools := range []bool{false, true} {
		gw := gateway.Start(t, gateway.Config{Tools: tools, Pools: []gateway.Pool{{}, {Name: "based", Base: "/base"}}})
		const body = `{"model":"m","messages":[]}`
		here := gw.ProviderURL
		for _, tc := range []struct {
			path     string
			status   int
			location string
			want     string // the location that the client reads
			code     string // of an error of the gateway's
		}{
			{"/openai/v1/chat/completions/", 307, here + "/v1/chat/completions", "/openai/v1/chat/completions", ""},
			{"/openai/v1/chat/completions/", 308, "/v1/chat/completions?x=1", "/openai/v1/chat/completions?x=1", ""},
			{"/v1/chat/completions/", 307, here + "/v1/chat/completions", "/v1/chat/completions", ""},
			{"/based/v1/chat/completions", 302, here + "/base/v1/other", "/based/v1/other", ""},
			{"/openai/v1/chat/completions", 201, here + "/v1/things/1", "/openai/v1/things/1", ""},
			{"/openai/v1/chat/completions", 201, "https://elsewhere.example/v1/things/1", "", ""},
			{"/openai/v1/chat/completions", 307, "https://elsewhere.example/v1/chat/completions", "", "redirect_withheld"},
			{"/openai/v1/chat/completions", 303, "//elsewhere.example/", "", "redirect_withheld"},
			{"/based/v1/chat/completions", 301, here + "/v1/chat/completions", "", "redirect_withheld"},
			{"/openai/v1/chat/completions", 404, "https://elsewhere.example/", "", ""},
		} {
			gw.Provider.Reset()
			gw.Provider.Default(scripted.Status(tc.status, `{"from":"the provider"}`).Header("Location", tc.location))
			resp := gw.Post(t, tc.path, body)
			require.Equal(t, tc.status, resp.Status, "%+v: %s", tc, resp.Body)
			require.Equal(t, tc.want, resp.Header.Get("Location"), "%+v", tc)
			require.Equal(t, tc.code, resp.Header.Get("x-keyturn-error"), "%+v", tc)
			require.Equal(t, tc.code == "", strings.Contains(resp.Body, "the provider"), resp.Body)
			require.Len(t, gw.Provider.Requests(), 1, "nobody follows")
		}
		require.Equal(t, []string{"valid", "valid", "valid"}, gw.States(t, "openai"))
		require.Contains(t, gw.Log(), "elsewhere.example", "the operator reads where to")

		gw.Provider.Reset()
		gw.Provider.Default(scripted.OK("hello"))
		gw.Provider.Nth(1, scripted.Status(http.StatusTemporaryRedirect, "").Header("Location", here+"/v1/chat/completions"))
		resp := gw.Post(t, "/openai/v1/chat/completions/", body)
		resp = gw.Post(t, resp.Header.Get("Location"), body)
		require.Equal(t, http.StatusOK, resp.Status, "the way that the client was told leads there")
	}
}
