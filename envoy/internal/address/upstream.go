package address

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// CheckUpstream says what keeps a URL from being a provider's.
func CheckUpstream(u *url.URL) error {
	switch {
	case u == nil:
		return errors.New("an address is needed, https://host[:port][/base/path]")
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("must begin with https:// or http://, not %q", u.Scheme+"://")
	case u.Hostname() == "":
		return errors.New("has no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("may have a host, a port and a base path, nothing else")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("port %q must be a number from 1 to 65535", port)
		}
	}
	return nil
}

// OfUpstream is where a URL's server listens.
func OfUpstream(u *url.URL) Address {
	a := Address{Host: strings.ToLower(u.Hostname()), Port: 443}
	if u.Scheme == "http" {
		a.Port = 80
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		a.Port = uint32(n)
	}
	if ip, err := netip.ParseAddr(a.Host); err == nil {
		a.IP = ip
	}
	return a
}

// BasePath is an upstream's path without its final slash: what the provider's paths begin with.
func BasePath(u *url.URL) string { return strings.TrimRight(u.EscapedPath(), "/") }
