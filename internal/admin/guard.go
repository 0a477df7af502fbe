package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// withToken asks for the bearer token (RFC 6750 section 2.1), when there is one.
func (h *handler) withToken(next http.Handler) http.Handler {
	if h.Token == "" {
		return next
	}
	want := sha256.Sum256([]byte(h.Token)) // hashes have one length, so the comparison does not tell the token's
	viewers := make([][sha256.Size]byte, 0, len(h.Viewers))
	for _, v := range h.Viewers {
		viewers = append(viewers, sha256.Sum256([]byte(v)))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		given := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(given[:], want[:]) == 1 {
			next.ServeHTTP(w, r)
			return
		}
		if strings.EqualFold(scheme, "Bearer") && slices.ContainsFunc(viewers, func(v [sha256.Size]byte) bool {
			return subtle.ConstantTimeCompare(given[:], v[:]) == 1
		}) {
			serveViewer(w, r, next)
			return
		}
		challenge, message := `Bearer realm="keyturn"`, "no token came; send Authorization: Bearer with the value of admin.token"
		if r.Header.Get("Authorization") != "" {
			challenge += `, error="invalid_token"`
			message = "the token is wrong; send Authorization: Bearer with the value of admin.token"
		}
		w.Header().Set("WWW-Authenticate", challenge)
		fail(w, http.StatusUnauthorized, "unauthorized", message)
	})
}

// viewing marks the requests of who may see, and neither change anything nor read what was said.
type viewing struct{}

func serveViewer(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		fail(w, http.StatusForbidden, "viewer", "this token (admin.viewers) changes nothing; use admin.token")
		return
	}
	next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), viewing{}, true)))
}

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
