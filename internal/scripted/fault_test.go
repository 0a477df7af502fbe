package scripted_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

const streamed = `{"stream":true}`

func rawRequest(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", path, good, len(body), body)
}

func dial(t *testing.T, srv *scripted.Server) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", srv.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return conn
}

// exchangeRaw sends a request and returns all that comes back, until the connection ends, and how it ends.
func exchangeRaw(t *testing.T, srv *scripted.Server, request string) (string, error) {
	t.Helper()
	conn := dial(t, srv)
	_, err := io.WriteString(conn, request)
	require.NoError(t, err)
	got, err := io.ReadAll(conn)
	return string(got), err
}

func TestFaultsOnTheWire(t *testing.T) {
	const settle = 30 * time.Millisecond
	ok := scripted.OK("one two three four")
	for _, tc := range []struct {
		name    string
		answer  scripted.Answer
		body    string
		head    string // what the answer begins with; "": nothing is answered
		has     string
		hasNot  string
		isReset bool
	}{
		{name: "reset", answer: scripted.ResetNow(), isReset: true},
		{name: "close", answer: scripted.CloseNow()},
		{name: "garbage", answer: scripted.Garbage(), head: "\x00\x01garbage\r\n\r\n"},
		{name: "hang to its bound", answer: scripted.Hang()},
		{
			name: "reset after the headers of a stream", answer: scripted.ResetAfterHeaders(ok).Hold(settle), body: streamed,
			head: "HTTP/1.1 200 OK\r\n", has: "Transfer-Encoding: chunked", hasNot: "data:", isReset: true,
		},
		{
			name: "reset after the headers of an error", answer: scripted.ResetAfterHeaders(scripted.RateLimited(time.Second)).Hold(settle),
			head: "HTTP/1.1 429 ", has: "Retry-After: 1", hasNot: "error", isReset: true,
		},
		{name: "hang after the headers", answer: scripted.HangAfterHeaders(ok), head: "HTTP/1.1 200 OK\r\n", hasNot: "object"},
		{
			name: "reset in a stream", answer: scripted.ResetMidBody(ok).Hold(settle), body: streamed,
			head: "HTTP/1.1 200 OK\r\n", has: `"delta":"one "`, hasNot: `"delta":"four"`, isReset: true,
		},
		{
			name: "reset in an object", answer: scripted.ResetMidBody(ok).Hold(settle),
			head: "HTTP/1.1 200 OK\r\n", has: "Content-Length:", hasNot: `"usage"`, isReset: true,
		},
		{
			name: "hang in a stream", answer: scripted.HangMidBody(ok), body: streamed,
			head: "HTTP/1.1 200 OK\r\n", has: `"delta":"one "`, hasNot: `"delta":"four"`,
		},
		{
			name: "half a stream", answer: scripted.Half(ok), body: streamed,
			head: "HTTP/1.1 200 OK\r\n", has: `"delta":"one "`, hasNot: "\r\n0\r\n\r\n",
		},
		{
			name: "half an object", answer: scripted.Half(ok),
			head: "HTTP/1.1 200 OK\r\n", has: "Transfer-Encoding: chunked", hasNot: "\r\n0\r\n\r\n",
		},
		{
			name: "half an error", answer: scripted.Half(scripted.RateLimited(time.Second)),
			head: "HTTP/1.1 429 ", has: "Transfer-Encoding: chunked", hasNot: "\r\n0\r\n\r\n",
		},
		{
			name: "half of nothing", answer: scripted.Half(scripted.EmptyStatus(429)),
			head: "HTTP/1.1 429 ", has: "Transfer-Encoding: chunked", hasNot: "\r\n0\r\n\r\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ended := make(chan scripted.Outcome, 1)
			p := scripted.New(scripted.Config{
				MaxHang: 50 * time.Millisecond,
				Log:     func(x scripted.Exchange) { ended <- x.Outcome },
			}).Key(good, tc.answer)
			got, err := exchangeRaw(t, start(t, p), rawRequest("/v1/responses", tc.body))
			require.Equal(t, tc.isReset, errors.Is(err, syscall.ECONNRESET), "%v", err)
			require.True(t, strings.HasPrefix(got, tc.head), got)
			require.Equal(t, tc.head == "", got == "", got)
			require.Contains(t, got, tc.has)
			if tc.hasNot != "" {
				require.NotContains(t, got, tc.hasNot)
			}
			require.Equal(t, scripted.Cut, <-ended)
		})
	}
}

