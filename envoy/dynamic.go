package envoy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Dynamic is a configuration in two: what an Envoy reads once, and what it reads again whenever a file is moved to its place.
type Dynamic struct {
	Bootstrap *bootstrapv3.Bootstrap
	Files     []File // in the order in which they are to be moved: clusters first, since routes lead to them
}

// File is one that Envoy reads: the same bytes for the same configuration.
type File struct {
	Name string
	Data []byte
}

const clustersFile = "clusters.json"

// routesFile is the name of a listener's: Envoy takes one set of routes from a file.
func routesFile(listener string) string { return "routes-" + listener + ".json" }

// Split takes the providers' clusters and all routes out of a configuration that Render made: Envoy reads them from files in the folder, and
// changes them without closing a connection of a client's. Listeners stay: a listener that changes cuts the streams that outlast its draining.
func Split(b *bootstrapv3.Bootstrap, folder string) (Dynamic, error) {
	b = proto.CloneOf(b)
	var clusters []proto.Message
	var static []*clusterv3.Cluster
	for _, c := range b.GetStaticResources().GetClusters() {
		if OwnCluster(c.GetName()) { // filters want theirs to be there when they are read
			static = append(static, c)
			continue
		}
		clusters = append(clusters, c)
	}
	b.StaticResources.Clusters = static
	d := Dynamic{Bootstrap: b}
	errs := []error{d.add(clustersFile, clusters)}
	for _, l := range b.GetStaticResources().GetListeners() {
		r, err := takeRoutes(l, filepath.Join(folder, routesFile(l.GetName())))
		if r != nil {
			err = errors.Join(err, d.add(routesFile(l.GetName()), []proto.Message{r}))
		}
		errs = append(errs, err)
	}
	b.Node = &corev3.Node{Id: "keyturn", Cluster: "keyturn"}
	b.DynamicResources = &bootstrapv3.Bootstrap_DynamicResources{CdsConfig: fromFile(filepath.Join(folder, clustersFile))}
	return d, errors.Join(append(errs, b.ValidateAll())...)
}

// takeRoutes has a listener read its routes from a file, and returns those that it had. Nil: it has none.
func takeRoutes(l *listenerv3.Listener, file string) (*routev3.RouteConfiguration, error) {
	filters := l.GetFilterChains()[0].GetFilters()
	last := filters[len(filters)-1]
	m := &hcmv3.HttpConnectionManager{}
	if !last.GetTypedConfig().MessageIs(m) {
		return nil, nil // of a tunnel
	}
	if err := last.GetTypedConfig().UnmarshalTo(m); err != nil {
		return nil, fmt.Errorf("listener %s: %w", l.GetName(), err)
	}
	routes := m.GetRouteConfig()
	routes.Name = l.GetName()
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: fromFile(file), RouteConfigName: routes.Name}}
	packed := &anypb.Any{}
	if err := anypb.MarshalFrom(packed, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, fmt.Errorf("listener %s: %w", l.GetName(), err)
	}
	last.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed}
	return routes, nil
}

func fromFile(path string) *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{
			PathConfigSource: &corev3.PathConfigSource{Path: path},
		},
	}
}

// add adds a file with what a discovery service would answer.
func (d *Dynamic) add(name string, resources []proto.Message) error {
	answer := &discoveryv3.DiscoveryResponse{}
	for _, r := range resources {
		packed := &anypb.Any{}
		if err := anypb.MarshalFrom(packed, r, proto.MarshalOptions{Deterministic: true}); err != nil {
			return err
		}
		answer.Resources = append(answer.Resources, packed)
	}
	j, err := protojson.Marshal(answer)
	if err != nil {
		return err
	}
	var stable bytes.Buffer // protojson puts spaces in at random
	if err := json.Compact(&stable, j); err != nil {
		return err
	}
	d.Files = append(d.Files, File{Name: name, Data: stable.Bytes()})
	return nil
}
