package check

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tometadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/wire"
)

// change is what a route makes of a header of its requests.
type change struct {
	client bool   // what the client sent goes on
	set    bool   // a value is put there
	value  string // the value
	action string // how it was put there last
}

func (h change) String() string {
	switch {
	case !h.set:
		return said(false, "")
	case h.client:
		return h.value + " with " + h.action
	}
	return h.value
}

// headerLevel is what one level of a route's configuration does to headers.
type headerLevel struct {
	add    []*corev3.HeaderValueOption
	remove []string // of requests
	hide   []string // of responses
}

// headerLevels are in the order in which they are applied; of each, removals come first.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#custom-request-response-headers
func (r *route) headerLevels() (levels []headerLevel) {
	if w := r.weight; w != nil {
		levels = append(levels, headerLevel{w.RequestHeadersToAdd, w.RequestHeadersToRemove, w.ResponseHeadersToRemove})
	}
	config := r.manager.config
	levels = append(levels,
		headerLevel{r.RequestHeadersToAdd, r.RequestHeadersToRemove, r.ResponseHeadersToRemove},
		headerLevel{r.host.RequestHeadersToAdd, r.host.RequestHeadersToRemove, r.host.ResponseHeadersToRemove},
		headerLevel{config.RequestHeadersToAdd, config.RequestHeadersToRemove, config.ResponseHeadersToRemove},
	)
	if config.MostSpecificHeaderMutationsWins {
		slices.Reverse(levels)
	}
	return levels
}

// request follows a header of a request through the levels.
func (r *route) request(name string) change {
	h := change{client: true}
	for _, level := range r.headerLevels() {
		if has(level.remove, name) {
			h = change{}
		}
		for _, o := range level.add {
			if strings.EqualFold(o.GetHeader().GetKey(), name) {
				h.put(o)
			}
		}
	}
	return h
}

func (h *change) put(o *corev3.HeaderValueOption) {
	value, action := o.GetHeader().GetValue(), o.GetAppendAction()
	if a := o.GetAppend(); a != nil && !a.Value { //nolint:staticcheck // the deprecated field counts
		action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	}
	h.action = action.String()
	switch action {
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		h.client, h.set, h.value = false, true, value
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		h.client = false // and where it was not there, it still is not
		if h.set {
			h.value = value
		}
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		if !h.set {
			h.set, h.value = true, value
		}
	default:
		h.value = strings.TrimPrefix(h.value+","+value, ",")
		h.set = true
	}
}

