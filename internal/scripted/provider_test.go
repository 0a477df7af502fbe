package scripted_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keyturn/keyturn/internal/scripted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const good = "k0-long-key"

// start serves p until the test ends.
func start(t *testing.T, p *scripted.Provider) *scripted.Server {
	t.Helper()
	srv, err := p.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv
}

// client is one whose connections end with the test, before the server does.
func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// provider is one with a single key that is answered by s, and its server.
func provider(t *testing.T, s scripted.Script) (*scripted.Provider, *scripted.Server) {
	t.Helper()
	p := scripted.New(scripted.Config{MaxHang: 20 * time.Second}).Key(good, s)
	return p, start(t, p)
}

type reply struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func newRequest(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+good)
	return r
}

func do(t *testing.T, c *http.Client, r *http.Request) reply {
	t.Helper()
	res, err := c.Do(r)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, res.Body.Close())
	return reply{res.StatusCode, res.Header, string(body), err}
}

func post(t *testing.T, srv *scripted.Server, path, body string) reply {
	t.Helper()
	r := do(t, client(t), newRequest(t, http.MethodPost, srv.URL+path, body))
	require.NoError(t, r.err)
	return r
}

func TestScripts(t *testing.T) {
	p := scripted.New(scripted.Config{}).
		Key("a", scripted.Seq(scripted.RateLimited(time.Second), scripted.OK("hi"))).
		Key("b", scripted.Func(func(r scripted.Request) scripted.Answer {
			return scripted.Status(200, string(r.Body)+" "+r.Model)
		})).
		Key("c", scripted.HeadFunc(func(r scripted.Request) scripted.Answer {
			return scripted.Status(200, r.Header.Get("X-Case"))
		})).
		Nth(6, scripted.Overloaded(0))
	srv, c := start(t, p), client(t)
	ask := func(key, body string) reply {
		r := newRequest(t, http.MethodPost, srv.URL+"/v1/responses", body)
		r.Header.Set("Authorization", "bearer  "+key)
		r.Header.Set("X-Case", "head")
		return do(t, c, r)
	}
	require.Equal(t, 429, ask("a", "{}").status, "the first of a sequence")
	require.Equal(t, 200, ask("a", "{}").status, "the second")
	require.Equal(t, 200, ask("a", "{}").status, "the last repeats")
	require.Equal(t, `{"model":"m"} m`, ask("b", `{"model":"m"}`).body)
	require.Equal(t, "head", ask("c", "{}").body)
	require.Equal(t, 503, ask("b", "{}").status, "the sixth request of all")
	require.Equal(t, 401, ask("nobody", "{}").status)
	p.Default(scripted.Seq(scripted.Forbidden(), scripted.OK("")))
	require.Equal(t, 200, ask("stranger", "{}").status, "keys without a script are counted together")
	require.Equal(t, []string{"a", "a", "a", "b", "c", "b", "nobody", "stranger"}, p.Keys())

	p.Reset()
	require.Empty(t, p.Requests())
	require.Equal(t, 429, ask("a", "{}").status, "sequences start again")
	require.Equal(t, 403, ask("stranger", "{}").status)
	require.Equal(t, 2, p.Count())
}

func TestKeyIsFoundWhereProvidersLookForIt(t *testing.T) {
	p := scripted.New(scripted.Config{}).Default(scripted.OK(""))
	srv, c := start(t, p), client(t)
	for _, tc := range []struct {
		name, path string
		header     map[string]string
		want       string
	}{
		{"bearer", "/v1/responses", map[string]string{"Authorization": "Bearer k"}, "k"},
		{"the scheme in any case", "/v1/responses", map[string]string{"Authorization": "bEaReR k"}, "k"},
		{"another scheme is none", "/v1/responses", map[string]string{"Authorization": "Basic k"}, ""},
		{"azure", "/openai/deployments/g/chat/completions?api-version=1", map[string]string{"Api-Key": "k"}, "k"},
		{"gemini", "/v1beta/openai/chat/completions", map[string]string{"X-Goog-Api-Key": "k"}, "k"},
		{"anthropic", "/v1/messages", map[string]string{"X-Api-Key": "k", "Authorization": "Bearer other"}, "k"},
		{"a token for anthropic", "/v1/messages", map[string]string{"Authorization": "Bearer k"}, "k"},
		{"openai reads bearer first", "/v1/responses", map[string]string{"X-Api-Key": "other", "Authorization": "Bearer k"}, "k"},
		{"none", "/v1/responses", nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.Reset()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+tc.path, strings.NewReader("{}"))
			require.NoError(t, err)
			for k, v := range tc.header {
				r.Header.Set(k, v)
			}
			do(t, c, r)
			require.Equal(t, []string{tc.want}, p.Keys())
		})
	}
}

func TestRequestsAreRecordedWhole(t *testing.T) {
	p, srv := provider(t, scripted.OK("hi"))
	r := newRequest(t, http.MethodPost, srv.URL+"/x/v1/responses?a=1&b=%2F", `{"stream": true, "model": "gpt", "input": "hello"}`)
	r.Header["X-Twice"] = []string{"one", "two"}
	r.Host = "api.example"
	require.Equal(t, 200, do(t, client(t), r).status)

	rs := p.Requests()
	require.Len(t, rs, 1)
	got := rs[0]
	require.Equal(t, 1, got.N)
	require.Equal(t, 1, got.KeyN)
	require.Equal(t, "POST", got.Method)
	require.Equal(t, "/x/v1/responses?a=1&b=%2F", got.Path)
	require.Equal(t, "api.example", got.Host)
	require.Equal(t, "HTTP/1.1", got.Proto)
	require.Equal(t, []string{"one", "two"}, got.Header.Values("x-twice"))
	require.Equal(t, good, got.Key)
	require.Equal(t, scripted.Responses, got.Endpoint)
	require.Equal(t, "gpt", got.Model)
	require.True(t, got.Stream)
	require.True(t, got.Whole)
	require.EqualValues(t, 50, got.BodySize)
	require.Equal(t, `{"stream": true, "model": "gpt", "input": "hello"}`, string(got.Body))
	require.Equal(t, "aade2adbd6723f1e22b00d14acd5852f7ff27cd3f52377b43b52c941fe7b4270", got.SHA256)
	require.WithinDuration(t, time.Now(), got.Time, time.Minute)
}

