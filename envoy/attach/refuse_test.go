package attach_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/envoy/attach"
)

// refusals are what becomes of a foreign file that cannot be edited: what of it is another, and what the error says.
var refusals = []struct{ name, file, old, now, want string }{
	{"an anchor at the route", "front-proxy.yaml", "                route:\n                  cluster: openai", "                route: &r\n                  cluster: openai", "line 32: the anchor &r"},
	{"an anchor around it", "front-proxy.yaml", "  listeners:\n", "  listeners: &all\n", "the anchor &all"},
	{"an alias", "front-proxy.yaml", "                route:\n                  cluster: service2", "                route: &r\n                  cluster: openai\n              - match: {prefix: /3}\n                route: *r\n              - match: {prefix: /4}\n                route:\n                  cluster: service2", "1 routes to the cluster openai stand where attach does not look, such as behind an alias"},
	{"a merge key", "front-proxy.yaml", "                route:\n                  cluster: openai", "                route:\n                  <<: {host_rewrite_literal: a}\n                  cluster: openai", "a merge key (<<)"},
	{"a tag", "front-proxy.yaml", "cluster: openai ", "cluster: !!str openai ", "the tag !!str"},
	{"two documents", "front-proxy.yaml", "admin:\n", "---\nadmin:\n", "several YAML documents"},
	{"a template", "front-proxy.yaml", "codec_type: AUTO", "{{ if .Values.auto }}\n          codec_type: AUTO", "looks like a template"},
	{"a template's value", "front-proxy.yaml", "timeout: 60s", `timeout: "{{ .Values.timeout }}"`, "looks like a template"},
	{"tabs", "front-proxy.yaml", "          codec_type", "\t\tcodec_type", "neither JSON nor YAML"},
	{"weighted clusters", "front-proxy.yaml", "cluster: openai ", "weighted_clusters: {clusters: [{name: openai, weight: 1}, {name: service1, weight: 1}]} ", "weighted_clusters leads to openai in part"},
	{"a retry plugin", "front-proxy.yaml", "timeout: 60s", "retry_policy_typed_config: {}", "retry_policy_typed_config"},
	{"text of several lines", "front-proxy.yaml", "cluster: openai ", "cluster: >-\n                    openai\n                  #", "the end of what must be replaced cannot be told"},
	{"a name that is taken", "front-proxy.yaml", "name: service1\n    type", "name: keyturn-inner\n    type", "keyturn-inner is there already"},
	{"no such route", "front-proxy.yaml", "cluster: openai ", "cluster: openai2 ", "no route leads to the cluster openai; routes lead to: service1, service2, openai2"},
	{"everybody's", "front-proxy.yaml", "address: 127.0.0.1\n        port_value: 8080", "address: 0.0.0.0\n        port_value: 8080", "nothing there asks who clients are"},
	{"everybody's by a name", "front-proxy.yaml", "address: 127.0.0.1\n        port_value: 8080", "address: localhost\n        port_value: 8080", "nothing there asks who clients are"},
	{"a filter that is off", "tracing.yaml", "- name: envoy.filters.http.jwt_authn\n", "- name: envoy.filters.http.jwt_authn\n            disabled: true\n", "nothing there asks who clients are"},
	{"another thing", "front-proxy.yaml", "static_resources", "something", "neither an Envoy configuration"},
	{"no filters", "front-proxy.yaml", "http_filters:", "http_filtering:", "the listener has no http_filters"},
	{"twice the same field", "small.json", `"name": "main",`, `"name": "main", "name": "twice",`, "already"},
	{"a number", "small.json", `"staticResources": {`, `"static_resources": 3, "x": {`, "1 routes to the cluster openai stand where attach does not look"},
}

// TestRefused holds that what cannot be edited safely is refused, with the reason.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range refusals {
		t.Run(tc.name, func(t *testing.T) {
			doc := string(readForeign(t, tc.file))
			require.Contains(t, doc, tc.old)
			_, err := attach.Attach([]byte(strings.Replace(doc, tc.old, tc.now, 1)), options(foreign[tc.file]))
			require.ErrorContains(t, err, tc.want)
		})
	}
	o := options(attach.Options{Clients: attach.ClientsKeyturn})
	_, err := attach.Attach(readForeign(t, "rds.yaml"), o)
	require.ErrorContains(t, err, "the listener of these routes is in another file")
	for name, doc := range map[string]string{
		"the file is empty": "", "not UTF-8": "a: \xff", "CR alone": "a: b\rc: d\n", "line separators": "a: b\u2028", "not a mapping": "- a\n",
		"at most": strings.Repeat("# a comment\n", 1<<20), "within one another": strings.Repeat("{a: ", 300) + strings.Repeat("}", 300),
	} {
		_, err := attach.Attach([]byte(doc), options(attach.Options{}))
		require.ErrorContains(t, err, name)
	}
}

// TestAnchorsElsewhere are no hindrance: chains-and-listeners.yaml has some.
func TestAnchorsElsewhere(t *testing.T) {
	t.Parallel()
	doc := string(readForeign(t, "chains-and-listeners.yaml"))
	require.Contains(t, doc, "*db")
	r, err := attach.Attach([]byte(doc), options(attach.Options{}))
	require.NoError(t, err)
	require.Contains(t, string(r.Doc), "load_assignment: *db\n")
}
