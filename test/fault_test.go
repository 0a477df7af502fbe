package test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// ending is what a fault comes to.
type ending struct {
	status int    // what the client gets
	code   string // of an error that the gateway made; "": the answer is the provider's own
	cut    bool   // the client sees that the answer is not whole
	keys   int    // how many keys the provider has seen
	first  string // state of the first key then; "": valid
}

// Endings that several faults have.
var (
	served   = ending{status: http.StatusOK, keys: 1}
	turned   = ending{status: http.StatusOK, keys: 2, first: "temporary"}
	cut      = ending{status: http.StatusOK, keys: 1, cut: true}
	reset    = ending{status: http.StatusServiceUnavailable, code: "provider_reset", keys: 1}
	broken   = ending{status: http.StatusBadGateway, code: "provider_reset", keys: 1}
	timedOut = ending{status: http.StatusGatewayTimeout, code: "provider_timeout", keys: 1}
)

func surfaced(status int) ending { return ending{status: status, keys: 1} }

// fault is one way to fail, and what comes of it when only the first of a pool's two keys is answered so.
type fault struct {
	name   string
	answer scripted.Answer
	want   ending
}

func faults(t *testing.T) []fault {
	t.Helper()
	ok, chunks := scripted.OK(allIsWell), scripted.Chunks(8, 10*time.Millisecond)
	limited := scripted.RateLimited(time.Minute)
	const hold = 50 * time.Millisecond // what was sent before the fault arrives first
	return []fault{
		{"reset before the headers", scripted.ResetNow(), reset},
		{"closed before the headers", scripted.CloseNow(), reset},
		{"hung before the headers", scripted.Hang(), timedOut},
		{"garbage", scripted.Garbage(), broken},
		{"reset after the headers", scripted.ResetAfterHeaders(ok).Hold(hold), cut},
		{"hung after the headers", scripted.HangAfterHeaders(ok), cut},
		{"reset in the body", scripted.ResetMidBody(chunks).Hold(hold), cut},
		{"hung in the body", scripted.HangMidBody(chunks), cut},
		{"half an answer", scripted.Half(chunks).Hold(hold), cut},

		// Whether the key is at fault stands in the body, which never comes whole: nobody is blamed.
		{"reset after the headers of a 429", scripted.ResetAfterHeaders(limited).Hold(hold), broken},
		{"hung after the headers of a 429", scripted.HangAfterHeaders(limited), timedOut},
		{"half a 429", scripted.Half(limited).Hold(hold), broken},

		{"500", scripted.ServerError(500), surfaced(500)},
		{"empty 500", scripted.EmptyStatus(500), surfaced(500)},
		{"500 of 5 MB", scripted.BigError(500, 5<<20).Chunked(), surfaced(500)},
		{"503", scripted.Overloaded(503), surfaced(503)},
		{"529", scripted.Overloaded(529), surfaced(529)},

		{"empty 429", scripted.EmptyStatus(429), turned},
		{"empty 429 in chunks", scripted.EmptyStatus(429).Chunked(), turned},
		{"empty 401", scripted.EmptyStatus(401), ending{status: http.StatusOK, keys: 2, first: "permanent"}},
		{"429 of 5 MB", scripted.BigError(429, 5<<20), turned},
		{"429 of 5 MB in chunks", scripted.BigError(429, 5<<20).Chunked(), turned},
		{"429 with 100 headers", scripted.ManyHeaders(429, 100), turned},
		{"429 with more headers than Envoy takes", scripted.ManyHeaders(429, 1100), broken},
		{"200 with a header of 50 KB", ok.Header("X-Filler", strings.Repeat("x", 50<<10)), served},
		{"compressed 429", scripted.Status(429, zipped(t, `{"error":{"message":"slow down"}}`)).Header("Content-Encoding", "gzip"), turned},
		{"compressed 400", scripted.Status(400, zipped(t, `{"error":{"message":"wrong"}}`)).Header("Content-Encoding", "gzip"), surfaced(400)},
		{"trailers", ok.Trailer("X-Checksum", "1"), served},
		{"429 with trailers", limited.Trailer("X-Checksum", "1"), turned},

		{"early hints", ok.EarlyHints103(), served},
		{"100 that nobody asked for", ok.Continue100(), served},
		{"early hints before a 429", limited.HeaderExtra().EarlyHints103(), turned},

		{"answer before the request was read", scripted.RefuseRead(ok), served},
		{"429 before the request was read", scripted.RefuseRead(limited), turned},
		{"429 in chunks before the request was read", scripted.RefuseRead(limited.Chunked()), turned},
		{"empty 429 before the request was read", scripted.RefuseRead(scripted.EmptyStatus(429)), turned},

		{"forged retry", ok.Forged(), served},
		{"429 that Envoy would not retry", limited.Forged(), turned},
	}
}

const allIsWell = "all-is-well"

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

// faultVariants are the ways of asking, each with a pool of its own.
var faultVariants = []struct{ name, provider, path, body string }{
	{"responses", "openai", "/v1/responses", `{"model":"m","input":"hi"}`},
	{"responses-stream", "openai", "/v1/responses", `{"model":"m","input":"hi","stream":true}`},
	{"chat-stream", "openai", "/v1/chat/completions", `{"model":"m","messages":[],"stream":true}`},
	{"messages", "anthropic", "/v1/messages", `{"model":"m","messages":[]}`},
	{"messages-stream", "anthropic", "/v1/messages", `{"model":"m","messages":[],"stream":true}`},
}

