package test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// evidenceKeys are the keys of each pool of TestEvidence.
var evidenceKeys = map[string][]string{
	"openai": {"openai-long-key-0", "openai-long-key-1"},
	"azure":  {"azure-long-key-0", "azure-long-key-1"},
	"again":  {"again-long-key-0", "again-long-key-1"},
}

// TestEvidence is about what a provider's refusal says of a key, and what it does not.
func TestEvidence(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{
		{Keys: evidenceKeys["openai"]},
		{Provider: "azure", Keys: evidenceKeys["azure"]},
		{Name: "again", Keys: evidenceKeys["again"], Settings: map[string]any{"revive_after": "1s"}},
	}})
	for _, tc := range []struct {
		name string
		run  func(*testing.T, *gateway.Gateway)
	}{
		{"a firewall", firewall},
		{"words in one request", wordsInOneRequest},
		{"one deployment", oneDeployment},
		{"codings", codedErrors},
		{"all alike", allAlike},
	} {
		t.Run(tc.name, func(t *testing.T) {
			gw.Reset(t)
			gw.Provider.Default(good)
			tc.run(t, gw)
		})
	}
}

// firewall: the page goes to the client as it came, one key was asked, and none is at fault.
func firewall(t *testing.T, gw *gateway.Gateway) {
	const page = "<!DOCTYPE html>\n<html lang=\"en-US\"><head><title>Attention Required! | Cloudflare</title></head><body>Sorry, you have been blocked</body></html>"
	keys := evidenceKeys["openai"]
	for _, status := range []int{403, 402, 400} {
		for _, path := range []string{"/v1/chat/completions", "/v1/embeddings", "/v1/responses"} {
			gw.Reset(t)
			blocked := scripted.Status(status, page).Header("Content-Type", "text/html; charset=UTF-8")
			gw.Provider.Key(keys[0], blocked).Key(keys[1], blocked)
			resp := gw.Post(t, path, `{"model":"m","input":"cat /etc/passwd","messages":[]}`)
			require.Equal(t, status, resp.Status)
			require.Equal(t, page, resp.Body)
			require.Equal(t, "text/html; charset=UTF-8", resp.Header.Get("Content-Type"))
			require.Empty(t, resp.Header.Get("X-Keyturn-Error"))
			require.Equal(t, []string{"valid", "valid"}, gw.States(t, "openai"), "%d on %s", status, path)
			require.NotContains(t, gw.Log(), "key marked permanent")
		}
	}
}

// wordsInOneRequest: words alone retire one key of a request; the next request retires the next, if it hears them too.
func wordsInOneRequest(t *testing.T, gw *gateway.Gateway) {
	keys := evidenceKeys["openai"]
	said := scripted.Status(400, `{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***00."}`)
	gw.Provider.Key(keys[0], said).Key(keys[1], said)
	resp := gw.Post(t, "/v1/chat/completions", `{"model":"m","messages":[]}`)
	require.Equal(t, 400, resp.Status)
	require.Contains(t, resp.Body, "Incorrect API key provided", "the provider's own words")
	require.Equal(t, keys, gw.Provider.Keys())
	require.Equal(t, []string{"permanent", "valid"}, gw.States(t, "openai"))
	resp = gw.Post(t, "/v1/chat/completions", `{"model":"m","messages":[]}`)
	require.Equal(t, http.StatusBadGateway, resp.Status)
	require.Equal(t, []string{"permanent", "permanent"}, gw.States(t, "openai"))
}

// oneDeployment: the limit of the model that a path names leaves the keys to other models.
func oneDeployment(t *testing.T, gw *gateway.Gateway) {
	keys := evidenceKeys["azure"]
	gw.Provider.Key(keys[0], scripted.AzureRateLimited(50*time.Second)).Key(keys[1], scripted.AzureRateLimited(40*time.Second))
	path := func(deployment string) string {
		return "/azure/openai/deployments/" + deployment + "/chat/completions?api-version=2024-10-21"
	}
	resp := gw.Post(t, path("gpt-4o"), `{"messages":[]}`)
	require.Equal(t, http.StatusTooManyRequests, resp.Status, resp.Body)
	require.Equal(t, "40", resp.Header.Get("Retry-After"))
	for _, k := range gw.Keys(t, "azure") {
		require.Equal(t, "valid", k.State)
		require.Equal(t, []struct{ Model string }{{"gpt-4o"}}, k.Models)
	}
	gw.Provider.Reset()
	gw.Provider.Key(keys[0], good).Key(keys[1], good)
	require.Equal(t, http.StatusOK, gw.Post(t, path("gpt-4o-mini"), `{"messages":[]}`).Status)
	require.Equal(t, keys[:1], gw.Provider.Keys())
	require.Equal(t, http.StatusTooManyRequests, gw.Post(t, path("gpt-4o"), `{"messages":[]}`).Status)
}