// has is for names of headers, which know no case.
func has(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// sets checks what a route to the inner listener says about its requests.
func (c *checker) sets(r *route) {
	is := func(s setting, name string, right func(string) bool) {
		if h := r.request(name); !h.set || h.client || !right(h.value) {
			c.find(s, r.place, h.String())
		}
	}
	is(headerID, wire.IDHeader, func(v string) bool { return strings.Contains(v, "%UNIQUE_ID%") })
	is(headerStart, wire.StartHeader, func(v string) bool { return strings.HasPrefix(v, "%START_TIME(%s") })
	if r.manager.role == roleLoopback {
		return
	}
	var names []string
	for _, p := range c.want.Pools {
		names = append(names, p.Name)
	}
	s := headerPool
	if len(names) > 0 {
		s = headerPool.wanting("%s, with OVERWRITE_IF_EXISTS_OR_ADD", strings.Join(names, " or "))
	}
	is(s, wire.PoolHeader, func(v string) bool {
		return !strings.Contains(v, "%") && (len(names) == 0 || slices.Contains(names, v))
	})
}

// removes checks which headers of a client go no further, and which of Keyturn's do.
func (c *checker) removes(r *route) {
	passes := func(name string) bool { return r.request(name).client }
	if r.manager.role == roleLoopback {
		if lost := without([]string{wire.PoolHeader, wire.TurnHeader, wire.ModelHeader, wire.ClientHeader}, passes); len(lost) > 0 {
			c.find(turnsLost, r.place, "with "+strings.Join(lost, ", "))
		}
		own := slices.ContainsFunc(c.want.Pools, func(p envoy.Pool) bool { return p.Tools && p.BYOK })
		if lost := without(envoy.CredentialHeaders(c.want.Pools), passes); own && len(lost) > 0 {
			c.find(credentialsLost, r.place, "with "+strings.Join(lost, ", "))
		}
		return
	}
	pool := c.named(r)
	if pool == nil || !pool.BYOK {
		var pools []envoy.Pool
		if pool != nil {
			pools = append(pools, *pool)
		}
		c.passing(r, credentialsRemoved, envoy.CredentialHeaders(pools))
	}
	c.passing(r, forgedTurn, []string{wire.TurnHeader, wire.ModelHeader})
	if set := without([]string{wire.TurnHeader, wire.ModelHeader, wire.ClusterHeader}, func(n string) bool { return !r.request(n).set }); len(set) > 0 {
		c.find(forgedTurn.wanting("none of them set"), r.place, "with "+strings.Join(set, ", "))
	}
	if h := r.request(wire.RetriesHeader); h.client && !h.set {
		c.find(forgedRetries, r.place, "not set")
	}
	c.passing(r, forgedCluster, []string{wire.ClusterHeader})
	switch named, passed := r.namesClient(), passes(wire.ClientHeader); {
	case !named && passed:
		c.find(forgedClient, r.place, "without "+wire.ClientHeader)
	case named && !passed && !r.request(wire.ClientHeader).set:
		c.find(lostClient, r.place, "with "+wire.ClientHeader)
	}
}

// passing reports the headers that should go no further and do.
func (c *checker) passing(r *route, s setting, names []string) {
	if left := without(names, func(n string) bool { return !r.request(n).client }); len(left) > 0 {
		c.find(s.wanting("%s", strings.Join(names, ", ")), r.place, "without "+strings.Join(left, ", "))
	}
}

// without are those of a list for which something is not so.
func without[T any](all []T, so func(T) bool) []T { return slices.DeleteFunc(slices.Clone(all), so) }

// returns checks which headers of a response reach the client: none of Keyturn's words to Envoy; Keyturn reads the rest of
// its own.
func (c *checker) returns(r *route) {
	if !r.hides(wire.RetryHeader) {
		c.find(retryRemoved, r.place, "not set")
	}
	used := []string{wire.UsedPoolHeader, wire.UsedNameHeader, wire.UsedKeyHeader}
	if r.manager.role == roleLoopback {
		if lost := without(append(used, wire.ErrorHeader), func(n string) bool { return !r.hides(n) }); len(lost) > 0 {
			c.find(usedLost, r.place, "with "+strings.Join(lost, ", "))
		}
		return
	}
	if left := without(used, r.hides); len(left) > 0 {
		c.find(usedRemoved, r.place, "without "+strings.Join(left, ", "))
	}
}

// hides reports whether a header of a response stays here: the route removes it, or the filter that keeps it for the log.
func (r *route) hides(name string) bool {
	if slices.ContainsFunc(r.headerLevels(), func(l headerLevel) bool { return has(l.hide, name) }) {
		return true
	}
	for _, f := range r.manager.HttpFilters {
		a, on := r.effective(f)
		config, ok := typedAs(a, &tometadatav3.Config{})
		if ok && on && slices.ContainsFunc(config.ResponseRules, func(rule *tometadatav3.Config_Rule) bool {
			return rule.Remove && strings.EqualFold(rule.Header, name)
		}) {
			return true
		}
	}
	return false
}

// rewritten is what a route makes of the path and the authority, "" for nothing.
func rewritten(a *routev3.RouteAction) string {
	switch {
	case a.GetPrefixRewrite() != "":
		return "prefix_rewrite"
	case a.GetRegexRewrite() != nil:
		return "regex_rewrite"
	case a.GetPathRewrite() != "":
		return "path_rewrite"
	case a.GetPathRewritePolicy() != nil:
		return "path_rewrite_policy"
	case a.GetHostRewriteSpecifier() != nil && !isOff(a):
		return "a rewrite of the host"
	}
	return ""
}

// isOff reports whether auto_host_rewrite is there and false.
func isOff(a *routev3.RouteAction) bool {
	auto, ok := a.GetHostRewriteSpecifier().(*routev3.RouteAction_AutoHostRewrite)
	return ok && !auto.AutoHostRewrite.GetValue()
}
