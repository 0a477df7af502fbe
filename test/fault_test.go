package test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// ending is what a fault comes to.
type ending struct {
	status int    // what the client gets
	code   string // of an error that the gateway made; "": the provider's own answer
	cut    bool   // the client sees that the answer is not whole
	keys   int    // how many keys the provider has seen
	blamed bool   // the first key is no longer valid
}

// Endings that several faults have.
var (
	served      = ending{status: http.StatusOK, keys: 1}
	turned      = ending{status: http.StatusOK, keys: 2, blamed: true}
	cut         = ending{status: http.StatusOK, keys: 1, cut: true}
	unreachable = ending{status: http.StatusServiceUnavailable, code: "provider_unreachable", keys: 1}
	timedOut    = ending{status: http.StatusGatewayTimeout, code: "provider_timeout", keys: 1}
)

func surfaced(status int) ending { return ending{status: status, keys: 1} }

func zipped(t *testing.T, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

// TestFaults has the provider fail in each way that providers do, for the first key of a pool whose second key is good. Envoy
// must live, the client must understand what happened, and only a key that the provider complained about may be blamed.
func TestFaults(t *testing.T) {
	limited := scripted.RateLimited(time.Minute)
	ok, chunks := scripted.OK("all is well"), scripted.Chunks(8, 10*time.Millisecond)
	const hold = 50 * time.Millisecond
	faults := []struct {
		name  string
		first scripted.Script // what the first key is answered
		want  ending
	}{
		{"reset before the headers", scripted.ResetNow(), unreachable},
		{"closed before the headers", scripted.CloseNow(), unreachable},
		{"garbage", scripted.Garbage(), unreachable},
		{"hung before the headers", scripted.Hang(), timedOut},
		{"reset after the headers", scripted.ResetAfterHeaders(ok).Hold(hold), cut},
		{"reset after the headers of a 429", scripted.ResetAfterHeaders(limited).Hold(hold), unreachable},
		{"hung after the headers", scripted.HangAfterHeaders(ok), cut},
		{"hung after the headers of a 429", scripted.HangAfterHeaders(limited), timedOut},
		{"reset in the body", scripted.ResetMidBody(chunks).Hold(hold), cut},
		{"hung in the body", scripted.HangMidBody(chunks), cut},
		{"half an answer", scripted.Half(chunks), cut},
		{"half a 429", scripted.Half(limited), unreachable},
		{"500", scripted.ServerError(500), surfaced(500)},
		{"503", scripted.Overloaded(503), surfaced(503)},
		{"529", scripted.Overloaded(529), surfaced(529)},
		{"empty 500", scripted.EmptyStatus(500), surfaced(500)},
		{"empty 429", scripted.EmptyStatus(429), turned},
		{"empty 429 in chunks", scripted.EmptyStatus(429).Chunked(), turned},
		{"empty 401", scripted.EmptyStatus(401), turned},
		{"429 of 5 MB", scripted.BigError(429, 5<<20), turned},
		{"429 of 5 MB in chunks", scripted.BigError(429, 5<<20).Chunked(), turned},
		{"429 of 40 MB in chunks", scripted.BigError(429, 40<<20).Chunked(), ending{status: 500, code: "response_too_large", keys: 1}},
		{"500 of 5 MB in chunks", scripted.BigError(500, 5<<20).Chunked(), surfaced(500)},
		{"429 with 100 headers", scripted.ManyHeaders(429, 100), turned},
		{"200 with 100 headers", scripted.OK("all is well").Header("X-Filler", strings.Repeat("x", 50<<10)), served},
		{"429 with 300 headers", scripted.ManyHeaders(429, 300), unreachable},
		{"compressed 429", scripted.Status(429, zipped(t, `{"error":{"message":"slow down"}}`)).Header("Content-Encoding", "gzip"), turned},
		{"early hints", scripted.OK("all is well").EarlyHints103(), served},
		{"early hints before a 429", limited.EarlyHints103(), turned},
		{"unasked 100", scripted.OK("all is well").Continue100(), served},
		{"trailers", scripted.OK("all is well").Trailer("X-Checksum", "1"), served},
		{"429 with trailers", limited.Trailer("X-Checksum", "1"), turned},
		{"answer before the request was read", scripted.RefuseRead(scripted.OK("all is well")), served},
		{"429 before the request was read", scripted.RefuseRead(limited), turned},
		{"429 in chunks before the request was read", scripted.RefuseRead(limited.Chunked()), turned},
		{"empty 429 before the request was read", scripted.RefuseRead(scripted.EmptyStatus(429)), turned},
		{"a word that only the gateway has", scripted.OK("all is well").Forged(), served},
		{"429 that Envoy would not retry", limited.Forged(), turned},
	}
	variants := []struct {
		name, provider, path, body string
	}{
		{"responses", "openai", "/v1/responses", `{"model":"m","input":"hi"}`},
		{"responses-stream", "openai", "/v1/responses", `{"model":"m","input":"hi","stream":true}`},
		{"chat-stream", "openai", "/v1/chat/completions", `{"model":"m","messages":[],"stream":true}`},
		{"messages", "anthropic", "/v1/messages", `{"model":"m","messages":[]}`},
		{"messages-stream", "anthropic", "/v1/messages", `{"model":"m","messages":[],"stream":true}`},
	}
	cfg := gateway.Config{Envoy: map[string]any{"idle_timeout": "1s"}}
	for _, v := range variants {
		cfg.Pools = append(cfg.Pools, gateway.Pool{Name: v.name, Provider: v.provider, Keys: []string{"k0-" + v.name, "k1-" + v.name}})
	}
	gw := gateway.Start(t, cfg)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel() // each has a pool of its own
			first, second := "k0-"+v.name, "k1-"+v.name
			gw.Provider.Key(second, scripted.OK("all is well"))
			for _, f := range faults {
				t.Run(f.name, func(t *testing.T) {
					gw.ResetKeys(t, v.name)
					gw.Provider.Key(first, f.first)
					before := len(seenBy(gw.Provider, first, second))
					resp, err := gw.TryDo(gw.Request(t, http.MethodPost, "/"+v.name+v.path, strings.NewReader(v.body)))
					require.True(t, gw.EnvoyAlive())
					t.Log(resp.Status, resp.Header, err, resp.Body[:min(len(resp.Body), 400)])
					require.Equal(t, f.want.cut, err != nil, "%v", err)
					require.Equal(t, f.want.status, resp.Status)
					if resp.Status == http.StatusOK && !f.want.cut {
						require.Contains(t, strings.ReplaceAll(resp.Body, "\n", ""), "well")
					}
					requireError(t, v.path, resp, f.want.code)
					seen := seenBy(gw.Provider, first, second)[before:]
					require.Equal(t, []string{first, second}[:f.want.keys], seen)
					states := []string{"valid", "valid"}
					if f.want.blamed {
						states[0] = "temporary"
					}
					got := gw.States(t, v.name)
					if f.name == "empty 401" {
						states[0] = "permanent"
					}
					require.Equal(t, states, got)
				})
			}
		})
	}
}

// seenBy are the keys of the requests that the provider has seen with one of these keys.
func seenBy(p *scripted.Provider, keys ...string) []string {
	var seen []string
	for _, k := range p.Keys() {
		for _, want := range keys {
			if k == want {
				seen = append(seen, k)
			}
		}
	}
	return seen
}

// requireError looks at who made an error: with a code the gateway, in the dialect of the path, with a message; without one
// the provider.
func requireError(t *testing.T, path string, resp gateway.Response, code string) {
	t.Helper()
	require.Equal(t, code, resp.Header.Get("X-Keyturn-Error"), resp.Body)
	require.Empty(t, resp.Header.Get("X-Keyturn-Retry"))
	if code == "" {
		return
	}
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	var body struct {
		Type  string `json:"type"`
		Error struct {
			Type    string `json:"type"`
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	require.NoError(t, json.Unmarshal([]byte(resp.Body), &body), resp.Body)
	require.NotEmpty(t, body.Error.Message)
	require.NotEmpty(t, body.Error.Type)
	if strings.Contains(path, "/v1/messages") {
		require.Equal(t, "error", body.Type)
	} else {
		require.Equal(t, code, body.Error.Code)
	}
}
