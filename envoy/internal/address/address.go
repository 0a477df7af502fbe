// Package address reads where something listens, and writes it as Envoy has it.
package address

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Address is a parsed "unix:path" or "host:port", or a listener that only Envoy itself reaches.
type Address struct {
	Path     string     // of a Unix socket
	Host     string     // of a TCP address: an IP or a name
	IP       netip.Addr // host, where it is an IP
	Port     uint32
	Internal string // name of an internal listener
}

// Parse reads an address. An empty host stands for every IPv4 address, as in Go.
func Parse(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		switch {
		case path == "":
			return Address{}, errors.New(`"unix:" needs a path`)
		case len(path) > MaxSocketPath:
			return Address{}, fmt.Errorf("the path of a Unix socket may have %d bytes, this one has %d: shorten it, or make it relative to the folder that Envoy starts in", MaxSocketPath, len(path))
		}
		return Address{Path: path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, fmt.Errorf("%q is neither unix:path nor host:port", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Address{}, fmt.Errorf("%q: the port must be a number from 0 to 65535", s)
	}
	a := Address{Host: host, Port: uint32(n)}
	switch host {
	case "":
		a.Host = "0.0.0.0"
	case "localhost":
		a.Host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(a.Host); err == nil {
		a.IP, a.Host = ip, ip.String()
	}
	return a, nil
}

// Local reports whether only this machine can reach the address.
func (a Address) Local() bool { return a.Path != "" || a.IP.IsValid() && a.IP.IsLoopback() }

// Endpoint is the address as one to connect to.
func (a Address) Endpoint() *corev3.Address {
	switch {
	case a.Internal != "":
		return &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
			AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: a.Internal},
		}}}
	case a.Path != "":
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: a.Path}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: a.Port},
	}}}
}

// Bind is the address as one to listen on, nil for an internal listener, which has none; mode is that of a Unix socket,
// 0 = by the umask.
func (a Address) Bind(mode uint32) *corev3.Address {
	if a.Internal != "" {
		return nil
	}
	b := a.Endpoint()
	if p := b.GetPipe(); p != nil && !strings.HasPrefix(p.Path, "@") { // an abstract socket has no mode, and Envoy refuses one
		p.Mode = mode
	}
	if s := b.GetSocketAddress(); s != nil && a.IP.Is6() && a.IP.IsUnspecified() {
		s.Ipv4Compat = true // [::] means IPv4 too, as in Go
	}
	return b
}
