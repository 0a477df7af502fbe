package extproc

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
)

// relocate keeps an answer that names a place within the gateway: a path of the provider's becomes the path by which clients reach it here.
// Any other place is left out, and a redirect to it is answered in the provider's place; then it returns false. The provider would get the
// next request without a key, or somebody else a client's credential.
func (x *exchange) relocate(m *message) bool {
	var location []byte
	named := 0
	for i := range m.headers {
		if string(m.headers[i].name) == wire.LocationHeader {
			location = m.headers[i].value
			named++
		}
	}
	if named == 0 {
		return true
	}
	place, host := x.within(string(location))
	switch {
	case named == 1 && place != "":
		x.mut.set(wire.LocationHeader, "", place)
		return true
	case !redirects(x.status):
		x.mut.remove(wire.LocationHeader)
		return true
	}
	x.elsewhere = host
	x.mut.reset()
	x.mut.set(wire.ShouldRetryHeader, "", "false")
	x.instead(x.status, "redirect_withheld", dialect.Error{
		Type: "api_error", Code: "redirect_withheld",
		Message: "The provider redirects to a place that is not behind this gateway, so it is not told: the operator has to mend the pool's upstream, or the path is wrong.",
	})
	return false
}

// redirects reports whether clients follow the location of an answer with this status (RFC 9110 section 15.4).
func redirects(status int) bool {
	switch status {
	case 301, 302, 303, 307, 308:
		return true
	}
	return false
}

// within is the path, query and fragment by which clients reach a location of the provider's through the gateway; "" if they cannot. It
// returns the location's host too, as far as it has one.
func (x *exchange) within(location string) (place, host string) {
	to, err := url.Parse(location)
	if err != nil {
		return "", "?"
	}
	authority := string(x.authority)
	base := url.URL{Scheme: "https", Host: authority, Path: x.path}
	if parsed, err := url.ParseRequestURI(x.path); err == nil {
		base.Path, base.RawPath = parsed.Path, parsed.RawPath
	}
	to = base.ResolveReference(to)
	if to.Opaque != "" || to.User != nil || to.Scheme != "http" && to.Scheme != "https" || !sameHost(to.Host, authority) {
		return "", cmp.Or(to.Host, "?")
	}
	client, provider := prefixes(withoutQuery(string(x.asked)), x.path)
	path, ok := strings.CutPrefix(to.EscapedPath(), provider)
	if !ok || path != "" && path[0] != '/' {
		return "", cmp.Or(to.Host, "?")
	}
	here := url.URL{RawQuery: to.RawQuery, ForceQuery: to.ForceQuery, Fragment: to.Fragment, RawFragment: to.RawFragment}
	place = client + path + here.String()
	if !strings.HasPrefix(place, "/") || strings.HasPrefix(place, "//") { // "//" begins a host
		return "", cmp.Or(to.Host, "?")
	}
	return place, to.Host
}

// prefixes are what a path begins with as the client has sent it and as the provider gets it, before the segments that both have.
func prefixes(asked, sent string) (client, provider string) {
	i, j := len(asked), len(sent)
	cut := 0 // length of the common segments
	for n := 1; n <= min(i, j) && asked[i-n] == sent[j-n]; n++ {
		if asked[i-n] == '/' {
			cut = n
		}
	}
	return asked[:i-cut], sent[:j-cut]
}

func withoutQuery(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return path
}

// sameHost reports whether two authorities are one place. A provider behind something that encrypts often does not know its own scheme, so
// the ports of both schemes are the same as none.
func sameHost(a, b string) bool {
	plain := func(s string) string {
		s = strings.ToLower(s)
		for _, port := range []string{":443", ":80"} {
			s = strings.TrimSuffix(s, port)
		}
		return s
	}
	return a != "" && plain(a) == plain(b)
}
