package attach

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/internal/wire"
)

// Fixed is a file in which was mended what check found.
type Fixed struct {
	Doc     []byte
	Mended  []check.Finding // what is right now
	LeftOut []check.Finding // what others would notice, which was not allowed
	Left    []check.Finding // what only a human can mend
}

// rounds bounds how often a file is mended and checked again: a mended setting may show the next one.
const rounds = 10

// Fix mends what check finds in a bootstrap where it is sure what to write: settings of one value, and lists that lack one. others: also what other
// routes and listeners notice. Comments, order and everything else stay. The error is about a file that cannot be read or edited.
func Fix(file []byte, want check.Want, others bool) (*Fixed, error) {
	f := &Fixed{Doc: file}
	if _, err := Attached(file); err == nil {
		if t, err := read(file); err != nil || t.json {
			return nil, errors.Join(errors.New("what attach wrote could not be told from what is mended: run keyturn detach, then check --fix, then attach again"), err)
		}
	}
	for range rounds {
		found, err := check.Envoy(f.Doc, want)
		if err != nil {
			return nil, err
		}
		doc, mended, err := f.round(found, others)
		if err != nil {
			return nil, err
		}
		if len(mended) == 0 {
			return f, nil
		}
		f.Doc, f.Mended = doc, append(f.Mended, mended...)
	}
	return f, nil
}

// round mends of each part of the file one setting: two that are missing in one place would be written twice.
func (f *Fixed) round(found []check.Finding, others bool) (doc []byte, mended []check.Finding, err error) {
	t, err := read(f.Doc)
	if err != nil {
		return nil, nil, err
	}
	e := &editor{text: t}
	touched := map[*node]bool{}
	f.LeftOut, f.Left = nil, nil
	for _, one := range found {
		m, ok := mendOf(one)
		n := e.scope(m.scope, one.Path)
		switch {
		case !ok || n == nil:
			f.Left = append(f.Left, one)
		case m.others && !others:
			f.LeftOut = append(f.LeftOut, one)
		case touched[n]: // in the next round
		default:
			touched[n] = true
			if before := len(e.splices); e.mend(n, m, one.Consequence) && len(e.splices) > before {
				mended = append(mended, one)
			} else {
				f.Left = append(f.Left, one)
			}
		}
	}
	if len(mended) == 0 {
		return f.Doc, nil, nil
	}
	all := e.hunks()
	if err := e.overlaps(); err != nil {
		return nil, nil, err
	}
	doc = e.apply(all)
	return doc, mended, e.verify(doc)
}

// mend is what to write for a finding.
type mend struct {
	scope  string   // what has the setting: see editor.scope
	path   []string // the field, and those it is in
	value  value
	add    bool // the value is a list whose items are added to the one that there is
	within bool // only where what the field is in is there already
	others bool // other routes or listeners notice
}