// TestFaults has the provider fail in each of the ways that providers do. Envoy must live, the client must understand what
// happened, and only a key that the provider complained about may be blamed.
func TestFaults(t *testing.T) {
	var pools []gateway.Pool
	for _, v := range faultVariants {
		pools = append(pools, gateway.Pool{Name: v.name, Provider: v.provider, Keys: []string{"k0-" + v.name, "k1-" + v.name}})
	}
	patient := gateway.Start(t, gateway.Config{Pools: pools})
	impatient := gateway.Start(t, gateway.Config{Pools: pools, Envoy: map[string]any{"idle_timeout": "2s"}})
	for _, f := range faults(t) {
		gw := patient
		if strings.HasPrefix(f.name, "hung") {
			gw = impatient
		}
		t.Run(f.name, func(t *testing.T) {
			for _, o := range askAll(t, gw, f.answer, scripted.OK(allIsWell)) {
				require.Equal(t, f.want.status, o.Status, o)
				require.Equal(t, f.want.cut, o.cut, o)
				if o.Status == http.StatusOK && !o.cut {
					require.Contains(t, o.Body, allIsWell, o)
				}
				require.NoError(t, gatewayError(o.path, o.Response, f.want.code), o)
				require.Equal(t, o.keys[:f.want.keys], o.seen, o)
				require.Equal(t, []string{cmp.Or(f.want.first, "valid"), "valid"}, o.states, o)
			}
		})
		if f.want != turned {
			continue
		}
		t.Run(f.name+" for every key", func(t *testing.T) {
			for _, o := range askAll(t, gw, f.answer, f.answer) {
				require.Equal(t, http.StatusTooManyRequests, o.Status, o)
				require.False(t, o.cut, o)
				after, err := strconv.Atoi(o.Header.Get("Retry-After"))
				require.NoError(t, err, o)
				require.True(t, after > 50 && after <= 60, "%v: the first key began its rest of a minute when its answer came", o)
				require.NoError(t, gatewayError(o.path, o.Response, "rate_limited"), o)
				require.Equal(t, o.keys, o.seen, o)
				require.Equal(t, []string{"temporary", "temporary"}, o.states, o)
			}
		})
	}
}

// TestErrorLargerThanEnvoyMayHold: of an error of no known length as much is read as Envoy may hold, and its status is judged.
func TestErrorLargerThanEnvoyMayHold(t *testing.T) {
	t.Parallel()
	keys := []string{"k0-long-key", "k1-long-key"}
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Keys: keys}}})
	large := scripted.BigError(429, 40<<20).Chunked()
	gw.Provider.Key(keys[0], large).Key(keys[1], scripted.OK(allIsWell))
	resp := gw.Post(t, "/v1/responses", `{"model":"m"}`)
	require.Equal(t, http.StatusOK, resp.Status, resp.Header)
	require.Equal(t, keys, gw.Provider.Keys())
	require.Equal(t, []string{"temporary", "valid"}, gw.States(t, "openai"))

	gw.Provider.Key(keys[1], large)
	resp = gw.Post(t, "/v1/responses", `{"model":"m"}`)
	require.Equal(t, http.StatusTooManyRequests, resp.Status)
	requireGatewayError(t, "/v1/responses", resp, "rate_limited")
}

// observed is what came of one variant's request.
type observed struct {
	gateway.Response
	path   string
	cut    bool
	keys   []string // of the pool
	seen   []string // keys that the provider has seen
	states []string
}

// askAll sends one request in each way of asking, at the same time. The two keys of each pool are answered by first and second.
func askAll(t *testing.T, gw *gateway.Gateway, first, second scripted.Script) []observed {
	t.Helper()
	gw.Reset(t)
	all := make([]observed, len(faultVariants))
	var work sync.WaitGroup
	for i, v := range faultVariants {
		o := &all[i]
		o.path, o.keys = v.path, []string{"k0-" + v.name, "k1-" + v.name}
		gw.Provider.Key(o.keys[0], first).Key(o.keys[1], second)
		req := gw.Request(t, http.MethodPost, "/"+v.name+v.path, strings.NewReader(v.body))
		work.Go(func() {
			var err error
			o.Response, err = gw.TryDo(req)
			o.cut = err != nil
		})
	}
	work.Wait()
	require.True(t, gw.EnvoyAlive())
	for i, v := range faultVariants {
		o := &all[i]
		o.seen = slices.DeleteFunc(gw.Provider.Keys(), func(k string) bool { return !slices.Contains(o.keys, k) })
		o.states = gw.States(t, v.name)
		require.NotContains(t, o.Header, "X-Keyturn-Retry", o)
		require.NotContains(t, o.Header, "Openai-Organization", o)
	}
	return all
}

// requireGatewayError looks at who made an error: see gatewayError.
func requireGatewayError(t *testing.T, path string, resp gateway.Response, code string) {
	t.Helper()
	require.NoError(t, gatewayError(path, resp, code), "%v\n%s", resp.Header, resp.Body)
}

// gatewayError says what is wrong with an answer for which the gateway answers: it must name the code and be JSON in the dialect
// of the path, with a message. Without a code, the answer must be the provider's.
func gatewayError(path string, resp gateway.Response, code string) error {
	if got := resp.Header.Get("X-Keyturn-Error"); got != code {
		return fmt.Errorf("x-keyturn-error is %q, want %q", got, code)
	}
	if code == "" {
		return nil
	}
	var body struct {
		Type  string
		Error struct{ Type, Message string }
	}
	if err := json.Unmarshal([]byte(resp.Body), &body); err != nil {
		return err
	}
	anthropic := strings.Contains(path, "/v1/messages")
	switch {
	case resp.Header.Get("Content-Type") != "application/json":
		return fmt.Errorf("content-type is %q", resp.Header.Get("Content-Type"))
	case body.Error.Type == "" || body.Error.Message == "":
		return errors.New("an error needs a type and a message")
	case anthropic && body.Type != "error":
		return fmt.Errorf("type is %q on %s", body.Type, path)
	}
	return nil
}
