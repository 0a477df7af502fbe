package check

import (
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// open reports whether a listener has an address that others may reach.
func (m *manager) open() bool {
	return slices.ContainsFunc(addresses(m.listener), func(a *corev3.Address) bool { return a.GetSocketAddress() != nil })
}

// addresses are those that a listener listens on.
func addresses(l *listenerv3.Listener) (all []*corev3.Address) {
	if l.Address != nil {
		all = append(all, l.Address)
	}
	for _, a := range l.AdditionalAddresses {
		all = append(all, a.Address)
	}
	return all
}

// isInternal reports whether only Envoy itself reaches a listener.
func isInternal(l *listenerv3.Listener) bool {
	return l.GetInternalListener() != nil || l.Address.GetEnvoyInternalAddress() != nil
}

// endpoints are the addresses that a cluster names.
func endpoints(c *clusterv3.Cluster) (all []*corev3.Address) {
	for _, locality := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range locality.LbEndpoints {
			if a := e.GetEndpoint().GetAddress(); a != nil {
				all = append(all, a)
			}
		}
	}
	return all
}

// leads reports whether a cluster leads to a listener.
func leads(c *clusterv3.Cluster, l *listenerv3.Listener) bool {
	return slices.ContainsFunc(endpoints(c), func(a *corev3.Address) bool { return reaches(a, l) })
}

func reaches(a *corev3.Address, l *listenerv3.Listener) bool {
	if i := a.GetEnvoyInternalAddress(); i != nil {
		return isInternal(l) && i.GetServerListenerName() == l.Name
	}
	return slices.ContainsFunc(addresses(l), func(b *corev3.Address) bool { return printed(a) == printed(b) })
}

// printed is an address in the words of keyturn.yaml.
func printed(a *corev3.Address) string {
	if p := a.GetPipe(); p != nil {
		return "unix:" + strings.TrimPrefix(p.Path, "./")
	}
	if s := a.GetSocketAddress(); s != nil {
		return net.JoinHostPort(s.Address, strconv.FormatUint(uint64(s.GetPortValue()), 10))
	}
	if i := a.GetEnvoyInternalAddress(); i != nil {
		return "the internal listener " + i.GetServerListenerName()
	}
	return "not set"
}

func printedAll(c *clusterv3.Cluster) (all []string) {
	for _, a := range endpoints(c) {
		all = append(all, printed(a))
	}
	return all
}

// certainty is what can be said of an address.
type certainty uint8

const (
	perhaps certainty = iota
	surely
	surelyNot
)

// isProcessor says whether Keyturn listens on an address. Where a name or another machine's address leads is not known here.
func (c *checker) isProcessor(a *corev3.Address) certainty {
	if p := a.GetPipe(); p != nil {
		return sure(c.processor.Path != "" && c.sameFile(p.Path, c.processor.Path))
	}
	s := a.GetSocketAddress()
	switch ip, err := netip.ParseAddr(s.GetAddress()); {
	case s == nil || c.processor.Path != "":
		return surelyNot
	case s.Address == c.processor.Host && s.GetPortValue() == c.processor.Port:
		return surely
	case err == nil && ip.IsLoopback() && c.processor.IP.IsUnspecified():
		return sure(s.GetPortValue() == c.processor.Port)
	case err == nil && c.processor.IP.IsValid() && !c.processor.IP.IsUnspecified():
		return surelyNot
	}
	return perhaps
}

func sure(b bool) certainty {
	if b {
		return surely
	}
	return surelyNot
}

// sameFile compares the paths of sockets. One that is relative is below a folder that is not known; in a mesh the proxy has
// the folder at another place.
func (c *checker) sameFile(a, b string) bool {
	a, b = path.Clean(a), path.Clean(b)
	switch {
	case c.proxy != nil:
		return path.Base(a) == path.Base(b)
	case path.IsAbs(a) == path.IsAbs(b):
		return a == b
	}
	return strings.HasSuffix(a, "/"+b) || strings.HasSuffix(b, "/"+a)
}

// noneIsProcessor reports whether a cluster surely leads elsewhere than to Keyturn.
func (c *checker) noneIsProcessor(cluster *clusterv3.Cluster) bool {
	all := endpoints(cluster)
	return c.want.Processor != "" && len(all) > 0 &&
		!slices.ContainsFunc(all, func(a *corev3.Address) bool { return c.isProcessor(a) != surelyNot })
}
