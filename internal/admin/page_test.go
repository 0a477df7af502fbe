package admin_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/internal/page"
	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

const (
	pageToken   = "operator-token"
	pageViewer  = "viewer-token-0123"
	hostileName = "<script>alert(1)</script>\u202eevil'\"&`{{.}}"
)

// browser sends what a browser does: its cookies, and where a form is of.
type browser struct {
	t       *testing.T
	h       http.Handler
	cookies []*http.Cookie
	origin  string
}

func (b *browser) send(method, path string, form url.Values) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(form.Encode()))
	r.Host = "localhost:9420"
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://localhost:9420")
		if b.origin != "" {
			r.Header.Set("Origin", b.origin)
		}
	}
	for _, c := range b.cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	if got := w.Result().Cookies(); len(got) > 0 {
		b.cookies = got
	}
	return w
}

func (b *browser) get(path string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.send("GET", path, nil)
}

func (b *browser) signIn(token string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.send("POST", "/signin", url.Values{"token": {token}, "next": {"/turns?pool=openai"}})
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]*)"`)

func csrfOf(t *testing.T, body string) string {
	t.Helper()
	m := csrfField.FindStringSubmatch(body)
	require.NotNil(t, m, body)
	return m[1]
}

// whole is a fixture with something in every view, and names that others chose.
func whole(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	m := record.NewMemory()
	at := time.Now().UTC().Add(-time.Minute).Truncate(time.Second)
	m.Write(&record.Turn{
		ID: "turn-1", Start: at, End: at.Add(2 * time.Second), Client: hostileName, Session: hostileName, UserAgent: hostileName, Pool: "openai", Method: "POST",
		Path: "/v1/" + hostileName, Asked: hostileName, Answered: hostileName, Status: 200, FirstByte: time.Second, Key: "b", Turns: 1, TraceID: "0af7651916cd43dd8448eb211c80319c",
		Attempts: []record.Attempt{
			{Number: 1, Turn: 1, Pool: "openai", Key: "a", Duration: time.Second / 2, Status: 429, Class: "rate_limit", Outcome: "turned", Wait: time.Minute},
			{Number: 2, Turn: 1, Pool: "openai", Key: hostileName, Start: time.Second / 2, Duration: time.Second, Status: 200, Outcome: "ok", Usage: record.Usage{Input: 10, Output: 5}},
		},
		Calls: []record.Call{{ID: "c", Server: hostileName, Tool: hostileName, Turn: 1, Start: time.Second, Duration: time.Second / 4, Outcome: "ok"}},
		Usage: record.Usage{Input: 1000, CacheRead: 250, Output: 5, State: record.Complete}, Price: record.Price{Nano: 1_500_000, Priced: true, Table: "own"},
	}, []record.Content{{Kind: record.Prompt, Turn: 1, Text: "said in private " + hostileName, At: at}})
	f.Records = &admin.Records{Reader: m, Follow: m.Follow, Losses: func() record.Losses { return record.Losses{Turns: record.Lost{7}} }}
	f.Tools = func() []mcp.ServerDetail {
		return []mcp.ServerDetail{{
			ServerStatus: mcp.ServerStatus{Name: "demo", Connected: true, Tools: 1, LastError: "timeout"}, Protocol: "2025-11-25", Software: hostileName,
			Offered: []mcp.ToolDetail{{Tool: mcp.Tool{Server: "demo", Name: hostileName, ModelName: "demo_x", Description: strings.Repeat(hostileName, 300), Schema: []byte(`{"type":"object"}`)}, Calls: 3, Failed: 1, P50: time.Millisecond}},
		}}
	}
	f.About = func() []admin.PoolAbout {
		return []admin.PoolAbout{{Name: "openai", Provider: "openai", Upstream: "api.test", Fallback: []string{"anthropic"}, Tools: []string{"demo"}}}
	}
	f.TraceURL = "https://traces.test/{trace_id}"
	f.Running = func(context.Context) admin.Running {
		return admin.Running{
			Version: "v1.2.3", Go: "1.26", Started: at, File: "keyturn.yaml", Reload: admin.Reload{At: at, By: "SIGHUP", Error: "keyturn.yaml:3: " + hostileName},
			Settings: []admin.Setting{{Path: "pools[0].keys[0].env", Value: "OPENAI_KEY", Line: 7}, {Path: "admin.listen", Value: "127.0.0.1:9420"}},
			Envoy:    &admin.EnvoyAnswer{At: at, Version: "1.40.0", Findings: []admin.Finding{{Severity: "leaks", Setting: "x.y", Where: "listener", Consequence: "c", Remedy: "r"}}},
			Limits:   []admin.Limit{{Name: "memory", Now: 1, Most: 10, Unit: "bytes"}}, Recorder: admin.Recorder{Where: "memory alone"}, Shared: "none",
		}
	}
	f.openai.Mark(f.key(t, "a"), keypool.Verdict{Class: keypool.RateLimit, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: time.Hour, Code: "rate_limit_exceeded"}, "")
	return f
}

