package envoy

import (
	"maps"
	"slices"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	// requestHeadersTimeout ends connections that dribble headers.
	requestHeadersTimeout = 30 * time.Second
	// retryBackOff: the next attempt has another key, so there is nothing to wait for. Envoy's least is 1 ms.
	retryBackOff = time.Millisecond
)

// What routes look for in :path, which has the query too. Envoy refuses expressions of more than 100 RE2 instructions;
// trans is transcriptions and translations.
const (
	// uploads are the endpoints that take files, of any size: they are streamed.
	uploads = `[^?]*/(files|uploads/[\w-]+/parts|audio/trans[a-z]+|images/(edits|variations))(\?.*)?`
	// notUploads end like uploads, but take JSON: files of a vector store are named by their ids.
	notUploads = "/vector_stores/"
	// sockets are the endpoints that speak WebSocket.
	sockets = `[^?]*/(responses|realtime)(\?.*)?`
)

// mainRoutes are each pool's under its own prefix, then those without a prefix.
func (r *renderer) mainRoutes() []*routev3.Route {
	var routes []*routev3.Route
	for i := range r.Pools {
		pool := &r.Pools[i]
		routes = append(routes, r.poolRoutes(pool, pool.Name, "/"+pool.Name+"/")...)
	}
	isAnthropic := func(p Pool) bool { return p.Provider == "anthropic" }
	messages := slices.IndexFunc(r.Pools, isAnthropic)
	others := max(0, slices.IndexFunc(r.Pools, func(p Pool) bool { return !isAnthropic(p) }))
	if messages >= 0 && messages != others {
		pool := &r.Pools[messages]
		route := r.route(pool, "default messages", "/v1/messages", "/v1/messages")
		routes = append(routes, r.patient(r.buffered(route, pool.Keys, r.MaxRequestBytes), pool))
	}
	return append(routes, r.poolRoutes(&r.Pools[others], "default", "/")...)
}

// poolRoutes are the routes of a pool below a prefix, the particular ones first.
func (r *renderer) poolRoutes(pool *Pool, name, below string) []*routev3.Route {
	upload := r.route(pool, name+" uploads", below, "/")
	upload.Match.Headers = []*routev3.HeaderMatcher{
		header(":method", exact("POST")),
		header(":path", regex(uploads)),
		header(":path", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: notUploads}}),
	}
	upload.Match.Headers[2].InvertMatch = true
	maps.Copy(upload.TypedPerFilterConfig, r.streamed())

	websocket := exact("websocket")
	websocket.IgnoreCase = true
	socket := r.route(pool, name+" websocket", below, "/")
	socket.Match.Headers = []*routev3.HeaderMatcher{
		header(":method", exact("GET")),
		header(":path", regex(sockets)),
		header("upgrade", websocket),
	}
	maps.Copy(socket.TypedPerFilterConfig, r.streamed())
	socket.GetRoute().UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{
		UpgradeType: "websocket", Enabled: wrapperspb.Bool(true),
	}}
	if !pool.BYOK {
		for _, route := range []*routev3.Route{upload, socket} {
			route.ResponseHeadersToRemove = append(route.ResponseHeadersToRemove, accountHeaders...)
		}
	}
	return []*routev3.Route{upload, socket, r.patient(r.buffered(r.route(pool, name, below, "/"), pool.Keys, r.MaxRequestBytes), pool)}
}

// patient lets nothing move on a route for as long as tools may run, and the turn after them: an answer that is not a
// stream has no keep-alives.
func (r *renderer) patient(route *routev3.Route, pool *Pool) *routev3.Route {
	if pool.Tools {
		route.GetRoute().IdleTimeout = durationpb.New(pool.ToolTime + r.IdleTimeout)
	}
	return route
}

// accountHeaders tell about the account behind a pool's key. The route takes them out where the response's headers do not pass
// Keyturn, which does it elsewhere; Envoy removes headers by their whole name only.
var accountHeaders = []string{
	"set-cookie", "openai-organization", "openai-project", "anthropic-organization-id",
	"x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
	"x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens",
	"anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset",
	"anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset",
	"anthropic-ratelimit-input-tokens-limit", "anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset",
	"anthropic-ratelimit-output-tokens-limit", "anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset",
}

// route is what all routes to a pool have in common. The path begins with a prefix, in place of which the provider
// gets the upstream's base path and what follows.
func (r *renderer) route(pool *Pool, name, prefix, follows string) *routev3.Route {
	route := &routev3.Route{
		Name:                    name,
		Match:                   &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}},
		TypedPerFilterConfig:    map[string]*anypb.Any{},
		ResponseHeadersToRemove: []string{retryHeader},
	}
	action := &routev3.RouteAction{
		ClusterSpecifier:     &routev3.RouteAction_Cluster{Cluster: pool.Clusters[0]},
		Timeout:              durationpb.New(0),
		HostRewriteSpecifier: &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: pool.Upstream.Host},
	}
	if to := pool.basePath() + follows; to != prefix {
		action.PrefixRewrite = to
	}
	route.Action = &routev3.Route_Route{Route: action}
	if !pool.BYOK {
		route.RequestHeadersToRemove = credentials(r.Pools)
	} else if sources := r.byokSources(); sources != nil {
		route.TypedPerFilterConfig[apiKeyFilter] = sources
	}
	return route
}

// buffered makes a route one with failover: the request is whole before it leaves, and Envoy retries when asked.
func (r *renderer) buffered(route *routev3.Route, keys int, maxBytes int64) *routev3.Route {
	maps.Copy(route.TypedPerFilterConfig, r.whole(maxBytes))
	route.GetRoute().RetryPolicy = retryPolicyFor(keys)
	return route
}

// retryPolicyFor is one attempt for each key, made when Keyturn asks for it.
func retryPolicyFor(keys int) *routev3.RetryPolicy {
	return &routev3.RetryPolicy{
		RetryOn:    "retriable-headers",
		NumRetries: u32(retries(keys)),
		RetriableHeaders: []*routev3.HeaderMatcher{{
			Name: retryHeader, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}},
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(retryBackOff), MaxInterval: durationpb.New(retryBackOff),
		},
	}
}

// loopbackRoute sends Keyturn's own requests to the cluster that they name. They repeat the path and the authority of
// the client's request as its first attempt saw them, so nothing is rewritten; a credential on them is meant. Their
// bodies grow with each turn, and clients cannot send any here, so they are bounded by what a processor can hold alone.
//
// What an attempt says about the key on the response (x-keyturn-used-…) is meant for Keyturn and stays; clients never see
// it, since attempts say it on this listener only, and Keyturn removes whatever a provider sends of that name.
func (r *renderer) loopbackRoute() *routev3.Route {
	keys := 0
	for _, pool := range r.Pools {
		keys = max(keys, pool.Keys)
	}
	return r.buffered(&routev3.Route{
		Name:                    "loopback",
		Match:                   &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		TypedPerFilterConfig:    map[string]*anypb.Any{},
		RequestHeadersToRemove:  []string{clusterHeader},
		ResponseHeadersToRemove: []string{retryHeader},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_ClusterHeader{ClusterHeader: clusterHeader},
			Timeout:          durationpb.New(0),
		}},
	}, keys, maxBodyBytes)
}

func header(name string, m *matcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m}}
}

func regex(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: s}}}
}
