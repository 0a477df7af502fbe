package envoy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// address is a parsed "unix:path" or "host:port", or a listener that only Envoy itself reaches.
type address struct {
	path     string     // of a Unix socket
	host     string     // of a TCP address: an IP or a name
	ip       netip.Addr // host, where it is an IP
	port     uint32
	internal string // name of an internal listener
}

// parseAddress reads an address. An empty host stands for every IPv4 address, as in Go.
func parseAddress(s string) (address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		switch {
		case path == "":
			return address{}, errors.New(`"unix:" needs a path`)
		case len(path) > maxSocketPath:
			return address{}, fmt.Errorf("the path of a Unix socket may have %d bytes, this one has %d: shorten it, or make it relative to the folder that Envoy starts in", maxSocketPath, len(path))
		}
		return address{path: path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return address{}, fmt.Errorf("%q is neither unix:path nor host:port", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return address{}, fmt.Errorf("%q: the port must be a number from 0 to 65535", s)
	}
	a := address{host: host, port: uint32(n)}
	switch host {
	case "":
		a.host = "0.0.0.0"
	case "localhost":
		a.host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(a.host); err == nil {
		a.ip, a.host = ip, ip.String()
	}
	return a, nil
}

// local reports whether only this machine can reach the address.
func (a address) local() bool { return a.path != "" || a.ip.IsValid() && a.ip.IsLoopback() }

// endpoint is the address as one to connect to.
func (a address) endpoint() *corev3.Address {
	switch {
	case a.internal != "":
		return &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
			AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: a.internal},
		}}}
	case a.path != "":
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: a.path}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: a.port},
	}}}
}

// bind is the address as one to listen on, nil for an internal listener, which has none; mode is that of a Unix socket,
// 0 = by the umask.
func (a address) bind(mode uint32) *corev3.Address {
	if a.internal != "" {
		return nil
	}
	b := a.endpoint()
	if p := b.GetPipe(); p != nil && !strings.HasPrefix(p.Path, "@") { // an abstract socket has no mode, and Envoy refuses one
		p.Mode = mode
	}
	if s := b.GetSocketAddress(); s != nil && a.ip.Is6() && a.ip.IsUnspecified() {
		s.Ipv4Compat = true // [::] means IPv4 too, as in Go
	}
	return b
}

func u32(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }
