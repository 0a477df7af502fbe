package admin

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// withToken asks for the bearer token (RFC 6750 section 2.1), when there is one, or for the cookie of who has signed in with it. The API takes
// a cookie only from who reads: what changes something asks for more than a browser adds by itself.
func (h *handler) withToken(next http.Handler) http.Handler {
	if h.Token == "" {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, as(r, h.let.open())) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		p, _, ok := h.let.ofToken(strings.TrimSpace(token))
		ok = ok && strings.EqualFold(scheme, "Bearer")
		if !ok && r.Header.Get("Authorization") == "" && (reads || h.isPage(r)) {
			p, ok = h.let.ofCookie(r, time.Now())
		}
		switch {
		case ok && p.viewer && !reads && r.URL.Path != signOutPath:
			fail(w, http.StatusForbidden, "viewer", "this token (admin.viewers) changes nothing; use admin.token")
		case ok:
			next.ServeHTTP(w, as(r, p))
		case reads && h.isPage(r) && r.Header.Get("Authorization") == "":
			h.toSignIn(w, r)
		default:
			refuseToken(w, r)
		}
	})
}

func refuseToken(w http.ResponseWriter, r *http.Request) {
	challenge, message := `Bearer realm="keyturn"`, "no token came; send Authorization: Bearer with the value of admin.token"
	if r.Header.Get("Authorization") != "" {
		challenge += `, error="invalid_token"`
		message = "the token is wrong; send Authorization: Bearer with the value of admin.token"
	}
	w.Header().Set("WWW-Authenticate", challenge)
	fail(w, http.StatusUnauthorized, "unauthorized", message)
}

// viewing marks the requests of who may see, and neither change anything nor read what was said.
type viewing struct{}

// isViewer reports whether the request's token is one of admin.viewers.
func isViewer(r *http.Request) bool { return r.Context().Value(viewing{}) != nil }

// fromHere refuses what a web page in an operator's browser could send to an endpoint without a token. The page of a name
// that resolves to this machine (DNS rebinding) sends that name as Host; a form on any page sends its Origin. With a token
// neither gets far: a browser adds no bearer token by itself.
func (h *handler) fromHere(next http.Handler) http.Handler {
	if h.Token != "" {
		return next
	}
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !namesThisMachine(r):
			fail(w, http.StatusForbidden, "host_refused",
				"without a token only requests to localhost, 127.0.0.1 or [::1] are served; use one of them, or set admin.token")
		case origin.Check(r) != nil:
			fail(w, http.StatusForbidden, "origin_refused",
				"a web page of another origin sent this; use curl or the like, or set admin.token")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// namesThisMachine reports whether the Host is one that no web page can have sent from elsewhere. Browsers always send one,
// and reach no Unix sockets, whose clients name whatever they like.
func namesThisMachine(r *http.Request) bool {
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && at.Network() == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(r.Host, "["), "]")
	}
	if host == "" || strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
