package admin_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/admin"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestEnvoyIsSeenAndNotChanged: of Envoy's admin interface, what was named can be read from this machine, and nothing else happens.
func TestEnvoyIsSeenAndNotChanged(t *testing.T) {
	var asked []string
	envoy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
		_, _ = io.WriteString(w, "yes")
	}))
	t.Cleanup(envoy.Close)
	reach := roundTrip(func(r *http.Request) (*http.Response, error) {
		r.URL.Host = envoy.Listener.Addr().String()
		return http.DefaultTransport.RoundTrip(r)
	})
	h := admin.Envoy(reach, []string{"/ready", "/stats", "/config_dump"}, slog.New(slog.DiscardHandler))
	for _, tc := range []struct {
		method, target, host, origin string
		status                       int
	}{
		{"GET", "/ready", "127.0.0.1:9901", "", 200},
		{"HEAD", "/ready", "localhost:9901", "", 200},
		{"GET", "/stats?filter=a$", "[::1]", "", 200},
		{"POST", "/ready", "127.0.0.1", "", 405},
		{"POST", "/quitquitquit", "127.0.0.1", "", 404},
		{"GET", "/quitquitquit", "127.0.0.1", "", 404},
		{"GET", "/stats/recentlookups/enable", "127.0.0.1", "", 404},
		{"GET", "/", "127.0.0.1", "", 404},
		{"GET", "/ready", "evil.example", "", 403},
		{"POST", "/ready", "127.0.0.1", "https://evil.example", 403},
	} {
		r := httptest.NewRequest(tc.method, tc.target, nil)
		r.Host = tc.host
		if tc.origin != "" {
			r.Header.Set("Origin", tc.origin)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, tc.status, w.Code, "%s %s", tc.method, tc.target)
	}
	require.Equal(t, []string{"GET /ready", "HEAD /ready", "GET /stats?filter=a$"}, asked)

	down := admin.Envoy(roundTrip(func(*http.Request) (*http.Response, error) { return nil, io.EOF }), []string{"/ready"}, slog.New(slog.DiscardHandler))
	r := httptest.NewRequest(http.MethodGet, "/ready", nil)
	r.Host = "127.0.0.1"
	w := httptest.NewRecorder()
	down.ServeHTTP(w, r)
	require.Equal(t, http.StatusBadGateway, w.Code)
}
