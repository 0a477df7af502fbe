package attach

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/wire"
)

// listFields are those of a route to which some are added.
var listFields = []struct{ name, why string }{
	{"request_headers_to_add", "What Keyturn must know of a request; overwritten, so that no client can say it."},
	{"request_headers_to_remove", "A client's own credential ends here, and what only Keyturn may say."},
	{"response_headers_to_remove", "Keyturn's word to Envoy, and which key served, are not for clients."},
}

// usedHeaders say which key served a request.
var usedHeaders = []string{wire.UsedPoolHeader, wire.UsedNameHeader, wire.UsedKeyHeader}

// route leads a route to the inner listener.
func (a *attacher) route(r *routeAt) {
	n, action := r.node, r.node.field("route")
	if !a.may(n) || !a.may(action) {
		return
	}
	if action.field("retry_policy_typed_config") != nil || r.host.field("retry_policy_typed_config") != nil {
		a.refuse(action, "retry_policy_typed_config retries by rules of its own, which stand above those that Keyturn needs: take it out first")
		return
	}
	made := a.parts.FrontRoute(a.pools[r.pool], false)
	a.clients(r, made)
	made.ResponseHeadersToRemove = append(made.ResponseHeadersToRemove, usedHeaders...)
	v, err := valueOf(made)
	if err != nil {
		a.errs = append(a.errs, err)
		return
	}
	a.action(r, v.member("route"))
	a.filters(r, v.member("typed_per_filter_config"))
	if n.field("request_body_buffer_limit") == nil && n.field("per_request_buffer_limit_bytes") == nil && r.host.field("request_body_buffer_limit") == nil {
		a.field(n, "request_body_buffer_limit", value(strconv.FormatUint(made.RequestBodyBufferLimit.GetValue(), 10)), "What can be sent again with the next key; larger requests pass, with one key.")
	}
	for _, f := range listFields {
		a.list(n, f.name, v.member(f.name), f.why)
	}
	if n.word("name") == "" {
		a.field(n, "name", word(a.nameOf(r)), "Envoy's own errors are shaped by the route's name.")
	}
}

// nameOf is the name of a route, or that which it gets.
func (a *attacher) nameOf(r *routeAt) string {
	if name := r.node.word("name"); name != "" {
		return name
	}
	return fmt.Sprintf("keyturn-%s-%d", r.pool, r.number)
}

// clients says on a route what is known of who its clients are.
func (a *attacher) clients(r *routeAt, made *routev3.Route) {
	if r.manager == nil || a.options.Clients == ClientsKeyturn {
		return
	}
	asks, names := r.manager.asks()
	if asks {
		made.RequestHeadersToAdd = append(made.RequestHeadersToAdd, overwritten(wire.AskedHeader, "1"))
	}
	if names {
		made.RequestHeadersToRemove = slices.DeleteFunc(made.RequestHeadersToRemove, func(h string) bool { return h == wire.ClientHeader })
	}
	if !asks && a.options.Clients == ClientsOwn && !r.manager.local() && !r.manager.asksForCertificates() {
		a.refuse(r.manager.listener, "whoever reaches the listener %s would spend the pools' keys, since nothing there asks who clients are. Say who may: "+
			"--clients keyturn (each client has a key of its own, in a file that envoy.clients.api_keys_file of keyturn.yaml names), --clients open (everybody), or add api_key_auth, jwt_authn or the like first", r.manager.listener.word("name"))
	}
}

