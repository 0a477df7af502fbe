package scripted_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

func TestStartListensOnLoopbackOnly(t *testing.T) {
	p := scripted.New(scripted.Config{})
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0"} {
		_, err := p.Start(addr)
		require.ErrorContains(t, err, "loopback only", addr)
	}
	_, err := p.Start("127.0.0.1")
	require.ErrorContains(t, err, "missing port")
	srv := start(t, p)
	_, err = p.Start(srv.Addr().String())
	require.ErrorContains(t, err, "in use")
	require.NoError(t, srv.Close())
	require.NoError(t, srv.Close(), "again")
}

// overHTTP2 serves p over HTTP/2, with TLS or without, and returns a client that speaks it.
func overHTTP2(t *testing.T, secure bool, s scripted.Script) (*scripted.Provider, *scripted.Server, *http.Client) {
	t.Helper()
	cfg := scripted.Config{HTTP2: true, MaxHang: 50 * time.Millisecond}
	tr := &http.Transport{Protocols: new(http.Protocols)}
	t.Cleanup(tr.CloseIdleConnections)
	tr.Protocols.SetUnencryptedHTTP2(true)
	if secure {
		// httptest brings a certificate for example.com, and the client that trusts it.
		lender := httptest.NewUnstartedServer(nil)
		lender.StartTLS()
		t.Cleanup(lender.Close)
		cfg.TLS = &tls.Config{Certificates: lender.TLS.Certificates, MinVersion: tls.VersionTLS13}
		trusting, ok := lender.Client().Transport.(*http.Transport)
		require.True(t, ok)
		tr.TLSClientConfig = trusting.TLSClientConfig
		tr.Protocols.SetUnencryptedHTTP2(false)
		tr.Protocols.SetHTTP2(true)
	}
	p := scripted.New(cfg).Key(good, s)
	return p, start(t, p), &http.Client{Transport: tr}
}

func TestHTTP2(t *testing.T) {
	for _, secure := range []bool{false, true} {
		p, srv, c := overHTTP2(t, secure, scripted.OK("hi"))
		require.Equal(t, secure, strings.HasPrefix(srv.URL, "https://"))
		r := do(t, c, newRequest(t, http.MethodPost, srv.URL+"/v1/responses", streamed))
		require.NoError(t, r.err)
		require.Equal(t, 200, r.status)
		require.Contains(t, r.body, "response.completed")
		require.Equal(t, "HTTP/2.0", p.Requests()[0].Proto)

		p.Key(good, scripted.RefuseRead(scripted.RateLimited(time.Second)))
		require.Equal(t, 429, do(t, c, newRequest(t, http.MethodPost, srv.URL+"/v1/responses", strings.Repeat("x", 1<<20))).status)

		for _, a := range []scripted.Answer{
			scripted.ResetNow(), scripted.CloseNow(), scripted.Garbage(), scripted.Hang(),
		} {
			p.Key(good, a)
			_, err := c.Do(newRequest(t, http.MethodPost, srv.URL+"/v1/responses", streamed)) //nolint:bodyclose // there is no answer
			require.Error(t, err, a)
		}
		for _, a := range []scripted.Answer{
			scripted.ResetMidBody(scripted.OK("one two")), scripted.Half(scripted.OK("one two")), scripted.HangAfterHeaders(scripted.OK("")),
			scripted.ResetAfterHeaders(scripted.OK("")).Hold(20 * time.Millisecond),
		} {
			p.Key(good, a)
			r := do(t, c, newRequest(t, http.MethodPost, srv.URL+"/v1/responses", streamed))
			require.Equal(t, 200, r.status, a)
			require.Error(t, r.err, a)
		}
		p.Key(good, scripted.OK("still there"))
		require.Equal(t, 200, do(t, c, newRequest(t, http.MethodPost, srv.URL+"/v1/responses", "")).status)
	}
}

func TestResetOverTLS(t *testing.T) {
	lender := httptest.NewUnstartedServer(nil)
	lender.StartTLS()
	t.Cleanup(lender.Close)
	p := scripted.New(scripted.Config{TLS: &tls.Config{Certificates: lender.TLS.Certificates, MinVersion: tls.VersionTLS13}}).
		Key(good, scripted.ResetNow())
	_, err := lender.Client().Do(newRequest(t, http.MethodPost, start(t, p).URL+"/v1/responses", "")) //nolint:bodyclose // there is no answer
	require.ErrorContains(t, err, "connection reset")
}

func TestWebSocketEcho(t *testing.T) {
	p, srv := provider(t, scripted.OK(""))
	c, res, err := websocket.Dial(t.Context(), srv.URL+"/v1/responses", &websocket.DialOptions{ //nolint:bodyclose // Dial has taken it
		HTTPClient: client(t), HTTPHeader: http.Header{"Authorization": {"Bearer " + good}},
	})
	require.NoError(t, err)
	require.Equal(t, 101, res.StatusCode)
	c.SetReadLimit(-1)
	for _, size := range []int{0, 5, 125, 126, 65_535, 65_536, 1 << 20} {
		message := strings.Repeat("ab:", size/3+1)[:size]
		require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte(message)))
		kind, got, err := c.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, websocket.MessageText, kind)
		require.True(t, message == string(got), "%d bytes", size)
	}
	reading := c.CloseRead(t.Context())
	require.NoError(t, c.Ping(t.Context()))
	require.NoError(t, c.Close(websocket.StatusNormalClosure, "bye"))
	<-reading.Done()
	require.NoError(t, p.WaitIdle(t.Context()))
}

