package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/keypool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretA = "sk-live-AAAAAAAAAAAAAAAAAAAAAA-one"
	secretB = "sk-live-BBBBBBBBBBBBBBBBBBBBBB-two"
	secretC = "sk-ant-CCCCCCCCCCCCCCCCCCCCCCC-three"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fixture is an endpoint over the pools openai (keys a and b) and anthropic (key c).
type fixture struct {
	admin.Config
	clock  *quartz.Mock
	openai *keypool.Pool
	log    bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{clock: quartz.NewMock(t)}
	f.clock.Set(epoch).MustWait(t.Context())
	pool := func(name string, keys ...keypool.KeyConfig) *keypool.Pool {
		cfg := keypool.Defaults()
		cfg.Name, cfg.Keys = name, keys
		p, err := keypool.NewPool(cfg, f.clock)
		require.NoError(t, err)
		return p
	}
	f.openai = pool("openai", keypool.KeyConfig{Name: "a", Secret: secretA, Group: "org1"}, keypool.KeyConfig{Name: "b", Secret: secretB})
	pools := []*keypool.Pool{f.openai, pool("anthropic", keypool.KeyConfig{Name: "c", Secret: secretC})}
	f.Config = admin.Config{
		Pools:   func() []*keypool.Pool { return pools },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "keyturn_attempts_total 1\n") }),
		Log:     slog.New(slog.NewTextHandler(&f.log, nil)),
		Version: "v1.2.3",
		Reload:  func(context.Context) ([]string, error) { return nil, nil },
	}
	return f
}

func (f *fixture) key(t *testing.T, name string) *keypool.Key {
	t.Helper()
	k, ok := f.openai.Key(name)
	require.True(t, ok)
	return k
}

// request makes one, to localhost and without an Origin; change may alter it.
func request(t *testing.T, method, path string, change func(*http.Request)) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	r.Host = "localhost:9420"
	if change != nil {
		change(r)
	}
	return r
}

func (f *fixture) do(t *testing.T, method, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	admin.New(f.Config).ServeHTTP(w, request(t, method, path, change))
	return w
}

// errorOf reads the error of an answer: every one is JSON with a code and a message.
func errorOf(t *testing.T, w *httptest.ResponseRecorder) (code, message string) {
	t.Helper()
	require.Equal(t, "application/json", w.Header().Get("Content-Type"), w.Body)
	var body struct {
		Error struct{ Code, Message string }
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body), w.Body)
	require.NotEmpty(t, body.Error.Message)
	return body.Error.Code, body.Error.Message
}

func TestRoutes(t *testing.T) {
	for _, tc := range []struct {
		method, path string
		status       int
		code         string // of the error
		message      string // a part of it
		allow        string
	}{
		{"GET", "/healthz", 200, "", "", ""},
		{"HEAD", "/healthz", 200, "", "", ""},
		{"GET", "/readyz", 200, "", "", ""},
		{"GET", "/metrics", 200, "", "", ""},
		{"GET", "/api/v1/pools", 200, "", "", ""},
		{"GET", "/api/v1/pools/anthropic", 200, "", "", ""},
		{"POST", "/api/v1/pools/openai/keys/a/disable", 200, "", "", ""},
		{"POST", "/api/v1/pools/openai/keys/a/enable", 200, "", "", ""},
		{"POST", "/api/v1/pools/openai/keys/a/reset", 200, "", "", ""},
		{"POST", "/api/v1/reload", 200, "", "", ""},

		{"POST", "/healthz", 405, "method_not_allowed", "use GET, HEAD", "GET, HEAD"},
		{"DELETE", "/api/v1/pools/openai", 405, "method_not_allowed", "use GET, HEAD", "GET, HEAD"},
		{"POST", "/metrics", 405, "method_not_allowed", "use GET, HEAD", "GET, HEAD"},
		{"GET", "/api/v1/pools/openai/keys/a/disable", 405, "method_not_allowed", "use POST", "POST"},
		{"HEAD", "/api/v1/reload", 405, "method_not_allowed", "use POST", "POST"},
		{"OPTIONS", "/api/v1/reload", 405, "method_not_allowed", "use POST", "POST"},

		{"GET", "/", 200, "", "", ""},
		{"GET", "/nothing", 404, "not_found", "GET /api/v1/pools/{pool}", ""},
		{"GET", "/api/v1/pools/", 404, "not_found", "GET /api/v1/pools", ""},
		{"POST", "/api/v1/pools/openai/keys/a", 404, "not_found", "POST /api/v1/pools/{pool}/keys/{name}/{action}", ""},
		{"GET", "/api/v1/pools/azure", 404, "pool_not_found", "there are openai, anthropic", ""},
		{"POST", "/api/v1/pools/azure/keys/a/disable", 404, "pool_not_found", "there are openai, anthropic", ""},
		{"POST", "/api/v1/pools/openai/keys/c/disable", 404, "key_not_found", "there are a, b", ""},
		{"POST", "/api/v1/pools/openai/keys/a/burn", 404, "action_not_found", "there are disable, enable, reset", ""},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			w := newFixture(t).do(t, tc.method, tc.path, nil)
			require.Equal(t, tc.status, w.Code, w.Body)
			require.Equal(t, tc.allow, w.Header().Get("Allow"))
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			if tc.code != "" {
				code, message := errorOf(t, w)
				require.Equal(t, tc.code, code)
				require.Contains(t, message, tc.message)
			}
		})
	}
}

