// Package admin is the operator's HTTP endpoint: health, readiness, metrics, the state of the pools, and switches for keys.
package admin

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// Config is what the endpoint shows and switches. Every field may be zero.
type Config struct {
	// Token is the bearer token that every request but the probes must carry. Empty: none is asked for, and requests must
	// name this machine in Host, so that no web page can make an operator's browser send them.
	Token string
	// Viewers are tokens with which requests see everything but what was said, and change nothing. None where Token is empty.
	Viewers []string
	// Records is what was recorded of requests. Nil: there are no such paths.
	Records *Records
	// Pools gives the pools of now, in the order of the configuration. It is called from many goroutines.
	Pools func() []*keypool.Pool
	// Tools gives the MCP servers of now, in the order of the configuration. Nil: there is no such path.
	Tools func() []mcp.ServerStatus
	// Clients gives the clients that have limits, by name. Nil: there is no such path.
	Clients func() []Client
	// Metrics serves GET /metrics. Nil: there is no such path.
	Metrics http.Handler
	// Log gets one line for each thing an operator did. Nil discards them.
	Log *slog.Logger
	// Version is the running version, shown beside the pools.
	Version string
	// Reload reads the configuration again, for POST /api/v1/reload. It is called from many goroutines; its error goes to the
	// log and to the operator, so it must not hold a secret. Nil: there is no such path.
	Reload func(context.Context) error
}

type handler struct {
	Config
	paths []string // what exists, for who asks for something else
}

// New returns the endpoint's handler. Serve it on a listener of Listen, which keeps an endpoint without a token on this
// machine.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Pools == nil {
		cfg.Pools = func() []*keypool.Pool { return nil }
	}
	h := &handler{Config: cfg}

	probes, rest := http.NewServeMux(), http.NewServeMux()
	h.route(probes, http.MethodGet, "/healthz", h.health)
	h.route(probes, http.MethodGet, "/readyz", h.ready)
	if cfg.Metrics != nil {
		h.route(rest, http.MethodGet, "/metrics", cfg.Metrics.ServeHTTP)
	}
	h.route(rest, http.MethodGet, "/api/v1/pools", h.listPools)
	h.route(rest, http.MethodGet, "/api/v1/pools/{pool}", h.onePool)
	h.route(rest, http.MethodPost, "/api/v1/pools/{pool}/keys/{name}/{action}", h.switchKey)
	if cfg.Tools != nil {
		h.route(rest, http.MethodGet, "/api/v1/tools", h.listTools)
	}
	if cfg.Clients != nil {
		h.route(rest, http.MethodGet, "/api/v1/clients", h.listClients)
	}
	if cfg.Reload != nil {
		h.route(rest, http.MethodPost, "/api/v1/reload", h.reload)
	}
	if cfg.Records != nil {
		h.route(rest, http.MethodGet, "/api/v1/turns", h.listTurns)
		h.route(rest, http.MethodGet, "/api/v1/turns/{id}", h.oneTurn)
		h.route(rest, http.MethodGet, "/api/v1/spend", h.spend)
	}
	rest.HandleFunc("/", h.nothingHere)
	probes.Handle("/", h.withToken(rest))
	return h.fromHere(probes)
}

// route adds a path that takes one method (GET takes HEAD too). The mux could choose by method itself, but would refuse the
// others in plain text.
func (h *handler) route(mux *http.ServeMux, method, path string, serve http.HandlerFunc) {
	h.paths = append(h.paths, method+" "+path)
	allow := method
	if method == http.MethodGet {
		allow = "GET, HEAD"
	}
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method == method || r.Method == http.MethodHead && method == http.MethodGet {
			serve(w, r)
			return
		}
		w.Header().Set("Allow", allow)
		fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "use "+allow+" here")
	})
}

func (h *handler) nothingHere(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusNotFound, "not_found", "no such path; there are "+strings.Join(h.paths, ", "))
}

func (h *handler) reload(w http.ResponseWriter, r *http.Request) {
	if err := h.Reload(r.Context()); err != nil {
		h.Log.LogAttrs(r.Context(), slog.LevelError, "operator asked to reload: refused, the old configuration stays",
			from(r), slog.String("error", err.Error()))
		fail(w, http.StatusUnprocessableEntity, "configuration_refused",
			"the old configuration stays; correct the file and try again: "+err.Error())
		return
	}
	h.Log.LogAttrs(r.Context(), slog.LevelInfo, "operator asked to reload: done", from(r))
	answer(w, http.StatusOK, struct {
		Reloaded bool `json:"reloaded"`
	}{true})
}

// from says who asked, as far as the connection knows: an address, or "@" behind a Unix socket.
func from(r *http.Request) slog.Attr { return slog.String("from", r.RemoteAddr) }