func TestHangEndsWithTheServer(t *testing.T) {
	p := scripted.New(scripted.Config{}).Key(good, scripted.Hang())
	srv := start(t, p)
	ended := make(chan error, 1)
	conn := dial(t, srv)
	_, err := io.WriteString(conn, rawRequest("/v1/responses", ""))
	require.NoError(t, err)
	go func() {
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	}()
	require.NoError(t, p.Wait(t.Context(), 1))
	require.NoError(t, srv.Close())
	require.Zero(t, p.Open(), "Close waits for the answers in progress")
	<-ended
}

func TestAnswersBeforeTheBody(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer scripted.Answer
		status int
		header string
	}{
		{"error with a length", scripted.RateLimited(time.Second), 429, "Content-Length"},
		{"error in chunks", scripted.RateLimited(time.Second).Chunked(), 429, ""},
		{"good", scripted.OK("x"), 200, "Content-Length"},
		{"empty", scripted.EmptyStatus(401), 401, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // each ends half a second after its answer
			p, srv := provider(t, scripted.RefuseRead(tc.answer))
			conn := dial(t, srv)
			_, err := fmt.Fprintf(conn, "POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\n\r\n{", good)
			require.NoError(t, err)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			_, err = io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, tc.status, res.StatusCode)
			require.Equal(t, tc.answer.String() == "rate limited, retry after 1s" && tc.header == "", len(res.TransferEncoding) > 0)

			rs := p.Requests()
			require.Len(t, rs, 1)
			require.False(t, rs[0].Whole)
			require.Zero(t, rs[0].BodySize)
		})
	}
}

// The body may still arrive whole: then the answer was early all the same, and the connection ends in order.
func TestAnswersBeforeASmallBody(t *testing.T) {
	p, srv := provider(t, scripted.RefuseRead(scripted.Unauthorized()))
	c := client(t)
	for range 3 {
		res, err := c.Do(newRequest(t, http.MethodPost, srv.URL+"/v1/responses", "{}"))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, 401, res.StatusCode)
		require.True(t, res.Close)
	}
	require.Equal(t, 3, p.Count())
}

func TestUploadThatBreaksOff(t *testing.T) {
	ended := make(chan scripted.Outcome, 1)
	p := scripted.New(scripted.Config{Log: func(x scripted.Exchange) { ended <- x.Outcome }}).Key(good, scripted.OK(""))
	conn := dial(t, start(t, p))
	_, err := fmt.Fprintf(conn, "POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\nhalf", good)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, scripted.Left, <-ended)
	r := p.Requests()[0]
	require.False(t, r.Whole)
	require.Equal(t, "half", string(r.Body))
}

func TestClientThatLeavesAStream(t *testing.T) {
	logged := make(chan scripted.Exchange, 1)
	p := scripted.New(scripted.Config{Log: func(x scripted.Exchange) { logged <- x }}).
		Key(good, scripted.Chunks(1000, time.Hour))
	srv := start(t, p)
	ctx, leave := context.WithCancel(t.Context())
	res, err := client(t).Do(newRequest(t, http.MethodPost, srv.URL+"/v1/chat/completions", streamed).WithContext(ctx))
	require.NoError(t, err)
	found := false // the first chunk arrives long before the second
	for lines := bufio.NewScanner(res.Body); !found && lines.Scan(); {
		found = strings.Contains(lines.Text(), "chunk0 ")
	}
	require.True(t, found)
	leave()
	require.NoError(t, res.Body.Close())
	require.Equal(t, scripted.Left, (<-logged).Outcome)
	require.NoError(t, p.WaitIdle(t.Context()))
}

