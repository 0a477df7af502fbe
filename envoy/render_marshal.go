package envoy

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// Marshal writes a configuration as YAML, the same bytes for the same configuration, with comments where a reader
// would ask why. The document holds the clients' keys when there are any: write it for its owner's eyes only.
func Marshal(b *bootstrapv3.Bootstrap) ([]byte, error) {
	j, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("envoy configuration: %w", err)
	}
	out, err := marshalYAML([]yamlDocument{{comment: documentComment, json: j}}, nil)
	if err != nil {
		return nil, fmt.Errorf("envoy configuration: %w", err)
	}
	return out, nil
}

// yamlDocument is one document of a YAML stream.
type yamlDocument struct {
	comment string // what it is; stands above it
	json    []byte
}

// marshalYAML writes documents as YAML, with each comment once. The comments in more stand before those of all renderings.
func marshalYAML(docs []yamlDocument, more map[string]string) ([]byte, error) {
	w := yamlWriter{more: more, commented: map[string]bool{}}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	for _, d := range docs {
		var doc yaml.Node
		if err := yaml.Unmarshal(d.json, &doc); err != nil { // JSON is YAML, and this keeps the order of the fields
			return nil, err
		}
		w.tidy(&doc, nil)
		doc.HeadComment = d.comment
		if err := enc.Encode(&doc); err != nil {
			return nil, err
		}
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

const documentComment = `Envoy with Keyturn in its upstream filter chain: one stream to Keyturn is one attempt with one key.
Written by "keyturn render envoy". After a change by hand, "keyturn check --envoy FILE" says what would go wrong.`

// comments say why, by the end of a field's path; a value's comment is written where it first appears.
var comments = map[string]string{
	"overload_manager":                          "A bound for clients' connections: without one, whoever reaches the listener can exhaust Envoy's memory.",
	"admin/allow_paths":                         "Other machines reach this address, and Envoy's admin interface has no authentication.",
	"address/pipe/mode":                         "0600 in decimal: only processes of Envoy's user may speak here.",
	"http_filters/*/typed_config/key_sources":   "The first that is there counts.",
	apiKeyFilter + "/key_sources":               "Only the gateway's own header: the others may hold the client's own credential for the provider.",
	"hide_credentials":                          "The provider must not see the gateway's keys.",
	"requires_any":                              "One provider for each header: with one for all, Envoy would want every token it finds to be valid.",
	"http_filters/*/typed_config/request_rules": "Kept as metadata for the access log and for Keyturn: attempts clean the request's headers.",
	"http_filters/*/disabled":                   "Off here and on for each route that needs it.",
	"upstream_http_filters":                     "Run once for each attempt, so a retry is a new attempt with the next key.",
	"upstream_http_filters/*/disabled":          "Off here and on for each route to a pool: otherwise every cluster behind this listener would open streams to Keyturn.",
	httpProtocolOptions + "/http_filters":       "Run once for each attempt to this cluster, so a retry is a new attempt with the next key.",
	"allow_mode_override":                       "Keyturn asks for the bodies that it must read, such as an error's, and for no others.",
	"max_message_timeout":                       "What Keyturn may ask for while it works on a response.",
	"status_on_error":                           "Without Keyturn a request ends here: it must not reach the provider without a key, or with the client's.",
	"forward_rules/allowed_headers":             "All that an attempt reads. Fewer headers cost less, on both sides.",
	"forward_rules/disallowed_headers":          "All others are sent: the later turns of a response repeat the client's headers, such as anthropic-beta.",
	"route/idle_timeout":                        "While tools run for an answer that is not a stream, nothing moves here.",
	"max_request_headers_kb":                    "Keyturn's requests have a client's headers and some of its own: more than a client may send.",
	"mutation_rules":                            "Otherwise Envoy drops changes of x-envoy-* headers without a word.",
	"metadata_options":                          "How an attempt knows which keys were tried before it.",
	"request_attributes":                        "The cluster's name picks the pool.",
	"per_connection_buffer_limit_bytes":         "0 is no limit. At Envoy's default of 1 MiB, 32 bodies of 100 KB at once crash it.",
	"initial_stream_window_size":                "Also the limit of a stream's buffer: at its default of 16 MiB, one larger body crashes Envoy.",
	"request_body_buffer_limit":                 "Bounds requests that may be retried, and responses that Keyturn reads whole. Must stay above the provider clusters' buffer limit of 1 MiB.",
	"request_headers_to_remove":                 "If the filter were ever lost, the client's credential must not reach the provider. Keyturn runs later and sets the key.",
	"response_headers_to_remove":                "Keyturn's word to Envoy, not to clients.",
	"route/timeout":                             "No end to a stream but idleness: Envoy's default of 15 s cuts long answers.",
	"retry_policy":                              "Envoy retries when Keyturn asks, at once. rate_limited_retry_back_off must stay unset: it would wait for the provider's Retry-After.",
	"num_retries":                               "At least the pool's keys less one; some more, since a reload may add keys.",
	"retry_back_off":                            "The next attempt has another key: nothing to wait for. Envoy's default is 25 ms and more.",
	"host_rewrite_literal":                      "Never auto_host_rewrite: with it an attempt sees the client's authority on a new connection.",
	"grpc_initial_metadata/*/value=buffered":    "The buffer filter of this route holds the request until it is whole: an answer before its end would crash Envoy.",
	"grpc_initial_metadata/*/value=streamed":    "Uploads of any size leave as they arrive, so no attempt looks at the response, and there is no failover.",
	"upgrade_configs":                           "Only here: anywhere else an upgrade that the provider refuses would hang in the buffer filter or crash Envoy.",
	"local_reply_config":                        "Envoy's own errors in the shape of the provider's. The first mapper leaves Keyturn's as they are.",
	"cluster_header":                            "Keyturn names the cluster: no route has to match twice.",
	httpProtocolOptions + "/common_http_protocol_options/max_headers_count": "Envoy's limits of 100 lines and 60 KiB are near what providers send.",
	"explicit_http_config/http_protocol_options":                            "HTTP/1.1, so that WebSocket upgrades pass and a request that is cut off takes no other with it.",
	"match_typed_subject_alt_names":                                         "Without it any certificate of a trusted authority would get the keys.",
	"tcp_keepalive":                                                         "A model may think for minutes without a byte.",
	"stream_idle_timeout":                                                   "Ends a stream on which nothing moves.",
	"common_http_protocol_options/idle_timeout":                             "Before the provider's load balancer closes the connection: a request that crosses its closing fails.",
	"circuit_breakers":                                                      "Far above any load: Envoy's defaults are 3 retries and 1024 of the rest, and streams are long.",
	"dns_lookup_family":                                                     "IPv4 and IPv6 side by side, whichever connects first.",
	"use_remote_address":                                                    "A client's own x-forwarded-for, x-request-id and x-envoy-* count for nothing.",
}

// yamlWriter turns a node tree read from JSON into one for people.
type yamlWriter struct {
	more      map[string]string // comments that stand before those of all renderings
	commented map[string]bool
}

// plain strings need no quotes in YAML 1.2 nor in 1.1, which is what Envoy reads: there off and no are booleans too.
var (
	plain    = regexp.MustCompile(`^[A-Za-z/_][A-Za-z0-9/_.+-]*$|^[0-9.]+s$`)
	notPlain = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`)
)

// numbers64 are the 64-bit fields that Render sets.
var numbers64 = []string{"request_body_buffer_limit", "max_active_downstream_connections"}

func (w *yamlWriter) tidy(n *yaml.Node, path []string) {
	n.Style = 0
	switch n.Kind {
	case yaml.DocumentNode:
		w.tidy(n.Content[0], path)
	case yaml.SequenceNode:
		for _, c := range n.Content {
			w.tidy(c, append(path, "*"))
		}
		w.inline(n)
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			w.tidy(key, nil)
			below := append(path, key.Value)
			w.comment(key, value, below)
			w.tidy(value, below)
		}
		w.inline(n)
	default:
		// 64-bit numbers are strings in protobuf's JSON, and Envoy takes them as numbers too.
		if len(path) > 0 && slices.Contains(numbers64, path[len(path)-1]) {
			n.Tag = "!!int"
		}
		if n.Tag == "!!str" && (!plain.MatchString(n.Value) || notPlain.MatchString(n.Value)) {
			n.Style = yaml.DoubleQuotedStyle
		}
	}
}

// maxInlineBytes is how long a value may be to stand on one line.
const maxInlineBytes = 100

// inline puts a short value without comments on one line.
func (w *yamlWriter) inline(n *yaml.Node) {
	if b := inlineBytes(n); b >= 0 && b <= maxInlineBytes {
		n.Style = yaml.FlowStyle
	}
}

// inlineBytes is about how long a value is on one line, -1 when it holds a comment or a value that is too long itself.
func inlineBytes(n *yaml.Node) int {
	sum := len(n.Value) + 2
	for _, c := range n.Content {
		b := inlineBytes(c)
		if b < 0 || c.HeadComment != "" || len(c.Content) > 0 && c.Style != yaml.FlowStyle {
			return -1
		}
		sum += b
	}
	return sum
}

// comment puts the field's comment above it, once in a document.
func (w *yamlWriter) comment(key, value *yaml.Node, path []string) {
	for i := range path {
		end := strings.Join(path[i:], "/")
		for _, c := range []string{end + "=" + value.Value, end} {
			if text := cmp.Or(w.more[c], comments[c]); text != "" && !w.commented[c] {
				w.commented[c] = true
				key.HeadComment = text
				return
			}
		}
	}
}
