package envoy

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	guardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/keyturn/keyturn/internal/wire"
)

const (
	corsFilter   = "keyturn-cors"
	preflightAge = "7200" // seconds for which a browser keeps the answer; Chrome's most
)

// GuardFilter is the filter that refuses what no client may send, whoever it is. It authenticates nobody.
const GuardFilter = "keyturn-guard"

// Its rules, as Envoy's response code details name them.
const (
	guardMethod = "keyturn-method"
	guardPath   = "keyturn-path"
	guardHost   = "keyturn-host"
	guardOrigin = "keyturn-origin"
)

// trickyPath finds dots that are segments of a path once it is decoded, as often as that may be, and that Envoy's own normalisation
// leaves: ..%2f, ..%5c, ..; and the like. What decodes them behind Envoy would be led out of the pool's base path.
const trickyPath = `(?i).*(?:` + slash + `(?:\.|%(?:25)*2e){1,2}(?:(?:;|%(?:25)*3b|` + slash + `).*)?|%(?:25)*00.*)`

const slash = `(?:[/\\]|%(?:25)*(?:2f|5c))`

// hostsHere are the names of this machine, as a client says them in Host. Whoever owns a name can have it lead to 127.0.0.1, and then a
// web page of that name speaks to the listener as if it were its own (DNS rebinding): but it says the name. "" is of HTTP/1.0.
const hostsHere = `(?i)|(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]|\[::ffff:127(?:\.[0-9]{1,3}){3}\])(?::[0-9]+)?`

// guarded reports whether web pages are kept out: where clients are asked who they are no page knows an answer, and in somebody else's
// Envoy that is somebody else's to say.
func (r *renderer) guarded() bool { return !r.parts && !r.authenticates() }

// guard is the filter.
func (r *renderer) guard() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: GuardFilter, ConfigType: typed(r.pack(r.guardRules()))}
}

func (r *renderer) guardRules() *guardv3.RBAC {
	rules := map[string]*rbacv3.Policy{
		guardMethod: denied(not(header(":method", regex(strings.Join(wire.Methods, "|"))))),
		guardPath: denied(&rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{
			UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: regex(trickyPath)}},
		}}),
	}
	if r.guarded() {
		rules[guardOrigin] = denied(r.foreignPage())
		if r.listen.Host != "" && !r.Clients.Open {
			rules[guardHost] = denied(not(header(":authority", regex(hostsHere))))
		}
	}
	return &guardv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_DENY, Policies: rules}, RulesStatPrefix: GuardFilter + "."}
}

// foreignPage is a request that a web page sends which is not the listener's own and which CORS does not name. No page can set the headers
// by which it is known: https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header, https://fetch.spec.whatwg.org/#origin-header.
func (r *renderer) foreignPage() *rbacv3.Permission {
	named := make([]*rbacv3.Permission, 0, len(r.CORS.Origins)+1)
	for _, m := range r.origins() {
		named = append(named, header(wire.OriginHeader, m))
	}
	own := []*rbacv3.Permission{header(wire.FetchSiteHeader, exact("same-origin"))}
	if r.listen.Host != "" && r.listen.Port != 0 { // browsers that say no more than Origin
		port := ":" + strconv.Itoa(int(r.listen.Port))
		own = append(own, header(wire.OriginHeader, regex(`https?://(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])`+port)))
	}
	foreign := anyOf(
		allOf(present(wire.OriginHeader), not(anyOf(own...))),
		header(wire.FetchSiteHeader, regex("cross-site|same-site")),
	)
	if len(named) == 0 {
		return foreign
	}
	return allOf(foreign, not(anyOf(named...)))
}

// preflights has Envoy answer browsers that ask whether a page may send a request (CORS), where the page is one that CORS names; and lets
// that page read the answers.
func (r *renderer) preflights() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: corsFilter, ConfigType: typed(r.pack(&corsv3.Cors{}))}
}

