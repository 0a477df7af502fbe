package check

import (
	"slices"
	"strings"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/wire"
)

// What is wrong wherever it stands is looked for in the document without its types: no kind of extension hides it.

// scope is a part of the document that requests of Keyturn's clients pass.
type scope struct {
	where    string
	at       steps
	attempts bool // the pools' keys are on the requests
}

// everywhere looks at all that requests pass, for what gives a credential away or sends a request elsewhere.
func (c *checker) everywhere() {
	all := c.scopes()
	for _, s := range all {
		walk(c.at(s.at), s.at, func(_ steps, v any) bool {
			c.noteMetadata(v)
			return true
		})
	}
	foreign := c.foreignRoutes()
	for _, s := range all {
		walk(c.at(s.at), s.at, func(p steps, v any) bool {
			if foreign[p.String()] {
				return false
			}
			return c.look(s, p, v)
		})
	}
}

// scopes are the listeners that requests pass, the routes that they discover, and the clusters.
func (c *checker) scopes() (all []scope) {
	seen := map[string]bool{}
	add := func(s scope) {
		if id := s.at.String(); id != "" && !seen[id] {
			seen[id] = true
			all = append(all, s)
		}
	}
	for _, l := range c.listeners {
		var of []*manager
		for _, m := range c.managers {
			if m.listener == l && m.role != roleOther {
				of = append(of, m)
			}
		}
		if len(of) == 0 {
			continue
		}
		attempts := slices.ContainsFunc(of, (*manager).isInner)
		add(scope{of[0].where(), c.places[l], attempts})
		for _, m := range of {
			if at := c.places[m.config]; m.config != nil && !at.begins(c.places[l]) {
				add(scope{m.where(), at, attempts})
			}
		}
	}
	for _, name := range c.clusterNames {
		if c.hops[name] || c.processors[name] || c.pools[name] != nil {
			add(scope{"cluster " + name, c.places[c.clusters[name]], !c.hops[name]})
		}
	}
	return all
}

// foreignRoutes are those of the fronts that lead elsewhere than to a pool: what they say is about no request of Keyturn's.
func (c *checker) foreignRoutes() map[string]bool {
	foreign := map[string]bool{}
	for _, m := range c.managers {
		if m.role != roleFront && m.role != roleLoopback || m.config == nil {
			continue
		}
		for h, host := range m.config.VirtualHosts {
			for i := range host.Routes {
				at := c.places[m.config].item("virtual_hosts", h).item("routes", i)
				foreign[at.String()] = !slices.ContainsFunc(m.routes, func(r *route) bool { return r.at.begins(at) })
			}
		}
	}
	for _, m := range c.managers { // routes that two listeners discover are those of either
		for _, r := range m.routes {
			foreign[r.at.String()] = false
		}
	}
	return foreign
}

// whose is the place that a finding is about: the scope, or the route that p is in.
func (c *checker) whose(s scope, p steps) string {
	for _, m := range c.managers {
		for _, r := range m.routes {
			if p.begins(r.at) {
				return r.place
			}
		}
	}
	return s.where
}

// look judges one value, and says whether to look below it.
func (c *checker) look(s scope, p steps, v any) bool {
	where := func() string { return c.whose(s, p) }
	switch v := v.(type) {
	case string:
		c.lookText(s, p, v)
	case map[string]any:
		c.lookMessage(s, p, v)
	case []any:
		if len(v) == 0 {
			return false
		}
		switch p.last() {
		case "request_mirror_policies":
			c.findAt(mirrored, where(), p, "set")
		case "additional_request_headers_to_log", "additional_response_headers_to_log", "additional_response_trailers_to_log":
			for _, name := range v {
				if n, _ := name.(string); c.mayBeCredential(n) {
					c.findAt(logCredential.about(p), where(), p, n)
				}
			}
		case "metadata_context_namespaces", "untyped":
			for _, name := range v {
				if name == envoy.CredentialNamespace { // another service is sent it, and may say it
					c.findAt(metadataCredential.about(p), where(), p, envoy.CredentialNamespace)
				}
			}
		case "filter_state_objects_to_log":
			for _, name := range v {
				if n, _ := name.(string); !isKnownState(n) {
					c.findAt(logCredential.about(p), where(), p, n)
				}
			}
		}
	}
	return true
}