// single are settings of one value, by the names that check has for them.
var single = map[string]mend{
	"skip_xff_append":                                           {scope: "manager", path: []string{"skip_xff_append"}, value: value("true")},
	"router.suppress_envoy_headers":                             {scope: "router", path: []string{"suppress_envoy_headers"}, value: value("true")},
	"ignore_global_conn_limit":                                  {scope: "listener", path: []string{"ignore_global_conn_limit"}, value: value("true")},
	"virtual_host.include_request_attempt_count":                {scope: "host", path: []string{"include_request_attempt_count"}, value: value("true"), others: true},
	"use_remote_address":                                        {scope: "manager", path: []string{"use_remote_address"}, value: value("true"), others: true},
	"route.timeout":                                             {scope: "action", path: []string{"timeout"}, value: value(`"0s"`)},
	"route.retry_policy.retry_on":                               {scope: "action", path: []string{"retry_policy", "retry_on"}, value: value(`"retriable-headers"`), within: true},
	"route.retry_policy.retriable_headers":                      {scope: "action", path: []string{"retry_policy", "retriable_headers"}, value: value(`[{"name":"` + wire.RetryHeader + `","present_match":true}]`), within: true},
	"route.retry_policy.retry_back_off":                         {scope: "action", path: []string{"retry_policy", "retry_back_off"}, value: value(`{"base_interval":"0.001s","max_interval":"0.001s"}`), within: true},
	"filter.message_timeout":                                    {scope: "filter", path: []string{"message_timeout"}, value: value(`"5s"`)},
	"filter.max_message_timeout":                                {scope: "filter", path: []string{"max_message_timeout"}, value: value(`"3600s"`)},
	"filter.status_on_error":                                    {scope: "filter", path: []string{"status_on_error"}, value: value(`{"code":503}`)},
	"filter.failure_mode_allow":                                 {scope: "filter", path: []string{"failure_mode_allow"}, value: value("false")},
	"filter.allow_mode_override":                                {scope: "filter", path: []string{"allow_mode_override"}, value: value("true")},
	"filter.disable_immediate_response":                         {scope: "filter", path: []string{"disable_immediate_response"}, value: value("false")},
	"filter.observability_mode":                                 {scope: "filter", path: []string{"observability_mode"}, value: value("false")},
	"filter.route_cache_action":                                 {scope: "filter", path: []string{"route_cache_action"}, value: value(`"CLEAR"`)},
	"filter.mutation_rules.allow_all_routing":                   {scope: "filter", path: []string{"mutation_rules", "allow_all_routing"}, value: value("true")},
	"filter.mutation_rules.allow_envoy":                         {scope: "filter", path: []string{"mutation_rules", "allow_envoy"}, value: value("true")},
	"filter.mutation_rules.disallow_all":                        {scope: "filter", path: []string{"mutation_rules", "disallow_all"}, value: value("false")},
	"filter.mutation_rules.disallow_system":                     {scope: "filter", path: []string{"mutation_rules", "disallow_system"}, value: value("false")},
	"filter.processing_mode.request_header_mode":                {scope: "filter", path: []string{"processing_mode", "request_header_mode"}, value: value(`"SEND"`)},
	"filter.processing_mode.request_body_mode":                  {scope: "filter", path: []string{"processing_mode", "request_body_mode"}, value: value(`"NONE"`)},
	"filter.processing_mode.response_header_mode":               {scope: "filter", path: []string{"processing_mode", "response_header_mode"}, value: value(`"SEND"`)},
	"filter.processing_mode.response_body_mode":                 {scope: "filter", path: []string{"processing_mode", "response_body_mode"}, value: value(`"NONE"`)},
	"filter.response_attributes":                                {scope: "filter", path: []string{"response_attributes"}, value: value(`["response.code_details","response.flags","upstream.local_address"]`), add: true},
	"filter.metadata_options.receiving_namespaces.untyped":      {scope: "filter", path: []string{"metadata_options", "receiving_namespaces", "untyped"}, value: value(`["` + wire.Namespace + `"]`), add: true},
	"cluster.http2_protocol_options.initial_stream_window_size": {scope: "http2", path: []string{"initial_stream_window_size"}, value: value("262144")},
	"address.pipe.mode":                                         {scope: "listener", path: []string{"address", "pipe", "mode"}, value: value("384"), within: true},
	"bootstrap_extensions":                                      {scope: "root", path: []string{"bootstrap_extensions"}, value: value(`[` + internalExtension + `]`), add: true},
	"overload_manager":                                          {scope: "root", path: []string{"overload_manager"}, value: overloadManager, others: true},
	"admin.allow_paths":                                         {scope: "root", path: []string{"admin", "allow_paths"}, value: value(`[{"exact":"/ready"},{"prefix":"/stats"}]`), within: true, others: true},
}

var (
	firstNumber = regexp.MustCompile(`[0-9]+`)
	headerNames = regexp.MustCompile(`^(?:without )?([a-z0-9-]+(?:, [a-z0-9-]+)*)$`)
)