// action changes where a route leads, and how it retries.
func (a *attacher) action(r *routeAt, made value) {
	action := r.node.field("route")
	a.put(action, "timeout", made.member("timeout"), "No end to a stream but idleness: another timeout cuts long answers.")
	why := "Envoy retries when Keyturn asks, at once, and only then."
	if action.field("retry_policy") != nil {
		a.note("The route %s had a retry policy of its own, in line %d: it ends. Envoy retries what Keyturn asks for, and nothing else: what was sent twice by itself would be paid for twice.", a.nameOf(r), a.line(action.field("retry_policy").start))
	}
	a.put(action, "retry_policy", made.member("retry_policy"), why)
	if action.field("idle_timeout") == nil {
		a.field(action, "idle_timeout", made.member("idle_timeout"), "Models think for minutes without a byte.")
	}
	upgrades := action.field("upgrade_configs")
	if !slices.ContainsFunc(action.items("upgrade_configs"), func(u *node) bool { return strings.EqualFold(u.word("upgrade_type"), "websocket") }) {
		why := "WebSockets, which OpenAI's Realtime and Responses speak too."
		all, err := made.member("upgrade_configs").elements()
		switch {
		case err != nil:
			a.errs = append(a.errs, err)
		case upgrades == nil:
			a.field(action, "upgrade_configs", made.member("upgrade_configs"), why)
		default:
			a.item(upgrades, all[0], why)
		}
	}
	if action.field("metadata_match") != nil {
		a.note("The route %s chooses endpoints by metadata_match, which now says nothing: the inner listener chooses among all of the cluster's.", a.nameOf(r))
	}
	if action.field("request_mirror_policies") != nil {
		a.note("The route %s mirrors requests: the copies have no credential any more, since they never pass Keyturn.", a.nameOf(r))
	}
	a.replace(action.field("cluster"), word(envoy.InnerName), "Each attempt is a request to the inner listener, where Keyturn names the pool's cluster.")
}

// put sets a field, whether it is there or not.
func (a *attacher) put(n *node, name string, v value, why string) {
	old := n.field(name)
	if old == nil {
		a.field(n, name, v, why)
		return
	}
	have, err := normal(a.at(old))
	want, err2 := plainJSON(v)
	if err == nil && err2 == nil && fmt.Sprint(have) == fmt.Sprint(want) {
		return
	}
	a.replace(old, v, why)
}

// at is a value as it was read.
func (a *attacher) at(n *node) any {
	v := a.plain
	for _, step := range n.path {
		switch at := v.(type) {
		case map[string]any:
			name, _ := step.(string)
			v = at[name]
		case []any:
			i, _ := step.(int)
			v = at[i]
		}
	}
	return v
}

// filters switch on for a route what is off for the others.
func (a *attacher) filters(r *routeAt, made value) {
	if r.manager == nil || len(made) == 0 {
		return
	}
	const why = "The guard is off in the chain, and on here: methods and paths that hide where they lead are refused."
	names, configs, err := made.members()
	if err != nil {
		a.errs = append(a.errs, err)
		return
	}
	kept := "{"
	for i, name := range names {
		if !a.wantsFilter(name) {
			continue
		}
		if own := r.node.field("typed_per_filter_config"); own != nil {
			a.field(own, name, configs[i], why)
			continue
		}
		if len(kept) > 1 {
			kept += ","
		}
		kept += string(word(name)) + ":" + string(configs[i])
	}
	if len(kept) > 1 {
		a.field(r.node, "typed_per_filter_config", value(kept+"}"), why)
	}
}

// wantsFilter leaves out the one for a log that Envoy does not write here.
func (a *attacher) wantsFilter(name string) bool {
	return name == envoy.GuardFilter || a.options.Clients == ClientsKeyturn && name != "keyturn-metadata"
}

// list adds to a list, or makes one.
func (a *attacher) list(n *node, name string, made value, why string) {
	own := n.field(name)
	if own == nil || own.kind == list && len(own.values) == 0 && own.flow && own.end < 0 {
		a.field(n, name, made, why)
		return
	}
	all, err := made.elements()
	if err != nil {
		a.errs = append(a.errs, err)
		return
	}
	for _, v := range all {
		if !slices.ContainsFunc(own.values, func(o *node) bool { return o.kind == scalar && string(word(strings.ToLower(o.text))) == string(v) }) {
			a.item(own, v, why)
		}
	}
}

// note notes what to know, once.
func (a *attacher) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(a.result.Notes, s) {
		a.result.Notes = append(a.result.Notes, s)
	}
}