var allViews = []string{"/", "/turns", "/turns/turn-1", "/tools", "/spend", "/spend?by=model&every=day", "/running", "/key?pool=openai&key=a&do=disable", "/reload"}

// TestEveryView has each view show what there is, with the policy that keeps a browser from anything else, and no name of others' as markup.
func TestEveryView(t *testing.T) {
	f := whole(t)
	b := &browser{t: t, h: admin.New(f.Config)}
	for path, wants := range map[string][]string{
		"/":                                  {"rate_limit_exceeded", "temporary", "→", "api.test", "7 turns were not recorded", "/key?do=disable&amp;key=a&amp;pool=openai"},
		"/turns":                             {"/turns/turn-1", "7 turns were not recorded", "$0.0015"},
		"/turns/turn-1":                      {"attempt 1:", "rate_limit", "https://traces.test/0af7651916cd43dd8448eb211c80319c", "said in private", `x="25.00%"`},
		"/tools":                             {"2025-11-25", "tokens", "≈"},
		"/spend":                             {"25.0 %", "format=csv"},
		"/spend?by=model&every=day":          {"$0.0015"},
		"/running":                           {"OPENAI_KEY", ">7<", "default", "Remedy", "1.40.0"},
		"/key?pool=openai&key=a&do=disable":  {"No request gets this key", `value="openai"`},
		"/reload":                            {"Read the configuration again?"},
		"/key?pool=openai&key=b&do=disable":  {"last key of the pool"},
		"/turns?status=abc":                  {"cannot be searched for"},
		"/turns?client=nobody&failed=&from=": {"No turn that is kept is like that"},
	} {
		w := b.get(path)
		require.Equal(t, 200, w.Code, "%s: %s", path, w.Body)
		require.Equal(t, page.Policy, w.Header().Get("Content-Security-Policy"), path)
		body := w.Body.String()
		for _, want := range wants {
			require.Contains(t, body, want, path)
		}
		require.NotContains(t, body, "<script>alert", path)
		require.NotContains(t, body, " style=", path)
		for _, secret := range []string{secretA, secretB, secretC} {
			require.NotContains(t, body, secret)
		}
	}
	require.Equal(t, 404, b.get("/turns/none").Code)
	require.Equal(t, 404, b.get("/key?pool=openai&key=zz&do=disable").Code)
	require.Equal(t, 404, b.get("/key?pool=openai&key=a&do=burn").Code)
}

// TestActionsOfThePage do what they say, only from the page's own forms, and tell who did it.
func TestActionsOfThePage(t *testing.T) {
	f := whole(t)
	b := &browser{t: t, h: admin.New(f.Config)}
	csrf := csrfOf(t, b.get("/key?pool=openai&key=b&do=disable").Body.String())
	form := url.Values{"pool": {"openai"}, "key": {"b"}, "do": {"disable"}}
	require.Equal(t, 403, b.send("POST", "/key", form).Code, "no CSRF token")
	form.Set("csrf", csrf+"x")
	require.Equal(t, 403, b.send("POST", "/key", form).Code)
	form.Set("csrf", csrf)
	b.origin = "http://evil.test"
	require.Equal(t, 403, b.send("POST", "/key", form).Code, "another origin")
	require.Equal(t, keypool.Valid, f.key(t, "b").State())
	b.origin = ""
	w := b.send("POST", "/key", form)
	require.Equal(t, 303, w.Code)
	require.Equal(t, "/?did=disable", w.Header().Get("Location"))
	require.Equal(t, keypool.Disabled, f.key(t, "b").State())
	require.Contains(t, f.log.String(), `by="this machine"`)
	require.Contains(t, b.get("/?did=disable").Body.String(), "The key is disabled.")
	require.Equal(t, "/running?did=reload", b.send("POST", "/reload", url.Values{"csrf": {csrf}}).Header().Get("Location"))

	other := &browser{t: t, h: admin.New(f.Config)}
	require.Equal(t, 403, other.send("POST", "/key", form).Code, "a form of an earlier run")
}