// corsPolicy is the preflights' configuration, which routes have.
func (r *renderer) corsPolicy() *corsv3.CorsPolicy {
	return &corsv3.CorsPolicy{
		AllowOriginStringMatch: r.origins(),
		AllowMethods:           strings.Join(wire.Methods, ", "),
		AllowHeaders:           "*, " + wire.AuthorizationHeader, // which * does not stand for
		ExposeHeaders:          "*",
		MaxAge:                 preflightAge,
		// Chrome asks before a page of the Internet may reach an address of this machine.
		AllowPrivateNetworkAccess: wrapperspb.Bool(true),
	}
}

// origins are the pages that CORS names.
func (r *renderer) origins() []*matcherv3.StringMatcher {
	var all []*matcherv3.StringMatcher
	for _, o := range r.CORS.Origins {
		o = strings.ToLower(o) // as browsers write them
		switch {
		case o == "*":
			all = append(all, regex(".*"))
		case strings.Contains(o, "*"):
			all = append(all, regex(strings.ReplaceAll(regexp.QuoteMeta(o), `\*`, "[a-z0-9.-]+")))
		default:
			all = append(all, exact(o))
		}
	}
	return all
}

// denied is a rule for whoever sends what is not permitted.
func denied(p *rbacv3.Permission) *rbacv3.Policy {
	return &rbacv3.Policy{
		Permissions: []*rbacv3.Permission{p},
		Principals:  []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}},
	}
}

func header(name string, value *matcherv3.StringMatcher) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: headerIs(name, value)}}
}

func present(name string) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: &routev3.HeaderMatcher{
		Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
	}}}
}

func not(p *rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: p}}
}

func anyOf(p ...*rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: p}}}
}

func allOf(p ...*rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: p}}}
}

func headerIs(name string, value *matcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: value}}
}

// regex matches a whole value.
func regex(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: s}}}
}

// guardReplies tell why the guard refused.
func (r *renderer) guardReplies() []reply {
	replies := []reply{
		{
			when: refusedBy(guardMethod), code: "method_not_allowed", kind: "invalid_request_error", status: http.StatusMethodNotAllowed,
			allow: strings.Join(wire.Methods, ", "), message: "The methods that pass stand in the header allow.",
		},
		{
			when: refusedBy(guardPath), code: "path_refused", kind: "invalid_request_error", status: http.StatusBadRequest,
			message: "The path has dots as segments, or a zero byte, once it is decoded: send it without.",
		},
	}
	if r.guarded() {
		replies = append(replies,
			reply{
				when: refusedBy(guardHost), code: "host_refused", kind: "permission_error",
				message: "Without envoy.clients only requests to localhost, 127.0.0.1 or [::1] are served; use one of them, or set envoy.clients.",
			},
			reply{
				when: refusedBy(guardOrigin), code: "origin_refused", kind: "permission_error",
				message: "A web page of another origin sent this; name its origin in envoy.cors.origins, or set envoy.clients.",
			},
		)
	}
	return replies
}

func refusedBy(rule string) string {
	return "response.code_details.endsWith('[" + rule + "]')" // rbac_access_denied_matched_policy[RULE]
}

// healthRoute answers whoever asks whether Envoy lives: load balancers do, without a credential and without end. No
// filter is before it.
func (r *renderer) healthRoute() *routev3.Route {
	route := &routev3.Route{
		Name: "health",
		Match: &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "/(?:healthz)?"}},
			Headers:       []*routev3.HeaderMatcher{headerIs(":method", regex("GET|HEAD"))},
		},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: http.StatusOK,
			Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "ok\n"}},
		}},
		TypedPerFilterConfig: map[string]*anypb.Any{},
	}
	if r.Attach == Listener {
		for _, f := range r.frontFilters() {
			route.TypedPerFilterConfig[f.Name] = r.pack(&routev3.FilterConfig{Disabled: true})
		}
	}
	return route
}