// lookText judges a string: one that is a format, or a word that lets something happen.
func (c *checker) lookText(s scope, p steps, v string) {
	where := c.whose(s, p)
	switch p.last() {
	case "expression": // a condition, which nobody reads
		return
	case "upgrade_type":
		if strings.HasPrefix(strings.ToUpper(v), "CONNECT") {
			c.findAt(connectAllowed, where, p, v)
		}
		return
	case "internal_redirect_action":
		if v == "HANDLE_INTERNAL_REDIRECT" {
			c.findAt(redirected, where, p, v)
		}
		return
	}
	if e, by := c.exposes(v); e != nothing {
		c.lookFormat(s, p, e, by)
	}
}

// lookFormat judges a format by what it gives away, and by which operator.
func (c *checker) lookFormat(s scope, p steps, e exposure, by string) {
	where := c.whose(s, p)
	switch {
	case logs(p) && e == query && by == defaultPath:
		c.findAt(logDefault.about(p), where, p, by)
	case logs(p) && e == query:
		c.findAt(logQuery.about(p), where, p, by)
	case logs(p):
		c.findAt(logCredential.about(p), where, p, by)
	case e == credential && p.within("custom_tags", "tracing"):
		c.findAt(tagCredential.about(p), where, p, by)
	case e == query && p.within("custom_tags", "tracing"):
		c.findAt(logQuery.about(p), where, p, by)
	case toClient(p) && e == query:
		// the client's own, to the client
	case toClient(p):
		c.findAt(answerCredential.about(p), where, p, by)
	case e == credential && c.ownKey(p) && !s.attempts:
		// which Keyturn takes out, but where it has run already
	case e == credential:
		c.findAt(headerCredential.about(p), where, p, by)
	}
}

// defaultPath is how the formats that Envoy, Istio and Envoy Gateway have by default write the path.
const defaultPath = "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"

// ownKey reports whether a place is the value of the header for the gateway's own keys.
func (c *checker) ownKey(p steps) bool {
	header, ok := c.at(p[:len(p)-1]).(map[string]any)
	return ok && strings.EqualFold(text(header, "key"), wire.ClientKeyHeader)
}

// logs reports whether a place is in what writes or sends a log.
func logs(p steps) bool { return p.within("access_log", "upstream_log", "access_logs") }

// toClient reports whether a place is in what makes an answer.
func toClient(p steps) bool {
	return p.within("response_headers_to_add", "response_mutations", "response_trailers_mutations", "local_reply_config", "direct_response", "redirect", "body_format", "headers_to_add")
}

// lookMessage judges a message by its type, or by the field that it is.
func (c *checker) lookMessage(s scope, p steps, v map[string]any) {
	where := c.whose(s, p)
	switch p.last() {
	case "hedge_policy":
		c.findAt(hedged, where, p, "set")
	case "internal_redirect_policy":
		c.findAt(redirected, where, p, "set")
	case "key_log":
		c.findAt(keysLogged, where, p, text(v, "path"))
	case "connect_matcher":
		c.findAt(connectAllowed, where, p, "set")
	case "request_headers": // of a limit of requests
		if n := text(v, "header_name"); p.within("rate_limits") && c.isCredential(n) {
			c.findAt(limitCredential, where, p, n)
		}
	case "request_header", "environment":
		c.lookTag(s, p, text(v, "name"))
	case "header":
		c.lookHeader(s, p, v)
	}
	if p.field() == "metadata" && text(v, "metadata_namespace") == wire.Namespace { // of set_metadata
		c.findAt(metadataForged.about(p), where, p, "a value of its own")
	}
	if p.field() == "rules" || p.field() == "request_rules" || p.field() == "response_rules" {
		c.lookRule(s, p, v)
	}
	if t := typeOf(v); t != "" {
		c.lookType(s, p, v, t)
	}
}

// lookTag judges what a tag of a span is taken from: a header, or a variable of the environment.
func (c *checker) lookTag(s scope, p steps, name string) {
	secret := c.mayBeCredential(name)
	if p.last() == "environment" {
		secret = secretNames.MatchString(name)
	}
	if secret && p.within("custom_tags") {
		c.findAt(tagCredential.about(p), c.whose(s, p), p, name)
	}
}

// lookHeader judges a header that is added: a credential that the document itself names, or that goes on under another name.
func (c *checker) lookHeader(s scope, p steps, v map[string]any) {
	name, value := text(v, "key"), text(v, "value")
	if raw := text(v, "raw_value"); value == "" {
		value = raw
	}
	if value == "" || !c.isCredential(name) {
		return
	}
	if e, _ := c.exposes(value); e == credential {
		return // said of the value
	}
	set := credentialSet
	if toClient(p) {
		set = credentialAnswered
	}
	c.findAt(set.about(p), c.whose(s, p), p, name)
}