// TestSignIn has a token become a cookie that says nothing of it, lasts through a restart, and lets viewers look only.
func TestSignIn(t *testing.T) {
	f := whole(t)
	f.Token, f.Viewers = pageToken, []string{pageViewer}
	b := &browser{t: t, h: admin.New(f.Config)}
	w := b.get("/turns?pool=openai")
	require.Equal(t, 303, w.Code)
	require.Equal(t, "/signin?next=%2Fturns%3Fpool%3Dopenai", w.Header().Get("Location"))
	require.Contains(t, b.get(w.Header().Get("Location")).Body.String(), `value="/turns?pool=openai"`)
	require.Equal(t, 401, b.get("/api/v1/pools").Code, "the API says it as ever")

	w = b.signIn("wrong")
	require.Equal(t, 401, w.Code)
	require.Contains(t, w.Body.String(), "The token is wrong.")
	require.Empty(t, b.cookies)
	b.origin = "http://evil.test"
	require.Equal(t, 403, b.signIn(pageToken).Code)
	b.origin = ""

	w = b.signIn(pageToken)
	require.Equal(t, 303, w.Code)
	require.Equal(t, "/turns?pool=openai", w.Header().Get("Location"))
	c := b.cookies[0]
	require.True(t, c.HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, c.SameSite)
	require.NotContains(t, c.Value, pageToken)
	for _, path := range allViews {
		require.Equal(t, 200, b.get(path).Code, path)
	}
	require.Equal(t, 200, b.get("/api/v1/turns/turn-1").Code, "the JSON twins take the cookie")
	require.Equal(t, 401, b.send("POST", "/api/v1/pools/openai/keys/a/disable", url.Values{}).Code, "but nothing that changes something")
	b.h = admin.New(f.Config)
	body := b.get("/").Body.String()
	require.Contains(t, body, "Sign out", "a restart signs nobody out")
	require.Equal(t, 303, b.send("POST", "/key", url.Values{"csrf": {csrfOf(t, body)}, "pool": {"openai"}, "key": {"a"}, "do": {"disable"}}).Code)
	require.Regexp(t, `action=disable .*by="admin.token, session `, f.log.String())

	viewer := &browser{t: t, h: b.h}
	require.Equal(t, 303, viewer.signIn(pageViewer).Code)
	body = viewer.get("/").Body.String()
	require.NotContains(t, body, "Disable</a>")
	require.NotContains(t, viewer.get("/turns/turn-1").Body.String(), "said in private")
	require.Equal(t, 403, viewer.get("/key?pool=openai&key=a&do=reset").Code)
	require.Equal(t, 403, viewer.send("POST", "/key", url.Values{"csrf": {csrfOf(t, body)}, "pool": {"openai"}, "key": {"a"}, "do": {"enable"}}).Code)
	require.Equal(t, keypool.Disabled, f.key(t, "a").State())
	require.Equal(t, 303, viewer.send("POST", "/signout", url.Values{"csrf": {csrfOf(t, body)}}).Code)
	require.Negative(t, viewer.cookies[0].MaxAge)

	f.Token = "another-token"
	b.h = admin.New(f.Config)
	require.Equal(t, 303, b.get("/").Code, "another token ends every session")
	require.NotContains(t, f.log.String(), pageToken)
}

func TestCookiesThatWereMadeUp(t *testing.T) {
	f := whole(t)
	f.Token = pageToken
	h := admin.New(f.Config)
	b := &browser{t: t, h: h}
	b.signIn(pageToken)
	good := *b.cookies[0]
	for _, value := range []string{"", ".", "..", "9999999999.x.y", good.Value + "x", strings.Replace(good.Value, ".", "9.", 1), strings.Repeat("a", 4000)} {
		c := good
		c.Value = value
		b.cookies = []*http.Cookie{&c}
		require.Equal(t, 303, b.get("/").Code, value)
	}
}

func TestSignInLeadsNowhereElse(t *testing.T) {
	f := whole(t)
	f.Token = pageToken
	for _, next := range []string{"https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)", "/\t/evil.test", "evil", ""} {
		b := &browser{t: t, h: admin.New(f.Config)}
		w := b.send("POST", "/signin", url.Values{"token": {pageToken}, "next": {next}})
		require.Equal(t, "/", w.Header().Get("Location"), next)
	}
}

func TestRebindingReachesNoPage(t *testing.T) {
	f := whole(t)
	for _, path := range append(allViews, "/static/page.js", "/live?view=/") {
		w := f.do(t, "GET", path, func(r *http.Request) { r.Host = "rebound.evil.test" })
		require.Equal(t, 403, w.Code, path)
	}
}

