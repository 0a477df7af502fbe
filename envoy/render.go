package envoy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	internalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// maxClientConnections bounds what clients can make Envoy hold open; without a bound Envoy warns at every start.
const maxClientConnections = 50_000

// Render returns a complete Envoy configuration: the clients' listener, which retries; the inner listener, where Keyturn
// sees every attempt; where a pool has tools, the loopback listener; and the clusters of the pools, of the processor and of
// the inner listener. Each pool is served under /<its name>/…, the prefix cut off and the upstream's base path put in
// front; without a prefix /v1/messages… goes to the first pool with Messages and the rest of /v1/… to the first pool
// without; any other path gets 404. The result is validated against the rules of Envoy's API; the error joins every problem.
//
// The configuration holds the clients' keys when Clients has any.
func Render(cfg Config) (*bootstrapv3.Bootstrap, error) {
	p, err := newPlan(cfg)
	if err != nil {
		return nil, err
	}
	r := &renderer{plan: p}
	b := &bootstrapv3.Bootstrap{
		Admin:               r.adminInterface(),
		BootstrapExtensions: r.extensions(),
		StaticResources:     &bootstrapv3.Bootstrap_StaticResources{Listeners: r.listeners(), Clusters: r.clusters()},
		OverloadManager:     r.overload(),
	}
	if err := errors.Join(append(r.errs, b.ValidateAll())...); err != nil {
		return nil, fmt.Errorf("the rendered configuration breaks Envoy's rules: %w", err)
	}
	return b, nil
}

// renderer turns a plan into Envoy's types.
type renderer struct {
	*plan
	errs []error // of messages that do not pass their own validation
}

// pack validates a message, which the validation of what surrounds it does not, and wraps it.
func (r *renderer) pack(m interface {
	proto.Message
	ValidateAll() error
},
) *anypb.Any {
	a := &anypb.Any{}
	err := m.ValidateAll()
	if err == nil {
		err = anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true})
	}
	if err != nil {
		r.errs = append(r.errs, err)
	}
	return a
}

// extensions are what internal listeners need, nil where there are none.
func (r *renderer) extensions() []*corev3.TypedExtensionConfig {
	if r.inner.Internal == "" && !r.proxied() {
		return nil
	}
	return []*corev3.TypedExtensionConfig{{
		Name: "envoy.bootstrap.internal_listener", TypedConfig: r.pack(&internalv3.InternalListener{}),
	}}
}

func (r *renderer) listeners() []*listenerv3.Listener {
	all := []*listenerv3.Listener{r.mainListener(), r.innerListener(r.inner.Bind(0o600))}
	if r.hasTools() {
		loopback := r.loopbackListener(r.loopback.Bind(0o600))
		loopback.Name = "loopback"
		all = append(all, loopback)
	}
	for i := range r.Pools {
		if r.Pools[i].Proxy != nil {
			all = append(all, r.tunnelListener(&r.Pools[i]))
		}
	}
	return all
}

func (r *renderer) clusters() []*clusterv3.Cluster {
	cs := []*clusterv3.Cluster{r.processorCluster(), r.innerCluster()}
	for i := range r.Pools {
		cs = append(cs, r.poolCluster(&r.Pools[i]))
		if r.Pools[i].Proxy != nil {
			cs = append(cs, r.proxyCluster(&r.Pools[i]))
		}
	}
	if r.jwksURL != nil {
		cs = append(cs, r.remote(jwksCluster, r.jwksURL, DefaultKeepAlive, r.CAFile))
	}
	return cs
}

// What Envoy's admin interface serves over TCP: what can be looked at, from this machine and from others. Nothing of it changes
// anything; whatever does, and what shows requests, needs a Unix socket.
var (
	AdminPaths       = append([]string{"/config_dump", "/clusters", "/listeners", "/server_info", "/memory"}, remoteAdminPaths...)
	remoteAdminPaths = []string{"/ready", "/stats", "/stats/prometheus"}
)

// adminInterface is nil without an address. It has no authentication, and a web page can post to what is on loopback.
func (r *renderer) adminInterface() *bootstrapv3.Admin {
	if r.Admin == "" {
		return nil
	}
	a := &bootstrapv3.Admin{Address: r.admin.Bind(0o600), IgnoreGlobalConnLimit: true}
	paths := remoteAdminPaths
	switch {
	case r.admin.Path != "":
		paths = nil // all of them
	case r.admin.Local():
		paths = AdminPaths
	}
	if len(paths) > 0 { // Envoy compares them with their queries
		quoted := make([]string, 0, len(paths))
		for _, path := range paths {
			quoted = append(quoted, regexp.QuoteMeta(path))
		}
		a.AllowPaths = []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: "(" + strings.Join(quoted, "|") + `)(\?.*)?`},
		}}}
	}
	return a
}

func exact(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

// set is a header to put in place of whatever is there.
func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