// lookType judges an extension by its type.
func (c *checker) lookType(s scope, p steps, v map[string]any, t string) {
	where := c.whose(s, p)
	switch {
	case strings.Contains(t, ".tap."):
		c.findAt(tapped.about(p), where, p, t)
	case strings.HasPrefix(t, "envoy.extensions.access_loggers.filters."): // a condition
	case strings.HasPrefix(t, "envoy.extensions.formatter."):
	case p.field() == "typed_config" && logs(p) && !strings.HasPrefix(t, "envoy.extensions.access_loggers."):
		if !p[:len(p)-1].within("filter", "formatters") {
			c.findAt(loggerUnknown.about(p), where, p, t)
		}
	case strings.HasPrefix(t, "envoy.extensions.access_loggers."):
		c.lookLogger(s, p, v, t)
	}
}

// lookLogger judges what writes a log: of a kind that is not known, or with Envoy's own format, which has the path with its query.
func (c *checker) lookLogger(s scope, p steps, v map[string]any, t string) {
	kind, _, _ := strings.Cut(strings.TrimPrefix(t, "envoy.extensions.access_loggers."), ".")
	where := c.whose(s, p)
	switch kind {
	case "file", "stream":
		formats := []string{"log_format", "format", "json_format", "typed_json_format"}
		if httpLog(p) && !slices.ContainsFunc(formats, func(f string) bool { return field(v, f) != nil }) {
			c.findAt(logDefault.about(p), where, p, "Envoy's own format")
		}
	case "grpc":
		cluster := text(field(field(field(v, "common_config"), "grpc_service"), "envoy_grpc"), "cluster_name")
		if strings.HasSuffix(t, ".HttpGrpcAccessLogConfig") && !c.processors[cluster] {
			c.findAt(logQuery.about(p), where, p, "the path, as envoy.access_loggers.http_grpc sends it to "+cluster)
		}
	case "open_telemetry", "fluentd", "stats":
	default:
		c.findAt(loggerUnknown.about(p), where, p, t)
	}
}

// httpLog reports whether a log is about requests, not about connections.
func httpLog(p steps) bool {
	i := slices.IndexFunc(p, func(s string) bool { return snake(s) == "access_log" || snake(s) == "upstream_log" })
	return i > 0 && p[:i].within("filters", "http_filters")
}

// noteMetadata keeps where in the dynamic metadata a credential is put.
func (c *checker) noteMetadata(v any) {
	m, ok := v.(map[string]any)
	if !ok || !c.isCredential(text(m, "header")) && !c.isCredential(text(m, "cookie")) {
		return
	}
	for _, when := range []string{"on_header_present", "on_present"} {
		pair := field(m, when)
		if pair == nil || text(pair, "value") != "" {
			continue // another value stands for it
		}
		namespace := text(pair, "metadata_namespace")
		if namespace == "" {
			namespace = "envoy.filters.http.header_to_metadata"
		}
		c.metadata = append(c.metadata, namespace+":"+text(pair, "key"))
	}
}

// lookRule judges a rule that puts a header, or a cookie, into the dynamic metadata.
func (c *checker) lookRule(s scope, p steps, v map[string]any) {
	header := text(v, "header")
	pair := field(v, "on_header_present")
	if pair == nil {
		return
	}
	// A client's key passes from one filter to the next in a namespace that logs may not have.
	passes := text(pair, "metadata_namespace") == envoy.CredentialNamespace && field(pair, "regex_value_rewrite") != nil && !s.attempts &&
		has([]string{wire.ProtocolHeader, wire.AuthorizationHeader}, header)
	if c.isCredential(header) && text(pair, "value") == "" && !passes {
		c.findAt(metadataCredential.about(p), c.whose(s, p), p, header)
	}
	// The client's name is what the clients' authentication sets, if it does. What Keyturn used comes back in headers that no client sets.
	used := has([]string{wire.UsedPoolHeader, wire.UsedNameHeader, wire.UsedKeyHeader}, header) && p.within("response_rules")
	named := strings.EqualFold(header, wire.ClientHeader) && text(pair, "key") == wire.ClientField && c.namesClients(s)
	if text(pair, "metadata_namespace") == wire.Namespace && !used && !named {
		c.findAt(metadataForged.about(p), c.whose(s, p), p, header)
	}
}

// namesClients reports whether the clients' authentication of a listener says who the client is, on each route.
func (c *checker) namesClients(s scope) bool {
	for _, m := range c.managers {
		if m.where() == s.where && slices.ContainsFunc(m.routes, func(r *route) bool { return !r.past && !r.namesClient() }) {
			return false
		}
	}
	return true
}