// TestSpendAsCSV has every row, and no name that a spreadsheet would take for a formula.
func TestSpendAsCSV(t *testing.T) {
	f := whole(t)
	m := record.NewMemory()
	m.Write(&record.Turn{ID: "1", Start: time.Now(), End: time.Now(), Client: `=HYPERLINK("http://evil")`, Price: record.Price{Nano: 5, Priced: true}}, nil)
	f.Records.Reader = m
	w := f.do(t, "GET", "/api/v1/spend?by=client&format=csv", nil)
	require.Equal(t, "text/csv; charset=utf-8", w.Header().Get("Content-Type"))
	lines := strings.Split(w.Body.String(), "\n")
	require.Equal(t, "client,usd,turns,failed,input,cache_read,cache_write,output,reasoning,unpriced", lines[0])
	require.Equal(t, `"'=HYPERLINK(""http://evil"")",0.000000005,1,0,0,0,0,0,0,0`, lines[1])
	require.Equal(t, 400, f.do(t, "GET", "/api/v1/spend?format=xml", nil).Code)
}

// TestLiveViews sends a view at once, and anew when it changes; turns as rows.
func TestLiveViews(t *testing.T) {
	f := whole(t)
	m := record.NewMemory()
	f.Records.Reader, f.Records.Follow = m, m.Follow
	server := httptest.NewServer(admin.New(f.Config))
	t.Cleanup(server.Close)
	follow := func(view string) (next func(event string) string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/live?view="+url.QueryEscape(view), nil)
		require.NoError(t, err)
		resp, err := server.Client().Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		require.Equal(t, 200, resp.StatusCode)
		var got bytes.Buffer
		buf := make([]byte, 4096)
		return func(event string) string {
			for {
				if block, _, found := strings.Cut(got.String(), "\n\n"); found {
					got.Next(len(block) + 2)
					if data, ok := strings.CutPrefix(block, "event: "+event+"\ndata: "); ok {
						return data
					}
					continue
				}
				n, err := resp.Body.Read(buf)
				require.NoError(t, err, event)
				got.Write(buf[:n])
			}
		}
	}
	next := follow("/")
	require.Equal(t, `"`+page.Build+`"`, next("hello"))
	require.Contains(t, next("view"), "Disable")
	require.True(t, f.key(t, "b").Disable())
	require.Contains(t, next("view"), "do=enable")

	next = follow("/turns?client=alice&failed=")
	next("hello")
	for i := range 80 {
		m.Write(&record.Turn{ID: fmt.Sprintf("t%d", i), Client: []string{"alice", "bob"}[i%2], Start: time.Now(), End: time.Now()}, nil)
	}
	rows := next("rows")
	require.Contains(t, rows, "/turns/t78")
	require.NotContains(t, rows, "bob")

	for _, bad := range []string{"/nothing", "/spend", "https://evil.test/", "%zz", ""} {
		require.NotEqual(t, 200, f.do(t, "GET", "/live?view="+url.QueryEscape(bad), nil).Code, bad)
	}
}

func TestRunningAsJSON(t *testing.T) {
	f := whole(t)
	body := f.do(t, "GET", "/api/v1/running", nil).Body.String()
	require.Contains(t, body, `"path": "pools[0].keys[0].env"`)
	require.Contains(t, body, `"line": 7`)
	require.Contains(t, body, `"cause": "queue_full"`)
	f.Running = nil
	require.Equal(t, 404, f.do(t, "GET", "/api/v1/running", nil).Code)
	require.Equal(t, 200, f.do(t, "GET", "/running", nil).Code)
}

// TestManyKeys shows those of a large pool that are in trouble, some of the others, and all of them to who asks.
func TestManyKeys(t *testing.T) {
	f := newFixture(t)
	cfg := keypool.Defaults()
	cfg.Name = "large"
	const many = 1000
	for i := range many {
		cfg.Keys = append(cfg.Keys, keypool.KeyConfig{Name: fmt.Sprintf("key-%d", i), Secret: fmt.Sprintf("sk-large-secret-%d", i)})
	}
	p, err := keypool.NewPool(cfg, f.clock)
	require.NoError(t, err)
	f.Pools = func() []*keypool.Pool { return []*keypool.Pool{p} }
	last, ok := p.Key("key-999")
	require.True(t, ok)
	last.Disable()
	rows := func(path string) (string, int) {
		body := f.do(t, "GET", path, nil).Body.String()
		return body, strings.Count(body, `<tr id="k-`)
	}
	body, n := rows("/")
	require.Equal(t, 101, n)
	require.Contains(t, body, `title="key-999"`)
	require.Contains(t, body, "899 more keys")
	_, n = rows("/?all=large")
	require.Equal(t, many, n)
}
