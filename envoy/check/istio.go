package check

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// Proxy is what is known of a mesh's proxy beside its configuration.
type Proxy struct {
	Clusters []byte                  // the answer of its admin interface to /clusters?format=json; nil = it was not asked
	Dial     func(path string) error // tries a Unix socket that the proxy uses; nil = it is not here. See DialSocket
}

// dialTimeout bounds a connection to a socket of this machine.
const dialTimeout = 2 * time.Second

// DialSocket connects to a Unix socket and closes the connection. Where the socket's folder does not exist there is no error: the
// program then runs elsewhere than the proxy, and cannot tell.
func DialSocket(path string) error {
	if _, err := os.Stat(filepath.Dir(path)); !filepath.IsAbs(path) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	c, err := net.DialTimeout("unix", path, dialTimeout)
	if err != nil {
		return err
	}
	return c.Close()
}

// Istio is Envoy for the proxy of an Istio mesh: a sidecar or a gateway. The document is its config dump, which has what
// the control plane made of all resources together; a bootstrap has nothing of it. Beyond Envoy it finds what goes wrong only
// in a mesh: updates that the proxy refused, such as a listener that two EnvoyFilters add, and a Keyturn that the proxy cannot reach.
func Istio(doc []byte, want Want, proxy Proxy) ([]Finding, error) {
	return check(doc, want, &proxy)
}

// refusal is an update that Envoy did not take.
type refusal struct{ where, details string }

// refuse notes an update that Envoy did not take. What it is about has a name where Envoy had it before, and else in the
// configuration that failed.
func (d *document) refuse(kind, name string, state *adminv3.UpdateFailureState) {
	if state == nil {
		return
	}
	if l, ok := typedAs(state.FailedConfiguration, &listenerv3.Listener{}); ok && name == "" {
		name = l.Name
	}
	if c, ok := typedAs(state.FailedConfiguration, &clusterv3.Cluster{}); ok && name == "" {
		name = c.Name
	}
	d.refused = append(d.refused, refusal{kind + " " + cmp.Or(name, "without a name"), state.Details})
}

// inMesh checks what only a mesh gets wrong.
func (c *checker) inMesh() error {
	for _, r := range c.refused {
		s := updateRefused
		if strings.Contains(r.details, "duplicate listener") || strings.Contains(r.details, "duplicate address") {
			s = secondListener
		}
		c.find(s, r.where, shortened(r.details))
	}
	return c.reach()
}

// maxDetails bounds how much of Envoy's words is repeated, in bytes.
const maxDetails = 300

func shortened(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > maxDetails {
		return strings.ToValidUTF8(s[:maxDetails], "") + "…"
	}
	return s
}

// sidecar reports whether only the proxy's own pod sends requests through it.
func (d *document) sidecar() bool { return strings.HasPrefix(d.node, "sidecar~") }

// processorNames are the clusters that lead to Keyturn, in the document's order.
func (c *checker) processorNames() []string {
	return without(c.clusterNames, func(name string) bool { return !c.processors[name] })
}

// reach checks that the proxy reaches Keyturn: by the sockets, where they are here, and by what the proxy says of its connections.
func (c *checker) reach() error {
	if c.proxy.Dial != nil {
		for _, name := range c.processorNames() {
			for _, a := range endpoints(c.clusters[name]) {
				if a.GetPipe() == nil {
					continue
				}
				if err := c.proxy.Dial(a.GetPipe().Path); err != nil {
					c.find(processorReached, "cluster "+name, err.Error())
				}
			}
		}
	}
	if c.proxy.Clusters == nil {
		return nil
	}
	var all adminv3.Clusters
	if err := unmarshal(c.proxy.Clusters, &all); err != nil {
		return fmt.Errorf("not an answer of /clusters?format=json: %w", err)
	}
	for _, name := range c.processorNames() {
		i := slices.IndexFunc(all.ClusterStatuses, func(s *adminv3.ClusterStatus) bool { return s.Name == name })
		if i < 0 || len(all.ClusterStatuses[i].HostStatuses) == 0 {
			c.find(processorReached, "cluster "+name, "without an endpoint")
			continue
		}
		for _, host := range all.ClusterStatuses[i].HostStatuses {
			failed, all, active := hostStat(host, "cx_connect_fail"), hostStat(host, "cx_total"), hostStat(host, "cx_active")
			if failed == 0 || active > 0 {
				continue
			}
			s := processorReached
			if failed < all {
				s.severity = Costs // it was reached once, and may be again
			}
			c.find(s, "cluster "+name, fmt.Sprintf("%d of %d connections failed, none is open", failed, all))
		}
	}
	return nil
}

func hostStat(h *adminv3.HostStatus, name string) uint64 {
	for _, s := range h.Stats {
		if s.Name == name {
			return s.Value
		}
	}
	return 0
}

// known is what clients of a listener should have to say.
func (c *checker) known() setting {
	if c.proxy != nil {
		return meshClients
	}
	return clientsUnknown
}

// missed is what is said when no route leads to the inner listener.
func (c *checker) missed() setting {
	if c.proxy != nil {
		return meshRoutesMissed
	}
	return routesMissed
}

// plain is what is said of a pool's cluster without TLS.
func (c *checker) plain() setting {
	if c.proxy != nil {
		return meshPlain
	}
	return providerPlain
}
