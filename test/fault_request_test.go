package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// dripping is a body that arrives in pieces, as from a client with a slow line: one piece at each tick. After stop pieces (0:
// never) no more comes, and Read waits until the request is given up.
type dripping struct {
	ctx  context.Context
	body *bytes.Reader
	tick *time.Ticker
	stop int
	sent int
}

// piece is what net/http asks a body for at once.
const piece = 32 << 10

// drip sends body in about the time given.
func drip(ctx context.Context, body []byte, took time.Duration) *dripping {
	return &dripping{ctx: ctx, body: bytes.NewReader(body), tick: time.NewTicker(took / time.Duration(1+len(body)/piece))}
}

func (d *dripping) Read(p []byte) (int, error) {
	if d.stop > 0 && d.sent == d.stop {
		<-d.ctx.Done()
		return 0, d.ctx.Err()
	}
	select {
	case <-d.tick.C:
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
	d.sent++
	return d.body.Read(p[:min(len(p), piece)])
}

func (d *dripping) Close() error {
	d.tick.Stop()
	return nil
}

const megabyte = 1 << 20

// jsonOf is a request of about size bytes.
func jsonOf(size int) []byte {
	return []byte(`{"model":"m","input":"` + strings.Repeat("x", max(0, size)) + `"}`)
}

// TestRequestFaults is about requests that are too large, too slow, or answered before they have ended, and about a provider
// that is not there.
func TestRequestFaults(t *testing.T) {
	keys := []string{"k0-long-key", "k1-long-key"}
	gw := gateway.Start(t, gateway.Config{
		Pools: []gateway.Pool{
			{Keys: keys},
			{Provider: "anthropic", Keys: []string{"k2-long-key"}},
			{Name: "gone", Keys: []string{"k3-long-key"}, Upstream: "http://127.0.0.1:1"}, // nobody listens on tcpmux
		},
		Envoy: map[string]any{"idle_timeout": "3s", "max_request_bytes": "10MiB"},
	})
	well := scripted.OK(allIsWell)
	gw.Provider.Default(well)
	const path = "/v1/responses"

	t.Run("connection refused", func(t *testing.T) {
		for _, path := range []string{"/gone/v1/responses", "/gone/v1/messages", "/gone/v1/files"} {
			resp := gw.Post(t, path, `{"model":"m"}`)
			require.Equal(t, http.StatusServiceUnavailable, resp.Status)
			requireGatewayError(t, path, resp, "provider_unreachable")
		}
		require.Equal(t, []string{"valid"}, gw.States(t, "gone"))
	})

	t.Run("too large to be sent again", func(t *testing.T) {
		for _, path := range []string{"/v1/responses", "/v1/messages"} {
			body := jsonOf(11 * megabyte)
			pool, first := "openai", keys[0]
			if path == "/v1/messages" {
				pool, first = "anthropic", "k2-long-key"
			}
			for _, whole := range []bool{true, false} { // with a length, in chunks
				ask := func() gateway.Response {
					var r io.Reader = bytes.NewReader(body)
					if !whole {
						r = io.MultiReader(r)
					}
					return gw.Do(t, gw.Request(t, http.MethodPost, path, r))
				}
				gw.Reset(t)
				require.Equal(t, http.StatusOK, ask().Status, "it passes")
				require.EqualValues(t, len(body), gw.Provider.Requests()[0].BodySize)

				gw.Provider.Reset()
				gw.Provider.Key(first, scripted.RateLimited(time.Minute))
				resp := ask()
				require.Equal(t, []string{first}, gw.Provider.Keys(), "once")
				require.Equal(t, "temporary", gw.States(t, pool)[0])
				switch {
				case pool == "anthropic": // it has one key
					require.Equal(t, http.StatusTooManyRequests, resp.Status)
				case whole:
					require.Equal(t, http.StatusServiceUnavailable, resp.Status)
					requireGatewayError(t, path, resp, "retry_impossible")
				default: // Envoy refuses what Keyturn asks for: the answer is the provider's
					require.Equal(t, http.StatusTooManyRequests, resp.Status)
					require.Empty(t, resp.Header.Values("X-Keyturn-Retry"))
					requireGatewayError(t, path, resp, "")
				}
				gw.Provider.Key(first, well)
			}
		}
	})

	t.Run("slow", func(t *testing.T) {
		gw.Reset(t)
		gw.Provider.Key(keys[0], scripted.RateLimited(time.Minute))
		body := jsonOf(megabyte)
		resp := gw.Do(t, gw.Request(t, http.MethodPost, path, drip(t.Context(), body, 4500*time.Millisecond))) // idle_timeout is about a pause, not the whole
		require.Equal(t, http.StatusOK, resp.Status, resp.Body)
		require.Equal(t, keys, gw.Provider.Keys())
		for _, r := range gw.Provider.Requests() {
			sum := sha256.Sum256(body)
			require.Equal(t, hex.EncodeToString(sum[:]), r.SHA256)
		}
	})

	t.Run("never whole", func(t *testing.T) {
		gw.Reset(t)
		for _, path := range []string{"/v1/responses", "/v1/messages"} {
			d := drip(t.Context(), jsonOf(megabyte), 100*time.Millisecond)
			d.stop = 5
			resp, err := gw.TryDo(gw.Request(t, http.MethodPost, path, d))
			require.NoError(t, err)
			require.Equal(t, http.StatusRequestTimeout, resp.Status)
			requireGatewayError(t, path, resp, "timeout")
		}
		require.NoError(t, gw.Provider.WaitIdle(t.Context()))
		for _, q := range gw.Provider.Requests() {
			require.False(t, q.Whole)
		}
		require.Equal(t, []string{"valid", "valid"}, gw.States(t, "openai"))
	})
	require.True(t, gw.EnvoyAlive())
}

// TestAnswersBeforeTheRequestHasEnded: Envoy sends again what has come of a request, and goes on with the rest. A provider that
// answers and hangs up while it is written to may lose its answer to its own reset: that is no key's fault, and the pool's policy
// goes on to the next key.
func TestAnswersBeforeTheRequestHasEnded(t *testing.T) {
	keys := []string{"k0-long-key", "k1-long-key"}
	limited, well := scripted.RateLimited(time.Minute), scripted.OK(allIsWell)
	early := []struct {
		name   string
		answer scripted.Answer
	}{
		{"429", limited},
		{"429 in chunks", limited.Chunked()},
		{"empty 429", scripted.EmptyStatus(429)},
		{"200", well},
		{"200 in chunks", well.Chunked()},
		{"429 of 2 MB", scripted.BigError(429, 2*megabyte)},
	}
	for _, tc := range []struct {
		name, path string
		tools      bool
	}{
		{"dialect", "/v1/responses", false},
		{"dialect with tools", "/v1/responses", true}, // Keyturn reads the request first
		{"upload", "/v1/files", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			gw := gateway.Start(t, gateway.Config{Tools: tc.tools, Pools: []gateway.Pool{{Keys: keys, Groups: []string{"org", "org"}, Settings: map[string]any{
				"policy": map[string]any{"rules": []map[string]any{{"code": "provider_reset", "action": "next_key"}}},
			}}}})
			gw.Provider.Key(keys[1], well)
			for _, a := range early {
				for _, size := range []int{100 << 10, 3 * megabyte} {
					t.Run(a.name, func(t *testing.T) {
						gw.Reset(t)
						gw.Provider.Key(keys[0], scripted.RefuseRead(a.answer))
						body := jsonOf(size)
						req := gw.Request(t, http.MethodPost, tc.path, drip(t.Context(), body, 150*time.Millisecond))
						if size < megabyte {
							req.ContentLength = int64(len(body))
						}
						resp, err := gw.TryDo(req)
						require.True(t, gw.EnvoyAlive())
						require.NoError(t, err)
						require.Equal(t, http.StatusOK, resp.Status, resp.Body)
						if tc.path != "/v1/files" {
							require.Contains(t, resp.Body, allIsWell)
						}
						require.NotContains(t, gw.States(t, "openai"), "permanent")
						require.Equal(t, "valid", gw.States(t, "openai")[1])
					})
				}
			}
			t.Run("many at once", func(t *testing.T) { manyEarly(t, gw, tc.path, limited, well) })
		})
	}
}

