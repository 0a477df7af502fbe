package admin

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
)

// Envoy returns a handler for what operators may see of an Envoy's own admin interface: GET of these paths, asked by way of
// envoy. That interface asks nobody for a password, and some of its paths end Envoy, log whole requests or hang its threads.
func Envoy(envoy http.RoundTripper, paths []string, log *slog.Logger) http.Handler {
	h := &handler{}
	mux := http.NewServeMux()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "envoy", "envoy"
		},
		Transport: envoy,
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			fail(w, http.StatusBadGateway, "envoy_unreachable", "Envoy does not answer")
		},
	}
	for _, path := range paths {
		h.route(mux, http.MethodGet, path, proxy.ServeHTTP)
	}
	mux.HandleFunc("/", h.nothingHere)
	return h.fromHere(mux)
}