func TestMemoryIsBounded(t *testing.T) {
	p := scripted.New(scripted.Config{KeepRequests: 3, KeepBytes: 10}).Default(scripted.OK(""))
	srv := start(t, p)
	for _, body := range []string{"{11}", "{2222}", "{333}", "{12345678901}", "{55}", "{6}"} {
		post(t, srv, "/v1/responses", body)
	}
	var bodies []string
	for _, r := range p.Requests() {
		bodies = append(bodies, string(r.Body))
		require.Len(t, r.SHA256, 64)
	}
	require.Equal(t, []string{"", "{55}", "{6}"}, bodies, "the oldest go first, and what is too long is only hashed")
	require.Equal(t, 6, p.Requests()[2].N)
	require.Equal(t, 6, p.Count())

	p = scripted.New(scripted.Config{KeepBytes: -1}).Default(scripted.OK(""))
	post(t, start(t, p), "/v1/responses", `{"model":"m"}`)
	require.Nil(t, p.Requests()[0].Body)
	require.Equal(t, "m", p.Requests()[0].Model)
	require.EqualValues(t, 13, p.Requests()[0].BodySize)
}

func TestWait(t *testing.T) {
	p, srv := provider(t, scripted.Hang())
	ctx, leave := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	r := newRequest(t, http.MethodPost, srv.URL+"/v1/responses", "{}").WithContext(ctx)
	c := client(t)
	go func() {
		_, err := c.Do(r) //nolint:bodyclose // there is no answer
		answered <- err
	}()
	require.NoError(t, p.Wait(t.Context(), 1))
	require.Equal(t, 1, p.Open())

	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.EqualError(t, p.Wait(over, 2), "scripted: 1 of 2 requests: context canceled")
	require.EqualError(t, p.WaitIdle(over), "scripted: 1 exchanges in progress: context canceled")

	leave()
	require.ErrorIs(t, <-answered, context.Canceled)
	require.NoError(t, p.WaitIdle(t.Context()), "the provider notices that the client left")
}

func TestLogHoldsNoKey(t *testing.T) {
	var mu sync.Mutex
	var log []scripted.Exchange
	p := scripted.New(scripted.Config{
		Mask: func(key string) string { return key[:2] + "..." + key[len(key)-2:] },
		Log: func(x scripted.Exchange) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, x)
		},
	}).Key(good, scripted.Seq(scripted.RateLimited(5*time.Second), scripted.OK("hi"), scripted.Half(scripted.OK("hi"))))
	srv, c := start(t, p), client(t)
	for range 3 {
		r := newRequest(t, http.MethodPost, srv.URL+"/v1/chat/completions?key="+good, `{"model":"m","stream":true}`)
		do(t, c, r)
	}
	require.NoError(t, p.WaitIdle(t.Context()))
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, log, 3)
	for i, want := range []scripted.Exchange{
		{Status: 429, Answer: "rate limited, retry after 5s", Outcome: scripted.Complete},
		{Status: 200, Answer: "ok", Outcome: scripted.Complete},
		{Status: 200, Answer: "ok, half", Outcome: scripted.Cut},
	} {
		got := log[i]
		require.Positive(t, got.Sent)
		require.Positive(t, got.Took)
		got.Took, got.Sent, got.Time = 0, 0, time.Time{}
		want.N, want.Method, want.Path, want.Key = i+1, "POST", "/v1/chat/completions", "k0...ey"
		want.Endpoint, want.Model, want.Stream, want.BodySize = scripted.Chat, "m", true, 27
		require.Equal(t, want, got)
	}
}

func TestNoKeyShowsWithoutMask(t *testing.T) {
	logged := make(chan scripted.Exchange, 1)
	p := scripted.New(scripted.Config{Log: func(x scripted.Exchange) { logged <- x }}).Default(scripted.OK(""))
	post(t, start(t, p), "/v1/responses", "{}")
	require.Equal(t, "...", (<-logged).Key)
}

func TestConcurrentUse(t *testing.T) {
	const clients, each = 8, 40
	p := scripted.New(scripted.Config{KeepRequests: 50, KeepBytes: 100}).Default(scripted.OK("hello"))
	srv, c := start(t, p), client(t)
	c.Transport.(*http.Transport).MaxIdleConnsPerHost = clients
	errs := make(chan error, clients)
	for range clients {
		go func() {
			for range each {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/v1/messages", strings.NewReader(`{"stream":true}`))
				if err != nil {
					errs <- err
					return
				}
				res, err := c.Do(r)
				if err != nil {
					errs <- err
					return
				}
				_, err = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				p.Key("k", scripted.OK(""))
				if err != nil || len(p.Requests()) > 50 {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range clients {
		require.NoError(t, <-errs)
	}
	require.NoError(t, p.Wait(t.Context(), clients*each))
	require.NoError(t, p.WaitIdle(t.Context()))
	require.Len(t, p.Requests(), 50)
	require.Equal(t, clients*each, p.Count())
}