func TestHealthIsPlain(t *testing.T) {
	w := newFixture(t).do(t, "GET", "/healthz", nil)
	require.Equal(t, "ok", w.Body.String())
	require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
}

func TestPathsWithoutAUseAreMissing(t *testing.T) {
	f := newFixture(t)
	f.Config = admin.Config{}
	for _, path := range []string{"/metrics", "/api/v1/reload"} {
		code, message := errorOf(t, f.do(t, "GET", path, nil))
		require.Equal(t, "not_found", code)
		require.NotContains(t, message, path)
	}
	require.Equal(t, 200, f.do(t, "GET", "/readyz", nil).Code)
	require.JSONEq(t, `{"version":"","pools":[]}`, f.do(t, "GET", "/api/v1/pools", nil).Body.String())
	_, message := errorOf(t, f.do(t, "GET", "/api/v1/pools/openai", nil))
	require.Equal(t, "no such pool; there are none", message)
}

func TestReload(t *testing.T) {
	f := newFixture(t)
	require.JSONEq(t, `{"reloaded":true}`, f.do(t, "POST", "/api/v1/reload", nil).Body.String())
	require.Contains(t, f.log.String(), "level=INFO msg=\"operator asked to reload: done\" from=192.0.2.1:1234 by=\"this machine\"\n")

	f.Reload = func(context.Context) ([]string, error) { return []string{"listen"}, nil }
	require.JSONEq(t, `{"reloaded":true,"at_next_start":["listen"]}`, f.do(t, "POST", "/api/v1/reload", nil).Body.String())
	f.Reload = func(context.Context) ([]string, error) {
		return nil, errors.New("keyturn.yaml:3: pools: at least one is needed")
	}
	w := f.do(t, "POST", "/api/v1/reload", nil)
	require.Equal(t, 422, w.Code)
	code, message := errorOf(t, w)
	require.Equal(t, "configuration_refused", code)
	require.Contains(t, message, "keyturn.yaml:3: pools: at least one is needed")
	require.Contains(t, f.log.String(), "level=ERROR msg=\"operator asked to reload: refused")
}

// No answer and no line of the log holds a key, whatever is asked, even when the key itself stands in the path.
func TestNoSecretLeaves(t *testing.T) {
	f := newFixture(t)
	f.Token = "operator-token"
	retire(f.openai, f.key(t, "b"))
	var said strings.Builder
	for _, token := range []string{"", "operator-token", secretA} {
		for _, method := range []string{"GET", "POST"} {
			for _, path := range []string{
				"/healthz", "/readyz", "/metrics", "/api/v1/pools", "/api/v1/pools/openai", "/api/v1/pools/" + secretA, "/" + secretA,
				"/api/v1/pools/openai/keys/" + secretA + "/disable", "/api/v1/pools/openai/keys/a/" + secretA,
				"/api/v1/pools/" + secretA + "/keys/a/reset", "/api/v1/pools/openai/keys/a/disable", "/api/v1/pools/openai/keys/b/reset",
			} {
				w := f.do(t, method, path, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
				said.WriteString(w.Body.String())
				require.NoError(t, w.Header().Write(&said))
			}
		}
	}
	said.WriteString(f.log.String())
	require.Contains(t, said.String(), keypool.Mask(secretA))
	for _, secret := range []string{secretA, secretB, secretC, "AAAAAAAA", "BBBBBBBB", "CCCCCCCC", "operator-token"} {
		require.NotContains(t, said.String(), secret)
	}
}

func TestConcurrentUse(t *testing.T) {
	f := newFixture(t)
	f.Log = nil
	h := admin.New(f.Config)
	ask := map[string]string{
		"/api/v1/pools": "GET", "/readyz": "GET", "/api/v1/pools/openai/keys/a/disable": "POST",
		"/api/v1/pools/openai/keys/a/enable": "POST", "/api/v1/pools/openai/keys/a/reset": "POST", "/api/v1/reload": "POST",
	}
	start := make(chan struct{})
	var wg sync.WaitGroup
	wrong := make(chan string, len(ask))
	for path, method := range ask {
		r := request(t, method, path, nil)
		wg.Go(func() {
			<-start
			for range 500 {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					wrong <- w.Body.String()
					return
				}
			}
		})
	}
	close(start)
	wg.Wait()
	close(wrong)
	for body := range wrong {
		require.Fail(t, body)
	}
}
