package admin

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// sessionTime is how long a browser stays signed in.
const sessionTime = 12 * time.Hour

// person is who sent a request.
type person struct {
	viewer bool
	csrf   string // what the forms of the page must carry; "" for who came with a bearer token
	name   string // for the log: the setting that lets it in, and the session where there is one
	signed bool   // by a cookie
}

type asker struct{}

// who returns the person of a request that withToken let in.
func who(r *http.Request) person {
	p, _ := r.Context().Value(asker{}).(person)
	return p
}

// by says who did something, as far as Keyturn can know.
func by(r *http.Request) slog.Attr { return slog.String("by", who(r).name) }

// as lets a request in as p.
func as(r *http.Request, p person) *http.Request {
	ctx := context.WithValue(r.Context(), asker{}, p)
	if p.viewer {
		ctx = context.WithValue(ctx, viewing{}, true)
	}
	return r.WithContext(ctx)
}

// secretOf is what proves the sessions of a token. It lasts as long as the token does, so that a restart signs nobody out, and who
// has it does not have the token.
func secretOf(token string) []byte {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte("keyturn/admin/session/1"))
	return m.Sum(nil)
}

func prove(secret []byte, what string) string {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(what))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// newSession is the value of a cookie: when it ends, a name of its own, and the proof of both.
func newSession(secret []byte, ends time.Time) string {
	var name [9]byte
	_, _ = rand.Read(name[:]) // never fails
	said := strconv.FormatInt(ends.Unix(), 10) + "." + base64.RawURLEncoding.EncodeToString(name[:])
	return said + "." + prove(secret, said)
}

// session reads what newSession wrote, and returns its name; false for one that is over, or of another token.
func session(value string, secret []byte, now time.Time) (name string, ok bool) {
	at := strings.LastIndexByte(value, '.')
	if at < 0 || subtle.ConstantTimeCompare([]byte(value[at+1:]), []byte(prove(secret, value[:at]))) != 1 {
		return "", false
	}
	ends, name, _ := strings.Cut(value[:at], ".")
	seconds, err := strconv.ParseInt(ends, 10, 64)
	return name, err == nil && now.Before(time.Unix(seconds, 0))
}

// credentials are what lets people in.
type credentials struct {
	token   [sha256.Size]byte // hashes have one length, so the comparison does not tell the token's
	viewers [][sha256.Size]byte
	admin   []byte // secrets of the sessions
	views   [][]byte
	own     []byte // secret of this process, for the forms where there is no token
}

func newCredentials(token string, viewers []string) *credentials {
	c := &credentials{token: sha256.Sum256([]byte(token)), admin: secretOf(token), own: make([]byte, sha256.Size)}
	_, _ = rand.Read(c.own) // never fails
	for _, v := range viewers {
		c.viewers = append(c.viewers, sha256.Sum256([]byte(v)))
		c.views = append(c.views, secretOf(v))
	}
	return c
}

// open is who asks where there is no token.
func (c *credentials) open() person {
	return person{csrf: prove(c.own, "csrf"), name: "this machine"}
}

// ofToken is who has a token. secret proves the sessions that it may begin.
func (c *credentials) ofToken(token string) (p person, secret []byte, ok bool) {
	given := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(given[:], c.token[:]) == 1 {
		return person{name: "admin.token"}, c.admin, true
	}
	for i := range c.viewers {
		if subtle.ConstantTimeCompare(given[:], c.viewers[i][:]) == 1 {
			return person{viewer: true, name: viewerName(i)}, c.views[i], true
		}
	}
	return person{}, nil, false
}

func viewerName(i int) string { return "admin.viewers[" + strconv.Itoa(i) + "]" }

// ofCookie is who is signed in.
func (c *credentials) ofCookie(r *http.Request, now time.Time) (person, bool) {
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return person{}, false
	}
	if name, ok := session(cookie.Value, c.admin, now); ok {
		return person{name: "admin.token, session " + name, csrf: prove(c.admin, "csrf."+name), signed: true}, true
	}
	for i, secret := range c.views {
		if name, ok := session(cookie.Value, secret, now); ok {
			return person{viewer: true, name: viewerName(i) + ", session " + name, csrf: prove(secret, "csrf."+name), signed: true}, true
		}
	}
	return person{}, false
}

// cookieName differs by port: browsers do not keep apart the cookies of one machine's ports.
func cookieName(r *http.Request) string {
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		return "keyturn"
	}
	return "keyturn_" + hex.EncodeToString([]byte(port))
}

// setCookie signs in, or with an empty value out.
func setCookie(w http.ResponseWriter, r *http.Request, value string) {
	c := &http.Cookie{ //nolint:gosec // Secure where TLS is: the page is for loopback without it, too
		Name: cookieName(r), Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: int(sessionTime / time.Second),
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