func TestHeadersAndFraming(t *testing.T) {
	p, srv := provider(t, scripted.EmptyStatus(429))
	got, err := exchangeRaw(t, srv, strings.Replace(rawRequest("/v1/responses", ""), "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
	require.NoError(t, err)
	require.Contains(t, got, "Content-Length: 0\r\n")
	require.NotContains(t, got, "Content-Type")
	require.True(t, strings.HasSuffix(got, "\r\n\r\n"), got)

	p.Key(good, scripted.OK("hi").Continue100().EarlyHints103().After(time.Millisecond))
	got, err = exchangeRaw(t, srv, strings.Replace(rawRequest("/v1/responses", ""), "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(got, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <"), got)
	require.Equal(t, 1, strings.Count(got, "Link:"))

	for _, tc := range []struct {
		name   string
		answer scripted.Answer
		body   string
		check  func(t *testing.T, r reply)
	}{
		{"big error with its length", scripted.BigError(429, 3<<20), "", func(t *testing.T, r reply) {
			require.Len(t, r.body, 3<<20)
			require.Equal(t, "3145728", r.header.Get("Content-Length"))
			require.True(t, strings.HasSuffix(r.body, `"}}`) || strings.HasSuffix(r.body, "null}}"), r.body[len(r.body)-20:])
		}},
		{"big error without it", scripted.BigError(500, 100_000).Chunked(), "", func(t *testing.T, r reply) {
			require.Len(t, r.body, 100_000)
			require.Empty(t, r.header.Get("Content-Length"))
		}},
		{"many headers", scripted.ManyHeaders(429, 150), "", func(t *testing.T, r reply) {
			require.Equal(t, 429, r.status)
			require.Equal(t, "x", r.header.Get("X-Filler-150"))
		}},
		{"status", scripted.Status(418, "tea"), "", func(t *testing.T, r reply) {
			require.Equal(t, reply{status: 418, header: r.header, body: "tea"}, r)
			require.Equal(t, "text/plain; charset=utf-8", r.header.Get("Content-Type"))
		}},
		{"extra", scripted.OK("").HeaderExtra().Forged(), "", func(t *testing.T, r reply) {
			require.Len(t, r.header.Values("Set-Cookie"), 2)
			for _, name := range []string{
				"openai-organization", "x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining",
				"x-envoy-ratelimited", "x-keyturn-retry", "x-request-id",
			} {
				require.NotEmpty(t, r.header.Get(name), name)
			}
		}},
		{
			"a header replaced, repeated, left out", scripted.RateLimited(time.Second).
				Header("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT").Header("x-a", "1").Header("x-a", "2").Header("retry-after-ms", "").Header("content-type", ""),
			"", func(t *testing.T, r reply) {
				require.Equal(t, []string{"Wed, 21 Oct 2026 07:28:00 GMT"}, r.header.Values("Retry-After"))
				require.Equal(t, []string{"1", "2"}, r.header.Values("X-A"))
				require.NotContains(t, r.header, "Retry-After-Ms")
				require.NotContains(t, r.header, "Content-Type")
			},
		},
		{"a stream has no length", scripted.OK("x"), streamed, func(t *testing.T, r reply) {
			require.NotContains(t, r.header, "Content-Length")
			require.Equal(t, "text/event-stream; charset=utf-8", r.header.Get("Content-Type"))
		}},
		{"many chunks", scripted.Chunks(500, 0), streamed, func(t *testing.T, r reply) {
			require.Equal(t, 500, strings.Count(r.body, "event: response.output_text.delta"))
			require.Contains(t, r.body, `"delta":"chunk499 "`)
		}},
		{"download without its length", scripted.Download(200_000).Chunked(), "", func(t *testing.T, r reply) {
			require.Len(t, r.body, 200_000)
			require.Empty(t, r.header.Get("Content-Length"))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.Key(good, tc.answer)
			tc.check(t, post(t, srv, "/v1/responses", tc.body))
		})
	}
}

func TestAnswersAreValues(t *testing.T) {
	base := scripted.OK("").Header("x-a", "1")
	one, two := base.Header("x-b", "one"), base.Header("x-b", "two")
	p, srv := provider(t, one)
	require.Equal(t, "one", post(t, srv, "/v1/responses", "").header.Get("X-B"))
	p.Key(good, two)
	require.Equal(t, "two", post(t, srv, "/v1/responses", "").header.Get("X-B"))
	p.Key(good, scripted.Answer{})
	require.Equal(t, 200, post(t, srv, "/v1/responses", "").status)
}

func TestTrailers(t *testing.T) {
	_, srv := provider(t, scripted.OK("hi").Trailer("X-Checksum", "1").Trailer("X-End", "2"))
	res, err := client(t).Do(newRequest(t, http.MethodPost, srv.URL+"/v1/responses", ""))
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.Header{"X-Checksum": {"1"}, "X-End": {"2"}}, res.Trailer)
}