// codedErrors: errors are judged through each content coding, and the client gets what the provider sent.
func codedErrors(t *testing.T, gw *gateway.Gateway) {
	keys := evidenceKeys["openai"]
	for coding, open := range map[string]func(io.Writer) io.WriteCloser{
		"gzip":    func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"deflate": func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
		"br":      func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) },
		"zstd": func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			require.NoError(t, err)
			return z
		},
	} {
		coded := func(text string) string {
			var b bytes.Buffer
			w := open(&b)
			_, err := io.WriteString(w, text)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			return b.String()
		}
		for _, tc := range []struct {
			status        int
			body          string
			want          int
			state, reason string // of the first key
		}{
			{429, `{"error":{"code":"insufficient_quota"}}`, 200, "temporary", "quota"},
			{403, `{"error":{"code":"model_not_found","message":"Project p does not have access to model m"}}`, 403, "valid", ""},
			{400, `{"error":{"status":"INVALID_ARGUMENT","message":"API key not valid."}}`, 200, "permanent", "credential"},
			{400, `{"error":{"message":"max_tokens is missing"}}`, 400, "valid", ""},
		} {
			t.Run(fmt.Sprint(coding, tc.status, tc.state), func(t *testing.T) {
				gw.Reset(t)
				sent := coded(tc.body)
				gw.Provider.Key(keys[0], scripted.Status(tc.status, sent).Header("Content-Encoding", coding).Header("Content-Type", "application/json"))
				gw.Provider.Key(keys[1], good)
				resp := gw.Post(t, "/v1/embeddings", `{"model":"m","input":"x"}`, "Accept-Encoding", "gzip, deflate, br, zstd")
				require.Equal(t, tc.want, resp.Status)
				first := gw.Keys(t, "openai")[0]
				require.Equal(t, tc.state, first.State)
				require.Equal(t, tc.reason, first.Reason)
				require.Equal(t, []string{"identity"}, gw.Provider.Requests()[0].Header.Values("Accept-Encoding"))
				if tc.want >= 400 {
					require.Equal(t, sent, resp.Body)
					require.Equal(t, coding, resp.Header.Get("Content-Encoding"))
				}
			})
		}
	}
}

// allAlike: an outage refuses all keys for some seconds. Their waits do not double, and the first success brings all of them back.
func allAlike(t *testing.T, gw *gateway.Gateway) {
	keys := evidenceKeys["again"]
	refused := scripted.Unauthorized()
	gw.Provider.Key(keys[0], refused).Key(keys[1], refused)
	ask := func() gateway.Response {
		return gw.Post(t, "/again/v1/chat/completions", `{"model":"m","messages":[]}`)
	}
	require.Equal(t, http.StatusBadGateway, ask().Status)
	require.Equal(t, []string{"permanent", "permanent"}, gw.States(t, "again"))
	require.Contains(t, gw.Log(), "all keys failed alike within a minute")

	trials := len(gw.Provider.Keys())
	gw.Eventually(t, "each key is tried three times more", func() bool { ask(); return len(gw.Provider.Keys()) >= trials+6 })
	for _, k := range gw.Keys(t, "again") {
		require.Less(t, time.Until(k.ReviveAt), 1500*time.Millisecond, "its wait has not doubled")
	}
	gw.Provider.Key(keys[0], good).Key(keys[1], good)
	gw.Eventually(t, "the provider is well again", func() bool { return ask().Status == http.StatusOK })
	require.Equal(t, []string{"valid", "valid"}, gw.States(t, "again"), "both, though one was tried")
}