func TestWebSocketRefusedAndCut(t *testing.T) {
	p, srv := provider(t, scripted.Seq(scripted.Unauthorized(), scripted.RateLimited(time.Second), scripted.OK("")))
	options := &websocket.DialOptions{HTTPClient: client(t), HTTPHeader: http.Header{"Authorization": {"Bearer " + good}}}
	for _, status := range []int{401, 429} {
		_, res, err := websocket.Dial(t.Context(), srv.URL+"/v1/responses", options) //nolint:bodyclose // Dial has read it
		require.Error(t, err)
		require.Equal(t, status, res.StatusCode)
	}
	c, _, err := websocket.Dial(t.Context(), srv.URL+"/v1/responses", options) //nolint:bodyclose // Dial has taken it
	require.NoError(t, err)
	require.Equal(t, 1, p.Open())
	require.NoError(t, srv.Close())
	_, _, err = c.Read(t.Context())
	require.Error(t, err)
	require.NoError(t, c.CloseNow())
}

func TestWebSocketIsForClientsThatMaskTheirFrames(t *testing.T) {
	_, srv := provider(t, scripted.OK(""))
	got, err := exchangeRaw(t, srv, "GET /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+good+
		"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\x81\x02hi")
	require.NoError(t, err)
	require.Contains(t, got, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "RFC 6455, section 1.3")
	require.True(t, strings.HasSuffix(got, "\r\n\r\n"), "an unmasked frame ends the connection: %q", got)
}

func TestMethodsAndUnknownPaths(t *testing.T) {
	_, srv := provider(t, scripted.OK("hi"))
	c := client(t)
	for _, tc := range []struct {
		method, path string
		status       int
		has          string
	}{
		{http.MethodGet, "/v1/models", 200, `"object":"list"`},
		{http.MethodHead, "/v1/models", 200, ""},
		{http.MethodGet, "/v1/files/file-1/content", 200, "hi"},
		{http.MethodGet, "/v1/files//content", 404, "unknown_url"},
		{http.MethodGet, "/v1/responses", 405, "method_not_supported"},
		{http.MethodHead, "/v1/responses", 405, ""},
		{http.MethodGet, "/", 404, "unknown_url"},
		{http.MethodPost, "/v1/responses/", 200, "hi"},
		{http.MethodPost, "/openai/deployments/gpt/chat/completions?api-version=1", 200, "hi"},
		{http.MethodPost, "/anthropic/v1/messages", 200, "hi"},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			r := do(t, c, newRequest(t, tc.method, srv.URL+tc.path, ""))
			require.Equal(t, tc.status, r.status)
			require.Contains(t, r.body, tc.has)
			require.NotEmpty(t, r.header.Get("Content-Length"))
			if tc.method == http.MethodHead {
				require.Empty(t, r.body)
			}
		})
	}
	r := newRequest(t, http.MethodGet, srv.URL+"/v1/nothing", "")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	require.Contains(t, do(t, c, r).body, `"type":"not_found_error"`)
}

func TestVendors(t *testing.T) {
	for _, tc := range []struct {
		answer scripted.Answer
		path   string
		status int
		retry  string
		has    []string
	}{
		{scripted.AzureRateLimited(26 * time.Second), "/v1/responses", 429, "26", []string{`"code":"429"`, "Please retry after 26 seconds"}},
		{scripted.AzureUnauthorized(), "/v1/responses", 401, "", []string{`"code":"401"`}},
		{scripted.AzureDeploymentNotFound(), "/v1/responses", 404, "", []string{"DeploymentNotFound"}},
		{scripted.GeminiRateLimited(57238 * time.Millisecond), "/v1beta/openai/chat/completions", 429, "", []string{`[{"error"`, `"retryDelay":"57.238s"`, "RESOURCE_EXHAUSTED"}},
		{scripted.GeminiDailyQuota(), "/v1beta/models/g:generateContent", 429, "", []string{`{"error"`, "PerDay"}},
		{scripted.GeminiBadKey(), "/v1beta/openai/chat/completions", 400, "", []string{"API_KEY_INVALID"}},
		{scripted.GeminiOverloaded(), "/v1beta/openai/chat/completions", 503, "", []string{"UNAVAILABLE"}},
		{scripted.OpenRouterRateLimited(3 * time.Second), "/v1/chat/completions", 429, "3", []string{`"metadata"`}},
		{scripted.OpenRouterBusy(3 * time.Second), "/v1/chat/completions", 429, "3", []string{`"provider_name"`}},
		{scripted.OpenRouterNoCredit(), "/v1/chat/completions", 402, "", []string{"Insufficient credits"}},
		{scripted.OpenRouterUnauthorized(), "/v1/chat/completions", 401, "", []string{"User not found"}},
	} {
		t.Run(tc.answer.String(), func(t *testing.T) {
			_, srv := provider(t, tc.answer)
			r := post(t, srv, tc.path, "{}")
			require.Equal(t, tc.status, r.status)
			require.Equal(t, tc.retry, r.header.Get("Retry-After"))
			for _, has := range tc.has {
				require.Contains(t, r.body, has)
			}
		})
	}
}