// mendOf is what to write for a finding. It reports whether that is known.
func mendOf(f check.Finding) (m mend, ok bool) {
	if f.Setting == "admin.allow_paths" && f.Found != "not set" {
		return m, false // whose paths they are is not known
	}
	if m, ok = single[f.Setting]; ok {
		return m, true
	}
	if m, ok = mendOfHeader(f); ok {
		return m, true
	}
	number := firstNumber.FindString(f.Want)
	switch {
	case f.Setting == "stream_idle_timeout" && strings.HasPrefix(f.Want, "0s"):
		return mend{scope: "manager", path: []string{"stream_idle_timeout"}, value: value(`"0s"`)}, true
	case f.Setting == "route.request_body_buffer_limit" && number != "":
		return mend{scope: "route", path: []string{"request_body_buffer_limit"}, value: value(number)}, true
	case f.Setting == "upgrade_configs" && strings.Contains(f.Path, ".routes["):
		return mend{scope: "action", path: []string{"upgrade_configs"}, value: value(`[{"upgrade_type":"websocket"}]`), add: true}, true
	case f.Setting == "upgrade_configs":
		return mend{scope: "manager", path: []string{"upgrade_configs"}, value: value(`[{"upgrade_type":"websocket"}]`), add: true}, true
	case f.Setting == "cluster.circuit_breakers" && f.Found == "not set":
		const most = `{"thresholds":[{"max_connections":1000000,"max_pending_requests":1000000,"max_requests":1000000,"max_retries":1000000}]}`
		return mend{scope: "cluster", path: []string{"circuit_breakers"}, value: value(most)}, true
	case (f.Setting == "max_request_headers_kb" || f.Setting == "common_http_protocol_options.max_headers_count") && number != "":
		n, err := strconv.Atoi(number)
		const more, most = 32, 8192 // Envoy's most
		return mend{scope: "manager", path: strings.Split(f.Setting, "."), value: value(strconv.Itoa(n + more))}, err == nil && n+more <= most
	}
	return m, false
}

// mendOfHeader is mendOf for what a route adds and removes.
func mendOfHeader(f check.Finding) (m mend, ok bool) {
	without, lacks := strings.CutPrefix(f.Found, "without ")
	lacks = lacks && headerNames.MatchString(without)
	header, added := strings.CutPrefix(f.Setting, "route.request_headers_to_add.")
	switch {
	case f.Setting == "route.request_headers_to_remove" && lacks:
		return mend{scope: "route", path: []string{"request_headers_to_remove"}, value: words(strings.Split(without, ", ")), add: true}, true
	case f.Setting == "http_filters.header_to_metadata" && lacks:
		return mend{scope: "route", path: []string{"response_headers_to_remove"}, value: words(strings.Split(without, ", ")), add: true}, true
	case f.Setting == "route.response_headers_to_remove" && f.Found == "not set":
		return mend{scope: "route", path: []string{"response_headers_to_remove"}, value: words([]string{wire.RetryHeader}), add: true}, true
	case added && f.Found == "not set" && addedHeaders[header] != "":
		one := `[{"header":{"key":"` + header + `","value":` + string(word(addedHeaders[header])) + `},"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"}]`
		return mend{scope: "route", path: []string{"request_headers_to_add"}, value: value(one), add: true}, true
	}
	return m, false
}

// addedHeaders are those of a route whose value is always the same.
var addedHeaders = map[string]string{wire.IDHeader: "%UNIQUE_ID%", wire.StartHeader: "%START_TIME(%s.%3f)%", wire.AskedHeader: "1"}

// words is a list of strings as a value.
func words(all []string) value {
	quoted := make([]string, 0, len(all))
	for _, s := range all {
		quoted = append(quoted, string(word(s)))
	}
	return value("[" + strings.Join(quoted, ",") + "]")
}

// stepPattern is a step of a path as check writes it.
var stepPattern = regexp.MustCompile(`^(?:\.?([A-Za-z_@][A-Za-z0-9_]*)|\[([0-9]+)\]|\[("(?:[^"\\]|\\.)*")\])`)

