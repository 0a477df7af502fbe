package admin

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/page"
)

// viewer makes a view of the operator's page for a request.
type viewer struct {
	make  func(r *http.Request) *page.Frame
	every time.Duration // how often it is looked at anew while somebody has it open; 0: it does not change
}

// Paths of the page that are no views.
const (
	signInPath  = "/signin"
	signOutPath = "/signout"
	keyPath     = "/key"
	reloadPath  = "/reload"
	livePath    = "/live"
)

// maxForm bounds what a form of the page sends, in bytes.
const maxForm = 16 << 10

// routePages adds the operator's page: public is what everybody may ask for.
func (h *handler) routePages(public, rest *http.ServeMux) {
	h.pages = map[string]viewer{
		"/":        {h.poolsPage, time.Second},
		"/turns":   {h.turnsPage, 0},
		"/tools":   {h.toolsPage, 2 * time.Second},
		"/spend":   {h.spendPage, 0},
		"/running": {h.runningPage, 3 * time.Second},
	}
	assets := page.Assets()
	public.HandleFunc("GET "+page.AssetPath, assets.ServeHTTP)
	public.HandleFunc(signInPath, h.signIn)
	for path, v := range h.pages {
		pattern := path
		if path == "/" {
			pattern = "/{$}"
		}
		rest.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) { h.show(w, http.StatusOK, v.make(r)) })
	}
	rest.HandleFunc("GET /turns/{id}", h.turnPage)
	rest.HandleFunc("GET "+livePath, h.live)
	rest.HandleFunc("GET "+keyPath, h.askKey)
	rest.HandleFunc("POST "+keyPath, h.form(h.doKey))
	rest.HandleFunc("GET "+reloadPath, h.askReload)
	rest.HandleFunc("POST "+reloadPath, h.form(h.doReload))
	rest.HandleFunc("POST "+signOutPath, h.form(h.signOut))
	h.paths = append(h.paths, "GET /, the page for operators")
}

// isPage says whether the request is for the operator's page.
func (h *handler) isPage(r *http.Request) bool {
	switch path := r.URL.Path; path {
	case keyPath, reloadPath, livePath, signOutPath:
		return true
	default:
		_, known := h.pages[path]
		return known || strings.HasPrefix(path, "/turns/")
	}
}

// show writes a page.
func (h *handler) show(w http.ResponseWriter, status int, f *page.Frame) {
	var out bytes.Buffer
	if err := page.Write(&out, f); err != nil {
		h.Log.Error("a page could not be written", slog.String("view", f.View), slog.String("error", err.Error()))
		fail(w, http.StatusInternalServerError, "page_failed", "the page could not be written; the log says why, and the API has the same")
		return
	}
	page.Headers(w.Header())
	w.WriteHeader(status)
	_, _ = out.WriteTo(w) // a browser that left needs none
}

// hostName is a Host as it may stand in a command line.
var hostName = regexp.MustCompile(`^[A-Za-z0-9.:\[\]_-]+$`)

// frame is what surrounds a view: its path and its twin get the query's known parameters.
func (h *handler) frame(r *http.Request, view, title, twin string) *page.Frame {
	p := who(r)
	f := &page.Frame{View: view, Title: title, Version: h.Version, Signed: p.signed, CSRF: p.csrf, Acts: !p.viewer, Token: h.Token != "", Lost: h.lost(), Flash: flashes[r.URL.Query().Get("did")]}
	if h.Token != "" {
		f.Role = "admin"
		if p.viewer {
			f.Role = "viewer"
		}
	}
	host := r.Host
	if !hostName.MatchString(host) {
		host = "localhost:9420"
	}
	f.Base = "http://" + host
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		f.Base = "https://" + host
	}
	query := r.URL.Query()
	query.Del("did")
	if v, known := h.pages[r.URL.Path]; known {
		if v.every > 0 || view == "turns" {
			f.Here = withQuery(r.URL.Path, query)
		}
		query.Del("all")
		for name, of := range query { // an empty field of a form selects all
			if len(of) == 1 && of[0] == "" {
				query.Del(name)
			}
		}
		twin = withQuery(twin, query)
	}
	f.Twin = twin
	return f
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// changes says whether who asks may change something.
func changes(r *http.Request) bool { return !who(r).viewer }

