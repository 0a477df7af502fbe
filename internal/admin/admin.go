// Package admin is the operator's HTTP endpoint: health, readiness, metrics, the state of the pools, and switches for keys.
package admin

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"

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
	Tools func() []mcp.ServerDetail
	// About gives what there is to say of the pools beside their keys, in the order of the configuration. Nil: nothing.
	About func() []PoolAbout
	// TraceURL leads to a trace, with {trace_id} in the place of its id. Empty: traces have no links.
	TraceURL string
	// Running gives what is in force. Nil: there is no such path.
	Running func(context.Context) Running
	// Clients gives the clients that have limits, by name. Nil: there is no such path.
	Clients func() []Client
	// Metrics serves GET /metrics. Nil: there is no such path.
	Metrics http.Handler
	// Log gets one line for each thing an operator did. Nil discards them.
	Log *slog.Logger
	// Version is the running version, shown beside the pools.
	Version string
	// Reload reads the configuration again, for POST /api/v1/reload. It is called from many goroutines; what it says that
	// takes effect at the next start only, and its error, go to the log and to the operator, so they must not hold a secret. Nil: there
	// is no such path.
	Reload func(context.Context) (later []string, err error)
}

type handler struct {
	Config
	paths []string // what exists, for who asks for something else
	let   *credentials
	pages map[string]viewer // by path
	today today
	// following counts those who follow turns or a view.
	following atomic.Int32
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
	h := &handler{Config: cfg, let: newCredentials(cfg.Token, cfg.Viewers)}

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
	if cfg.Running != nil {
		h.route(rest, http.MethodGet, "/api/v1/running", h.showRunning)
	}
	h.routePages(probes, rest)
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
	later, err := h.reloadFor(r)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, "configuration_refused",
			"the old configuration stays; correct the file and try again: "+err.Error())
		return
	}
	answer(w, http.StatusOK, struct {
		Reloaded bool     `json:"reloaded"`
		Later    []string `json:"at_next_start,omitempty"`
	}{true, later})
}

// reloadFor reads the configuration again for who asked, and logs it.
func (h *handler) reloadFor(r *http.Request) (later []string, err error) {
	later, err = h.Reload(r.Context())
	if err != nil {
		h.Log.LogAttrs(r.Context(), slog.LevelError, "operator asked to reload: refused, the old configuration stays",
			from(r), by(r), slog.String("error", err.Error()))
		return nil, err
	}
	h.Log.LogAttrs(r.Context(), slog.LevelInfo, "operator asked to reload: done", from(r), by(r))
	return later, nil
}

// from says who asked, as far as the connection knows: an address, or "@" behind a Unix socket.
func from(r *http.Request) slog.Attr { return slog.String("from", r.RemoteAddr) }