// at is the value at a path of check's, nil where there is none.
func (e *editor) at(path string) *node {
	n := e.root
	for path != "" {
		m := stepPattern.FindStringSubmatch(path)
		if m == nil {
			return nil
		}
		path = path[len(m[0]):]
		name := m[1]
		if m[3] != "" {
			name, _ = strconv.Unquote(m[3])
		}
		if m[2] != "" {
			i, err := strconv.Atoi(m[2])
			if err != nil || n.kind != list || i >= len(n.values) {
				return nil
			}
			n = n.values[i]
		} else if n = n.field(name); n == nil {
			return nil
		}
	}
	return n
}

// scope is what has a setting, from the place of the finding; nil where that is not in the file.
func (e *editor) scope(name, path string) *node {
	n := e.at(path)
	if name == "root" || n == nil {
		if name == "root" {
			return e.root
		}
		return nil
	}
	elementOf := map[string]string{"route": "routes", "action": "routes", "host": "virtual_hosts", "listener": "listeners", "cluster": "clusters", "http2": "clusters"}
	typed := func(of *node, kind string) *node {
		for _, f := range of.items("http_filters") {
			if c := f.field("typed_config"); c.is(kind) {
				return c
			}
		}
		return nil
	}
	for ; n != nil; n = n.parent {
		in := elementOf[name]
		if in != "" && (n.parent == nil || n.parent.parent.field(in) != n.parent || n.parent.kind != list) || in == "" && !n.is("HttpConnectionManager") {
			continue
		}
		switch name {
		case "action":
			return n.field("route")
		case "filter":
			return typed(n, "ExternalProcessor")
		case "router":
			return typed(n, "Router")
		case "http2":
			const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
			return n.field("typed_extension_protocol_options", options, "explicit_http_config", "http2_protocol_options")
		}
		return n
	}
	return nil
}

// mend writes a setting. It reports whether it can be written here.
func (e *editor) mend(n *node, m mend, why string) bool {
	failed := len(e.errs)
	defer func() { e.errs = e.errs[:failed] }() // what cannot be mended is told by the finding
	for i, name := range m.path {
		next := n.field(name)
		if next == nil {
			if m.within && i+1 < len(m.path) || n.flow && e.attached(n.start) {
				return false
			}
			v := m.value
			for _, outer := range slices.Backward(m.path[i+1:]) {
				v = value(fmt.Sprintf("{%s:%s}", word(outer), v))
			}
			e.field(n, name, v, why)
			return len(e.errs) == failed
		}
		n = next
	}
	if e.attached(n.start) {
		return false
	}
	if !m.add {
		e.replace(n, m.value, why)
		return len(e.errs) == failed
	}
	all, err := m.value.elements()
	if err != nil || n.kind != list {
		return false
	}
	for _, v := range all {
		if !slices.ContainsFunc(n.values, func(o *node) bool { return o.kind == scalar && string(word(o.text)) == string(v) }) {
			e.item(n, v, why)
		}
	}
	return len(e.errs) == failed
}

// attached reports whether attach wrote what stands here: it is taken out whole.
func (e *editor) attached(at int) bool {
	if e.written == nil {
		e.written = [][2]int{}
		for i, line := range e.lines {
			end := len(e.bytes)
			if i+1 < len(e.lines) {
				end = e.lines[i+1]
			}
			if beginLine.Match(e.bytes[line:end]) {
				e.written = append(e.written, [2]int{line, len(e.bytes)})
			} else if endLine.Match(e.bytes[line:end]) && len(e.written) > 0 {
				e.written[len(e.written)-1][1] = end
			}
		}
	}
	i, _ := slices.BinarySearchFunc(e.written, at, func(w [2]int, at int) int { return w[1] - at - 1 })
	return at < 0 || i < len(e.written) && e.written[i][0] <= at
}