// problem writes a page that says what is wrong, and what to do about it.
func (h *handler) problem(w http.ResponseWriter, r *http.Request, status int, title, says string) {
	f := h.frame(r, "problem", title, "")
	f.Data = says
	h.show(w, status, f)
}

// form lets a form of the page through that a person sent from the page itself.
func (h *handler) form(do http.HandlerFunc) http.HandlerFunc {
	origin := http.NewCrossOriginProtection()
	return func(w http.ResponseWriter, r *http.Request) {
		p := who(r)
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		switch {
		case origin.Check(r) != nil:
			h.problem(w, r, http.StatusForbidden, "Refused", "A page of another origin sent this. Nothing was changed.")
		case r.ParseForm() != nil:
			h.problem(w, r, http.StatusBadRequest, "Refused", "The form cannot be read. Nothing was changed.")
		case p.csrf == "" || !equal(r.PostForm.Get("csrf"), p.csrf):
			h.problem(w, r, http.StatusForbidden, "Refused", "The form is of another session, or of an earlier run of Keyturn. Nothing was changed: go back, load the page again, and try again.")
		default:
			do(w, r)
		}
	}
}

// flashes are the answers to what was done, by what stands in the path then.
var flashes = map[string]string{
	"disable": "The key is disabled.", "enable": "The key is enabled.", "reset": "The key's failures are forgotten.",
	"reload": "The configuration was read again and taken.", "later": "The configuration was read again; some of it is for the next start.", "refused": "The configuration was refused; the one before stays.",
}

// inquiry is what the page asks before it does something.
type inquiry struct {
	Question, Consequence, Action, Do, Back string
	Fields                                  []hidden
}

type hidden struct{ Name, Value string }

// ask writes a question: as a page, or for one that is open as a part of it.
func (h *handler) ask(w http.ResponseWriter, r *http.Request, q *inquiry) {
	if !changes(r) {
		h.problem(w, r, http.StatusForbidden, "Look only", "This token (admin.viewers) changes nothing; sign in with admin.token.")
		return
	}
	f := h.frame(r, "confirm", q.Question, "")
	f.Data = q
	if r.Header.Get("X-Fragment") == "" {
		h.show(w, http.StatusOK, f)
		return
	}
	page.Headers(w.Header())
	if err := page.Fragment(w, f); err != nil {
		h.Log.LogAttrs(r.Context(), slog.LevelError, "a question could not be written", slog.String("error", err.Error()))
	}
}

// consequences say what an action does to a key.
var consequences = map[string]struct{ do, says string }{
	"disable": {"Disable", "No request gets this key until it is enabled again; those under way go on. Reading the configuration again does not enable it; a restart does."},
	"enable":  {"Enable", "Requests get this key again. What it failed at before stays remembered: a key that rests goes on resting."},
	"reset":   {"Reset", "Everything that this key and its group failed at is forgotten: the next request may get it at once. If the provider still refuses it, that request is retried with the next key."},
}

func (h *handler) askKey(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	pool, name, do := q.Get("pool"), q.Get("key"), q.Get("do")
	c, known := consequences[do]
	p, key := h.find(pool, name)
	if !known || key == nil {
		h.problem(w, r, http.StatusNotFound, "Not found", "There is no such key, or nothing like that can be done to it.")
		return
	}
	says := c.says
	if do == "disable" && lastUsable(p, name) {
		says = "This is the last key of the pool that can be used: its requests will fail, unless the pool has a fallback. " + says
	}
	h.ask(w, r, &inquiry{
		Question: c.do + " the key " + name + " of " + pool + "?", Consequence: says, Action: keyPath, Do: c.do, Back: "/",
		Fields: []hidden{{"pool", pool}, {"key", name}, {"do", do}},
	})
}

