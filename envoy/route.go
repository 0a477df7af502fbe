package envoy

import (
	"slices"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/keyturn/keyturn/envoy/internal/address"
	"github.com/keyturn/keyturn/internal/wire"
)

const (
	// requestHeadersTimeout ends connections that dribble headers.
	requestHeadersTimeout = 30 * time.Second
	// retryBackOff: the next attempt has another key, so there is nothing to wait for. Envoy's least is 1 ms.
	retryBackOff = time.Millisecond
)

// defaultPrefix is what paths begin with that name no pool. Whatever else does gets 404, where the listener is Keyturn's alone: a name that
// is mistyped must not spend another pool's keys.
const defaultPrefix = "/v1/"

// mainRoutes are those of probes, each pool's under its own prefix, and then those without a prefix.
func (r *renderer) mainRoutes() []*routev3.Route {
	routes := []*routev3.Route{r.healthRoute()}
	for i := range r.Pools {
		routes = append(routes, r.poolRoute(&r.Pools[i], r.Pools[i].Name, "/"+r.Pools[i].Name+"/", "/"))
	}
	messages := slices.IndexFunc(r.Pools, func(p Pool) bool { return p.Messages })
	others := max(0, slices.IndexFunc(r.Pools, func(p Pool) bool { return !p.Messages }))
	if messages >= 0 && messages != others {
		routes = append(routes, r.poolRoute(&r.Pools[messages], "default messages", "/v1/messages", "/v1/messages"))
	}
	return append(routes, r.poolRoute(&r.Pools[others], "default", defaultPrefix, defaultPrefix))
}

// poolRoute is a route of the main listener. The path begins with a prefix, in place of which the provider gets the
// upstream's base path and what follows.
func (r *renderer) poolRoute(pool *Pool, name, prefix, follows string) *routev3.Route {
	route := r.frontRoute(pool)
	route.Name = name
	route.Match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}}
	if to := address.BasePath(pool.Upstream) + follows; to != prefix {
		route.GetRoute().PrefixRewrite = to
	}
	return route
}

// frontRoute leads a pool's requests to the inner listener and sends them again when Keyturn asks for it. It has no name,
// matches nothing and rewrites no path: those are the caller's. Where Keyturn is attached to routes, it has all that a
// route can have, and needs of its listener no more than the filters that it enables.
func (r *renderer) frontRoute(pool *Pool) *routev3.Route {
	route := r.innerRoute(retries(MostKeys(r.Pools, pool)))
	route.RequestHeadersToAdd = append(route.RequestHeadersToAdd, set(wire.PoolHeader, pool.Name))
	route.ResponseHeadersToAdd = r.told()
	if !pool.BYOK {
		route.RequestHeadersToRemove = CredentialHeaders(r.Pools)
	}
	route.RequestHeadersToRemove = append(route.RequestHeadersToRemove, wire.TurnHeader, wire.ModelHeader, wire.ClusterHeader)
	if r.authenticates() {
		route.RequestHeadersToAdd = append(route.RequestHeadersToAdd, set(wire.AskedHeader, "1"))
	} else {
		route.RequestHeadersToRemove = append(route.RequestHeadersToRemove, wire.ClientHeader)
	}
	action := route.GetRoute()
	route.TypedPerFilterConfig = map[string]*anypb.Any{}
	if r.Attach == Route {
		for _, f := range r.frontFilters() {
			route.TypedPerFilterConfig[f.Name] = r.pack(&routev3.FilterConfig{Config: &anypb.Any{}}) // on, as it stands in the chain
		}
		route.RequestHeadersToAdd = append(route.RequestHeadersToAdd, onceHeaders()...)
		route.RequestBodyBufferLimit = wrapperspb.UInt64(uint64(r.MaxRequestBytes))
		action.IdleTimeout = durationpb.New(r.IdleTimeout)
		action.UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{UpgradeType: websocket}}
	}
	if len(r.CORS.Origins) > 0 {
		route.TypedPerFilterConfig[corsFilter] = r.pack(r.corsPolicy())
	}
	if pool.BYOK && r.authenticates() && !r.parts {
		route.TypedPerFilterConfig[protocolsFilter] = r.pack(protocolRules(1))
	}
	if filter, config := r.keysOf(pool, false); config != nil {
		route.TypedPerFilterConfig[filter] = config
	}
	if pool.Tools {
		// An answer that is not a stream has no keep-alives: nothing moves while tools run, and the turn after them.
		action.IdleTimeout = durationpb.New(pool.ToolTime + r.IdleTimeout)
	}
	return route
}

// innerRoute is what routes to the inner listener have in common.
func (r *renderer) innerRoute(retries uint32) *routev3.Route {
	return &routev3.Route{
		RequestHeadersToAdd:     []*corev3.HeaderValueOption{set(wire.RetriesHeader, strconv.FormatUint(uint64(retries), 10))},
		ResponseHeadersToRemove: []string{wire.RetryHeader},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: InnerName},
			Timeout:          durationpb.New(0),
			RetryPolicy: &routev3.RetryPolicy{
				RetryOn:    "retriable-headers",
				NumRetries: u32(retries),
				RetriableHeaders: []*routev3.HeaderMatcher{{
					Name: wire.RetryHeader, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
				}},
				RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
					BaseInterval: durationpb.New(retryBackOff), MaxInterval: durationpb.New(retryBackOff),
				},
			},
		}},
	}
}

// onceHeaders are set once a request, not at each attempt: by them Keyturn knows the attempts of one request. Not
// %STREAM_ID%, which is x-request-id and may be a client's.
func onceHeaders() []*corev3.HeaderValueOption {
	return []*corev3.HeaderValueOption{set(wire.IDHeader, "%UNIQUE_ID%"), set(wire.StartHeader, "%START_TIME(%s.%3f)%")}
}

// loopbackRoute takes Keyturn's own requests. They repeat the path and the authority of the client's request as its first
// attempt saw them, and name their pool, so nothing is rewritten; a credential on them is meant. Their bodies grow with
// each turn, and clients cannot send any here, so they are bounded by what a processor can hold alone.
//
// What an attempt says about the key on the response (x-keyturn-used-…) is meant for Keyturn here, and stays.
func (r *renderer) loopbackRoute() *routev3.Route {
	keys := 0
	for i := range r.Pools {
		keys = max(keys, MostKeys(r.Pools, &r.Pools[i]))
	}
	route := r.innerRoute(retries(keys))
	route.Match = everything()
	return route
}

func everything() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}