// manyEarly sends requests that are too large for the sockets' buffers to a provider that reads none of them. Some of the
// clients leave in the middle.
func manyEarly(t *testing.T, gw *gateway.Gateway, path string, answers ...scripted.Answer) {
	t.Helper()
	gw.Reset(t)
	body := jsonOf(8 * megabyte)
	for _, a := range answers {
		gw.Provider.Key("k0-long-key", scripted.RefuseRead(a)).Key("k1-long-key", scripted.RefuseRead(a))
		var work sync.WaitGroup
		for i := range 12 {
			ctx := t.Context()
			if i%2 == 1 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(i*i)*time.Millisecond)
				defer cancel()
			}
			req := gw.Request(t, http.MethodPost, path, bytes.NewReader(body)).WithContext(ctx)
			// An answer, or a reset: the provider closes the connection while it is written to.
			work.Go(func() { _, _ = gw.TryDo(req) })
		}
		work.Wait()
		require.True(t, gw.EnvoyAlive())
	}
	gw.Reset(t)
	gw.Provider.Key("k0-long-key", scripted.OK(allIsWell))
	require.Equal(t, http.StatusOK, gw.Post(t, "/v1/responses", `{"model":"m"}`).Status)
}

// TestRefusedUpgrade: the answer to an upgrade is seen like any other, and one that is the key's fault turns it before the 101.
func TestRefusedUpgrade(t *testing.T) {
	keys := []string{"k0-long-key", "k1-long-key"}
	gw := gateway.Start(t, gateway.Config{
		Pools: []gateway.Pool{{Keys: keys, Settings: map[string]any{"websocket": true}}}, Envoy: map[string]any{"idle_timeout": "1s"},
	})
	const path = "/v1/responses"
	for _, tc := range []struct {
		name   string
		answer scripted.Answer
		status int
		code   string
		keys   int
		states []string
	}{
		{"accepted", scripted.OK(""), 101, "", 1, []string{"valid", "valid"}},
		{"401", scripted.Unauthorized(), 101, "", 2, []string{"permanent", "valid"}},
		{"429", scripted.RateLimited(time.Minute), 101, "", 2, []string{"temporary", "valid"}},
		{"429 in chunks", scripted.RateLimited(time.Minute).Chunked(), 101, "", 2, []string{"temporary", "valid"}},
		{"empty 429", scripted.EmptyStatus(429), 101, "", 2, []string{"temporary", "valid"}},
		{"429 of 5 MB", scripted.BigError(429, 5<<20), 101, "", 2, []string{"temporary", "valid"}},
		{"404", scripted.Status(404, `{}`), 404, "", 1, []string{"valid", "valid"}},
		{"500", scripted.ServerError(500), 500, "", 1, []string{"valid", "valid"}},
		{"reset", scripted.ResetNow(), 503, "provider_reset", 1, []string{"valid", "valid"}},
		{"garbage", scripted.Garbage(), 502, "provider_reset", 1, []string{"valid", "valid"}},
		{"hung", scripted.Hang(), 408, "timeout", 1, []string{"valid", "valid"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			gw.Reset(t)
			gw.Provider.Key(keys[0], tc.answer).Key(keys[1], scripted.OK(""))
			resp, conn := upgrade(t, gw, path)
			require.True(t, gw.EnvoyAlive())
			require.Equal(t, tc.status, resp.Status, resp.Body)
			requireGatewayError(t, path, resp, tc.code)
			require.Equal(t, keys[:tc.keys], gw.Provider.Keys())
			require.Equal(t, tc.states, gw.States(t, "openai"))
			if resp.Status == http.StatusSwitchingProtocols { // one frame, masked by zeroes, comes back
				_, err := conn.Write([]byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'})
				require.NoError(t, err)
				var frame [4]byte
				_, err = io.ReadFull(conn, frame[:])
				require.NoError(t, err)
				require.Equal(t, "\x81\x02hi", string(frame[:]))
			}
			require.NoError(t, conn.Close())
		})
	}
	t.Run("no key left", func(t *testing.T) {
		gw.Reset(t)
		for _, key := range keys {
			gw.Provider.Key(key, scripted.RateLimited(time.Minute))
		}
		resp, conn := upgrade(t, gw, path)
		require.Equal(t, http.StatusTooManyRequests, resp.Status)
		requireGatewayError(t, path, resp, "rate_limited")
		require.NoError(t, conn.Close())
	})
	require.True(t, gw.EnvoyAlive())
}

// upgrade asks for a WebSocket and reads the answer, to its end if it is no WebSocket.
func upgrade(t *testing.T, gw *gateway.Gateway, path string) (gateway.Response, net.Conn) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(gw.URL, "http://"))
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	answer := gateway.Response{Status: resp.StatusCode, Header: resp.Header}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		answer.Body = string(b)
	}
	require.NoError(t, resp.Body.Close())
	return answer, conn
}