func (h *handler) doKey(w http.ResponseWriter, r *http.Request) {
	do := r.PostForm.Get("do")
	p, key := h.find(r.PostForm.Get("pool"), r.PostForm.Get("key"))
	if key == nil || actions[do] == nil {
		h.problem(w, r, http.StatusNotFound, "Not found", "There is no such key any more, or nothing like that can be done to it.")
		return
	}
	h.act(r, do, p, key)
	http.Redirect(w, r, "/?did="+do, http.StatusSeeOther) //nolint:gosec // do is one of actions
}

func (h *handler) askReload(w http.ResponseWriter, r *http.Request) {
	if h.Reload == nil {
		h.problem(w, r, http.StatusNotFound, "Not found", "The configuration cannot be read again here.")
		return
	}
	h.ask(w, r, &inquiry{
		Question: "Read the configuration again?", Action: reloadPath, Do: "Reload", Back: "/running",
		Consequence: "All of it is checked first. With a fault nothing changes, and the fault is shown; else it is taken, and keys that stay keep their state.",
	})
}

func (h *handler) doReload(w http.ResponseWriter, r *http.Request) {
	if h.Reload == nil {
		h.problem(w, r, http.StatusNotFound, "Not found", "The configuration cannot be read again here.")
		return
	}
	did := "reload"
	switch later, err := h.reloadFor(r); {
	case err != nil:
		did = "refused"
	case len(later) > 0:
		did = "later"
	}
	http.Redirect(w, r, "/running?did="+did, http.StatusSeeOther)
}

// signInView is what the page for signing in shows.
type signInView struct{ Problem, Next string }

// toSignIn leads a browser to where one signs in, and back from there.
func (h *handler) toSignIn(w http.ResponseWriter, r *http.Request) {
	next := ""
	if r.URL.Path != livePath {
		next = "?" + url.Values{"next": {r.URL.RequestURI()}}.Encode()
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, signInPath+next, http.StatusSeeOther)
}

// signIn shows the page for signing in, and signs in.
func (h *handler) signIn(w http.ResponseWriter, r *http.Request) {
	if h.Token == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	view := signInView{Next: r.URL.Query().Get("next")}
	status := http.StatusOK
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if http.NewCrossOriginProtection().Check(r) != nil || r.ParseForm() != nil {
			view.Problem, status = "The form cannot be read, or a page of another origin sent it.", http.StatusForbidden
			break
		}
		view.Next = r.PostForm.Get("next")
		p, secret, ok := h.let.ofToken(strings.TrimSpace(r.PostForm.Get("token")))
		if ok {
			h.Log.LogAttrs(r.Context(), slog.LevelInfo, "operator signed in", slog.String("by", p.name), from(r))
			setCookie(w, r, newSession(secret, time.Now().Add(sessionTime)))
			http.Redirect(w, r, local(view.Next), http.StatusSeeOther) //nolint:gosec // local leads nowhere else
			return
		}
		h.Log.LogAttrs(r.Context(), slog.LevelWarn, "a wrong token at the page", from(r))
		view.Problem, status = "The token is wrong.", http.StatusUnauthorized
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "use GET or POST here")
		return
	}
	h.show(w, status, &page.Frame{View: "signin", Title: "Sign in", Data: view})
}

// local is where somebody who has signed in goes on: a path of this page, whatever the link said that led there.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

func (h *handler) signOut(w http.ResponseWriter, r *http.Request) {
	h.Log.LogAttrs(r.Context(), slog.LevelInfo, "operator signed out", from(r), by(r))
	setCookie(w, r, "")
	http.Redirect(w, r, signInPath, http.StatusSeeOther)
}
